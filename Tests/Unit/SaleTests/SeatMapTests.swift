import Sale
import Testing

/// One section with these rows, seats numbered from 1, tickets numbered through, 1,000 each.
private func hall(_ rows: [String: Int]) -> SeatMap {
  var tickets: [SeatMap.Ticket] = []
  for (row, seats) in rows.sorted(by: { $0.key < $1.key }) {
    for seat in 1...seats {
      tickets.append(
        SeatMap.Ticket(
          id: tickets.count + 1, section: 1, row: row, seat: String(seat), rank: tickets.count, price: 1_000))
    }
  }
  return SeatMap(sections: [SeatMap.Section(id: 1, name: "Stalls", price: 1_000, rank: 0)], tickets: tickets)
}

/// General-admission sections, best first, with ids from 1 and tickets numbered through.
private func floors(_ capacities: [Int]) -> SeatMap {
  var tickets: [SeatMap.Ticket] = []
  var sections: [SeatMap.Section] = []
  for (index, capacity) in capacities.enumerated() {
    sections.append(
      SeatMap.Section(id: index + 1, name: "Floor \(index + 1)", price: 100 * (index + 1), rank: index))
    for _ in 0..<capacity {
      tickets.append(
        SeatMap.Ticket(
          id: tickets.count + 1, section: index + 1, row: nil, seat: nil, rank: tickets.count,
          price: 100 * (index + 1)))
    }
  }
  return SeatMap(sections: sections, tickets: tickets)
}

private func ask(_ quantity: Int, section: Int? = nil, adjacent: Bool = false) -> RequestedSeats {
  RequestedSeats(quantity: quantity, section: section, adjacent: adjacent)
}

@Suite("Seat map: best available")
struct BestAvailableTests {
  @Test("The best row that has the seats side by side is taken, from its best seat")
  func bestRow() {
    var map = hall(["A": 4, "B": 6])
    #expect(map.allocate(ask(2)) == .granted(tickets: [1, 2], amount: 2_000))
    #expect(map.allocate(ask(5)) == .granted(tickets: [5, 6, 7, 8, 9], amount: 5_000))
    #expect(map.allocate(ask(2)) == .granted(tickets: [3, 4], amount: 2_000))
  }

  @Test(
    "No single seat is left behind where the row offers an equally good block",
    arguments: [
      // held seats of a row of ten, seats asked for, seats expected
      ([], 2, [1, 2]),
      ([], 9, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
      ([3, 4], 1, [5]),  // of 1 and 2 each leaves the other alone
      ([3], 2, [1, 2]),
      ([4], 2, [5, 6]),  // in 1…3 two seats leave one alone
      ([4, 10], 2, [5, 6]),
      ([4, 8], 2, [9, 10]),
      ([5, 8], 2, [1, 2]),
      ([4], 3, [1, 2, 3]),
      ([3, 7], 1, [4]),
    ])
  func orphans(held: [Int], quantity: Int, expected: [Int]) {
    var map = hall(["A": 10])
    map.hold(held)
    #expect(map.allocate(ask(quantity)) == .granted(tickets: expected, amount: 1_000 * quantity))
  }

  @Test("Rows of the same rank are compared for one where no single seat is left behind")
  func equalRows() {
    var tickets: [SeatMap.Ticket] = []
    for (row, seats) in [("A", 3), ("B", 2), ("C", 2)] {
      for seat in 1...seats {
        tickets.append(
          SeatMap.Ticket(
            id: tickets.count + 1, section: 1, row: row, seat: String(seat), rank: 0, price: 5))
      }
    }
    var map = SeatMap(sections: [SeatMap.Section(id: 1, name: "S", price: 5, rank: 0)], tickets: tickets)
    #expect(map.allocate(ask(2)) == .granted(tickets: [4, 5], amount: 10))
    #expect(map.allocate(ask(3)) == .granted(tickets: [1, 2, 3], amount: 15))
  }

  @Test("The middle of a row is taken first where the seller ranks it best")
  func middleFirst() {
    let tickets = (1...10).map { seat in
      SeatMap.Ticket(
        id: seat, section: 1, row: "A", seat: String(seat), rank: abs(2 * seat - 11), price: 10)
    }
    var map = SeatMap(sections: [SeatMap.Section(id: 1, name: "S", price: 10, rank: 0)], tickets: tickets)
    #expect(map.allocate(ask(2)) == .granted(tickets: [5, 6], amount: 20))
  }

  @Test("Side by side in a worse section comes before split in a better one")
  func sideBySideFirst() {
    var tickets = (1...3).map { seat in
      SeatMap.Ticket(id: seat, section: 1, row: "A", seat: String(seat), rank: 0, price: 900)
    }
    tickets += (4...5).map { seat in
      SeatMap.Ticket(id: seat, section: 2, row: "A", seat: String(seat), rank: 0, price: 300)
    }
    let sections = [
      SeatMap.Section(id: 2, name: "Back", price: 300, rank: 2),
      SeatMap.Section(id: 1, name: "Front", price: 900, rank: 1),
    ]
    var map = SeatMap(sections: sections, tickets: tickets, held: [2])
    #expect(map.allocate(ask(2)) == .granted(tickets: [4, 5], amount: 600))
    #expect(map.allocate(ask(2)) == .granted(tickets: [1, 3], amount: 1_800))
  }

  @Test("Seats are split over rows, longest block first, and over sections last of all")
  func split() {
    var map = hall(["A": 2, "B": 3])
    #expect(map.allocate(ask(4)) == .granted(tickets: [3, 4, 5, 1], amount: 4_000))
    var floors = floors([2, 2])
    #expect(floors.allocate(ask(3)) == .granted(tickets: [1, 2, 3], amount: 400))
    #expect(floors.allocate(ask(1)) == .granted(tickets: [4], amount: 200))
  }

  @Test("Side by side only is never split: it waits for held seats, or is sold out")
  func insisting() {
    var map = hall(["A": 2, "B": 2])
    #expect(map.allocate(ask(3, adjacent: true)) == .never(.notTogether))
    map.hold([1])
    map.sell([4])
    #expect(map.allocate(ask(2, adjacent: true)) == .notNow)
    map.release([1])
    #expect(map.allocate(ask(2, adjacent: true)) == .granted(tickets: [1, 2], amount: 2_000))
    map.sell([1])
    #expect(map.allocate(ask(2, adjacent: true)) == .never(.notTogether))
  }

  @Test("Missing numbers part a row, except where the row counts by two")
  func gaps() {
    func map(_ labels: [String]) -> SeatMap {
      SeatMap(
        sections: [SeatMap.Section(id: 1, name: "S", price: 1, rank: 0)],
        tickets: labels.enumerated().map {
          SeatMap.Ticket(id: $0.offset + 1, section: 1, row: "A", seat: $0.element, rank: $0.offset, price: 1)
        })
    }
    var aisle = map(["1", "2", "5", "6", "7"])
    #expect(aisle.allocate(ask(3, adjacent: true)) == .granted(tickets: [3, 4, 5], amount: 3))
    var odd = map(["1", "3", "5", "7"])
    #expect(odd.allocate(ask(4, adjacent: true)) == .granted(tickets: [1, 2, 3, 4], amount: 4))
    var ten = map(["10", "9", "8"])
    #expect(ten.allocate(ask(3, adjacent: true)) == .granted(tickets: [3, 2, 1], amount: 3))
    var letters = map(["A", "B", "C"])
    #expect(letters.allocate(ask(3, adjacent: true)) == .granted(tickets: [1, 2, 3], amount: 3))
  }
}

@Suite("Seat map: sections, exact seats and answers")
struct SeatMapAnswerTests {
  @Test("A section asked for is the only one taken from")
  func section() {
    var map = floors([2, 2])
    #expect(map.allocate(ask(2, section: 2)) == .granted(tickets: [3, 4], amount: 400))
    #expect(map.allocate(ask(1, section: 2)) == .notNow)
    map.sell([3, 4])
    #expect(map.allocate(ask(1, section: 2)) == .never(.sectionSoldOut))
    #expect(map.allocate(ask(3, section: 1)) == .never(.onlyLeft(2)))
    #expect(map.allocate(ask(1, section: 9)) == .never(.unknownSection))
    #expect(map.allocate(ask(0)) == .never(.invalidQuantity))
  }

  @Test("Exact seats are given as asked, or refused as a whole")
  func exact() {
    var map = hall(["A": 5])
    func exactly(_ tickets: [Int]) -> RequestedSeats { RequestedSeats(quantity: 0, tickets: tickets) }
    #expect(map.allocate(exactly([4, 2])) == .granted(tickets: [2, 4], amount: 2_000))
    #expect(map.allocate(exactly([1, 2])) == .never(.seatsTaken))
    #expect(map.allocate(exactly([1, 99])) == .never(.unknownSeats))
    #expect(map.counts == SeatMap.Counts(free: 3, held: 2))
  }

  @Test("A map without tickets is sold out")
  func empty() {
    var map = SeatMap(sections: [], tickets: [])
    #expect(map.allocate(ask(1)) == .never(.onlyLeft(0)))
    #expect(map.allocate(ask(1, adjacent: true)) == .never(.onlyLeft(0)))
    var unused = SeatMap(sections: [SeatMap.Section(id: 1, name: "S", price: 1, rank: 0)], tickets: [])
    #expect(unused.allocate(ask(1, section: 1)) == .never(.sectionSoldOut))
    #expect(unused.counts(section: 1) == SeatMap.Counts())
  }

  @Test("Holding, releasing, selling and losing may be repeated")
  func idempotent() {
    var map = hall(["A": 4])
    map.hold([1, 2, 2, 77])
    map.hold([1])
    #expect(map.counts == SeatMap.Counts(free: 2, held: 2))
    map.release([3])
    map.release([1, 1])
    #expect(map.counts == SeatMap.Counts(free: 3, held: 1))
    map.sell([2, 3])
    map.sell([2])
    map.release([2])
    map.hold([2])
    #expect(map.counts == SeatMap.Counts(free: 2, sold: 2))
    map.lose([1])
    #expect(map.counts == SeatMap.Counts(free: 1, sold: 3))
    #expect(map.counts(section: 1) == map.counts)
    #expect(map.counts(section: 2) == nil)
    #expect(map.section(of: 4) == 1)
    #expect(map.section(of: 5) == nil)
  }

  @Test("The bitmap has one bit a ticket, most significant first, set when it is not free")
  func bitmap() {
    var map = hall(["A": 9])
    #expect(map.bitmap == [0, 0])
    map.hold([1])
    map.sell([8])
    #expect(map.bitmap == [0b0100_0000, 0b1000_0000])
    let loaded = SeatMap(
      sections: [SeatMap.Section(id: 1, name: "S", price: 1, rank: 0)],
      tickets: (1...3).map { SeatMap.Ticket(id: $0, section: 1, row: nil, seat: nil, rank: 0, price: 1) },
      held: [1, 2], sold: [2, 44])
    #expect(loaded.bitmap == [0b0110_0000])
    #expect(loaded.counts == SeatMap.Counts(free: 1, held: 1, sold: 1))
  }

  @Test("Rows and seats are in the order in which people count them")
  func natural() {
    let order = ["-1", "2", "7", "7A", "7B", "10", "a", "B", "Z", "AA", "AB", "Ä", "BOX", "Balcony", "Loge"]
    let tickets = order.reversed().enumerated().map {
      SeatMap.Ticket(id: $0.offset + 1, section: 1, row: $0.element, seat: "1", rank: 0, price: 1)
    }
    var map = SeatMap(sections: [SeatMap.Section(id: 1, name: "S", price: 1, rank: 0)], tickets: tickets)
    var found: [String] = []
    while case .granted(let ids, _) = map.allocate(ask(1)) {
      found += ids.map { order.reversed()[$0 - 1] }
    }
    #expect(found == order)
  }
}
