import Postgres

extension SeatStore {
  /// What some tickets of an event are called.
  package struct Labels: Sendable {
    package let currency: String
    /// In no order; tickets that the event does not have are left out.
    package let tickets: [Label]
  }

  package struct Label: Sendable, Equatable {
    package let ticket: Int
    package let section: String
    package let row: String?
    package let seat: String?
    /// In minor units.
    package let price: Int
    /// Which of several rows of the same label.
    package let block: String?
  }

  /// - Returns: `nil` where the event has none of them. Reads no other tickets, however many there are.
  package func labels(event: Int, tickets: [Int]) async throws -> Labels? {
    let rows = try await postgres.query(
      """
      SELECT e.currency, t.id, s.name AS section, t.row, t.seat, t.price, t.block
      FROM ticket t JOIN section s ON s.event_id = t.event_id AND s.id = t.section_id
        JOIN event e ON e.id = t.event_id
      WHERE t.event_id = \(event) AND t.id = ANY (\(tickets)::int[])
      """)
    guard let currency = try rows.first?.string("currency") else { return nil }
    return Labels(
      currency: currency,
      tickets: try rows.map { row in
        Label(
          ticket: try row.int("id"), section: try row.string("section"), row: row["row"].string,
          seat: row["seat"].string, price: try row.int("price"),
          block: row["block"].string)
      })
  }
}
