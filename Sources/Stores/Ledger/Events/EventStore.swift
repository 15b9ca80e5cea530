package import EventLoop
package import Postgres
package import Sale
import StoreCommon

/// Events in PostgreSQL, as operators make and change them. Every change is written together with who made
/// it, and raises the event's version.
///
/// What a queue must know is written here first and to Redis after it: `publish` does the second step, and
/// `reconcile` finds what a crash between both left undone.
@LoopActor
package final class EventStore {
  /// Tickets inserted by one statement: it stays well below any statement timeout, and writing it is some milliseconds of
  /// the loop.
  private static let ticketsPerStatement = 4_000
  /// New seats that one statement looks for among those of a section, each time all of them.
  private static let seatsCompared = 20_000

  package let postgres: PostgresClient
  package let rejoinSeconds: Int

  /// Longer than the longest pause between two polls, 36 seconds with its jitter: everyone hears of it in time.
  package nonisolated static let defaultRejoinSeconds = 40
  package nonisolated static let allowedRejoinSeconds = 0...600

  /// - Parameter rejoinSeconds: for how long a line that Redis lost takes in only those who were in it. 0 lets everybody
  ///   in at once.
  package init(_ postgres: PostgresClient, rejoinSeconds: Int = defaultRejoinSeconds) {
    self.postgres = postgres
    self.rejoinSeconds = rejoinSeconds
  }

  // MARK: Making

  /// Makes an event with its tickets, as a draft.
  /// - Returns: its id; not new if an event of the same `key` was there, which is then left as it is.
  /// - Throws: `StoreError.invalid` for sections that cannot be.
  package func create(_ draft: EventDraft, by who: String) async throws -> (id: Int, isNew: Bool) {
    if draft.sections.isEmpty { throw StoreError(.invalid, "The event has no sections.") }
    if let problem = try await Self.problem(with: draft.sections) {
      throw StoreError(.invalid, "The event has \(problem).")
    }
    try await Self.check(draft.sections, currency: draft.currency, perUserLimit: draft.perUserLimit)
    return try await postgres.withTransaction { transaction in
      let rows = try await transaction.query(
        """
        INSERT INTO event (key, name, location, date, time_zone, description, currency, onsale_at, sales_end_at,
          hold_seconds, per_user_limit, queue_limit, owner, organizations, generation)
        VALUES (\(draft.key), \(draft.name), \(draft.location), to_timestamp(\(draft.date)),
          \(draft.timeZone), \(draft.description), \(draft.currency), to_timestamp(\(draft.onsaleAt)),
          to_timestamp(\(draft.salesEndAt)), \(draft.holdSeconds), \(draft.perUserLimit), \(draft.queueLimit),
          \(draft.owner.user), \(draft.owner.organizations)::text[], 0)
        ON CONFLICT (key) DO NOTHING RETURNING id
        """)
      guard let id = try rows.first?.int("id") else {
        let known = try await transaction.query("SELECT id FROM event WHERE key = \(draft.key)")
        guard let row = known.first else { throw StoreError(.unexpectedAnswer, "event.key") }
        return (try row.int("id"), false)
      }
      let count = try await Self.insert(
        draft.sections.map { (nil, 1, $0) }, event: id, firstSection: 1, firstSectionRank: 1, firstTicket: 1,
        runsBefore: 0, upload: nil, transaction)
      if let drawing = draft.drawing { try await Self.setDrawing(drawing, event: id, transaction) }
      try await Self.note(who, "create", event: id, detail: "\(count) tickets", transaction)
      return (id, true)
    }
  }

  private static func problem(with sections: [SectionDraft]) async throws -> String? {
    try await SideThread.shared.run { list(SectionDraft.problems(with: sections)) }
  }

  /// All in one sentence, or nearly; `nil` for none.
  private nonisolated static func list(_ problems: [String]) -> String? {
    let told = problems.prefix(problemsTold).joined(separator: "; ")
    let more = problems.count - problemsTold
    return problems.isEmpty ? nil : more > 0 ? "\(told); and more" : told
  }

  private nonisolated static let problemsTold = 20

  /// That the payment provider takes what tickets cost.
  private static func check(_ sections: [SectionDraft], currency code: String, perUserLimit: Int) async throws
  {
    guard let currency = Currency(code: code) else {
      // One of a version before: nothing in it can be sold, but for what is free.
      if sections.allSatisfy({ $0.prices == [0] }) { return }
      throw StoreError(.invalid, "Nothing can be charged in the currency \(code).")
    }
    let problem = try await SideThread.shared.run {
      list(SectionDraft.problems(withPricesOf: sections, in: currency, perUserLimit: perUserLimit))
    }
    if let problem { throw StoreError(.invalid, "There is \(problem).") }
  }

  /// Adds tickets to sections that are there, by their names, and to new ones.
  ///
  /// The same `key` of the same person again, with the same `digest`, changes nothing.
  /// - Parameter drawing: what a seating plan shows beside the seats, as JSON; takes the place of the one before.
  package func addTickets(
    event: Int, _ sections: [SectionDraft], drawing: String? = nil, key: String? = nil, digest: String = "",
    upTo: Int? = nil, by who: String
  ) async throws -> AddedTickets {
    if let problem = try await Self.problem(with: sections) {
      throw StoreError(.invalid, "There are \(problem).")
    }
    return try await postgres.withTransaction { transaction in
      let state = try await Self.lock(event, transaction)
      if let key, let before = try await Self.upload(event, key, digest, by: who, transaction) {
        return before
      }
      if state == .closed { throw StoreError(.conflict, "The sale is closed.") }
      let money = try await transaction.query(
        """
        SELECT currency, greatest(per_user_limit, highest_per_user_limit) AS most FROM event WHERE id = \(event)
        """)
      if let row = money.first {
        try await Self.check(
          sections, currency: try row.string("currency"), perUserLimit: try row.int("most"))
      }
      let known = try await transaction.query(
        """
        SELECT s.id, s.name, s.rank, coalesce(max(t.rank), 0) AS last,
          count(t.id) FILTER (WHERE t.withheld IS DISTINCT FROM 'removed') AS tickets,
          count(t.id) FILTER (WHERE t.row IS NOT NULL OR t.seat IS NOT NULL) AS seats
        FROM section s LEFT JOIN ticket t ON t.event_id = s.event_id AND t.section_id = s.id
        WHERE s.event_id = \(event) GROUP BY s.id, s.name, s.rank
        """)
      var idsAndRanks: [String: (id: Int, nextRank: Int)] = [:]
      var lastSection = 0, lastRank = 0, tickets = 0
      var sections = sections
      for row in known {
        if let upTo, try row.string("name") == sections.first?.name {
          guard try row.int("seats") == 0 else {
            throw StoreError(.invalid, "The section has seats: its capacity is what they are.")
          }
          sections[0].seats = Array(sections[0].seats.prefix(max(0, upTo - (try row.int("tickets")))))
        }
        idsAndRanks[try row.string("name")] = (try row.int("id"), try row.int("last") + 1)
        lastSection = max(lastSection, try row.int("id"))
        lastRank = max(lastRank, try row.int("rank"))
        tickets += try row.int("tickets")
      }
      let added = sections.reduce(0) { $0 + $1.seats.count }
      guard tickets + added <= Limits.ticketsPerEvent else {
        throw StoreError(.invalid, "An event has at most \(Limits.ticketsPerEvent) tickets.")
      }
      let parts = sections.map { section in
        (idsAndRanks[section.name]?.id, idsAndRanks[section.name]?.nextRank ?? 1, section)
      }
      guard lastSection + parts.count <= Limits.sectionsPerEvent * 2 else {
        throw StoreError(.invalid, "An event has at most \(Limits.sectionsPerEvent) sections.")
      }
      var there: [NamedSeat] = []
      for (id, _, section) in parts where there.count <= Self.duplicatesTold {
        if let id { there += try await Self.duplicates(of: section, id: id, event: event, transaction) }
      }
      if !there.isEmpty { throw Self.duplicates(there) }
      let last = try await transaction.query(
        "SELECT coalesce(max(id), 0) AS last, coalesce(max(run), 0) AS runs FROM ticket WHERE event_id = \(event)"
      ).first
      let first = (try last?.int("last") ?? 0) + 1
      guard first + added <= Limits.ticketID else {
        throw StoreError(.conflict, "Tickets of this event were removed and added too often.")
      }
      let uploads = try await transaction.query(
        "SELECT coalesce(max(id), 0) AS last FROM upload WHERE event_id = \(event)")
      let number = (try uploads.first?.int("last") ?? 0) + 1
      let count = try await Self.insert(
        parts, event: event, firstSection: lastSection + 1, firstSectionRank: lastRank + 1,
        firstTicket: first, runsBefore: try last?.int("runs") ?? 0, upload: number, transaction)
      if let drawing { try await Self.setDrawing(drawing, event: event, transaction) }
      _ = try await transaction.query(
        """
        INSERT INTO upload (event_id, id, key, digest, who, tickets)
        VALUES (\(event), \(number), \(key), \(digest), \(who), \(count))
        """)
      try await Self.ticketsChanged(event, transaction)
      try await Self.note(who, "add_tickets", event: event, detail: "\(count) tickets", transaction)
      return AddedTickets(upload: number, count: count, isNew: true)
    }
  }

  /// What an upload has brought.
  package struct AddedTickets: Sendable, Equatable {
    /// Names it, to undo it.
    package let upload: Int
    package let count: Int
    /// Whether it was this call that brought them.
    package let isNew: Bool
  }

  /// What came with the key before.
  private static func upload(
    _ event: Int, _ key: String, _ digest: String, by who: String, _ transaction: PostgresTransaction
  ) async throws -> AddedTickets? {
    let rows = try await transaction.query(
      """
      SELECT id, digest, tickets, undone_at IS NOT NULL AS undone FROM upload
      WHERE event_id = \(event) AND who = \(who) AND key = \(key)
      """)
    guard let row = rows.first else { return nil }
    if try row.bool("undone") {
      throw StoreError(.conflict, "The upload of this Idempotency-Key was undone: use another key.")
    }
    guard try row.string("digest") == digest else {
      throw StoreError(.invalid, "This Idempotency-Key came with another upload before.")
    }
    return AddedTickets(upload: try row.int("id"), count: try row.int("tickets"), isNew: false)
  }

  private static func setDrawing(_ drawing: String, event: Int, _ transaction: PostgresTransaction)
    async throws
  {
    _ = try await transaction.query(
      """
      INSERT INTO event_drawing (event_id, drawing) VALUES (\(event), \(drawing))
      ON CONFLICT (event_id) DO UPDATE SET drawing = excluded.drawing
      """)
  }

  /// - Parameter parts: the section's id if it is there, its next rank, and what to add.
  private static func insert(
    _ parts: [(id: Int?, nextRank: Int, draft: SectionDraft)], event: Int, firstSection: Int,
    firstSectionRank: Int, firstTicket: Int, runsBefore: Int, upload: Int?,
    _ transaction: PostgresTransaction
  ) async throws -> Int {
    var sections: [(id: Int, draft: SectionDraft, rank: Int)] = []
    var newIDs: [Int] = [], names: [String] = [], prices: [Int] = [], ranks: [Int] = []
    for part in parts {
      let id = part.id ?? firstSection + newIDs.count
      sections.append((id, part.draft, part.nextRank))
      if part.id != nil { continue }
      ranks.append(firstSectionRank + newIDs.count)
      newIDs.append(id)
      names.append(part.draft.name)
      prices.append(part.draft.price)
    }
    _ = try await transaction.query(
      """
      INSERT INTO section (event_id, id, name, price, rank)
      SELECT \(event), i.*
      FROM unnest(\(newIDs)::int[], \(names)::text[], \(prices)::bigint[], \(ranks)::int[]) AS i
      """)
    var batch = Batch(runsBefore: runsBefore, upload: upload), next = firstTicket
    for section in sections {
      for (index, seat) in section.draft.seats.enumerated() {
        batch.add(
          next, section: section.id, seat, rank: section.rank + index,
          price: seat.price ?? section.draft.price)
        next += 1
        if batch.ids.count == ticketsPerStatement {
          _ = try await transaction.query(batch.insertion(event: event))
          batch = Batch(runsBefore: runsBefore, upload: upload)
        }
      }
    }
    if !batch.ids.isEmpty { _ = try await transaction.query(batch.insertion(event: event)) }
    return next - firstTicket
  }

  private struct Batch {
    var ids: [Int] = []
    private var sections: [Int] = []
    private var rows: [String?] = []
    private var seats: [String?] = []
    private var ranks: [Int] = []
    private var prices: [Int] = []
    private var blocks: [String?] = []
    private var guids: [String?] = []
    /// Runs, places, and positions across and down.
    private var plans: [[String?]] = [[], [], [], []]
    private let runsBefore: Int
    private let upload: Int?

    init(runsBefore: Int, upload: Int?) {
      self.runsBefore = runsBefore
      self.upload = upload
    }

    mutating func add(_ id: Int, section: Int, _ seat: SectionDraft.Seat, rank: Int, price: Int) {
      ids.append(id)
      sections.append(section)
      rows.append(seat.row)
      seats.append(seat.seat)
      ranks.append(rank)
      prices.append(price)
      blocks.append(seat.plan?.block)
      guids.append(seat.plan?.guid)
      let numbers = [seat.plan.map { $0.run + runsBefore }, seat.plan?.place, seat.plan?.x, seat.plan?.y]
      for (index, number) in numbers.enumerated() { plans[index].append(number.map { String($0) }) }
    }

    func insertion(event: Int) -> SQL {
      """
      INSERT INTO ticket (event_id, upload, id, section_id, row, seat, rank, price, block, guid, run, place, x, y)
      SELECT \(event), \(upload)::int, i.* FROM unnest(\(ids)::int[], \(sections)::int[], \(rows)::text[], \(seats)::text[],
        \(ranks)::int[], \(prices)::bigint[], \(blocks)::text[], \(guids)::text[], \(plans[0])::int[],
        \(plans[1])::int[], \(plans[2])::int[], \(plans[3])::int[]) AS i
      """
    }
  }

  private static let duplicatesTold = 100

  private static func duplicates(_ there: [NamedSeat]) -> StoreError {
    let bySection = Dictionary(grouping: there.prefix(duplicatesTold)) { $0.section }
    let told = bySection.sorted { $0.key < $1.key }.map { section, seats in
      let names = seats.prefix(problemsTold).map { "row \($0.row ?? "-") seat \($0.seat)" }
      let more = seats.count > problemsTold ? "; and more" : ""
      return "Of the section \"\(section)\" these are there already: \(names.joined(separator: "; "))\(more)."
    }
    return StoreError(.conflict, told.joined(separator: " ") + " Nothing was taken.", seats: there)
  }

  /// Seats of the section that are there already, some more than are told at most.
  private static func duplicates(
    of section: SectionDraft, id: Int, event: Int, _ transaction: PostgresTransaction
  ) async throws -> [NamedSeat] {
    var there: [NamedSeat] = []
    for start in stride(from: 0, to: section.seats.count, by: seatsCompared) {
      let some = section.seats[start..<min(start + seatsCompared, section.seats.count)]
      let labelled = some.filter { $0.seat != nil }
      if labelled.isEmpty { continue }
      let taken = try await transaction.query(
        """
        SELECT t.row, t.seat
        FROM unnest(\(labelled.map { $0.row ?? "" })::text[], \(labelled.map { $0.seat ?? "" })::text[],
          \(labelled.map { $0.plan?.block ?? "" })::text[], \(labelled.map { $0.plan?.guid ?? "" })::text[])
          AS i (row, seat, block, guid)
        JOIN ticket t ON t.seat = i.seat AND coalesce(t.row, '') = i.row AND coalesce(t.block, '') = i.block
          AND coalesce(t.guid, '') = i.guid
        WHERE t.event_id = \(event) AND t.section_id = \(id) AND t.withheld IS DISTINCT FROM 'removed'
        LIMIT \(duplicatesTold + 1)
        """)
      there += try taken.map {
        NamedSeat(section: section.name, row: $0["row"].string, seat: try $0.string("seat"))
      }
      if there.count > duplicatesTold { break }
    }
    return there
  }

  // MARK: Changing

  /// Changes what is told about an event. Its currency and its tickets stay. With another date, or where that
  /// is said, it is not postponed any more; a sale that was stopped for that stays so until somebody resumes it.
  package func update(event: Int, _ changes: EventChanges, by who: String) async throws -> EventSettings {
    let changesOnsale = changes.onsaleAt != nil
    let onsaleAt: Int? = changes.onsaleAt ?? nil
    let changesZone = changes.timeZone != nil
    let timeZone: String? = changes.timeZone ?? nil
    let changesEnd = changes.salesEndAt != nil
    let salesEndAt: Int? = changes.salesEndAt ?? nil
    // Whoever sends everything back as it was has not decided on the date.
    let endsPostponement: SQL =
      "(\(changes.endsPostponement) OR coalesce(to_timestamp(\(changes.date)) <> e.date, false))"
    var names: [String] = []
    if changes.endsPostponement { names.append("postponed") }
    if changes.name != nil { names.append("name") }
    if changes.location != nil { names.append("location") }
    if changes.date != nil { names.append("date") }
    if changesZone { names.append("time_zone") }
    if changes.salesEndAt != nil { names.append("sales_end_at") }
    if changes.description != nil { names.append("description") }
    if changesOnsale { names.append("onsale_at") }
    if changes.holdSeconds != nil { names.append("hold_seconds") }
    if changes.perUserLimit != nil { names.append("per_user_limit") }
    if changes.queueLimit != nil { names.append("queue_limit") }
    if let limit = changes.perUserLimit { try await check(perUserLimit: limit, event: event) }
    if changes.date != nil || changesEnd {
      let ends = try await postgres.query(
        """
        SELECT FROM event e WHERE e.id = \(event) AND e.state IN ('open', 'paused')
          AND (e.postponed_at IS NOT NULL OR coalesce(e.sales_end_at, e.date) > now())
          AND coalesce(CASE WHEN \(changesEnd) THEN to_timestamp(\(salesEndAt)) ELSE e.sales_end_at END,
            to_timestamp(\(changes.date)), CASE WHEN e.postponed_at IS NULL THEN e.date END) <= now()
          AND (e.postponed_at IS NULL OR \(endsPostponement) OR e.state <> 'paused')
        """)
      if !ends.isEmpty {
        throw StoreError(
          .conflict,
          "That time is past, and the sale would end at once and for good. To end it, close it; nothing was changed."
        )
      }
    }
    return try await change(
      event: event,
      """
      name = coalesce(\(changes.name), e.name), location = coalesce(\(changes.location), e.location),
      date = coalesce(to_timestamp(\(changes.date)), e.date),
      time_zone = CASE WHEN \(changesZone) THEN \(timeZone) ELSE e.time_zone END,
      postponed_at = CASE WHEN \(endsPostponement) THEN NULL ELSE e.postponed_at END,
      date_was = CASE WHEN to_timestamp(\(changes.date)) <> e.date AND (e.generation > 0 OR e.postponed_at IS NOT NULL)
        THEN nullif(coalesce(e.date_was, e.date), to_timestamp(\(changes.date))) ELSE e.date_was END,
      location_was = CASE WHEN \(changes.location)::text <> e.location AND e.generation > 0
        THEN nullif(coalesce(e.location_was, e.location), \(changes.location)::text) ELSE e.location_was END,
      sales_end_at = CASE WHEN \(changesEnd) THEN to_timestamp(\(salesEndAt)) ELSE e.sales_end_at END,
      description = coalesce(\(changes.description), e.description),
      -- The time at which it would have opened passed meanwhile, and was told to nobody any more.
      onsale_at = CASE WHEN \(changesOnsale) THEN to_timestamp(\(onsaleAt))
        WHEN \(endsPostponement) AND e.postponed_at IS NOT NULL AND e.state = 'draft' AND e.onsale_at <= now() THEN NULL
        ELSE e.onsale_at END,
      hold_seconds = coalesce(\(changes.holdSeconds), e.hold_seconds),
      per_user_limit = coalesce(\(changes.perUserLimit), e.per_user_limit),
      highest_per_user_limit = greatest(e.highest_per_user_limit, e.per_user_limit),
      queue_limit = coalesce(\(changes.queueLimit), e.queue_limit)
      """, "update", detail: names.joined(separator: ", "), by: who)
  }

  /// That so many of the dearest tickets can be charged at once. Tickets that are added at the same moment are checked
  /// against the limit that they find.
  private func check(perUserLimit limit: Int, event: Int) async throws {
    let rows = try await postgres.query(
      """
      SELECT e.currency, coalesce(max(t.price), 0) AS price
      FROM event e LEFT JOIN ticket t ON t.event_id = e.id WHERE e.id = \(event) GROUP BY e.currency
      """)
    guard let row = rows.first, let currency = Currency(code: try row.string("currency")),
      let problem = currency.problem(withPrice: try row.int("price"), tickets: limit)
    else { return }
    throw StoreError(.invalid, "The price of the dearest ticket \(problem).")
  }

  /// When a sale ends by itself; NULL for never. The date of an event that is postponed ends nothing, nor does anything
  /// end a sale that stands still for that: closing is for good.
  /// - Parameter state: that it is in, or is to be in.
  private static func saleEnd(in state: SQL) -> SQL {
    """
    CASE WHEN e.postponed_at IS NULL THEN coalesce(e.sales_end_at, e.date) WHEN \(state) <> 'paused' THEN e.sales_end_at END
    """
  }

  /// Puts an event off to a date that is not known yet. What was bought stays; a new date ends it. Postponed again it stays
  /// as it is, but for its sale.
  /// - Parameter keepsOpen: whether it is sold on; else its sale is stopped, and one that has not begun does not open by
  ///   itself.
  package func postpone(event: Int, keepsOpen: Bool, by who: String) async throws -> EventSettings {
    try await postgres.withTransaction { transaction in
      _ = try await Self.lock(event, transaction)
      let rows = try await transaction.query(
        """
        UPDATE event e SET postponed_at = coalesce(e.postponed_at, now()), version = e.version + 1,
          payments_stopped = e.payments_stopped OR e.state IN ('open', 'paused') AND \(!keepsOpen),
          state = CASE WHEN e.state = 'open' AND \(!keepsOpen) THEN 'paused' ELSE e.state END
        WHERE e.id = \(event) AND e.cancelled_at IS NULL RETURNING \(unsafeSQL: EventSettings.columns)
        """)
      guard let row = rows.first else { throw StoreError(.conflict, "The event is cancelled.") }
      try await Self.note(
        who, "postpone", event: event, detail: keepsOpen ? "sold on" : "sale stopped", transaction)
      return try EventSettings(row)
    }
  }

  package func setMessage(event: Int, _ message: String, by who: String) async throws -> EventSettings {
    try await change(event: event, "message = \(message)", "message", detail: message, by: who)
  }

  /// - Parameter rate: grants per second; `nil` for as fast as possible.
  package func setRate(event: Int, _ rate: Int?, by who: String) async throws -> EventSettings {
    try await change(
      event: event, "rate = \(rate)", "rate", detail: rate.map { "\($0)/s" } ?? "unlimited", by: who)
  }

  private func change(
    event: Int, _ assignments: SQL, _ action: String, detail: String, by who: String
  ) async throws -> EventSettings {
    let results = try await postgres.transaction([
      """
      UPDATE event e SET \(assignments), version = e.version + 1 WHERE e.id = \(event)
      RETURNING \(unsafeSQL: EventSettings.columns)
      """,
      """
      INSERT INTO audit_log (who, event_id, action, detail)
      SELECT \(who), e.id, \(action), \(detail) FROM event e WHERE e.id = \(event)
      """,
    ])
    guard let row = results[0].first else { throw Self.unknown }
    return try EventSettings(row)
  }

  /// Takes the sale to another state. The same state again changes nothing.
  ///
  /// Opening a draft takes a new generation in the same step, with which `publish` creates the queue.
  /// - Parameters:
  ///   - from: the only states to do it from; `nil` for all that allow it.
  ///   - stops: with `paused`: whether no payment starts meanwhile.
  ///   - despite: whether to sell on although the sale was stopped by itself, and its cause is still there.
  /// - Throws: `StoreError.conflict` where that is not possible.
  package func move(
    event: Int, to next: EventState, from: Set<EventState>? = nil, stops: Bool = false, despite: Bool = false,
    by who: String
  ) async throws -> EventSettings {
    try await postgres.withTransaction { transaction in
      let state = try await Self.lock(event, transaction)
      if next == .open {
        try await Self.endHalt(event, despite: despite, by: who, transaction)
      }
      guard state.allows(next), from?.contains(state) != false else {
        throw StoreError(.conflict, "The sale is \(state.rawValue); it cannot become \(next.rawValue).")
      }
      if state == next {
        let settings = try await Self.settings(event, transaction)
        if next != .paused || settings.isStopped == stops { return settings }
      }
      if next == .open {
        let tickets = try await transaction.query(
          "SELECT 1 FROM ticket WHERE event_id = \(event) AND withheld IS NULL LIMIT 1")
        if tickets.isEmpty { throw StoreError(.conflict, "The event has no tickets.") }
        let over = try await transaction.query(
          "SELECT FROM event e WHERE e.id = \(event) AND \(Self.saleEnd(in: "'open'")) <= now()")
        if !over.isEmpty {
          throw StoreError(
            .conflict,
            "The event is over, or its `sales_end_at` is past. To sell on, set `sales_end_at` to a later time."
          )
        }
      }
      let rows = try await transaction.query(
        """
        UPDATE event e SET state = \(next.rawValue), version = e.version + 1,
          payments_stopped = CASE WHEN \(next == .closed) THEN e.payments_stopped ELSE \(stops) END,
          generation = e.generation + \(state == .draft && next == .open ? 1 : 0)
        WHERE e.id = \(event) RETURNING \(unsafeSQL: EventSettings.columns)
        """)
      let word = stops ? EventState.stopped : next.rawValue
      try await Self.note(who, word, event: event, detail: "was \(state.rawValue)", transaction)
      guard let row = rows.first else { throw Self.unknown }
      return try EventSettings(row)
    }
  }

  /// Opens the drafts whose time has come, closes the sales that are over, and returns their settings, each with a new generation.
  /// Called by several processes at once, each event is returned to one of them.
  /// - Parameter clocks: what two other clocks say, in milliseconds since 1970: it is time when two of three say so. One
  ///   that has stepped opens nothing, and keeps nothing closed.
  package func openDue(clocks: (Int, Int)) async throws -> [EventSettings] {
    let time: SQL = """
      greatest(
        least(now(), to_timestamp(\(clocks.0)::bigint / 1000.0)),
        least(now(), to_timestamp(\(clocks.1)::bigint / 1000.0)),
        least(to_timestamp(\(clocks.0)::bigint / 1000.0), to_timestamp(\(clocks.1)::bigint / 1000.0)))
      """
    let rows = try await postgres.query(
      """
      WITH moved AS (
        UPDATE event SET state = 'open', version = version + 1, generation = generation + 1
        WHERE state = 'draft' AND onsale_at <= \(time) AND coalesce(sales_end_at, date) > \(time)
          AND postponed_at IS NULL
          AND EXISTS (SELECT 1 FROM ticket t WHERE t.event_id = event.id AND t.withheld IS NULL)
        RETURNING *
      ), noted AS (
        INSERT INTO audit_log (who, event_id, action, detail)
        SELECT 'schedule', id, 'open', 'was draft' FROM moved
      )
      SELECT \(unsafeSQL: EventSettings.columns) FROM moved e
      """)
    let ended = try await postgres.query(
      """
      WITH moved AS (
        UPDATE event e SET state = 'closed', version = version + 1
        WHERE state IN ('open', 'paused') AND \(Self.saleEnd(in: "e.state")) <= \(time)
        RETURNING *
      ), noted AS (
        INSERT INTO audit_log (who, event_id, action, detail)
        SELECT 'schedule', id, 'closed', 'its time is over' FROM moved
      )
      SELECT \(unsafeSQL: EventSettings.columns) FROM moved e
      """)
    return try (rows + ended).map { try EventSettings($0) }
  }

  // MARK: Steps within a transaction

  static let unknown = StoreError(.notFound, "There is no such event.")

  static func lock(_ event: Int, _ transaction: PostgresTransaction) async throws -> EventState {
    let rows = try await transaction.query("SELECT state FROM event WHERE id = \(event) FOR UPDATE")
    guard let row = rows.first, let state = EventState(rawValue: try row.string("state")) else {
      throw unknown
    }
    return state
  }

  private static func settings(_ event: Int, _ transaction: PostgresTransaction) async throws -> EventSettings
  {
    let rows = try await transaction.query(
      "SELECT \(unsafeSQL: EventSettings.columns) FROM event e WHERE e.id = \(event)")
    guard let row = rows.first else { throw unknown }
    return try EventSettings(row)
  }

  static func note(
    _ who: String, _ action: String, event: Int, detail: String, _ transaction: PostgresTransaction
  ) async throws {
    _ = try await transaction.query(
      """
      INSERT INTO audit_log (who, event_id, action, detail) VALUES (\(who), \(event), \(action), \(detail))
      """)
  }
}
