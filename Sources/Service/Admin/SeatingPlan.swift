import Foundation
import HTTPCommon
import JSON
import Ledger
import Sale
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
  /// Whatever an area may be called where its price and capacity are given.
  private var areaNames: Set<String> = []
  private var unusedCapacities: Set<String>
  private var findings: Findings

  /// - Parameters:
  ///   - given: the members `prices` and `capacities` of `beside` go before them.
  ///   - beside: the plan itself, or what holds it.
  static func tickets(
    _ plan: Fields, _ given: Terms, beside: Fields, _ findings: inout Findings
  ) -> TicketUpload.Tickets {
    let terms = Self.terms(beside, given, &findings)
    var reading = SeatingPlan(plan, terms, findings)
    let tickets = reading.read(plan, beside)
    findings = reading.findings
    return tickets
  }

  private static func terms(_ fields: Fields, _ given: Terms, _ findings: inout Findings) -> Terms {
    var terms = given
    if let prices = findings.take(try fields.optionalObject("prices")) {
      if prices.names.count > categories {
        findings.note(fields.refused("prices", "must have at most \(categories) members"))
      }
      for name in prices.names.prefix(categories) {
        if let more = try? prices.optionalObject(name) {
          findings.take(try more.refuseAllBut(["price", "name"]))
          terms.prices[name] = findings.take(try more.int("price", in: 0...Limits.ticketPrice))
          terms.names[name] = findings.take(
            try more.optionalString("name", characters: Limits.nameCharacters))
        } else {
          terms.prices[name] = findings.take(try prices.optionalInt(name, in: 0...Limits.ticketPrice))
        }
      }
    }
    let capacities = fields.optionalNumbers(
      "capacities", in: 1...Limits.ticketsPerEvent, atMost: areasPerZone, &findings)
    terms.capacities.merge(capacities) { $1 }
    return terms
  }

  private init(_ plan: Fields, _ terms: Terms, _ before: Findings) {
    var findings = before
    self.terms = terms
    drawing = PlanDrawing(plan, &findings)
    unusedCapacities = Set(terms.capacities.keys)
    let categories = plan.optionalObjects("categories", atMost: Self.categories, &findings) ?? []
    for (number, category) in categories.enumerated() {
      let name =
        findings.take(try category.optionalString("name", characters: Limits.nameCharacters)) ?? ""
      // An editor's own key says nothing to a buyer.
      let isKey = name.isEmpty || UUID(uuidString: name) != nil
      if isKey, terms.names[name] == nil { isNameless.insert(name) }
      names[name] = terms.names[name] ?? (isKey ? "Category \(number + 1)" : name)
    }
    self.findings = findings
  }

  private mutating func read(_ plan: Fields, _ beside: Fields) -> TicketUpload.Tickets {
    let zones = plan.objects("zones", atMost: Self.zones, &findings)
    var rows: [(zone: String, rows: [PlannedRow])] = []
    for zone in zones {
      let name = findings.take(try zone.optionalString("name", characters: Limits.nameCharacters)) ?? ""
      rows.append((name, self.rows(of: zone)))
    }
    let pitches = rows.flatMap(\.rows).filter { $0.seats.count > 2 }
      .compactMap { SeatNeighbours.pitch($0.seats.map(\.place)) }.sorted()
    let usualPitch = pitches.isEmpty ? nil : pitches[pitches.count / 2]
    refuseUnknownCategories(rows.flatMap(\.rows))
    let fallback =
      findings.take(try plan.optionalString("name", characters: Limits.nameCharacters)) ?? ""
    var blocks = Blocks(rows)
    for (zone, planned) in rows { add(planned, of: zone, fallback, usualPitch, &blocks) }
    for (index, zone) in zones.enumerated() { addAreas(of: zone, named: rows[index].zone, beside) }
    check(plan, beside)
    return TicketUpload.Tickets(sections: sections, drawing: drawing.json)
  }

  private mutating func check(_ plan: Fields, _ beside: Fields) {
    for name in unusedCapacities.sorted() {
      findings.note(
        beside.refused(
          "capacities",
          "names \(Self.list([name])), which no area of the plan is called"
            + (standing.isEmpty ? "; it has none" : ": there are \(Self.list(standing))")))
    }
    // One that is mistyped must not look as if its seats were on sale.
    for name in terms.prices.keys.sorted() where names[name] == nil && !areaNames.contains(name) {
      findings.note(
        beside.refused(
          "prices",
          "names \(Self.list([name])), which no category of the plan is called: there are "
            + Self.list(names.keys.sorted())))
    }
    for problem in SectionDraft.problems(with: sections) {
      findings.note(plan.refused("zones", "has \(problem)"))
    }
    // Why nothing is left may stand above.
    guard sections.isEmpty, findings.isEmpty else { return }
    if !unpriced.isEmpty {
      findings.note(
        beside.refused(
          "prices", "has no price for any category of the plan, which has \(Self.list(unpriced.sorted()))"))
    } else if !standing.isEmpty {
      findings.note(
        beside.refused("capacities", "is needed for a plan without seats, by area: \(Self.list(standing))"))
    } else {
      findings.note(plan.refused("zones", "has no seats"))
    }
  }

  private static func list(_ names: [String]) -> String {
    let told = names.prefix(20).map { "\"\(Escaping.terminal($0))\"" }.joined(separator: ", ")
    return names.count > 20 ? told + " and \(names.count - 20) more" : told
  }

  // MARK: Seats

  private struct PlannedSeat {
    let label: String?
    let guid: String?
    let category: String
    let place: SeatNeighbours.Point?
    let fields: Fields
    /// Whether something of it could not be read.
    let isBroken: Bool
  }

  private struct PlannedRow {
    let label: String?
    let seats: [PlannedSeat]
  }

  private mutating func rows(of zone: Fields) -> [PlannedRow] {
    let geometry = PlanGeometry().within(zone, &findings)
    var rows: [PlannedRow] = []
    for row in zone.optionalObjects("rows", atMost: Limits.rowsPerSection, &findings) ?? [] {
      let within = geometry.within(row, &findings)
      var seats: [PlannedSeat] = []
      for seat in row.optionalObjects("seats", atMost: Self.seatsPerRow, &findings) ?? [] {
        total += 1
        guard total <= Limits.ticketsPerEvent else {
          if total == Limits.ticketsPerEvent + 1 {
            findings.note(
              row.refused("seats", "has a seat beyond the limit of \(Limits.ticketsPerEvent) of all zones"))
          }
          continue
        }
        let before = findings.count
        let label = findings.take(try seat.label("seat_number", characters: Limits.seatLabelCharacters))
        let guid = findings.take(try seat.label("seat_guid", characters: Limits.nameCharacters))
        let category = findings.take(try seat.optionalString("category", characters: Limits.nameCharacters))
        let place = PlanGeometry.position(seat, &findings).map { within.place($0) }
        seats.append(
          PlannedSeat(
            label: label, guid: guid, category: category ?? "", place: place, fields: seat,
            isBroken: findings.count > before))
      }
      let label = findings.take(try row.label("row_number", characters: Limits.seatLabelCharacters))
      rows.append(PlannedRow(label: label, seats: seats))
    }
    return rows
  }

  /// One finding a category, at the first of its seats: a whole block may have it.
  private mutating func refuseUnknownCategories(_ rows: [PlannedRow]) {
    var unknown: [String: (first: Fields, seats: Int)] = [:]
    for seat in rows.lazy.flatMap(\.seats) where names[seat.category] == nil && !seat.category.isEmpty {
      unknown[seat.category, default: (seat.fields, 0)].seats += 1
    }
    for (category, found) in unknown.sorted(by: { $0.key < $1.key }) {
      let more = found.seats == 1 ? "" : "; \(found.seats - 1) more seats have it"
      findings.note(
        found.first.refused(
          "category", "is \(Self.list([category])), which is not among the plan's `categories`\(more)"))
    }
  }

  private mutating func add(
    _ rows: [PlannedRow], of zone: String, _ fallback: String, _ usualPitch: Double?, _ blocks: inout Blocks
  ) {
    let categories = Set(rows.flatMap { $0.seats.map(\.category) }.filter { terms.prices[$0] != nil })
    for row in rows {
      let block = blocks.next(zone, row)
      for run in SeatNeighbours.runs(row.seats.map(\.place), usualPitch: usualPitch) {
        runs += 1
        for (place, number) in run.enumerated() {
          let seat = row.seats[number]
          if seat.isBroken { continue }
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

  private mutating func addAreas(of zone: Fields, named zoneName: String, _ beside: Fields) {
    // Its mistakes were noted with its seats.
    var noted = Findings()
    let geometry = PlanGeometry().within(zone, &noted)
    let areas = zone.optionalObjects("areas", atMost: Self.areasPerZone, &findings) ?? []
    for area in areas {
      drawing.add(area, geometry.within(area, &findings), &findings)
      let words = Self.words(of: area)
      let keys = [area.text("uuid"), words, areas.count == 1 ? zoneName : nil].compactMap { $0 }.filter {
        !$0.isEmpty
      }
      if let name = words ?? keys.first { standing.append(name) }
      areaNames.formUnion(keys)
      guard let key = keys.first(where: { terms.capacities[$0] != nil }), let capacity = terms.capacities[key]
      else {
        continue
      }
      guard unusedCapacities.remove(key) != nil else {
        findings.note(
          beside.refused(
            "capacities", "names \(Self.list([key])), which several areas are called: say their `uuid`"))
        continue
      }
      let name = words ?? (zoneName.isEmpty ? "Standing" : zoneName)
      let price =
        keys.compactMap { terms.prices[$0] }.first
        ?? (terms.prices.count == 1 ? terms.prices.first?.value : nil)
      if price == nil {
        findings.note(beside.refused("prices", "has no price for the area \(Self.list([key]))"))
      }
      guard total + capacity <= Limits.ticketsPerEvent else {
        findings.note(
          beside.refused(
            "capacities", "makes more than \(Limits.ticketsPerEvent) tickets, with \(Self.list([key]))"))
        continue
      }
      total += capacity
      guard index[name] == nil else {
        findings.note(beside.refused("capacities", "makes two sections of the name \(Self.list([name]))"))
        continue
      }
      index[name] = sections.count
      sections.append(SectionDraft(name: name, price: price ?? 0, capacity: capacity))
    }
  }
}
