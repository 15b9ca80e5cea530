import Testing

@testable import LoadTest

@Suite("A buyer's plan")
struct BuyerPlanTests {
  private func options() -> LoadTestOptions {
    var options = LoadTestOptions()
    options.abandon = 0.1
    options.cancel = 0.2
    options.declined = 0.3
    options.doubleClick = 0.4
    options.namedSection = 0.5
    options.quantity = 1...4
    options.adjacent = 0.4
    options.takeFewer = 0.2
    return options
  }

  @Test("The same seed makes the same crowd, another one another")
  func reproducible() {
    var other = options()
    other.seed = 2
    let plans = (0..<500).map { BuyerPlan(buyer: $0, sections: 3, options()) }
    #expect(plans == (0..<500).map { BuyerPlan(buyer: $0, sections: 3, options()) })
    #expect(plans != (0..<500).map { BuyerPlan(buyer: $0, sections: 3, other) })
  }

  @Test("Shares come out as asked for")
  func shares() {
    let plans = (0..<20_000).map { BuyerPlan(buyer: $0, sections: 3, options()) }
    func share(_ condition: (BuyerPlan) -> Bool) -> Double { Double(plans.filter(condition).count) / 20_000 }
    func near(_ a: Double, _ b: Double) -> Bool { abs(a - b) < 0.015 }
    #expect(near(share { $0.behaviour == .abandons }, 0.1))
    #expect(near(share { $0.behaviour == .givesBack }, 0.1))
    #expect(near(share { if case .leavesLine = $0.behaviour { true } else { false } }, 0.1))
    #expect(near(share { $0.card != .good }, 0.3))
    #expect(near(share { $0.card == .declined }, 0.15))
    #expect(near(share(\.doubleClicks), 0.4))
    #expect(near(share(\.adjacent), 0.3), "of those who ask for several")
    #expect(near(share(\.takesFewer), 0.2))
    #expect(near(share { $0.section != nil }, 0.5))
    for quantity in 1...4 { #expect(near(share { $0.quantity == quantity }, 0.25)) }
  }
}
