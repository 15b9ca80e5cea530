package import Sale

/// An event that is to be made, with all its tickets.
package struct EventDraft: Sendable {
  /// Names the event at its source, so that importing it again changes nothing; `nil` for none.
  package var key: String?
  package var name: String
  package var location: String
  /// Seconds since 1970, as every time here.
  package var date: Int
  /// Of the venue, by its name in the IANA database; `nil` for that of the installation.
  package var timeZone: String?
  package var description = ""
  /// ISO 4217, in capitals.
  package var currency: String
  /// When the sale opens by itself; `nil` for never.
  package var onsaleAt: Int?
  /// When the sale ends by itself; `nil` for the event's date.
  package var salesEndAt: Int?
  package var owner = EventOwner(user: nil)
  package var holdSeconds = Limits.defaultHoldSeconds
  package var perUserLimit = Limits.defaultPerUserLimit
  package var queueLimit = Limits.defaultQueueLimit
  package var sections: [SectionDraft]
  /// What a seating plan shows beside its seats, as JSON; `nil` without a plan.
  package var drawing: String?

  package init(name: String, location: String, date: Int, currency: String, sections: [SectionDraft]) {
    self.name = name
    self.location = location
    self.date = date
    self.currency = currency
    self.sections = sections
  }
}

/// Tickets that are to be made in one section, best first.
package struct SectionDraft: Sendable {
  /// One ticket; without row and seat it is a general-admission place.
  package struct Seat: Sendable, Hashable {
    package let row: String?
    package let seat: String?
    /// In minor units; `nil` for the section's price.
    package let price: Int?
    /// `nil` where no plan says more.
    package let plan: Place?

    package init(row: String?, seat: String?, price: Int? = nil, plan: Place? = nil) {
      self.row = row
      self.seat = seat
      self.price = price
      self.plan = plan
    }

    /// What tells it from others of the same section.
    fileprivate var identity: [String] { [plan?.guid ?? "", plan?.block ?? "", row ?? "", seat ?? ""] }
  }

  /// Where a seat is in its seating plan.
  package struct Place: Sendable, Hashable {
    /// The plan's own name for the seat.
    package let guid: String?
    /// Which of several rows of the same label, where seats of theirs have the same labels, too.
    package let block: String?
    /// Seats of one run whose places follow each other sit side by side. Runs are numbered from 1 in each upload.
    package let run: Int
    package let place: Int
    /// In hundredths of the plan's unit; `nil` where the plan does not say.
    package let x: Int?
    package let y: Int?

    package init(
      guid: String? = nil, block: String? = nil, run: Int, place: Int, x: Int? = nil, y: Int? = nil
    ) {
      self.guid = guid
      self.block = block
      self.run = run
      self.place = place
      self.x = x
      self.y = y
    }
  }

  package var name: String
  package var price: Int
  package var seats: [Seat]

  package init(name: String, price: Int, seats: [Seat]) {
    self.name = name
    self.price = price
    self.seats = seats
  }

  /// General admission.
  package init(name: String, price: Int, capacity: Int) {
    self.init(name: name, price: price, seats: Array(repeating: Seat(row: nil, seat: nil), count: capacity))
  }

  /// Rows, best first, with seats numbered from 1.
  package init(name: String, price: Int, rows: [(row: String, seats: Int)]) {
    self.init(
      name: name, price: price,
      seats: rows.flatMap { row in (0..<row.seats).map { Seat(row: row.row, seat: String($0 + 1)) } })
  }

  /// Every price of one of its tickets.
  package var prices: Set<Int> {
    var prices: Set<Int> = []
    for seat in seats { prices.insert(seat.price ?? price) }
    return prices
  }

  /// Everything that is wrong with the prices, each to follow "has".
  /// - Parameter perUserLimit: so many tickets of the dearest may be one payment.
  package static func problems(
    withPricesOf sections: [SectionDraft], in currency: Currency, perUserLimit: Int
  ) -> [String] {
    var problems: [String] = []
    for section in sections {
      for price in section.prices.sorted() {
        guard let problem = currency.problem(withPrice: price, tickets: perUserLimit) else { continue }
        problems.append(
          "a price in the section \"\(section.name)\" that cannot be charged: \(price) \(problem)")
        if problems.count == problemsNamed { return problems }
      }
    }
    return problems
  }

  /// Enough for everybody who mends them.
  private static let problemsNamed = 200

  /// Everything that is wrong with the sections of one event taken together, each to follow "has".
  package static func problems(with sections: [SectionDraft]) -> [String] {
    var problems: [String] = []
    var names: Set<String> = []
    var total = 0
    if sections.count > Limits.sectionsPerEvent {
      problems.append("more than \(Limits.sectionsPerEvent) sections")
    }
    for section in sections.prefix(Limits.sectionsPerEvent) {
      if !names.insert(section.name).inserted { problems.append("the section \"\(section.name)\" twice") }
      if section.seats.isEmpty { problems.append("no seats in the section \"\(section.name)\"") }
      total += section.seats.count
      if total > Limits.ticketsPerEvent {
        problems.append("more than \(Limits.ticketsPerEvent) tickets")
        break
      }
      var seats: Set<[String]> = []
      for seat in section.seats {
        guard let label = seat.seat else { continue }
        if !seats.insert(seat.identity).inserted, problems.count < problemsNamed {
          problems.append("row \(seat.row ?? "-") seat \(label) of the section \"\(section.name)\" twice")
        }
      }
    }
    return problems
  }
}

/// What an operator changes of an event; `nil` leaves as it is.
package struct EventChanges: Sendable {
  package var name: String?
  package var location: String?
  package var date: Int?
  /// It takes place on the date that it was to be on, or that is given.
  package var endsPostponement = false
  /// The inner `nil` means that of the installation.
  package var timeZone: String??
  package var description: String?
  /// The inner `nil` means that the sale does not open by itself.
  package var onsaleAt: Int??
  /// The inner `nil` means that the sale ends with the event's date.
  package var salesEndAt: Int??
  package var holdSeconds: Int?
  package var perUserLimit: Int?
  package var queueLimit: Int?

  package init() {}
}
