import EventLoop
import Redis
package import Sale
import StoreCommon

/// The end of holds, and the clock that says when it comes. None of it needs to know the seat map, nor PostgreSQL.
extension QueueStore {
  package enum HoldsAnswer: Sendable, Equatable {
    /// - Parameter next: where to go on; `nil` when all events of the partition were looked at.
    case ended(next: String?)
    /// Redis's clock says something else than `clock` does, and nothing was ended.
    /// - Parameter seen: what the partition's clock says.
    case stepped(seen: Int)
  }

  /// Ends holds of the partition's events whose deadline has passed, about `limit` tickets at most. Their owner learns
  /// of it, now or when there is one. Anybody may call it at any time.
  /// - Parameter from: where an earlier call says to go on.
  package func endHolds(_ partition: Partition, from: String? = nil, limit: Int) async throws -> HoldsAnswer {
    let askedAt = EventLoop.shared.now
    let values = try await call(
      "onsale_end_holds_of", partition,
      [.text(from ?? "0"), .integer(limit), clock.now(partition).map { .integer($0) } ?? ""])
    guard values.count > 1 else { throw StoreError(.unexpectedAnswer, "onsale_end_holds_of") }
    let seen = Self.number(values[1])
    if values[0].text == "stepped" { return .stepped(seen: seen) }
    clock.note(partition, seen, askedAt: askedAt)
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
    clock.note(partition, Self.number(values[1]), askedAt: askedAt)
    return true
  }

  /// After that: locks, which Redis ends by its own clock, last as long as the holds that they are for.
  /// - Parameter first: the rank of the first hold to look at.
  /// - Returns: how many were looked at; fewer than `limit` were the last.
  package func renewLocks(event: Int, from first: Int, limit: Int) async throws -> Int {
    let values = try await call("onsale_renew_locks", event, [.integer(first), .integer(limit)])
    return values.count > 1 ? Self.number(values[1]) : 0
  }

  private func call(
    _ function: String, _ partition: Partition, _ arguments: [RedisArgument]
  ) async throws -> [RedisValue] {
    let answer = try await redis.call(function, keys: [partition.events], arguments)
    guard let values = answer.array, let word = values.first?.text else {
      throw StoreError(.unexpectedAnswer, function)
    }
    if word == "stale" { throw StoreError(.staleEpoch, function) }
    return values
  }

  /// Whether somebody looked at the partition's clock within so long.
  package func knowsClock(_ partition: Partition, within milliseconds: UInt64) -> Bool {
    clock.age(partition).map { $0 < milliseconds } ?? false
  }

  /// Looks at the partition's clock, unless somebody did within so long.
  package func lookAtClock(_ partition: Partition, within milliseconds: UInt64) async throws {
    if knowsClock(partition, within: milliseconds) { return }
    let askedAt = EventLoop.shared.now
    clock.note(partition, try await self.milliseconds(of: partition), askedAt: askedAt)
  }

  /// What the partition's clock says, in milliseconds since 1970.
  package func milliseconds(of partition: Partition) async throws -> Int {
    let values = try await redis.commands([["TIME"], ["GET", .text(partition.clock)]])
    return try Self.milliseconds(values[0]) + Self.number(values[1])
  }

  /// What Redis's own clock says, whether or not it has stepped.
  package func serverMilliseconds() async throws -> Int {
    try Self.milliseconds(try await redis.command(["TIME"]))
  }

  private static func milliseconds(_ time: RedisValue) throws -> Int {
    guard let parts = time.array, parts.count == 2 else { throw StoreError(.unexpectedAnswer, "TIME") }
    return number(parts[0]) * 1_000 + number(parts[1]) / 1_000
  }
}
