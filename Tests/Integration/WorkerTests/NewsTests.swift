import EventLoop
import Payments
import Postgres
import Sale
import Testing

@testable import Ledger
@testable import Queue
@testable import Worker

@Suite("What happens to payments at the provider")
@LoopActor
struct NewsTests {
  /// A sale in which `ann` has bought two tickets, and her payment.
  private func sold(newsMilliseconds: Int = 60_000) async throws -> (
    SaleFixture, position: Int, payment: String
  ) {
    let sale = try await SaleFixture(tickets: 2)
    var patience = Worker.Patience()
    patience.newsMilliseconds = newsMilliseconds
    try await sale.startWorker(patience: patience)
    let position = try await sale.join("ann", 2, method: "pm_1")
    try await sale.wait(for: .purchased, position)
    try await sale.eventually("captured") {
      try await !sale.postgres.query("SELECT 1 FROM purchase WHERE captured_at IS NOT NULL").isEmpty
    }
    return (sale, position, try #require(sale.provider.payments.keys.first))
  }

  private func giveBack(_ sale: SaleFixture, _ payment: String, _ amount: Int, _ id: String) {
    sale.provider.given[id] = Refund(
      id: id, payment: payment, amount: amount, status: .succeeded, reference: nil)
  }

  private func books(_ sale: SaleFixture) async throws -> (charged: Int, refunded: Int, tickets: Int) {
    let rows = try await sale.postgres.query(
      "SELECT coalesce(charged, amount) AS charged, refunded, cardinality(tickets) AS tickets FROM purchase")
    let row = try #require(rows.first)
    return (try row.int("charged"), try row.int("refunded"), try row.int("tickets"))
  }

  @Test("A whole refund made there takes the tickets, and blocks them; said twice, and late, it is the same")
  func whole() async throws {
    let (sale, position, payment) = try await sold()
    giveBack(sale, payment, 2000, "re_1")
    for _ in 0..<3 { try await sale.refunds.note(payments: [payment]) }
    try await sale.eventually("the buyer is told") { try await sale.status(position)?.reason == "refunded" }
    try await sale.refunds.note(payments: [payment])
    try await sale.eventually("nothing is left to learn") {
      try await sale.postgres.query("SELECT 1 FROM payment_news").isEmpty
    }
    let books = try await books(sale)
    #expect(books == (2000, 2000, 0))
    #expect(try await sale.postgres.query("SELECT 1 FROM refund").count == 1)
    let blocked = try await sale.postgres.query("SELECT 1 FROM ticket WHERE withheld = 'blocked'")
    #expect(blocked.count == 2)
    await sale.end()
  }

  @Test(
    "A part given back there counts, and leaves the tickets; what is given back here is never more than is left"
  )
  func part() async throws {
    let (sale, position, payment) = try await sold()
    giveBack(sale, payment, 300, "re_1")
    try await sale.refunds.note(payments: [payment])
    try await sale.eventually("it is written down") { try await books(sale).refunded == 300 }
    #expect(try await sale.purchase(position)?.tickets.count == 2)
    let refund = try await sale.refunds.request(
      .init(.init(event: sale.event, generation: 1, position: position), releases: true), by: "boss"
    ).refund
    #expect(refund.amount == 1700)
    try await sale.eventually("the refund's end") { try await books(sale).refunded == 2000 }
    await sale.end()
  }

  @Test("One whose message was lost is found all the same, and one that comes back is taken off")
  func lostMessage() async throws {
    let (sale, _, payment) = try await sold(newsMilliseconds: 200)
    giveBack(sale, payment, 500, "re_1")
    try await sale.eventually("it is found") { try await books(sale).refunded == 500 }
    sale.provider.given["re_1"]?.status = .failed
    try await sale.refunds.note(payments: [payment])
    try await sale.eventually("it came back") { try await books(sale).refunded == 0 }
    await sale.end()
  }

  @Test("A dispute is known as it stands, in whatever order one hears of it")
  func dispute() async throws {
    let (sale, position, payment) = try await sold()
    let key = PurchaseKey(event: sale.event, generation: 1, position: position)
    func status() async throws -> String? { try await sale.refunds.disputes(of: [key])[key]?.first?.status }
    sale.provider.disputed = [
      Dispute(id: "du_1", payment: payment, amount: 2000, reason: "fraudulent", status: "needs_response")
    ]
    try await sale.refunds.note(payments: [payment])
    try await sale.eventually("it is known") { try await status() == "needs_response" }
    sale.provider.disputed[0].status = "won"
    try await sale.refunds.note(payments: [payment])
    try await sale.eventually("its end is known") { try await status() == "won" }
    #expect(try await sale.postgres.query("SELECT 1 FROM dispute").count == 1)
    await sale.end()
  }

  @Test("News of somebody else's payment, or of none, is nobody's concern")
  func strangers() async throws {
    let (sale, _, _) = try await sold()
    sale.provider.payments["pi_other"] = Payment(
      id: "pi_other", status: .succeeded, amount: 1, amountCaptured: 1, currency: "EUR", reference: nil,
      created: 0)
    try await sale.refunds.note(payments: ["pi_other", "pi_nothing"])
    try await sale.eventually("nothing is left to learn") {
      try await sale.postgres.query("SELECT 1 FROM payment_news").isEmpty
    }
    #expect(try await sale.postgres.query("SELECT 1 FROM refund").isEmpty)
    await sale.end()
  }
}
