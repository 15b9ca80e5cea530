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
  /// event that was cancelled.
  package func reopen(_ confirmation: QueueStore.Confirmation, payment: String) async throws {
    let (event, generation, position) = (confirmation.event, confirmation.generation, confirmation.position)
    _ = try await postgres.transaction([
      "SELECT FROM queue_life WHERE event_id = \(event) FOR SHARE",
      """
      UPDATE purchase p SET state = 'paying', try = \(confirmation.attempt), payment_id = \(payment), reason = NULL, stalls = 0, tried_at = now(),
        updated_at = now()
      WHERE event_id = \(event) AND generation = \(generation) AND position = \(position)
        AND try = \(confirmation.attempt - 1) AND user_id = \(confirmation.user) AND state = 'declined'
        AND (payment_id IS NULL OR payment_id = \(payment))
        AND EXISTS (SELECT FROM event e WHERE e.id = p.event_id AND e.cancel_ended_at IS NULL)
        AND NOT EXISTS (SELECT FROM queue_life l WHERE l.event_id = p.event_id AND l.generation > p.generation)
      """,
      endOverLimit([event], [generation], [position], [confirmation.attempt], users: [confirmation.user]),
    ])
  }

  /// The payment of an attempt that was given up is let go of, though it was authorised after all.
  package func noteTooLate(_ key: Key, attempt: Int) async throws {
    _ = try await postgres.query(
      """
      UPDATE purchase SET reason = \(Self.tooLate), updated_at = now()
      WHERE event_id = \(key.event) AND generation = \(key.generation) AND position = \(key.position)
        AND try = \(attempt) AND state = 'declined'
      """)
  }

  /// Whether the user has bought anything of the event since that place, or is paying for it.
  package func hasBoughtSince(_ key: Key, user: String) async throws -> Bool {
    try await !postgres.query(
      """
      SELECT 1 AS one FROM purchase WHERE event_id = \(key.event) AND user_id = \(user)
        AND (generation, position) > (\(key.generation)::int, \(key.position)::bigint) AND state IN ('paying', 'sold') LIMIT 1
      """
    ).isEmpty
  }
}
