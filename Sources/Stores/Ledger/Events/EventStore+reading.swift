import Postgres
package import Sale
import StoreCommon

extension EventStore {
  /// What the queue needs to know; `nil` for an unknown event.
  package func settings(event: Int) async throws -> EventSettings? {
    try await postgres.query("SELECT \(unsafeSQL: EventSettings.columns) FROM event e WHERE e.id = \(event)")
      .first.map { try EventSettings($0) }
  }

  /// An event with what is sold of it; `nil` for an unknown one.
  /// - Parameter known: what was read before. Of a draft nothing is sold, and its version says whether tickets were added:
  ///   they are not counted again.
  package func event(_ id: Int, known: Event? = nil) async throws -> Event? {
    if let known, known.state == EventState.draft.rawValue {
      let row = try await postgres.query(
        """
        SELECT \(unsafeSQL: EventSettings.columns), \(unsafeSQL: Self.descriptive)
        FROM event e WHERE e.id = \(id)
        """
      ).first
      guard let row else { return nil }
      var event = try Self.event(row)
      if event.state == known.state, event.settings.version == known.settings.version {
        event.sections = known.sections
        return event
      }
    }
    let results = try await postgres.transaction([
      """
      SELECT \(unsafeSQL: EventSettings.columns), \(unsafeSQL: Self.descriptive)
      FROM event e WHERE e.id = \(id)
      """,
      """
      SELECT s.id, s.name, coalesce(t.low_left, t.low, s.price) AS price,
        coalesce(t.high_left, t.high, s.price) AS max_price, coalesce(t.total, 0) AS total, coalesce(t.sold, 0) AS sold,
        t.seats
      FROM section s JOIN (
        SELECT section_id, count(*) AS total, count(*) FILTER (WHERE purchased) AS sold,
          bool_or(seat IS NOT NULL OR row IS NOT NULL) AS seats, min(price) AS low,
          max(price) AS high, min(price) FILTER (WHERE NOT purchased) AS low_left,
          max(price) FILTER (WHERE NOT purchased) AS high_left
        FROM ticket WHERE event_id = \(id) AND (withheld IS NULL OR purchased) GROUP BY section_id
      ) t ON t.section_id = s.id
      WHERE s.event_id = \(id) ORDER BY s.rank
      """,
    ])
    guard let row = results[0].first else { return nil }
    var event = try Self.event(row)
    event.sections = try results[1].map { row in
      Event.Section(
        id: try row.int("id"), name: try row.string("name"), price: try row.int("price"),
        maxPrice: try row.int("max_price"), total: try row.int("total"), sold: try row.int("sold"),
        hasSeats: try row.bool("seats"))
    }
    return event
  }

  /// Events by ascending id, from the first above `id`, without their sections.
  /// - Parameter organizer: whose events alone, with their organizations; `nil` for all.
  package func events(
    after id: Int, limit: Int, of organizer: (user: String, organizations: [String])? = nil
  ) async throws -> [Event] {
    try await postgres.query(
      """
      SELECT \(unsafeSQL: EventSettings.columns), \(unsafeSQL: Self.descriptive) FROM event e
      WHERE e.id > \(id) AND (\(organizer == nil)::bool OR e.owner = \(organizer?.user)
        OR e.organizations && \(organizer?.organizations ?? [])::text[])
      ORDER BY e.id LIMIT \(limit)
      """
    ).map(Self.event)
  }

  /// Whose an event is, and its currency; `nil` for an unknown one.
  package func owner(event: Int) async throws -> (owner: EventOwner, currency: String)? {
    try await postgres.query(
      "SELECT e.currency, \(unsafeSQL: EventOwner.columns) FROM event e WHERE e.id = \(event)"
    ).first.map { (try EventOwner($0), try $0.string("currency")) }
  }

  /// Gives an event to an organizer.
  /// - Parameter organizations: who share it from now on; `nil` for those that did before.
  package func setOwner(
    event: Int, _ user: String, organizations: [String]? = nil, by who: String
  ) async throws {
    try await postgres.withTransaction { transaction in
      _ = try await Self.lock(event, transaction)
      _ = try await transaction.query("UPDATE event SET owner = \(user) WHERE id = \(event)")
      if let organizations {
        _ = try await transaction.query(
          "UPDATE event SET organizations = \(organizations)::text[] WHERE id = \(event)")
      }
      let shared = organizations.map { $0.isEmpty ? ", alone" : ", shared by \($0.joined(separator: ", "))" }
      try await Self.note(who, "owner", event: event, detail: user + (shared ?? ""), transaction)
    }
  }

  private static let descriptive = """
    e.name, e.location, e.time_zone, e.description, e.currency, extract(epoch FROM e.date)::bigint AS date,
    extract(epoch FROM e.date_was)::bigint AS date_was, e.location_was,
    \(Event.postponedColumn), extract(epoch FROM e.onsale_at)::bigint AS onsale_at,
    extract(epoch FROM e.created_at)::bigint AS created_at, e.halt, e.halt_tickets,
    EXISTS (SELECT FROM event_drawing d WHERE d.event_id = e.id) AS has_plan,
    extract(epoch FROM e.sales_end_at)::bigint AS sales_end_at, e.tickets_version, \(EventOwner.columns)
    """

  private static func event(_ row: PostgresRow) throws -> Event {
    Event(
      name: try row.string("name"), location: try row.string("location"), date: try row.int("date"),
      timeZone: row["time_zone"].string, description: try row.string("description"),
      currency: try row.string("currency"), dateWas: row["date_was"].int,
      locationWas: row["location_was"].string, isPostponed: try row.bool("is_postponed"),
      onsaleAt: row["onsale_at"].int, createdAt: try row.int("created_at"), settings: try EventSettings(row),
      halt: SaleHalt(row), hasPlan: try row.bool("has_plan"),
      salesEndAt: row["sales_end_at"].int, ticketsVersion: try row.int("tickets_version"),
      owner: try EventOwner(row), sections: [])
  }

  /// Tickets by ascending id, from the first above `id`: what never changes about them.
  package func seats(event: Int, after id: Int, limit: Int) async throws -> [Seat] {
    try await postgres.query(
      """
      SELECT id, section_id, row, seat, price, block, x, y FROM ticket
      WHERE event_id = \(event) AND id > \(id) AND (withheld IS NULL OR purchased)
      ORDER BY id LIMIT \(limit)
      """
    ).map { row in
      Seat(
        id: try row.int("id"), section: try row.int("section_id"), row: row["row"].string,
        seat: row["seat"].string, price: try row.int("price"), block: row["block"].string, x: row["x"].int,
        y: row["y"].int)
    }
  }

  /// What the event's seating plan shows beside its seats, as JSON; `nil` without a plan.
  package func drawing(event: Int) async throws -> String? {
    try await postgres.query("SELECT drawing FROM event_drawing WHERE event_id = \(event)").first?.string(
      "drawing")
  }

  /// Ids that one statement looks at: some milliseconds of the loop.
  private static let idsAtOnce = 20_000

  /// Tickets that are sold or being paid, as a bitmap like `QueueReader.unavailableTickets`: what PostgreSQL
  /// knows when Redis has no queue for the event. Read in slices, each as of a moment of its own.
  package func unavailableTickets(event: Int) async throws -> [UInt8] {
    let rows = try await postgres.query(
      "SELECT coalesce(max(id), 0) AS last FROM ticket WHERE event_id = \(event)")
    let last = min(try rows.first?.int("last") ?? 0, Limits.ticketID)
    var bitmap: [UInt8] = []
    for first in stride(from: 1, through: last, by: Self.idsAtOnce) {
      let end = first + Self.idsAtOnce
      let rows = try await postgres.query(
        """
        SELECT coalesce(array_agg(id), '{}') AS ids FROM (
          SELECT id FROM ticket WHERE event_id = \(event) AND id >= \(first) AND id < \(end) AND purchased
          UNION SELECT ticket_id FROM claim
          WHERE event_id = \(event) AND ticket_id >= \(first) AND ticket_id < \(end)
        ) t
        """)
      for id in rows.first?["ids"].ints ?? [] where id <= Limits.ticketID {
        let byte = id >> 3
        if byte >= bitmap.count { bitmap += [UInt8](repeating: 0, count: byte - bitmap.count + 1) }
        bitmap[byte] |= 0x80 >> UInt8(id & 7)
      }
    }
    return bitmap
  }

  /// What an event has brought in so far.
  package struct Sales: Sendable {
    /// Purchases by their state.
    package let purchases: [String: Int]
    /// Of what is sold, in minor units.
    package let amount: Int
    package let capturedAmount: Int
    /// Of what was captured.
    package let refundedAmount: Int
    /// What banks of buyers have taken back, or may; not what they have given up.
    package let disputedAmount: Int
    /// Different users who bought.
    package let buyers: Int
    package let firstSoldAt: Int?
    package let lastSoldAt: Int?
    /// Captures and cancellations that are still to be done at the provider.
    package let openOutboxEntries: Int
  }

  package func sales(event: Int) async throws -> Sales {
    let results = try await postgres.transaction([
      "SELECT state, count(*) AS count FROM purchase WHERE event_id = \(event) GROUP BY state",
      """
      SELECT coalesce(sum(amount), 0)::bigint AS amount,
        coalesce(sum(coalesce(charged, amount)) FILTER (WHERE captured_at IS NOT NULL), 0)::bigint AS captured,
        coalesce(sum(refunded), 0)::bigint AS refunded,
        (SELECT coalesce(sum(amount), 0)::bigint FROM dispute WHERE event_id = \(event) AND status <> 'won'
          AND status <> 'warning_closed') AS disputed,
        count(DISTINCT user_id) FILTER (WHERE cardinality(tickets) > 0) AS buyers, extract(epoch FROM min(sold_at))::bigint AS first,
        extract(epoch FROM max(sold_at))::bigint AS last
      FROM purchase WHERE event_id = \(event) AND state = 'sold'
      """,
      """
      SELECT (SELECT count(*) FROM outbox WHERE event_id = \(event))
        + (SELECT count(*) FROM refund WHERE event_id = \(event) AND available_at IS NOT NULL) AS count
      """,
    ])
    guard let row = results[1].first else { throw StoreError(.unexpectedAnswer, "sales") }
    var purchases: [String: Int] = [:]
    for row in results[0] { purchases[try row.string("state")] = try row.int("count") }
    return Sales(
      purchases: purchases, amount: try row.int("amount"), capturedAmount: try row.int("captured"),
      refundedAmount: try row.int("refunded"), disputedAmount: try row.int("disputed"),
      buyers: try row.int("buyers"), firstSoldAt: row["first"].int, lastSoldAt: row["last"].int,
      openOutboxEntries: try results[2].first?.int("count") ?? 0)
  }

  /// One change that somebody made.
  package struct LogEntry: Sendable {
    package let id: Int
    package let at: Int
    package let who: String
    package let action: String
    package let detail: String
  }

  /// Changes of an event, latest first, from the first below `id`.
  package func log(event: Int, before id: Int = .max, limit: Int) async throws -> [LogEntry] {
    try await postgres.query(
      """
      SELECT id, extract(epoch FROM at)::bigint AS at, who, action, detail FROM audit_log
      WHERE event_id = \(event) AND id < \(id) ORDER BY id DESC LIMIT \(limit)
      """
    ).map { row in
      LogEntry(
        id: try row.int("id"), at: try row.int("at"), who: try row.string("who"),
        action: try row.string("action"),
        detail: try row.string("detail"))
    }
  }
}

extension EventStore {
  /// Which ticket ids belong to which section, as ranges: a section's tickets are made together, so they are
  /// few.
  package func ticketRanges(event: Int) async throws -> [Int: [ClosedRange<Int>]] {
    let rows = try await postgres.query(
      """
      SELECT section_id, min(id) AS first, max(id) AS last FROM (
        SELECT id, section_id, id - row_number() OVER (PARTITION BY section_id ORDER BY id) AS island
        FROM ticket WHERE event_id = \(event)
      ) t GROUP BY section_id, island ORDER BY first
      """)
    var ranges: [Int: [ClosedRange<Int>]] = [:]
    for row in rows {
      ranges[try row.int("section_id"), default: []].append(try row.int("first")...row.int("last"))
    }
    return ranges
  }
}
