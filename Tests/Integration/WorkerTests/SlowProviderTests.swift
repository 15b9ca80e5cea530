import EventLoop
import Payments
import Postgres
import Sale
import Testing

@testable import Ledger
@testable import Worker

@Suite("A provider that answers some calls slowly")
@LoopActor
struct SlowProviderTests {
  /// A call that is not answered until it is let go.
  private final class Slow {
    private(set) var isAsked = false
    var isOver = false

    func wait() async throws {
      isAsked = true
      while !isOver { try await sleep(milliseconds: 5) }
    }
  }

  private func add(_ sale: SaleFixture, _ id: String, _ status: Payment.Status = .requiresCapture) {
    sale.provider.payments[id] = Payment(
      id: id, status: status, amount: 1000, amountCaptured: 0, currency: "EUR", reference: id, created: 0)
  }

  @Test("One cancellation that takes long keeps no other from being made, in whichever round they are due")
  func outboxEntries() async throws {
    let sale = try await SaleFixture(tickets: 1)
    let slow = Slow()
    sale.provider.onCancel = { id in if id == "pi_slow" { try await slow.wait() } }
    try await sale.startWorker()
    func owe(_ id: String, _ position: Int) async throws {
      add(sale, id)
      try await sale.purchases.add(
        .init(key: .init(event: sale.event, generation: 1, position: position), kind: .cancel, paymentID: id))
    }
    try await owe("pi_slow", 70)
    try await sale.eventually("it is asked for") { slow.isAsked }
    for number in 1...3 {
      let id = "pi_\(number)"
      try await owe(id, 70 + number)
      try await sale.eventually("\(id) is cancelled") { sale.provider.payments[id]?.status == .canceled }
    }
    try await sale.eventually("and they are done") {
      try await sale.postgres.query("SELECT payment_id FROM outbox").map { try $0.string("payment_id") }
        == ["pi_slow"]
    }
    // Its lease ends meanwhile: it is not asked for a second time beside the first.
    try await sale.makeOutboxDue()
    try await sale.eventually("it was leased again") {
      try await sale.postgres.query("SELECT 1 FROM outbox WHERE attempts > 1").count == 1
    }
    #expect(sale.provider.payments["pi_slow"]?.status == .requiresCapture)
    slow.isOver = true
    try await sale.eventually("nothing is left") {
      try await sale.postgres.query("SELECT 1 FROM outbox").isEmpty
    }
    await sale.end()
  }

  @Test("One refund that takes long keeps nobody else from having their money back")
  func refunds() async throws {
    let sale = try await SaleFixture(tickets: 3)
    let slow = Slow()
    var slowOne = ""
    sale.provider.beforeRefund = { order in if order.payment == slowOne { try await slow.wait() } }
    try await sale.startWorker()
    var positions: [Int] = []
    for user in ["ann", "bob", "cid"] {
      let position = try await sale.join(user, method: "pm_1")
      try await sale.wait(for: .purchased, position)
      positions.append(position)
    }
    try await sale.eventually("captured") {
      try await sale.postgres.query("SELECT 1 FROM purchase WHERE captured_at IS NULL").isEmpty
    }
    slowOne = try #require(try await sale.purchase(positions[0])?.progress.paymentID)
    func giveBack(_ position: Int) async throws {
      _ = try await sale.refunds.request(
        .init(.init(event: sale.event, generation: 1, position: position), releases: true), by: "boss")
    }
    func isGivenBack(_ position: Int) async throws -> Bool {
      try await sale.postgres.query(
        "SELECT 1 FROM refund WHERE position = \(position) AND state = 'succeeded' AND available_at IS NULL"
      ).count == 1
    }
    try await giveBack(positions[0])
    try await sale.eventually("it is asked for") { slow.isAsked }
    for position in positions[1...] {
      try await giveBack(position)
      try await sale.eventually("others have theirs") { try await isGivenBack(position) }
    }
    #expect(try await !isGivenBack(positions[0]))
    slow.isOver = true
    try await sale.eventually("all have theirs") { try await isGivenBack(positions[0]) }
    #expect(sale.provider.given.count == 3)
    await sale.end()
  }

  @Test("News of one payment that cannot be had for long keep no other news waiting")
  func news() async throws {
    let sale = try await SaleFixture(tickets: 2)
    let slow = Slow()
    sale.provider.onRetrieve = { id in if id == "pi_slow" { try await slow.wait() } }
    try await sale.startWorker()
    let position = try await sale.join("ann", method: "pm_1")
    try await sale.wait(for: .purchased, position)
    try await sale.refunds.note(payments: ["pi_slow"])
    try await sale.eventually("it is asked for") { slow.isAsked }
    let payment = try #require(try await sale.purchase(position)?.progress.paymentID)
    sale.provider.given["re_1"] = Refund(
      id: "re_1", payment: payment, amount: 300, status: .succeeded, reference: nil)
    try await sale.refunds.note(payments: [payment])
    try await sale.eventually("others are learned") {
      try await sale.postgres.query("SELECT refunded FROM purchase").first?.int("refunded") == 300
    }
    slow.isOver = true
    try await sale.eventually("nothing is left to learn") {
      try await sale.postgres.query("SELECT 1 FROM payment_news").isEmpty
    }
    await sale.end()
  }
}
