import Onsale

/// What somebody looks for.
package struct SearchQuery: Hashable, Sendable {
  /// Words in any order; the last one may be unfinished. Empty finds everything.
  package var terms: String
  /// Earliest date, inclusive, in Unix seconds.
  package var from: Int?
  /// Latest date, inclusive, in Unix seconds.
  package var to: Int?
  /// Words that must all be in the location; empty for anywhere.
  package var location: String
  /// Some section costs at most this, in minor units.
  package var maxPrice: Int?
  /// Whether events with nothing free and nothing held are wanted too.
  package var includeSoldOut: Bool
  /// Hits a page, within `Limits.searchHits`; others are brought into it.
  package var limit: Int
  /// `SearchPage.nextCursor` of the page before. One that is not understood starts from the first page.
  package var cursor: String?

  package init(
    terms: String = "", from: Int? = nil, to: Int? = nil, location: String = "", maxPrice: Int? = nil,
    includeSoldOut: Bool = false, limit: Int = Limits.defaultSearchHits, cursor: String? = nil
  ) {
    self.terms = terms
    self.from = from
    self.to = to
    self.location = location
    self.maxPrice = maxPrice
    self.includeSoldOut = includeSoldOut
    self.limit = min(max(limit, Limits.searchHits.lowerBound), Limits.searchHits.upperBound)
    self.cursor = cursor
  }
}

/// One event that was found, as of when it was indexed.
package struct SearchHit: Equatable, Sendable {
  package var id: Int
  package var name: String
  package var location: String
  /// Unix seconds.
  package var date: Int
  package var available: Int
  package var held: Int
  /// Cheapest and dearest section, in minor units.
  package var minPrice: Int
  package var maxPrice: Int
  package var currency: String
  package var onsaleState: String

  package init(
    id: Int, name: String, location: String, date: Int, available: Int, held: Int, minPrice: Int,
    maxPrice: Int,
    currency: String, onsaleState: String
  ) {
    self.id = id
    self.name = name
    self.location = location
    self.date = date
    self.available = available
    self.held = held
    self.minPrice = minPrice
    self.maxPrice = maxPrice
    self.currency = currency
    self.onsaleState = onsaleState
  }
}

/// One page of hits, best first; without terms, in the order of their dates.
package struct SearchPage: Equatable, Sendable {
  /// How many events match, over all pages.
  package var total: Int
  package var hits: [SearchHit]
  /// For the next page; `nil` on the last. Opaque, URL-safe. Following it shows no event twice and skips none
  /// that stays as it is, whatever is indexed meanwhile.
  package var nextCursor: String?

  package init(total: Int, hits: [SearchHit], nextCursor: String?) {
    self.total = total
    self.hits = hits
    self.nextCursor = nextCursor
  }
}

extension SearchQuery {
  /// Whether anything but the words narrows it.
  var hasFilters: Bool { from != nil || to != nil || maxPrice != nil || !location.isEmpty }
}
