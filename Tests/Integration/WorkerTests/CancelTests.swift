import EventLoop
import Payments
import Postgres
import Sale
import Testing

@testable import Store
@testable import Worker

@Suite("Events that are cancelled")
@LoopActor
struct CancelTests {
  private func cancel(_ sale: Sale) async throws {
    let settings = try await sale.events.cancel(event: sale.event, reason: "The hall is flooded", by: "boss")
    try await sale.events.publish(settings, to: sale.queue)
  }

  private func done(_ sale: Sale) async throws -> RefundStore.Cancellation? {
    try await sale.eventually("the cancellation's end") {
      try await sale.refunds.cancellation(event: sale.event)?.endedAt != nil
    }
    return try await sale.refunds.cancellation(event: sale.event)
  }

  private func given(_ sale: Sale) -> Int { sale.provider.given.values.reduce(0) { $0 + $1.amount } }

  @Test("Everybody gets their money back once, holds and the line end, and nobody else can buy")
  func everybody() async throws {
    let sale = try await Sale(tickets: 5)
    try await sale.startWorker()
    let buyers = try await [sale.join("ann", 2, method: "pm_1"), sale.join("bob", method: "pm_1")]
    for buyer in buyers { try await sale.wait(for: .purchased, buyer) }
    let held = try await sale.join("cid", 2)
    try await sale.wait(for: .reserved, held)
    let waiting = try await sale.join("dan", 1)
    try await cancel(sale)
    // Its seats are everybody's no more: neither paid for nor waited for.
    try await sale.eventually("the confirm is refused") {
      do {
        let answer = try await sale.confirm(held, "cid")
        return answer == .closed || answer == .expired
      } catch let error as StoreError where error.code == .noQueue { return true }
    }
    let end = try #require(try await done(sale))
    #expect(end.refunded == 2 && end.amount == 3000 && end.failed == 0 && end.left == 0)
    #expect(given(sale) == 3000 && sale.provider.given.count == 2)
    #expect(try await sale.soldTickets() == [])
    let past = PastRequests(sale.postgres)
    func told(_ position: Int, _ user: String) async throws -> RequestStatus? {
      try await past.status(
        .init(event: sale.event, generation: 1, position: position), owner: UserKey(user).text)
    }
    #expect(try await told(held, "cid")?.reason == "event_cancelled")
    #expect(try await told(waiting, "dan")?.reason == "event_cancelled")
    let bought = try await told(buyers[0], "ann")
    #expect(bought?.state == .purchased && bought?.reason == "refunded" && bought?.tickets == [])
    await sale.end()
  }

  @Test("It goes on where a worker that died has left off, and gives nobody anything twice")
  func resumed() async throws {
    let sale = try await Sale(tickets: 6)
    try await sale.startWorker()
    var buyers: [Int] = []
    for name in ["ann", "bob", "cid", "dan", "eve", "fay"] {
      buyers.append(try await sale.join(name, method: "pm_1"))
    }
    for buyer in buyers { try await sale.wait(for: .purchased, buyer) }
    var calls = 0
    sale.provider.afterRefund = { _ in
      calls += 1
      if calls > 2 { throw PaymentError(code: .outcomeUnknown, message: "away") }
    }
    try await cancel(sale)
    try await sale.eventually("some are given back") { sale.provider.given.count >= 3 }
    await sale.stopWorkers()
    sale.provider.afterRefund = { _ in }
    try await sale.startWorker()
    #expect(try await done(sale)?.refunded == 6)
    #expect(given(sale) == 6000)
    await sale.end()
  }

  @Test("What the provider refuses is told, and tried again when it is asked for again")
  func failed() async throws {
    let sale = try await Sale(tickets: 2)
    try await sale.startWorker()
    let buyers = try await [sale.join("ann", method: "pm_1"), sale.join("bob", method: "pm_1")]
    for buyer in buyers { try await sale.wait(for: .purchased, buyer) }
    try await sale.eventually("captured") {
      sale.provider.payments.values.allSatisfy { $0.status == .succeeded }
    }
    var refused: String?
    sale.provider.beforeRefund = { order in
      if refused == nil || refused == order.payment {
        refused = order.payment
        throw PaymentError(code: .refused, message: "disputed", providerCode: "charge_disputed")
      }
    }
    try await cancel(sale)
    var end = try await done(sale)
    #expect(end?.refunded == 1 && end?.failed == 1)
    sale.provider.beforeRefund = { _ in }
    try await cancel(sale)
    end = try await done(sale)
    #expect(end?.refunded == 2 && end?.failed == 0 && given(sale) == 2000)
    await sale.end()
  }
}
