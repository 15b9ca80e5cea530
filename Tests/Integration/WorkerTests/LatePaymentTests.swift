import EventLoop
import Foundation
import Payments
import Postgres
import Sale
import Store
import Testing

@testable import Worker

@Suite("Payments that were given up, and are authorised after all")
@LoopActor
struct LatePaymentTests {
  /// A sale whose provider processes payments for ever, and lets nobody cancel them meanwhile. They are given up soon.
  private func sale(tickets: Int, holdSeconds: Int, late: Int = 3_600) async throws -> SaleFixture {
    let sale = try await SaleFixture(tickets: tickets, holdSeconds: holdSeconds)
    sale.provider.authorised = .processing
    sale.provider.cancelsProcessing = false
    var limits = Worker.ProviderLimits()
    limits.paymentSeconds = 1
    limits.searchMilliseconds = 0
    limits.lateSeconds = late
    try await sale.startWorker(limits)
    return sale
  }

  @Test("The page goes on asking about exactly those that may be authorised after all")
  func words() throws {
    let page = URL(filePath: #filePath).appending(path: "../../../../Sources/Service/Web/Assets/line.js")
      .standardized
    let text = try String(contentsOf: page, encoding: .utf8)
    let list = try #require(text.firstMatch(of: /const undecided = new Set\(\[([^\]]*)\]\)/))
    #expect(Set(list.1.matches(of: /"(\w+)"/).map { String($0.1) }) == ConfirmationConsumer.undecided)
  }

  private func authorise(_ sale: SaleFixture) {
    for id in sale.provider.payments.keys where sale.provider.payments[id]?.status == .processing {
      sale.provider.payments[id]?.status = .requiresCapture
    }
  }

  /// Waits for the end of a hold whose payment was given up.
  private func expire(_ sale: SaleFixture, _ position: Int) async throws {
    try await sale.wait(for: .declined, position)
    try await sale.eventually("the hold is over") {
      try await sale.queue.record(event: sale.event, position: position)?.state == .declinedForGood
    }
  }

  private func waitAndRemind(for state: RequestState, _ sale: SaleFixture, _ position: Int) async throws {
    try await sale.eventually("it is \(state)") {
      try await sale.makeOutboxDue()
      try await sleep(milliseconds: 50)
      return try await sale.status(position)?.state == state
    }
  }

  private func nothingIsOpen(_ sale: SaleFixture, _ ended: [Payment.Status]) async throws {
    try await sale.eventually("nothing is open") {
      try await sale.makeOutboxDue()
      return sale.provider.payments.values.map(\.status.rawValue).sorted() == ended.map(\.rawValue).sorted()
    }
  }

  @Test("Who has the hold still has paid for it, once")
  func heldStill() async throws {
    let sale = try await sale(tickets: 1, holdSeconds: 60)
    let position = try await sale.join("ann", method: "pm_1")
    #expect(try await sale.wait(for: .declined, position)?.reason == "processing_timeout")
    authorise(sale)
    try await waitAndRemind(for: .purchased, sale, position)
    #expect(try await sale.soldTickets() == [1])
    try await nothingIsOpen(sale, [.succeeded])
    await sale.end()
  }

  @Test("After the hold it buys the same seats, where nobody else has them")
  func seatsAreFree() async throws {
    let sale = try await sale(tickets: 2, holdSeconds: 1)
    let position = try await sale.join("ann", 2, method: "pm_1")
    try await expire(sale, position)
    authorise(sale)
    try await waitAndRemind(for: .purchased, sale, position)
    #expect(try await sale.soldTickets() == [1, 2])
    #expect(try await sale.purchase(position)?.progress.state == .sold)
    try await nothingIsOpen(sale, [.succeeded])
    // The house is full, also for who asks now.
    let other = try await sale.queue.enqueue(
      event: sale.event, user: "bob", seats: RequestedSeats(quantity: 1), method: nil)
    if case .inLine(let place, _, _) = other {
      try await waitAndRemind(for: .soldOut, sale, place.position)
    }
    await sale.end()
  }

  @Test("Who waited in line has the seats: the payment is let go of, and its buyer told so")
  func lineComesFirst() async throws {
    let sale = try await sale(tickets: 1, holdSeconds: 1)
    let position = try await sale.join("ann", method: "pm_1")
    try await sale.wait(for: .declined, position)
    sale.provider.authorised = .requiresCapture
    let other = try await sale.join("bob", method: "pm_2")
    try await expire(sale, position)
    try await sale.wait(for: .purchased, other)
    authorise(sale)
    try await nothingIsOpen(sale, [.canceled, .succeeded])
    #expect(try await sale.status(position)?.state == .declined)
    #expect(try await sale.status(position)?.reason == "too_late")
    #expect(try await sale.purchase(position)?.progress.reason == "too_late")
    #expect(try await sale.purchase(other)?.progress.state == .sold)
    await sale.end()
  }

  @Test("All of its seats or none: of two of which one is somebody else's it buys nothing")
  func oneSeatIsGone() async throws {
    let sale = try await sale(tickets: 2, holdSeconds: 1)
    let position = try await sale.join("ann", 2, method: "pm_1")
    try await expire(sale, position)
    sale.provider.authorised = .requiresCapture
    let other = try await sale.join("bob", method: "pm_2")
    try await sale.wait(for: .purchased, other)
    authorise(sale)
    try await nothingIsOpen(sale, [.canceled, .succeeded])
    #expect(try await sale.status(position)?.reason == "too_late")
    #expect(try await sale.soldTickets().count == 1)
    await sale.end()
  }

  @Test("Who has bought otherwise since is not charged for both")
  func boughtSince() async throws {
    let sale = try await sale(tickets: 3, holdSeconds: 1)
    let position = try await sale.join("ann", method: "pm_1")
    try await expire(sale, position)
    sale.provider.authorised = .requiresCapture
    let again = try await sale.join("ann", method: "pm_2")
    try await sale.wait(for: .purchased, again)
    authorise(sale)
    try await nothingIsOpen(sale, [.canceled, .succeeded])
    #expect(try await sale.soldTickets().count == 1)
    #expect(try await sale.status(position)?.state == .declined)
    await sale.end()
  }

  @Test("After so long, and where that is not wanted, it is let go of")
  func never() async throws {
    let sale = try await sale(tickets: 1, holdSeconds: 60, late: 0)
    let position = try await sale.join("ann", method: "pm_1")
    try await sale.wait(for: .declined, position)
    authorise(sale)
    try await nothingIsOpen(sale, [.canceled])
    #expect(try await sale.soldTickets() == [])
    await sale.end()
  }

  private func configure(_ sale: SaleFixture, _ state: String, version: Int) async throws {
    try await sale.queue.configure(
      EventSettings(
        id: sale.event, generation: 1, state: state, queueLimit: 1_000_000, perUserLimit: 4,
        holdSeconds: 1, rate: nil, message: "", version: version), create: false)
  }

  /// A paused sale whose owner will be asked, once it goes on, about the payment of a hold that is over.
  private func waitingForOwner() async throws -> (SaleFixture, Int) {
    let sale = try await sale(tickets: 3, holdSeconds: 1)
    let position = try await sale.join("ann", method: "pm_1")
    try await expire(sale, position)
    try await configure(sale, "paused", version: 2)
    authorise(sale)
    try await sale.eventually("the owner is asked") {
      try await sale.makeOutboxDue()
      return try await sale.queue.latePayments(event: sale.event) == [position]
    }
    return (sale, position)
  }

  private func isToldTooLate(_ sale: SaleFixture, _ position: Int) async throws {
    try await sale.eventually("it is too late, in both") {
      try await sale.makeOutboxDue()
      let record = try await sale.queue.record(event: sale.event, position: position)
      let reason = try await sale.purchase(position)?.progress.reason
      return record?.state == .declinedForGood && record?.reason == "too_late" && reason == "too_late"
    }
  }

  @Test("Who buys otherwise while the owner is still to be asked is not charged for both")
  func boughtMeanwhile() async throws {
    let (sale, position) = try await waitingForOwner()
    let before = sale.provider.payments.count
    _ = try await sale.postgres.query(
      """
      INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method, payment_id,
        captured_at, sold_at) VALUES (\(sale.event), 1, 1000, 'ann', 'sold', 1, '{3}', 1000, 'EUR', 'pm_2', 'pi_other', now(), now())
      """)
    try await configure(sale, "open", version: 3)
    try await isToldTooLate(sale, position)
    try await nothingIsOpen(sale, [.canceled])
    #expect(sale.provider.payments.count == before, "and nothing else is ordered")
    #expect(try await sale.soldTickets() == [])
    await sale.end()
  }

  @Test(
    "What was let go of before the owner decides buys nothing: so long after the attempt, however new the entry"
  )
  func letGoBefore() async throws {
    let (sale, position) = try await waitingForOwner()
    _ = try await sale.postgres.query("UPDATE purchase SET tried_at = now() - interval '10 h'")
    _ = try await sale.postgres.query("UPDATE outbox SET created_at = now()")
    try await nothingIsOpen(sale, [.canceled])
    #expect(try await sale.purchase(position)?.progress.reason == "too_late")
    // The owner is not asked any more, and the buyer told so, though the sale is paused still.
    #expect(try await sale.queue.latePayments(event: sale.event) == [])
    #expect(try await sale.queue.record(event: sale.event, position: position)?.reason == "too_late")
    try await configure(sale, "open", version: 3)
    try await isToldTooLate(sale, position)
    #expect(try await sale.soldTickets() == [])
    await sale.end()
  }

  @Test(
    "What is not authorised any more when its payment is let go of waits for the owner no more, and is no late payment",
    arguments: [Payment.Status.canceled, .processing])
  func lapsedMeanwhile(_ status: Payment.Status) async throws {
    let (sale, position) = try await waitingForOwner()
    let id = try #require(sale.provider.payments.keys.first)
    sale.provider.payments[id]?.status = status
    sale.provider.cancelsProcessing = true
    try await sale.eventually("the owner is not asked any more") {
      try await sale.makeOutboxDue()
      return try await sale.queue.latePayments(event: sale.event) == []
    }
    try await nothingIsOpen(sale, [.canceled])
    #expect(
      try await sale.queue.record(event: sale.event, position: position)?.reason == "processing_timeout")
    await sale.end()
  }

  @Test("Whoever noted that it is let go of, and died, leaves nothing that waits for the owner")
  func notedAndDied() async throws {
    let (sale, position) = try await waitingForOwner()
    let key = PurchaseStore.Key(event: sale.event, generation: 1, position: position)
    #expect(try await sale.purchases.noteTooLate(key, attempt: 1))
    try await nothingIsOpen(sale, [.canceled])
    #expect(try await sale.queue.latePayments(event: sale.event) == [])
    #expect(try await sale.queue.record(event: sale.event, position: position)?.reason == "too_late")
    await sale.end()
  }

  @Test("Of letting go and taking up again, whichever is committed first counts")
  func fence() async throws {
    let sale = try await sale(tickets: 2, holdSeconds: 1)
    let position = try await sale.join("ann", method: "pm_1")
    try await expire(sale, position)
    await sale.stopWorkers()
    let payment = try #require(sale.provider.payments.keys.first)
    let key = PurchaseStore.Key(event: sale.event, generation: 1, position: position)
    func late(_ attempt: Int) -> QueueStore.Confirmation {
      QueueStore.Confirmation(
        entryID: nil, event: sale.event, generation: 1, position: position, attempt: attempt, tickets: [1],
        amount: 1000, method: "pm_1", user: "ann")
    }
    #expect(try await sale.purchases.reopen(late(2), payment: payment))
    #expect(try await !sale.purchases.noteTooLate(key, attempt: 1))
    #expect(try await sale.purchases.reopen(late(2), payment: payment), "again, and the same")
    #expect(try await sale.purchase(position)?.progress.state == .paying)
    _ = try await sale.purchases.settle([
      .init(key: key, user: "ann", attempt: 2, outcome: .declined, paymentID: payment, reason: "payment_busy")
    ])
    #expect(try await sale.purchases.noteTooLate(key, attempt: 2))
    #expect(try await sale.purchases.noteTooLate(key, attempt: 2))
    #expect(try await !sale.purchases.reopen(late(3), payment: payment))
    let progress = try #require(try await sale.purchase(position)?.progress)
    #expect(progress.state == .declined && progress.attempt == 2 && progress.reason == "too_late")
    // Nor where PostgreSQL has lost the purchase.
    _ = try await sale.postgres.query("DELETE FROM purchase")
    #expect(try await !sale.purchases.reopen(late(3), payment: payment))
    await sale.end()
  }

  @Test(
    "What a late payment has sold is not given back where PostgreSQL has forgotten that: a person is told")
  func olderDatabase() async throws {
    let sale = try await sale(tickets: 1, holdSeconds: 60)
    let position = try await sale.join("ann", method: "pm_1")
    try await sale.wait(for: .declined, position)
    authorise(sale)
    try await waitAndRemind(for: .purchased, sale, position)
    try await nothingIsOpen(sale, [.succeeded])
    let payment = try #require(sale.provider.payments.keys.first)
    _ = try await sale.postgres.query(
      "INSERT INTO webhook_endpoint (url, secret, made_by) VALUES ('https://shop.example', 'whsec_', 'test')")
    _ = try await sale.postgres.query("UPDATE ticket SET purchased = false, payment_id = NULL")
    _ = try await sale.postgres.query("DELETE FROM claim")
    _ = try await sale.postgres.query(
      """
      UPDATE purchase SET state = 'declined', try = 1, reason = 'processing_timeout', captured_at = NULL, sold_at = NULL
      """)
    let key = PurchaseStore.Key(event: sale.event, generation: 1, position: position)
    try await sale.purchases.add(PurchaseStore.OutboxEntry(key: key, kind: .cancel, paymentID: payment))
    try await sale.eventually("a person is told") {
      try await sale.makeOutboxDue()
      return try await !sale.postgres.query(
        """
        SELECT 1 FROM webhook_message WHERE type = 'audit.violation' AND data->>'kind' = 'capture_without_purchase'
          AND data->>'payment_id' = \(payment)
        """
      ).isEmpty
    }
    #expect(sale.provider.refunds.isEmpty)
    #expect(sale.provider.payments[payment]?.status == .succeeded)
    #expect(try await sale.purchase(position)?.progress.reason == "processing_timeout")
    await sale.end()
  }

  @Test("While the sale is paused nothing is decided, and when it goes on, it is")
  func paused() async throws {
    let (sale, position) = try await waitingForOwner()
    #expect(try await sale.status(position)?.state == .declined)
    try await configure(sale, "open", version: 3)
    try await waitAndRemind(for: .purchased, sale, position)
    try await nothingIsOpen(sale, [.succeeded])
    await sale.end()
  }
}
