import Sale

/// What somebody looks for.
package struct SearchQuery: Hashable, Sendable {
  /// Words in any order; the last one may be unfinished. Words in quotation marks must follow each other. Dates
  /// such as "7 December 2031" count too. Empty finds everything.
  package var terms: String
  /// Earliest date, inclusive, in Unix seconds.
  package var from: Int?
  /// Latest date, inclusive, in Unix seconds.
  package var to: Int?
  /// First and last day at the venue, inclusive: their beginnings, in seconds since 1970 as if they were in UTC.
  package var fromDay: Int?
  package var toDay: Int?
  /// Words that must all be in the location; empty for anywhere.
  package var location: String
  /// A ticket that is left costs at most this, in minor units; where none is left, some ticket does.
  package var maxPrice: Int?
  /// What it costs that in, ISO 4217; `nil` for each event's own, whatever its unit is worth.
  package var currency: String?
  /// Words that must all be in the name of a section that has tickets left, at no more than `maxPrice`; empty for
  /// any.
  package var section: String
  /// Whether events with nothing free and nothing held are wanted too.
  package var includeSoldOut: Bool
  /// Hits a page, within `Limits.searchHits`; others are brought into it.
  package var limit: Int
  /// `SearchPage.nextCursor` of the page before; `nil` for the first page.
  package var cursor: SearchCursor?

  package init(
    terms: String = "", from: Int? = nil, to: Int? = nil, fromDay: Int? = nil, toDay: Int? = nil,
    location: String = "", maxPrice: Int? = nil, currency: String? = nil, section: String = "",
    includeSoldOut: Bool = false, limit: Int = Limits.defaultSearchHits,
    cursor: SearchCursor? = nil
  ) {
    self.terms = terms
    self.from = from
    self.to = to
    self.fromDay = fromDay
    self.toDay = toDay
    self.location = location
    self.maxPrice = maxPrice
    self.currency = currency
    self.section = section
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
  /// As in `SearchDocument`, as are the next three.
  package var date: Int
  package var dateWas: Int?
  package var locationWas: String?
  package var isPostponed: Bool
  /// The clocks of the venue, by their name in the IANA database.
  package var timeZone: String
  /// When the sale opens by itself, in Unix seconds.
  package var onsaleAt: Int?
  package var available: Int
  package var held: Int
  /// Cheapest and dearest section, in minor units.
  package var minPrice: Int
  package var maxPrice: Int
  package var currency: String
  package var onsaleState: String
  /// Of the document; grows with every change.
  package var version: Int
  /// Where the query's words are; empty without words.
  package var highlights: [Highlight]

  /// A text in which words of the query are, in pieces: the first is not a match, the second is, and so on in turn.
  package struct Highlight: Equatable, Sendable {
    package enum Field: String, Sendable { case name, location, description }
    package let field: Field
    /// Together they are the text, or, of a description, an excerpt.
    package let pieces: [String]

    package init(_ field: Field, _ pieces: [String]) {
      self.field = field
      self.pieces = pieces
    }
  }

  package init(
    id: Int, name: String, location: String, date: Int, available: Int, held: Int, minPrice: Int,
    maxPrice: Int, currency: String, onsaleState: String, version: Int = 0,
    timeZone: String = VenueZone.utc.name, onsaleAt: Int? = nil, highlights: [Highlight] = [],
    dateWas: Int? = nil, locationWas: String? = nil, isPostponed: Bool = false
  ) {
    self.id = id
    self.name = name
    self.location = location
    self.date = date
    self.timeZone = timeZone
    self.onsaleAt = onsaleAt
    self.available = available
    self.held = held
    self.minPrice = minPrice
    self.maxPrice = maxPrice
    self.currency = currency
    self.onsaleState = onsaleState
    self.version = version
    self.highlights = highlights
    self.dateWas = dateWas
    self.locationWas = locationWas
    self.isPostponed = isPostponed
  }
}

/// One page of hits, best first; without terms, and where more than `Limits.searchRanked` match, first what is on sale, then
/// what is going to be, then the rest, each in the order of their dates.
package struct SearchPage: Equatable, Sendable {
  /// How many events match, over all pages; `Limits.searchRanked` where there are more.
  package var total: Int
  /// Whether no more than `total` match.
  package var isTotalExact: Bool
  package var hits: [SearchHit]
  /// For the next page; `nil` on the last. Opaque, URL-safe. Following it shows no event twice and skips none
  /// that stays as it is, whatever is indexed meanwhile.
  package var nextCursor: String?
  /// What may have been meant, most likely first: unfinished words finished, mistyped ones corrected. Each finds
  /// some of these hits.
  package var suggestions: [String]
  /// How far behind the backend may be, in milliseconds, such as a replica whose primary is away.
  package var ageMilliseconds: Int

  package init(
    total: Int, isTotalExact: Bool = true, hits: [SearchHit], nextCursor: String?, suggestions: [String] = [],
    ageMilliseconds: Int = 0
  ) {
    self.total = total
    self.isTotalExact = isTotalExact
    self.hits = hits
    self.nextCursor = nextCursor
    self.suggestions = suggestions
    self.ageMilliseconds = ageMilliseconds
  }
}

extension SearchQuery {
  /// Whether anything but the words narrows it.
  var hasFilters: Bool {
    from != nil || to != nil || fromDay != nil || toDay != nil || maxPrice != nil
      || currency != nil || !location.isEmpty || !section.isEmpty
  }
}
