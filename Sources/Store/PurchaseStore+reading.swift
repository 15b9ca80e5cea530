import EventLoop
import Postgres

extension PurchaseStore {
  /// A purchase with everything that the record of its request must say.
  package struct Frozen: Sendable, Equatable {
    package let position: Int
    package let user: String
    package let state: Standing.State
    package let attempt: Int
    package let tickets: [Int]
    package let amount: Int
    package let method: String
    package let reason: String
  }

  /// The purchases of one life of an event's queue behind `position`, in order, at most `limit`.
  package func purchases(
    event: Int, generation: Int, after position: Int, limit: Int
  ) async throws -> [Frozen] {
    let rows = try await postgres.query(
      """
      SELECT position, user_id, state, try, tickets, amount, method, reason FROM purchase
      WHERE event_id = \(event) AND generation = \(generation) AND position > \(position)
      ORDER BY position LIMIT \(limit)
      """)
    return try rows.map { row in
      guard let state = Standing.State(rawValue: try row.string("state")) else {
        throw StoreError(.unexpectedAnswer, "purchase.state")
      }
      return Frozen(
        position: try row.int("position"), user: try row.string("user_id"), state: state,
        attempt: try row.int("try"), tickets: row["tickets"].ints ?? [], amount: try row.int("amount"),
        method: try row.string("method"), reason: row["reason"].string ?? "")
    }
  }
}
