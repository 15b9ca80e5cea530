import EventLoop

/// Lines that were sold out a moment ago.
///
/// When a large sale is over, most of a crowd is still to come. Each is refused, unless they have a place already; while
/// it is known that the line is sold out, that is all that has to be asked.
@LoopActor
final class SoldOutMemory {
  /// For how long a line is taken to be still sold out.
  static let milliseconds: UInt64 = 100
  /// Events remembered; beyond it all are forgotten, which only costs a call each.
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
