import EventLoop
import Postgres
import Sale

/// Payments that were given up, and are authorised after all.
extension PurchaseStore {
  /// Why a payment that came late bought nothing.
  package nonisolated static let tooLate = "too_late"

  /// Begins an attempt with the payment of the one before, which was given up: `claim` claims its tickets. Repeated, it
  /// changes nothing.
  ///
  /// As with every purchase that begins, not of a life of the queue that has ended, nor over the limit per user, nor of an
  /// event that was cancelled. Nor where its buyer has bought otherwise since, or the payment is let go of (`noteTooLate`):
  /// whichever of the two is committed first, counts.
  /// - Returns: false where it cannot be, and nothing else was begun there: nothing may be ordered for it.
  package func reopen(_ confirmation: QueueStore.Confirmation, payment: String) async throws -> Bool {
    let (event, generation, position) = (confirmation.event, confirmation.generation, confirmation.position)
    let results = try await postgres.transaction([
      "SELECT FROM queue_life WHERE event_id = \(event) FOR SHARE",
      """
      UPDATE purchase p SET state = 'paying', try = \(confirmation.attempt), payment_id = \(payment), reason = NULL, stalls = 0, tried_at = now(),
        updated_at = now()
      WHERE event_id = \(event) AND generation = \(generation) AND position = \(position)
        AND try = \(confirmation.attempt - 1) AND user_id = \(confirmation.user) AND state = 'declined'
        AND (payment_id IS NULL OR payment_id = \(payment)) AND reason IS DISTINCT FROM \(Self.tooLate)
        AND NOT EXISTS (\(Self.boughtSince(event, generation, position, confirmation.user)))
        AND EXISTS (SELECT FROM event e WHERE e.id = p.event_id AND e.cancel_ended_at IS NULL)
        AND NOT EXISTS (SELECT FROM queue_life l WHERE l.event_id = p.event_id AND l.generation > p.generation)
      """,
      endOverLimit([event], [generation], [position], [confirmation.attempt], users: [confirmation.user]),
      """
      SELECT 1 AS one FROM purchase WHERE event_id = \(event) AND generation = \(generation) AND position = \(position)
        AND (state <> 'declined' OR try >= \(confirmation.attempt))
      """,
    ])
    return results.last?.isEmpty == false
  }

  /// The payment of an attempt that was given up is let go of, though it was authorised after all. Noted before it is: from
  /// then on it buys nothing any more. Repeated, it answers the same.
  /// - Returns: false where the purchase is not at that attempt any more, or has taken the payment up.
  package func noteTooLate(_ key: Key, attempt: Int) async throws -> Bool {
    try await !postgres.query(
      """
      UPDATE purchase SET reason = \(Self.tooLate), updated_at = now()
      WHERE event_id = \(key.event) AND generation = \(key.generation) AND position = \(key.position)
        AND try = \(attempt) AND state = 'declined' RETURNING try
      """
    ).isEmpty
  }

  /// Whether the user has bought anything of the event since that place, or is paying for it.
  package func hasBoughtSince(_ key: Key, user: String) async throws -> Bool {
    try await !postgres.query(Self.boughtSince(key.event, key.generation, key.position, user)).isEmpty
  }

  private static func boughtSince(_ event: Int, _ generation: Int, _ position: Int, _ user: String) -> SQL {
    """
    SELECT 1 AS one FROM purchase s WHERE s.event_id = \(event) AND s.user_id = \(user)
      AND (s.generation, s.position) > (\(generation)::int, \(position)::bigint) AND s.state IN ('paying', 'sold') LIMIT 1
    """
  }
}
