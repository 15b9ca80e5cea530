package import Sale

/// What the index knows of an event.
package struct SearchDocument: Equatable, Sendable {
  /// A part of the house with a price of its own.
  package struct Section: Equatable, Sendable {
    package var name: String
    /// In minor units.
    package var price: Int

    package init(name: String, price: Int) {
      self.name = name
      self.price = price
    }
  }

  package var id: Int
  package var name: String
  package var location: String
  /// Unix seconds; of an event that is postponed, what it was to be.
  package var date: Int
  /// When and where it was to be before it was moved; `nil` where that is as it was.
  package var dateWas: Int?
  package var locationWas: String?
  /// Whether its date is not known yet.
  package var isPostponed: Bool
  /// The clocks of the venue.
  package var zone: VenueZone
  /// When the sale opens by itself, in Unix seconds.
  package var onsaleAt: Int?
  /// Everything else worth finding: works, composers, performers.
  package var description: String
  package var currency: String
  /// Cheapest and dearest section, in minor units.
  package var minPrice: Int
  package var maxPrice: Int
  package var available: Int
  package var held: Int
  /// Those that have tickets left.
  package var openSections: [Section]
  package var onsaleState: String
  /// Grows with every change of the event; a write with a lower one, or the same, changes nothing.
  package var version: Int

  package init(
    id: Int, name: String, location: String, date: Int, description: String, currency: String, minPrice: Int,
    maxPrice: Int, available: Int, held: Int, zone: VenueZone = .utc, onsaleAt: Int? = nil,
    openSections: [Section] = [], onsaleState: String, version: Int, dateWas: Int? = nil,
    locationWas: String? = nil, isPostponed: Bool = false
  ) {
    self.id = id
    self.name = name
    self.location = location
    self.date = date
    self.zone = zone
    self.onsaleAt = onsaleAt
    self.description = description
    self.currency = currency
    self.minPrice = minPrice
    self.maxPrice = maxPrice
    self.available = available
    self.held = held
    self.openSections = openSections
    self.onsaleState = onsaleState
    self.version = version
    self.dateWas = dateWas
    self.locationWas = locationWas
    self.isPostponed = isPostponed
  }
}

extension SearchDocument {
  /// The cheapest ticket that is left, or the cheapest there is where none is left or nothing is known of sections.
  var lowestPrice: Int { openSections.map(\.price).min() ?? minPrice }

  /// Where it stands among others by date, in Unix seconds: a date that is not known is later than all, and in no range
  /// that ends.
  var listDate: Int { isDateUnknown ? Self.unknownDate : date }

  /// What the venue's clock shows then, counted as if it were UTC.
  var localDate: Int { isDateUnknown ? Self.unknownDate : zone.wallClock(at: date) }

  /// One whose sale is over ages with the date that it was to be on.
  private var isDateUnknown: Bool { isPostponed && onsaleState != "closed" }

  /// The end of the year 9999.
  private static let unknownDate = 253_402_300_799

  /// What can be bought comes first, then what is going to be, then the rest.
  var standing: Int {
    switch onsaleState {
    case "draft": 1
    case "closed": 2
    default: available > 0 || held > 0 ? 0 : 2
    }
  }

  /// All that is searched as text, each prepared: name, location, description, date.
  var texts: [[String]] {
    [name, location, description].map(SearchText.words) + [isDateUnknown ? [] : SearchDate.words(localDate)]
  }
}
