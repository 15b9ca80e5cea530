import EventLoop

/// Lines that were sold out a moment ago: there it is worth to look whether that is still so, before a place is asked for.
///
/// When a large sale is over, most of a crowd is still to come, and each of them is refused who has no place already.
@LoopActor
final class SoldOutMemory {
  private static let milliseconds: UInt64 = 1_000
  /// Events remembered; beyond it all are forgotten, which only makes calls dearer.
  private static let limit = 10_000

  private var seen: [Int: UInt64] = [:]

  nonisolated init() {}

  func contains(_ event: Int) -> Bool {
    guard let at = seen[event] else { return false }
    return EventLoop.shared.now - at < Self.milliseconds
  }

  func insert(_ event: Int) {
    if seen.count >= Self.limit { seen = [:] }
    seen[event] = EventLoop.shared.now
  }
}
