import EventLoop
import Postgres
package import Sale
import StoreCommon

extension PurchaseStore {
  /// A purchase with everything that the record of its request must say.
  package struct Frozen: Sendable, Equatable {
    package let position: Int
    package let user: String
    package let state: PurchaseProgress.State
    package let attempt: Int
    package let tickets: [Int]
    package let amount: Int
    package let method: String
    package let reason: String
    /// Whether it was sold once, and taken back since its money could not be taken.
    package var hasLapsed = false
    /// As the request's id says it, where that is known.
    package var wish: WishPlace?
  }

  /// Whose these tickets are, as far as somebody has bought them or is paying for them.
  package func claims(event: Int, tickets: [Int]) async throws -> [Int: PurchaseKey] {
    let rows = try await postgres.query(
      """
      SELECT ticket_id, generation, position FROM claim
      WHERE event_id = \(event) AND ticket_id = ANY (\(tickets)::int[])
      """)
    var owners: [Int: PurchaseKey] = [:]
    for row in rows {
      owners[try row.int("ticket_id")] = PurchaseKey(
        event: event, generation: try row.int("generation"), position: try row.int("position"))
    }
    return owners
  }

  /// The purchases of one life of an event's queue behind `position`, in order, at most `limit`.
  package func purchases(
    event: Int, generation: Int, after position: Int, limit: Int
  ) async throws -> [Frozen] {
    let rows = try await postgres.query(
      """
      SELECT position, user_id, state, try, tickets, amount, method, line, ordinal,
        lapsed_at IS NOT NULL OR state IN ('declined', 'void') AND reason = \(Self.authorisationLapsed) AS has_lapsed,
        \(Self.toldReason) AS reason
      FROM purchase
      WHERE event_id = \(event) AND generation = \(generation) AND position > \(position)
      ORDER BY position LIMIT \(limit)
      """)
    return try rows.map { row in
      guard let state = PurchaseProgress.State(rawValue: try row.string("state")) else {
        throw StoreError(.unexpectedAnswer, "purchase.state")
      }
      return Frozen(
        position: try row.int("position"), user: try row.string("user_id"), state: state,
        attempt: try row.int("try"), tickets: row["tickets"].ints ?? [], amount: try row.int("amount"),
        method: try row.string("method"), reason: row["reason"].string ?? "",
        hasLapsed: row["has_lapsed"].bool ?? false, wish: WishPlace(row))
    }
  }
}
