import EventLoop
import Payments
import Postgres
import Sale
import Testing

@testable import Ledger
@testable import Queue
@testable import Worker

@Suite("Books that mend themselves")
@LoopActor
struct BookkeeperTests {
  /// Looks all the time, at everything, however young it is; and hears of nothing by itself.
  private var patience: Worker.Patience {
    var patience = Worker.Patience()
    patience.booksMilliseconds = 20
    patience.booksGraceSeconds = 0
    patience.newsMilliseconds = 86_400_000
    return patience
  }

  /// A sale in which `ann` has bought a ticket and `bob`'s card was declined, and their places.
  private func sold(tickets: Int = 3) async throws -> (SaleFixture, ann: Int, bob: Int) {
    let sale = try await SaleFixture(tickets: tickets)
    try await sale.startWorker(patience: patience)
    let ann = try await sale.join("ann", method: "pm_1")
    try await sale.wait(for: .purchased, ann)
    let bob = try await sale.join("bob", method: "decline_1")
    try await sale.wait(for: .declined, bob)
    try await captured(sale)
    return (sale, ann, bob)
  }

  private func captured(_ sale: SaleFixture) async throws {
    try await sale.eventually("captured, and noted so") {
      try await sale.postgres.query("SELECT 1 FROM purchase WHERE state = 'sold' AND captured_at IS NULL")
        .isEmpty
    }
  }

  private func add(
    _ sale: SaleFixture, _ id: String, _ status: Payment.Status, at position: Int, attempt: Int = 1,
    generation: Int = 1
  ) async throws {
    sale.provider.payments[id] = Payment(
      id: id, status: status, amount: 1000, amountCaptured: status == .succeeded ? 1000 : 0, currency: "EUR",
      reference: "\(id)-ref", created: 0,
      purchase: PurchaseMetadata(
        event: sale.event, generation: generation, position: position, tickets: [1], user: "x", amount: 1000,
        attempt: attempt, installation: try await sale.purchases.installation()))
  }

  @Test(
    "A sale that nobody would ever capture, since its outbox was lost, is captured; one that was is noted so")
  func outboxLost() async throws {
    let sale = try await SaleFixture(tickets: 3)
    var mayCapture = false
    sale.provider.onCapture = { _ in
      if !mayCapture { throw PaymentError(code: .unavailable, message: "away") }
    }
    try await sale.startWorker()
    let ann = try await sale.join("ann", method: "pm_1")
    try await sale.wait(for: .purchased, ann)
    await sale.stopWorkers()
    _ = try await sale.postgres.query("DELETE FROM outbox")
    mayCapture = true
    try await sale.startWorker(patience: patience)
    try await captured(sale)
    #expect(sale.provider.payments.values.map(\.amountCaptured) == [1000])
    _ = try await sale.postgres.query("UPDATE purchase SET captured_at = NULL")
    try await captured(sale)
    #expect(sale.provider.payments.values.map(\.amountCaptured) == [1000])
    await sale.end()
  }

  @Test(
    "Money that is reserved for an attempt that is over is let go of, what was taken for it is given back")
  func forNothing() async throws {
    let (sale, ann, bob) = try await sold()
    try await add(sale, "pi_declined", .requiresCapture, at: bob)
    try await add(sale, "pi_second", .requiresCapture, at: ann)
    try await add(sale, "pi_taken", .succeeded, at: bob)
    try await sale.eventually("all of it is let go of") {
      sale.provider.payments["pi_declined"]?.status == .canceled
        && sale.provider.payments["pi_second"]?.status == .canceled
        && sale.provider.refunds.contains("pi_taken")
    }
    try await sale.eventually("nothing is left to do") {
      try await sale.postgres.query("SELECT 1 FROM outbox WHERE kind <> 'find'").isEmpty
    }
    #expect(sale.provider.refunds == ["pi_taken"])
    #expect(sale.provider.payments.values.filter { $0.status == .succeeded }.count == 2)
    #expect(try await sale.soldTickets().count == 1)
    await sale.end()
  }

  @Test("What PostgreSQL may have lost is told, once, and never decided")
  func told() async throws {
    let (sale, _, bob) = try await sold()
    _ = try await sale.postgres.query(
      "INSERT INTO webhook_endpoint (url, secret, made_by) VALUES ('https://shop.example', 'whsec_', 'test')")
    try await add(sale, "pi_lost", .requiresCapture, at: 77)
    try await add(sale, "pi_taken", .succeeded, at: 78)
    // A later attempt than PostgreSQL knows of.
    try await add(sale, "pi_later", .requiresCapture, at: bob, attempt: 2)
    func messages() async throws -> [String] {
      try await sale.postgres.query(
        "SELECT data->>'payment_id' AS payment FROM webhook_message WHERE type = 'audit.violation'"
      ).map { try $0.string("payment") }
    }
    try await sale.eventually("they are told") { try await messages().count >= 3 }
    // Many more walks.
    let take =
      try await sale.postgres.query("SELECT xmin::text::bigint AS x FROM book_walk").first?.int("x") ?? 0
    try await sale.eventually("more walks") {
      try await sale.postgres.query("SELECT 1 FROM book_walk WHERE xmin::text::bigint > \(take + 40)").count
        == 1
    }
    #expect(try await messages().sorted() == ["pi_later", "pi_lost", "pi_taken"])
    #expect(sale.provider.payments["pi_lost"]?.status == .requiresCapture)
    #expect(sale.provider.payments["pi_later"]?.status == .requiresCapture)
    #expect(sale.provider.refunds.isEmpty)
    #expect(try await sale.postgres.query("SELECT 1 FROM outbox WHERE kind <> 'find'").isEmpty)
    await sale.end()
  }

  /// Leaves claims of a purchase that came to nothing, and waits until the walk has released them.
  @discardableResult
  private func looseClaimsAreReleased(_ sale: SaleFixture, _ bob: Int) async throws -> [Int] {
    let tickets = try #require(try await sale.purchase(bob)?.tickets)
    _ = try await sale.queue.buyers.cancel(event: sale.event, generation: 1, position: bob, user: "bob")
    _ = try await sale.postgres.query(
      "INSERT INTO claim SELECT \(sale.event), k.id, 1, \(bob)::bigint FROM unnest(\(tickets)::int[]) AS k (id)"
    )
    try await sale.eventually("nothing claims them") {
      try await sale.postgres.query("SELECT 1 FROM claim WHERE position = \(bob)").isEmpty
    }
    return tickets
  }

  @Test("Claims of a purchase that came to nothing are released, and their seats granted")
  func looseClaims() async throws {
    let (sale, _, bob) = try await sold(tickets: 2)
    let tickets = try await looseClaimsAreReleased(sale, bob)
    let cid = try await sale.join("cid", method: "pm_1")
    #expect(try await sale.wait(for: .purchased, cid)?.tickets == tickets)
    await sale.end()
  }

  @Test("Refunds that nobody told of are learned, in whatever age")
  func refunds() async throws {
    let (sale, ann, _) = try await sold()
    let payment = try #require(try await sale.purchase(ann)?.progress.paymentID)
    sale.provider.given["re_1"] = Refund(
      id: "re_1", payment: payment, amount: 300, status: .succeeded, reference: nil)
    func refunded() async throws -> Int? {
      try await sale.postgres.query("SELECT refunded FROM purchase WHERE position = \(ann)").first?.int(
        "refunded")
    }
    try await sale.eventually("it is known") { try await refunded() == 300 }
    sale.provider.given["re_1"]?.status = .failed
    try await sale.eventually("it came back") { try await refunded() == 0 }
    await sale.end()
  }

  /// Waits for so many more steps of the walk.
  private func steps(_ sale: SaleFixture, _ count: Int) async throws {
    func transaction() async throws -> Int {
      try await sale.postgres.query("SELECT xmin::text::bigint AS x FROM book_walk").first?.int("x") ?? 0
    }
    let before = try await transaction()
    try await sale.eventually("\(count) more steps") { try await transaction() > before + count }
  }

  @Test("Of refunds and disputes of somebody else's payments nothing is asked, however often they are met")
  func others() async throws {
    let (sale, ann, bob) = try await sold()
    let own = try await sale.purchases.installation()
    func payment(_ id: String, _ installation: String, _ position: Int) -> Payment {
      Payment(
        id: id, status: .succeeded, amount: 1000, amountCaptured: 1000, currency: "EUR", reference: id,
        created: 0,
        purchase: PurchaseMetadata(
          event: sale.event, generation: 1, position: position, tickets: [1], user: "x", amount: 1000,
          attempt: 1, installation: installation))
    }
    // Whoever else uses the account, and money that was given back of an attempt that sold nothing.
    let others = payment("pi_others", "00000000-0000-0000-0000-000000000000", ann)
    let ours = payment("pi_ours", own, bob)
    for (id, paid) in [("re_others", others), ("re_ours", ours)] {
      sale.provider.given[id] = Refund(
        id: id, payment: paid.id, amount: 1000, status: .succeeded, reference: nil, paid: paid)
    }
    sale.provider.given["re_named"] = Refund(
      id: "re_named", payment: others.id, amount: 1, status: .failed, reference: "no uuid", paid: others)
    sale.provider.disputed = [
      Dispute(
        id: "dp_1", payment: others.id, amount: 1000, reason: "fraudulent", status: "lost", paid: others)
    ]
    try await steps(sale, 60)
    let before = sale.provider.retrievals
    try await steps(sale, 60)
    #expect(sale.provider.retrievals == before)
    #expect(try await sale.postgres.query("SELECT 1 FROM payment_news").isEmpty)
    // Of one's own all is learned as before, by its purchase's keys.
    let id = try #require(try await sale.purchase(ann)?.progress.paymentID)
    sale.provider.given["re_1"] = Refund(
      id: "re_1", payment: id, amount: 300, status: .succeeded, reference: nil, paid: payment(id, own, ann))
    try await sale.eventually("it is known") {
      try await sale.postgres.query("SELECT refunded FROM purchase WHERE position = \(ann)").first?.int(
        "refunded") == 300
    }
    try await steps(sale, 60)
    // What was noted before it was known is asked once more.
    try await sale.eventually("no news are left") {
      try await sale.postgres.query("SELECT 1 FROM payment_news").isEmpty
    }
    let after = sale.provider.retrievals
    try await steps(sale, 60)
    #expect(sale.provider.retrievals == after, "once it is known, it is not asked for again")
    await sale.end()
  }

  @Test("While the provider is away the walk goes on in PostgreSQL, and asks ever more rarely")
  func away() async throws {
    let (sale, _, bob) = try await sold(tickets: 2)
    await sale.stopWorkers()
    _ = try await sale.postgres.query(
      "UPDATE book_walk SET position = 0, payment_id = 'pi_page', leased_until = now()")
    var isAway = true, asked = 0
    sale.provider.onList = {
      asked += 1
      if isAway { throw PaymentError(code: .unavailable, message: "away") }
    }
    try await sale.startWorker(patience: patience)
    try await looseClaimsAreReleased(sale, bob)
    try await steps(sale, 120)
    #expect(asked >= 1 && asked <= 12, "\(asked) times")
    #expect(
      try await sale.postgres.query("SELECT payment_id FROM book_walk").first?["payment_id"].string
        == "pi_page")
    isAway = false
    try await sale.eventually("the walk goes on") {
      try await sale.postgres.query("SELECT payment_id FROM book_walk").first?["payment_id"].string == nil
    }
    await sale.end()
  }

  @Test("A payment that cannot be asked for keeps nobody else's from being put right")
  func oneIsStuck() async throws {
    let (sale, _, bob) = try await sold()
    sale.provider.onRetrieve = { id in
      if id == "pi_stuck" { throw PaymentError(code: .outcomeUnknown, message: "HTTP 500") }
    }
    try await add(sale, "pi_stuck", .requiresCapture, at: bob)
    try await add(sale, "pi_open", .requiresCapture, at: bob)
    try await sale.eventually("the other is let go of") {
      sale.provider.payments["pi_open"]?.status == .canceled
    }
    // Nor is the page read for ever that has this one alone.
    let refund = Refund(
      id: "re_1", payment: try #require(try await sale.purchase(1)?.progress.paymentID), amount: 300,
      status: .succeeded, reference: nil)
    sale.provider.given["re_1"] = refund
    try await sale.eventually("the walk goes on to the refunds") {
      try await sale.postgres.query("SELECT 1 FROM purchase WHERE refunded = 300").count == 1
    }
    #expect(sale.provider.payments["pi_stuck"]?.status == .requiresCapture)
    await sale.end()
  }

  @Test("One worker has the walk, and another goes on with it once that one is not heard of")
  func lease() async throws {
    let sale = try await SaleFixture(tickets: 1)
    let books = BookStore(sale.postgres)
    var walk = try #require(try await books.take(worker: "a", seconds: 30))
    #expect(try await books.take(worker: "b", seconds: 30) == nil)
    walk.purchase = PurchaseKey(event: 42, generation: 1, position: 7)
    walk.payment = "pi_7"
    #expect(try await !books.note(walk, worker: "b", seconds: 30))
    #expect(try await books.take(worker: "a", seconds: 30)?.payment == nil, "it is not b's")
    #expect(try await books.note(walk, worker: "a", seconds: 30))
    _ = try await sale.postgres.query("UPDATE book_walk SET leased_until = now() - interval '1 s'")
    #expect(try await books.take(worker: "b", seconds: 30) == walk)
    // PostgreSQL's clock was an hour ahead.
    _ = try await sale.postgres.query("UPDATE book_walk SET leased_until = now() + interval '1 h'")
    #expect(try await books.take(worker: "c", seconds: 30) == walk)
    await sale.end()
  }

  @Test("What is decided of a payment, by what is known of its purchase")
  func steps() {
    func payment(_ status: Payment.Status, _ id: String = "pi_1", captured: Int? = nil) -> Payment {
      Payment(
        id: id, status: status, amount: 1000, amountCaptured: captured ?? (status == .succeeded ? 1000 : 0),
        currency: "EUR", reference: nil, created: 0)
    }
    func purchase(
      _ state: PurchaseProgress.State, attempt: Int = 1, charged: Int? = nil, noted: Bool = false,
      age: Int = 100, payment: String? = nil, reason: String? = nil
    ) -> AuditedPurchase {
      AuditedPurchase(
        key: .init(event: 1, generation: 1, position: 1), user: "ann", state: state, attempt: attempt,
        tickets: [1],
        amount: 1000, charged: charged, currency: "EUR", paymentID: state == .sold ? "pi_1" : payment,
        reason: reason,
        isCaptureNoted: noted, ageSeconds: age)
    }
    func step(_ payment: Payment, _ purchase: AuditedPurchase?, attempt: Int = 1, isOld: Bool = true)
      -> BookStep
    {
      BookStep(payment, attempt: attempt, purchase, isOld: isOld, graceSeconds: 10)
    }
    func tells(_ step: BookStep) -> BookStore.Finding.Kind? {
      if case .tell(let kind, _) = step { kind } else { nil }
    }
    #expect(step(payment(.succeeded), purchase(.sold, noted: true)) == .fits)
    #expect(step(payment(.succeeded), purchase(.sold)) == .note)
    #expect(step(payment(.requiresCapture), purchase(.sold)) == .capture)
    #expect(step(payment(.requiresCapture), purchase(.sold, age: 5)) == .fits, "its worker's")
    #expect(step(payment(.canceled), purchase(.sold)) == .capture, "whoever captures it takes the sale back")
    #expect(step(payment(.canceled), purchase(.sold, charged: 0, noted: true)) == .fits)
    #expect(tells(step(payment(.canceled), purchase(.sold, noted: true))) == .saleWithoutPayment)
    #expect(tells(step(payment(.requiresCapture), purchase(.sold, charged: 0))) == .authorisationOpen)
    #expect(tells(step(payment(.succeeded, captured: 900), purchase(.sold))) == .capturedWrongAmount)
    // Of another payment, or of none.
    for state in [PurchaseProgress.State.declined, .void, .sold] {
      #expect(step(payment(.requiresCapture, "pi_2"), purchase(state)) == .letGo)
      #expect(step(payment(.succeeded, "pi_2"), purchase(state)) == .letGo)
      #expect(step(payment(.requiresCapture, "pi_2"), purchase(state), isOld: false) == .fits)
      #expect(step(payment(.canceled, "pi_2"), purchase(state)) == .fits)
      #expect(
        tells(step(payment(.requiresCapture, "pi_2"), purchase(state), attempt: 2)) == .authorisationOpen)
    }
    #expect(step(payment(.requiresCapture), purchase(.paying)) == .fits)
    #expect(step(payment(.requiresCapture), purchase(.paying, attempt: 2)) == .letGo)
    #expect(
      step(payment(.requiresCapture), purchase(.paying, attempt: 2, payment: "pi_1")) == .fits,
      "taken up again")
    // It may have been taken up, and sold with, since.
    let givenUp = purchase(.declined, reason: "processing_timeout")
    #expect(tells(step(payment(.succeeded), givenUp)) == .captureWithoutPurchase)
    #expect(step(payment(.requiresCapture), givenUp) == .letGo)
    #expect(step(payment(.succeeded), purchase(.declined, reason: "too_late")) == .letGo)
    #expect(
      step(payment(.succeeded), purchase(.declined, attempt: 2, reason: "processing_timeout")) == .letGo)
    #expect(tells(step(payment(.succeeded), purchase(.paying), attempt: 2)) == .captureWithoutPurchase)
    #expect(tells(step(payment(.succeeded), nil)) == .captureWithoutPurchase)
    #expect(tells(step(payment(.requiresCapture), nil)) == .authorisationOpen)
    for status in [Payment.Status.processing, .requiresAction, .requiresPaymentMethod] {
      #expect(step(payment(status), nil) == .fits)
    }
  }
}
