package import EventLoop
import Redis
import Sale
import StoreCommon

/// What Redis knows of tickets that were sold, and of the server that should know it too: evidence for when PostgreSQL
/// comes back with an older state.
@LoopActor
package struct StoreComparison {
  let store: QueueStore

  /// Bit i, most significant first, is set when ticket i was sold, in this life of the event's queue or an earlier one.
  package func soldTickets(event: Int) async throws -> [UInt8] {
    if case .string(let bytes) = try await store.redis.command(["GET", .text(EventKeys(event).sold)]) {
      bytes
    } else {
      []
    }
  }

  /// Notes tickets that PostgreSQL says are sold. What was noted before stays.
  package func noteSold(event: Int, _ bitmap: [UInt8]) async throws {
    _ = try await store.call("onsale_note_sold", event, [.bytes(bitmap)])
  }

  /// Tickets that nobody has bought after all.
  /// - Parameter readsAnew: whether the owner of the seats has them as sold, and reads them anew for it.
  package func dropSold(event: Int, _ tickets: [Int], readsAnew: Bool = false) async throws {
    if tickets.isEmpty { return }
    _ = try await store.call(
      "onsale_drop_sold", event, [.text(QueueStore.text(tickets)), readsAnew ? "1" : "0"])
  }

  /// Notes for servers that the event's records say what PostgreSQL knows, in this life of the Redis server.
  package func noteCompared(event: Int, identity: String) async throws {
    _ = try await store.redis.command(["HSET", .text(EventKeys(event).meta), "compared", .text(identity)])
  }

  /// The state of PostgreSQL whose purchases were last found to be those that the provider knows of; `nil` if Redis does
  /// not know. And the highest position of its log that anybody has seen.
  package func checkedDatabase() async throws -> (identity: String?, position: Int) {
    let answer = try await store.redis.command(["GET", .text(Partition.database)]).text
    let position = try await store.redis.command(["GET", .text(Partition.databasePosition)]).text
    return (answer, position.flatMap { Int($0) } ?? 0)
  }

  package func noteDatabase(position: Int) async throws {
    _ = try await store.redis.command(["SET", .text(Partition.databasePosition), .integer(position)])
  }

  /// - Parameter identity: `nil` takes the word back: its purchases are to be compared again.
  package func noteChecked(database identity: String?) async throws {
    if let identity {
      _ = try await store.redis.command(["SET", .text(Partition.database), .text(identity)])
    } else {
      _ = try await store.redis.command(["DEL", .text(Partition.database)])
    }
  }

  /// Makes `worker` the one who compares purchases with the provider's books, or lets it go on with that, for a while.
  /// - Returns: false while somebody else does.
  package func takeBooks(worker: String, milliseconds: Int) async throws -> Bool {
    try await store.redis.call(
      "onsale_lease", keys: [Partition.bookkeeper], [.text(worker), .integer(milliseconds)]
    ).integer == 1
  }
}
