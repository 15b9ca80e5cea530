package import EventLoop
import Foundation
package import Postgres
package import Sale

/// What a worker needs to look over the books all the time: where it is, and what of PostgreSQL does not fit.
///
/// There is one walk, and one worker at a time goes on with it: its lease and its places are one row, so that whoever
/// comes next goes on where the last one has noted to be. What is looked at twice does no harm.
@LoopActor
package final class BookStore {
  /// How far the walk is, through each of the three books.
  package struct Walk: Sendable, Equatable {
    /// The last purchase looked at; zeros before the first.
    package var purchase: PurchaseKey
    /// The last payment and the last refund looked at, from the newest on; `nil` before the first.
    package var payment: String?
    package var refund: String?
  }

  /// What is wrong with a purchase, as far as PostgreSQL alone can tell.
  package struct Flaw: Sendable, Equatable {
    package enum Kind: String, Sendable {
      /// Sold, its money is only reserved as far as is known, and nothing is noted that would take it.
      case uncarried
      /// It ended without a sale and still claims tickets.
      case loose
      /// Sold, and not all of its tickets are claimed by it and marked with its payment.
      case undelivered
      /// It has been taken up so often without an end that nobody takes it up any more.
      case stalled
      /// It has fewer tickets than money was kept for, and no refund says so.
      case kept
    }
    package let kind: Kind
    package let purchase: AuditedPurchase
  }

  private let postgres: PostgresClient
  private let audit: AuditStore

  package init(_ postgres: PostgresClient) {
    self.postgres = postgres
    audit = AuditStore(postgres)
  }

  // MARK: The walk

  /// Takes the lease, or keeps it. Times are PostgreSQL's; one that is later than any lease is of a clock that has gone back.
  /// - Returns: how far the walk is; `nil` while another worker has it.
  package func take(worker: String, seconds: Double) async throws -> Walk? {
    let rows = try await postgres.query(
      """
      UPDATE book_walk SET worker = \(worker), leased_until = now() + \(seconds) * interval '1 s'
      WHERE is_alone AND (worker = \(worker) OR leased_until < now()
        OR leased_until > now() + \(seconds * 4) * interval '1 s')
      RETURNING event_id, generation, position, payment_id, refund_id
      """)
    return try rows.first.map { row in
      Walk(
        purchase: PurchaseKey(
          event: try row.int("event_id"), generation: try row.int("generation"),
          position: try row.int("position")),
        payment: row["payment_id"].string, refund: row["refund_id"].string)
    }
  }

  /// Notes how far the walk is, if it is still this worker's, and keeps the lease.
  /// - Returns: whether it is.
  @discardableResult
  package func note(_ walk: Walk, worker: String, seconds: Double) async throws -> Bool {
    try await !postgres.query(
      """
      UPDATE book_walk SET leased_until = now() + \(seconds) * interval '1 s', event_id = \(walk.purchase.event), generation = \(walk.purchase.generation),
        position = \(walk.purchase.position), payment_id = \(walk.payment), refund_id = \(walk.refund)
      WHERE is_alone AND worker = \(worker) RETURNING worker
      """
    ).isEmpty
  }

  // MARK: Looking

  /// Looks at the purchases behind one, at most `limit`, and only at those that nothing has happened to for a while.
  /// - Returns: what is wrong with them, and the last one; `nil` where there was none.
  package func flaws(
    after key: PurchaseKey, graceSeconds: Int, limit: Int
  ) async throws -> (flaws: [Flaw], last: PurchaseKey?) {
    let rows = try await postgres.query(
      """
      SELECT \(AuditStore.columns), c.flaw FROM (
        SELECT * FROM purchase
        WHERE (event_id, generation, position) > (\(key.event)::bigint, \(key.generation)::int, \(key.position)::bigint)
        ORDER BY event_id, generation, position LIMIT \(limit)
      ) purchase
      LEFT JOIN LATERAL (SELECT CASE
        WHEN updated_at > now() - \(graceSeconds) * interval '1 s' THEN NULL
        WHEN state = 'paying' THEN CASE WHEN stalls >= \(PurchaseStore.stallLimit) THEN 'stalled' END
        WHEN state IN ('declined', 'void') THEN CASE WHEN EXISTS (
          SELECT FROM unnest(tickets) AS k (id) JOIN claim c ON c.event_id = purchase.event_id AND c.ticket_id = k.id
          WHERE c.generation = purchase.generation AND c.position = purchase.position) THEN 'loose' END
        WHEN captured_at IS NULL AND coalesce(charged, amount) > 0 AND NOT EXISTS (
            SELECT FROM outbox o WHERE o.event_id = purchase.event_id AND o.generation = purchase.generation
              AND o.position = purchase.position AND o.kind = 'capture')
          AND NOT EXISTS (SELECT FROM refund r WHERE r.event_id = purchase.event_id
            AND r.generation = purchase.generation AND r.position = purchase.position AND r.state = 'requested')
          THEN 'uncarried'
        WHEN cardinality(tickets) > (SELECT count(*) FROM unnest(tickets) AS k (id)
            JOIN claim c ON c.event_id = purchase.event_id AND c.ticket_id = k.id
              AND c.generation = purchase.generation AND c.position = purchase.position
            JOIN ticket t ON t.event_id = purchase.event_id AND t.id = k.id AND t.purchased
              AND t.payment_id = purchase.payment_id)
          THEN 'undelivered'
        WHEN charged - refunded > amount + \(AuditStore.lost) AND NOT EXISTS (SELECT FROM refund r
            WHERE r.event_id = purchase.event_id AND r.generation = purchase.generation
              AND r.position = purchase.position AND r.state IN ('requested', 'failed') AND r.retried_by IS NULL)
          THEN 'kept'
        END AS flaw) c ON true
      ORDER BY event_id, generation, position
      """)
    let flaws = try rows.compactMap { row -> Flaw? in
      guard let kind = row["flaw"].string.flatMap(Flaw.Kind.init) else { return nil }
      return Flaw(kind: kind, purchase: try AuditStore.purchase(row, event: try row.int("event_id")))
    }
    let last = try rows.last.map { row in
      PurchaseKey(
        event: try row.int("event_id"), generation: try row.int("generation"),
        position: try row.int("position"))
    }
    return (flaws, last)
  }

  /// Purchases as they are, by their keys.
  package func purchases(of keys: [PurchaseKey]) async throws -> [PurchaseKey: AuditedPurchase] {
    let rows = try await postgres.query(
      """
      SELECT \(AuditStore.columns) FROM purchase
      JOIN unnest(\(keys.map(\.event))::bigint[], \(keys.map(\.generation))::int[], \(keys.map(\.position))::bigint[])
        AS i (event, generation, position)
        ON purchase.event_id = i.event AND purchase.generation = i.generation AND purchase.position = i.position
      """)
    var found: [PurchaseKey: AuditedPurchase] = [:]
    for row in rows {
      let purchase = try AuditStore.purchase(row, event: try row.int("event_id"))
      found[purchase.key] = purchase
    }
    return found
  }

  /// A refund as the provider has it.
  package struct Seen: Sendable {
    package let id: String
    package let payment: String
    /// Whose payment it is; `nil` where the provider does not say.
    package let key: PurchaseKey?
    /// The id of a refund of ours; `nil` if it was made elsewhere.
    package let reference: String?
    package let amount: Int
    package let hasFailed: Bool

    package init(
      id: String, payment: String, key: PurchaseKey?, reference: String?, amount: Int, hasFailed: Bool
    ) {
      self.id = id
      self.payment = payment
      self.key = key
      // Whoever uses the account may write there whatever they like.
      self.reference = reference.flatMap { UUID(uuidString: $0)?.uuidString }
      self.amount = amount
      self.hasFailed = hasFailed
    }
  }

  /// A dispute as the provider has it.
  package struct SeenDispute: Sendable {
    package let id: String
    package let payment: String
    /// Whose payment it is; `nil` where the provider does not say.
    package let key: PurchaseKey?
    package let status: String

    package init(id: String, payment: String, key: PurchaseKey?, status: String) {
      self.id = id
      self.payment = payment
      self.key = key
      self.status = status
    }
  }

  /// Whether a sale is of the payment of which the provider has `i`. Of what sold nothing, or of an earlier attempt to pay,
  /// nothing is to be learned.
  private static let isOfSale: SQL = """
    EXISTS (SELECT FROM purchase p WHERE p.event_id = i.event AND p.generation = i.generation
      AND p.position = i.position AND p.state = 'sold' AND p.payment_id = i.payment)
    """

  /// The payments of those refunds that are not known here as they are: given back and not known, with another amount, or
  /// known as given back though it failed. Each is looked up by the keys of its event; where the provider does not say whose it
  /// is, it must be asked first.
  package func otherwise(_ refunds: [Seen]) async throws -> Set<String> {
    if refunds.isEmpty { return [] }
    let rows = try await postgres.query(
      """
      SELECT DISTINCT i.payment FROM unnest(\(refunds.map(\.id))::text[], \(refunds.map(\.payment))::text[],
        \(refunds.map(\.key?.event))::bigint[], \(refunds.map(\.key?.generation))::int[],
        \(refunds.map(\.key?.position))::bigint[], \(refunds.map(\.reference))::text[],
        \(refunds.map(\.amount))::bigint[], \(refunds.map { $0.hasFailed ? 1 : 0 })::int[])
        AS i (id, payment, event, generation, position, reference, amount, failed)
      WHERE i.event IS NULL OR \(Self.isOfSale)
        -- Of those under way their workers learn by themselves.
        AND NOT EXISTS (SELECT FROM refund r WHERE r.event_id = i.event AND r.id = i.reference::uuid
          AND r.state = 'requested')
        AND (i.failed = 0) <> EXISTS (SELECT FROM refund r WHERE r.event_id = i.event AND r.provider_id = i.id
          AND r.state = 'succeeded' AND (i.failed = 1 OR r.amount = i.amount))
      """)
    return Set(try rows.map { try $0.string("payment") })
  }

  /// The payments of those disputes that are not known here as they stand.
  package func otherwise(_ disputes: [SeenDispute]) async throws -> Set<String> {
    if disputes.isEmpty { return [] }
    let rows = try await postgres.query(
      """
      SELECT DISTINCT i.payment FROM unnest(\(disputes.map(\.id))::text[], \(disputes.map(\.payment))::text[],
        \(disputes.map(\.key?.event))::bigint[], \(disputes.map(\.key?.generation))::int[],
        \(disputes.map(\.key?.position))::bigint[], \(disputes.map(\.status))::text[])
        AS i (id, payment, event, generation, position, status)
      WHERE i.event IS NULL OR \(Self.isOfSale)
        AND NOT EXISTS (SELECT FROM dispute d WHERE d.event_id = i.event AND d.id = i.id AND d.status = i.status)
      """)
    return Set(try rows.map { try $0.string("payment") })
  }

  // MARK: Mending

  /// Releases claims of a purchase that ended without a sale. - Returns: how many there were.
  package func release(_ purchase: AuditedPurchase) async throws -> Int {
    try await audit.releaseClaims(event: purchase.key.event, tickets: purchase.tickets)
  }

  // MARK: Telling

  /// Something that only a person can decide.
  package struct Finding: Sendable, Equatable {
    /// Words of the audit: it finds the same.
    package enum Kind: String, Sendable, CaseIterable {
      case captureWithoutPurchase = "capture_without_purchase"
      case authorisationOpen = "authorisation_open"
      case capturedWrongAmount = "captured_wrong_amount"
      case saleWithoutPayment = "sale_without_payment"
      case ticketNotDelivered = "ticket_not_delivered"
      case paymentStalled = "payment_stalled"
      case moneyKept = "money_kept"
    }
    package let kind: Kind
    package let key: PurchaseKey
    package let payment: String?
    package let detail: String

    package init(_ kind: Kind, _ key: PurchaseKey, payment: String?, _ detail: String) {
      self.kind = kind
      self.key = key
      self.payment = payment
      self.detail = detail
    }
  }

  /// Tells systems outside, once a day each.
  package func tell(_ findings: [Finding]) async throws {
    if findings.isEmpty { return }
    _ = try await postgres.query(
      """
      SELECT tell_webhooks('audit.violation', i.event, 0, 0, 2,
        ('x' || left(md5(concat_ws('|', current_date, i.kind, i.event, i.generation, i.position, i.payment)), 15))
          ::bit(60)::bigint, now(),
        json_strip_nulls(json_build_object('kind', i.kind, 'violation', true, 'event_id', i.event,
          'generation', i.generation, 'position', i.position, 'payment_id', i.payment, 'detail', i.detail)))
      FROM unnest(\(findings.map(\.kind.rawValue))::text[], \(findings.map(\.key.event))::bigint[],
        \(findings.map(\.key.generation))::int[], \(findings.map(\.key.position))::bigint[],
        \(findings.map(\.payment))::text[], \(findings.map(\.detail))::text[])
        AS i (kind, event, generation, position, payment, detail)
      """)
  }
}
