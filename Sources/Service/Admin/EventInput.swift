import EventLoop
import HTTPCommon
import HTTPServer
import Sale
import Store

/// Events as organizers write them, by HTTP or in a file.
enum EventInput {
  static func draft(_ fields: Fields) throws(Problem) -> EventDraft {
    try fields.refuseAllBut(Self.draftFields)
    let name = try fields.string("name", characters: Limits.nameCharacters)
    let location = try fields.string("location", characters: Limits.nameCharacters)
    let zone = try fields.optionalZone("time_zone")
    let date = try fields.time("date", at: zone)
    var draft = EventDraft(
      name: name, location: location, date: date, currency: try currency(fields), sections: [])
    draft.key = try fields.optionalString("key", max: Limits.keyBytes)
    draft.description =
      try fields.optionalString("description", max: Limits.descriptionBytes, isMultiline: true) ?? ""
    draft.timeZone = zone?.name
    draft.onsaleAt = try fields.optionalTime("onsale_at", at: zone)
    draft.salesEndAt = try fields.optionalTime("sales_end_at", at: zone)
    draft.holdSeconds =
      try fields.optionalInt("hold_seconds", in: Limits.holdSeconds) ?? Limits.defaultHoldSeconds
    draft.perUserLimit =
      try fields.optionalInt("per_user_limit", in: 1...Limits.ticketsPerRequest) ?? Limits.defaultPerUserLimit
    draft.queueLimit =
      try fields.optionalInt("queue_limit", in: 1...Limits.queueLimit) ?? Limits.defaultQueueLimit
    let tickets = try tickets(fields)
    draft.sections = tickets.sections
    draft.drawing = tickets.drawing
    if let currency = Currency(code: draft.currency),
      let problem = SectionDraft.problem(
        withPricesOf: draft.sections, in: currency, perUserLimit: draft.perUserLimit)
    {
      throw .invalidField("sections", "has \(problem)")
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
  private static func tickets(_ fields: Fields) throws(Problem) -> TicketUpload.Tickets {
    guard fields.has("plan") || fields.has("zones") else {
      return TicketUpload.Tickets(sections: try sections(fields))
    }
    if fields.has("sections") { throw .invalidField("sections", "and a seating plan cannot both be given") }
    return try TicketUpload.tickets(fields, SeatingPlan.Terms())
  }

  private static func currency(_ fields: Fields) throws(Problem) -> String {
    let text = try fields.string("currency", max: Limits.nameCharacters).uppercased()
    guard text.utf8.count == 3, text.utf8.allSatisfy({ (65...90).contains($0) }) else {
      throw .invalidField("currency", "must be a code of three letters such as EUR")
    }
    guard Currency(code: text) != nil else {
      throw .invalidField("currency", "is not one that the payment provider takes: \(text)")
    }
    return text
  }

  static func sections(_ fields: Fields) throws(Problem) -> [SectionDraft] {
    let objects = try fields.objects("sections", atMost: Limits.sectionsPerEvent)
    guard !objects.isEmpty else { throw .invalidField("sections", "must not be empty") }
    var sections: [SectionDraft] = []
    var total = 0
    for object in objects {
      try object.refuseAllBut(["name", "price", "capacity", "rows"])
      let name = try object.string("name", characters: Limits.nameCharacters)
      let price = try object.int("price", in: 0...Limits.ticketPrice)
      let capacity = try object.optionalInt("capacity", in: 1...Limits.ticketsPerEvent)
      let rows = try object.optionalObjects("rows", atMost: Limits.rowsPerSection)
      switch (capacity, rows) {
      case (let capacity?, nil):
        // Counted before they are made: a small body must not become a large memory.
        total = try add(capacity, to: total)
        sections.append(SectionDraft(name: name, price: price, capacity: capacity))
      case (nil, let rows?):
        var labels: [(row: String, seats: Int)] = []
        for row in rows {
          try row.refuseAllBut(["row", "seats"])
          let label = try row.string("row", characters: Limits.seatLabelCharacters)
          let seats = try row.int("seats", in: 1...Limits.ticketsPerEvent)
          total = try add(seats, to: total)
          labels.append((label, seats))
        }
        sections.append(SectionDraft(name: name, price: price, rows: labels))
      default:
        throw .invalidField("sections", "needs for each section either `capacity` or `rows`")
      }
    }
    try check(sections)
    return sections
  }

  private static func add(_ count: Int, to total: Int) throws(Problem) -> Int {
    guard total + count <= Limits.ticketsPerEvent else {
      throw .invalidField("sections", "has more than \(Limits.ticketsPerEvent) tickets")
    }
    return total + count
  }

  static func check(_ sections: [SectionDraft]) throws(Problem) {
    if let problem = SectionDraft.problem(with: sections) {
      throw .invalidField("sections", "has \(problem)")
    }
  }

  private static let changeFields: Set = [
    "name", "location", "date", "time_zone", "description", "onsale_at", "sales_end_at", "hold_seconds",
    "per_user_limit", "queue_limit",
  ]

  static func changes(_ fields: Fields) throws(Problem) -> EventChanges {
    try fields.refuseAllBut(Self.changeFields)
    var changes = EventChanges()
    if fields.has("name") { changes.name = try fields.string("name", characters: Limits.nameCharacters) }
    if fields.has("location") {
      changes.location = try fields.string("location", characters: Limits.nameCharacters)
    }
    let zone = try fields.optionalZone("time_zone")
    if fields.mentions("time_zone") { changes.timeZone = .some(zone?.name) }
    changes.date = try fields.optionalTime("date", at: zone)
    changes.description =
      try fields.optionalString("description", max: Limits.descriptionBytes, isMultiline: true)
    if fields.mentions("onsale_at") {
      changes.onsaleAt = .some(try fields.optionalTime("onsale_at", at: zone))
    }
    if fields.mentions("sales_end_at") {
      changes.salesEndAt = .some(try fields.optionalTime("sales_end_at", at: zone))
    }
    changes.holdSeconds = try fields.optionalInt("hold_seconds", in: Limits.holdSeconds)
    changes.perUserLimit = try fields.optionalInt("per_user_limit", in: 1...Limits.ticketsPerRequest)
    changes.queueLimit = try fields.optionalInt("queue_limit", in: 1...Limits.queueLimit)
    return changes
  }

  /// Whether a sale that was stopped by itself is to go on before its cause is gone. The body may be left out.
  @LoopActor
  static func despite(_ request: HTTPRequest) throws(Problem) -> Bool {
    if request.body.isEmpty { return false }
    let fields = try Fields(body: request)
    try fields.refuseAllBut(["despite"])
    return try fields.optionalBool("despite") ?? false
  }

  /// - Returns: grants per second; `nil` for as fast as possible, which must be said as `null`.
  static func rate(_ fields: Fields) throws(Problem) -> Int? {
    try fields.refuseAllBut(["rate"])
    guard fields.mentions("rate") else { throw .invalidField("rate", "is required; null is no limit") }
    return try fields.optionalInt("rate", in: Limits.rate)
  }
}
