package import EventLoop
import Redis
package import Sale
import StoreCommon

/// A partition's stream of payments to be made: taken by one worker at a time, and by another where that one is silent.
@LoopActor
package struct ConfirmationStream {
  let store: QueueStore

  /// Reads the stream of confirmations. Where its group is gone, with all of Redis' data, it is made anew.
  private func readStream(_ partition: Partition, _ command: [RedisArgument]) async throws -> RedisValue {
    do {
      return try await store.redis.command(command)
    } catch  where error.code == .server("NOGROUP") {
      try await QueueStore.makeGroup(partition, store.redis)
      return try await store.redis.command(command)
    }
  }

  /// The entry that is next to be taken, if there is one, and for how long it has waited.
  package func next(_ partition: Partition) async throws -> (id: String, milliseconds: Int)? {
    let answer = try await store.redis.call("onsale_next_confirmation", keys: [partition.confirmations], [])
      .array
    guard let answer, answer.count == 2, let id = answer[0].text else { return nil }
    return (id, QueueStore.number(answer[1]))
  }

  /// New confirmations of a partition for this worker, at most `limit`.
  package func take(_ partition: Partition, worker: String, limit: Int) async throws
    -> [Confirmation]
  {
    let answer = try await readStream(
      partition,
      [
        "XREADGROUP", "GROUP", "workers", .text(worker), "COUNT", .integer(limit), "STREAMS",
        .text(partition.confirmations), ">",
      ])
    return try await handOver(Self.confirmations(answer.array?.first?.array?.last), from: partition)
  }

  /// Brings entries that are in another partition's stream than their event's to the right one: only there are they ended.
  /// Killed in between, one is in both streams, which is harmless.
  /// - Returns: the others.
  private func handOver(_ taken: [Confirmation], from partition: Partition) async throws -> [Confirmation] {
    for stray in taken where Partition(of: stray.event) != partition {
      guard let id = stray.entryID else { continue }
      let home = Partition(of: stray.event)
      _ = try await store.redis.command(["XADD", .text(home.confirmations), "*"] + Self.entry(stray))
      _ = try await store.redis.command(["XACK", .text(partition.confirmations), "workers", .text(id)])
      _ = try await store.redis.command(["XDEL", .text(partition.confirmations), .text(id)])
      _ = try await store.redis.command(["PUBLISH", .text(home.confirmWakes), ""])
    }
    return taken.filter { Partition(of: $0.event) == partition }
  }

  /// Takes over confirmations that a worker has had for longer than `idleMilliseconds`.
  /// - Parameter from: where an earlier call stopped looking.
  /// - Returns: what was taken over, and where to go on: Redis looks at ten times `limit` entries, whoever has them, and
  ///   says `nil` when it was through.
  package func claim(
    _ partition: Partition, worker: String, idleMilliseconds: Int, limit: Int, from: String? = nil
  ) async throws -> (taken: [Confirmation], next: String?) {
    let answer = try await readStream(
      partition,
      [
        "XAUTOCLAIM", .text(partition.confirmations), "workers", .text(worker), .integer(idleMilliseconds),
        .text(from ?? "0-0"), "COUNT", .integer(limit),
      ])
    guard let parts = answer.array, parts.count >= 2 else { return ([], nil) }
    let taken = try await handOver(Self.confirmations(parts[1]), from: partition)
    return (taken, parts[0].text == "0-0" ? nil : parts[0].text)
  }

  /// Says that `worker` is still at these entries, so that nobody takes them over.
  /// - Parameters:
  ///   - deliveries: how often they count as delivered.
  ///   - silentMilliseconds: for how long the worker is taken to have said nothing: whoever waits no longer than that
  ///     may take them over at once.
  package func keep(
    _ partition: Partition, worker: String, ids: [String], deliveries: Int, silentMilliseconds: Int = 0
  ) async throws {
    _ = try await store.redis.command(
      ["XCLAIM", .text(partition.confirmations), "workers", .text(worker), "0"] + ids.map { .text($0) } + [
        "IDLE", .integer(silentMilliseconds), "RETRYCOUNT", .integer(deliveries), "JUSTID",
      ])
  }

  /// Forgets workers that left nothing pending and were not heard of for so long. One that is alive comes back by itself.
  package func forgetConsumers(_ partition: Partition, idleMilliseconds: Int) async throws {
    _ = try await store.redis.call(
      "onsale_forget_consumers", keys: [partition.confirmations], [.integer(idleMilliseconds)])
  }

  /// Forgets a consumer that has nothing pending any more.
  package func retireConsumer(_ partition: Partition, worker: String) async throws {
    let pending = try await store.redis.command([
      "XPENDING", .text(partition.confirmations), "workers", "-", "+", "1", .text(worker),
    ])
    guard (pending.array ?? []).isEmpty else { return }
    _ = try await store.redis.command([
      "XGROUP", "DELCONSUMER", .text(partition.confirmations), "workers", .text(worker),
    ])
  }

  /// How often each pending entry was delivered, by its id.
  package func deliveries(_ partition: Partition, worker: String, limit: Int) async throws -> [String: Int] {
    let answer = try await store.redis.command([
      "XPENDING", .text(partition.confirmations), "workers", "-", "+", .integer(limit), .text(worker),
    ])
    var counts: [String: Int] = [:]
    for value in answer.array ?? [] {
      if let parts = value.array, parts.count == 4, let id = parts[0].text {
        counts[id] = QueueStore.number(parts[3])
      }
    }
    return counts
  }

  /// Forgets an entry that needs no answer: a later attempt of the same buyer is under way.
  package func acknowledge(_ confirmation: Confirmation) async throws {
    guard let id = confirmation.entryID else { return }
    let stream = Partition(of: confirmation.event).confirmations
    _ = try await store.redis.command(["XACK", .text(stream), "workers", .text(id)])
    _ = try await store.redis.command(["XDEL", .text(stream), .text(id)])
  }

  private static func confirmations(_ entries: RedisValue?) -> [Confirmation] {
    (entries?.array ?? []).compactMap { value in
      guard let parts = value.array, parts.count == 2, let id = parts[0].text, let list = parts[1].array
      else {
        return nil
      }
      let fields = QueueStore.fields(list)
      guard let event = fields["e"].flatMap({ Int($0) }), let position = fields["p"].flatMap({ Int($0) })
      else {
        return nil
      }
      return Confirmation(
        entryID: id, event: event, generation: fields["g"].flatMap { Int($0) } ?? 0, position: position,
        attempt: fields["t"].flatMap { Int($0) } ?? 0, tickets: QueueStore.tickets(fields["k"] ?? ""),
        amount: fields["a"].flatMap { Int($0) } ?? 0, method: fields["m"] ?? "", user: fields["u"] ?? "",
        wish: fields["l"].flatMap { WishPlace($0) }, client: fields["c"] ?? "",
        latePayment: fields["z"].flatMap { $0.isEmpty ? nil : $0 },
        otherSeats: OtherSeats(field: fields["y"] ?? ""))
    }
  }

  /// What `confirmations` reads.
  static func entry(_ confirmation: Confirmation) -> [RedisArgument] {
    [
      "e", .integer(confirmation.event), "g", .integer(confirmation.generation), "p",
      .integer(confirmation.position), "t", .integer(confirmation.attempt), "k",
      .text(QueueStore.text(confirmation.tickets)), "a", .integer(confirmation.amount), "m",
      .text(confirmation.method),
      "u",
      .text(confirmation.user), "l", .text(confirmation.wish?.text ?? ""), "c", .text(confirmation.client),
      "z", .text(confirmation.latePayment ?? ""), "y", .text(confirmation.otherSeats.field),
    ]
  }
}
