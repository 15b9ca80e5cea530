package import EventLoop

/// The body of an answer that many get, as it is and compressed: that is done when somebody first asks for it, once for all.
///
/// For what is the same for everybody who may see it, and has nothing in it that is a secret of one: where something that
/// an attacker chose, such as the words of a search, is compressed together with a secret, the length of the answer tells
/// that secret bit by bit (BREACH). Tokens, places in line, what somebody holds or has bought are sent as they are.
@LoopActor
package final class SharedBody {
  /// Below this a packet is a packet.
  package nonisolated static let fewest = 1_000
  /// Compressed in a turn of the loop: less than a millisecond. What has more is compressed beside it.
  package nonisolated static let atOnce = 64 << 10

  package nonisolated let bytes: [UInt8]
  /// `nil` until it was tried; the inner `nil` where it would not be smaller.
  private var packed: [UInt8]??
  private var underway: Task<[UInt8]?, Never>?

  private let effort: Compress.Effort

  /// - Parameter effort: for what never changes it may be more.
  package nonisolated init(_ bytes: [UInt8], _ effort: Compress.Effort = .often) {
    self.bytes = bytes
    self.effort = effort
  }

  /// Bytes that it takes in memory.
  package var size: Int { bytes.count + (packed??.count ?? 0) }

  /// Whether it is worth it.
  package nonisolated var isWorthIt: Bool { bytes.count >= Self.fewest }

  /// Compressed, or as it is where that is not smaller, if it can be told at once; `nil` where it is compressed beside the
  /// loop first.
  package func immediate() -> (bytes: [UInt8], isPacked: Bool)? {
    if packed == nil, bytes.count <= Self.atOnce { packed = .some(Compress.gzip(bytes, effort)) }
    return packed.map { told($0) }
  }

  /// The same, which waits for it. Where too much is waiting to be compressed it comes as it is.
  package func value() async -> (bytes: [UInt8], isPacked: Bool) {
    if let known = immediate() { return known }
    if let underway { return told(await underway.value) }
    // Owned by this body, and one at a time: whoever came first may be gone before it is done.
    let task = Task { @LoopActor [bytes, effort] () -> [UInt8]? in
      defer { underway = nil }
      guard let made = try? await SideThread.shared.run({ Compress.gzip(bytes, effort) }) else { return nil }
      packed = .some(made)
      return made
    }
    underway = task
    return told(await task.value)
  }

  private func told(_ packed: [UInt8]?) -> (bytes: [UInt8], isPacked: Bool) {
    packed.map { ($0, true) } ?? (bytes, false)
  }
}
