package import EventLoop
package import Postgres
package import Sale
import StoreCommon

/// What is given back of purchases: written down first, carried out by workers, each exactly once.
///
/// A ticket stays its buyer's until its money is on its way back. Then it is nobody's: for sale again, or blocked.
@LoopActor
package final class RefundStore {
  package enum State: String, Sendable {
    /// To be carried out, by whichever worker comes to it.
    case requested
    /// The money is on its way back, or was never taken.
    case succeeded
    /// The provider did not give it back, and says why. The tickets are still the buyer's, unless the money came back after
    /// it was given. Where that may pass by itself it is tried again, as another refund; else people decide.
    case failed
  }

  package struct Refund: Sendable, Equatable {
    /// A UUID, which names it at the provider, too.
    package let id: String
    package let key: PurchaseKey
    package let user: String
    /// As the request's id says it, where that is known.
    package let wish: WishPlace?
    package let tickets: [Int]
    /// In minor units.
    package let amount: Int
    package let currency: String
    package let state: State
    /// Whether the tickets are for sale again.
    package let releases: Bool
    /// Why it failed.
    package let reason: String?
    package let who: String
    /// Seconds since 1970.
    package let requestedAt: Int
    package let endedAt: Int?
    /// How often that was tried before, in refunds of their own; and the one that tries it next, once there is one.
    package let tries: Int
    package let retriedBy: String?
  }

  /// A refund that a worker has leased.
  package struct Due: Sendable {
    package let refund: Refund
    /// The payment's id at the provider.
    package let payment: String
    /// Whether the purchase's money is known to be taken.
    package let isCaptured: Bool
    /// Whether it is all of the purchase, of which nothing was given back before.
    package let isWhole: Bool
    /// The number of its idempotency key, and for how long that has been in use, by PostgreSQL's clock.
    package let attempt: Int
    package let attemptSeconds: Int
  }

  let postgres: PostgresClient
  /// How long a worker is trusted to carry out by itself what it has leased; it doubles with every lease.
  let leaseSeconds: Double
  /// After so long a refund that failed is tried again for the first time.
  let firstRetrySeconds: Double

  package init(_ postgres: PostgresClient, leaseSeconds: Double = 20, firstRetrySeconds: Double = 60) {
    self.postgres = postgres
    self.leaseSeconds = leaseSeconds
    self.firstRetrySeconds = firstRetrySeconds
  }

  // MARK: Asking

  package struct Wish: Sendable {
    package let key: PurchaseKey
    /// `nil` for all that are left.
    package let tickets: [Int]?
    package let releases: Bool
    /// The same of the same person, with the same wish, changes nothing.
    package let idempotencyKey: String?

    package init(
      _ key: PurchaseKey, tickets: [Int]? = nil, releases: Bool, idempotencyKey: String? = nil
    ) {
      self.key = key
      self.tickets = tickets
      self.releases = releases
      self.idempotencyKey = idempotencyKey
    }

    fileprivate var digest: String {
      let names = tickets.map { $0.sorted().map(String.init).joined(separator: ",") } ?? "all"
      return "\(key.generation)-\(key.position) \(names) \(releases)"
    }
  }

  /// Writes down what is to be given back.
  /// - Returns: it; not new where the idempotency key came before.
  /// - Throws: `StoreError` `conflict` where there is nothing to give back.
  package func request(_ wish: Wish, by who: String) async throws -> (refund: Refund, isNew: Bool) {
    let (key, event) = (wish.key, wish.key.event)
    let id = try await postgres.withTransaction { transaction -> (String, Bool) in
      let purchase = try await Self.lock(key, transaction)
      if let name = wish.idempotencyKey {
        let known = try await transaction.query(
          "SELECT id::text AS id, digest FROM refund WHERE event_id = \(event) AND who = \(who) AND key = \(name)"
        )
        if let row = known.first {
          guard try row.string("digest") == wish.digest else {
            throw StoreError(.invalid, "This Idempotency-Key came with another refund before.")
          }
          return (try row.string("id"), false)
        }
      }
      guard let row = purchase else { throw StoreError(.conflict, "Nothing was bought with this request.") }
      guard try row.string("state") == PurchaseProgress.State.sold.rawValue else {
        throw StoreError(.conflict, "Nothing was bought with this request: there is nothing to give back.")
      }
      let account = try await Self.account(key, row, transaction)
      let plan: RefundPlan
      do throws(RefundPlan.Problem) {
        plan = try RefundPlan(asked: wish.tickets, of: account)
      } catch { throw Self.conflict(error) }
      let made = try await transaction.query(
        """
        INSERT INTO refund (event_id, generation, position, tickets, amount, releases, who, key, digest)
        VALUES (\(event), \(key.generation), \(key.position), \(plan.tickets)::int[], \(plan.amount),
          \(wish.releases), \(who), \(wish.idempotencyKey), \(wish.digest)) RETURNING id::text AS id
        """)
      guard let id = try made.first?.string("id") else { throw StoreError(.unexpectedAnswer, "refund") }
      try await Self.replaceFailed(key, transaction)
      try await EventStore.note(
        who, "refund", event: event,
        detail: "\(key.generation)-\(key.position), \(plan.tickets.count) tickets, \(plan.amount)",
        transaction)
      return (id, true)
    }
    guard let refund = try await find(event: event, id: id.0) else {
      throw StoreError(.unexpectedAnswer, "refund")
    }
    return (refund, id.1)
  }

  /// - Returns: a purchase as refunds look at it, locked; `nil` where there is none.
  static func lock(_ key: PurchaseKey, _ transaction: PostgresTransaction) async throws -> PostgresRow? {
    try await transaction.query(
      """
      SELECT state, payment_id, tickets, coalesce(charged, amount) AS charged, refunded, \(Self.lost) AS lost
      FROM purchase p
      WHERE event_id = \(key.event) AND generation = \(key.generation) AND position = \(key.position) FOR UPDATE
      """
    ).first
  }

  /// What the bank of the buyer of the purchase `p` has taken back for good: it is not given back once more.
  static let lost: SQL = """
    (SELECT coalesce(sum(d.amount), 0)::bigint FROM dispute d WHERE d.event_id = p.event_id
      AND d.generation = p.generation AND d.position = p.position AND d.status = 'lost')
    """

  /// What refunds of a purchase are decided from.
  /// - Parameter purchase: as `lock` returned it.
  static func account(
    _ key: PurchaseKey, _ purchase: PostgresRow, _ transaction: PostgresTransaction
  ) async throws -> RefundPlan.Account {
    let owned = try await transaction.query(
      """
      SELECT id, price FROM ticket
      WHERE event_id = \(key.event) AND id = ANY (\(purchase["tickets"].ints ?? [])::int[])
      """)
    let open = try await transaction.query(
      """
      SELECT tickets, amount FROM refund WHERE event_id = \(key.event) AND generation = \(key.generation)
        AND position = \(key.position) AND state = 'requested'
      """)
    var prices: [Int: Int] = [:]
    for row in owned { prices[try row.int("id")] = try row.int("price") }
    return try RefundPlan.Account(
      owned: prices, charged: purchase.int("charged"), refunded: purchase.int("refunded"),
      lost: purchase.int("lost"), requested: Set(open.flatMap { $0["tickets"].ints ?? [] }),
      requestedAmount: open.reduce(0) { try $0 + $1.int("amount") })
  }

  static func conflict(_ problem: RefundPlan.Problem) -> StoreError {
    func names(_ tickets: [Int]) -> String { tickets.prefix(20).map(String.init).joined(separator: ", ") }
    let words =
      switch problem {
      case .nothingLeft: "All of its tickets were given back, or are being given back."
      case .notTheirs(let tickets): "These tickets are not of this purchase: \(names(tickets))."
      case .underWay(let tickets): "These tickets are being given back already: \(names(tickets))."
      }
    return StoreError(.conflict, words)
  }

  // MARK: Looking

  nonisolated static let columns = """
    r.event_id, r.id::text AS id, r.generation, r.position, r.tickets, r.amount, r.state, r.releases, r.reason, r.who,
    extract(epoch FROM r.created_at)::bigint AS requested_at, extract(epoch FROM r.ended_at)::bigint AS ended_at,
    r.tries, r.retried_by::text AS retried_by, p.user_id, p.currency, p.line, p.ordinal
    """

  nonisolated static let ofPurchase =
    "p.event_id = r.event_id AND p.generation = r.generation AND p.position = r.position"

  package func find(event: Int, id: String) async throws -> Refund? {
    try await postgres.query(
      """
      SELECT \(unsafeSQL: Self.columns) FROM refund r JOIN purchase p ON \(unsafeSQL: Self.ofPurchase)
      WHERE r.event_id = \(event) AND r.id::text = \(id)
      """
    ).first.map(Self.refund)
  }

  /// Refunds of an event, latest first, those before the one named.
  package func refunds(event: Int, before id: String? = nil, limit: Int) async throws -> [Refund] {
    try await postgres.query(
      """
      SELECT \(unsafeSQL: Self.columns) FROM refund r JOIN purchase p ON \(unsafeSQL: Self.ofPurchase)
      WHERE r.event_id = \(event) AND (\(id)::text IS NULL OR (r.created_at, r.id) < (
        SELECT b.created_at, b.id FROM refund b WHERE b.event_id = \(event) AND b.id::text = \(id)))
      ORDER BY r.created_at DESC, r.id DESC LIMIT \(limit)
      """
    ).map(Self.refund)
  }

  static func refund(_ row: PostgresRow) throws -> Refund {
    guard let state = State(rawValue: try row.string("state")) else {
      throw StoreError(.unexpectedAnswer, "refund.state")
    }
    return Refund(
      id: try row.string("id"),
      key: PurchaseKey(
        event: try row.int("event_id"), generation: try row.int("generation"),
        position: try row.int("position")),
      user: try row.string("user_id"), wish: WishPlace(row), tickets: row["tickets"].ints ?? [],
      amount: try row.int("amount"), currency: try row.string("currency"), state: state,
      releases: try row.bool("releases"), reason: row["reason"].string, who: try row.string("who"),
      requestedAt: try row.int("requested_at"), endedAt: row["ended_at"].int,
      tries: try row.int("tries"), retriedBy: row["retried_by"].string)
  }

  /// A purchase as its organizer sees it.
  package struct Purchase: Sendable {
    package let key: PurchaseKey
    package let user: String
    package let wish: WishPlace?
    package let tickets: [Int]
    /// What its tickets cost, what was charged, and what of that was given back; in minor units.
    package let amount: Int
    package let charged: Int
    package let refunded: Int
    package let currency: String
    package let paymentID: String?
    package let soldAt: Int
  }

  /// What was bought of an event, in the order of the requests, those behind the one named.
  /// - Parameters:
  ///   - user: whose alone; `nil` for everybody's.
  ///   - ticket: of which alone.
  package func purchases(
    event: Int, user: String? = nil, ticket: Int? = nil, after: PurchaseKey? = nil, limit: Int
  ) async throws -> [Purchase] {
    try await postgres.query(
      """
      SELECT p.generation, p.position, p.user_id, p.line, p.ordinal, p.tickets, p.amount,
        coalesce(p.charged, p.amount) AS charged, p.refunded, p.currency, p.payment_id,
        extract(epoch FROM p.sold_at)::bigint AS sold_at
      FROM purchase p
      WHERE p.event_id = \(event) AND p.state = 'sold'
        AND (p.generation, p.position) > (\(after?.generation ?? 0)::int, \(after?.position ?? 0)::bigint)
        AND (\(user)::text IS NULL OR p.user_id = \(user))
        AND (\(ticket)::int IS NULL OR (p.generation, p.position) = (
          SELECT c.generation, c.position FROM claim c WHERE c.event_id = \(event) AND c.ticket_id = \(ticket)::int))
      ORDER BY p.generation, p.position LIMIT \(limit)
      """
    ).map { row in
      Purchase(
        key: PurchaseKey(
          event: event, generation: try row.int("generation"), position: try row.int("position")),
        user: try row.string("user_id"), wish: WishPlace(row), tickets: row["tickets"].ints ?? [],
        amount: try row.int("amount"), charged: try row.int("charged"), refunded: try row.int("refunded"),
        currency: try row.string("currency"), paymentID: row["payment_id"].string,
        soldAt: try row.int("sold_at"))
    }
  }
}
