package import EventLoop
package import Postgres

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

  /// The id and the password's hash of the user of an address.
  package func credentials(email: String) async throws -> (id: String, password: String)? {
    guard let row = try await postgres.query("SELECT id, password FROM users WHERE email = \(email)").first
    else { return nil }
    return (try row.string("id"), try row.string("password"))
  }

  /// The hash of a user's password; `nil` for a user of elsewhere.
  package func password(of user: String) async throws -> String? {
    try await postgres.query("SELECT password FROM users WHERE id = \(user)").first?.string("password")
  }

  /// - Returns: whether there is such a user.
  package func setPassword(_ hash: String, of user: String) async throws -> Bool {
    try await !postgres.query("UPDATE users SET password = \(hash) WHERE id = \(user) RETURNING id").isEmpty
  }

  package func isKnown(email: String) async throws -> Bool {
    try await !postgres.query("SELECT 1 FROM users WHERE email = \(email)").isEmpty
  }

  /// A purchase that is sold.
  package struct Purchase: Sendable {
    package struct Ticket: Sendable {
      package let id: Int
      package let section: String
      package let row: String?
      package let seat: String?
      package let price: Int
    }
    package let key: PurchaseStore.Key
    /// As the request's id says it, where that is known.
    package let wish: WishPlace?
    package let eventName: String
    package var tickets: [Ticket]
    /// In minor units.
    package let amount: Int
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
        extract(epoch FROM p.sold_at)::bigint AS sold_at, t.id AS ticket, s.name AS section, t.row,
        t.seat, t.price
      FROM (SELECT * FROM purchase WHERE user_id = \(user) AND state = 'sold'
        ORDER BY sold_at DESC, event_id, generation, position LIMIT \(limit)) p
      JOIN event e ON e.id = p.event_id
      JOIN ticket t ON t.event_id = p.event_id AND t.id = ANY (p.tickets)
      JOIN section s ON s.event_id = t.event_id AND s.id = t.section_id
      ORDER BY p.sold_at DESC, p.event_id, p.generation, p.position, t.id
      """)
    var purchases: [Purchase] = []
    for row in rows {
      let key = PurchaseStore.Key(
        event: try row.int("event_id"), generation: try row.int("generation"),
        position: try row.int("position"))
      if purchases.last?.key != key {
        purchases.append(
          Purchase(
            key: key, wish: WishPlace(row), eventName: try row.string("name"), tickets: [],
            amount: try row.int("amount"),
            currency: try row.string("currency"), paymentID: row["payment_id"].string,
            soldAt: try row.int("sold_at")))
      }
      purchases[purchases.count - 1].tickets.append(
        Purchase.Ticket(
          id: try row.int("ticket"), section: try row.string("section"), row: row["row"].string,
          seat: row["seat"].string, price: try row.int("price")))
    }
    return purchases
  }
}
