import EventLoop
import Payments
import Postgres
import Sale
import Testing

@testable import Archive
@testable import Ledger
@testable import Queue
@testable import StoreCommon
@testable import Worker

@Suite("Events that are cancelled")
@LoopActor
struct CancelTests {
  private func cancel(_ sale: SaleFixture) async throws {
    let settings = try await sale.events.cancel(event: sale.event, reason: "The hall is flooded", by: "boss")
    try await sale.events.publish(settings, to: sale.queue)
  }

  private func done(_ sale: SaleFixture) async throws -> RefundStore.Cancellation? {
    try await sale.eventually("the cancellation's end") {
      try await sale.refunds.cancellation(event: sale.event)?.endedAt != nil
    }
    return try await sale.refunds.cancellation(event: sale.event)
  }

  private func given(_ sale: SaleFixture) -> Int { sale.provider.given.values.reduce(0) { $0 + $1.amount } }

  @Test("Everybody gets their money back once, holds and the line end, and nobody else can buy")
  func everybody() async throws {
    let sale = try await SaleFixture(tickets: 5)
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
    let sale = try await SaleFixture(tickets: 6)
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
    let sale = try await SaleFixture(tickets: 2)
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

  @Test(
    "Asked for again it gives back what is owed without tickets, too, and of halves the rest; nothing twice")
  func again() async throws {
    let sale = try await SaleFixture(tickets: 5)
    try await sale.startWorker()
    let ann = try await sale.join("ann", 2, method: "pm_1")
    try await sale.wait(for: .purchased, ann)
    let bob = try await sale.join("bob", method: "pm_1")
    try await sale.wait(for: .purchased, bob)
    try await sale.eventually("captured") {
      sale.provider.payments.values.allSatisfy { $0.status == .succeeded }
    }
    func payment(_ position: Int) async throws -> String {
      try #require(try await sale.purchase(position)?.progress.paymentID)
    }
    let (annPayment, bobPayment) = (try await payment(ann), try await payment(bob))
    // Bob's was given back at the provider, and Ann's one ticket here; the money of both comes back, and nobody takes it.
    sale.provider.given["re_bob"] = Refund(
      id: "re_bob", payment: bobPayment, amount: 1000, status: .succeeded, reference: nil)
    try await sale.refunds.note(payments: [bobPayment])
    let key = PurchaseKey(event: sale.event, generation: 1, position: ann)
    let ticket = try #require(try await sale.purchase(ann)?.tickets.first)
    let half = try await sale.refunds.request(.init(key, tickets: [ticket], releases: false), by: "boss")
      .refund
    try await sale.eventually("both are given back") {
      try await sale.postgres.query("SELECT 1 FROM refund WHERE state = 'succeeded'").count == 2
    }
    sale.provider.given["re_bob"]?.status = .failed
    sale.provider.given[half.id]?.status = .failed
    sale.provider.beforeRefund = { _ in throw PaymentError(code: .refused, message: "no", providerCode: "no")
    }
    try await sale.refunds.note(payments: [annPayment, bobPayment])
    try await sale.eventually("both are dead letters") { try await sale.refunds.deadCount() == 2 }

    try await cancel(sale)
    var end = try #require(try await done(sale))
    #expect(end.failed == 2 && end.refunded == 0 && end.left == 0, "\(end)")
    sale.provider.beforeRefund = { _ in }
    try await cancel(sale)
    end = try #require(try await done(sale))
    #expect(end.failed == 0 && end.refunded == 2 && end.left == 0 && end.amount == 3000, "\(end)")
    try await cancel(sale)
    end = try #require(try await done(sale))
    #expect(end.refunded == 2 && end.amount == 3000, "\(end)")
    let arrived = sale.provider.given.values.filter { !$0.hasFailed }
    #expect(arrived.filter { $0.payment == annPayment }.reduce(0) { $0 + $1.amount } == 2000)
    #expect(arrived.filter { $0.payment == bobPayment }.reduce(0) { $0 + $1.amount } == 1000)
    #expect(try await sale.refunds.deadCount() == 0)
    #expect(try await sale.soldTickets() == [])
    await sale.end()
  }

  @Test("A refund that is under way when its event is cancelled is one of those that are given back")
  func underWay() async throws {
    let sale = try await SaleFixture(tickets: 2)
    try await sale.startWorker()
    let ann = try await sale.join("ann", 2, method: "pm_1")
    try await sale.wait(for: .purchased, ann)
    try await sale.eventually("captured") {
      sale.provider.payments.values.allSatisfy { $0.status == .succeeded }
    }
    let ticket = try #require(try await sale.purchase(ann)?.tickets.first)
    var isAway = true
    sale.provider.afterRefund = { _ in
      if isAway { throw PaymentError(code: .outcomeUnknown, message: "away") }
    }
    let key = PurchaseKey(event: sale.event, generation: 1, position: ann)
    _ = try await sale.refunds.request(.init(key, tickets: [ticket], releases: true), by: "boss")
    try await sale.eventually("the provider has it") { sale.provider.given.count == 1 }
    try await cancel(sale)
    await #expect(throws: StoreError.self, "it is for the cancellation to give back the rest") {
      _ = try await sale.refunds.request(.init(key, tickets: [ticket], releases: true), by: "boss")
    }
    isAway = false
    let end = try #require(try await done(sale))
    #expect(end.refunded == 1 && end.left == 0)
    #expect(given(sale) == 2000 && sale.provider.given.count == 2)
    await sale.end()
  }
}
