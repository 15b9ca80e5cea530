import Dispatch
import EventLoop
import Foundation

/// A file of lines that only grows. A line is on disk before `append` returns.
///
/// All that one turn of the loop appends, and all that comes while the disk is busy, shares one write and one
/// `fdatasync`, on a thread of its own.
@LoopActor
final class LedgerFile {
  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  private static let maximumBatch = 4096
  /// Lines that may wait for the disk.
  private static let capacity = 50_000
  private nonisolated static let chunk = 1 << 20

  private let descriptor: Int32
  private let queue = DispatchQueue(label: "payment-ledger")
  private var commit: GroupCommit<[UInt8], Void>?
  /// Bytes that are certainly on disk.
  private(set) var size = 0
  private var failure: Failure?
  /// Lines handed in and not yet on disk.
  private(set) var pending = 0

  /// Opens or creates the file, and keeps others out of it.
  init(path: String) throws(Failure) {
    descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw Self.failure("cannot open the ledger \(path)") }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      let failure = Self.failure("the ledger \(path) is in use")
      Foundation.close(descriptor)
      throw failure
    }
    // A new file is only there after a crash if its directory was synced.
    let parent = URL(fileURLWithPath: path).deletingLastPathComponent().path
    let directory = open(parent, O_RDONLY | O_CLOEXEC)
    if directory >= 0 {
      fsync(directory)
      Foundation.close(directory)
    }
    commit = GroupCommit(maximumBatch: Self.maximumBatch, capacity: Self.capacity) { [weak self] lines in
      await self?.write(lines) ?? lines.map { _ in .failure(Failure(description: "the ledger is closed")) }
    }
  }

  /// Lets go of the file, once what is being written is.
  func close() async {
    guard commit != nil else { return }
    commit = nil
    failure = Failure(description: "the ledger is closed")
    let descriptor = descriptor
    _ = await onThread { Foundation.close(descriptor) }
  }

  isolated deinit {
    if commit != nil { Foundation.close(descriptor) }
  }

  private nonisolated static func failure(_ what: String) -> Failure {
    Failure(description: "\(what): \(String(cString: strerror(errno)))")
  }

  /// Hands each whole line to `take`, from the start. What follows the last line's end was torn by a crash before
  /// anyone was answered, and is cut off.
  /// - Throws: what `take` throws, or `Failure`. Called once, before `append`.
  func load(_ take: (ArraySlice<UInt8>) throws -> Void) async throws {
    var rest: [UInt8] = []
    var offset = 0
    while true {
      try Task.checkCancellation()
      let bytes = try await read(at: offset)
      if bytes.isEmpty { break }
      offset += bytes.count
      rest += bytes
      var start = rest.startIndex
      while let end = rest[start...].firstIndex(of: UInt8(ascii: "\n")) {
        try take(rest[start..<end])
        start = end + 1
      }
      size += start
      rest.removeFirst(start)
    }
    if !rest.isEmpty, ftruncate(descriptor, off_t(size)) != 0 {
      throw Self.failure("cannot cut the ledger's torn end")
    }
  }

  private func read(at offset: Int) async throws(Failure) -> [UInt8] {
    let descriptor = descriptor
    let result: Result<[UInt8], Failure> = await onThread {
      var count = 0
      let bytes = [UInt8](unsafeUninitializedCapacity: Self.chunk) { buffer, initialized in
        count = pread(descriptor, buffer.baseAddress, Self.chunk, off_t(offset))
        initialized = max(0, count)
      }
      return count < 0 ? .failure(Self.failure("cannot read the ledger")) : .success(bytes)
    }
    return try result.get()
  }

  /// Returns once `line` is on disk.
  /// - Throws: `Failure`, for good: after a failed write nothing is certain but what was synced before.
  func append(_ line: [UInt8]) async throws {
    if let failure { throw failure }
    pending += 1
    defer { pending -= 1 }
    try await commit?.submit(line)
  }

  /// Returns once everything handed in before is on disk.
  func flush() async throws {
    if let failure { throw failure }
    if pending > 0 { try await append([]) }
  }

  private func write(_ lines: [[UInt8]]) async -> [Result<Void, any Error>] {
    if failure == nil {
      let bytes = Array(lines.joined())
      let descriptor = descriptor
      let offset = size
      let result: Failure? = await onThread {
        var written = 0
        while written < bytes.count {
          let count = bytes.withUnsafeBytes { bytes in
            pwrite(
              descriptor, bytes.baseAddress?.advanced(by: written), bytes.count - written,
              off_t(offset + written))
          }
          if count < 0 && errno == EINTR { continue }
          guard count > 0 else { return Self.failure("cannot write the ledger") }
          written += count
        }
        return fdatasync(descriptor) == 0 ? nil : Self.failure("cannot sync the ledger")
      }
      failure = result
      if result == nil { size += bytes.count }
    }
    if let failure { return lines.map { _ in .failure(failure) } }
    return lines.map { _ in .success(()) }
  }

  private func onThread<R: Sendable>(_ work: @escaping @Sendable () -> R) async -> R {
    await withUnsafeContinuation { continuation in
      queue.async { continuation.resume(returning: work()) }
    }
  }
}
