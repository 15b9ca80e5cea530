package import EventLoop
package import Logging

/// The time of day by which others' promises are judged, such as the end of a token: this machine's, but for its steps.
///
/// What has stepped is either wrong now or was wrong before. A second clock, of another machine as a rule, says which:
/// while it does not agree with the new time, or cannot be asked, the old one goes on.
@LoopActor
package final class TrustedClock {
  /// A clock that is off by more than this has stepped; by less, it is followed.
  private static let stepMilliseconds = 30_000

  private let wall: @LoopActor () -> Int
  private let steady: @LoopActor () -> Int
  private let logger: Logger
  /// What the time of day is ahead of the clock that nobody sets.
  private var ahead: Int
  /// Whether the machine's clock says something else than this one.
  package private(set) var isApart = false

  /// - Parameters:
  ///   - wall: milliseconds since 1970.
  ///   - steady: milliseconds of a clock that nobody sets.
  package init(
    logger: Logger, wall: @escaping @LoopActor () -> Int = { WallClock.milliseconds },
    steady: @escaping @LoopActor () -> Int = { Int(EventLoop.shared.now) }
  ) {
    self.logger = logger
    self.wall = wall
    self.steady = steady
    ahead = wall() - steady()
  }

  /// Milliseconds since 1970.
  package var milliseconds: Int {
    let difference = wall() - steady() - ahead
    if abs(difference) <= Self.stepMilliseconds {
      ahead += difference
      isApart = false
    } else if !isApart {
      isApart = true
      logger.retrying("the clock has stepped; the old time goes on", ["clock.step_ms": difference])
    }
    return steady() + ahead
  }

  /// Notes what a second clock says: with it the machine's own is right by two to one.
  package func note(second milliseconds: Int) {
    _ = self.milliseconds
    let now = wall()
    guard isApart, abs(milliseconds - now) <= Self.stepMilliseconds else { return }
    ahead = now - steady()
    isApart = false
    logger.notice("the clock has stepped, and another one agrees with it")
  }
}

/// Asks a second clock while the machine's own is in doubt.
@LoopActor
package final class ClockWatch: Service {
  private static let pauseMilliseconds: UInt64 = 1_000

  package let name = "clock"
  private let clock: TrustedClock
  private let second: @LoopActor () async throws -> Int
  private let timer = LoopTimer()
  private var asking: Task<Void, Never>?

  /// - Parameter second: milliseconds since 1970.
  package init(_ clock: TrustedClock, second: @escaping @LoopActor () async throws -> Int) {
    self.clock = clock
    self.second = second
  }

  package func start() async throws {
    timer.schedule(afterMilliseconds: Self.pauseMilliseconds, every: Self.pauseMilliseconds) { [weak self] in
      self?.look()
    }
  }

  package func stop() async {
    timer.cancel()
    asking?.cancel()
  }

  private func look() {
    _ = clock.milliseconds
    guard clock.isApart, asking == nil else { return }
    // One at a time; the client's deadline ends it.
    asking = Task { @LoopActor in
      if let now = try? await second() { clock.note(second: now) }
      asking = nil
    }
  }
}
