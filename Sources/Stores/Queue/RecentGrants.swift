package import Sale

/// What the loops of an event have granted of late and is not given back: Redis may come back without its last writes, and
/// then nobody else knows of a hold that was not paid yet.
package struct RecentGrants: Sendable {
  /// More than any replica lags behind.
  static let milliseconds: UInt64 = 60_000
  /// Beyond twice as many the oldest are forgotten.
  private static let limit = 20_000

  private struct Entry {
    let decision: Decision
    let at: UInt64
    /// Counts what was granted.
    let number: Int
  }

  private var entries: [Int: Entry] = [:]
  private var positions: [Int: Int] = [:]
  private var generation = 0
  private var granted = 0
  private var tidiedAt: UInt64 = 0

  package init() {}

  package mutating func add(
    _ plan: ReservePlanner.Plan, skipped: Set<Int>, generation: Int, now: UInt64
  ) {
    if generation != self.generation {
      self = RecentGrants()
      self.generation = generation
    }
    for decision in plan.decisions where !skipped.contains(decision.position) {
      guard case .granted(let tickets, _) = decision.outcome else { continue }
      forget(decision.position)
      // That these had been let go may not have been heard.
      end(tickets)
      granted += 1
      entries[decision.position] = Entry(decision: decision, at: now, number: granted)
      for ticket in tickets { positions[ticket] = decision.position }
    }
    // Seldom, as it looks at all of them.
    if now >= tidiedAt + Self.milliseconds || entries.count > 2 * Self.limit { tidy(now) }
  }

  /// Somebody else may have these tickets from now on: a hold that ended is not given back to who had it.
  package mutating func end(_ tickets: [Int]) {
    for ticket in tickets {
      if let position = positions[ticket] { forget(position) }
    }
  }

  /// Those that may be lost, in the order in which they were granted.
  package mutating func take(generation: Int, now: UInt64) -> [Decision] {
    guard generation == self.generation else { return [] }
    tidy(now)
    return entries.values.sorted { $0.number < $1.number }.map(\.decision)
  }

  private mutating func tidy(_ now: UInt64) {
    tidiedAt = now
    let oldest = granted - Self.limit
    for (position, entry) in entries where entry.at + Self.milliseconds < now || entry.number <= oldest {
      forget(position)
    }
  }

  private mutating func forget(_ position: Int) {
    guard let entry = entries.removeValue(forKey: position),
      case .granted(let tickets, _) = entry.decision.outcome
    else { return }
    for ticket in tickets where positions[ticket] == position { positions[ticket] = nil }
  }
}
