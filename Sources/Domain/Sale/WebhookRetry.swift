/// When a message that was not taken is sent again, and when no more.
package enum WebhookRetry {
  /// From when the message was written, or replayed; then it is a dead letter.
  package static let days = 3
  package static let seconds = days * 86_400
  private static let firstSeconds = 5.0
  private static let longestSeconds = 3 * 3_600.0

  /// Seconds until the next attempt: twice as long after each, up to three hours, and spread over half of that, so that
  /// what failed together does not come back together.
  /// - Parameters:
  ///   - attempts: how often it was sent, the last time included.
  ///   - random: from 0 to 1.
  package static func pause(after attempts: Int, random: Double) -> Double {
    var pause = firstSeconds
    for _ in 1..<max(1, min(attempts, 32)) { pause = min(pause * 2, longestSeconds) }
    return pause * (0.5 + random / 2)
  }
}

/// How an endpoint does as a whole: one that takes nothing gets one message at a time, now and then, however many wait
/// for it.
package struct WebhookHealth: Sendable {
  private static let tries = 3
  private static let firstMilliseconds: UInt64 = 1_000
  private static let longestMilliseconds: UInt64 = 60_000
  /// An endpoint may ask for no longer a rest.
  package static let longestAskedSeconds = 3_600

  private var failures = 0
  private var restsUntil: UInt64 = 0

  package init() {}

  package var isAway: Bool { failures >= Self.tries }

  /// How many messages may be sent now, of `most` at once.
  package func allowance(of most: Int, now: UInt64) -> Int {
    if now < restsUntil { return 0 }
    return isAway ? 1 : most
  }

  /// Notes what became of messages that were sent together.
  /// - Parameters:
  ///   - askedSeconds: for how long the endpoint asked not to be sent anything.
  ///   - random: from 0 to 1.
  package mutating func note(
    hasTaken: Bool, hasRefused: Bool, askedSeconds: Int? = nil, now: UInt64, random: Double
  ) {
    if hasTaken {
      failures = 0
    } else if hasRefused {
      failures += 1
    }
    restsUntil = 0
    if isAway {
      var pause = Self.firstMilliseconds
      for _ in Self.tries..<min(failures, 32) { pause = min(pause * 2, Self.longestMilliseconds) }
      restsUntil = now + UInt64(Double(pause) * (0.5 + random / 2))
    }
    if let askedSeconds, askedSeconds > 0 {
      restsUntil = max(restsUntil, now + UInt64(min(askedSeconds, Self.longestAskedSeconds)) * 1_000)
    }
  }
}
