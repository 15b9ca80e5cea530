import Onsale
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

private func arrival(_ position: Int, _ quantity: Int = 1, section: Int? = nil, tickets: [Int] = [])
  -> Arrival
{
  Arrival(
    position: position, user: "u\(position)",
    seats: RequestedSeats(quantity: quantity, section: section, tickets: tickets), method: nil)
}

private func kinds(_ plan: ReservePlanner.Plan) -> [String] {
  plan.decisions.map { decision in
    switch decision.outcome {
    case .granted: "\(decision.position) granted"
    case .standby: "\(decision.position) standby"
    case .soldOut: "\(decision.position) sold out"
    case .rejected(let reason): "\(decision.position) \(reason)"
    }
  }
}

@Suite("Deciding a batch")
struct ReservePlannerTests {
  @Test("Requests are granted in the order of their positions")
  func order() {
    var planner = ReservePlanner(map: map(2), standbys: [], head: 0)
    let plan = planner.plan([arrival(1), arrival(2), arrival(3)], grants: .max)
    #expect(kinds(plan) == ["1 granted", "2 granted", "3 standby"])
    #expect(planner.head == 3)
  }

  @Test("With nothing free and holds that may come back, one stands by and the rest stay in line")
  func oneStandby() {
    var planner = ReservePlanner(map: map(2, held: [1, 2]), standbys: [], head: 0)
    let plan = planner.plan((1...100).map { arrival($0) }, grants: .max)
    #expect(kinds(plan) == ["1 standby"])
    #expect(plan.isBlocked)
    #expect(plan.consumed == 1)
    #expect(planner.head == 1)
    let again = planner.plan([arrival(2)], grants: .max)
    #expect(kinds(again).isEmpty)
    #expect(again.isBlocked)
  }

  @Test("A standby is served before everyone behind it when seats come back")
  func standbyFirst() {
    var planner = ReservePlanner(map: map(2, held: [1, 2]), standbys: [], head: 0)
    _ = planner.plan([arrival(1), arrival(2)], grants: .max)
    planner.release([1])
    let plan = planner.plan([arrival(2)], grants: .max)
    #expect(kinds(plan) == ["1 granted", "2 standby"])
  }

  @Test("Nobody overtakes a standby for fewer seats of the same section")
  func noOvertaking() {
    var planner = ReservePlanner(map: map(3, held: [1, 2]), standbys: [], head: 0)
    let plan = planner.plan([arrival(1, 2), arrival(2, 1)], grants: .max)
    #expect(kinds(plan) == ["1 standby"])
    planner.sell([1, 2])
    #expect(kinds(planner.plan([arrival(2, 1)], grants: .max)) == ["1 sold out", "2 granted"])
  }

  @Test("A standby for one section does not keep those for another waiting")
  func otherSection() {
    var planner = ReservePlanner(map: map(1, 2, held: [1]), standbys: [], head: 0)
    let plan = planner.plan(
      [arrival(1, section: 1), arrival(2, section: 2), arrival(3, section: 1), arrival(4)], grants: .max)
    #expect(kinds(plan) == ["1 standby", "2 granted", "3 standby", "4 granted"])
    guard case .granted(let tickets, _) = plan.decisions[3].outcome else { return }
    #expect(tickets == [3], "the blocked section's seats are left to those who wait for them")
  }

  @Test("A request that nothing could satisfy is sold out while others go on")
  func soldOut() {
    var planner = ReservePlanner(map: map(1, 2, sold: [1]), standbys: [], head: 0)
    let plan = planner.plan([arrival(1, section: 1), arrival(2, 3), arrival(3)], grants: .max)
    #expect(kinds(plan) == ["1 sold out", "2 sold out", "3 granted"])
  }

  @Test("The operator's rate stops granting without blocking")
  func rate() {
    var planner = ReservePlanner(map: map(5), standbys: [], head: 0)
    let plan = planner.plan((1...5).map { arrival($0) }, grants: 2)
    #expect(kinds(plan) == ["1 granted", "2 granted"])
    #expect(!plan.isBlocked)
    #expect(kinds(planner.plan((3...5).map { arrival($0) }, grants: 2)) == ["3 granted", "4 granted"])
  }

  @Test("Seats of someone who left since they were read are free again")
  func skipped() {
    var planner = ReservePlanner(map: map(1), standbys: [], head: 0)
    let plan = planner.plan([arrival(1)], grants: .max)
    planner.settle(plan, skipped: [1])
    #expect(planner.map.counts.free == 1)
    #expect(kinds(planner.plan([arrival(2)], grants: .max)) == ["2 granted"])
  }

  @Test("A standby that leaves lets those behind it go on")
  func standbyLeaves() {
    var planner = ReservePlanner(map: map(3, held: [1, 2]), standbys: [], head: 0)
    _ = planner.plan([arrival(1, 2)], grants: .max)
    planner.leave(1)
    #expect(kinds(planner.plan([arrival(2)], grants: .max)) == ["2 granted"])
  }

  @Test("What this version cannot read waits for one that can, and blocks nobody")
  func unreadable() {
    var planner = ReservePlanner(map: map(2), standbys: [], head: 0)
    let unknown = Arrival(position: 1, user: "u1", seats: nil, method: nil)
    #expect(kinds(planner.plan([unknown, arrival(2)], grants: .max)) == ["1 standby", "2 granted"])
    #expect(planner.standbys.map(\.position) == [1])
  }

  @Test(
    "Whatever happens, no later request gets what an earlier one of the same kind was refused",
    arguments: 0..<40)
  func fairness(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let seats = Int.random(in: 1...12, using: &random)
    var planner = ReservePlanner(map: map(seats, seats), standbys: [], head: 0)
    var kind: [Int: RequestedSeats] = [:]
    var outcomes: [Int: String] = [:]
    var holds: [Int: [Int]] = [:]
    var line = (1...60).map { position in
      let arrival = arrival(
        position, Int.random(in: 1...3, using: &random),
        section: [nil, 1, 2].randomElement(using: &random) ?? nil)
      kind[position] = arrival.seats
      return arrival
    }
    for _ in 0..<400 {
      let plan = planner.plan(
        Array(line.prefix(Int.random(in: 0...8, using: &random))),
        grants: Bool.random(using: &random) ? .max : Int.random(in: 0...2, using: &random))
      line.removeFirst(plan.consumed)
      for decision in plan.decisions {
        switch decision.outcome {
        case .granted(let tickets, _):
          for held in holds.values { #expect(Set(held).isDisjoint(with: tickets), "seed \(seed)") }
          holds[decision.position] = tickets
          outcomes[decision.position] = "granted"
        case .soldOut:
          outcomes[decision.position] = "sold out"
        case .standby, .rejected: break
        }
        if case .granted = decision.outcome {
          let overtaken = outcomes.contains { position, outcome in
            outcome == "sold out" && position < decision.position && kind[position] == kind[decision.position]
          }
          #expect(!overtaken, "seed \(seed)")
        }
      }
      if let (position, tickets) = holds.randomElement(using: &random) {
        holds[position] = nil
        if Int.random(in: 0..<3, using: &random) == 0 {
          planner.sell(tickets)
        } else {
          planner.release(tickets)
        }
      }
    }
  }
}
