import EventLoop
import HTTPCommon
import HTTPServer
import Sale
import Store

/// Tickets to be added, in whatever format they come.
enum TicketUpload {
  /// Bytes of an upload. A plan of 200,000 seats with their positions takes some 100 bytes each.
  static let maximumBody = 24 << 20

  /// What an upload brings.
  struct Tickets: Sendable {
    var sections: [SectionDraft]
    /// What a seating plan shows beside its seats, as JSON.
    var drawing: String?
  }

  /// How to read the upload, given the event's currency, which takes longer than a turn of the loop may.
  @LoopActor
  static func reading(_ request: HTTPRequest) throws(Problem) -> @Sendable (Currency?) throws -> Tickets {
    let given = request.header("Content-Type") ?? ""
    let type = given.prefix { $0 != ";" }.lowercased().filter { $0 != " " }
    let body = request.body
    if CSVText.types.contains(type) {
      return { Tickets(sections: try SeatTable.sections(try CSVText.read(body, type: given), currency: $0)) }
    }
    try Fields.checkType(request)
    let terms = try terms(request)
    return { _ in try tickets(Fields(file: body), terms) }
  }

  /// A seating plan, or sections as an event is made with.
  static func tickets(_ fields: Fields, _ terms: SeatingPlan.Terms) throws(Problem) -> Tickets {
    if fields.has("sections") {
      try fields.refuseAllBut(["sections"])
      return Tickets(sections: try EventInput.sections(fields))
    }
    if let plan = try fields.optionalObject("plan") {
      return try SeatingPlan.tickets(plan, terms, beside: fields)
    }
    guard fields.has("zones") else {
      throw Problem(400, "invalid_field", "The body needs `zones` of a seating plan, or `sections`.")
    }
    return try SeatingPlan.tickets(fields, terms)
  }

  /// From the query: `price=Stalls:4500` for each category, `capacity=Floor:300` for each standing area.
  @LoopActor
  private static func terms(_ request: HTTPRequest) throws(Problem) -> SeatingPlan.Terms {
    var terms = SeatingPlan.Terms()
    for item in request.queryItems where item.name == "price" {
      guard let (category, price) = pair(item.value, in: 0...Limits.ticketPrice) else {
        throw .invalidField("price", "must be a category and its price, such as Stalls:4500")
      }
      terms.prices[category] = price
    }
    for item in request.queryItems where item.name == "capacity" {
      guard let (area, capacity) = pair(item.value, in: 1...Limits.ticketsPerEvent) else {
        throw .invalidField("capacity", "must be an area and how many people it takes, such as Floor:300")
      }
      terms.capacities[area] = capacity
    }
    return terms
  }

  /// `Stalls:4500`, split at the last colon. A category may have no name.
  static func pair(_ text: String, in range: ClosedRange<Int>) -> (name: String, number: Int)? {
    guard let colon = text.lastIndex(of: ":"), let number = Int(text[text.index(after: colon)...]),
      range.contains(number)
    else { return nil }
    return (String(text[..<colon]), number)
  }
}
