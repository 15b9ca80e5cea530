/// The operator's limit on grants: a token bucket over a monotonic clock in milliseconds.
package struct GrantPace: Sendable {
  /// What may be granted at once after a pause, in seconds of the rate.
  private static let burstSeconds = 0.25

  private var rate: Int?
  private var tokens = 1.0
  private var filledAt: UInt64?

  /// - Parameter rate: grants per second; `nil` is as fast as possible, 0 is none.
  package init(rate: Int?) { self.rate = rate }

  package var isLimited: Bool { rate != nil }

  /// Keeps the tokens, so that setting the same rate again and again grants nothing.
  package mutating func setRate(_ rate: Int?) { self.rate = rate }

  /// How many requests may be granted now.
  package mutating func allowance(now: UInt64) -> Int {
    guard let rate else { return .max }
    if let filledAt, now > filledAt {
      let limit = max(1, Double(rate) * Self.burstSeconds)
      tokens = min(limit, tokens + Double(rate) * Double(now - filledAt) / 1000)
    }
    filledAt = now
    return rate == 0 ? 0 : Int(tokens)
  }

  package mutating func spend(_ grants: Int) {
    if rate != nil { tokens -= Double(grants) }
  }
}

/// How fast requests are granted, smoothed over some seconds; what an estimate of the wait is made from.
package struct GrantSpeed: Sendable {
  private static let windowMilliseconds: UInt64 = 1_000
  private static let weight = 0.3

  private var smoothed: Double?
  private var count = 0
  private var startedAt: UInt64?

  package init() {}

  package mutating func record(_ grants: Int, now: UInt64) {
    roll(now)
    count += grants
  }

  /// Grants per second, on the clock given to `record`.
  package mutating func perSecond(now: UInt64) -> Double {
    roll(now)
    return smoothed ?? 0
  }

  private mutating func roll(_ now: UInt64) {
    guard let began = startedAt else {
      startedAt = now
      return
    }
    guard now >= began + Self.windowMilliseconds else { return }
    let measured = Double(count) * 1000 / Double(now - began)
    smoothed = smoothed.map { $0 + Self.weight * (measured - $0) } ?? measured
    count = 0
    startedAt = now
  }
}
