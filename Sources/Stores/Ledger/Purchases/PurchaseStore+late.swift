import EventLoop
import Postgres
package import Sale
import StoreCommon

/// Payments that were given up, and are authorised after all.
extension PurchaseStore {
  /// Why a payment that came late bought nothing.
  package nonisolated static let tooLate = "too_late"

  /// Begins an attempt with the payment of the one before, which was given up: `claim` claims its tickets. Repeated, it
  /// changes nothing.
  ///
  /// The next attempt has the purchase's own tickets. The one after next has those of the confirmation in their place, if its
  /// buyer agreed to that with the attempt that was given up, and they are as many, of the same sections, for the money that
  /// was authorised. A worker of the version before begins none but the next.
  ///
  /// As with every purchase that begins, not of a life of the queue that has ended, nor over the limit per user, nor of an
  /// event that was cancelled. Nor where its buyer has bought otherwise since, or the payment is let go of (`noteTooLate`):
  /// whichever of the two is committed first, counts.
  /// - Returns: false where it cannot be, and nothing else was begun there: nothing may be ordered for it.
  package func reopen(_ confirmation: Confirmation, payment: String) async throws -> Bool {
    let (event, generation, position) = (confirmation.event, confirmation.generation, confirmation.position)
    let attempt = confirmation.attempt
    let results = try await postgres.transaction([
      "SELECT FROM queue_life WHERE event_id = \(event) FOR SHARE",
      """
      UPDATE purchase p SET state = 'paying', try = \(attempt), payment_id = \(payment), reason = NULL, stalls = 0,
        tried_at = now(), updated_at = now(),
        instead_of = CASE WHEN try = \(attempt - 2) THEN tickets ELSE instead_of END,
        tickets = CASE WHEN try = \(attempt - 2) THEN \(confirmation.tickets)::int[] ELSE tickets END
      WHERE event_id = \(event) AND generation = \(generation) AND position = \(position)
        AND (try = \(attempt - 1) OR try = \(attempt - 2) AND \(Self.areAsAgreed(confirmation.tickets)))
        AND user_id = \(confirmation.user) AND state = 'declined'
        AND (payment_id IS NULL OR payment_id = \(payment)) AND reason IS DISTINCT FROM \(Self.tooLate)
        AND NOT EXISTS (\(Self.boughtSince(event, generation, position, confirmation.user)))
        AND EXISTS (SELECT FROM event e WHERE e.id = p.event_id AND e.cancel_ended_at IS NULL)
        AND NOT EXISTS (SELECT FROM queue_life l WHERE l.event_id = p.event_id AND l.generation > p.generation)
      """,
      endOverLimit([event], [generation], [position], [attempt], users: [confirmation.user]),
      """
      SELECT 1 AS one FROM purchase WHERE event_id = \(event) AND generation = \(generation) AND position = \(position)
        AND (state <> 'declined' OR try >= \(attempt))
      """,
    ])
    return results.last?.isEmpty == false
  }

  /// Whether these tickets may stand in the place of those of the purchase `p`.
  private static func areAsAgreed(_ tickets: [Int]) -> SQL {
    """
    p.other_seats = \(OtherSeats.agreed.rawValue) AND p.other_seats_try = p.try AND cardinality(p.tickets) = \(tickets.count)
      AND p.amount = (SELECT sum(t.price) FROM ticket t WHERE t.event_id = p.event_id AND t.id = ANY (\(tickets)::int[])
        AND NOT t.purchased AND t.withheld IS NULL)
      AND (SELECT array_agg(t.section_id ORDER BY t.section_id) FROM ticket t WHERE t.event_id = p.event_id
          AND t.id = ANY (\(tickets)::int[]))
        = (SELECT array_agg(t.section_id ORDER BY t.section_id) FROM ticket t WHERE t.event_id = p.event_id
          AND t.id = ANY (p.tickets))
    """
  }

  /// A purchase whose payment was given up, and came late.
  package struct Late: Sendable, Equatable {
    package let state: PurchaseProgress.State
    package let attempt: Int
    package let tickets: [Int]
    /// What the provider holds for it.
    package let amount: Int
    package let takesOthers: Bool
    /// Whether it is let go of already.
    package let isTooLate: Bool
  }

  /// Purchases whose payments came late, those that were confirmed first first; at most as many as are asked for.
  package func late(
    event: Int, generation: Int, positions: [Int]
  ) async throws -> [(position: Int, late: Late)] {
    let rows = try await postgres.query(
      """
      SELECT p.position, p.state, p.try, p.tickets, p.amount,
        p.other_seats_try = p.try AND p.other_seats = \(OtherSeats.agreed.rawValue) AS takes_others,
        p.reason IS NOT DISTINCT FROM \(Self.tooLate) AS is_too_late
      FROM unnest(\(positions)::bigint[]) AS i (position)
      JOIN purchase p ON p.event_id = \(event) AND p.generation = \(generation) AND p.position = i.position
      ORDER BY p.tried_at NULLS FIRST, p.position
      """)
    return try rows.map { row in
      guard let state = PurchaseProgress.State(rawValue: try row.string("state")) else {
        throw StoreError(.unexpectedAnswer, "purchase.state")
      }
      return (
        try row.int("position"),
        Late(
          state: state, attempt: try row.int("try"), tickets: row["tickets"].ints ?? [],
          amount: try row.int("amount"), takesOthers: row["takes_others"].bool ?? false,
          isTooLate: try row.bool("is_too_late"))
      )
    }
  }

  /// The payment of an attempt that was given up is let go of, though it was authorised after all. Noted before it is: from
  /// then on it buys nothing any more. Repeated, it answers the same.
  /// - Returns: false where the purchase is not at that attempt any more, or has taken the payment up.
  package func noteTooLate(_ key: PurchaseKey, attempt: Int) async throws -> Bool {
    try await !postgres.query(
      """
      UPDATE purchase SET reason = \(Self.tooLate), updated_at = now()
      WHERE event_id = \(key.event) AND generation = \(key.generation) AND position = \(key.position)
        AND try = \(attempt) AND state = 'declined' RETURNING try
      """
    ).isEmpty
  }

  /// Whether the user has bought anything of the event since that place, or is paying for it.
  package func hasBoughtSince(_ key: PurchaseKey, user: String) async throws -> Bool {
    try await !postgres.query(Self.boughtSince(key.event, key.generation, key.position, user)).isEmpty
  }

  private static func boughtSince(_ event: Int, _ generation: Int, _ position: Int, _ user: String) -> SQL {
    """
    SELECT 1 AS one FROM purchase s WHERE s.event_id = \(event) AND s.user_id = \(user)
      AND (s.generation, s.position) > (\(generation)::int, \(position)::bigint) AND s.state IN ('paying', 'sold') LIMIT 1
    """
  }
}
