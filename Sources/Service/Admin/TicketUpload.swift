import EventLoop
import HTTPCommon
import HTTPServer
import Ledger
import Sale
import StoreCommon
import Text

/// Tickets to be added, in whatever format they come.
enum TicketUpload {
  /// Bytes of an upload. A plan of 200,000 seats with their positions takes some 100 bytes each.
  static let maximumBody = 24 << 20

  /// What an upload brings.
  struct Tickets: Sendable {
    var sections: [SectionDraft]
    /// What a seating plan shows beside its seats, as JSON.
    var drawing: String?
    /// The lines of a table that its seats stand in.
    var lines: [NamedSeat: Int] = [:]

    /// What the store says against some of them, by their lines.
    func problem(for error: StoreError) -> Problem? {
      let found = error.seats.compactMap { seat in lines[seat].map { (line: $0, seat: seat) } }
        .sorted { $0.line < $1.line }
      if found.isEmpty { return nil }
      let findings = found.prefix(Findings.told).map { line, seat in
        let row = seat.row.map { "row \($0) " } ?? ""
        return Finding(
          .table(line: line, column: nil),
          "Line \(line): \(row)seat \(seat.seat) of \"\(seat.section)\" is there already.")
      }
      let more = found.count > findings.count ? "\nAnd more." : ""
      return Problem(
        409, "conflict",
        findings.map(\.detail).joined(separator: "\n") + more
          + "\nNothing was taken. Leave these lines out, or undo the upload that brought them.",
        errors: findings,
        untold: found.count - findings.count)
    }
  }

  /// How to read the upload, given the event's currency, which takes longer than a turn of the loop may.
  @LoopActor
  static func reading(_ request: HTTPRequest) throws(Problem) -> @Sendable (Currency?) throws -> Tickets {
    let given = request.header("Content-Type") ?? ""
    let type = given.prefix { $0 != ";" }.lowercased().filter { $0 != " " }
    let body = request.body
    if CSVText.isWorkbook(body, type: type) { throw CSVText.workbook }
    if CSVText.types.contains(type) {
      try QueryItems.refuseAllBut([], request.queryItems)
      return { try SeatTable.tickets(try CSVText.read(body, type: given), currency: $0) }
    }
    try Fields.checkType(request)
    let items = request.queryItems.map { (name: $0.name, value: $0.value) }
    return { _ in
      var findings = Findings()
      let terms = terms(items, &findings)
      let tickets = whole(try Fields(file: body), terms, &findings)
      try findings.finish()
      return tickets
    }
  }

  /// An upload of nothing else: a seating plan, or sections as an event is made with.
  static func whole(
    _ fields: Fields, _ terms: SeatingPlan.Terms, _ findings: inout Findings
  ) -> Tickets {
    // What zones and categories have besides is their editor's business.
    let beside: Set = ["prices", "capacities"]
    let known: Set<String> =
      fields.has("sections")
      ? ["sections"]
      : beside.union(fields.has("plan") ? ["plan"] : ["name", "categories", "zones", "size"])
    findings.take(try fields.refuseAllBut(known))
    return tickets(fields, terms, &findings)
  }

  /// The same with whatever else there may be.
  static func tickets(
    _ fields: Fields, _ terms: SeatingPlan.Terms, _ findings: inout Findings
  ) -> Tickets {
    if fields.has("sections") {
      return Tickets(sections: EventInput.sections(fields, &findings))
    }
    if fields.has("plan") {
      guard let plan = findings.take(try fields.optionalObject("plan")) else { return Tickets(sections: []) }
      return SeatingPlan.tickets(plan, terms, beside: fields, &findings)
    }
    guard fields.has("zones") else {
      findings.note(
        Problem(400, "invalid_field", "The body needs `zones` of a seating plan, or `sections`."))
      return Tickets(sections: [])
    }
    return SeatingPlan.tickets(fields, terms, beside: fields, &findings)
  }

  /// From the query: `price=Stalls:4500` for each category, `capacity=Floor:300` for each standing area.
  private static func terms(
    _ items: [(name: String, value: String)], _ findings: inout Findings
  ) -> SeatingPlan.Terms {
    var terms = SeatingPlan.Terms()
    findings.take(try QueryItems.refuseAllBut(["price", "capacity"], items))
    for item in items where item.name == "price" {
      if let (category, price) = pair(item.value, in: 0...Limits.ticketPrice) {
        terms.prices[category] = price
      } else {
        findings.note(
          Problem.invalidItem(
            "price", "must be a category and its price, such as Stalls:4500, and not \"\(shown(item.value))\""
          ))
      }
    }
    for item in items where item.name == "capacity" {
      if let (area, capacity) = pair(item.value, in: 1...Limits.ticketsPerEvent) {
        terms.capacities[area] = capacity
      } else {
        findings.note(
          Problem.invalidItem(
            "capacity",
            "must be an area and how many people it takes, such as Floor:300, and not \"\(shown(item.value))\""
          ))
      }
    }
    return terms
  }

  private static func shown(_ text: String) -> String { Escaping.terminal(String(text.prefix(60))) }

  /// `Stalls:4500`, split at the last colon. A category may have no name.
  static func pair(_ text: String, in range: ClosedRange<Int>) -> (name: String, number: Int)? {
    guard let colon = text.lastIndex(of: ":"), let number = Int(text[text.index(after: colon)...]),
      range.contains(number)
    else { return nil }
    return (String(text[..<colon]), number)
  }
}
