import API
import Onsale
import Store

/// A seating plan in pretix's JSON format: zones with rows with seats, each of a category that has a price.
///
/// A zone whose seats all have one category becomes a section of the zone's name, any other one section for
/// each of its categories. Rows and seats keep their order, so the plan lists the better ones first.
enum SeatingPlan {
  private static let zones = 500
  private static let categories = 200
  private static let seatsPerRow = 1_000

  /// - Parameter prices: of the categories, in minor units; those in the plan's own member `prices` go first.
  static func sections(_ plan: Fields, prices given: [String: Int]) throws(Problem) -> [SectionDraft] {
    var prices = given
    let own = try plan.optionalNumbers("prices", in: 0...Limits.ticketPrice, atMost: categories)
    prices.merge(own ?? [:]) { $1 }
    var known: Set<String> = []
    for category in try plan.optionalObjects("categories", atMost: categories) ?? [] {
      known.insert(try category.string("name", max: Limits.sectionNameBytes))
    }
    var sections: [SectionDraft] = [], index: [String: Int] = [:], total = 0
    for zone in try plan.objects("zones", atMost: zones) {
      let zoneName = try zone.optionalString("name", max: Limits.sectionNameBytes) ?? ""
      let seats = try self.seats(of: zone, total: &total)
      let isOneCategory = seats.allSatisfy { $0.category == seats[0].category }
      for seat in seats {
        guard known.contains(seat.category) else {
          throw .invalidField(
            "zones", "has a seat of the category \"\(seat.category)\", which is not in the plan")
        }
        guard let price = prices[seat.category] else {
          throw .invalidField("prices", "has no price for the category \"\(seat.category)\"")
        }
        let name =
          zoneName.isEmpty ? seat.category : isOneCategory ? zoneName : "\(zoneName), \(seat.category)"
        guard name.utf8.count <= Limits.sectionNameBytes else {
          throw .invalidField(
            "zones", "has names that make a section's name of over \(Limits.sectionNameBytes) bytes")
        }
        if index[name] == nil {
          index[name] = sections.count
          sections.append(SectionDraft(name: name, price: price, seats: []))
        }
        let draft = SectionDraft.Seat(row: seat.row, seat: seat.label, price: price)
        sections[index[name, default: 0]].seats.append(draft)
      }
    }
    guard !sections.isEmpty else { throw .invalidField("zones", "has no seats") }
    if let problem = SectionDraft.problem(with: sections) { throw .invalidField("zones", "has \(problem)") }
    return sections
  }

  private struct PlannedSeat {
    let row: String?
    let label: String
    let category: String
  }

  private static func seats(of zone: Fields, total: inout Int) throws(Problem) -> [PlannedSeat] {
    var seats: [PlannedSeat] = []
    for row in try zone.objects("rows", atMost: Limits.rowsPerSection) {
      let label = try row.optionalString("row_number", max: Limits.seatLabelBytes)
      for seat in try row.objects("seats", atMost: seatsPerRow) {
        total += 1
        guard total <= Limits.ticketsPerEvent else {
          throw .invalidField("zones", "has more than \(Limits.ticketsPerEvent) seats")
        }
        seats.append(
          PlannedSeat(
            row: label?.isEmpty == true ? nil : label,
            label: try seat.string("seat_number", max: Limits.seatLabelBytes),
            category: try seat.string("category", max: Limits.sectionNameBytes)))
      }
    }
    return seats
  }
}
