import Foundation
import HTTPCommon
import JSON
import Sale
import Store
import Text

/// A seating plan in pretix's JSON format: zones with rows of seats, each of a category, and with areas.
///
/// A zone whose seats on sale all have one category becomes a section of the zone's name, any other one section for each
/// of its categories; an area for which a capacity is given becomes one of general admission. Rows and seats keep their
/// order, so the plan lists the better ones first. Seats of a category that has no price are drawn, and not sold.
struct SeatingPlan {
  private static let zones = 500
  private static let categories = 1_000
  private static let areasPerZone = 2_000
  private static let seatsPerRow = 1_000

  /// What is given beside a plan.
  struct Terms: Sendable {
    /// By category or standing area, in minor units.
    var prices: [String: Int] = [:]
    /// How many people a standing area takes, by its text, its `uuid`, or the name of a zone that has no other area.
    var capacities: [String: Int] = [:]
    /// What categories are called for buyers, where that is not their own name.
    var names: [String: String] = [:]
  }

  private let terms: Terms
  private var names: [String: String] = [:]
  /// Categories that have no name for a buyer.
  private var isNameless: Set<String> = []
  private var drawing: PlanDrawing
  private var sections: [SectionDraft] = []
  private var index: [String: Int] = [:]
  private var total = 0
  private var runs = 0
  private var unpriced: Set<String> = []
  private var standing: [String] = []
  private var unusedCapacities: Set<String>

  /// - Parameter given: the plan's own members `prices` and `capacities` go before them.
  static func tickets(_ plan: Fields, _ given: Terms, beside: Fields? = nil) throws(Problem)
    -> TicketUpload.Tickets
  {
    let terms = try Self.terms(beside ?? plan, given)
    var reading = try SeatingPlan(plan, terms)
    return try reading.read(plan)
  }

  private static func terms(_ fields: Fields, _ given: Terms) throws(Problem) -> Terms {
    var terms = given
    if let prices = try fields.optionalObject("prices") {
      guard prices.names.count <= categories else {
        throw .invalidField("prices", "must have at most \(categories) members")
      }
      for name in prices.names {
        if let more = try? prices.optionalObject(name) {
          try more.refuseAllBut(["price", "name"])
          terms.prices[name] = try more.int("price", in: 0...Limits.ticketPrice)
          terms.names[name] = try more.optionalString("name", characters: Limits.nameCharacters)
        } else {
          terms.prices[name] = try prices.optionalInt(name, in: 0...Limits.ticketPrice)
        }
      }
    }
    let capacities = try fields.optionalNumbers(
      "capacities", in: 1...Limits.ticketsPerEvent, atMost: areasPerZone)
    terms.capacities.merge(capacities ?? [:]) { $1 }
    return terms
  }

  private init(_ plan: Fields, _ terms: Terms) throws(Problem) {
    self.terms = terms
    drawing = try PlanDrawing(plan)
    unusedCapacities = Set(terms.capacities.keys)
    for (number, category) in try (plan.optionalObjects("categories", atMost: Self.categories) ?? [])
      .enumerated()
    {
      let name = try category.optionalString("name", characters: Limits.nameCharacters) ?? ""
      // An editor's own key says nothing to a buyer.
      let isKey = name.isEmpty || UUID(uuidString: name) != nil
      if isKey, terms.names[name] == nil { isNameless.insert(name) }
      names[name] = terms.names[name] ?? (isKey ? "Category \(number + 1)" : name)
    }
  }

  private mutating func read(_ plan: Fields) throws(Problem) -> TicketUpload.Tickets {
    let zones = try plan.objects("zones", atMost: Self.zones)
    var rows: [(zone: String, rows: [PlannedRow])] = []
    for zone in zones {
      let name = try zone.optionalString("name", characters: Limits.nameCharacters) ?? ""
      rows.append((name, try self.rows(of: zone)))
    }
    let pitches = rows.flatMap(\.rows).filter { $0.seats.count > 2 }
      .compactMap { SeatNeighbours.pitch($0.seats.map(\.place)) }.sorted()
    let usualPitch = pitches.isEmpty ? nil : pitches[pitches.count / 2]
    try refuseUnknownCategories(rows.flatMap(\.rows))
    let fallback = try plan.optionalString("name", characters: Limits.nameCharacters) ?? ""
    var blocks = Blocks(rows)
    for (zone, planned) in rows { try add(planned, of: zone, fallback, usualPitch, &blocks) }
    for (index, zone) in zones.enumerated() { try addAreas(of: zone, named: rows[index].zone) }
    try check()
    return TicketUpload.Tickets(sections: sections, drawing: drawing.json)
  }

  private func check() throws(Problem) {
    if !unusedCapacities.isEmpty {
      throw .invalidField(
        "capacities",
        "names \(Self.list(unusedCapacities.sorted())), which no area of the plan is called"
          + (standing.isEmpty ? "; it has none" : ": there are \(Self.list(standing))"))
    }
    if sections.isEmpty, !unpriced.isEmpty {
      throw .invalidField(
        "prices", "has no price for any category of the plan, which has \(Self.list(unpriced.sorted()))")
    }
    if sections.isEmpty, !standing.isEmpty {
      throw .invalidField("capacities", "is needed for a plan without seats, by area: \(Self.list(standing))")
    }
    if sections.isEmpty { throw .invalidField("zones", "has no seats") }
    if let problem = SectionDraft.problem(with: sections) { throw .invalidField("zones", "has \(problem)") }
  }

  private static func list(_ names: [String]) -> String {
    let told = names.prefix(20).map { "\"\($0)\"" }.joined(separator: ", ")
    return names.count > 20 ? told + " and \(names.count - 20) more" : told
  }

  // MARK: Seats

  private struct PlannedSeat {
    let label: String?
    let guid: String?
    let category: String
    let place: SeatNeighbours.Point?
  }

  private struct PlannedRow {
    let label: String?
    let seats: [PlannedSeat]
  }

  private mutating func rows(of zone: Fields) throws(Problem) -> [PlannedRow] {
    let geometry = try PlanGeometry().within(zone)
    var rows: [PlannedRow] = []
    for row in try zone.optionalObjects("rows", atMost: Limits.rowsPerSection) ?? [] {
      let within = try geometry.within(row)
      var seats: [PlannedSeat] = []
      for seat in try row.optionalObjects("seats", atMost: Self.seatsPerRow) ?? [] {
        total += 1
        guard total <= Limits.ticketsPerEvent else {
          throw .invalidField("zones", "has more than \(Limits.ticketsPerEvent) seats")
        }
        seats.append(
          PlannedSeat(
            label: try seat.label("seat_number", characters: Limits.seatLabelCharacters),
            guid: try seat.label("seat_guid", characters: Limits.nameCharacters),
            category: try seat.optionalString("category", characters: Limits.nameCharacters) ?? "",
            place: try PlanGeometry.position(seat).map { within.place($0) }))
      }
      rows.append(
        PlannedRow(label: try row.label("row_number", characters: Limits.seatLabelCharacters), seats: seats))
    }
    return rows
  }

  private func refuseUnknownCategories(_ rows: [PlannedRow]) throws(Problem) {
    let unknown = Set(rows.flatMap { $0.seats.map(\.category) }).filter { names[$0] == nil && !$0.isEmpty }
    if !unknown.isEmpty {
      throw .invalidField(
        "zones", "has seats of \(Self.list(unknown.sorted())), which are not among the plan's `categories`")
    }
  }

  private mutating func add(
    _ rows: [PlannedRow], of zone: String, _ fallback: String, _ usualPitch: Double?, _ blocks: inout Blocks
  ) throws(Problem) {
    let categories = Set(rows.flatMap { $0.seats.map(\.category) }.filter { terms.prices[$0] != nil })
    for row in rows {
      let block = blocks.next(zone, row)
      for run in SeatNeighbours.runs(row.seats.map(\.place), usualPitch: usualPitch) {
        runs += 1
        for (place, number) in run.enumerated() {
          let seat = row.seats[number]
          guard let price = terms.prices[seat.category] else {
            unpriced.insert(seat.category)
            if let place = seat.place { drawing.block(place) }
            continue
          }
          let category = names[seat.category] ?? "Category"
          // The plan's own name where neither zone nor category has one.
          let own = isNameless.contains(seat.category) && !fallback.isEmpty ? fallback : category
          let name = zone.isEmpty ? own : categories.count == 1 ? zone : "\(zone), \(category)"
          let plan = SectionDraft.Place(
            guid: seat.guid, block: block, run: runs, place: place,
            x: seat.place.map { PlanGeometry.hundredths($0.x) },
            y: seat.place.map { PlanGeometry.hundredths($0.y) })
          // What tells neither row nor seat would be general admission.
          let label =
            seat.label ?? seat.guid.map { String($0.prefix(Limits.seatLabelCharacters)) }
            ?? String(number + 1)
          put(SectionDraft.Seat(row: row.label, seat: label, price: price, plan: plan), into: name)
        }
      }
    }
  }

  private mutating func put(_ seat: SectionDraft.Seat, into name: String) {
    let price = seat.price ?? 0
    if let known = index[name] {
      sections[known].price = min(sections[known].price, price)
      sections[known].seats.append(seat)
    } else {
      index[name] = sections.count
      sections.append(SectionDraft(name: name, price: price, seats: [seat]))
    }
  }

  /// Numbers rows of one label in one zone, where some of their seats have the same label, too.
  private struct Blocks {
    private struct Key: Hashable {
      let zone: String
      let row: String?
    }
    private var isAmbiguous: Set<Key> = []
    private var counts: [Key: Int] = [:]

    init(_ zones: [(zone: String, rows: [PlannedRow])]) {
      var seen: [Key: Set<String?>] = [:]
      for (zone, rows) in zones {
        for row in rows {
          let key = Key(zone: zone, row: row.label)
          let labels = Set(row.seats.map(\.label))
          if !seen[key, default: []].isDisjoint(with: labels) { isAmbiguous.insert(key) }
          seen[key, default: []].formUnion(labels)
        }
      }
    }

    mutating func next(_ zone: String, _ row: PlannedRow) -> String? {
      let key = Key(zone: zone, row: row.label)
      guard isAmbiguous.contains(key) else { return nil }
      counts[key, default: 0] += 1
      return String(counts[key, default: 0])
    }
  }

  // MARK: Areas

  /// What is written in an area; `nil` for nothing.
  static func words(of area: Fields) -> String? {
    guard let text = try? area.optionalObject("text")?.text("text") else { return nil }
    let visible = String(String.UnicodeScalarView(text.unicodeScalars.map { $0.steersText ? " " : $0 }))
    let words = visible.split(whereSeparator: \.isWhitespace).joined(separator: " ")
      .prefix(Limits.nameCharacters)
    return words.isEmpty ? nil : String(words)
  }

  private mutating func addAreas(of zone: Fields, named zoneName: String) throws(Problem) {
    let geometry = try PlanGeometry().within(zone)
    let areas = try zone.optionalObjects("areas", atMost: Self.areasPerZone) ?? []
    for area in areas {
      try drawing.add(area, try geometry.within(area))
      let words = Self.words(of: area)
      let keys = [area.text("uuid"), words, areas.count == 1 ? zoneName : nil].compactMap { $0 }.filter {
        !$0.isEmpty
      }
      if let name = words ?? keys.first { standing.append(name) }
      guard let key = keys.first(where: { terms.capacities[$0] != nil }), let capacity = terms.capacities[key]
      else {
        continue
      }
      guard unusedCapacities.remove(key) != nil else {
        throw .invalidField(
          "capacities", "names \"\(key)\", which several areas are called: say their `uuid`")
      }
      let name = words ?? (zoneName.isEmpty ? "Standing" : zoneName)
      let price =
        keys.compactMap { terms.prices[$0] }.first
        ?? (terms.prices.count == 1 ? terms.prices.first?.value : nil)
      guard let price else { throw .invalidField("prices", "has no price for the area \"\(key)\"") }
      guard total + capacity <= Limits.ticketsPerEvent else {
        throw .invalidField("capacities", "makes more than \(Limits.ticketsPerEvent) tickets")
      }
      total += capacity
      guard index[name] == nil else {
        throw .invalidField("capacities", "makes two sections of the name \"\(name)\"")
      }
      index[name] = sections.count
      sections.append(SectionDraft(name: name, price: price, capacity: capacity))
    }
  }
}
