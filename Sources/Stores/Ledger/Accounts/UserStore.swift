package import EventLoop
package import Postgres
package import Sale
import StoreCommon

/// Users who signed up here, and what anyone has bought: identity may also live elsewhere.
@LoopActor
package final class UserStore {
  private let postgres: PostgresClient

  package init(_ postgres: PostgresClient) { self.postgres = postgres }

  /// - Parameters:
  ///   - email: in the one spelling that stands for it.
  ///   - password: its hash.
  /// - Returns: the id of the new user, or `nil` if the address has one.
  package func create(name: String, email: String, password: String) async throws -> String? {
    try await postgres.query(
      """
      INSERT INTO users (id, name, email, password)
      VALUES (gen_random_uuid()::text, \(name), \(email), \(password))
      ON CONFLICT (email) DO NOTHING RETURNING id
      """
    ).first?.string("id")
  }

  package struct Credentials: Sendable {
    package let id: String
    /// Its hash.
    package let password: String
    /// Up to when all of the user's sessions were ended, as of this password, in milliseconds since 1970; 0 for never.
    package let endedUpTo: Int
  }

  /// Of the user of an address.
  /// - Parameter spellings: of the address, the first that has a user.
  package func credentials(_ spellings: [String]) async throws -> Credentials? {
    // In one statement: whoever sees a password sees the end that came with it, and who does not is ended by it.
    guard
      let row = try await postgres.query(
        """
        SELECT id, password, coalesce((SELECT round(extract(epoch FROM max(ended_at)) * 1000) FROM session_end
          WHERE user_id = users.id AND session IS NULL), 0)::bigint AS ended
        FROM users WHERE email = ANY(\(spellings)::text[])
        ORDER BY array_position(\(spellings)::text[], email) LIMIT 1
        """
      ).first
    else { return nil }
    return Credentials(
      id: try row.string("id"), password: try row.string("password"), endedUpTo: try row.int("ended"))
  }

  /// The hash of a user's password; `nil` for a user of elsewhere.
  package func password(of user: String) async throws -> String? {
    try await postgres.query("SELECT password FROM users WHERE id = \(user)").first?.string("password")
  }

  /// Sets a password, and ends all of the user's sessions with the former one, in one step.
  /// - Parameters:
  ///   - former: the hash that it replaces.
  ///   - time: sessions that began by then end, in milliseconds since 1970.
  /// - Returns: whether there is such a user with the former password, still.
  package func setPassword(
    _ hash: String, of user: String, instead former: String, endingSessionsUpTo time: Int
  ) async throws -> Bool {
    // A link that was sent before would set it back.
    try await !postgres.query(
      """
      WITH changed AS (UPDATE users SET password = \(hash) WHERE id = \(user) AND password = \(former) RETURNING id),
      links AS (DELETE FROM mail_token WHERE user_id IN (SELECT id FROM changed)),
      sessions AS (
        INSERT INTO session_end (user_id, ended_at) SELECT id, to_timestamp(\(time) / 1000.0) FROM changed
      )
      SELECT id FROM changed
      """
    ).isEmpty
  }

  /// The first of an address's spellings that has a user.
  package func known(_ spellings: [String]) async throws -> String? {
    try await postgres.query(
      """
      SELECT email FROM users WHERE email = ANY(\(spellings)::text[])
      ORDER BY array_position(\(spellings)::text[], email) LIMIT 1
      """
    ).first?.string("email")
  }

  /// Addresses that may have been spelled in several ways: their domain has letters beyond ASCII, or is encoded.
  /// - Parameter last: those that come after it, in the order of the index.
  package func addressesWithSpellings(after last: String, limit: Int) async throws -> [String] {
    try await postgres.query(
      """
      SELECT email FROM users
      WHERE email > \(last) AND (octet_length(email) <> char_length(email) OR email LIKE '%xn--%')
      ORDER BY email LIMIT \(limit)
      """
    ).map { try $0.string("email") }
  }

  package struct Account: Sendable {
    package let id: String
    package let email: String
    package let purchases: Int
  }

  /// The accounts of an address's spellings, in the order of the index.
  package func accounts(_ spellings: [String]) async throws -> [Account] {
    try await postgres.query(
      """
      SELECT id, email, (SELECT count(*) FROM purchase WHERE user_id = users.id AND state = 'sold') AS purchases
      FROM users WHERE email = ANY(\(spellings)::text[]) ORDER BY email
      """
    ).map {
      Account(id: try $0.string("id"), email: try $0.string("email"), purchases: try $0.int("purchases"))
    }
  }

  /// A purchase that is sold.
  package struct Purchase: Sendable {
    package struct Ticket: Sendable {
      package let id: Int
      package let section: String
      package let row: String?
      package let seat: String?
      package let price: Int
      /// Which of several rows of the same label.
      package let block: String?
    }
    package struct Refund: Sendable {
      package let state: RefundStore.State
      package let amount: Int
      package let tickets: [Ticket]
      package let requestedAt: Int
    }
    package let key: PurchaseKey
    /// As the request's id says it, where that is known.
    package let wish: WishPlace?
    package let eventName: String
    /// Where and when it is, and where and when it was said to be when the sale began, if that is something else.
    package let location: String
    package let date: Int
    package let locationWas: String?
    package let dateWas: Int?
    /// Whether it takes place on another date than that, which nobody knows yet.
    package let isPostponed: Bool
    /// Why it does not take place; `nil` if it does.
    package let cancelReason: String?
    /// That are the buyer's still.
    package var tickets: [Ticket]
    /// Whether they are others than were held, as their buyer had agreed.
    package let hasOtherSeats: Bool
    /// What these cost, in minor units.
    package let amount: Int
    /// What was given back, or is being given back.
    package var refunds: [Refund]
    /// What the buyer's bank wants back, or has taken back.
    package var disputes: [RefundStore.Dispute] = []
    package let currency: String
    package let paymentID: String?
    /// Seconds since 1970.
    package let soldAt: Int
  }

  /// What a user has bought, latest first.
  package func purchases(of user: String, limit: Int) async throws -> [Purchase] {
    let rows = try await postgres.query(
      """
      SELECT p.event_id, p.generation, p.position, p.line, p.ordinal, p.amount, p.currency, p.payment_id, e.name,
        CASE WHEN e.cancelled_at IS NOT NULL THEN coalesce(e.cancel_reason, '') END AS cancel_reason,
        e.location, e.location_was, extract(epoch FROM e.date)::bigint AS date,
        extract(epoch FROM e.date_was)::bigint AS date_was, \(unsafeSQL: Event.postponedColumn),
        extract(epoch FROM p.sold_at)::bigint AS sold_at, p.instead_of IS NOT NULL AS has_others
      FROM purchase p JOIN event e ON e.id = p.event_id
      WHERE p.user_id = \(user) AND p.state = 'sold'
      ORDER BY p.sold_at DESC, p.event_id, p.generation, p.position LIMIT \(limit)
      """)
    var purchases = try rows.map { row in
      Purchase(
        key: PurchaseKey(
          event: try row.int("event_id"), generation: try row.int("generation"),
          position: try row.int("position")),
        wish: WishPlace(row), eventName: try row.string("name"), location: try row.string("location"),
        date: try row.int("date"), locationWas: row["location_was"].string, dateWas: row["date_was"].int,
        isPostponed: try row.bool("is_postponed"), cancelReason: row["cancel_reason"].string,
        tickets: [], hasOtherSeats: try row.bool("has_others"), amount: try row.int("amount"), refunds: [],
        currency: try row.string("currency"), paymentID: row["payment_id"].string,
        soldAt: try row.int("sold_at"))
    }
    for start in stride(from: 0, to: purchases.count, by: Self.purchasesAtOnce) {
      let page = start..<min(start + Self.purchasesAtOnce, purchases.count)
      for (index, tickets) in zip(page, try await tickets(of: purchases[page].map(\.key))) {
        purchases[index].tickets = tickets
      }
      for (index, refunds) in zip(page, try await refunds(of: purchases[page].map(\.key))) {
        purchases[index].refunds = refunds
      }
      let disputes = try await RefundStore.disputes(of: purchases[page].map(\.key), postgres)
      for index in page { purchases[index].disputes = disputes[purchases[index].key] ?? [] }
    }
    return purchases
  }

  /// A purchase that was taken back, since its money could not be taken.
  package struct Unpaid: Sendable {
    package let key: PurchaseKey
    package let wish: WishPlace?
    package let eventName: String
    package var tickets: [Purchase.Ticket]
    /// What these cost, in minor units.
    package let amount: Int
    package let currency: String
    /// Seconds since 1970.
    package let lapsedAt: Int
  }

  /// For so long buyers are told of what was taken back from them.
  private static let unpaidDays = 30

  /// What a user was told is theirs, and what was taken back and not paid otherwise since; latest first.
  package func unpaid(of user: String, limit: Int) async throws -> [Unpaid] {
    let rows = try await postgres.query(
      """
      SELECT p.event_id, p.generation, p.position, p.line, p.ordinal, p.amount, p.currency, e.name,
        extract(epoch FROM p.lapsed_at)::bigint AS lapsed_at
      FROM purchase p JOIN event e ON e.id = p.event_id
      WHERE p.user_id = \(user) AND p.lapsed_at > now() - \(Self.unpaidDays) * interval '1 day'
        AND p.state IN ('paying', 'declined', 'void')
      ORDER BY p.lapsed_at DESC, p.event_id, p.generation, p.position LIMIT \(limit)
      """)
    var unpaid = try rows.map { row in
      Unpaid(
        key: PurchaseKey(
          event: try row.int("event_id"), generation: try row.int("generation"),
          position: try row.int("position")),
        wish: WishPlace(row), eventName: try row.string("name"), tickets: [],
        amount: try row.int("amount"), currency: try row.string("currency"),
        lapsedAt: try row.int("lapsed_at"))
    }
    if unpaid.isEmpty { return [] }
    for (index, tickets) in zip(unpaid.indices, try await tickets(of: unpaid.map(\.key))) {
      unpaid[index].tickets = tickets
    }
    return unpaid
  }

  /// Of each some tens of tickets: some milliseconds of the loop.
  private static let purchasesAtOnce = 40

  private func tickets(of keys: [PurchaseKey]) async throws -> [[Purchase.Ticket]] {
    let rows = try await postgres.query(
      """
      SELECT i.n, t.id AS ticket, s.name AS section, t.row, t.seat, t.price, t.block
      FROM unnest(\(keys.map(\.event))::bigint[], \(keys.map(\.generation))::int[], \(keys.map(\.position))::bigint[])
        WITH ORDINALITY AS i (event, generation, position, n)
      JOIN purchase p ON p.event_id = i.event AND p.generation = i.generation AND p.position = i.position
      JOIN ticket t ON t.event_id = p.event_id AND t.id = ANY (p.tickets)
      JOIN section s ON s.event_id = t.event_id AND s.id = t.section_id
      ORDER BY i.n, t.id
      """)
    var tickets = [[Purchase.Ticket]](repeating: [], count: keys.count)
    for row in rows { tickets[try row.int("n") - 1].append(try Self.ticket(row)) }
    return tickets
  }

  private static func ticket(_ row: PostgresRow) throws -> Purchase.Ticket {
    Purchase.Ticket(
      id: try row.int("ticket"), section: try row.string("section"), row: row["row"].string,
      seat: row["seat"].string, price: try row.int("price"), block: row["block"].string)
  }

  /// Those that failed are the organizer's business.
  private func refunds(of keys: [PurchaseKey]) async throws -> [[Purchase.Refund]] {
    let rows = try await postgres.query(
      """
      SELECT i.n, r.id::text AS refund, r.state, r.amount, extract(epoch FROM r.created_at)::bigint AS requested_at,
        t.id AS ticket, s.name AS section, t.row, t.seat, t.price, t.block
      FROM unnest(\(keys.map(\.event))::bigint[], \(keys.map(\.generation))::int[], \(keys.map(\.position))::bigint[])
        WITH ORDINALITY AS i (event, generation, position, n)
      JOIN refund r ON r.event_id = i.event AND r.generation = i.generation AND r.position = i.position
        AND r.state <> 'failed'
      LEFT JOIN ticket t ON t.event_id = r.event_id AND t.id = ANY (r.tickets)
      LEFT JOIN section s ON s.event_id = t.event_id AND s.id = t.section_id
      ORDER BY i.n, r.created_at, r.id, t.id
      """)
    var refunds = [[Purchase.Refund]](repeating: [], count: keys.count)
    var start = 0
    while start < rows.count {
      let row = rows[start]
      // The tickets of one refund follow each other.
      let refund = rows[start...].prefix { $0["refund"] == row["refund"] }
      start += refund.count
      guard let state = RefundStore.State(rawValue: try row.string("state")) else {
        throw StoreError(.unexpectedAnswer, "refund.state")
      }
      refunds[try row.int("n") - 1].append(
        Purchase.Refund(
          state: state, amount: try row.int("amount"),
          tickets: try refund.filter { $0["ticket"].int != nil }.map(Self.ticket),
          requestedAt: try row.int("requested_at")))
    }
    return refunds
  }
}
