import Foundation
import Synchronization

/// Bounds how often one kind of message is logged, where each request may be a reason to.
package final class LogLimit: Sendable {
  private struct State {
    /// When the current second began, on the monotonic clock.
    var since: UInt64 = 0
    var used = 0
    var skipped = 0
  }

  private let perSecond: Int
  private let state = Mutex(State())

  package init(perSecond: Int = 1) { self.perSecond = perSecond }

  /// Whether there is room for another line: then how many it stands for, itself and those that were left out
  /// since the last one. `nil` if it is to be left out.
  package func next() -> Int? {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return next(now: UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec))
  }

  /// - Parameter now: nanoseconds.
  func next(now: UInt64) -> Int? {
    state.withLock { state in
      if now >= state.since + 1_000_000_000 || state.since == 0 { (state.since, state.used) = (now, 0) }
      guard state.used < perSecond else {
        state.skipped += 1
        return nil
      }
      state.used += 1
      defer { state.skipped = 0 }
      return state.skipped + 1
    }
  }
}
