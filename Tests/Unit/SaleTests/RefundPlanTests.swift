import Sale
import Testing

@Suite("How much is given back")
struct RefundPlanTests {
  private func plan(
    _ asked: [Int]?, charged: Int = 60, refunded: Int = 0, requested: Set<Int> = [], amount: Int = 0
  ) throws -> RefundPlan {
    try RefundPlan(
      asked: asked,
      of: RefundPlan.Account(
        owned: [1: 10, 2: 20, 3: 30], charged: charged, refunded: refunded, requested: requested,
        requestedAmount: amount))
  }

  @Test("All that is left, or the tickets that are named, for what they cost")
  func amounts() throws {
    #expect(try plan(nil).amount == 60)
    #expect(try plan([3, 1]) == plan([1, 3, 1]))
    #expect(try plan([3, 1]).amount == 40)
    #expect(try plan(nil, requested: [2], amount: 20).tickets == [1, 3])
  }

  @Test("Never more than is left of what was charged")
  func bounded() throws {
    #expect(try plan(nil, refunded: 15).amount == 45)
    #expect(try plan([3], refunded: 15, requested: [2], amount: 20).amount == 25)
    #expect(try plan(nil, charged: 0).amount == 0)
    #expect(try plan(nil, refunded: 99).amount == 0)
  }

  @Test("Money that came back after its tickets were given away is owed once more")
  func cameBack() throws {
    func rest(refunded: Int, requested: Int = 0) throws -> RefundPlan {
      try RefundPlan(
        asked: nil,
        of: RefundPlan.Account(owned: [:], charged: 60, refunded: refunded, requestedAmount: requested))
    }
    let plan = try rest(refunded: 20)
    #expect(plan.amount == 40 && plan.tickets.isEmpty)
    #expect(throws: RefundPlan.Problem.nothingLeft) { try rest(refunded: 60) }
    #expect(throws: RefundPlan.Problem.nothingLeft) { try rest(refunded: 20, requested: 40) }
  }

  @Test("Nobody else's tickets, and none twice")
  func refused() {
    #expect(throws: RefundPlan.Problem.notTheirs([9])) { try plan([1, 9]) }
    #expect(throws: RefundPlan.Problem.underWay([2])) { try plan([1, 2], requested: [2]) }
    #expect(throws: RefundPlan.Problem.nothingLeft) { try plan(nil, requested: [1, 2, 3]) }
  }

  @Test("What the buyer's bank has taken back for good is not given back once more")
  func lost() throws {
    var account = RefundPlan.Account(owned: [1: 10, 2: 20], charged: 30, refunded: 0, lost: 25)
    #expect(try RefundPlan(asked: nil, of: account).amount == 5)
    account.lost = 30
    #expect(try RefundPlan(asked: [1], of: account).amount == 0)
    account.owned = [:]
    #expect(throws: RefundPlan.Problem.nothingLeft) { try RefundPlan(asked: nil, of: account) }
  }

  @Test("Another try is of what is left of the first, and never of more than that was")
  func again() {
    var account = RefundPlan.Account(owned: [1: 10, 2: 20], charged: 60, refunded: 30)
    #expect(RefundPlan(again: [1, 2], amount: 30, of: account)?.amount == 30)
    #expect(RefundPlan(again: [1, 3], amount: 40, of: account)?.tickets == [1])
    #expect(RefundPlan(again: [3], amount: 30, of: account) == nil, "given back in another way")
    #expect(RefundPlan(again: [], amount: 20, of: account)?.amount == 20, "its money came back")
    account.requested = [1]
    account.requestedAmount = 10
    #expect(RefundPlan(again: [1], amount: 10, of: account) == nil)
    #expect(RefundPlan(again: [], amount: 30, of: account)?.amount == 20)
    account.refunded = 60
    #expect(RefundPlan(again: [], amount: 30, of: account) == nil)
  }
}
