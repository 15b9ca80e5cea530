import EventLoop
import Payments
import Postgres
import Sale
import Testing

@testable import Ledger
@testable import Queue
@testable import StoreCommon
@testable import Worker

@Suite("What organizers give back")
@LoopActor
struct RefundTests {
  /// A sale in which `ann` has bought so many tickets.
  private func sold(_ quantity: Int, of tickets: Int, perUserLimit: Int = 4) async throws -> (
    SaleFixture, Int
  ) {
    let sale = try await SaleFixture(tickets: tickets, perUserLimit: perUserLimit)
    try await sale.startWorker(limits)
    let position = try await sale.join("ann", quantity, method: "pm_1")
    try await sale.wait(for: .purchased, position)
    return (sale, position)
  }

  private var limits: Worker.ProviderLimits {
    var limits = Worker.ProviderLimits()
    limits.searchMilliseconds = 0
    return limits
  }

  private func captured(_ sale: SaleFixture) async throws {
    try await sale.eventually("captured") {
      try await !sale.postgres.query("SELECT 1 FROM purchase WHERE captured_at IS NOT NULL").isEmpty
    }
  }

  /// Everything was sold, and something has come back.
  private func reopened(_ sale: SaleFixture) async throws {
    try await sale.eventually("the sale goes on") {
      let document = try await sale.queue.reader.document(event: sale.event)
      return document?.isSoldOut == false && document?.free ?? 0 > 0
    }
  }

  private func wish(
    _ sale: SaleFixture, _ position: Int, _ tickets: [Int]? = nil, blocks: Bool = false, key: String? = nil
  )
    -> RefundStore.Wish
  {
    RefundStore.Wish(
      PurchaseKey(event: sale.event, generation: 1, position: position), tickets: tickets,
      releases: !blocks, idempotencyKey: key)
  }

  private func end(_ sale: SaleFixture, _ id: String) async throws -> RefundStore.Refund? {
    try await sale.eventually("the refund's end") {
      try await sale.refunds.find(event: sale.event, id: id)?.state != .requested
    }
    return try await sale.refunds.find(event: sale.event, id: id)
  }

  private func given(_ sale: SaleFixture) -> Int { sale.provider.given.values.reduce(0) { $0 + $1.amount } }

  @Test("A ticket of two: its money goes back once, it is sold again, and its user may buy another")
  func partly() async throws {
    let (sale, position) = try await sold(2, of: 2, perUserLimit: 2)
    try await captured(sale)
    let ticket = try #require(try await sale.purchase(position)?.tickets.first)
    let (refund, isNew) = try await sale.refunds.request(wish(sale, position, [ticket], key: "k"), by: "boss")
    #expect(isNew && refund.amount == 1000 && refund.state == .requested)
    let again = try await sale.refunds.request(wish(sale, position, [ticket], key: "k"), by: "boss")
    #expect(!again.isNew && again.refund.id == refund.id)
    #expect(try await end(sale, refund.id)?.state == .succeeded)
    #expect(given(sale) == 1000)
    // Its buyer is told, of this ticket alone.
    try await sale.eventually("the request says so") {
      try await sale.status(position)?.reason == "partly_refunded"
    }
    let status = try await sale.status(position)
    #expect(status?.state == .purchased && status?.tickets.count == 1 && status?.amount == 1000)
    // Sold again, to the same person, whom the limit would not let otherwise.
    try await reopened(sale)
    let next = try await sale.join("ann", 1, method: "pm_2")
    #expect(try await sale.wait(for: .purchased, next)?.tickets == [ticket])
    #expect(try await sale.soldTickets().count == 2)
    await sale.end()
  }

  @Test("All of it, to be blocked: nothing is left, and nobody gets the seats")
  func blocked() async throws {
    let (sale, position) = try await sold(2, of: 2)
    try await captured(sale)
    let refund = try await sale.refunds.request(wish(sale, position, blocks: true), by: "boss").refund
    #expect(try await end(sale, refund.id)?.state == .succeeded)
    #expect(given(sale) == 2000)
    try await sale.eventually("the request says so") { try await sale.status(position)?.reason == "refunded" }
    #expect(try await sale.soldTickets() == [])
    let rows = try await sale.postgres.query("SELECT count(*) AS n FROM ticket WHERE withheld = 'blocked'")
    #expect(try rows.first?.int("n") == 2)
    try await sale.eventually("nothing is free") {
      try await sale.queue.reader.document(event: sale.event)?.free == 0
    }
    await #expect(throws: StoreError.self) {
      _ = try await sale.refunds.request(wish(sale, position), by: "boss")
    }
    await sale.end()
  }

  @Test("Before its money was taken it is let go of, and never taken")
  func voided() async throws {
    let sale = try await SaleFixture(tickets: 1)
    sale.provider.onCapture = { _ in throw PaymentError(code: .unavailable, message: "away") }
    try await sale.startWorker(limits)
    let position = try await sale.join("ann", method: "pm_1")
    try await sale.wait(for: .purchased, position)
    let refund = try await sale.refunds.request(wish(sale, position), by: "boss").refund
    #expect(try await end(sale, refund.id)?.state == .succeeded)
    #expect(sale.provider.payments.values.map(\.status) == [.canceled])
    #expect(given(sale) == 0)
    try await sale.eventually("no capture is due") {
      try await sale.postgres.query("SELECT 1 FROM outbox").isEmpty
    }
    try await reopened(sale)
    let next = try await sale.join("bob")
    try await sale.wait(for: .reserved, next)
    await sale.end()
  }

  @Test("A part of what was not taken yet: taken first, then given back")
  func captureFirst() async throws {
    let sale = try await SaleFixture(tickets: 2)
    var mayCapture = false
    sale.provider.onCapture = { _ in
      if !mayCapture { throw PaymentError(code: .unavailable, message: "away") }
    }
    try await sale.startWorker(limits)
    let position = try await sale.join("ann", 2, method: "pm_1")
    try await sale.wait(for: .purchased, position)
    let refund = try await sale.refunds.request(wish(sale, position, [1]), by: "boss").refund
    mayCapture = true
    #expect(try await end(sale, refund.id)?.state == .succeeded)
    #expect(sale.provider.payments.values.map(\.amountCaptured) == [2000])
    #expect(given(sale) == 1000)
    await sale.end()
  }

  @Test("Whatever the provider says of it first, it is given back once")
  func onceThroughTrouble() async throws {
    let (sale, position) = try await sold(1, of: 1)
    try await captured(sale)
    var left = 3, calls = 0
    var names: Set<String> = []
    sale.provider.afterRefund = { order in
      calls += 1
      names.insert(order.key)
      left -= 1
      if left >= 0 {
        throw PaymentError(code: [.outcomeUnknown, .rateLimited, .unavailable][left], message: "later")
      }
    }
    let refund = try await sale.refunds.request(wish(sale, position), by: "boss").refund
    #expect(try await end(sale, refund.id)?.state == .succeeded)
    // What an earlier try has made is found before it is tried again, once the provider may have forgotten it.
    #expect((1...4).contains(calls) && names.count == 1 && given(sale) == 1000)
    await sale.end()
  }

  @Test("Another key only after one that failed for good")
  func nextKey() async throws {
    let (sale, position) = try await sold(1, of: 1)
    try await captured(sale)
    sale.provider.beforeRefund = { order in
      if order.attempt == 1 { throw PaymentError(code: .failed, message: "a failure that is replayed") }
    }
    let refund = try await sale.refunds.request(wish(sale, position), by: "boss").refund
    // Nothing of it may have come by the first second.
    #expect(try await end(sale, refund.id)?.state == .succeeded)
    #expect(given(sale) == 1000)
    await sale.end()
  }

  @Test("What the provider refuses leaves the tickets where they are, and may be asked for again")
  func refused() async throws {
    let (sale, position) = try await sold(1, of: 1)
    try await captured(sale)
    sale.provider.beforeRefund = { _ in
      throw PaymentError(code: .refused, message: "disputed", providerCode: "charge_disputed")
    }
    let refund = try await sale.refunds.request(wish(sale, position), by: "boss").refund
    let ended = try await end(sale, refund.id)
    #expect(ended?.state == .failed && ended?.reason == "charge_disputed")
    #expect(try await sale.soldTickets() == [1])
    #expect(try await sale.status(position)?.tickets == [1])
    sale.provider.beforeRefund = { _ in }
    let again = try await sale.refunds.request(wish(sale, position), by: "boss").refund
    #expect(try await end(sale, again.id)?.state == .succeeded)
    await sale.end()
  }

  @Test("Of what is free nothing is asked of the provider")
  func free() async throws {
    let sale = try await SaleFixture(tickets: 1)
    _ = try await sale.postgres.query("UPDATE ticket SET price = 0")
    try await sale.startWorker(limits)
    let position = try await sale.join("ann", method: "pm_1")
    try await sale.wait(for: .purchased, position)
    let refund = try await sale.refunds.request(wish(sale, position), by: "boss").refund
    #expect(try await end(sale, refund.id)?.state == .succeeded)
    #expect(sale.provider.given.isEmpty && sale.provider.payments.isEmpty)
    #expect(try await sale.soldTickets() == [])
    await sale.end()
  }

  @Test("Two refunds of the same tickets are one, and no more than was charged goes back")
  func neverTwice() async throws {
    let (sale, position) = try await sold(2, of: 2)
    await sale.stopWorkers()
    let first = try await sale.refunds.request(wish(sale, position, [1]), by: "boss").refund
    await #expect(throws: StoreError.self) {
      _ = try await sale.refunds.request(wish(sale, position, [1]), by: "boss")
    }
    let rest = try await sale.refunds.request(wish(sale, position), by: "boss").refund
    #expect(rest.tickets == [2])
    await #expect(throws: StoreError.self) {
      _ = try await sale.refunds.request(wish(sale, position), by: "boss")
    }
    try await sale.startWorker(limits)
    #expect(try await end(sale, first.id)?.state == .succeeded)
    #expect(try await end(sale, rest.id)?.state == .succeeded)
    #expect(given(sale) == 2000)
    await sale.end()
  }

  @Test("Who was told that everything is sold stays told so when something comes back")
  func soldOutStays() async throws {
    let sale = try await SaleFixture(tickets: 2)
    try await sale.startWorker(limits)
    let buyer = try await sale.join("ann", 2)
    try await sale.wait(for: .reserved, buyer)
    let others = try await [sale.join("bob", 2), sale.join("cid", 1), sale.join("dan", 2)]
    for other in others { try await sale.wait(for: .standby, other) }
    #expect(try await sale.confirm(buyer, "ann") == .ok)
    try await sale.wait(for: .purchased, buyer)
    for other in others { try await sale.wait(for: .soldOut, other) }
    let refund = try await sale.refunds.request(wish(sale, buyer, [1]), by: "boss").refund
    #expect(try await end(sale, refund.id)?.state == .succeeded)
    // One ticket is not enough for two, which ends the line of those who want two: of those who come now.
    try await sale.eventually("the sale goes on") {
      try await sale.queue.reader.document(event: sale.event)?.isSoldOut == false
    }
    let late = try await sale.join("eve", 2)
    #expect(try await sale.wait(for: .rejected, late)?.left == 1)
    for other in others { #expect(try await sale.status(other)?.state == .soldOut) }
    await sale.end()
  }

  @Test("Carried out again after a crash at any point, it is the same")
  func repeated() async throws {
    let (sale, position) = try await sold(1, of: 1)
    try await captured(sale)
    await sale.stopWorkers()
    let refund = try await sale.refunds.request(wish(sale, position), by: "boss").refund
    let made = try await sale.provider.refund(
      RefundOrder(
        reference: refund.id, payment: try #require(sale.provider.payments.keys.first), amount: 1000,
        currency: "EUR"))
    #expect(try await sale.refunds.succeed(refund, providerID: made.id))
    #expect(try await !sale.refunds.succeed(refund, providerID: made.id))
    // The worker that did so died before anybody was told.
    try await sale.startWorker(limits)
    try await sale.eventually("the request says so") { try await sale.status(position)?.reason == "refunded" }
    try await sale.eventually("nothing is left to do") {
      try await sale.postgres.query("SELECT 1 FROM refund WHERE available_at IS NOT NULL").isEmpty
    }
    #expect(given(sale) == 1000)
    try await reopened(sale)
    let next = try await sale.join("bob")
    try await sale.wait(for: .reserved, next)
    await sale.end()
  }

  // MARK: Failures

  private func refundCount(_ sale: SaleFixture, _ condition: SQL) async throws -> Int {
    try await sale.postgres.query("SELECT 1 FROM refund WHERE \(condition)").count
  }

  private func arrived(_ sale: SaleFixture) -> Int {
    sale.provider.given.values.reduce(0) { $0 + ($1.hasFailed ? 0 : $1.amount) }
  }

  private func books(_ sale: SaleFixture) async throws -> (charged: Int, refunded: Int, tickets: Int) {
    let rows = try await sale.postgres.query(
      "SELECT coalesce(charged, amount) AS charged, refunded, cardinality(tickets) AS tickets FROM purchase")
    let row = try #require(rows.first)
    return (try row.int("charged"), try row.int("refunded"), try row.int("tickets"))
  }

  @Test(
    "What a bank does not take is tried again, a named number of times; then it waits for a person, who resumes it"
  )
  func deadLetter() async throws {
    let (sale, position) = try await sold(1, of: 1)
    try await captured(sale)
    var names: [String] = []
    sale.provider.afterRefund = { order in
      if names.last != order.reference { names.append(order.reference) }
      sale.provider.given[order.reference]?.status = .failed
    }
    _ = try await sale.refunds.request(wish(sale, position), by: "boss")
    try await sale.eventually("a dead letter") { try await sale.refunds.deadCount() == 1 }
    #expect(names.count == 1 + RefundStore.tryLimit && Set(names).count == names.count)
    #expect(try await refundCount(sale, "state = 'failed'") == names.count)
    #expect(try await sale.soldTickets() == [1], "they stay the buyer's as long as nothing was given back")
    let dead = try #require(try await sale.refunds.dead(event: sale.event, limit: 10).first)
    #expect(dead.reason == "refund_failed" && dead.tries == RefundStore.tryLimit && dead.who == "boss")
    #expect(arrived(sale) == 0)
    sale.provider.afterRefund = { _ in }
    let next = try #require(try await sale.refunds.resume(dead, by: "clerk"))
    #expect(try await sale.refunds.resume(dead, by: "clerk") == nil, "once")
    #expect(try await end(sale, next)?.state == .succeeded)
    // PostgreSQL has lost that: it is given back under the name that the provider knows, and so once.
    _ = try await sale.postgres.query("DELETE FROM refund WHERE id = \(next)::uuid")
    _ = try await sale.postgres.query(
      "UPDATE purchase SET refunded = 0, charged = NULL, tickets = '{1}', amount = 1000")
    _ = try await sale.postgres.query(
      "UPDATE refund SET retried_by = NULL WHERE id = \(dead.id)::uuid")
    #expect(try await sale.refunds.resume(dead, by: "clerk") == next)
    #expect(try await end(sale, next)?.state == .succeeded)
    #expect(try await sale.refunds.deadCount() == 0)
    #expect(arrived(sale) == 1000)
    try await sale.eventually("the request says so") { try await sale.status(position)?.reason == "refunded" }
    await sale.end()
  }

  @Test(
    "Money that came back is given again by itself, once, whatever is said how often; the tickets stay given back"
  )
  func cameBack() async throws {
    let (sale, position) = try await sold(2, of: 2)
    try await captured(sale)
    let payment = try #require(sale.provider.payments.keys.first)
    let refund = try await sale.refunds.request(wish(sale, position, [1], blocks: true), by: "boss").refund
    #expect(try await end(sale, refund.id)?.state == .succeeded)
    sale.provider.given[refund.id]?.status = .failed
    for _ in 1...3 { try await sale.refunds.note(payments: [payment]) }
    try await sale.eventually("it is given again") { arrived(sale) == 1000 }
    try await sale.refunds.note(payments: [payment])
    try await sale.eventually("nothing is left to do") {
      let open = try await refundCount(sale, "available_at IS NOT NULL")
      let news = try await sale.postgres.query("SELECT 1 FROM payment_news")
      return open == 0 && news.isEmpty
    }
    let books = try await books(sale)
    #expect(books == (2000, 1000, 1))
    #expect(sale.provider.given.count == 2 && arrived(sale) == 1000)
    #expect(try await sale.refunds.find(event: sale.event, id: refund.id)?.retriedBy != nil)
    #expect(try await sale.refunds.deadCount() == 0)
    await sale.end()
  }

  @Test("That a refund failed while its worker had it is learned once the worker is through")
  func failedUnderWay() async throws {
    let (sale, position) = try await sold(1, of: 1)
    try await captured(sale)
    await sale.stopWorkers()
    let payment = try #require(sale.provider.payments.keys.first)
    let refund = try await sale.refunds.request(wish(sale, position), by: "boss").refund
    let seen = [RefundStore.Seen(id: "re_1", reference: refund.id, amount: 1000, hasFailed: true)]
    var found = try await sale.refunds.reconcile(refund.key, payment: payment, refunds: seen, disputes: [])
    #expect(found.isUnderWay && found.changes.isEmpty)
    // The worker heard of it before it failed.
    #expect(try await sale.refunds.succeed(refund, providerID: "re_1"))
    found = try await sale.refunds.reconcile(refund.key, payment: payment, refunds: seen, disputes: [])
    #expect(!found.isUnderWay && found.changes.count == 1)
    // The one that tries it again has another name: the first is never taken for it.
    found = try await sale.refunds.reconcile(refund.key, payment: payment, refunds: seen, disputes: [])
    #expect(!found.isUnderWay && found.changes.isEmpty)
    #expect(
      try await refundCount(sale, "state = 'requested' AND tries = 1 AND tickets = '{}' AND amount = 1000")
        == 1)
    let books = try await books(sale)
    #expect(books == (1000, 0, 0))
    await sale.end()
  }

  @Test(
    "A dead letter whose tickets were given back in another way gives nothing back, nor does one that was closed"
  )
  func notTwice() async throws {
    let (sale, position) = try await sold(2, of: 2)
    try await captured(sale)
    sale.provider.beforeRefund = { _ in throw PaymentError(code: .refused, message: "no", providerCode: "no")
    }
    let first = try await sale.refunds.request(wish(sale, position, [1]), by: "boss").refund
    _ = try await end(sale, first.id)
    let other = try await sale.refunds.request(wish(sale, position, [2]), by: "boss").refund
    _ = try await end(sale, other.id)
    sale.provider.beforeRefund = { _ in }
    let whole = try await sale.refunds.request(wish(sale, position), by: "boss").refund
    #expect(try await end(sale, whole.id)?.state == .succeeded)
    #expect(try await sale.refunds.deadCount() == 0, "the whole one has taken the place of both")
    for refund in [first, other] {
      #expect(try await sale.refunds.resume(refund, by: "boss") == nil)
      #expect(try await !sale.refunds.close(refund, by: "boss"))
    }
    #expect(arrived(sale) == 2000)
    await sale.end()
  }

  @Test(
    "What is in dispute is given back once its buyer has lost that, and never where their bank has it for good"
  )
  func disputed() async throws {
    for status in ["won", "lost"] {
      let (sale, position) = try await sold(1, of: 1)
      try await captured(sale)
      let payment = try #require(sale.provider.payments.keys.first)
      sale.provider.disputed = [
        Dispute(id: "du_1", payment: payment, amount: 1000, reason: "fraudulent", status: "needs_response")
      ]
      sale.provider.beforeRefund = { _ in
        throw PaymentError(code: .refused, message: "disputed", providerCode: "charge_disputed")
      }
      let refund = try await sale.refunds.request(wish(sale, position), by: "boss").refund
      #expect(try await end(sale, refund.id)?.state == .failed)
      sale.provider.beforeRefund = { _ in }
      sale.provider.disputed[0].status = status
      try await sale.refunds.note(payments: [payment])
      try await sale.eventually("its end is known") {
        let news = try await sale.postgres.query("SELECT 1 FROM payment_news")
        let known = try await sale.refunds.disputes(of: [refund.key])[refund.key]
        return news.isEmpty && known?.first?.status == status
      }
      if status == "won" {
        try await sale.eventually("it is given back") { try await sale.soldTickets().isEmpty }
        #expect(arrived(sale) == 1000)
      } else {
        let dead = try #require(try await sale.refunds.dead(limit: 1).first)
        let next = try #require(try await sale.refunds.resume(dead, by: "boss"))
        // The seats can be had back. The money is with the buyer already.
        #expect(try await end(sale, next)?.amount == 0)
        #expect(try await sale.soldTickets() == [] && arrived(sale) == 0)
      }
      await sale.end()
    }
  }

  @Test("Given back, sold again and given back once more, each buyer gets what they paid")
  func loops() async throws {
    let (sale, first) = try await sold(1, of: 1, perUserLimit: 1)
    var position = first
    for round in 1...4 {
      try await sale.eventually("captured") {
        sale.provider.payments.values.allSatisfy { $0.status == .succeeded }
          && sale.provider.payments.count == round
      }
      let refund = try await sale.refunds.request(wish(sale, position), by: "boss").refund
      #expect(try await end(sale, refund.id)?.state == .succeeded)
      await #expect(throws: StoreError.self) {
        _ = try await sale.refunds.request(wish(sale, position), by: "boss")
      }
      try await reopened(sale)
      position = try await sale.join("ann", method: "pm_1")
      try await sale.wait(for: .purchased, position)
    }
    #expect(arrived(sale) == 4000 && sale.provider.given.count == 4)
    #expect(try await sale.soldTickets() == [1])
    await sale.end()
  }
}
