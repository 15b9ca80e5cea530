/// How long to wait before each retry: twice as long each time up to a limit, and a random part of that, so that
/// many processes that lost the same server do not come back together.
package struct Backoff: Sendable {
  /// How long, in milliseconds, what came of a try must last before the waits begin anew after it.
  package static let provenMilliseconds: UInt64 = 10_000

  package let firstMilliseconds: UInt64
  package let limitMilliseconds: UInt64
  package private(set) var attempts = 0

  package init(firstMilliseconds: UInt64, limitMilliseconds: UInt64) {
    self.firstMilliseconds = firstMilliseconds
    self.limitMilliseconds = limitMilliseconds
  }

  /// The next wait in milliseconds: between half of the full one and all of it.
  package mutating func next(using random: inout some RandomNumberGenerator) -> UInt64 {
    let full = min(limitMilliseconds, firstMilliseconds << UInt64(min(attempts, 20)))
    attempts += 1
    return .random(in: full / 2...full, using: &random)
  }

  package mutating func next() -> UInt64 {
    var random = SystemRandomNumberGenerator()
    return next(using: &random)
  }

  /// What the last try brought has ended after so long. If it was there for long enough, the next wait is short
  /// again; if it was not, whoever comes back at once may be a part of what is wrong.
  package mutating func ended(afterMilliseconds milliseconds: UInt64) {
    if milliseconds >= Self.provenMilliseconds { attempts = 0 }
  }
}
