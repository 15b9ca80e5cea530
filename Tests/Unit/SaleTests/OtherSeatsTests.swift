import Testing

@testable import Sale

/// Sections of rows of seats, tickets numbered through from 1; what each costs, 1,000 where nothing is said.
private func hall(_ sections: [[Int]], prices: [Int: Int] = [:]) -> SeatMap {
  var tickets: [SeatMap.Ticket] = []
  for (section, rows) in sections.enumerated() {
    for (row, seats) in rows.enumerated() {
      for seat in 1...seats {
        let id = tickets.count + 1
        tickets.append(
          SeatMap.Ticket(
            id: id, section: section + 1, row: String(row + 1), seat: String(seat), rank: id,
            price: prices[id] ?? 1_000))
      }
    }
  }
  return SeatMap(
    sections: sections.indices.map { SeatMap.Section(id: $0 + 1, name: "S\($0)", price: 1_000, rank: $0) },
    tickets: tickets)
}

private func floor(_ places: Int, prices: [Int: Int] = [:]) -> SeatMap {
  SeatMap(
    sections: [SeatMap.Section(id: 1, name: "Floor", price: 1_000, rank: 0)],
    tickets: (1...places).map {
      SeatMap.Ticket(id: $0, section: 1, row: nil, seat: nil, rank: $0, price: prices[$0] ?? 1_000)
    })
}

private func late(
  _ position: Int, _ tickets: [Int], _ amount: Int? = nil, takesOthers: Bool = true
) -> ReservePlanner.LatePayment {
  .init(
    position: position, tickets: tickets, amount: amount ?? tickets.count * 1_000, takesOthers: takesOthers)
}

@Suite("Other seats than those that were paid for")
struct OtherSeatsTests {
  private func find(_ map: inout SeatMap, _ tickets: [Int], _ amount: Int? = nil) -> [Int]? {
    var search = OtherSeatsSearch()
    return search.take(insteadOf: tickets, amount: amount ?? tickets.count * 1_000, of: &map)
  }

  @Test("They are of the same section, as many, and side by side as far as those were")
  func asGood() {
    var map = hall([[4, 4], [4]])
    map.sell([1, 6])
    // 2 to 4 are together in their row; in the other row 7 and 8 are, where no single seat is left.
    let pair = find(&map, [1, 2])
    #expect(pair == [2, 3] || pair == [3, 4] || pair == [7, 8])
    #expect(find(&map, [1, 2])?.count == 2)
    let before = map.counts
    #expect(find(&map, [1, 2]) == nil, "no two are together in that section")
    #expect(map.counts == before)
    // These were in two places, and so may those be.
    #expect(find(&map, [1, 3])?.count == 2)
    #expect(find(&map, [1, 3]) == nil)
    #expect(find(&map, [99], 1_000) == nil && find(&map, [], 0) == nil)
    #expect(map.counts(section: 2)?.free == 4, "nobody is moved to another section")
  }

  @Test("Two pairs stay two pairs, each in its own section")
  func pairs() {
    var map = hall([[2, 2, 1, 1], [2, 2]])
    map.sell([1, 7])
    #expect(find(&map, [1, 2, 7, 8]).map(Set.init) == [3, 4, 9, 10])
    var split = hall([[2, 2, 1, 1, 1, 1]])
    split.sell([1])
    #expect(find(&split, [1, 2, 3, 4]) == nil, "one pair is left, and single seats")
    #expect(split.counts == SeatMap.Counts(free: 7, held: 0, sold: 1))
  }

  @Test("A block leaves no single seat behind where it can, and places of a floor are any")
  func blocks() {
    var map = hall([[7]])
    map.sell([1, 5])
    #expect(find(&map, [1, 2]) == [6, 7])
    var floor = floor(3)
    floor.sell([1])
    #expect(find(&floor, [1, 2]).map(Set.init) == [2, 3])
  }

  @Test("They cost what was authorised, each what the one cost in whose place it is")
  func price() {
    let prices = [1: 500, 2: 700, 3: 500, 4: 500, 5: 700, 6: 700]
    var map = hall([[1, 1, 1, 1, 1, 1]], prices: prices)
    map.sell([1, 2])
    #expect(find(&map, [1], 500) == [3])
    #expect(find(&map, [2], 700) == [5])
    // The table of prices has changed since it was authorised: what was counts.
    #expect(find(&map, [2], 600) == nil && find(&map, [1, 2], 1_000) == nil)
    #expect(find(&map, [2], 500) == [4])
    #expect(find(&map, [1, 2], 1_200) == nil, "of 500 none is left")
    #expect(find(&map, [1], 700) == [6])
    #expect(map.counts == SeatMap.Counts(free: 0, held: 4, sold: 2))

    var row = hall([[2, 4]], prices: [1: 500, 2: 700, 3: 600, 4: 600, 5: 700, 6: 500])
    row.sell([1])
    #expect(find(&row, [1, 2], 1_200) == [5, 6], "not two of 600, though that is the same sum")
    var floor = floor(4, prices: [1: 500, 2: 700, 3: 700, 4: 500])
    floor.sell([1])
    #expect(find(&floor, [1], 500) == [4])
    #expect(find(&floor, [1], 500) == nil)
  }

  @Test("Own seats that are free come before anyone's other seats, whoever confirmed first")
  func ownFirst() {
    var map = hall([[1, 1, 1]])
    map.sell([1])
    var planner = ReservePlanner(map: map, head: 0)
    let decided = planner.decideLate([
      late(9, [1]), late(7, [1]), late(8, [2]), late(3, [1], takesOthers: false),
    ])
    let outcomes = Dictionary(uniqueKeysWithValues: decided.map { ($0.payment.position, $0.outcome) })
    #expect(outcomes == [8: .same, 9: .others([3]), 7: .refused, 3: .refused])
    #expect(planner.map.counts == SeatMap.Counts(free: 0, held: 2, sold: 1))
  }

  @Test("What was held for a block in vain hides nothing from those behind")
  func rollback() {
    // A block of two and a single one; there is a pair, and no single seat besides.
    var map = hall([[2, 1, 2]])
    map.sell([1, 2, 3])
    var planner = ReservePlanner(map: map, head: 0)
    let decided = planner.decideLate([late(1, [1, 2, 3]), late(2, [1, 2]), late(3, [3])])
    #expect(decided.map(\.outcome) == [.refused, .others([4, 5]), .refused])
  }

  @Test("Thousands look at each seat of a large hall about once; what one call leaves the next one decides")
  func bounded() {
    let rows = 400, seats = 250
    // Every third seat is of another price, so that no two of one price but those around it are together.
    var prices: [Int: Int] = [:]
    for id in stride(from: 3, through: rows * seats, by: 3) { prices[id] = 2_000 }
    var map = hall([Array(repeating: seats, count: rows)], prices: prices)
    map.sell([1, 2])
    var planner = ReservePlanner(map: map, head: 0)
    var waiting = (1...1_000).map { late($0, $0 % 2 == 0 ? [1, 2] : [1]) }
    var calls = 0, given = 0
    while !waiting.isEmpty {
      let decided = planner.decideLate(waiting, seatsSearched: 2_000)
      #expect(!decided.isEmpty, "each call goes on")
      given += decided.count { $0.outcome != .refused }
      let positions = Set(decided.map(\.payment.position))
      waiting.removeAll { positions.contains($0.position) }
      calls += 1
    }
    #expect(given == 1_000 && calls > 10)

    // None is left: the first of a kind looks at every seat, and nobody else at any.
    var search = OtherSeatsSearch()
    var full = hall([Array(repeating: seats, count: rows)], prices: prices)
    full.sell([1, 2])
    full.hold(Array(4...rows * seats).filter { prices[$0] == nil })
    for _ in 0..<1_000 { #expect(search.take(insteadOf: [1, 2], amount: 2_000, of: &full) == nil) }
    #expect(search.visited <= rows * seats + 2_000)
  }
}
