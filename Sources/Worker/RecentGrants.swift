import Onsale

/// What a lane has granted of late: Redis may come back without its last writes, and then nobody else knows of a hold
/// that was not paid yet.
struct RecentGrants {
  /// More than any replica lags behind.
  private static let milliseconds: UInt64 = 60_000
  /// Beyond it the oldest are forgotten.
  private static let limit = 20_000

  private struct Entry {
    let decision: Decision
    let at: UInt64
  }

  private var entries: [Entry] = []
  private var generation = 0

  mutating func add(_ plan: ReservePlanner.Plan, skipped: Set<Int>, generation: Int, now: UInt64) {
    if generation != self.generation {
      entries = []
      self.generation = generation
    }
    for decision in plan.decisions where !skipped.contains(decision.position) {
      if case .granted = decision.outcome { entries.append(Entry(decision: decision, at: now)) }
    }
    // Seldom, as it moves all of them.
    if entries.count > 2 * Self.limit { entries.removeFirst(entries.count - Self.limit) }
  }

  /// Those that may be lost, in the order in which they were granted.
  mutating func take(generation: Int, now: UInt64) -> [Decision] {
    guard generation == self.generation else { return [] }
    entries.removeAll { $0.at + Self.milliseconds < now }
    return entries.map(\.decision)
  }
}
