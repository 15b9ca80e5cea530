import EventLoop
import Ledger
import Payments
import Postgres
import Sale
import Testing

@testable import Queue
@testable import Worker

@Suite("Payments that do not just succeed or fail")
@LoopActor
struct HardPaymentTests {
  private static func limits(wait: Int = 600, key: Int = 82_800, search: Int = 0) -> Worker.ProviderLimits {
    var limits = Worker.ProviderLimits()
    limits.paymentSeconds = wait
    limits.misconfiguredSeconds = wait
    limits.keySeconds = key
    limits.searchMilliseconds = search
    // What is authorised after all is `LatePaymentTests`' concern.
    limits.lateSeconds = 0
    limits.lapsedSeconds = 0
    return limits
  }

  private func outboxEntries(_ sale: SaleFixture) async throws -> Int {
    try await sale.postgres.query("SELECT count(*) AS count FROM outbox").first?.int("count") ?? -1
  }

  @Test("A payment that is processed is asked for by its id, not made again, and sells when it is authorised")
  func processing() async throws {
    let sale = try await SaleFixture(tickets: 1)
    sale.provider.authorised = .processing
    var made = 0
    sale.provider.beforeAuthorising = { _ in made += 1 }
    try await sale.startWorker(Self.limits())
    let position = try await sale.join("ann", method: "pm_1")
    var id: String?
    try await sale.eventually("the payment's id is written down") {
      id = try await sale.purchase(position)?.progress.paymentID
      return id != nil
    }
    #expect(try await sale.status(position)?.state == .confirming)
    sale.provider.payments[try #require(id)]?.status = .requiresCapture
    try await sale.wait(for: .purchased, position)
    #expect(made == 1)
    try await sale.eventually("captured") { sale.provider.payments.values.map(\.status) == [.succeeded] }
    await sale.end()
  }

  @Test("A payment that nobody decides has an end: declined with its reason, and cancelled")
  func timeout() async throws {
    let sale = try await SaleFixture(tickets: 1)
    sale.provider.authorised = .processing
    try await sale.startWorker(Self.limits(wait: 1))
    let position = try await sale.join("ann", method: "pm_1")
    #expect(try await sale.wait(for: .declined, position)?.reason == "processing_timeout")
    try await sale.eventually("nothing is open") {
      sale.provider.payments.values.map(\.status) == [.canceled]
    }
    // Its tickets are still its buyer's, who pays otherwise.
    sale.provider.authorised = .requiresCapture
    #expect(try await sale.confirm(position, "ann", "pm_2") == .ok)
    try await sale.wait(for: .purchased, position)
    await sale.end()
  }

  @Test(
    "Whatever the provider answers for ever, the payment ends",
    arguments: [
      (PaymentError.Code.rateLimited, "payments_busy"), (.misconfigured, "payments_unavailable"),
      (.outcomeUnknown, "payment_unknown"), (.unavailable, "payment_unknown"),
      (.otherOrder, "payment_unknown"),
      (.invalid, "payment_unknown"),
    ])
  func forEver(_ code: PaymentError.Code, _ reason: String) async throws {
    let sale = try await SaleFixture(tickets: 1)
    sale.provider.beforeAuthorising = { _ in throw PaymentError(code: code, message: "always") }
    try await sale.startWorker(Self.limits(wait: 1))
    let position = try await sale.join("ann", method: "pm_1")
    #expect(try await sale.wait(for: .declined, position)?.reason == reason)
    try await sale.eventually("nothing is left to be done") {
      try await sale.makeOutboxDue()
      return try await outboxEntries(sale) == 0
    }
    await sale.end()
  }

  @Test("What was made while the provider was silent is found when it is given up, and counts")
  func silentSuccess() async throws {
    let sale = try await SaleFixture(tickets: 1)
    sale.provider.afterAuthorising = { _ in throw PaymentError(code: .outcomeUnknown, message: "lost") }
    try await sale.startWorker(Self.limits(wait: 1))
    let position = try await sale.join("ann", method: "pm_1")
    try await sale.wait(for: .purchased, position)
    #expect(sale.provider.payments.count == 1)
    await sale.end()
  }

  @Test("What is found only after it was given up is cancelled")
  func foundLater() async throws {
    let sale = try await SaleFixture(tickets: 1)
    sale.provider.afterAuthorising = { _ in throw PaymentError(code: .outcomeUnknown, message: "lost") }
    var isAway = true
    sale.provider.onFind = {
      if isAway { throw PaymentError(code: .unavailable, message: "away") }
    }
    try await sale.startWorker(Self.limits(wait: 1))
    let position = try await sale.join("ann", method: "pm_1")
    try await sale.wait(for: .declined, position)
    #expect(sale.provider.payments.values.map(\.status) == [.requiresCapture])
    isAway = false
    try await sale.makeOutboxDue()
    try await sale.eventually("nothing is open") {
      sale.provider.payments.values.map(\.status) == [.canceled]
    }
    await sale.end()
  }

  @Test("Under a key that the provider has forgotten nothing is made again")
  func forgottenKey() async throws {
    let sale = try await SaleFixture(tickets: 2)
    var made = 0
    sale.provider.beforeAuthorising = { _ in made += 1 }
    try await sale.startWorker(Self.limits(key: 0))
    let position = try await sale.join("ann", method: "pm_1")
    #expect(try await sale.wait(for: .declined, position)?.reason == "processing_error")
    #expect(made == 0)
    await sale.end()
  }

  @Test("A card that was declined leaves nothing open")
  func declined() async throws {
    let sale = try await SaleFixture(tickets: 1)
    sale.provider.authorised = .requiresAction
    try await sale.startWorker(Self.limits())
    let position = try await sale.join("ann", method: "pm_1")
    #expect(try await sale.wait(for: .declined, position)?.reason == "authentication_required")
    try await sale.eventually("nothing is open") {
      sale.provider.payments.values.map(\.status) == [.canceled]
    }
    await sale.end()
  }

  @Test("Money that was taken for nothing is given back")
  func takenForNothing() async throws {
    let sale = try await SaleFixture(tickets: 1)
    sale.provider.authorised = .requiresAction
    // Somebody takes it, at the provider's dashboard, before it is cancelled.
    sale.provider.afterAuthorising = { [provider = sale.provider] order in
      provider.payments["pi_" + order.reference]?.status = .succeeded
    }
    try await sale.startWorker(Self.limits())
    let position = try await sale.join("ann", method: "pm_1")
    try await sale.wait(for: .declined, position)
    try await sale.eventually("it is given back") { sale.provider.refunds.count == 1 }
    await sale.end()
  }

  @Test("Who bought what could not be taken has the tickets for another hold, and pays otherwise")
  func lapsedAndPaid() async throws {
    let sale = try await SaleFixture(tickets: 1)
    sale.provider.onCapture = { [provider = sale.provider] id in provider.payments[id]?.status = .canceled }
    try await sale.startWorker(Self.limits())
    let position = try await sale.join("ann", method: "pm_1")
    try await sale.wait(for: .purchased, position)
    sale.provider.onCapture = { _ in }
    try await sale.makeOutboxDue()
    #expect(try await sale.wait(for: .declined, position)?.reason == "authorisation_lapsed")
    #expect(try await sale.soldTickets() == [])
    try await sale.eventually("the line takes people in again") {
      try await sale.queue.reader.document(event: sale.event)?.isSoldOut == false
    }
    // The seats are nobody else's meanwhile.
    let other = try await sale.join("bob")
    try await sale.wait(for: .standby, other)
    #expect(try await sale.confirm(position, "ann", "pm_2") == .ok)
    try await sale.wait(for: .purchased, position)
    #expect(try await sale.soldTickets() == [1])
    try await sale.eventually("paid once") {
      sale.provider.payments.values.map(\.status.rawValue).sorted() == ["canceled", "succeeded"]
    }
    #expect(try await sale.wait(for: .soldOut, other) != nil)
    await sale.end()
  }

  @Test(
    "What a later payment has bought, which PostgreSQL has forgotten, is not taken back for the one before")
  func lapsedBefore() async throws {
    let sale = try await SaleFixture(tickets: 1)
    sale.provider.onCapture = { [provider = sale.provider] id in provider.payments[id]?.status = .canceled }
    try await sale.startWorker(Self.limits())
    let position = try await sale.join("ann", method: "pm_1")
    try await sale.wait(for: .purchased, position)
    let first = try #require(try await sale.purchase(position)?.progress.paymentID)
    sale.provider.onCapture = { _ in }
    try await sale.makeOutboxDue()
    try await sale.wait(for: .declined, position)
    #expect(try await sale.confirm(position, "ann", "pm_2") == .ok)
    try await sale.wait(for: .purchased, position)
    try await sale.eventually("it is captured") {
      try await sale.postgres.query("SELECT 1 FROM outbox").isEmpty
    }
    _ = try await sale.postgres.query(
      "INSERT INTO webhook_endpoint (url, secret, made_by) VALUES ('https://shop.example', 'whsec_', 'test')")
    _ = try await sale.postgres.query(
      "UPDATE purchase SET try = 1, payment_id = \(first), captured_at = NULL, lapsed_at = NULL")
    _ = try await sale.postgres.query("UPDATE ticket SET payment_id = \(first)")
    let key = PurchaseKey(event: sale.event, generation: 1, position: position)
    try await sale.purchases.add(OutboxEntry(key: key, kind: .capture, paymentID: first))
    try await sale.eventually("a person is told") {
      try await sale.makeOutboxDue()
      return try await !sale.postgres.query(
        """
        SELECT 1 FROM webhook_message WHERE type = 'audit.violation' AND data->>'kind' = 'sale_without_payment'
        """
      ).isEmpty
    }
    #expect(try await sale.soldTickets() == [1])
    #expect(try await sale.purchase(position)?.progress.state == .sold)
    #expect(try await sale.status(position)?.state == .purchased)
    await sale.end()
  }

  @Test(
    "A sale whose authorisation was gone before its capture, and whose buyer does not pay again, sells again")
  func lapsed() async throws {
    let sale = try await SaleFixture(tickets: 1, holdSeconds: 2)
    sale.provider.onCapture = { [provider = sale.provider] id in provider.payments[id]?.status = .canceled }
    var limits = Self.limits()
    limits.lapsedSeconds = 5
    try await sale.startWorker(limits)
    let first = try await sale.join("ann", method: "pm_1")
    try await sale.wait(for: .purchased, first)
    sale.provider.onCapture = { _ in }
    let epoch = try await sale.queue.leases.epoch(Partition(of: sale.event))
    try await sale.makeOutboxDue()
    #expect(try await sale.wait(for: .declined, first)?.reason == "authorisation_lapsed")
    let purchase = try #require(try await sale.purchase(first))
    #expect(purchase.progress.state == .declined && purchase.progress.reason == "authorisation_lapsed")
    // Another card, which is refused: the seats come back all the same.
    #expect(try await sale.confirm(first, "ann", "decline_2") == .ok)
    try await sale.eventually("the other card is refused") {
      try await sale.purchase(first)?.progress.reason == "card_declined"
    }
    // Of the ticket nobody says that its sale was lost, though the last word was another card's.
    let unsold = try await SeatStore(sale.postgres).unsold(event: sale.event, [1])
    #expect(unsold.free == [1] && unsold.neverSold == [])
    try await sale.eventually("the line takes people in again") {
      try await sale.queue.reader.document(event: sale.event)?.isSoldOut == false
    }
    let second = try await sale.join("bob", method: "pm_1")
    try await sale.wait(for: .purchased, second)
    #expect(try await sale.soldTickets() == [1])
    // What the refused card left is looked for still.
    #expect(try await outboxEntries(sale) <= 2)
    // The other events of its partition have the same owner as before.
    #expect(try await sale.queue.leases.epoch(Partition(of: sale.event)) == epoch)
    await sale.end()
  }

  @Test("Where one of its tickets cannot be had any more, nobody is asked for the others")
  func lapsedInPart() async throws {
    let sale = try await SaleFixture(tickets: 2)
    sale.provider.onCapture = { [provider = sale.provider] id in provider.payments[id]?.status = .canceled }
    try await sale.startWorker(Self.limits())
    let position = try await sale.join("ann", 2, method: "pm_1")
    try await sale.wait(for: .purchased, position)
    _ = try await sale.postgres.query("UPDATE ticket SET withheld = 'blocked' WHERE id = 2")
    let epoch = try await sale.queue.leases.epoch(Partition(of: sale.event))
    sale.provider.onCapture = { _ in }
    try await sale.makeOutboxDue()
    #expect(try await sale.wait(for: .expired, position)?.reason == "authorisation_lapsed")
    let purchase = try #require(try await sale.purchase(position))
    #expect(purchase.progress.state == .void && purchase.progress.reason == "authorisation_lapsed")
    #expect(try await sale.soldTickets() == [])
    try await sale.eventually("the owner has the seat that is left") {
      try await sale.queue.reader.document(event: sale.event)?.free == 1
    }
    #expect(try await sale.queue.leases.epoch(Partition(of: sale.event)) == epoch)
    await sale.end()
  }

  @Test(
    "Beside a partial refund the buyer is asked again for what is still theirs, and let go where nothing is",
    arguments: [[2], [2, 1]])
  func lapsedBesideRefund(_ givenBack: [Int]) async throws {
    let sale = try await SaleFixture(tickets: 2)
    var mayCapture = false
    sale.provider.onCapture = { [provider = sale.provider] id in
      if !mayCapture { throw PaymentError(code: .unavailable, message: "away") }
      provider.payments[id]?.status = .canceled
    }
    try await sale.startWorker(Self.limits())
    let position = try await sale.join("ann", 2, method: "pm_1")
    try await sale.wait(for: .purchased, position)
    for ticket in givenBack {
      _ = try await sale.refunds.request(
        .init(
          .init(event: sale.event, generation: 1, position: position), tickets: [ticket], releases: true),
        by: "boss")
    }
    mayCapture = true
    let rest = [1, 2].filter { !givenBack.contains($0) }
    try await sale.eventually("it is settled") {
      try await sale.makeOutboxDue()
      let status = try await sale.status(position)
      return rest.isEmpty ? status?.tickets == [] : status?.reason == "authorisation_lapsed"
    }
    let purchase = try #require(try await sale.purchase(position))
    #expect(purchase.tickets == rest && purchase.progress.amount == 1000 * rest.count)
    #expect(sale.provider.given.isEmpty, "nothing was taken, so that nothing is given back")
    if rest.isEmpty {
      #expect(try await sale.soldTickets() == [])
    } else {
      let status = try #require(try await sale.wait(for: .declined, position))
      #expect(status.tickets == rest && status.amount == 1000)
      sale.provider.onCapture = { _ in }
      #expect(try await sale.confirm(position, "ann", "pm_2") == .ok)
      try await sale.wait(for: .purchased, position)
      try await sale.eventually("paid") {
        try await sale.makeOutboxDue()
        return sale.provider.payments.values.map(\.amountCaptured).max() == 1000
      }
      #expect(try await sale.soldTickets() == rest)
    }
    // The seat that was given back is sold to the next.
    sale.provider.onCapture = { _ in }
    try await sale.eventually("the line takes people in again") {
      try await sale.queue.reader.document(event: sale.event)?.isSoldOut == false
    }
    let bob = try await sale.join("bob", method: "pm_3")
    try await sale.wait(for: .purchased, bob)
    await sale.end()
  }

  @Test("While its money is being given back nobody is asked again")
  func lapsedAndRefunded() async throws {
    let sale = try await SaleFixture(tickets: 1)
    sale.provider.onCapture = { [provider = sale.provider] id in provider.payments[id]?.status = .canceled }
    try await sale.startWorker(Self.limits())
    let position = try await sale.join("ann", method: "pm_1")
    try await sale.wait(for: .purchased, position)
    _ = try await sale.postgres.query(
      """
      INSERT INTO refund (event_id, generation, position, tickets, amount, releases, who, available_at)
      VALUES (\(sale.event), 1, \(position), '{1}', 1000, true, 'boss', NULL)
      """)
    func tries() async throws -> Int {
      try await sale.postgres.query("SELECT attempts FROM outbox").first?.int("attempts") ?? -1
    }
    sale.provider.onCapture = { _ in }
    let before = try await tries()
    try await sale.eventually("it was tried") {
      try await sale.makeOutboxDue()
      return try await tries() >= before + 2
    }
    #expect(try await sale.purchase(position)?.progress.state == .sold)
    #expect(try await sale.status(position)?.state == .purchased)
    _ = try await sale.postgres.query("DELETE FROM refund")
    try await sale.eventually("its buyer is asked") {
      try await sale.makeOutboxDue()
      return try await sale.status(position)?.state == .declined
    }
    await sale.end()
  }

  @Test("A purchase has a name of its own at the provider, and says whose it is")
  func names() async throws {
    let sale = try await SaleFixture(tickets: 2)
    try await sale.startWorker(Self.limits())
    let position = try await sale.join("ann", method: "decline")
    try await sale.wait(for: .declined, position)
    #expect(try await sale.confirm(position, "ann", "pm_2") == .ok)
    try await sale.wait(for: .purchased, position)
    let id = try #require(try await sale.purchase(position)?.progress.id)
    let payment = try #require(sale.provider.payments.values.first)
    #expect(payment.reference == "\(id)-2")
    let installation = try await sale.purchases.installation()
    #expect(payment.installation == installation && payment.purchase?.id == id)
    #expect(try await sale.purchases.installation() == installation)
    #expect(payment.place(in: installation)?.position == position)
    await sale.end()
  }

  @Test("Those who wait for the provider keep nobody from their turn")
  func room() async throws {
    let sale = try await SaleFixture(tickets: 40)
    var limits = Self.limits()
    limits.connections = 1
    sale.provider.beforeAuthorising = { order in
      if order.method == "pm_stuck" { throw PaymentError(code: .rateLimited, message: "always") }
    }
    try await sale.startWorker(limits)
    for number in 0..<20 { _ = try await sale.join("stuck \(number)", method: "pm_stuck") }
    let position = try await sale.join("ann", method: "pm_1")
    try await sale.wait(for: .purchased, position)
    await sale.end()
  }

  @Test("A payment that waits for its buyer tells them where to go, and sells once they were there")
  func action() async throws {
    let sale = try await SaleFixture(tickets: 1, holdSeconds: 1)
    sale.provider.authorised = .requiresAction
    sale.provider.redirectURL = "https://me@bank.example/1?a=b|c"
    try await sale.startWorker(Self.limits())
    let position = try await sale.join("ann")
    try await sale.wait(for: .reserved, position)
    #expect(try await sale.confirm(position, "ann") == .ok)
    let status = try await sale.wait(for: .actionRequired, position)
    #expect(status?.redirectURL == "https://me%40bank.example/1?a=b%7Cc" && status?.tickets == [1])
    // The hold would have ended by now: it is kept.
    let other = try await sale.join("bob")
    try await sale.wait(for: .standby, other)
    let id = try #require(sale.provider.payments.keys.first)
    sale.provider.payments[id]?.status = .requiresCapture
    try await sale.queue.buyers.hintPayment(event: sale.event, generation: 1, position: position)
    try await sale.wait(for: .purchased, position)
    #expect(sale.provider.payments.count == 1)
    await sale.end()
  }

  @Test("A buyer who never comes back from their bank loses the tickets, and pays nothing")
  func actionAbandoned() async throws {
    let sale = try await SaleFixture(tickets: 1, holdSeconds: 1)
    sale.provider.authorised = .requiresAction
    sale.provider.redirectURL = "https://bank.example/1"
    var limits = Self.limits()
    limits.actionSeconds = 2
    try await sale.startWorker(limits)
    let first = try await sale.join("ann", method: "pm_1")
    try await sale.wait(for: .actionRequired, first)
    let second = try await sale.join("bob")
    #expect(try await sale.wait(for: .declined, first)?.reason == "authentication_required")
    try await sale.wait(for: .reserved, second)
    try await sale.eventually("nothing is open") {
      sale.provider.payments.values.map(\.status) == [.canceled]
    }
    await sale.end()
  }

  @Test("An authorisation whose tickets are not there any more is kept by its id, and cancelled by that")
  func soldNothing() async throws {
    let sale = try await SaleFixture(tickets: 1)
    sale.provider.afterAuthorising = { _ in
      // Whatever took the claim: nothing is sold without it.
      _ = try await sale.postgres.query("DELETE FROM claim WHERE event_id = \(sale.event)")
      _ = try await sale.postgres.query(
        "INSERT INTO claim (event_id, ticket_id, generation, position) VALUES (\(sale.event), 1, 1, 99)")
    }
    sale.provider.onFind = { throw PaymentError(code: .unavailable, message: "the search is away") }
    try await sale.startWorker(Self.limits())
    let position = try await sale.join("ann", method: "pm_1")
    try await sale.eventually("void") { try await sale.purchase(position)?.progress.state == .void }
    try await sale.eventually("nothing is open") {
      try await sale.makeOutboxDue()
      return sale.provider.payments.values.map(\.status) == [.canceled]
    }
    await sale.end()
  }

  @Test("What may still be found is looked for more than once, however old it seems")
  func searches() async throws {
    let sale = try await SaleFixture(tickets: 1)
    sale.provider.afterAuthorising = { _ in throw PaymentError(code: .outcomeUnknown, message: "lost") }
    var searches = 0
    sale.provider.isFindable = false
    sale.provider.onFind = { searches += 1 }
    // Only what the test makes due is: a search that comes by itself would be one of those that count.
    try await sale.postgres.script(
      """
      CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.available_at := now() + interval '10 minutes'; RETURN NEW; END $$;
      CREATE TRIGGER later BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION later();
      """)
    try await sale.startWorker(Self.limits(wait: 1))
    let position = try await sale.join("ann", method: "pm_1")
    try await sale.wait(for: .declined, position)
    let before = searches
    for round in 1...2 {
      // As after a step of PostgreSQL's clock.
      _ = try await sale.postgres.query(
        "UPDATE outbox SET created_at = now() - interval '1 hour', available_at = now()")
      try await sale.eventually("it was looked for again") { searches >= before + round }
    }
    // Besides, the books may have found the payment, which they see, and ask for its end by its id.
    let left = try await sale.postgres.query("SELECT attempts FROM outbox WHERE kind = 'find'")
    #expect(left.count == 1)
    try await sale.postgres.script("DROP TRIGGER later ON outbox; DROP FUNCTION later")
    sale.provider.isFindable = true
    try await sale.eventually("nothing is open") {
      try await sale.makeOutboxDue()
      return sale.provider.payments.values.map(\.status) == [.canceled]
    }
    await sale.end()
  }

  @Test("Who has just gone to their bank is left alone for a moment, and asked for at once when it says so")
  func firstLook() async throws {
    let sale = try await SaleFixture(tickets: 1)
    sale.provider.authorised = .requiresAction
    sale.provider.redirectURL = "https://bank.example/1"
    try await sale.startWorker(Self.limits())
    let position = try await sale.join("ann", method: "pm_1")
    try await sale.wait(for: .actionRequired, position)
    let begunAt = EventLoop.shared.now
    while EventLoop.shared.now < begunAt + 700 { try await sleep(milliseconds: 20) }
    #expect(sale.provider.retrievals == 0)
    // Of what rests no other worker believes that it has stalled.
    _ = try await sale.postgres.query("UPDATE purchase SET updated_at = now() - interval '50 s'")
    try await sale.purchases.touch([.init(event: sale.event, generation: 1, position: position)])
    #expect(
      try await !sale.postgres.query(
        "SELECT 1 AS one FROM purchase WHERE updated_at > now() - interval '20 s'"
      ).isEmpty)
    for id in sale.provider.payments.keys { sale.provider.payments[id]?.status = .requiresCapture }
    try await sale.queue.buyers.hintPayment(event: sale.event, generation: 1, position: position)
    try await sale.wait(for: .purchased, position)
    await sale.end()
  }

  @Test("A hint has a payment that waits asked for at once, and one for nobody's does nothing")
  func hint() async throws {
    let sale = try await SaleFixture(tickets: 1)
    sale.provider.authorised = .processing
    try await sale.startWorker(Self.limits())
    let position = try await sale.join("ann", method: "pm_1")
    // Its pauses have become long.
    try await sale.eventually("it was asked for some times") { sale.provider.retrievals >= 5 }
    let id = try #require(sale.provider.payments.keys.first)
    sale.provider.payments[id]?.status = .requiresCapture
    for wrong in [(7, 1, 1), (sale.event, 9, position), (sale.event, 1, 77)] {
      try await sale.queue.buyers.hintPayment(event: wrong.0, generation: wrong.1, position: wrong.2)
    }
    try await sale.queue.buyers.hintPayment(event: sale.event, generation: 1, position: position)
    try await sale.wait(for: .purchased, position)
    await sale.end()
  }
}
