import EventLoop
import Foundation
import Payments
import Postgres
import Sale
import Testing

@testable import Ledger
@testable import Queue
@testable import Worker

@Suite("Payments that were given up, and are authorised after all")
@LoopActor
struct LatePaymentTests {
  /// A sale whose provider processes payments for ever, and lets nobody cancel them meanwhile. They are given up soon.
  private func sale(tickets: Int, holdSeconds: Int, late: Int = 3_600) async throws -> SaleFixture {
    let sale = try await SaleFixture(tickets: tickets, holdSeconds: holdSeconds)
    sale.provider.authorised = .processing
    sale.provider.cancelsProcessing = false
    try await sale.startWorker(limits(late: late))
    return sale
  }

  private func limits(late: Int) -> Worker.ProviderLimits {
    var limits = Worker.ProviderLimits()
    limits.paymentSeconds = 1
    limits.searchMilliseconds = 0
    limits.lateSeconds = late
    return limits
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
      try await sale.queue.reader.record(event: sale.event, position: position)?.state == .declinedForGood
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
    let other = try await sale.queue.buyers.enqueue(
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

  /// A buyer of two seats to whom others would do, or not, and whose hold is over; and somebody who has one of theirs since.
  private func oneIsGone(tickets: Int, takesOthers: Bool) async throws -> (SaleFixture, Int) {
    let sale = try await sale(tickets: tickets, holdSeconds: 1)
    let position = try await sale.join("ann", 2)
    try await sale.wait(for: .reserved, position)
    #expect(
      try await sale.queue.buyers.confirm(
        event: sale.event, generation: 1, position: position, user: "ann", method: "pm_1",
        takesOthers: takesOthers) == (takesOthers ? .okAgreed : .ok))
    try await expire(sale, position)
    sale.provider.authorised = .requiresCapture
    let other = try await sale.join("bob", method: "pm_2")
    try await sale.wait(for: .purchased, other)
    authorise(sale)
    return (sale, position)
  }

  @Test("Whom other seats will do has as good ones, pays once and is told so; others are let go")
  func otherSeats() async throws {
    let (sale, position) = try await oneIsGone(tickets: 4, takesOthers: true)
    try await waitAndRemind(for: .purchased, sale, position)
    let status = try #require(try await sale.status(position))
    #expect(status.reason == "other_seats" && status.amount == 2000)
    let purchase = try #require(try await sale.purchase(position))
    #expect(purchase.tickets.sorted() == status.tickets.sorted() && purchase.note == "other_seats")
    #expect(Set(purchase.tickets) != [1, 2] && purchase.progress.amount == 2000)
    #expect(try await sale.soldTickets().count == 3)
    #expect(try await Set(sale.soldTickets()).isSuperset(of: purchase.tickets))
    try await nothingIsOpen(sale, [.succeeded, .succeeded])
    #expect(sale.provider.payments.values.map(\.amountCaptured).sorted() == [1000, 2000])
    await sale.end()
  }

  @Test(
    "Who has not said that others will do is let go, whatever is free; and who has, where too few are left",
    arguments: [(4, false), (2, true)])
  func noOtherSeats(_ tickets: Int, _ takesOthers: Bool) async throws {
    let (sale, position) = try await oneIsGone(tickets: tickets, takesOthers: takesOthers)
    try await nothingIsOpen(sale, [.canceled, .succeeded])
    #expect(try await sale.status(position)?.reason == "too_late")
    #expect(try await sale.soldTickets().count == 1)
    await sale.end()
  }

  private func late(
    _ sale: SaleFixture, _ position: Int, attempt: Int, _ tickets: [Int]
  ) -> Sale.Confirmation {
    Sale.Confirmation(
      entryID: nil, event: sale.event, generation: 1, position: position, attempt: attempt, tickets: tickets,
      amount: 2000, method: "pm_1", user: "ann")
  }

  @Test("What PostgreSQL does not have as agreed buys no other seats, whatever Redis says")
  func agreementIsKept() async throws {
    let sale = try await sale(tickets: 5, holdSeconds: 1)
    let position = try await sale.join("ann", 2, method: "pm_1")
    try await expire(sale, position)
    await sale.stopWorkers()
    let payment = try #require(sale.provider.payments.keys.first)
    func opens(_ tickets: [Int]) async throws -> Bool {
      try await sale.purchases.reopen(late(sale, position, attempt: 3, tickets), payment: payment)
    }
    #expect(try await !opens([3, 4]), "nobody agreed")
    // Of an attempt before, by a server that asked; a worker of the version before began this one.
    _ = try await sale.postgres.query("UPDATE purchase SET other_seats = 'agreed', other_seats_try = 0")
    #expect(try await !opens([3, 4]))
    _ = try await sale.postgres.query("UPDATE purchase SET other_seats = 'n/a', other_seats_try = 1")
    #expect(try await !opens([3, 4]), "they were chosen by name")
    _ = try await sale.postgres.query("UPDATE purchase SET other_seats = 'agreed'")
    // Fewer, dearer, blocked or sold ones, and those of another section are not what was agreed.
    #expect(try await !opens([3]))
    for change in [
      "price = 1001", "withheld = 'blocked'", "purchased = true, payment_id = 'pi_x'", "section_id = 2",
    ] {
      _ = try await sale.postgres.transaction([
        "INSERT INTO section (event_id, id, name, price, rank) VALUES (\(sale.event), 2, 'B', 1000, 2) ON CONFLICT DO NOTHING",
        "UPDATE ticket SET \(unsafeSQL: change) WHERE id = 4",
      ])
      #expect(try await !opens([3, 4]), "\(change)")
      _ = try await sale.postgres.query(
        "UPDATE ticket SET price = 1000, withheld = NULL, purchased = false, payment_id = NULL, section_id = 1 WHERE id = 4"
      )
    }
    #expect(try await sale.purchase(position)?.tickets == [1, 2], "so far nobody was moved")
    #expect(try await opens([3, 4]))
    #expect(try await opens([3, 4]), "again, and the same")
    #expect(try await opens([4, 5]), "another entry about it changes nothing")
    #expect(try await sale.purchase(position)?.tickets == [3, 4])
    let row = try await sale.postgres.query("SELECT instead_of, try FROM purchase").first
    #expect(row?["instead_of"].ints == [1, 2] && row?["try"].int == 3)
    await sale.end()
  }

  @Test(
    "The next attempt keeps the seats that PostgreSQL has, and the buyer is told these, whatever Redis had")
  func whatCounts() async throws {
    let sale = try await sale(tickets: 4, holdSeconds: 60)
    let position = try await sale.join("ann", 2, method: "pm_1")
    try await sale.wait(for: .declined, position)
    // Redis has gone back to other seats than those that were paid for.
    _ = try await sale.postgres.query("UPDATE purchase SET tickets = '{3,4}'")
    authorise(sale)
    try await waitAndRemind(for: .purchased, sale, position)
    #expect(try await sale.soldTickets() == [3, 4])
    #expect(try await sale.status(position)?.tickets.sorted() == [3, 4])
    #expect(try await sale.status(position)?.reason == nil)
    await sale.end()
  }

  /// The statement of the version before, which knows of no other seats.
  private func formerReopen(
    _ sale: SaleFixture, _ confirmation: Sale.Confirmation, _ payment: String
  ) async throws -> Bool {
    let (generation, position) = (confirmation.generation, confirmation.position)
    _ = try await sale.postgres.query(
      """
      UPDATE purchase p SET state = 'paying', try = \(confirmation.attempt), payment_id = \(payment), reason = NULL, stalls = 0,
        tried_at = now(), updated_at = now()
      WHERE event_id = \(sale.event) AND generation = \(generation) AND position = \(position)
        AND try = \(confirmation.attempt - 1) AND user_id = \(confirmation.user) AND state = 'declined'
        AND (payment_id IS NULL OR payment_id = \(payment)) AND reason IS DISTINCT FROM 'too_late'
      """)
    return try await !sale.postgres.query(
      """
      SELECT 1 AS one FROM purchase WHERE event_id = \(sale.event) AND generation = \(generation) AND position = \(position)
        AND (state <> 'declined' OR try >= \(confirmation.attempt))
      """
    ).isEmpty
  }

  @Test("A worker of the version before begins nothing with other seats, and ends what a newer one began")
  func workerOfBefore() async throws {
    let sale = try await sale(tickets: 4, holdSeconds: 1)
    let position = try await sale.join("ann", 2, method: "pm_1")
    try await expire(sale, position)
    await sale.stopWorkers()
    _ = try await sale.postgres.query("UPDATE purchase SET other_seats = 'agreed', other_seats_try = try")
    let payment = try #require(sale.provider.payments.keys.first)
    let entry = late(sale, position, attempt: 3, [3, 4])
    #expect(try await !formerReopen(sale, entry, payment))
    #expect(try await sale.purchase(position)?.progress.state == .declined)
    #expect(try await sale.purchases.reopen(entry, payment: payment))
    // Of one that died, taken over by one of before: it claims and sells what the purchase has, and says so.
    #expect(try await formerReopen(sale, entry, payment))
    let progress = try #require(try await sale.purchases.claim([entry]).first ?? nil)
    #expect(progress.tickets == [3, 4] && progress.ownsItsTickets && progress.attempt == 3)
    await sale.end()
  }

  @Test("What an attempt agreed to is not the next one's, which a worker of the version before began")
  func agreementOfOneAttempt() async throws {
    let sale = try await SaleFixture(tickets: 4)
    func confirmation(_ attempt: Int, _ others: OtherSeats) -> Sale.Confirmation {
      Sale.Confirmation(
        entryID: nil, event: sale.event, generation: 1, position: 1, attempt: attempt, tickets: [1],
        amount: 1000, method: "pm_1", user: "ann", otherSeats: others)
    }
    let key = PurchaseKey(event: sale.event, generation: 1, position: 1)
    func decline(_ attempt: Int) async throws {
      _ = try await sale.purchases.settle([
        .init(key: key, user: "ann", attempt: attempt, outcome: .declined, paymentID: nil, reason: "no")
      ])
    }
    for (attempt, others) in [OtherSeats.agreed, .notAgreed, .notApplicable, .agreed].enumerated() {
      let progress = try await sale.purchases.claim([confirmation(attempt + 1, others)]).first ?? nil
      #expect(progress?.otherSeats == others)
      try await decline(attempt + 1)
    }
    _ = try await sale.postgres.query("UPDATE purchase SET try = try + 1, state = 'paying'")
    #expect(try await sale.purchases.find(key)?.progress.otherSeats == .notAgreed)
    await sale.end()
  }

  @Test("What was said of other seats is not taken back unheard, nor mixed with what is said next")
  func agreementIsTold() async throws {
    let sale = try await sale(tickets: 2, holdSeconds: 60)
    let position = try await sale.join("ann")
    try await sale.wait(for: .reserved, position)
    func confirm(_ key: String?, _ takesOthers: Bool) async throws -> BuyersLine.ConfirmAnswer {
      try await sale.queue.buyers.confirm(
        event: sale.event, generation: 1, position: position, user: "ann", method: "pm_1",
        idempotencyKey: key, takesOthers: takesOthers)
    }
    #expect(try await confirm("one", true) == .okAgreed)
    #expect(try await confirm("one", true) == .okAgreed)
    #expect(try await confirm("one", false) == .otherAgreement)
    #expect(try await confirm(nil, false) == .otherAgreement)
    try await sale.wait(for: .declined, position)
    #expect(try await sale.purchase(position)?.progress.otherSeats == .agreed)
    #expect(try await confirm("one", false) == .idempotencyMismatch)
    #expect(try await confirm("one", true) == .okAgreed, "a repetition begins nothing")
    #expect(try await sale.status(position)?.state == .declined)
    #expect(try await confirm("two", false) == .ok)
    #expect(try await confirm("two", true) == .otherAgreement)
    try await sale.eventually("the next attempt has what was said with it") {
      let progress = try await sale.purchase(position)?.progress
      return progress?.attempt == 2 && progress?.otherSeats == .notAgreed
    }
    await sale.end()
  }

  @Test("What was said of other seats for one place says nothing of the next that the same person takes")
  func agreementIsOfOnePlace() async throws {
    let sale = try await sale(tickets: 2, holdSeconds: 60)
    func confirm(_ position: Int, _ takesOthers: Bool) async throws -> BuyersLine.ConfirmAnswer {
      try await sale.queue.buyers.confirm(
        event: sale.event, generation: 1, position: position, user: "ann", method: "pm_card_visa",
        idempotencyKey: "\(position)", takesOthers: takesOthers)
    }
    let first = try await sale.join("ann")
    try await sale.wait(for: .reserved, first)
    #expect(try await confirm(first, true) == .okAgreed)
    try await sale.eventually("the first place has come to its end") {
      let state = try await sale.status(first)?.state
      return state == .purchased || state == .declined
    }
    _ = try await sale.queue.buyers.cancel(event: sale.event, generation: 1, position: first, user: "ann")
    let second = try await sale.join("ann")
    try #require(second != first)
    try await sale.wait(for: .reserved, second)
    #expect(try await confirm(second, false) == .ok)
    // Under way or over: the same call has the same answer.
    #expect(try await confirm(second, false) == .ok)
    await sale.end()
  }

  @Test("Whose own seats are free has these before anybody has others, then who confirmed first")
  func order() async throws {
    let sale = try await sale(tickets: 5, holdSeconds: 1)
    var positions: [Int] = []
    for user in ["ann", "ben", "cat"] { positions.append(try await sale.join(user)) }
    for (user, position) in zip(["ann", "ben", "cat"], positions) {
      try await sale.wait(for: .reserved, position)
      #expect(
        try await sale.queue.buyers.confirm(
          event: sale.event, generation: 1, position: position, user: user, method: "pm_1",
          takesOthers: true) == .okAgreed)
    }
    for position in positions { try await expire(sale, position) }
    try await configure(sale, "paused", version: 2)
    let own = try #require(try await sale.purchase(positions[0])?.tickets)
    let their = try #require(try await sale.purchase(positions[2])?.tickets)
    let taken = Set(1...5).subtracting(their).subtracting([5]).union(own)
    // All but cat's, and one: ann and ben want others, and ben confirmed first.
    _ = try await sale.postgres.transaction([
      """
      UPDATE ticket SET purchased = true, payment_id = 'pi_x' WHERE id = ANY (\(Array(taken))::int[])
      """,
      "UPDATE purchase SET tried_at = tried_at - interval '1 s' WHERE user_id = 'ben'",
    ])
    authorise(sale)
    try await sale.eventually("the owner is asked") {
      try await sale.makeOutboxDue()
      return try await sale.queue.latePayments.attempts(event: sale.event).count == 3
    }
    await sale.stopWorkers()
    try await sale.startWorker(limits(late: 3_600))
    try await configure(sale, "open", version: 3)
    try await waitAndRemind(for: .purchased, sale, positions[1])
    try await waitAndRemind(for: .purchased, sale, positions[2])
    #expect(try await sale.purchase(positions[2])?.tickets == their)
    #expect(try await sale.purchase(positions[1])?.tickets == [5])
    try await sale.eventually("ann is told") {
      try await sale.makeOutboxDue()
      return try await sale.status(positions[0])?.reason == "too_late"
    }
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
    try await sale.queue.settings.configure(
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
      return try await sale.queue.latePayments.attempts(event: sale.event).keys.sorted() == [position]
    }
    return (sale, position)
  }

  private func isToldTooLate(_ sale: SaleFixture, _ position: Int) async throws {
    try await sale.eventually("it is too late, in both") {
      try await sale.makeOutboxDue()
      let record = try await sale.queue.reader.record(event: sale.event, position: position)
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
    #expect(try await sale.queue.latePayments.attempts(event: sale.event).isEmpty)
    #expect(try await sale.queue.reader.record(event: sale.event, position: position)?.reason == "too_late")
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
      return try await sale.queue.latePayments.attempts(event: sale.event).isEmpty
    }
    try await nothingIsOpen(sale, [.canceled])
    #expect(
      try await sale.queue.reader.record(event: sale.event, position: position)?.reason
        == "processing_timeout")
    await sale.end()
  }

  @Test("Whoever noted that it is let go of, and died, leaves nothing that waits for the owner")
  func notedAndDied() async throws {
    let (sale, position) = try await waitingForOwner()
    let key = PurchaseKey(event: sale.event, generation: 1, position: position)
    #expect(try await sale.purchases.noteTooLate(key, attempt: 1))
    try await nothingIsOpen(sale, [.canceled])
    #expect(try await sale.queue.latePayments.attempts(event: sale.event).isEmpty)
    #expect(try await sale.queue.reader.record(event: sale.event, position: position)?.reason == "too_late")
    await sale.end()
  }

  @Test("Of letting go and taking up again, whichever is committed first counts")
  func fence() async throws {
    let sale = try await sale(tickets: 2, holdSeconds: 1)
    let position = try await sale.join("ann", method: "pm_1")
    try await expire(sale, position)
    await sale.stopWorkers()
    let payment = try #require(sale.provider.payments.keys.first)
    let key = PurchaseKey(event: sale.event, generation: 1, position: position)
    func late(_ attempt: Int) -> Sale.Confirmation {
      Sale.Confirmation(
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
    let key = PurchaseKey(event: sale.event, generation: 1, position: position)
    try await sale.purchases.add(OutboxEntry(key: key, kind: .cancel, paymentID: payment))
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
