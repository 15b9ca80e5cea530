/// Brings a seller's tickets into the order that the seat map works in.
struct SeatPlan {
  /// By section, row and seat; best section and row first.
  private(set) var tickets: [SeatMap.Ticket] = []
  private(set) var rows: [SeatMap.Row] = []
  private(set) var areas: [SeatMap.Area] = []

  init(sections: [SeatMap.Section], tickets: [SeatMap.Ticket]) {
    self.tickets.reserveCapacity(tickets.count)
    var bySection: [Int: [SeatMap.Ticket]] = [:]
    for ticket in tickets {
      precondition((1...Limits.ticketID).contains(ticket.id), "ticket ids are bits of a bitmap")
      bySection[ticket.section, default: []].append(ticket)
    }
    let ordered = sections.sorted { ($0.rank, -$0.price, $0.id) < ($1.rank, -$1.price, $1.id) }
    for section in ordered { add(section.id, bySection.removeValue(forKey: section.id) ?? []) }
    // The database does not allow these; were there any, they are still tickets.
    for (section, tickets) in bySection.sorted(by: { $0.key < $1.key }) { add(section, tickets) }
  }

  private mutating func add(_ section: Int, _ tickets: [SeatMap.Ticket]) {
    let area = areas.count
    let firstRow = rows.count
    var byRow: [String: [SeatMap.Ticket]] = [:]
    var places: [SeatMap.Ticket] = []
    for ticket in tickets {
      if let row = ticket.row ?? (ticket.seat == nil ? nil : "") {
        byRow[row, default: []].append(ticket)
      } else {
        places.append(ticket)
      }
    }
    let named =
      byRow
      .map { (label: NaturalLabel($0.key), rank: Self.rank($0.value), tickets: $0.value) }
      .sorted { $0.rank != $1.rank ? $0.rank < $1.rank : $0.label < $1.label }
    for row in named {
      for neighbours in Self.runs(row.tickets) + Self.neighbours(row.tickets.filter { $0.run == nil }) {
        append(neighbours, area, rank: row.rank, isPool: false)
      }
    }
    if !places.isEmpty {
      places.sort { ($0.rank, $0.id) < ($1.rank, $1.id) }
      append(places, area, rank: Self.rank(places), isPool: true)
    }
    areas.append(
      SeatMap.Area(id: section, rows: firstRow..<rows.count, counts: SeatMap.Counts(free: tickets.count)))
  }

  private mutating func append(_ members: [SeatMap.Ticket], _ area: Int, rank: Int, isPool: Bool) {
    let start = tickets.count
    tickets += members
    rows.append(SeatMap.Row(slots: start..<tickets.count, area: area, rank: rank, isPool: isPool))
  }

  private static func rank(_ tickets: [SeatMap.Ticket]) -> Int { tickets.map(\.rank).min() ?? 0 }

  /// The row's seats of a plan, run by run, cut where a place is not among them.
  private static func runs(_ tickets: [SeatMap.Ticket]) -> [[SeatMap.Ticket]] {
    var runs: [[SeatMap.Ticket]] = []
    let planned = tickets.filter { $0.run != nil }
      .sorted { ($0.run ?? 0, $0.place ?? 0, $0.id) < ($1.run ?? 0, $1.place ?? 0, $1.id) }
    for ticket in planned {
      if let last = runs.last?.last, last.run == ticket.run, (last.place ?? 0) + 1 == ticket.place {
        runs[runs.count - 1].append(ticket)
      } else {
        runs.append([ticket])
      }
    }
    return runs
  }

  /// The row's seats in order, cut where a number is missing.
  private static func neighbours(_ tickets: [SeatMap.Ticket]) -> [[SeatMap.Ticket]] {
    if tickets.isEmpty { return [] }
    let seats = tickets.map { (label: NaturalLabel($0.seat ?? ""), ticket: $0) }
      .sorted { $0.label != $1.label ? $0.label < $1.label : $0.ticket.id < $1.ticket.id }
    var steps: [Int?] = []
    for (left, right) in zip(seats, seats.dropFirst()) {
      let numbers = (left.label.number, right.label.number)
      if case (let a?, let b?) = numbers { steps.append(b - a) } else { steps.append(nil) }
    }
    // Rows number their seats by one, or by two with even and odd halves.
    let usual = steps.compactMap { $0 }.filter { $0 > 0 }.min() ?? 1
    var groups: [[SeatMap.Ticket]] = []
    var group: [SeatMap.Ticket] = []
    for (index, seat) in seats.enumerated() {
      if index > 0, let step = steps[index - 1], step > usual {
        groups.append(group)
        group = []
      }
      group.append(seat.ticket)
    }
    groups.append(group)
    return groups
  }
}
