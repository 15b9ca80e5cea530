package import EventLoop
package import Postgres
package import Sale
import StoreCommon

/// What the audit reads of PostgreSQL, page by page, and the few statements with which it repairs.
@LoopActor
package final class AuditStore {
  package let postgres: PostgresClient

  package init(_ postgres: PostgresClient) { self.postgres = postgres }

  /// Events by ascending id, from the first above `id`.
  package func events(after id: Int, limit: Int) async throws -> [AuditedEvent] {
    let rows = try await postgres.query(
      """
      SELECT \(unsafeSQL: EventSettings.columns), e.currency,
        greatest(e.per_user_limit, e.highest_per_user_limit) AS highest_limit,
        (e.state <> 'draft' OR e.onsale_at IS NOT NULL) AS is_public
      FROM event e WHERE e.id > \(id) ORDER BY e.id LIMIT \(limit)
      """)
    return try rows.map { row in
      AuditedEvent(
        settings: try EventSettings(row), currency: try row.string("currency"),
        highestPerUserLimit: try row.int("highest_limit"), isPublic: try row.bool("is_public"))
    }
  }

  /// The fencing number of each partition that ever had an owner.
  package func epochs() async throws -> [Int: Int] {
    var epochs: [Int: Int] = [:]
    for row in try await postgres.query("SELECT id, epoch FROM partition") {
      epochs[try row.int("id")] = try row.int("epoch")
    }
    return epochs
  }

  /// Reads an event's sales as of one moment, in pages.
  /// - Parameters:
  ///   - tickets: called with each page, by ascending id.
  ///   - purchases: called with each page, by generation and position.
  /// - Parameter since: what was looked at and found clean before.
  package func sales(
    event: Int, pageSize: Int, since: AuditBaseline? = nil, tickets: @LoopActor ([AuditedTicket]) -> Void,
    purchases: @LoopActor ([AuditedPurchase]) -> Void
  ) async throws -> [AuditedOutboxEntry] {
    try await postgres.withTransaction { transaction in
      _ = try await transaction.query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
      var last = 0
      while true {
        let page = try await Self.tickets(transaction, event: event, after: last, limit: pageSize)
        tickets(page)
        guard page.count == pageSize, let end = page.last?.id else { break }
        last = end
      }
      var end = (generation: 0, position: 0)
      while true {
        let page = try await Self.purchases(transaction, event: event, after: end, limit: pageSize, since)
        purchases(page)
        guard page.count == pageSize, let last = page.last else { break }
        end = (last.key.generation, last.key.position)
      }
      return try await Self.entries(transaction, event: event)
    }
  }

  private static func tickets(
    _ transaction: PostgresTransaction, event: Int, after id: Int, limit: Int
  ) async throws -> [AuditedTicket] {
    let rows = try await transaction.query(
      """
      SELECT id, price, purchased, withheld IS NOT NULL AS withheld, payment_id FROM ticket
      WHERE event_id = \(event) AND id > \(id) ORDER BY id LIMIT \(limit)
      """)
    guard let last = try rows.last?.int("id") else { return [] }
    // Not joined: in a rush, claims grow faster than the planner's statistics.
    var claims: [Int: PurchaseKey] = [:]
    for row in try await transaction.query(
      """
      SELECT ticket_id, generation, position FROM claim
      WHERE event_id = \(event) AND ticket_id > \(id) AND ticket_id <= \(last)
      """)
    {
      claims[try row.int("ticket_id")] = PurchaseKey(
        event: event, generation: try row.int("generation"), position: try row.int("position"))
    }
    return try rows.map { row in
      let id = try row.int("id")
      return AuditedTicket(
        id: id, price: try row.int("price"), isPurchased: try row.bool("purchased"),
        isWithheld: try row.bool("withheld"), paymentID: row["payment_id"].string, claim: claims[id])
    }
  }

  /// One purchase as it is now.
  package func purchase(_ key: PurchaseKey) async throws -> AuditedPurchase? {
    let rows = try await postgres.query(
      """
      SELECT \(Self.columns) FROM purchase
      WHERE event_id = \(key.event) AND generation = \(key.generation) AND position = \(key.position)
      """)
    return try rows.first.map { try Self.purchase($0, event: key.event) }
  }

  private static func purchases(
    _ transaction: PostgresTransaction, event: Int, after end: (generation: Int, position: Int), limit: Int,
    _ since: AuditBaseline?
  ) async throws -> [AuditedPurchase] {
    let rows = try await transaction.query(
      """
      SELECT \(Self.columns), captured_at IS NOT NULL AND \(since.map { SQL("NOT \($0.isNewer)") } ?? "false")
        AS settled
      FROM purchase
      WHERE event_id = \(event) AND (generation, position) > (\(end.generation)::int, \(end.position)::bigint)
      ORDER BY generation, position LIMIT \(limit)
      """)
    return try rows.map { row in
      var purchase = try purchase(row, event: event)
      purchase.isSettled = try row.bool("settled")
      return purchase
    }
  }

  static func purchase(_ row: PostgresRow, event: Int) throws -> AuditedPurchase {
    guard let state = PurchaseProgress.State(rawValue: try row.string("state")) else {
      throw StoreError(.unexpectedAnswer, "purchase.state")
    }
    var purchase = AuditedPurchase(
      key: PurchaseKey(
        event: event, generation: try row.int("generation"), position: try row.int("position")),
      user: try row.string("user_id"), state: state, attempt: try row.int("try"),
      tickets: row["tickets"].ints ?? [], amount: try row.int("amount"), charged: row["charged"].int,
      refunded: try row.int("refunded"), currency: try row.string("currency"),
      paymentID: row["payment_id"].string, reason: row["reason"].string,
      isCaptureNoted: try row.bool("captured"), ageSeconds: try row.int("age"))
    for dispute in (row["disputes"].string ?? "").split(separator: "\n") {
      let words = dispute.split(separator: " ")
      if words.count == 2 { purchase.disputes[String(words[0])] = String(words[1]) }
    }
    purchase.lost = try row.int("lost")
    purchase.hasOthersUnasked = try row.bool("has_others_unasked")
    for refund in (row["refunds"].string ?? "").split(separator: "\n") {
      let words = refund.split(separator: " ")
      guard words.count == 4, let amount = Int(words[1]) else {
        throw StoreError(.unexpectedAnswer, "purchase.refunds")
      }
      switch (RefundStore.State(rawValue: String(words[0])), words[2]) {
      case (.requested, _): purchase.isBeingGivenBack = true
      case (.failed, _) where words[3] == "last": purchase.hasDeadRefund = true
      case (.failed, _): purchase.hasClosedRefund = purchase.hasClosedRefund || words[3] == "closed"
      case (.succeeded, "-"): break
      case (.succeeded, let id): purchase.givenBack[String(id)] = amount
      case (nil, _): throw StoreError(.unexpectedAnswer, "refund.state")
      }
    }
    return purchase
  }

  /// Of `purchase`, as `purchase(_:event:)` reads it.
  static let columns: SQL = """
    purchase.event_id, purchase.generation, purchase.position, purchase.user_id, purchase.state, purchase.try,
    purchase.tickets, purchase.amount, purchase.charged, purchase.refunded, purchase.currency, purchase.payment_id,
    \(PurchaseStore.toldReason) AS reason,
    purchase.state = 'sold' AND purchase.instead_of IS NOT NULL
      AND purchase.other_seats IS DISTINCT FROM \(OtherSeats.agreed.rawValue) AS has_others_unasked,
    (SELECT string_agg(d.id || ' ' || d.status, E'\\n') FROM dispute d WHERE d.event_id = purchase.event_id
      AND d.generation = purchase.generation AND d.position = purchase.position) AS disputes,
    (SELECT string_agg(concat_ws(' ', r.state, r.amount, coalesce(r.provider_id, '-'),
        CASE WHEN r.closed_by IS NOT NULL THEN 'closed' WHEN r.retried_by IS NULL THEN 'last' ELSE 'again' END), E'\\n')
      FROM refund r WHERE r.event_id = purchase.event_id AND r.generation = purchase.generation
      AND r.position = purchase.position) AS refunds,
    \(lost) AS lost, captured_at IS NOT NULL AS captured, extract(epoch FROM now() - updated_at)::bigint AS age
    """

  /// What the buyer's bank has taken back for good.
  static let lost: SQL = """
    (SELECT coalesce(sum(d.amount), 0)::bigint FROM dispute d WHERE d.event_id = purchase.event_id
      AND d.generation = purchase.generation AND d.position = purchase.position AND d.status = 'lost')
    """

  /// The oldest of an event's entries: how many there are is bounded by what the outbox worker leaves behind.
  private static func entries(_ transaction: PostgresTransaction, event: Int) async throws
    -> [AuditedOutboxEntry]
  {
    let rows = try await transaction.query(
      """
      SELECT generation, position, kind, payment_id, attempts,
        extract(epoch FROM now() - available_at)::bigint AS overdue
      FROM (
        SELECT generation, position, kind, payment_id, attempts, available_at FROM outbox WHERE event_id = \(event)
        UNION ALL SELECT generation, position, 'refund', id::text, leases, available_at FROM refund
        WHERE event_id = \(event) AND available_at IS NOT NULL
      ) c ORDER BY available_at LIMIT 1000
      """)
    return try rows.map { row in
      AuditedOutboxEntry(
        key: PurchaseKey(
          event: event, generation: try row.int("generation"), position: try row.int("position")),
        kind: try row.string("kind"), paymentID: try row.string("payment_id"),
        attempts: try row.int("attempts"), overdueSeconds: try row.int("overdue"))
    }
  }

  /// Users whose count of tickets is not that of their purchases, as of one moment, by their ids and at most `limit`.
  package func miscountedBuyers(event: Int, limit: Int) async throws -> [(
    user: String, counted: Int, bought: Int
  )] {
    let rows = try await postgres.query(
      """
      SELECT user_id, coalesce(b.tickets, 0) AS counted, coalesce(p.tickets, 0) AS bought
      FROM (SELECT user_id, tickets FROM buyer WHERE event_id = \(event)) b
      FULL JOIN (SELECT user_id, sum(cardinality(tickets)) AS tickets FROM purchase
        WHERE event_id = \(event) AND state IN ('paying', 'sold') GROUP BY user_id) p USING (user_id)
      WHERE coalesce(b.tickets, 0) <> coalesce(p.tickets, 0)
      ORDER BY user_id LIMIT \(limit)
      """)
    return try rows.map { (try $0.string("user_id"), try $0.int("counted"), try $0.int("bought")) }
  }

  // MARK: Repair

  /// Counts the tickets of a user anew. Whoever begins a purchase of theirs meanwhile waits, and is added.
  package func recount(event: Int, user: String) async throws {
    _ = try await postgres.transaction([
      "SELECT FROM buyer WHERE event_id = \(event) AND user_id = \(user) FOR UPDATE",
      """
      INSERT INTO buyer (event_id, user_id, tickets)
      SELECT \(event)::bigint, \(user)::text, coalesce(sum(cardinality(tickets)), 0) FROM purchase
      WHERE event_id = \(event) AND user_id = \(user) AND state IN ('paying', 'sold')
      ON CONFLICT (event_id, user_id) DO UPDATE SET tickets = excluded.tickets
      """,
    ])
  }

  /// Those of `tickets` that nobody has bought or claimed.
  package func free(event: Int, of tickets: [Int]) async throws -> [Int] {
    let rows = try await postgres.query(
      """
      SELECT t.id FROM ticket t
      WHERE t.event_id = \(event) AND t.id = ANY (\(tickets)::int[]) AND NOT t.purchased
        AND NOT EXISTS (SELECT 1 FROM claim c WHERE c.event_id = t.event_id AND c.ticket_id = t.id)
      """)
    return try rows.map { try $0.int("id") }
  }

  /// Deletes claims that belong to no live purchase and whose tickets are not sold.
  /// - Returns: how many were deleted.
  package func releaseClaims(event: Int, tickets: [Int]) async throws -> Int {
    try await postgres.query(
      """
      DELETE FROM claim c USING ticket t
      WHERE c.event_id = \(event) AND c.ticket_id = ANY (\(tickets)::int[]) AND t.event_id = c.event_id
        AND t.id = c.ticket_id AND NOT t.purchased
        AND NOT EXISTS (SELECT 1 FROM purchase p WHERE p.event_id = c.event_id AND p.generation = c.generation
          AND p.position = c.position AND p.state IN ('paying', 'sold') AND c.ticket_id = ANY (p.tickets))
      RETURNING c.ticket_id
      """
    ).count
  }

  /// Claims and marks the tickets of a sold purchase, unless somebody else has them.
  /// - Returns: how many tickets are now its own.
  package func deliver(_ key: PurchaseKey) async throws -> Int {
    let results = try await postgres.transaction([
      """
      INSERT INTO claim (event_id, ticket_id, generation, position)
      SELECT p.event_id, k.id, p.generation, p.position FROM purchase p CROSS JOIN LATERAL unnest(p.tickets) AS k (id)
      WHERE p.event_id = \(key.event) AND p.generation = \(key.generation) AND p.position = \(key.position)
        AND p.state = 'sold'
      ORDER BY 1, 2
      ON CONFLICT DO NOTHING
      """,
      """
      UPDATE ticket t SET purchased = true, payment_id = p.payment_id
      FROM purchase p JOIN claim c ON c.event_id = p.event_id AND c.generation = p.generation
        AND c.position = p.position AND c.ticket_id = ANY (p.tickets)
      WHERE p.event_id = \(key.event) AND p.generation = \(key.generation) AND p.position = \(key.position)
        AND p.state = 'sold' AND t.event_id = c.event_id AND t.id = c.ticket_id
      RETURNING t.id
      """,
    ])
    return results[1].count
  }

  /// Has a worker ask the provider how a payment stands.
  package func noteNews(of payment: String) async throws {
    try await RefundStore(postgres).note(payments: [payment])
  }

  /// Takes the partition away from its owner, who then reads the tickets anew, or whoever comes next.
  /// - Parameter accepted: the fencing number that Redis accepts.
  /// - Returns: the new fencing number.
  package func fence(_ partition: Partition, above accepted: Int) async throws -> Int {
    let rows = try await postgres.query(
      """
      INSERT INTO partition (id, epoch) VALUES (\(partition.number), \(accepted + 1))
      ON CONFLICT (id) DO UPDATE SET epoch = greatest(partition.epoch, \(accepted)) + 1 RETURNING epoch
      """)
    guard let row = rows.first else { throw StoreError(.unexpectedAnswer, "partition") }
    return try row.int("epoch")
  }
}
