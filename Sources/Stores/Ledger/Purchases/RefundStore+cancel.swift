import EventLoop
import Postgres
package import Sale
import StoreCommon

/// Events that do not take place: whoever has bought gets their money back.
///
/// That an event is cancelled is written down at once, and closes its sale for good. Workers then write down a refund for
/// each purchase, some at a time, until none is left. Whoever dies meanwhile leaves no more to do than before.
extension RefundStore {
  /// How far it is, in purchases.
  package struct Cancellation: Sendable, Equatable {
    package let reason: String
    /// Seconds since 1970.
    package let askedAt: Int
    /// `nil` while there is something left to do.
    package let endedAt: Int?
    /// Purchases that were given back in whole for it, and what for; in minor units.
    package let refunded: Int
    package let amount: Int
    /// Those of which the provider gives nothing back.
    package let failed: Int
    /// Those that are still to be given back, or are being paid.
    package let left: Int
    /// Refunds among these that have failed and are tried again, each later than the one before.
    package let retried: Int
    package let currency: String
    package var all: Int { refunded + failed + left }
  }

  /// - Returns: `nil` for an event that was not cancelled.
  package func cancellation(event: Int) async throws -> Cancellation? {
    let rows = try await postgres.query(
      """
      SELECT e.cancel_reason, e.currency, extract(epoch FROM e.cancelled_at)::bigint AS asked_at,
        extract(epoch FROM e.cancel_ended_at)::bigint AS ended_at,
        (SELECT count(DISTINCT (p.generation, p.position)) FROM refund r
          JOIN purchase p ON \(unsafeSQL: Self.ofPurchase) AND NOT \(Self.isOwed)
          WHERE r.event_id = e.id AND r.cancels AND r.state = 'succeeded') AS refunded,
        (SELECT coalesce(sum(r.amount), 0)::bigint FROM refund r WHERE r.event_id = e.id AND r.cancels
          AND r.state = 'succeeded') AS amount,
        (SELECT count(*) FROM purchase p WHERE p.event_id = e.id AND p.state = 'sold' AND \(Self.isOwed)
          AND \(Self.hasFailed)) AS failed,
        (SELECT count(*) FROM purchase p WHERE p.event_id = e.id AND (p.state = 'paying'
          OR p.state = 'sold' AND \(Self.isOwed) AND NOT \(Self.hasFailed))) AS left,
        (SELECT count(*) FROM refund r WHERE r.event_id = e.id AND r.state = 'requested' AND r.tries > 0) AS retried
      FROM event e WHERE e.id = \(event) AND e.cancelled_at IS NOT NULL
      """)
    guard let row = rows.first else { return nil }
    return Cancellation(
      reason: row["cancel_reason"].string ?? "", askedAt: try row.int("asked_at"),
      endedAt: row["ended_at"].int, refunded: try row.int("refunded"), amount: try row.int("amount"),
      failed: try row.int("failed"), left: try row.int("left"), retried: try row.int("retried"),
      currency: try row.string("currency"))
  }

  /// Whether the purchase `p` of the event `e` was tried in vain, since its refund was last asked for.
  private static let hasFailed: SQL = """
    EXISTS (SELECT FROM refund r WHERE r.event_id = p.event_id AND r.generation = p.generation
      AND r.position = p.position AND r.cancels AND r.state = 'failed' AND r.retried_by IS NULL
      AND r.created_at >= e.cancel_asked_at)
    """

  /// Whether something of the sold purchase `p` is to be given back: it has tickets, or had some whose money is not with
  /// its buyer, since it came back, or was not given back with them.
  private static let isOwed: SQL = """
    (cardinality(p.tickets) > 0 OR coalesce(p.charged, p.amount) - p.refunded > \(lost))
    """

  /// Cancelled events with something left to do, at most some.
  package func cancelling() async throws -> [Int] {
    try await postgres.query(
      """
      SELECT id FROM event WHERE cancelled_at IS NOT NULL AND cancel_ended_at IS NULL ORDER BY cancel_asked_at LIMIT 20
      """
    ).map { try $0.int("id") }
  }

  /// Writes down refunds of a cancelled event's purchases, at most `limit`, or that it is at its end. Called by several
  /// processes at once, each purchase is given back once.
  /// - Parameter isOver: whether nobody can begin to pay any more, since its line has left Redis.
  package func cancelSome(event: Int, isOver: Bool, limit: Int) async throws {
    try await postgres.withTransaction { transaction in
      // One at a time: each statement then sees what the one before has written.
      let open = try await transaction.query(
        """
        SELECT cancelled_by FROM event WHERE id = \(event) AND cancelled_at IS NOT NULL AND cancel_ended_at IS NULL
        FOR UPDATE
        """)
      guard let who = try open.first?.string("cancelled_by") else { return }
      // Locked, so that nobody asks for a part of one meanwhile.
      _ = try await transaction.query(
        """
        INSERT INTO refund (event_id, generation, position, tickets, amount, releases, who, cancels)
        SELECT p.event_id, p.generation, p.position, p.tickets,
          -- First the tickets, each for its price; whatever is owed besides follows once they are given back.
          greatest(0, least(coalesce(p.charged, p.amount) - p.refunded - \(Self.lost),
            (SELECT sum(t.price) FROM ticket t WHERE t.event_id = p.event_id AND t.id = ANY (p.tickets)))), false, \(who), true
        FROM (
          SELECT p.* FROM purchase p JOIN event e ON e.id = p.event_id
          WHERE p.event_id = \(event) AND p.state = 'sold' AND \(Self.isOwed)
            AND NOT EXISTS (SELECT FROM refund r WHERE r.event_id = p.event_id AND r.generation = p.generation
              AND r.position = p.position AND r.state = 'requested')
            AND NOT \(Self.hasFailed)
          ORDER BY p.generation, p.position LIMIT \(limit) FOR UPDATE OF p
        ) p
        """)
      try await Self.replaceFailed(event: event, transaction)
      if !isOver { return }
      _ = try await transaction.query(
        """
        UPDATE event e SET cancel_ended_at = now() WHERE e.id = \(event)
          AND NOT EXISTS (SELECT FROM refund r WHERE r.event_id = e.id AND r.state = 'requested')
          AND NOT EXISTS (SELECT FROM purchase p WHERE p.event_id = e.id AND (p.state = 'paying'
            OR p.state = 'sold' AND \(Self.isOwed) AND NOT \(Self.hasFailed)))
        """)
    }
  }
}

extension EventStore {
  /// Closes a sale for good, since its event does not take place, and has everything given back that was bought. Repeated
  /// it tries again what failed.
  /// - Throws: `StoreError.conflict` for an event whose sale never began.
  package func cancel(event: Int, reason: String, by who: String) async throws -> EventSettings {
    try await postgres.withTransaction { transaction in
      let state = try await Self.lock(event, transaction)
      let known = try await transaction.query("SELECT generation FROM event WHERE id = \(event)")
      guard state != .draft, try known.first?.int("generation") ?? 0 > 0 else {
        throw StoreError(.conflict, "The sale has never been open: delete the event, or close it.")
      }
      let rows = try await transaction.query(
        """
        UPDATE event e SET state = 'closed', version = e.version + 1, payments_stopped = true,
          cancelled_at = coalesce(e.cancelled_at, now()), cancelled_by = \(who), cancel_reason = \(reason),
          cancel_asked_at = now(), cancel_ended_at = NULL, message = \(reason)
        WHERE e.id = \(event) RETURNING \(unsafeSQL: EventSettings.columns)
        """)
      try await Self.note(who, "cancel", event: event, detail: reason, transaction)
      guard let row = rows.first else { throw Self.unknown }
      return try EventSettings(row)
    }
  }
}
