package import EventLoop
package import Sale

/// What time it is for each partition's holds, between two looks at Redis's clock: this process's own clock, which no
/// operator and no time server sets, goes on from what Redis said last.
///
/// Deadlines are on Redis's clock. When that steps, whoever looks often sees by this one that it did.
@LoopActor
package final class QueueClock {
  /// A clock that is off by more than this has stepped. One that is off by less is followed, as one that drifts is.
  package nonisolated static let stepMilliseconds = 3_000
  /// For how long a look says what time it is. Two clocks that run by themselves differ by a second in some hours.
  private static let trustMilliseconds: UInt64 = 600_000

  /// An answer that took longer says nothing of the time.
  private static let promptMilliseconds: UInt64 = 500

  private struct Look {
    let milliseconds: Int
    let at: UInt64
  }

  private var looks: [Partition: Look] = [:]

  package nonisolated init() {}

  /// What the partition's clock says now, in milliseconds since 1970; `nil` if nobody looked lately.
  package func now(_ partition: Partition) -> Int? {
    let now = EventLoop.shared.now
    guard let look = looks[partition], now <= look.at + Self.trustMilliseconds else { return nil }
    return look.milliseconds + Int(now - min(now, look.at))
  }

  /// How long ago somebody looked; `nil` if nobody did.
  func age(_ partition: Partition) -> UInt64? {
    looks[partition].map { EventLoop.shared.now - min(EventLoop.shared.now, $0.at) }
  }

  /// Notes what the partition's clock said. An answer that was long on its way says nothing.
  /// - Parameter askedAt: when it was asked, on the loop's clock.
  func note(_ partition: Partition, _ milliseconds: Int, askedAt: UInt64) {
    guard Self.isPrompt(askedAt) else { return }
    looks[partition] = Look(milliseconds: milliseconds, at: EventLoop.shared.now)
  }

  /// Whether an answer that comes now says what time it is: on the way there, and back, a process may have stood still.
  package static func isPrompt(_ askedAt: UInt64) -> Bool {
    EventLoop.shared.now < askedAt + promptMilliseconds
  }

  /// What was said of the partition's time does not count any more.
  package func forget(_ partition: Partition) { looks[partition] = nil }
}
