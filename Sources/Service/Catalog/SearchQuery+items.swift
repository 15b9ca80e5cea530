import EventLoop
import HTTPCommon
import HTTPServer
import Sale
import Search

/// What is asked for by the items of a query.
extension SearchQuery {
  private static let items: Set = [
    "terms", "from", "to", "location", "max_price", "currency", "section", "include_sold_out", "limit",
    "cursor",
  ]

  @LoopActor
  init(asked request: HTTPRequest) throws(Problem) {
    try self.init(QueryItems(request, only: Self.items), cursor: request.query("cursor"))
  }

  @LoopActor
  init(_ items: QueryItems, cursor: String?) throws(Problem) {
    let from = Self.parts(try items.optionalDay("from")), to = Self.parts(try items.optionalDay("to"))
    let recent = try Self.recent(items)
    let maxPrice = try items.optionalInt("max_price", in: 0...Limits.ticketPrice)
    let currency = try Self.currency(items)
    // Nothing is nothing in any currency; 2,000 is twenty euros, or 2,000 yen.
    if let maxPrice, maxPrice > 0, currency == nil {
      throw Problem.invalidItem(
        "currency", "is required with `max_price`: a price is one in a currency, such as EUR")
    }
    self.init(
      terms: try items.optionalString("terms", max: Limits.searchTermsBytes) ?? "",
      from: from.moment ?? recent, to: to.moment, fromDay: from.date, toDay: to.date,
      location: try items.optionalString("location", max: Limits.searchLocationBytes) ?? "",
      maxPrice: maxPrice, currency: currency,
      section: try items.optionalString("section", max: Limits.sectionNameBytes) ?? "",
      includeSoldOut: try items.optionalBool("include_sold_out") ?? false,
      limit: try items.optionalInt("limit", in: Limits.searchHits) ?? Limits.defaultSearchHits,
      cursor: try Self.cursor(cursor))
  }

  @LoopActor
  private static func currency(_ items: QueryItems) throws(Problem) -> String? {
    guard let text = try items.optionalString("currency", max: 3), !text.isEmpty else { return nil }
    guard let currency = Currency(code: text.uppercased()) else {
      throw .invalidItem("currency", "is not one that tickets are sold in")
    }
    return currency.code
  }

  /// Whatever is no cursor of ours is refused: who follows pages must not begin again without noticing.
  @LoopActor
  private static func cursor(_ text: String?) throws(Problem) -> SearchCursor? {
    guard let text else { return nil }
    guard text.utf8.count <= Limits.cursorBytes, let cursor = SearchCursor(text) else {
      throw .invalidItem("cursor", "must be `next_cursor` of the page before, as it is")
    }
    return cursor
  }

  @LoopActor
  private static func parts(_ day: QueryItems.Day?) -> (moment: Int?, date: Int?) {
    switch day {
    case .moment(let seconds)?: (seconds, nil)
    case .date(let beginning)?: (nil, beginning)
    case nil: (nil, nil)
    }
  }

  /// Whoever asks for nothing in particular is shown what is still to come. To the hour, as everybody asks that.
  @LoopActor
  private static func recent(_ items: QueryItems) throws(Problem) -> Int? {
    if let terms = try items.optionalString("terms", max: Limits.searchTermsBytes), !terms.isEmpty {
      return nil
    }
    for name in ["from", "to"] where try items.optionalDay(name) != nil { return nil }
    return (Time.now - Self.recentSeconds) / 3_600 * 3_600
  }
  /// An evening that has begun may still be bought.
  private static let recentSeconds = 12 * 3_600
}
