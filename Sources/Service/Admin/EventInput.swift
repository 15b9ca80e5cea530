import EventLoop
import HTTPCommon
import HTTPServer
import JSON
import Ledger
import Sale

/// Events as organizers write them, by HTTP or in a file.
enum EventInput {
  /// - Throws: 400 that names everything that is wrong.
  static func draft(_ fields: Fields) throws(Problem) -> EventDraft {
    var findings = Findings()
    let draft = draft(fields, &findings)
    try findings.finish()
    return draft
  }

  /// What is noted has a stand-in here.
  private static func draft(_ fields: Fields, _ findings: inout Findings) -> EventDraft {
    findings.take(try fields.refuseAllBut(Self.draftFields))
    let name = findings.take(try fields.string("name", characters: Limits.nameCharacters))
    let location = findings.take(try fields.string("location", characters: Limits.nameCharacters))
    let zone = zone(fields, &findings)
    let date = findings.take(try fields.time("date", at: zone))
    let currency = findings.take(try currency(fields))
    var draft = EventDraft(
      name: name ?? "", location: location ?? "", date: date ?? 0, currency: currency?.code ?? "",
      sections: [])
    draft.key = findings.take(try fields.optionalString("key", max: Limits.keyBytes))
    draft.description =
      findings.take(
        try fields.optionalString("description", max: Limits.descriptionBytes, isMultiline: true)) ?? ""
    draft.timeZone = zone?.name
    draft.onsaleAt = findings.take(try fields.optionalTime("onsale_at", at: zone))
    draft.salesEndAt = findings.take(try fields.optionalTime("sales_end_at", at: zone))
    draft.holdSeconds =
      findings.take(try fields.optionalInt("hold_seconds", in: Limits.holdSeconds))
      ?? Limits.defaultHoldSeconds
    draft.perUserLimit =
      findings.take(try fields.optionalInt("per_user_limit", in: 1...Limits.ticketsPerRequest))
      ?? Limits.defaultPerUserLimit
    draft.queueLimit =
      findings.take(try fields.optionalInt("queue_limit", in: 1...Limits.queueLimit))
      ?? Limits.defaultQueueLimit
    let tickets = tickets(fields, &findings)
    draft.sections = tickets.sections
    draft.drawing = tickets.drawing
    if let currency {
      for problem in SectionDraft.problems(
        withPricesOf: draft.sections, in: currency, perUserLimit: draft.perUserLimit)
      {
        findings.note(fields.refused(fields.has("sections") ? "sections" : "prices", "has \(problem)"))
      }
    }
    return draft
  }

  private static let draftFields: Set = [
    "name", "location", "date", "time_zone", "currency", "key", "description", "onsale_at", "sales_end_at",
    "hold_seconds",
    "per_user_limit",
    "queue_limit", "sections", "plan", "prices", "capacities", "categories", "zones", "size",
  ]

  /// Sections, or a seating plan: as the member `plan`, or its members among the event's.
  private static func tickets(_ fields: Fields, _ findings: inout Findings) -> TicketUpload.Tickets {
    guard fields.has("plan") || fields.has("zones") else {
      return TicketUpload.Tickets(sections: sections(fields, &findings))
    }
    if fields.has("sections") {
      findings.note(fields.refused("sections", "and a seating plan cannot both be given"))
      return TicketUpload.Tickets(sections: [])
    }
    return TicketUpload.tickets(fields, SeatingPlan.Terms(), &findings)
  }

  private static func zone(_ fields: Fields, _ findings: inout Findings) -> VenueZone? {
    let before = findings.count
    let zone = findings.take(try fields.optionalZone("time_zone"))
    // One that nobody knows is one mistake, and not another one for each time of its clocks.
    return findings.count == before ? zone : .utc
  }

  private static func currency(_ fields: Fields) throws(Problem) -> Currency {
    let text = try fields.string("currency", max: Limits.nameCharacters).uppercased()
    guard text.utf8.count == 3, text.utf8.allSatisfy({ (65...90).contains($0) }) else {
      throw .invalidField("currency", "must be a code of three letters such as EUR")
    }
    guard let currency = Currency(code: text) else {
      throw .invalidField("currency", "is not one that the payment provider takes: \(text)")
    }
    return currency
  }

  static func sections(_ fields: Fields, _ findings: inout Findings) -> [SectionDraft] {
    let before = findings.count
    let objects = fields.objects("sections", atMost: Limits.sectionsPerEvent, &findings)
    if objects.isEmpty, findings.count == before {
      findings.note(fields.refused("sections", "must not be empty"))
    }
    var sections: [SectionDraft] = []
    var names: Set<String> = []
    var total = 0
    // Counted before they are made: a small body must not become a large memory.
    func add(_ count: Int) -> Bool {
      if total <= Limits.ticketsPerEvent, total + count > Limits.ticketsPerEvent {
        findings.note(fields.refused("sections", "has more than \(Limits.ticketsPerEvent) tickets"))
      }
      total += count
      return total <= Limits.ticketsPerEvent
    }
    for object in objects {
      findings.take(try object.refuseAllBut(["name", "price", "capacity", "rows"]))
      let name = findings.take(try object.string("name", characters: Limits.nameCharacters))
      if let name, !names.insert(name).inserted {
        findings.note(object.refused("name", "is that of another section, too"))
      }
      let price = findings.take(try object.int("price", in: 0...Limits.ticketPrice))
      if object.has("capacity") == object.has("rows") {
        findings.note(object.refused("capacity", "or else `rows` must be given, and not both"))
      }
      let capacity = findings.take(try object.optionalInt("capacity", in: 1...Limits.ticketsPerEvent))
      let rows = rows(of: object, &findings)
      var section = SectionDraft(name: name ?? "", price: price ?? 0, seats: [])
      if let rows {
        let isSmall = rows.allSatisfy { add($0.seats) }
        if isSmall { section = SectionDraft(name: section.name, price: section.price, rows: rows) }
      } else if let capacity, add(capacity) {
        section = SectionDraft(name: section.name, price: section.price, capacity: capacity)
      }
      sections.append(section)
    }
    return sections
  }

  private static func rows(of section: Fields, _ findings: inout Findings) -> [(row: String, seats: Int)]? {
    guard let objects = section.optionalObjects("rows", atMost: Limits.rowsPerSection, &findings) else {
      return nil
    }
    if objects.isEmpty, section.isEmptyList("rows") {
      findings.note(section.refused("rows", "must not be empty"))
    }
    var rows: [(row: String, seats: Int)] = []
    var labels: Set<String> = []
    for object in objects {
      findings.take(try object.refuseAllBut(["row", "seats"]))
      let label = findings.take(try object.string("row", characters: Limits.seatLabelCharacters))
      if let label, !labels.insert(label).inserted {
        findings.note(object.refused("row", "is that of another row of the section, too"))
      }
      let seats = findings.take(try object.int("seats", in: 1...Limits.ticketsPerEvent))
      if let label, let seats { rows.append((label, seats)) }
    }
    return rows
  }

  private static let changeFields: Set = [
    "name", "location", "date", "postponed", "time_zone", "description", "onsale_at", "sales_end_at",
    "hold_seconds",
    "per_user_limit", "queue_limit",
  ]

  /// - Throws: 400 that names everything that is wrong.
  @LoopActor
  static func changes(_ request: HTTPRequest) throws(Problem) -> EventChanges {
    var findings = Findings()
    let fields = try Fields(body: request, only: Self.changeFields, &findings)
    var changes = EventChanges()
    if fields.has("name") {
      changes.name = findings.take(try fields.string("name", characters: Limits.nameCharacters))
    }
    if fields.has("location") {
      changes.location = findings.take(try fields.string("location", characters: Limits.nameCharacters))
    }
    let zone = zone(fields, &findings)
    if fields.mentions("time_zone") { changes.timeZone = .some(zone?.name) }
    changes.date = findings.take(try fields.optionalTime("date", at: zone))
    if let isPostponed = findings.take(try fields.optionalBool("postponed")) {
      if isPostponed { findings.note(.invalidField("postponed", "can only be false: `postpone` does it")) }
      changes.endsPostponement = !isPostponed
    }
    changes.description = findings.take(
      try fields.optionalString("description", max: Limits.descriptionBytes, isMultiline: true))
    if fields.mentions("onsale_at") {
      changes.onsaleAt = .some(findings.take(try fields.optionalTime("onsale_at", at: zone)))
    }
    if fields.mentions("sales_end_at") {
      changes.salesEndAt = .some(findings.take(try fields.optionalTime("sales_end_at", at: zone)))
    }
    changes.holdSeconds = findings.take(try fields.optionalInt("hold_seconds", in: Limits.holdSeconds))
    changes.perUserLimit = findings.take(
      try fields.optionalInt("per_user_limit", in: 1...Limits.ticketsPerRequest))
    changes.queueLimit = findings.take(try fields.optionalInt("queue_limit", in: 1...Limits.queueLimit))
    try findings.finish()
    return changes
  }

  /// Whether a sale that was stopped by itself is to go on before its cause is gone. The body may be left out.
  @LoopActor
  static func despite(_ request: HTTPRequest, isPossible: Bool) throws(Problem) -> Bool {
    if request.body.isEmpty { return false }
    let fields = try Fields(body: request, only: isPossible ? ["despite"] : [])
    return try fields.optionalBool("despite") ?? false
  }

  /// A time as it is written in a body.
  static func date(_ text: String, in zone: VenueZone?) throws(Problem) -> Int {
    let body: JSON = ["date": .string(text)]
    return try Fields(file: body.serialized()).time("date", at: zone)
  }

  /// Whether an event that is postponed is sold on. The body may be left out.
  @LoopActor
  static func keepsOpen(_ request: HTTPRequest) throws(Problem) -> Bool {
    if request.body.isEmpty { return false }
    return try Fields(body: request, only: ["keep_open"]).optionalBool("keep_open") ?? false
  }

  /// - Returns: grants per second; `nil` for as fast as possible, which must be said as `null`.
  static func rate(_ fields: Fields) throws(Problem) -> Int? {
    guard fields.mentions("rate") else { throw .invalidField("rate", "is required; null is no limit") }
    return try fields.optionalInt("rate", in: Limits.rate)
  }
}
