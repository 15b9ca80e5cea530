package import EventLoop
package import Sale

/// How far each line was, as far as this process has seen: positions are given out once, so a line that is shorter than
/// before is an older copy of itself, which Redis came back with after it had lost its last writes.
@LoopActor
package final class LineMemory {
  /// Events remembered; beyond it all are forgotten, which only delays what is noticed.
  private static let limit = 50_000
  /// Events whose grants are remembered; beyond it all are forgotten, which only gives fewer holds back.
  private static let grantsLimit = 1_000

  package struct Line: Sendable {
    package let generation: Int
    package fileprivate(set) var position: Int
    fileprivate var connection: UInt64
    package fileprivate(set) var isLost = false
  }

  package private(set) var lines: [Int: Line] = [:]
  /// The Redis server whose records of an event were last compared with PostgreSQL, by this process.
  package var compared: [Int: String] = [:]
  /// What was granted of late, should Redis come back without it. Outlives a loop: the lease may be lost with Redis.
  private var grants: [Int: RecentGrants] = [:]

  /// Since when this process has owned an event's line without a gap, by its fencing number now.
  private var ownership: [Int: (epoch: Int, since: UInt64)] = [:]

  package nonisolated init() {}

  /// Notes how far a line was as it was read.
  /// - Parameter reach: its end, plus how many took up a place of an earlier life: both only grow.
  /// - Returns: false if it had been further before, in the same life of the queue.
  package func note(event: Int, generation: Int, reach: Int) -> Bool {
    if let known = lines[event], known.generation == generation, known.position > reach { return false }
    keep(Line(generation: generation, position: reach, connection: 0), event)
    return true
  }

  /// Notes a position that was given out just now.
  /// - Parameter connection: tells connections to Redis apart. Over one of them answers come in order, and Redis does not
  ///   go back; so only the first position of a new one says anything.
  /// - Returns: false if it, or a later one, had been given out before, or others of the same life were given out twice.
  package func gaveOut(event: Int, generation: Int, position: Int, connection: UInt64) -> Bool {
    if var known = lines[event], known.generation == generation {
      if known.isLost || known.connection != connection && position <= known.position {
        lose(event: event)
        return false
      }
      known.position = max(known.position, position)
      known.connection = connection
      lines[event] = known
    } else {
      keep(Line(generation: generation, position: position, connection: connection), event)
    }
    return true
  }

  /// Notes that the line is an older copy of itself: no place of this life counts, those neither that Redis gave out before
  /// it learns of it.
  package func lose(event: Int) { lines[event]?.isLost = true }

  package func granted(
    event: Int, _ plan: ReservePlanner.Plan, skipped: Set<Int>, generation: Int, now: UInt64
  ) {
    if plan.decisions.isEmpty { return }
    if grants[event] == nil, grants.count >= Self.grantsLimit { grants = [:] }
    grants[event, default: RecentGrants()].add(plan, skipped: skipped, generation: generation, now: now)
  }

  /// Nobody holds these tickets any more.
  package func letGo(event: Int, _ tickets: [Int]) { grants[event]?.end(tickets) }

  package func recentGrants(event: Int, generation: Int, now: UInt64) -> [Decision] {
    grants[event]?.take(generation: generation, now: now) ?? []
  }

  /// Notes that this process owns the line. - Returns: whether it has granted all that was granted of late.
  package func owns(event: Int, epoch: Int, now: UInt64) -> Bool {
    // Each owner has the next number: one more is this process again, whose lease was lost with Redis.
    if let known = ownership[event], epoch == known.epoch || epoch == known.epoch + 1 {
      ownership[event]?.epoch = epoch
      return now >= known.since + RecentGrants.milliseconds
    }
    if ownership.count >= Self.limit { ownership = [:] }
    ownership[event] = (epoch, now)
    return false
  }

  package func forget(event: Int) {
    ownership[event] = nil
    lines[event] = nil
    compared[event] = nil
    grants[event] = nil
  }

  private func keep(_ line: Line, _ event: Int) {
    if lines.count >= Self.limit { lines = [:] }
    lines[event] = line
  }
}
