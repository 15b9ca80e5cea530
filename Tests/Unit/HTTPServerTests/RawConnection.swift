import Dispatch
import Foundation

/// A TCP connection that sends exactly what a test says, for what no HTTP client would send.
final class RawConnection: Sendable {
  struct Failure: Error {
    let what: String
  }

  struct Response {
    let status: Int
    let headers: [String: String]
    let body: String
  }

  private static let seconds = 20
  private let descriptor: Int32
  private let queue = DispatchQueue(label: "raw-connection")
  /// What was received and not used yet. Only used on `queue`.
  private nonisolated(unsafe) var buffer: [UInt8] = []

  init(port: UInt16) throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var timeout = timeval(tv_sec: Self.seconds, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = in_addr_t(INADDR_LOOPBACK).bigEndian
    let status = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard status == 0 else {
      let reason = String(cString: strerror(errno))
      Foundation.close(descriptor)
      throw Failure(what: "connect: \(reason)")
    }
  }

  deinit { Foundation.close(descriptor) }

  /// Sends all of `text`; false if the server has closed.
  @discardableResult
  func send(_ text: String) async -> Bool { await send(Array(text.utf8)) }

  @discardableResult
  func send(_ bytes: [UInt8]) async -> Bool { await onQueue { [self] in sendNow(bytes) } }

  /// Sends a few bytes without giving the server a turn of the loop.
  @discardableResult
  func sendNow(_ text: String) -> Bool { sendNow(Array(text.utf8)) }

  private func sendNow(_ bytes: [UInt8]) -> Bool {
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes {
        Foundation.send(
          descriptor, $0.baseAddress?.advanced(by: sent), bytes.count - sent, Int32(MSG_NOSIGNAL))
      }
      guard count > 0 else { return false }
      sent += count
    }
    return true
  }

  /// Reads one response; to HEAD it has no body.
  func response(toHead: Bool = false) async throws -> Response {
    try await onQueue { [self] in Result { try readResponse(toHead) } }.get()
  }

  /// Whether the server closes the connection, whatever it sends before.
  func isClosedByServer() async -> Bool {
    await onQueue { [self] in
      while true {
        switch more() {
        case .some(true): continue
        case .some(false): return true
        case nil: return false
        }
      }
    }
  }

  /// What else comes until the server ends the connection properly; `nil` if it resets it, or does not end it in time.
  func rest() async -> [UInt8]? {
    await onQueue { [self] in
      while let isMore = more() {
        if !isMore { return errno == ECONNRESET ? nil : buffer }
      }
      return nil
    }
  }

  /// Says that nothing more will be sent, and goes on reading.
  func endSending() { shutdown(descriptor, Int32(SHUT_WR)) }

  /// Ends the connection at once, with a reset, as a client that crashed.
  func reset() {
    var linger = linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<linger>.size))
    shutdown(descriptor, Int32(SHUT_RDWR))
  }

  private func onQueue<R: Sendable>(_ work: @escaping @Sendable () -> R) async -> R {
    await withUnsafeContinuation { continuation in queue.async { continuation.resume(returning: work()) } }
  }

  /// Receives some more: true; false at the end; `nil` if nothing came in time.
  private func more() -> Bool? {
    var chunk = [UInt8](repeating: 0, count: 65536)
    errno = 0
    let count = recv(descriptor, &chunk, chunk.count, 0)
    if count > 0 {
      buffer += chunk[..<count]
      return true
    }
    return count < 0 && errno == EAGAIN ? nil : false
  }

  private func readResponse(_ toHead: Bool) throws -> Response {
    let end = Array("\r\n\r\n".utf8)
    var headEnd: Int?
    while headEnd == nil {
      headEnd = buffer.indices.dropLast(3).first { Array(buffer[$0..<($0 + 4)]) == end }
      if headEnd == nil { guard more() == true else { throw Failure(what: "no response") } }
    }
    let lines = String(decoding: buffer[..<headEnd!], as: UTF8.self).components(separatedBy: "\r\n")
    buffer.removeFirst(headEnd! + 4)
    let status = Int(lines[0].split(separator: " ")[1]) ?? 0
    var headers: [String: String] = [:]
    for line in lines.dropFirst() {
      let parts = line.split(separator: ":", maxSplits: 1)
      headers[parts[0].lowercased()] = parts[1].trimmingCharacters(in: .whitespaces)
    }
    if status == 100 { return Response(status: status, headers: headers, body: "") }
    let length = toHead ? 0 : Int(headers["content-length"] ?? "0") ?? 0
    while buffer.count < length { guard more() == true else { throw Failure(what: "body cut") } }
    let body = String(decoding: buffer[..<length], as: UTF8.self)
    buffer.removeFirst(length)
    return Response(status: status, headers: headers, body: body)
  }
}
