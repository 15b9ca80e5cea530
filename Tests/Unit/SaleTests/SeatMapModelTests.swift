import Sale
import Testing

/// The seat map as plainly as it can be written: everything is looked for from scratch, every time.
private struct NaiveMap {
  enum Status { case free, held, sold }
  struct Seat {
    let ticket: SeatMap.Ticket
    var status = Status.free
  }

  /// Sections in order; a section's rows in order; a row's seats in order. The last row of a section is its
  /// general admission where `isPool` says so.
  var sections: [(id: Int, rows: [(isPool: Bool, seats: [Seat])])]

  func seats(_ ids: Set<Int>?) -> [Seat] {
    sections.filter { ids?.contains($0.id) ?? true }.flatMap { $0.rows.flatMap(\.seats) }
  }

  func count(_ status: Status, _ ids: Set<Int>? = nil) -> Int { seats(ids).count { $0.status == status } }

  static func longestRun(_ row: (isPool: Bool, seats: [Seat]), _ allowed: (Status) -> Bool) -> Int {
    if row.isPool { return row.seats.count { allowed($0.status) } }
    return row.seats.split { !allowed($0.status) }.map(\.count).max() ?? 0
  }

  /// Section and row of the first row with that many side by side.
  func firstRow(_ quantity: Int, _ ids: Set<Int>, _ allowed: (Status) -> Bool) -> (Int, Int)? {
    for (s, section) in sections.enumerated() where ids.contains(section.id) {
      for (r, row) in section.rows.enumerated() where Self.longestRun(row, allowed) >= quantity {
        return (s, r)
      }
    }
    return nil
  }

  mutating func set(_ tickets: [Int], _ new: Status, from allowed: (Status) -> Bool) {
    for s in sections.indices {
      for r in sections[s].rows.indices {
        for i in sections[s].rows[r].seats.indices {
          let seat = sections[s].rows[r].seats[i]
          if tickets.contains(seat.ticket.id), allowed(seat.status) {
            sections[s].rows[r].seats[i].status = new
          }
        }
      }
    }
  }
}

@Suite("Seat map: against a naive model")
struct SeatMapModelTests {
  /// A random hall, and the two maps of it.
  private static func make(_ random: inout SeededGenerator) -> (SeatMap, NaiveMap) {
    var ids = Array(1...400).shuffled(using: &random)[...]
    var sections: [SeatMap.Section] = []
    var tickets: [SeatMap.Ticket] = []
    var naive = NaiveMap(sections: [])
    for index in 1...Int.random(in: 1...4, using: &random) {
      let price = Int.random(in: 1...50, using: &random) * 100
      sections.append(SeatMap.Section(id: index * 7, name: "\(index)", price: price, rank: index))
      var rows: [(isPool: Bool, seats: [NaiveMap.Seat])] = []
      for row in 0..<Int.random(in: 0...4, using: &random) {
        var seats: [NaiveMap.Seat] = []
        for seat in 1...Int.random(in: 1...12, using: &random) {
          let ticket = SeatMap.Ticket(
            id: ids.removeFirst(), section: index * 7, row: String(row + 8), seat: String(seat), rank: row,
            price: price + row)
          seats.append(NaiveMap.Seat(ticket: ticket))
        }
        rows.append((false, seats))
      }
      if Bool.random(using: &random) || rows.isEmpty {
        let seats = (1...Int.random(in: 1...20, using: &random)).map { _ in
          NaiveMap.Seat(
            ticket: SeatMap.Ticket(
              id: ids.removeFirst(), section: index * 7, row: nil, seat: nil, rank: 99, price: price))
        }
        rows.append((true, seats))
      }
      tickets += rows.flatMap { $0.seats.map(\.ticket) }
      naive.sections.append((index * 7, rows))
    }
    return (
      SeatMap(sections: sections.shuffled(using: &random), tickets: tickets.shuffled(using: &random)), naive
    )
  }

  @Test("Random requests, releases and sales agree with the model at every step")
  func model() {
    var random = SeededGenerator()
    print("ONSALE_TEST_SEED=\(random.seed)")
    for _ in 0..<60 {
      var (map, naive) = Self.make(&random)
      var grants: [[Int]] = []
      for _ in 0..<150 {
        switch Int.random(in: 0..<10, using: &random) {
        case 0..<6: step(&map, &naive, &grants, &random)
        case 6, 7:
          guard let index = grants.indices.randomElement(using: &random) else { continue }
          let back = grants.remove(at: index)
          map.release(back)
          naive.set(back, .free) { $0 == .held }
        case 8:
          guard let index = grants.indices.randomElement(using: &random) else { continue }
          let sold = grants.remove(at: index)
          map.sell(sold)
          naive.set(sold, .sold) { $0 != .sold }
        default:
          let some = (0..<3).map { _ in Int.random(in: 0...401, using: &random) }
          map.hold(some)
          let taken = naive.seats(nil).filter { some.contains($0.ticket.id) && $0.status == .free }
          naive.set(some, .held) { $0 == .free }
          if !taken.isEmpty { grants.append(taken.map(\.ticket.id)) }
        }
        guard agree(map, naive) else { return }
      }
      for grant in grants { map.release(grant) }
      let sold = naive.count(.sold)
      #expect(map.counts == SeatMap.Counts(free: naive.seats(nil).count - sold, sold: sold))
      if sold == 0 { #expect(map.bitmap.allSatisfy { $0 == 0 }) }
    }
  }

  /// One random request on both.
  private func step(
    _ map: inout SeatMap, _ naive: inout NaiveMap, _ grants: inout [[Int]], _ random: inout SeededGenerator
  ) {
    let all = Set(naive.sections.map(\.id))
    let quantity = Int.random(in: 1...8, using: &random)
    if Int.random(in: 0..<8, using: &random) == 0 {
      let exact = naive.seats(nil).shuffled(using: &random).prefix(quantity)
      let tickets = exact.map(\.ticket.id).sorted()
      let answer = map.allocate(RequestedSeats(quantity: 0, tickets: tickets))
      if exact.allSatisfy({ $0.status == .free }) {
        #expect(answer == .granted(tickets: tickets, amount: exact.map(\.ticket.price).reduce(0, +)))
        naive.set(tickets, .held) { $0 == .free }
        grants.append(tickets)
      } else {
        #expect(answer == .never(.seatsTaken))
      }
      return
    }
    let seats = RequestedSeats(
      quantity: quantity, section: Bool.random(using: &random) ? all.randomElement(using: &random) : nil,
      adjacent: Bool.random(using: &random))
    let allowed = seats.section.map { [$0] } ?? all
    let best = naive.firstRow(quantity, allowed) { $0 == .free }
    let hasFree = naive.count(.free, allowed) >= quantity && !seats.adjacent
    let couldHave =
      seats.adjacent
      ? naive.firstRow(quantity, allowed, { $0 != .sold }) != nil
      : naive.count(.free, allowed) + naive.count(.held, allowed) >= quantity
    #expect((map.refusal(of: seats) == nil) == couldHave)
    #expect(map.canGrant(seats) == (best != nil || hasFree))

    switch map.allocate(seats) {
    case .granted(let tickets, let amount):
      #expect(best != nil || hasFree)
      #expect(Set(tickets).count == quantity && tickets.count == quantity)
      let granted = naive.seats(allowed).filter { tickets.contains($0.ticket.id) }
      #expect(granted.count == quantity && granted.allSatisfy { $0.status == .free })
      #expect(amount == granted.map(\.ticket.price).reduce(0, +))
      if let best {
        let row = naive.sections[best.0].rows[best.1]
        let places = row.seats.indices.filter { tickets.contains(row.seats[$0].ticket.id) }
        #expect(places.count == quantity, "the best row is taken")
        #expect(row.isPool || places.last! - places.first! == quantity - 1, "side by side")
      } else if naive.sections.contains(where: {
        allowed.contains($0.id) && naive.count(.free, [$0.id]) >= quantity
      }) {
        #expect(Set(granted.map(\.ticket.section)).count == 1, "one section has enough")
      }
      naive.set(tickets, .held) { $0 == .free }
      grants.append(tickets)
    case .notNow: #expect(best == nil && !hasFree && couldHave)
    case .never(let refusal):
      #expect(best == nil && !hasFree && !couldHave)
      let unsold = naive.count(.free, allowed) + naive.count(.held, allowed)
      #expect(refusal.left ?? unsold == unsold)
      #expect((refusal == .notTogether) == (unsold >= quantity))
    }
  }

  private func agree(_ map: SeatMap, _ naive: NaiveMap) -> Bool {
    var same =
      map.counts
      == SeatMap.Counts(free: naive.count(.free), held: naive.count(.held), sold: naive.count(.sold))
    for section in naive.sections {
      let ids: Set = [section.id]
      let counts = SeatMap.Counts(
        free: naive.count(.free, ids), held: naive.count(.held, ids), sold: naive.count(.sold, ids))
      same = same && map.counts(section: section.id) == counts
    }
    let bitmap = map.bitmap
    for seat in naive.seats(nil) {
      let isSet = bitmap[seat.ticket.id / 8] & (0x80 >> UInt8(seat.ticket.id % 8)) != 0
      same = same && isSet == (seat.status != .free)
    }
    #expect(same)
    return same
  }
}
