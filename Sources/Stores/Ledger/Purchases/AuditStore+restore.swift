import EventLoop
import Postgres
package import Sale
import StoreCommon

/// A purchase that was sold, and that PostgreSQL has lost.
package struct LostPurchase: Sendable, Equatable {
  package var key: PurchaseKey
  package var attempt: Int
  package var user: String
  package var tickets: [Int]
  package var amount: Int
  package var currency: String
  package var paymentID: String
  package var isCaptured: Bool
  /// Seconds since 1970.
  package var soldAt: Int
  /// What was held, where its tickets are others that its buyer had agreed to.
  package var insteadOf: [Int]?

  package init(
    key: PurchaseKey, attempt: Int, user: String, tickets: [Int], amount: Int, currency: String,
    paymentID: String, isCaptured: Bool, soldAt: Int
  ) {
    self.key = key
    self.attempt = attempt
    self.user = user
    self.tickets = tickets
    self.amount = amount
    self.currency = currency
    self.paymentID = paymentID
    self.isCaptured = isCaptured
    self.soldAt = soldAt
  }
}

extension AuditStore {
  /// What stands for the payment method, which nobody remembers.
  private static let unknownMethod = "restored"

  /// Users' ids that are compared at once.
  private static let usersAtOnce = 10_000

  private static func array(_ tickets: [Int]) -> String {
    "{" + tickets.map(String.init).joined(separator: ",") + "}"
  }

  /// Writes a purchase back, with its tickets and, where the money was not taken yet, its capture. All of it or nothing.
  ///
  /// A row of an earlier attempt to pay is replaced, one that is later, sold or another user's stays.
  /// - Throws: `StoreError.conflict` where it cannot be: it says why.
  package func restore(_ purchase: LostPurchase) async throws {
    let key = purchase.key
    try await postgres.withTransaction { transaction in
      let written = try await transaction.query(
        """
        INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method,
          payment_id, sold_at, captured_at, instead_of, other_seats)
        SELECT \(key.event), \(key.generation), \(key.position), \(purchase.user), 'sold', \(purchase.attempt),
          \(purchase.tickets)::int[], \(purchase.amount), e.currency, \(Self.unknownMethod), \(purchase.paymentID),
          to_timestamp(\(purchase.soldAt)), CASE WHEN \(purchase.isCaptured) THEN now() END,
          \(purchase.insteadOf.map(Self.array))::int[], \(purchase.insteadOf.map { _ in OtherSeats.agreed.rawValue })
        FROM event e WHERE e.id = \(key.event) AND upper(e.currency) = \(purchase.currency.uppercased())
        ON CONFLICT (event_id, generation, position) DO UPDATE
        SET state = 'sold', try = excluded.try, tickets = excluded.tickets, amount = excluded.amount,
          payment_id = excluded.payment_id, sold_at = excluded.sold_at, captured_at = excluded.captured_at,
          instead_of = excluded.instead_of, other_seats = excluded.other_seats,
          reason = NULL, updated_at = now()
        WHERE purchase.state IN ('declined', 'void') AND purchase.try < excluded.try
          AND purchase.user_id = excluded.user_id
        RETURNING position
        """)
      if written.isEmpty {
        throw StoreError(
          .conflict, "PostgreSQL has another purchase there, or no such event in that currency")
      }
      _ = try await transaction.query(
        """
        INSERT INTO claim (event_id, ticket_id, generation, position)
        SELECT \(key.event), k.id, \(key.generation), \(key.position)
        FROM unnest(\(purchase.tickets)::int[]) AS k (id) ORDER BY k.id
        ON CONFLICT DO NOTHING
        """)
      let sold = try await transaction.query(
        """
        UPDATE ticket t SET purchased = true, payment_id = \(purchase.paymentID) FROM claim c
        WHERE c.event_id = \(key.event) AND c.ticket_id = ANY (\(purchase.tickets)::int[])
          AND c.generation = \(key.generation) AND c.position = \(key.position)
          AND t.event_id = c.event_id AND t.id = c.ticket_id AND NOT t.purchased
        RETURNING t.id
        """)
      let own = Set(try sold.map { try $0.int("id") })
      guard own.count == purchase.tickets.count else {
        let others = Set(purchase.tickets).subtracting(own).sorted().map(String.init)
        throw StoreError(
          .conflict, "tickets \(others.joined(separator: ", ")) are somebody else's by now, or do not exist")
      }
      // Told again where it was told before PostgreSQL lost it: as the same message.
      _ = try await transaction.query(
        WebhookStore.tellSold([key.event], [key.generation], [key.position], isNow: false))
      if !purchase.isCaptured {
        _ = try await transaction.query(
          """
          INSERT INTO outbox (event_id, generation, position, kind, payment_id, available_at)
          VALUES (\(key.event), \(key.generation), \(key.position), 'capture', \(purchase.paymentID), now())
          ON CONFLICT DO NOTHING
          """)
      }
    }
  }

  /// Who has this key, among those who registered here; `nil` for a user of another identity provider.
  package func user(withKey key: String) async throws -> String? {
    var last = ""
    while true {
      let rows = try await postgres.query(
        "SELECT id FROM users WHERE id > \(last) ORDER BY id LIMIT \(Self.usersAtOnce)")
      for row in rows {
        let id = try row.string("id")
        if UserKey(id).text == key { return id }
        last = id
      }
      if rows.count < Self.usersAtOnce { return nil }
    }
  }

  /// Brings a partition's fencing number up to what Redis accepts, where PostgreSQL has forgotten that it gave it out.
  package func raise(_ partition: Partition, to epoch: Int) async throws {
    _ = try await postgres.query(
      """
      INSERT INTO partition (id, epoch) VALUES (\(partition.number), \(epoch))
      ON CONFLICT (id) DO UPDATE SET epoch = greatest(partition.epoch, excluded.epoch)
      """)
  }
}
