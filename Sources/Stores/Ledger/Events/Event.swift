package import Sale

/// An event as PostgreSQL has it, with what is sold of each section.
package struct Event: Sendable, Equatable {
  package struct Section: Sendable, Equatable {
    package let id: Int
    package let name: String
    /// Of its cheapest ticket, of those that are not sold while there are any. In minor units.
    package let price: Int
    /// Of its dearest one.
    package let maxPrice: Int
    package let total: Int
    package let sold: Int
    /// Whether its tickets are for seats or rows, and not for places without a number.
    package let hasSeats: Bool
  }

  package let name: String
  package let location: String
  /// Seconds since 1970, as every time here.
  package let date: Int
  /// Of the venue, by its name in the IANA database; `nil` where nobody said.
  package let timeZone: String?
  package let description: String
  package let currency: String
  /// When and where it was to be as its sale began; `nil` where that is as it was.
  package let dateWas: Int?
  package let locationWas: String?
  /// Whether it takes place on another date, which nobody knows yet; `date` is then what it was to be.
  package let isPostponed: Bool
  package let onsaleAt: Int?
  package let createdAt: Int
  package let settings: EventSettings
  /// Why the sale was stopped by itself; `nil` if it was not.
  package let halt: SaleHalt?
  /// Whether there is a drawing of its hall.
  package let hasPlan: Bool
  package let salesEndAt: Int?
  /// Changes whenever tickets are added, taken off sale, priced or named anew.
  package let ticketsVersion: Int
  package let owner: EventOwner
  /// Best first.
  package var sections: [Section]

  /// What reads `isPostponed` of `event e`: one that is cancelled takes place on no date at all.
  static let postponedColumn = "e.postponed_at IS NOT NULL AND e.cancelled_at IS NULL AS is_postponed"

  /// When its sale opens, as buyers are told: one that is postponed does not open by itself.
  package var announcedOnsaleAt: Int? { isPostponed && state == EventState.draft.rawValue ? nil : onsaleAt }

  package var id: Int { settings.id }
  package var state: String { settings.state }
  package var total: Int { sections.reduce(0) { $0 + $1.total } }
  package var sold: Int { sections.reduce(0) { $0 + $1.sold } }
}

/// One ticket as it is shown: what never changes about it.
package struct Seat: Sendable, Equatable {
  package let id: Int
  package let section: Int
  package let row: String?
  package let seat: String?
  package let price: Int
  /// As in `SectionDraft.Place`.
  package let block: String?
  package let x: Int?
  package let y: Int?
}
