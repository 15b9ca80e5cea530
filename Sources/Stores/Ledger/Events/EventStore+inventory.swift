import EventLoop
import Postgres
package import Sale
import StoreCommon

/// Tickets that organizers take back, all or none at a time. What somebody holds or has bought stays theirs: a hold that
/// is granted at the same moment goes on to its end, and its tickets are not granted again.
extension EventStore {
  /// Which tickets of an event.
  package enum Selection: Sendable {
    case tickets([Int])
    /// Seats of one row, by what is printed on them; all of the row without any.
    case row(section: String, row: String?, seats: [String])
    /// What one upload brought.
    case upload(Int)
    /// So many general-admission places of a section are to be left.
    case capacity(section: String, left: Int)
  }

  /// An upload of tickets.
  package struct Upload: Sendable {
    package let id: Int
    package let who: String
    /// Seconds since 1970.
    package let at: Int
    package let tickets: Int
    package let isUndone: Bool
  }

  private nonisolated static let named = 20

  /// The uploads of an event, in their order.
  package func uploads(event: Int) async throws -> [Upload] {
    try await postgres.query(
      """
      SELECT id, who, extract(epoch FROM at)::bigint AS at, tickets, undone_at IS NOT NULL AS undone FROM upload
      WHERE event_id = \(event) ORDER BY id LIMIT 1000
      """
    ).map { row in
      Upload(
        id: try row.int("id"), who: try row.string("who"), at: try row.int("at"),
        tickets: try row.int("tickets"),
        isUndone: try row.bool("undone"))
    }
  }

  /// Takes free tickets off sale until they are released.
  /// - Parameter isTaken: whether Redis knows a ticket as held or sold.
  /// - Returns: how many were on sale before.
  /// - Throws: `StoreError.conflict` that names those that are held or sold, `StoreError.missing` those that there are not;
  ///   nothing is changed then.
  package func block(
    event: Int, _ selection: Selection, isTaken: @escaping @Sendable (Int) -> Bool, by who: String
  ) async throws -> Int {
    try await withhold(event: event, selection, as: "blocked", isTaken: isTaken, "block", by: who)
  }

  /// Takes free tickets away for good: an upload that is undone, or places above a new capacity.
  /// - Returns: how many there were.
  package func remove(
    event: Int, _ selection: Selection, isTaken: @escaping @Sendable (Int) -> Bool, by who: String
  ) async throws -> Int {
    try await withhold(event: event, selection, as: "removed", isTaken: isTaken, "remove_tickets", by: who)
  }

  /// Puts blocked tickets on sale again.
  /// - Returns: how many were blocked.
  package func release(event: Int, _ selection: Selection, by who: String) async throws -> Int {
    try await postgres.withTransaction { transaction in
      try await Self.lockUnfinished(event, transaction)
      try await Self.requireAll(of: selection, event, transaction)
      let rows = try await transaction.query(
        """
        UPDATE ticket t SET withheld = NULL
        WHERE t.event_id = \(event) AND t.withheld = 'blocked' AND \(Self.condition(selection, event)) RETURNING t.id
        """)
      if !rows.isEmpty { try await Self.ticketsChanged(event, transaction) }
      try await Self.note(who, "release", event: event, detail: "\(rows.count) tickets", transaction)
      return rows.count
    }
  }

  /// That a section has places without seats, whose number is its capacity.
  /// - Throws: `StoreError`, where it has none, or there is no such section.
  package func requirePlaces(event: Int, section: String) async throws {
    try await postgres.withTransaction { transaction in
      try await Self.requireAll(of: .capacity(section: section, left: 0), event, transaction)
    }
  }

  private func withhold(
    event: Int, _ selection: Selection, as state: String, isTaken: @escaping @Sendable (Int) -> Bool,
    _ action: String, by who: String
  ) async throws -> Int {
    try await postgres.withTransaction { transaction in
      let isDraft = try await Self.lockUnfinished(event, transaction) == .draft
      try await Self.requireAll(of: selection, event, transaction)
      var rows = try await transaction.query(
        """
        SELECT t.id, t.row, t.seat, t.purchased OR c.ticket_id IS NOT NULL AS taken
        FROM ticket t LEFT JOIN claim c ON c.event_id = t.event_id AND c.ticket_id = t.id
        WHERE t.event_id = \(event) AND (t.withheld IS NULL OR t.withheld = 'blocked' AND \(state == "removed"))
          AND \(Self.condition(selection, event))
        ORDER BY t.withheld IS NOT NULL DESC, t.id DESC
        """)
      let isFree = { (row: PostgresRow) throws in try !row.bool("taken") && !isTaken(try row.int("id")) }
      if case .capacity(let section, let left) = selection {
        let free = try rows.filter(isFree)
        guard rows.count - free.count <= left else {
          throw StoreError(
            .conflict,
            "\(rows.count - free.count) places of \"\(section)\" are held or sold: it can have no fewer.")
        }
        rows = Array(free.prefix(max(0, rows.count - left)))
      }
      let taken = try rows.filter { try !isFree($0) }
      if !taken.isEmpty {
        let names = taken.prefix(Self.named).map { row in
          [row["row"].string.map { "row \($0)" }, row["seat"].string.map { "seat \($0)" }].compactMap { $0 }
            .joined(separator: " ")
        }.filter { !$0.isEmpty }
        throw StoreError(
          .conflict,
          "\(taken.count) of the tickets are held or sold"
            + (names.isEmpty ? "" : ": " + names.joined(separator: ", "))
            + ". Nothing was changed.")
      }
      let ids = try rows.map { try $0.int("id") }
      if case .upload(let number) = selection {
        let undone = try await transaction.query(
          """
          UPDATE upload SET undone_at = now() WHERE event_id = \(event) AND id = \(number) AND undone_at IS NULL
          RETURNING id
          """)
        if undone.isEmpty { throw StoreError(.conflict, "There is no such upload, or it was undone.") }
      }
      if isDraft, state == "removed" {
        _ = try await transaction.query(
          "DELETE FROM ticket WHERE event_id = \(event) AND id = ANY (\(ids)::int[])")
        _ = try await transaction.query(
          """
          DELETE FROM section s WHERE s.event_id = \(event)
            AND NOT EXISTS (SELECT FROM ticket t WHERE t.event_id = s.event_id AND t.section_id = s.id)
          """)
      } else {
        _ = try await transaction.query(
          "UPDATE ticket SET withheld = \(state) WHERE event_id = \(event) AND id = ANY (\(ids)::int[])")
      }
      if !ids.isEmpty { try await Self.ticketsChanged(event, transaction) }
      try await Self.note(who, action, event: event, detail: "\(ids.count) tickets", transaction)
      return ids.count
    }
  }

  /// Changes what a section is called and costs, while nobody holds or has bought any of it.
  ///
  /// Of a sale that is open somebody may be granted tickets at any moment, at the price that they saw: it is paused first.
  /// - Returns: false for an unknown section.
  package func updateSection(
    event: Int, named section: String, newName: String?, price: Int?,
    isTaken: @escaping @Sendable (Int) -> Bool, by who: String
  ) async throws -> Bool {
    try await postgres.withTransaction { transaction in
      let state = try await Self.lockUnfinished(event, transaction)
      guard state != .open else {
        throw StoreError(.conflict, "Names and prices change while the sale is paused, or before it opens.")
      }
      let known = try await transaction.query(
        "SELECT id FROM section WHERE event_id = \(event) AND name = \(section)")
      guard let id = try known.first?.int("id") else { return false }
      let rows = try await transaction.query(
        """
        SELECT t.id, t.purchased OR c.ticket_id IS NOT NULL AS taken
        FROM ticket t LEFT JOIN claim c ON c.event_id = t.event_id AND c.ticket_id = t.id
        WHERE t.event_id = \(event) AND t.section_id = \(id) AND t.withheld IS DISTINCT FROM 'removed'
        """)
      let taken = try rows.count { try $0.bool("taken") || isTaken($0.int("id")) }
      guard taken == 0 else {
        throw StoreError(
          .conflict, "\(taken) tickets of \"\(section)\" are held or sold: their name and price stay.")
      }
      if let newName, newName != section {
        let other = try await transaction.query(
          "SELECT FROM section WHERE event_id = \(event) AND name = \(newName)")
        if !other.isEmpty { throw StoreError(.conflict, "There is a section \"\(newName)\" already.") }
      }
      if let price {
        let terms = try await transaction.query(
          "SELECT currency, per_user_limit FROM event WHERE id = \(event)"
        ).first
        if let terms, let currency = Currency(code: try terms.string("currency")),
          let problem = currency.problem(withPrice: price, tickets: try terms.int("per_user_limit"))
        {
          throw StoreError(.invalid, "The price \(price) \(problem).")
        }
        _ = try await transaction.query(
          "UPDATE ticket SET price = \(price) WHERE event_id = \(event) AND section_id = \(id)")
      }
      _ = try await transaction.query(
        """
        UPDATE section SET name = coalesce(\(newName), name), price = coalesce(\(price), price)
        WHERE event_id = \(event) AND id = \(id)
        """)
      try await Self.ticketsChanged(event, transaction)
      try await Self.note(who, "update_section", event: event, detail: section, transaction)
      return true
    }
  }

  /// Changes what tickets cost, also while they are on sale. What somebody holds, is paying for or has bought stays at its
  /// price.
  ///
  /// Whoever grants seats takes a map of the new prices from before the change on, so that nobody is granted any at an old
  /// price that is not known as held here.
  /// - Parameter bar: has Redis grant nothing but from tickets of this version, and says which are held or sold; `nil`
  ///   where there is no queue.
  /// - Returns: how many tickets have the new price, and how many keep theirs.
  /// - Throws: `StoreError` `conflict` where it took too long, or tickets were changed at the same moment: nothing is
  ///   changed then.
  package func setPrice(
    event: Int, _ selection: Selection, _ price: Int, by who: String,
    bar: @LoopActor (_ ticketsVersion: Int) async throws -> [UInt8]?
  ) async throws -> (changed: Int, kept: Int) {
    let before = try await postgres.query("SELECT tickets_version FROM event WHERE id = \(event)")
    guard let version = try before.first?.int("tickets_version") else { throw Self.unknown }
    let started = EventLoop.shared.now
    let taken = try await bar(version + 1)
    return try await postgres.withTransaction { transaction in
      _ = try await transaction.query("SET LOCAL statement_timeout = '\(unsafeSQL: Self.priceStatement)'")
      try await Self.lockUnfinished(event, transaction)
      let terms = try await transaction.query(
        "SELECT currency, per_user_limit, tickets_version FROM event WHERE id = \(event)")
      guard let terms = terms.first, try terms.int("tickets_version") == version else { throw Self.again }
      if let currency = Currency(code: try terms.string("currency")),
        let problem = currency.problem(withPrice: price, tickets: try terms.int("per_user_limit"))
      {
        throw StoreError(.invalid, "The price \(price) \(problem).")
      }
      try await Self.requireAll(of: selection, event, transaction)
      let rows = try await transaction.query(
        """
        SELECT t.id, t.purchased OR c.ticket_id IS NOT NULL AS taken
        FROM ticket t LEFT JOIN claim c ON c.event_id = t.event_id AND c.ticket_id = t.id
        WHERE t.event_id = \(event) AND t.withheld IS DISTINCT FROM 'removed' AND \(Self.condition(selection, event))
        """)
      let free = try rows.filter { try !$0.bool("taken") }.map { try $0.int("id") }
        .filter { !Bitmap.contains(taken ?? [], $0) }
      _ = try await transaction.query(
        "UPDATE ticket SET price = \(price) WHERE event_id = \(event) AND id = ANY (\(free)::int[])")
      if case .row(let section, nil, let seats) = selection, seats.isEmpty {
        _ = try await transaction.query(
          "UPDATE section SET price = \(price) WHERE event_id = \(event) AND name = \(section)")
      }
      try await Self.ticketsChanged(event, transaction)
      try await Self.note(
        who, "price", event: event, detail: "\(price) for \(free.count) tickets", transaction)
      // Later than that somebody may be granted tickets at the old price again.
      guard EventLoop.shared.now < started + Self.priceMilliseconds else { throw Self.again }
      return (free.count, rows.count - free.count)
    }
  }

  /// Well before Redis grants at old prices again.
  private static let priceMilliseconds = UInt64(Limits.priceBarMilliseconds) / 2
  private static let priceStatement = "1500ms"
  private static let again = StoreError(
    .conflict,
    "The tickets were changed at the same moment, or it took too long: nothing was changed. Try again.")

  /// Deletes a draft with everything that it has. Nobody has ever bought anything of it.
  /// - Throws: `StoreError.conflict` for one that was announced or opened.
  package func delete(event: Int, by who: String) async throws {
    try await postgres.withTransaction { transaction in
      let state = try await Self.lock(event, transaction)
      let rows = try await transaction.query(
        "SELECT name, generation, onsale_at IS NOT NULL AS announced FROM event WHERE id = \(event)")
      guard let row = rows.first else { throw Self.unknown }
      guard try row.int("generation") == 0, state == .draft || state == .closed else {
        throw StoreError(.conflict, "The sale has been open: it can be closed, and not deleted.")
      }
      guard try !row.bool("announced") else {
        throw StoreError(
          .conflict, "The event is announced: set `onsale_at` to null first, and nobody sees it any more.")
      }
      let name = try row.string("name")
      for table in ["ticket", "section", "event_drawing", "upload"] {
        _ = try await transaction.query("DELETE FROM \(unsafeSQL: table) WHERE event_id = \(event)")
      }
      _ = try await transaction.query("DELETE FROM event WHERE id = \(event)")
      try await Self.note(who, "delete", event: event, detail: name, transaction)
    }
  }

  // MARK: Steps within a transaction

  /// So that whoever reads tickets looks at them again.
  static func ticketsChanged(_ event: Int, _ transaction: PostgresTransaction) async throws {
    _ = try await transaction.query(
      "UPDATE event SET version = version + 1, tickets_version = tickets_version + 1 WHERE id = \(event)")
  }

  /// So that whoever reads tickets looks at them again, since some were given back.
  /// - Returns: the settings to publish; `nil` for an unknown event.
  package func noteTicketsChanged(event: Int) async throws -> EventSettings? {
    try await postgres.query(
      """
      UPDATE event e SET version = version + 1, tickets_version = tickets_version + 1 WHERE e.id = \(event)
      RETURNING \(unsafeSQL: EventSettings.columns)
      """
    ).first.map { try EventSettings($0) }
  }

  @discardableResult
  private static func lockUnfinished(_ event: Int, _ transaction: PostgresTransaction) async throws
    -> EventState
  {
    let state = try await lock(event, transaction)
    if state == .closed { throw StoreError(.conflict, "The sale is closed.") }
    return state
  }

  /// Nothing is done for some of what was named, and nothing for nothing.
  /// - Throws: `StoreError.missing` that names what there is not, whatever of it at once.
  private static func requireAll(
    of selection: Selection, _ event: Int, _ transaction: PostgresTransaction
  ) async throws {
    let there: SQL = "t.event_id = \(event) AND t.withheld IS DISTINCT FROM 'removed'"
    switch selection {
    // What an upload brought may be gone; whether there was one is asked where it is undone.
    case .upload: return
    case .tickets(let ids):
      let missing = try await transaction.query(
        """
        SELECT DISTINCT w.id FROM unnest(\(ids)::int[]) w(id)
        WHERE NOT EXISTS (SELECT FROM ticket t WHERE \(there) AND t.id = w.id) ORDER BY w.id
        """)
      try refuse(missing.map { String(try $0.int("id")) }, "tickets of the ids")
    case .capacity(let section, _):
      try await requireSection(section, event, transaction)
      let places = try await transaction.query(
        "SELECT FROM ticket t WHERE \(there) AND \(condition(selection, event)) LIMIT 1")
      if places.isEmpty {
        throw StoreError(
          .conflict,
          "The section \"\(section)\" has seats, and no places to count: block or release its seats.")
      }
    case .row(let section, let row, let seats):
      try await requireSection(section, event, transaction)
      let ofRow: SQL = "\(there) AND \(condition(.row(section: section, row: row, seats: []), event))"
      if try await transaction.query("SELECT FROM ticket t WHERE \(ofRow) LIMIT 1").isEmpty {
        try refuse([row ?? ""], "tickets in the section \"\(section)\"" + (row == nil ? "" : ", row"))
      }
      let missing = try await transaction.query(
        """
        SELECT DISTINCT w.seat FROM unnest(\(seats)::text[]) w(seat)
        WHERE NOT EXISTS (SELECT FROM ticket t WHERE \(ofRow) AND t.seat = w.seat) ORDER BY w.seat
        """)
      let place = row.map { ", row \"\($0)\"" } ?? ""
      try refuse(missing.map { try $0.string("seat") }, "seats in the section \"\(section)\"\(place):")
    }
  }

  private static func requireSection(
    _ section: String, _ event: Int, _ transaction: PostgresTransaction
  ) async throws {
    let known = try await transaction.query("SELECT name FROM section WHERE event_id = \(event) ORDER BY id")
    let names = try known.map { try $0.string("name") }
    if names.contains(section) { return }
    let there = names.prefix(named).map { "\"\($0)\"" }.joined(separator: ", ")
    throw StoreError(
      .missing, "The event has no section \"\(section)\". There are \(there). Nothing was changed.")
  }

  private static func refuse(_ missing: [String], _ what: String) throws(StoreError) {
    if missing.isEmpty { return }
    let told = missing.prefix(named).filter { !$0.isEmpty }.map { "\"\($0)\"" }.joined(separator: ", ")
    let more = missing.count > named ? " and \(missing.count - named) more" : ""
    throw StoreError(
      .missing, "The event has no \(what)\(told.isEmpty ? "" : " \(told)")\(more). Nothing was changed.")
  }

  private static func condition(_ selection: Selection, _ event: Int) -> SQL {
    switch selection {
    case .tickets(let ids): "t.id = ANY (\(ids)::int[])"
    case .upload(let number): "t.upload = \(number)"
    case .capacity(let section, _):
      """
      t.seat IS NULL AND t.row IS NULL
        AND t.section_id = (SELECT id FROM section WHERE event_id = \(event) AND name = \(section))
      """
    case .row(let section, let row, let seats):
      """
      t.section_id = (SELECT id FROM section WHERE event_id = \(event) AND name = \(section))
        AND (\(row)::text IS NULL OR t.row = \(row)) AND (cardinality(\(seats)::text[]) = 0 OR t.seat = ANY (\(seats)::text[]))
      """
    }
  }
}
