import EventLoop
import Postgres
import Sale

/// What workers do with refunds. Each step may be repeated after an unknown outcome.
extension RefundStore {
  /// Leases due refunds to this caller: they become due again by themselves, later with every lease. Those whose money is
  /// on its way, but of which not everybody was told, are among them.
  package func due(limit: Int) async throws -> [Due] {
    // Later than any is put off: PostgreSQL's clock has gone back since.
    _ = try await postgres.query(
      """
      UPDATE refund SET available_at = now() WHERE available_at > now() + CASE WHEN tries > 0 AND leases = 0
        THEN \(retrySeconds(Self.tryLimit))::float8 ELSE \(leaseSeconds * 32)::float8 END * interval '1 s'
      """)
    let rows = try await postgres.query(
      """
      UPDATE refund r
      SET leases = leases + 1, available_at = now() + \(leaseSeconds) * interval '1 s' * 2 ^ least(r.leases, 4)
      FROM (SELECT event_id, id FROM refund WHERE available_at <= now()
        ORDER BY available_at LIMIT \(limit) FOR UPDATE SKIP LOCKED) d, purchase p
      WHERE r.event_id = d.event_id AND r.id = d.id AND \(unsafeSQL: Self.ofPurchase)
      RETURNING \(unsafeSQL: Self.columns), p.payment_id, p.captured_at IS NOT NULL AS captured,
        p.charged IS NULL AND r.tickets @> p.tickets AS whole, r.attempt,
        extract(epoch FROM now() - r.attempted_at)::bigint AS attempt_seconds
      """)
    return try rows.map { row in
      Due(
        refund: try Self.refund(row), payment: row["payment_id"].string ?? "",
        isCaptured: try row.bool("captured"), isWhole: try row.bool("whole"), attempt: try row.int("attempt"),
        attemptSeconds: try row.int("attempt_seconds"))
    }
  }

  /// The money is on its way: the tickets are nobody's from now on.
  ///
  /// **The one place where a refund comes to be**: whoever wants to tell of it does so in this transaction.
  /// - Parameters:
  ///   - providerID: its id at the provider; `nil` where nothing had been taken.
  ///   - isVoid: whether nothing had been taken, and nothing will be.
  ///   - hasLapsed: whether nothing had been taken, and nothing can be: the authorisation is gone. Of a part of a purchase:
  ///     what is left of that is then to be paid otherwise, or taken back, by whoever captures it.
  /// - Returns: whether this call did it.
  @discardableResult
  package func succeed(
    _ refund: Refund, providerID: String?, isVoid: Bool = false, hasLapsed: Bool = false
  ) async throws -> Bool {
    let key = refund.key
    return try await postgres.withTransaction { transaction in
      // As whoever asks for a refund does it: first the purchase, then its refunds.
      let rows = try await transaction.query(
        """
        SELECT state, payment_id, tickets FROM purchase WHERE event_id = \(key.event)
          AND generation = \(key.generation) AND position = \(key.position) FOR UPDATE
        """)
      let ended = try await transaction.query(
        """
        UPDATE refund SET state = 'succeeded', provider_id = \(providerID), ended_at = now(),
          amount = CASE WHEN \(hasLapsed) THEN 0 ELSE amount END
        WHERE event_id = \(key.event) AND id = \(refund.id)::uuid AND state = 'requested' RETURNING id
        """)
      guard !ended.isEmpty, let row = rows.first, try row.string("state") == "sold" else {
        return !ended.isEmpty
      }
      // Of a purchase of which nothing is left there is nothing to pay otherwise.
      let isOver = hasLapsed && Set(row["tickets"].ints ?? []).isSubset(of: refund.tickets)
      try await Self.takeOut(
        refund.tickets, of: key, row, amount: hasLapsed ? 0 : refund.amount,
        isVoid: isVoid || isOver, hasLapsed: hasLapsed, releases: refund.releases, reason: "organizer",
        transaction)
      if hasLapsed, !isOver, let payment = row["payment_id"].string {
        // Noted again, as it may have been taken for done.
        _ = try await transaction.query(
          """
          INSERT INTO outbox (event_id, generation, position, kind, payment_id, available_at)
          VALUES (\(key.event), \(key.generation), \(key.position), 'capture', \(payment), now())
          ON CONFLICT DO NOTHING
          """)
      }
      return true
    }
  }

  /// The tickets are not the purchase's any more.
  /// - Parameters:
  ///   - purchase: its payment and its tickets, locked.
  ///   - reason: why, for systems outside.
  static func takeOut(
    _ tickets: [Int], of key: PurchaseKey, _ purchase: PostgresRow, amount: Int, isVoid: Bool,
    hasLapsed: Bool = false, releases: Bool, reason: String, _ transaction: PostgresTransaction
  ) async throws {
    let back = Set(tickets)
    let left = (purchase["tickets"].ints ?? []).filter { !back.contains($0) }
    _ = try await transaction.query(
      """
      UPDATE purchase SET tickets = \(left)::int[],
        charged = CASE WHEN \(isVoid) THEN 0 WHEN \(hasLapsed) THEN charged ELSE coalesce(charged, amount) END,
        amount = (SELECT coalesce(sum(price), 0) FROM ticket WHERE event_id = \(key.event) AND id = ANY (\(left)::int[])),
        refunded = refunded + \(isVoid ? 0 : amount), updated_at = now(),
        captured_at = CASE WHEN \(isVoid) THEN coalesce(captured_at, now()) ELSE captured_at END
      WHERE event_id = \(key.event) AND generation = \(key.generation) AND position = \(key.position)
      """)
    _ = try await transaction.query(
      """
      UPDATE ticket SET purchased = false, payment_id = NULL,
        withheld = CASE WHEN \(releases) THEN withheld ELSE coalesce(withheld, 'blocked') END
      WHERE event_id = \(key.event) AND id = ANY (\(tickets)::int[])
        AND payment_id = \(purchase["payment_id"].string)
      """)
    _ = try await transaction.query(
      """
      DELETE FROM claim WHERE event_id = \(key.event) AND ticket_id = ANY (\(tickets)::int[])
        AND generation = \(key.generation) AND position = \(key.position)
      """)
    // Refunds that have ended are never forgotten, so that each has a number of its own.
    let ended = try await transaction.query(
      """
      SELECT count(*) AS ended, coalesce(bool_or(state = 'failed' AND reason = \(Self.returned)), false) AS came_back
      FROM refund WHERE event_id = \(key.event) AND generation = \(key.generation)
        AND position = \(key.position) AND ended_at IS NOT NULL
      """
    ).first
    // Of money that came back everybody was told when it was given back first.
    let isTold = try tickets.isEmpty && ended?.bool("came_back") ?? false
    if !isTold {
      _ = try await transaction.query(
        WebhookStore.tellRefund(
          of: key, tickets: tickets, amount: isVoid ? 0 : amount, reason: reason,
          ordinal: try ended?.int("ended") ?? 1))
    }
    if isVoid {
      _ = try await transaction.query(
        """
        DELETE FROM outbox WHERE event_id = \(key.event) AND generation = \(key.generation)
          AND position = \(key.position) AND kind = 'capture'
        """)
    }
  }

  /// How many tickets PostgreSQL counts for a user of an event.
  package func owned(event: Int, user: String) async throws -> Int {
    try await postgres.query("SELECT tickets FROM buyer WHERE event_id = \(event) AND user_id = \(user)")
      .first?.int("tickets") ?? 0
  }

  /// From now on it has another idempotency key: that came of nothing which it had until now.
  package func takeNextKey(_ due: Due) async throws {
    _ = try await postgres.query(
      """
      UPDATE refund SET attempt = attempt + 1, attempted_at = now()
      WHERE event_id = \(due.refund.key.event) AND id = \(due.refund.id)::uuid AND attempt = \(due.attempt)
      """)
  }

  /// Nothing is left to do for these.
  package func told(_ refunds: [Refund]) async throws {
    if refunds.isEmpty { return }
    _ = try await postgres.query(
      """
      UPDATE refund r SET available_at = NULL
      FROM unnest(\(refunds.map(\.key.event))::bigint[], \(refunds.map(\.id))::text[]) AS i (event, id)
      WHERE r.event_id = i.event AND r.id = i.id::uuid AND r.state <> 'requested'
      """)
  }
}
