package import EventLoop
import Redis
package import Sale
import StoreCommon

/// What is put right in a queue by what PostgreSQL has.
@LoopActor
package struct QueueRepairs {
  let store: QueueStore

  package enum Repair: String, Sendable {
    case purchased = "P"
    /// The payment is under way; `reason` is its method.
    case confirming = "C"
    /// The hold goes on until its deadline.
    case declined = "D"
    case expired = "X"
    /// These say of a hold, or of a place in line, that it had ended.
    case cancelled = "L"
    case declinedForGood = "d"
    case soldOut = "S"
    case rejected = "J"
    /// The record stays as it is; its hold is put into the index of deadlines again.
    case indexed = "I"
  }

  /// Puts a request's record into the state that PostgreSQL has, with everything that goes with it: locks,
  /// bitmap, the user's place and count, and word to the owner of the seat map.
  /// - Parameters:
  ///   - expected: the state that the caller saw, `nil` for no record; nothing is done if it has changed since.
  ///   - free: those of its tickets that nobody else has, to be sold again.
  ///   - user: used where there was no record, and whom the record must be of to be told of a purchase.
  ///   - wish: used where there was no record.
  /// - Returns: whether it was written.
  package func repair(
    event: Int, position: Int, expected: RequestRecord.State?, to repair: Repair, attempt: Int, amount: Int,
    tickets: [Int], free: [Int], reason: String, user: String, wish: WishPlace? = nil
  ) async throws -> Bool {
    let answer = try await store.redis.call(
      "onsale_repair", keys: [EventKeys(event).meta],
      [
        .integer(position), .text(expected.map { String($0.rawValue) } ?? ""), .text(repair.rawValue),
        .integer(attempt), .integer(amount), .text(QueueStore.text(tickets)),
        .text(free.map(String.init).joined(separator: ",")), .text(QueueStore.field(reason)),
        .text(UserKey(user).text), .text(user), .text(wish?.text ?? ""),
      ])
    return answer.array?.first?.text == "ok"
  }

  /// Deletes the lock of a ticket if this position still has it.
  /// - Parameter isFree: whether to offer the ticket to the owner of the seat map again.
  /// - Returns: whether it was there.
  package func dropLock(event: Int, ticket: Int, position: Int, isFree: Bool) async throws -> Bool {
    let answer = try await store.redis.call(
      "onsale_drop_lock", keys: [EventKeys(event).meta],
      [.integer(ticket), .integer(position), isFree ? "1" : "0"])
    return answer.array?.first?.text == "ok"
  }
}
