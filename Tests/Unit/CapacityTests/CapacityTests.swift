import JSON
import Sale
import Testing

@testable import Capacity

@Suite("What a sale needs")
struct CapacityTests {
  private static let arena = SaleForecast.Demand(
    buyers: 1_000_000, seats: 70_000, arrivalSeconds: 60, grantsPerSecond: 78)

  @Test(
    "Everybody comes once, whoever is served buys, and the seats are enough for exactly them",
    arguments: [
      arena, .init(buyers: 10, seats: 100, arrivalSeconds: 5, grantsPerSecond: 100),
      .init(buyers: 500, seats: 30, arrivalSeconds: 600, grantsPerSecond: 1, tickets: 1, thinkSeconds: 0),
    ])
  func sums(demand: SaleForecast.Demand) {
    let forecast = SaleForecast(demand)
    #expect(abs(forecast.joins - Double(demand.buyers)) < 1)
    let served = min(Double(demand.buyers), (Double(demand.seats) / demand.tickets).rounded(.up))
    #expect(abs(forecast.purchases - served) < 1)
    #expect(forecast.lastAnswer >= forecast.lastGrant)
    #expect(forecast.seconds.allSatisfy { $0.waiting >= 0 && $0.polls >= 0 && $0.joins >= 0 })
  }

  @Test("A longer line asks no more often than one that is waiting its longest pause, and no less than that")
  func polls() {
    let forecast = SaleForecast(Self.arena)
    let policy = PollPolicy()
    let longest = Double(policy.longest) / 1_000
    let waiting = forecast.most(\.waiting)
    #expect(waiting > 900_000)
    #expect(forecast.most(\.polls) > waiting / longest * 0.9)
    // Those near the head are some thousands: four times the pace each second, and their logarithm.
    #expect(forecast.most(\.polls) < waiting / longest * 1.1 + 78 * 4 * 6 + 300)
  }

  @Test("What costs twice takes twice, and the tightest bound comes first")
  func costs() throws {
    let usual = CapacityPlan(Self.arena)
    var dear = CapacityCosts()
    dear.poll.server *= 2
    dear.join.server *= 2
    #expect(CapacityPlan(Self.arena, costs: dear).servers > usual.servers)
    #expect(usual.bounds.map(\.load) == usual.bounds.map(\.load).sorted(by: >))
    // 78 purchases a second are 156 requests, of 100.
    #expect(usual.bounds[0].name == "the provider's rate" && usual.bounds[0].load > 1.5)
    #expect(CapacityPlan(Self.arena, providerRate: 0).bounds.allSatisfy { $0.name != "the provider's rate" })
  }

  @Test("Measured costs replace what they name, and nothing else")
  func measured() throws {
    let costs = try CapacityCosts(measured: ["poll": ["server": 25], "redis_bytes_waiting": 61])
    var expected = CapacityCosts()
    expected.poll.server = 25
    expected.redisBytesWaiting = 61
    #expect(costs == expected)
    for wrong: JSON in [["pole": 1], ["poll": ["serve": 1]], ["poll": 3], ["poll": ["server": -1]], [1]] {
      #expect(throws: CapacityError.self) { try CapacityCosts(measured: wrong) }
    }
  }

  @Test("Options that are wrong, missing or unknown are told")
  func options() {
    let good = ["--buyers", "1000000", "--seats", "70000", "--minutes", "10"]
    #expect((try? PlanCommand.read(good))?.plan.demand.grantsPerSecond.rounded() == 78)
    for wrong in [
      [], Array(good.dropLast(2)), good + ["--minuets", "3"], good + ["--tickets", "0"], good + ["--tickets"],
      good + ["--seats", "many"], good + ["--measured", "/nowhere"], good + ["--seats", "inf"],
    ] {
      #expect(throws: CapacityError.self) { try PlanCommand.read(wrong) }
    }
  }
}
