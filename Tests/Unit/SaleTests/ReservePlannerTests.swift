import Sale
import Testing

/// Two sections of general admission: 1 with `first` tickets from id 1, 2 with `second` tickets after them.
private func map(_ first: Int, _ second: Int = 0, held: [Int] = [], sold: [Int] = []) -> SeatMap {
  let tickets = (1...(first + second)).map { id in
    SeatMap.Ticket(id: id, section: id <= first ? 1 : 2, row: nil, seat: nil, rank: id, price: 1000)
  }
  return SeatMap(
    sections: [
      SeatMap.Section(id: 1, name: "A", price: 1000, rank: 1),
      SeatMap.Section(id: 2, name: "B", price: 1000, rank: 2),
    ], tickets: tickets, held: held, sold: sold)
}

/// Gives out positions, and lines to wishes, as the queue does.
private struct Line {
  private var numbers: [String: Int] = [:]
  private var counts: [Int: Int] = [:]
  private(set) var waiting: [Arrival] = []
  private(set) var tail = 0

  mutating func join(
    _ quantity: Int = 1, section: Int? = nil, tickets: [Int] = [], adjacent: Bool = false, atMost: Int? = nil
  ) -> Arrival {
    let seats = RequestedSeats(quantity: quantity, section: section, tickets: tickets, adjacent: adjacent)
    let wish = tickets.isEmpty ? seats.encoded : "t"
    let line = numbers[wish] ?? numbers.count + 1
    numbers[wish] = line
    counts[line, default: 0] += 1
    tail += 1
    let arrival = Arrival(
      position: tail, ordinal: counts[line] ?? 0, line: line, user: "u\(tail)", seats: seats, method: nil,
      maxAmount: atMost)
    waiting.append(arrival)
    return arrival
  }

  mutating func leave(_ positions: Set<Int>) { waiting.removeAll { positions.contains($0.position) } }
  mutating func end(_ line: Int) { waiting.removeAll { $0.line == line } }
}

/// What the grant loop does, without a store between: reads, plans, writes down.
private struct GrantLoop {
  var planner: ReservePlanner
  var line = Line()
  /// How every request ended, or what it holds.
  var outcomes: [Int: String] = [:]
  var held: [Int: [Int]] = [:]
  var passedOver: [Int] = []

  init(_ map: SeatMap) { planner = ReservePlanner(map: map, head: 0) }

  @discardableResult
  mutating func join(
    _ quantity: Int = 1, section: Int? = nil, tickets: [Int] = [], adjacent: Bool = false, atMost: Int? = nil
  ) -> Int {
    line.join(quantity, section: section, tickets: tickets, adjacent: adjacent, atMost: atMost).position
  }

  /// One batch. - Returns: what was decided, in order.
  @discardableResult
  mutating func step(batch: Int = 512, grants: Int = .max) -> [String] {
    for (number, after, atMost) in planner.unread {
      let entries = line.waiting.filter { $0.line == number && $0.position > after.position }
      planner.add(Array(entries.prefix(atMost)), to: number)
    }
    let behind = line.waiting.filter {
      $0.position > planner.head && planner.waiting[$0.line] == nil && $0.line != Arrival.alone
    }
    let arrivals = Array(behind.prefix(batch))
    let plan = planner.plan(
      arrivals, tail: arrivals.count == behind.count ? line.tail : nil, grants: grants)
    var said: [String] = []
    for decision in plan.decisions {
      switch decision.outcome {
      case .granted(let tickets, _):
        outcomes[decision.position] = "granted"
        held[decision.position] = tickets
      case .refused(let refusal): outcomes[decision.position] = refusal.reason
      }
      said.append("\(decision.position) \(outcomes[decision.position] ?? "")")
    }
    line.leave(Set(plan.decisions.map(\.position)))
    for end in plan.ends {
      for arrival in line.waiting where arrival.line == end.line {
        outcomes[arrival.position] = end.refusal.reason
        said.append("\(arrival.position) \(end.refusal.reason)")
      }
      line.end(end.line)
    }
    return said
  }

  /// Batches until nothing happens any more.
  @discardableResult
  mutating func rest() -> [String] {
    var said: [String] = []
    for _ in 0..<1_000 {
      let head = planner.head
      let more = step()
      if more.isEmpty && planner.head == head && !planner.isUnfinished { return said }
      said += more
    }
    Issue.record("no rest")
    return said
  }

  mutating func release(_ position: Int) { planner.release(held.removeValue(forKey: position) ?? []) }
  mutating func sell(_ position: Int) { planner.sell(held.removeValue(forKey: position) ?? []) }
}

@Suite("Deciding a batch")
struct ReservePlannerTests {
  @Test("Requests are granted in the order of their positions")
  func order() {
    var loop = GrantLoop(map(2))
    for _ in 0..<3 { loop.join() }
    #expect(loop.rest() == ["1 granted", "2 granted"])
    #expect(loop.planner.head == 3, "the head has passed over the third")
    #expect(loop.planner.waiting[1]?.served == LinePlace(position: 2, ordinal: 2))
  }

  @Test("What costs more than its buyer is ready to pay is refused, and free for the next")
  func maximum() {
    var loop = GrantLoop(map(2))
    loop.join(2, atMost: 1_999)
    loop.join(2, atMost: 2_000)
    #expect(loop.rest() == ["1 max_amount_exceeded", "2 granted"])
    // Those who wait, alone or in a line, and those who want exactly these seats.
    loop.join(atMost: 999)
    loop.join()
    loop.join(tickets: [2], atMost: 999)
    #expect(loop.rest() == ["5 seats_taken"])
    loop.release(2)
    #expect(loop.rest() == ["3 max_amount_exceeded", "4 granted"])
    loop.join(tickets: [2], atMost: 999)
    #expect(loop.rest() == ["6 max_amount_exceeded"])
    #expect(loop.planner.map.counts.free == 1)
  }

  @Test("Who waits for what others hold keeps those waiting who want the same, and nobody else")
  func nobodyBlocks() {
    var loop = GrantLoop(map(2, 2, held: [1, 2]))
    let first = loop.join(section: 1)
    for _ in 0..<100 { loop.join(section: 1) }
    let other = loop.join(section: 2), anywhere = loop.join()
    #expect(loop.rest() == ["\(other) granted", "\(anywhere) granted"])
    loop.planner.release([2])
    #expect(loop.rest() == ["\(first) granted"])
    loop.planner.release([1])
    #expect(loop.rest() == ["2 granted"])
  }

  @Test("Of those who wait, seats that come back go to the one who came first and whom they satisfy")
  func earliest() {
    var loop = GrantLoop(map(3, 1, held: [1, 2, 3, 4]))
    let pair = loop.join(2, section: 1), single = loop.join(section: 1), anywhere = loop.join()
    #expect(loop.rest() == [])
    loop.planner.release([1])
    #expect(loop.rest() == ["\(single) granted"], "two are not free")
    loop.planner.release([4])
    #expect(loop.rest() == ["\(anywhere) granted"])
    loop.planner.release([2, 3])
    #expect(loop.rest() == ["\(pair) granted"])
  }

  @Test("Exact seats that are not all free are refused at once, whoever waits for whatever")
  func exact() {
    var loop = GrantLoop(map(1, 3, held: [1]))
    let waits = loop.join(section: 1)
    let crafted = loop.join(tickets: [1, 2]), free = loop.join(tickets: [2, 3]), later = loop.join()
    #expect(loop.rest() == ["\(crafted) seats_taken", "\(free) granted", "\(later) granted"])
    #expect(loop.outcomes[waits] == nil)
  }

  @Test(
    "What can never be satisfied ends with its true reason, for everyone in the line, also beyond the head")
  func ends() {
    var loop = GrantLoop(map(1, 2, sold: [1]))
    loop.join(section: 1)
    loop.join(4)
    let fits = loop.join(2)
    for _ in 0..<600 { loop.join(section: 1) }
    loop.join(4)
    let said = loop.step(batch: 3)
    #expect(said.count == 1 + 2 + 601)
    #expect(said[0] == "\(fits) granted")
    #expect(loop.outcomes[1] == "section_sold_out")
    #expect(loop.outcomes[603] == "section_sold_out")
    #expect(loop.outcomes[604] == "only_n_left")
    #expect(loop.line.waiting.isEmpty)
  }

  @Test("A line that waits ends when others have bought what it waited for")
  func lateEnd() {
    var loop = GrantLoop(map(3, held: [1, 2]))
    loop.join(2)
    loop.join(2)
    #expect(loop.rest() == [])
    loop.planner.sell([1])
    #expect(loop.rest() == [], "a seat is free, and one may come back")
    loop.planner.sell([2])
    #expect(loop.rest() == ["1 only_n_left", "2 only_n_left"])
    loop.join()
    #expect(loop.rest() == ["3 granted"])
  }

  @Test("Enough seats that are nowhere side by side are not together, and say so")
  func notTogether() {
    let tickets = (1...4).map { id in
      SeatMap.Ticket(
        id: id, section: 1, row: id <= 2 ? "A" : "B", seat: String(id % 2 + 1), rank: id, price: 1)
    }
    let hall = SeatMap(
      sections: [SeatMap.Section(id: 1, name: "S", price: 1, rank: 1)], tickets: tickets)
    var loop = GrantLoop(hall)
    loop.join(3, adjacent: true)
    let apart = loop.join(3)
    #expect(loop.rest() == ["\(apart) granted", "1 not_together"])
  }

  @Test("Who keeps a place after the end of the line waits there alone, and before everyone who came later")
  func alone() throws {
    var loop = GrantLoop(map(3, held: [1, 2]))
    loop.join(2)
    #expect(loop.rest() == [])
    loop.planner.sell([1, 2])
    #expect(loop.rest() == ["1 only_n_left"])
    loop.planner.hold([3])
    loop.join()
    #expect(loop.rest() == [])
    loop.planner.add(
      alone: Arrival(
        position: 1, line: Arrival.alone, user: "u1", seats: RequestedSeats(quantity: 1), method: nil))
    #expect(loop.rest() == [])
    loop.planner.release([3])
    #expect(loop.rest() == ["1 granted"])
    #expect(loop.planner.alone.isEmpty)
  }

  @Test("Who keeps a place beyond the head is served when it is their turn, and not before")
  func aloneBeyondTheHead() {
    var loop = GrantLoop(map(1))
    loop.planner.add(
      alone: Arrival(
        position: 2, line: Arrival.alone, user: "u2", seats: RequestedSeats(quantity: 1), method: nil))
    loop.join()
    _ = loop.join()
    loop.line.leave([2])
    #expect(loop.rest() == ["1 granted"])
    loop.release(1)
    #expect(loop.rest() == ["2 granted"])
  }

  @Test("The operator's rate stops granting without passing anybody over")
  func rate() {
    var loop = GrantLoop(map(5))
    for _ in 0..<5 { loop.join() }
    #expect(loop.step(grants: 2) == ["1 granted", "2 granted"])
    #expect(loop.planner.head == 2)
    #expect(loop.step(grants: 2) == ["3 granted", "4 granted"])
  }

  @Test("Seats of someone who left since they were read are free again")
  func skipped() {
    var loop = GrantLoop(map(1))
    let arrival = loop.line.join()
    let plan = loop.planner.plan([arrival], tail: 1, grants: .max)
    #expect(plan.granted == 1)
    loop.planner.settle(plan, skipped: [1])
    loop.line.leave([1])
    #expect(loop.planner.map.counts.free == 1)
    loop.join()
    #expect(loop.rest() == ["2 granted"])
  }

  @Test("A line in which everybody has left is no line that waits any more")
  func emptied() {
    var loop = GrantLoop(map(1, held: [1]))
    loop.join()
    loop.join()
    #expect(loop.rest() == [])
    // A new owner knows where the line stands, and nobody in it.
    loop.planner = ReservePlanner(
      map: loop.planner.map, head: loop.planner.head,
      waiting: loop.planner.waiting.mapValues {
        ReservePlanner.WaitingLine(seats: $0.seats, served: $0.served)
      })
    loop.line.leave([1, 2])
    loop.planner.release([1])
    loop.join()
    #expect(loop.rest() == ["3 granted"])
    loop.release(3)
    #expect(loop.rest() == [])
    #expect(loop.planner.waiting.isEmpty)
  }

  @Test("What this version cannot read waits for one that can, and keeps nobody waiting")
  func unreadable() {
    var planner = ReservePlanner(map: map(2), head: 0)
    let unknown = Arrival(position: 1, ordinal: 1, line: 1, user: "u1", seats: nil, method: nil)
    let known = Arrival(
      position: 2, ordinal: 1, line: 2, user: "u2", seats: RequestedSeats(quantity: 1), method: nil)
    let plan = planner.plan([unknown, known], tail: 2, grants: .max)
    #expect(plan.decisions.map(\.position) == [2])
    #expect(plan.marks == [1: LinePlace(position: 0, ordinal: 0)])
  }

  @Test(
    "Whatever happens: nobody's seats are another's, no free seat waits for anybody, and nobody overtakes",
    arguments: 0..<60)
  func fairness(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let seats = Int.random(in: 1...12, using: &random)
    var loop = GrantLoop(map(seats, seats))
    var wish: [Int: (line: Int, seats: RequestedSeats)] = [:]
    var refused: [Int: Int] = [:]
    for _ in 0..<400 {
      if Int.random(in: 0..<3, using: &random) == 0 {
        let section = [nil, 1, 2].randomElement(using: &random) ?? nil
        let position = loop.join(Int.random(in: 1...3, using: &random), section: section)
        if let arrival = loop.line.waiting.last, let seats = arrival.seats {
          wish[position] = (arrival.line, seats)
        }
      }
      if Int.random(in: 0..<20, using: &random) == 0,
        let gone = loop.line.waiting.randomElement(using: &random)
      {
        loop.line.leave([gone.position])
      }
      if Int.random(in: 0..<30, using: &random) == 0 {
        // Another owner: it knows the map, the head and where lines stand.
        loop.planner = ReservePlanner(
          map: loop.planner.map, head: loop.planner.head,
          waiting: loop.planner.waiting.mapValues {
            ReservePlanner.WaitingLine(seats: $0.seats, served: $0.served)
          })
      }
      let before = loop.held
      let said =
        Bool.random(using: &random)
        ? loop.step(
          batch: Int.random(in: 1...8, using: &random), grants: Int.random(in: 1...3, using: &random))
        : loop.rest()
      for (position, tickets) in loop.held where before[position] == nil {
        for (other, theirs) in loop.held where other != position {
          #expect(Set(theirs).isDisjoint(with: tickets), "seed \(seed)")
        }
        let line = wish[position]?.line ?? 0
        #expect(
          position < refused[line] ?? .max, "seed \(seed): an earlier one of the same wish was told an end")
        let earlier = loop.line.waiting.filter { $0.line == line && $0.position < position }
        #expect(earlier.isEmpty, "seed \(seed): \(position) before \(earlier.map(\.position)), \(said)")
      }
      for (position, outcome) in loop.outcomes where outcome != "granted" {
        let line = wish[position]?.line ?? 0
        refused[line] = min(refused[line] ?? .max, position)
      }
      loop.rest()
      for arrival in loop.line.waiting {
        if let seats = arrival.seats {
          #expect(!loop.planner.map.canGrant(seats), "seed \(seed): \(arrival.position) waits for free seats")
        }
      }
      if let position = loop.held.keys.sorted().randomElement(using: &random) {
        if Int.random(in: 0..<3, using: &random) == 0 { loop.sell(position) } else { loop.release(position) }
      }
      if loop.planner.isSoldOut { return }
    }
  }
}
