import API
import EventLoop
import HTTPServer
import Onsale
import Store

/// Tickets to be added, in whatever format they come.
enum TicketUpload {
  /// Bytes of an upload. A plan of 200,000 seats with their positions takes some 100 bytes each.
  static let maximumBody = 24 << 20

  /// How to read the upload, which takes longer than a turn of the loop may.
  @LoopActor
  static func reading(_ request: HTTPRequest) throws(Problem) -> @Sendable () throws -> [SectionDraft] {
    let type = (request.header("Content-Type") ?? "").prefix { $0 != ";" }.lowercased()
    let body = request.body
    if type == "text/csv" { return { try SeatTable.sections(body) } }
    try Fields.checkType(request)
    let prices = try prices(request)
    return { try sections(Fields(text: body), prices: prices) }
  }

  /// A seating plan, or sections as an event is made with.
  static func sections(_ fields: Fields, prices: [String: Int]) throws(Problem) -> [SectionDraft] {
    if fields.has("sections") { return try EventInput.sections(fields) }
    guard fields.has("zones") else {
      throw Problem(400, "invalid_field", "The body needs `zones` of a seating plan, or `sections`.")
    }
    return try SeatingPlan.sections(fields, prices: prices)
  }

  /// Prices by category from the query, as `price=Stalls:4500`, once for each.
  @LoopActor
  private static func prices(_ request: HTTPRequest) throws(Problem) -> [String: Int] {
    var prices: [String: Int] = [:]
    for item in request.queryItems where item.name == "price" {
      guard let (category, price) = price(item.value) else {
        throw .invalidField("price", "must be a category and its price, such as Stalls:4500")
      }
      prices[category] = price
    }
    return prices
  }

  /// `Stalls:4500`, split at the last colon.
  static func price(_ text: String) -> (category: String, price: Int)? {
    guard let colon = text.lastIndex(of: ":"), colon > text.startIndex,
      let price = Int(text[text.index(after: colon)...]), (0...Limits.ticketPrice).contains(price)
    else { return nil }
    return (String(text[..<colon]), price)
  }
}
