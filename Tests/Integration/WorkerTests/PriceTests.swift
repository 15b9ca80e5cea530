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

@Suite("Prices that change while tickets are on sale")
@LoopActor
struct PriceTests {
  private func setPrice(_ sale: SaleFixture, _ price: Int) async throws -> (changed: Int, kept: Int) {
    let result = try await sale.events.setPrice(
      event: sale.event, .row(section: "A", row: nil, seats: []), price, by: "boss"
    ) { try await sale.queue.settings.barGrants(event: sale.event, ticketsVersion: $0) }
    if let settings = try await sale.events.settings(event: sale.event) {
      try await sale.events.publish(settings, to: sale.queue)
    }
    return result
  }

  @Test(
    "What is held keeps its price, what comes after has the new one, and all are charged what they were told")
  func kept() async throws {
    let sale = try await SaleFixture(tickets: 4)
    try await sale.startWorker()
    let before = try await sale.join("ann", 2)
    #expect(try await sale.wait(for: .reserved, before)?.amount == 2000)
    let result = try await setPrice(sale, 1500)
    #expect(result == (2, 2))
    let after = try await sale.join("bob", 2)
    #expect(try await sale.wait(for: .reserved, after)?.amount == 3000)
    #expect(try await sale.confirm(before, "ann") == .ok)
    #expect(try await sale.confirm(after, "bob") == .ok)
    try await sale.wait(for: .purchased, before)
    try await sale.wait(for: .purchased, after)
    let wrong = try await sale.postgres.query(
      """
      SELECT 1 FROM purchase p WHERE p.amount <> (SELECT sum(price) FROM ticket t WHERE t.id = ANY (p.tickets))
      """)
    #expect(wrong.isEmpty)
    await sale.end()
  }

  @Test("A rush in the midst of it is charged what its tickets cost")
  func rush() async throws {
    let sale = try await SaleFixture(tickets: 60, perUserLimit: 4)
    try await sale.startWorker()
    var positions: [Int] = []
    for number in 0..<60 {
      positions.append(try await sale.join("user-\(number)", method: "pm_1"))
      if number % 15 == 7 {
        do { _ = try await setPrice(sale, 1000 + number) } catch let error as StoreError
          where error.code == .conflict
        {}
      }
    }
    for position in positions { try await sale.wait(for: .purchased, position) }
    let wrong = try await sale.postgres.query(
      """
      SELECT 1 FROM purchase p WHERE p.amount <> (SELECT sum(price) FROM ticket t WHERE t.id = ANY (p.tickets))
      """)
    #expect(wrong.isEmpty)
    await sale.end()
  }
}
