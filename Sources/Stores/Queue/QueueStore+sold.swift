import EventLoop
import Redis
package import Sale
import StoreCommon

/// What Redis knows of tickets that were sold, and of the server that should know it too: evidence for when PostgreSQL
/// comes back with an older state.
extension QueueStore {
  /// Bit i, most significant first, is set when ticket i was sold, in this life of the event's queue or an earlier one.
  package func soldTickets(event: Int) async throws -> [UInt8] {
    if case .string(let bytes) = try await redis.command(["GET", .text(EventKeys(event).sold)]) {
      bytes
    } else {
      []
    }
  }

  /// Notes tickets that PostgreSQL says are sold. What was noted before stays.
  package func noteSold(event: Int, _ bitmap: [UInt8]) async throws {
    _ = try await call("onsale_note_sold", event, [.bytes(bitmap)])
  }

  /// Gives a buyer the hold again whose sale was taken back, for its whole time. Repeated, it changes nothing. The owner of
  /// the seats reads them anew for it.
  /// - Parameters:
  ///   - tickets: all that were sold: whoever has others, or fewer, has been told otherwise.
  ///   - holdSeconds: for how long at least: nobody is watching, since they were told that the tickets are theirs.
  /// - Returns: false where there is no such place any more, its tickets are somebody else's, its buyer has another one, or
  ///   no payment could begin.
  package func askAgain(
    event: Int, generation: Int, position: Int, attempt: Int, tickets: [Int], reason: String,
    holdSeconds: Int
  ) async throws -> Bool {
    let values = try await call(
      "onsale_ask_again", event,
      [
        .integer(position), .integer(attempt), .integer(generation), .text(Self.field(reason)),
        .text(tickets.map(String.init).joined(separator: ",")), .integer(holdSeconds * 1_000),
      ])
    return values[0].text == "ok"
  }

  /// Tickets that nobody has bought after all.
  /// - Parameter readsAnew: whether the owner of the seats has them as sold, and reads them anew for it.
  package func dropSold(event: Int, _ tickets: [Int], readsAnew: Bool = false) async throws {
    if tickets.isEmpty { return }
    _ = try await call(
      "onsale_drop_sold", event, [.text(Self.text(tickets)), readsAnew ? "1" : "0"])
  }

  package enum RefundAnswer: Sendable { case told, moved }

  /// Some tickets of a purchase were given back: its record says what is left, its user's count is lower, and the tickets
  /// do not count as sold. Repeated, it changes nothing. The owner of the seats reads them anew for it.
  /// - Parameters:
  ///   - purchase: as it is since.
  ///   - owned: how many tickets PostgreSQL counts for the user, where the purchase is of an earlier life of the line.
  /// - Returns: `moved` where the buyer has not been told of the purchase yet: later.
  package func giveBack(
    _ tickets: [Int], of key: PurchaseKey, _ purchase: Purchase, owned: Int
  ) async throws -> RefundAnswer {
    do {
      let answer = try await call(
        "onsale_give_back", key.event,
        [
          .integer(key.generation), .integer(key.position), .text(UserKey(purchase.user).text),
          .text(Self.text(purchase.tickets)), .integer(purchase.progress.amount), .text(purchase.note),
          .text(Self.text(tickets)),
          .integer(owned),
        ])
      return answer.first?.text == "moved" ? .moved : .told
    } catch let error as StoreError where error.code == .noQueue {
      // It has left Redis: PostgreSQL alone is asked.
      return .told
    }
  }

  /// The state of PostgreSQL whose purchases were last found to be those that the provider knows of; `nil` if Redis does
  /// not know. And the highest position of its log that anybody has seen.
  package func checkedDatabase() async throws -> (identity: String?, position: Int) {
    let answer = try await redis.command(["GET", .text(Partition.database)]).text
    let position = try await redis.command(["GET", .text(Partition.databasePosition)]).text
    return (answer, position.flatMap { Int($0) } ?? 0)
  }

  package func noteDatabase(position: Int) async throws {
    _ = try await redis.command(["SET", .text(Partition.databasePosition), .integer(position)])
  }

  /// - Parameter identity: `nil` takes the word back: its purchases are to be compared again.
  package func noteChecked(database identity: String?) async throws {
    if let identity {
      _ = try await redis.command(["SET", .text(Partition.database), .text(identity)])
    } else {
      _ = try await redis.command(["DEL", .text(Partition.database)])
    }
  }

  /// Makes `worker` the one who compares purchases with the provider's books, or lets it go on with that, for a while.
  /// - Returns: false while somebody else does.
  package func takeBooks(worker: String, milliseconds: Int) async throws -> Bool {
    try await redis.call(
      "onsale_lease", keys: [Partition.bookkeeper], [.text(worker), .integer(milliseconds)]
    ).integer == 1
  }
}
