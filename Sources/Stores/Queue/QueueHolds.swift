package import EventLoop
import Redis
package import Sale
import StoreCommon

/// What is held, and the clock that says when it ends. None of it needs to know the seat map, nor PostgreSQL.
@LoopActor
package struct QueueHolds {
  let store: QueueStore

  package enum EndAnswer: Sendable, Equatable {
    /// - Parameter next: where to go on; `nil` when all events of the partition were looked at.
    case ended(next: String?)
    /// Redis's clock says something else than `QueueStore.clock` does, and nothing was ended.
    /// - Parameter seen: what the partition's clock says.
    case stepped(seen: Int)
  }

  /// Ends holds of the partition's events whose deadline has passed, about `limit` tickets at most. Their owner learns
  /// of it, now or when there is one. Anybody may call it at any time.
  /// - Parameter from: where an earlier call says to go on.
  package func end(_ partition: Partition, from: String? = nil, limit: Int) async throws -> EndAnswer {
    let askedAt = EventLoop.shared.now
    let values = try await call(
      "onsale_end_holds_of", partition,
      [.text(from ?? "0"), .integer(limit), store.clock.now(partition).map { .integer($0) } ?? ""])
    guard values.count > 1 else { throw StoreError(.unexpectedAnswer, "onsale_end_holds_of") }
    let seen = QueueStore.number(values[1])
    if values[0].text == "stepped" { return .stepped(seen: seen) }
    store.clock.note(partition, seen, askedAt: askedAt)
    let next = values.count > 2 ? values[2].text : nil
    return .ended(next: values[0].text == "more" || next != "0" ? next : nil)
  }

  /// Redis's clock has stepped: from now on the partition's is further ahead of it, by so much.
  /// - Parameter seen: what the partition's clock said before.
  /// - Returns: false when it says something else by now.
  /// - Throws: `StoreError` `staleEpoch` if the partition has another owner.
  package func setClock(_ partition: Partition, epoch: Int, forwardBy milliseconds: Int, seen: Int)
    async throws
    -> Bool
  {
    let askedAt = EventLoop.shared.now
    let values = try await call(
      "onsale_set_clock", partition, [.integer(epoch), .integer(milliseconds), .integer(seen)])
    guard values.count > 1, values[0].text == "ok" else { return false }
    store.clock.note(partition, QueueStore.number(values[1]), askedAt: askedAt)
    return true
  }

  /// After that: locks, which Redis ends by its own clock, last as long as the holds that they are for.
  /// - Parameter first: the rank of the first hold to look at.
  /// - Returns: how many were looked at; fewer than `limit` were the last.
  package func renewLocks(event: Int, from first: Int, limit: Int) async throws -> Int {
    let values = try await store.call("onsale_renew_locks", event, [.integer(first), .integer(limit)])
    return values.count > 1 ? QueueStore.number(values[1]) : 0
  }

  private func call(
    _ function: String, _ partition: Partition, _ arguments: [RedisArgument]
  ) async throws -> [RedisValue] {
    let answer = try await store.redis.call(function, keys: [partition.events], arguments)
    guard let values = answer.array, let word = values.first?.text else {
      throw StoreError(.unexpectedAnswer, function)
    }
    if word == "stale" { throw StoreError(.staleEpoch, function) }
    return values
  }

  /// The tickets of all holds, read in steps. What changes meanwhile is in the feedback.
  package func heldTickets(event: Int) async throws -> [Int] {
    let keys = EventKeys(event)
    var held: [Int] = []
    try await store.scan("ZSCAN", keys.holds) { members in
      var buckets: [String: [RedisArgument]] = [:]
      for index in stride(from: 0, to: members.count - 1, by: 2) {
        guard let position = members[index].text.flatMap({ Int($0) }) else { continue }
        let (key, field) = keys.record(position)
        buckets[key, default: []].append(.text(field))
      }
      let answers = try await store.pipelined(buckets.map { ["HMGET", .text($0.key)] + $0.value })
      for value in answers.flatMap({ $0.array ?? [] }) {
        guard let record = value.text.flatMap(RequestRecord.init), record.holdsTickets else { continue }
        held += record.tickets
      }
    }
    return held
  }

  /// Keys that one `MGET` asks for: some tenths of a millisecond of Redis.
  private static let locksAtOnce = 1_000

  /// Which of these tickets are locked now.
  package func lockedTickets(event: Int, _ tickets: [Int]) async throws -> [Int] {
    let prefix = EventKeys(event).prefix
    var locked: [Int] = []
    for start in stride(from: 0, to: tickets.count, by: Self.locksAtOnce) {
      let some = tickets[start..<min(start + Self.locksAtOnce, tickets.count)]
      let answer = try await store.redis.command(["MGET"] + some.map { .text("\(prefix)l:\($0)") })
      locked += zip(some, answer.array ?? []).compactMap { $1 == .null ? nil : $0 }
    }
    return locked
  }

  /// What was shown and is not decided yet, the latest deadline first: of two who had the same seats, the later one.
  ///
  /// Read in steps. What is shown meanwhile may be missing; the next tick counts it.
  package func shownHolds(event: Int) async throws -> [ShownHold] {
    var holds: [Int: ShownHold] = [:]
    try await store.scan("HSCAN", EventKeys(event).shown) { members in
      for (position, text) in QueueStore.fields(members) {
        guard let position = Int(position), let hold = ShownHold(shown: text, position) else { continue }
        holds[position] = hold
      }
    }
    return holds.values.sorted { ($0.deadline, $1.position) > ($1.deadline, $0.position) }
  }

  /// Whether anything was shown that is not decided yet.
  package func hasShownHolds(event: Int) async throws -> Bool {
    try await store.redis.command(["HLEN", .text(EventKeys(event).shown)]).integer ?? 0 > 0
  }
}
