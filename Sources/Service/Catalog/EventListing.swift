import EventLoop
import HTTPCommon
import HTTPServer
import Sale
import Search

/// The list of events for those who read the first page without running it: what a query of its form finds, as sentences.
package struct EventListing: Equatable, Sendable {
  package struct Entry: Equatable, Sendable {
    package let name: String
    package let path: String
    /// When and where, what it costs, and how its sale stands; nothing that changes with every ticket.
    package let facts: [String]
  }

  package let entries: [Entry]
  /// How many there are, or why none is shown.
  package let summary: String
  /// What was asked for, by the names of the form's fields.
  package let asked: [String: String]
  /// Of the page behind this one; `nil` on the last.
  package let nextPath: String?
  /// Whether it begins where another page ends.
  package let isContinued: Bool

  /// Names of the form's fields, in their order.
  package static let fields = [
    "terms", "location", "from", "to", "max_price", "currency", "section", "include_sold_out",
  ]
  private static let cursor = "cursor"

  /// - Parameter asked: of the page's address, in which there may be anything.
  @LoopActor
  static func asked(_ request: HTTPRequest) -> [String: String] {
    var asked: [String: String] = [:]
    for (name, value) in request.queryItems where fields.contains(name) || name == cursor {
      if asked[name] == nil, !value.isEmpty { asked[name] = value }
    }
    return asked
  }

  init(_ page: SearchPage, asked: [String: String]) {
    entries = page.hits.map { Entry($0) }
    let count = "\(page.total) \(page.total == 1 ? "event" : "events")"
    summary = page.total == 0 ? "No events match" : page.isTotalExact ? count : "More than \(count)"
    nextPath = page.nextCursor.map { Self.path(asked, cursor: $0) }
    isContinued = asked[Self.cursor] != nil
    self.asked = asked
  }

  /// One that shows nothing, and says why.
  init(_ problem: String, asked: [String: String]) {
    entries = []
    summary = problem
    nextPath = nil
    isContinued = false
    self.asked = asked
  }

  private static func path(_ asked: [String: String], cursor: String) -> String {
    let items = fields.compactMap { name in asked[name].map { (name, $0) } } + [(Self.cursor, cursor)]
    return "/?" + items.map { "\($0)=\(PercentEncoding.encode($1))" }.joined(separator: "&")
  }
}

extension EventListing.Entry {
  fileprivate init(_ hit: SearchHit) {
    name = hit.name
    path = "/event/\(hit.id)"
    let zone = VenueZone(hit.timeZone) ?? .utc
    var facts = EventDescription.whenAndWhere(
      hit.date, hit.location, was: hit.dateWas, hit.locationWas, isPostponed: hit.isPostponed, in: zone)
    let prices = EventDescription.prices(hit.minPrice, hit.maxPrice, hit.currency)
    facts.append("\(Self.availability(hit, zone)) · \(prices)")
    self.facts = facts
  }

  private static func availability(_ hit: SearchHit, _ zone: VenueZone) -> String {
    switch EventState(rawValue: hit.onsaleState) {
    case .draft: hit.onsaleAt.map { "On sale from \(Time.sentence($0, in: zone))" } ?? "Not on sale yet"
    case .closed: "Sales have ended"
    case .paused: "Sales are paused"
    default: EventDescription.stock(hit.available, held: hit.held)
    }
  }
}

extension SearchQuery {
  /// What the first page's form asks for: the same as of the API, but for its price, which is in main units.
  /// - Throws: what is wrong with it, in words for whoever filled it in.
  @LoopActor
  init(form asked: [String: String]) throws(Problem) {
    var items = asked
    if let text = items.removeValue(forKey: "max_price") {
      guard let code = items["currency"], let currency = Currency(code: code.uppercased()) else {
        throw Problem(400, "invalid_field", "A highest price needs its currency, such as EUR.")
      }
      guard let price = Double(text.replacing(",", with: ".")), (0...1e12).contains(price) else {
        throw Problem(400, "invalid_field", "The highest price is no amount, such as 50 or 49.90.")
      }
      var minor = price
      for _ in 0..<currency.digits { minor *= 10 }
      items["max_price"] = String(min(Int(minor.rounded()), Limits.ticketPrice))
    } else {
      // Without a price it narrows nothing: the field is there in every query of the form.
      items["currency"] = nil
    }
    try self.init(QueryItems(ofPage: items.map { ($0.key, $0.value) }), cursor: items["cursor"])
  }
}
