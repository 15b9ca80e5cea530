import EventLoop
import Postgres
package import Sale

/// What happens to payments at the provider without us: refunds and disputes that somebody makes at its dashboard.
///
/// A message of the provider says no more than which payment it is about: it may be late, come twice, or be of yesterday.
/// It is written down, and a worker asks the provider how things stand. What was asked so counts, in whatever order.
extension RefundStore {
  /// A payment that something has happened to.
  package struct News: Sendable {
    package let payment: String
    /// How often that was said: more may have happened since.
    package let times: Int

    /// What came of asking.
    package struct Learned: Sendable, Equatable {
      /// What changed, in words; empty where nothing did.
      package var changes: [String] = []
      /// A worker has to do with it: it must be asked for again.
      package var isUnderWay = false
    }
  }

  /// Money given back as the provider has it.
  package struct Seen: Sendable {
    package let id: String
    /// The id of a refund of ours; `nil` if it was made elsewhere.
    package let reference: String?
    package let amount: Int
    package let hasFailed: Bool

    package init(id: String, reference: String?, amount: Int, hasFailed: Bool) {
      self.id = id
      self.reference = reference
      self.amount = amount
      self.hasFailed = hasFailed
    }
  }

  package struct Dispute: Sendable, Equatable {
    package let id: String
    package let amount: Int
    package let reason: String
    package let status: String
    /// Seconds since 1970.
    package let createdAt: Int

    package init(id: String, amount: Int, reason: String, status: String, createdAt: Int) {
      self.id = id
      self.amount = amount
      self.reason = reason
      self.status = status
      self.createdAt = createdAt
    }
  }

  /// Who is noted for what was given back at the provider.
  package nonisolated static let provider = "provider"

  /// Notes payments that something has happened to.
  package func note(payments: [String]) async throws {
    if payments.isEmpty { return }
    _ = try await postgres.query(
      """
      INSERT INTO payment_news AS n (payment_id)
      SELECT DISTINCT i.id FROM unnest(\(payments)::text[]) AS i (id) ORDER BY 1
      ON CONFLICT (payment_id) DO UPDATE SET times = n.times + 1, available_at = least(n.available_at, now())
      """)
  }

  /// Leases news to this caller; they become due again by themselves.
  package func dueNews(limit: Int) async throws -> [News] {
    try await postgres.query(
      """
      UPDATE payment_news n
      SET leases = leases + 1, available_at = now() + \(leaseSeconds) * interval '1 s' * 2 ^ least(n.leases, 6)
      FROM (SELECT payment_id FROM payment_news WHERE available_at <= now() ORDER BY available_at LIMIT \(limit)
        FOR UPDATE SKIP LOCKED) d
      WHERE n.payment_id = d.payment_id RETURNING n.payment_id, n.times
      """
    ).map { News(payment: try $0.string("payment_id"), times: try $0.int("times")) }
  }

  /// Nothing is left to learn of it, unless something was said meanwhile.
  package func learned(_ news: News) async throws {
    _ = try await postgres.query(
      "DELETE FROM payment_news WHERE payment_id = \(news.payment) AND times = \(news.times)")
  }

  /// Brings a purchase in line with what the provider says of its payment. Repeated, it changes nothing.
  ///
  /// What was given back elsewhere is written down; where that is all that was left, the tickets are not the buyer's any
  /// more, and blocked. Of a part nobody knows which tickets it is for: they stay.
  package func reconcile(
    _ key: PurchaseKey, payment: String, refunds: [Seen], disputes: [Dispute]
  ) async throws -> News.Learned {
    try await postgres.withTransaction { transaction in
      // Of what was never sold, whatever is there is let go of by those who pay.
      guard let purchase = try await Self.lock(key, transaction), try purchase.string("state") == "sold",
        purchase["payment_id"].string == payment
      else { return News.Learned() }
      var changes: [String] = []
      var isUnderWay = false
      var refunded = try purchase.int("refunded")
      let charged = try purchase.int("charged")
      for seen in refunds {
        let known = try await transaction.query(
          """
          SELECT id::text AS id, state, amount, who FROM refund WHERE event_id = \(key.event)
            AND (provider_id = \(seen.id) OR id::text = \(seen.reference) AND state = 'requested')
          """)
        if let row = known.first {
          // One of ours that is under way is its worker's, who may hear what it was first: that it failed since is learned
          // once that worker is through.
          if try row.string("state") == "requested" { isUnderWay = isUnderWay || seen.hasFailed }
          guard seen.hasFailed, try row.string("state") == "succeeded" else { continue }
          refunded -= try row.int("amount")
          let id = try row.string("id")
          _ = try await transaction.query(
            """
            UPDATE refund SET state = 'failed', reason = \(Self.returned), available_at = NULL
            WHERE event_id = \(key.event) AND id = \(id)::uuid
            """)
          _ = try await transaction.query(
            """
            UPDATE purchase SET refunded = refunded - \(try row.int("amount")) WHERE event_id = \(key.event)
              AND generation = \(key.generation) AND position = \(key.position)
            """)
          changes.append("refund \(seen.id) of \(try row.int("amount")) came back")
          // Whoever gave it back at the provider decides there what becomes of it.
          if try row.string("who") != Self.provider {
            _ = try await again(id, of: key, transaction)
          }
          continue
        }
        if seen.hasFailed { continue }
        let isAll = refunded + seen.amount >= charged
        let tickets = isAll ? purchase["tickets"].ints ?? [] : []
        _ = try await transaction.query(
          """
          INSERT INTO refund (event_id, generation, position, tickets, amount, releases, who, state, provider_id, ended_at)
          VALUES (\(key.event), \(key.generation), \(key.position), \(tickets)::int[], \(seen.amount), false,
            \(Self.provider), 'succeeded', \(seen.id), now())
          """)
        try await Self.takeOut(
          tickets, of: key, purchase, amount: seen.amount, isVoid: false, releases: false,
          reason: Self.provider,
          transaction)
        refunded += seen.amount
        changes.append("refund \(seen.id) of \(seen.amount)")
      }
      changes += try await Self.write(disputes, key, payment, transaction)
      // What was refused as long as it was in dispute is given back once its buyer has lost that.
      if disputes.contains(where: { $0.status == "won" }) {
        for row in try await transaction.query(
          """
          SELECT id::text AS id FROM refund WHERE event_id = \(key.event) AND generation = \(key.generation)
            AND position = \(key.position) AND state = 'failed' AND reason = 'charge_disputed' AND retried_by IS NULL
            AND closed_by IS NULL
          """)
        {
          _ = try await again(try row.string("id"), of: key, transaction)
        }
      }
      for change in changes {
        try await EventStore.note(
          Self.provider, "refund", event: key.event, detail: "\(key.generation)-\(key.position), \(change)",
          transaction)
      }
      return News.Learned(changes: changes, isUnderWay: isUnderWay)
    }
  }

  private static func write(
    _ disputes: [Dispute], _ key: PurchaseKey, _ payment: String, _ transaction: PostgresTransaction
  ) async throws -> [String] {
    var changes: [String] = []
    for dispute in disputes {
      let rows = try await transaction.query(
        """
        INSERT INTO dispute AS d (event_id, id, generation, position, payment_id, amount, reason, status, created_at)
        VALUES (\(key.event), \(dispute.id), \(key.generation), \(key.position), \(payment), \(dispute.amount),
          \(dispute.reason), \(dispute.status), to_timestamp(\(dispute.createdAt)))
        ON CONFLICT (event_id, id) DO UPDATE SET status = excluded.status, amount = excluded.amount,
          reason = excluded.reason
        WHERE (d.status, d.amount, d.reason) IS DISTINCT FROM (excluded.status, excluded.amount, excluded.reason)
        RETURNING id
        """)
      if !rows.isEmpty { changes.append("dispute \(dispute.id) of \(dispute.amount) \(dispute.status)") }
    }
    return changes
  }

  /// Disputes of purchases, by purchase.
  package func disputes(of keys: [PurchaseKey]) async throws -> [PurchaseKey: [Dispute]] {
    try await Self.disputes(of: keys, postgres)
  }

  static func disputes(
    of keys: [PurchaseKey], _ postgres: PostgresClient
  ) async throws -> [PurchaseKey: [Dispute]] {
    let rows = try await postgres.query(
      """
      SELECT i.event, i.generation, i.position, d.id, d.amount, d.reason, d.status,
        extract(epoch FROM d.created_at)::bigint AS created_at
      FROM unnest(\(keys.map(\.event))::bigint[], \(keys.map(\.generation))::int[], \(keys.map(\.position))::bigint[])
        AS i (event, generation, position)
      JOIN dispute d ON d.event_id = i.event AND d.generation = i.generation AND d.position = i.position
      ORDER BY d.created_at, d.id
      """)
    var found: [PurchaseKey: [Dispute]] = [:]
    for row in rows {
      let key = PurchaseKey(
        event: try row.int("event"), generation: try row.int("generation"), position: try row.int("position"))
      found[key, default: []].append(
        Dispute(
          id: try row.string("id"), amount: try row.int("amount"), reason: try row.string("reason"),
          status: try row.string("status"), createdAt: try row.int("created_at")))
    }
    return found
  }
}
