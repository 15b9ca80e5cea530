import Archive
import EventLoop
import Foundation
import Ledger
import Metrics
import Payments
import Postgres
import Queue
import Sale
import StoreCommon
import Testing

@testable import Worker

@Suite("A worker", .serialized)
@LoopActor
struct WorkerTests {
  @Test("A request gets seats, is paid once, and owns them")
  func purchase() async throws {
    let sale = try await SaleFixture(tickets: 3)
    try await sale.startWorker()
    let position = try await sale.join("ann", 2)
    let held = try await sale.wait(for: .reserved, position)
    #expect(held?.tickets == [1, 2])
    #expect(held?.amount == 2000)
    #expect(try await sale.confirm(position, "ann") == .ok)
    #expect(try await sale.confirm(position, "ann") == .ok, "a double click changes nothing")
    try await sale.wait(for: .purchased, position)
    #expect(try await sale.soldTickets() == [1, 2])
    try await sale.eventually("the payment is captured") {
      sale.provider.payments.values.map(\.status) == [.succeeded]
    }
    #expect(sale.provider.payments.values.map(\.amountCaptured) == [2000])
    await sale.end()
  }

  @Test("Somebody else can neither confirm nor cancel a request")
  func foreigners() async throws {
    let sale = try await SaleFixture(tickets: 1)
    try await sale.startWorker()
    let position = try await sale.join("ann")
    try await sale.wait(for: .reserved, position)
    #expect(try await sale.confirm(position, "bob") == .forbidden)
    #expect(
      try await sale.queue.buyers.cancel(event: sale.event, generation: 1, position: position, user: "bob")
        == .forbidden)
    await sale.end()
  }

  @Test("A buy needs no second call")
  func buyAtOnce() async throws {
    let sale = try await SaleFixture(tickets: 1)
    try await sale.startWorker()
    let position = try await sale.join("ann", method: "pm_card_visa")
    try await sale.wait(for: .purchased, position)
    await sale.end()
  }

  @Test("A buy that would cost more than its buyer allows is rejected, and nothing is charged")
  func tooDear() async throws {
    let sale = try await SaleFixture(tickets: 2)
    try await sale.startWorker()
    let dear = try await sale.join("ann", 2, method: "pm_card_visa", maxAmount: 1_999)
    #expect(try await sale.wait(for: .rejected, dear)?.reason == "max_amount_exceeded")
    #expect(sale.provider.payments.isEmpty)
    let exact = try await sale.join("bob", 2, method: "pm_card_visa", maxAmount: 2_000)
    try await sale.wait(for: .purchased, exact)
    #expect(sale.provider.payments.values.map(\.amount) == [2_000])
    await sale.end()
  }

  @Test("An expired hold goes to the next in line, and the payment for it comes too late")
  func expiry() async throws {
    let sale = try await SaleFixture(tickets: 1, holdSeconds: 1)
    try await sale.startWorker()
    let first = try await sale.join("ann")
    let second = try await sale.join("bob")
    try await sale.wait(for: .reserved, first)
    try await sale.wait(for: .standby, second)
    try await sale.wait(for: .expired, first)
    try await sale.wait(for: .reserved, second)
    #expect(try await sale.confirm(first, "ann") == .expired)
    await sale.end()
  }

  @Test("When the last seats are paid everyone in line learns that it is sold out")
  func soldOut() async throws {
    let sale = try await SaleFixture(tickets: 2)
    try await sale.startWorker()
    var positions: [Int] = []
    for n in 0..<50 { positions.append(try await sale.join("user\(n)")) }
    for position in positions[..<2] {
      try await sale.wait(for: .reserved, position)
      #expect(try await sale.confirm(position, "user\(position - 1)") == .ok)
    }
    for position in positions[..<2] { try await sale.wait(for: .purchased, position) }
    for position in positions[2...] { try await sale.wait(for: .soldOut, position) }
    let late = try await sale.queue.buyers.enqueue(
      event: sale.event, user: "late", seats: RequestedSeats(quantity: 1), method: nil)
    #expect(late == .soldOut)
    await sale.end()
  }

  @Test(
    "Those behind who want less wait for nobody, and who waited hears how many are left when others have paid"
  )
  func unblocked() async throws {
    let sale = try await SaleFixture(tickets: 3)
    try await sale.startWorker()
    let first = try await sale.join("ann", 2)
    try await sale.wait(for: .reserved, first)
    let greedy = try await sale.join("bob", 2)
    try await sale.wait(for: .standby, greedy)
    let modest = try await sale.join("cid", 1)
    try await sale.wait(for: .reserved, modest)
    #expect(try await sale.confirm(first, "ann") == .ok)
    let status = try await sale.wait(for: .rejected, greedy)
    #expect(status?.reason == "only_n_left")
    #expect(status?.left == 1)
    // The answer keeps the place: it is served before who came later.
    let late = try await sale.join("dan", 1)
    #expect(try await sale.join("bob", 1) == greedy)
    try await sale.wait(for: .standby, greedy)
    try await sale.wait(for: .standby, late)
    #expect(
      try await sale.queue.buyers.cancel(event: sale.event, generation: 1, position: modest, user: "cid")
        == .ok)
    try await sale.wait(for: .reserved, greedy)
    await sale.end()
  }

  @Test("Closing a sale leaves a hold what it is, and its buyer may pay")
  func closing() async throws {
    let sale = try await SaleFixture(tickets: 2)
    try await sale.startWorker()
    let position = try await sale.join("ann")
    try await sale.wait(for: .reserved, position)
    try await sale.queue.settings.configure(
      EventSettings(
        id: sale.event, generation: 1, state: "closed", queueLimit: 10, perUserLimit: 4, holdSeconds: 60,
        rate: nil,
        message: "", version: 2), create: false)
    #expect(try await sale.queue.reader.document(event: sale.event)?.decidedUpTo == position)
    #expect(try await sale.status(position)?.state == .reserved)
    #expect(try await sale.confirm(position, "ann") == .ok)
    try await sale.eventually("the ticket is sold") { try await sale.soldTickets() == [1] }
    await sale.end()
  }

  @Test("A declined card keeps the hold, and another one may pay")
  func decline() async throws {
    let sale = try await SaleFixture(tickets: 1)
    try await sale.startWorker()
    let position = try await sale.join("ann")
    try await sale.wait(for: .reserved, position)
    #expect(try await sale.confirm(position, "ann", "decline") == .ok)
    let declined = try await sale.wait(for: .declined, position)
    #expect(declined?.tickets == [1])
    #expect(declined?.reason == "card_declined")
    try await sale.eventually("the refused card is counted") { try await sale.declines() == ["ann"] }
    #expect(try await sale.confirm(position, "ann") == .ok)
    try await sale.wait(for: .purchased, position)
    #expect(sale.provider.payments.count == 1)
    await sale.end()
  }

  @Test("A declined card that came with the wish counts for where that came from", arguments: [nil, 5_000])
  func declineOfWish(_ maxAmount: Int?) async throws {
    let sale = try await SaleFixture(tickets: 1)
    try await sale.startWorker()
    let client = "203.0.113.0/24#9f31c2d4e5"
    let position = try await sale.join("ann", method: "decline", client: client, maxAmount: maxAmount)
    #expect(try await sale.wait(for: .declined, position)?.reason == "card_declined")
    try await sale.eventually("the refused card is counted") {
      try await sale.declines(from: client) == 1
    }
    #expect(try await sale.confirm(position, "ann") == .ok)
    try await sale.wait(for: .purchased, position)
    await sale.end()
  }

  @Test("A payment whose answer was lost is made once")
  func lostAnswer() async throws {
    let sale = try await SaleFixture(tickets: 1)
    var failures = 3
    sale.provider.afterAuthorising = { _ in
      failures -= 1
      if failures >= 0 { throw PaymentError(code: .outcomeUnknown, message: "cut") }
    }
    try await sale.startWorker()
    let position = try await sale.join("ann", method: "pm_card_visa")
    try await sale.wait(for: .purchased, position)
    #expect(sale.provider.payments.count == 1)
    await sale.end()
  }

  @Test("A capture that failed is made by the outbox worker's record in the outbox")
  func outbox() async throws {
    let sale = try await SaleFixture(tickets: 1)
    sale.provider.onCapture = { _ in throw PaymentError(code: .unavailable, message: "away") }
    try await sale.startWorker()
    let position = try await sale.join("ann", method: "pm_card_visa")
    try await sale.wait(for: .purchased, position)
    #expect(try await sale.postgres.query("SELECT 1 FROM outbox").count == 1)
    sale.provider.onCapture = { _ in }
    _ = try await sale.postgres.query("UPDATE outbox SET available_at = now()")
    try await sale.eventually("the outbox is empty") {
      try await sale.postgres.query("SELECT 1 FROM outbox").isEmpty
    }
    #expect(sale.provider.payments.values.map(\.status) == [.succeeded])
    await sale.end()
  }

  @Test("Tickets that PostgreSQL gave to somebody else are not charged")
  func lostTickets() async throws {
    let sale = try await SaleFixture(tickets: 1)
    try await sale.startWorker()
    let position = try await sale.join("ann")
    try await sale.wait(for: .reserved, position)
    _ = try await sale.postgres.query(
      "INSERT INTO claim (event_id, ticket_id, generation, position) VALUES (\(sale.event), 1, 99, 1)")
    #expect(try await sale.confirm(position, "ann") == .ok)
    try await sale.wait(for: .expired, position)
    #expect(sale.provider.payments.isEmpty)
    await sale.end()
  }

  @Test("A worker that stops hands its partitions over at once, and nothing in line is lost")
  func handover() async throws {
    let sale = try await SaleFixture(tickets: 500)
    let first = try await sale.startWorker()
    var positions: [Int] = []
    for n in 0..<100 { positions.append(try await sale.join("user\(n)")) }
    try await sale.startWorker()
    await first.stop()
    for n in 100..<200 { positions.append(try await sale.join("user\(n)")) }
    for position in positions { try await sale.wait(for: .reserved, position) }
    let tickets = try await positions.asyncMap { try await sale.status($0)?.tickets ?? [] }
    #expect(tickets.flatMap { $0 } == Array(1...200), "granted in order, each ticket once")
    await sale.end()
  }

  @Test("A worker that stops finishes the payments it has begun")
  func drain() async throws {
    let sale = try await SaleFixture(tickets: 10)
    let worker = try await sale.startWorker()
    let first = try await sale.join("ann", method: "pm_card_visa")
    try await sale.wait(for: .purchased, first)
    sale.provider.afterAuthorising = { _ in try await sleep(milliseconds: 500) }
    let second = try await sale.join("bob", method: "pm_card_visa")
    try await sale.eventually("bob's payment is under way") { sale.provider.payments.count == 2 }
    await worker.stop()
    #expect(try await sale.status(second)?.state == .purchased)
    await sale.end()
  }

  @Test("A hold ends in time while PostgreSQL does not answer, and the loop waits for it")
  func endsWithoutPostgres() async throws {
    let sale = try await SaleFixture(tickets: 2, holdSeconds: 2)
    try await sale.startWorker()
    let position = try await sale.join("ann")
    let held = try await sale.wait(for: .reserved, position)
    let locker = Task { @LoopActor in
      // What loops read first; ends when the test is over.
      try? await sale.postgres.script(
        "BEGIN; LOCK TABLE ticket, purchase IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(6)")
    }
    try await sale.eventually("the tables are locked") {
      try await sale.postgres.query(
        "SELECT FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 'ticket'::regclass"
      ).count == 1
    }
    try await sale.reconnect()
    try await sale.wait(for: .expired, position)
    let late = try await sale.queue.reader.milliseconds(of: Partition(of: sale.event)) - (held?.deadline ?? 0)
    #expect(late < 1_000, "\(late) ms late")
    await locker.value
    // And the seat map, loaded meanwhile or after, knows.
    let next = try await sale.join("bob", 2)
    try await sale.wait(for: .reserved, next)
    await sale.end()
  }

  @Test("Workers that are restarted again and again during an outage of the provider bury nothing")
  func restartsDuringOutage() async throws {
    let sale = try await SaleFixture(tickets: 1)
    var patience = Worker.Patience()
    patience.confirmationMilliseconds = 400
    var isAway = true
    var asked = 0
    sale.provider.beforeAuthorising = { _ in
      asked += 1
      if isAway { throw PaymentError(code: .unavailable, message: "away") }
    }
    let position = try await sale.join("ann", method: "pm_card_visa")
    for round in 1...7 {
      let before = asked
      let worker = try await sale.startWorker(patience: patience)
      try await sale.eventually("the provider is asked in round \(round)") { asked > before }
      await worker.stop()
      #expect(try await sale.deadLetters() == 0, "round \(round)")
      #expect(try await sale.deliveriesLeft() == 0, "none of them counts")
    }
    isAway = false
    try await sale.startWorker(patience: patience)
    try await sale.wait(for: .purchased, position)
    await sale.end()
  }

  @Test("A delivery counts unless its worker met an outage or was told to end")
  func deliveryCounts() {
    var counts = DeliveryCounts()
    counts.note("new", 1)
    counts.note("known", 4)
    #expect(counts.grouped(["new"]).map(\.deliveries) == [1])
    counts.excuse("new")
    counts.excuse("known")
    #expect(counts.grouped(["new"]).map(\.deliveries) == [0])
    #expect(counts.grouped(["known"]).map(\.deliveries) == [3])
    counts.accuse("known")
    #expect(counts.grouped(["known"]).map(\.deliveries) == [4])
    #expect(counts.grouped(["new", "known", "unheard of"]).map(\.deliveries).sorted() == [0, 1, 4])
  }

  @Test("An order that the provider refuses for good ends as declined, and the tickets come back")
  func refusedOrder() async throws {
    let sale = try await SaleFixture(tickets: 1)
    sale.provider.beforeAuthorising = { _ in
      throw PaymentError(code: .refused, message: "too little", providerCode: "amount_too_small")
    }
    try await sale.startWorker()
    let position = try await sale.join("ann", method: "pm_card_visa")
    let status = try await sale.wait(for: .declined, position)
    #expect(status?.reason == "amount_too_small")
    #expect(
      try await sale.queue.buyers.cancel(event: sale.event, generation: 1, position: position, user: "ann")
        == .ok)
    sale.provider.beforeAuthorising = { _ in }
    try await sale.wait(for: .purchased, try await sale.join("bob", method: "pm_card_visa"))
    await sale.end()
  }

  @Test(
    "An order that the provider keeps failing is declined once its payment would be found",
    arguments: [false, true])
  func failedOrder(isFound: Bool) async throws {
    let sale = try await SaleFixture(tickets: 1)
    var calls: [UInt64] = []
    sale.provider.beforeAuthorising = { _ in
      calls.append(EventLoop.shared.now)
      // Found, or not, at the second look.
      if calls.count == 1 || !isFound { throw PaymentError(code: .failed, message: "an error occurred") }
    }
    var limits = Worker.ProviderLimits()
    limits.searchMilliseconds = 700
    try await sale.startWorker(limits)
    let position = try await sale.join("ann", method: "pm_card_visa")
    let status = try await sale.wait(for: isFound ? .purchased : .declined, position)
    #expect(status?.reason == (isFound ? nil : "processing_error"))
    #expect(calls.count == 2)
    #expect(calls[1] - calls[0] >= 700)
    await sale.end()
  }

  @Test("A position that Redis gave out twice is nobody else's purchase")
  func positionGivenTwice() async throws {
    let sale = try await SaleFixture(tickets: 10)
    // What is left in PostgreSQL of a buyer whom Redis has forgotten.
    _ = try await sale.purchases.claim([
      Sale.Confirmation(
        entryID: nil, event: sale.event, generation: 1, position: 1, attempt: 1, tickets: [9], amount: 1000,
        method: "pm", user: "forgotten")
    ])
    _ = try await sale.purchases.settle([
      PurchaseStore.Settlement(
        key: .init(event: sale.event, generation: 1, position: 1), attempt: 1, outcome: .sold,
        paymentID: "pi_forgotten", reason: "")
    ])
    try await sale.startWorker()
    let position = try await sale.join("ann", method: "pm_card_visa")
    #expect(position == 1)
    let status = try await sale.wait(for: .expired, position)
    #expect(status?.reason == "queue_lost")
    #expect(try await sale.soldTickets() == [9])
    #expect(sale.provider.payments.isEmpty)
    await sale.end()
  }

  @Test("A line that is shorter than what was paid begins a new life, and what was sold stays sold")
  func olderCopy() async throws {
    let sale = try await SaleFixture(tickets: 10)
    let first = try await sale.startWorker()
    for name in ["ann", "bob", "eve"] {
      try await sale.wait(for: .purchased, try await sale.join(name, 2, method: "pm_card_visa"))
    }
    await first.stop()
    // A copy of before bob came, as a replica that lagged would have it.
    try await sale.rewind(to: 1)
    let joe = try await sale.join("joe", method: "pm_card_visa")
    #expect(joe == 2)
    try await sale.startWorker()
    try await sale.eventually("a new life of the queue") {
      try await sale.queue.reader.document(event: sale.event)?.generation == 2
    }
    let again = try await sale.join("joe", method: "pm_card_visa")
    #expect(again == 1)
    try await sale.wait(for: .purchased, again)
    // The limit of four a user holds over both lives.
    let limited = try await sale.queue.buyers.enqueue(
      event: sale.event, user: "bob", seats: RequestedSeats(quantity: 3), method: nil)
    #expect(limited == .limitExceeded(owned: 2, limit: 4))
    #expect(try await sale.soldTickets().count == 7)
    #expect(sale.provider.payments.count == 4)
    await sale.end()
  }

  @Test(
    "Whoever has as many tickets as one person may buy is told so when they pay, and the seats are free again"
  )
  func limitThatRedisForgot() async throws {
    let sale = try await SaleFixture(tickets: 5)
    try await sale.startWorker()
    try await sale.wait(for: .purchased, try await sale.join("ann", 3, method: "pm_card_visa"))
    for method in ["pm_card_visa", nil] {
      try await sale.forgetOwned("ann")
      let position = try await sale.join("ann", 2, method: method)
      if method == nil {
        try await sale.wait(for: .reserved, position)
        #expect(try await sale.confirm(position, "ann") == .ok)
      }
      let ended = try await sale.wait(for: .rejected, position)
      #expect(ended?.reason == "limit_exceeded")
    }
    // From the refusal Redis has learned of it: two more hold nothing any more, and one would be in order.
    let again = try await sale.queue.buyers.enqueue(
      event: sale.event, user: "ann", seats: RequestedSeats(quantity: 2), method: nil)
    #expect(again == .limitExceeded(owned: 3, limit: 4))
    // The last two are there for somebody else, and ann was charged for three.
    try await sale.wait(for: .purchased, try await sale.join("bob", 2, method: "pm_card_visa"))
    #expect(try await sale.soldTickets().count == 5)
    #expect(sale.provider.payments.values.map(\.amount).sorted() == [2_000, 3_000])
    await sale.end()
  }

  @Test("Those who were in a line that was lost come first, in their order, in whatever order they come back")
  func rejoin() async throws {
    let sale = try await SaleFixture(tickets: 3, rejoinSeconds: 3)
    let first = try await sale.startWorker()
    try await sale.wait(for: .purchased, try await sale.join("served", method: "pm"))
    await first.stop()
    for position in 2...6 { #expect(try await sale.join("user\(position)") == position) }
    try await sale.loseRedis()
    try await sale.startWorker()
    try await sale.eventually("a new life of the queue") {
      try await sale.queue.reader.document(event: sale.event)?.generation == 2
    }
    // Who was not in line, and who does not say which place they had.
    for name in ["eve", "user3"] {
      let answer = try await sale.queue.buyers.enqueue(
        event: sale.event, user: name, seats: RequestedSeats(quantity: 1), method: nil)
      guard case .restoring(let milliseconds) = answer else {
        Issue.record("\(name): \(answer)")
        continue
      }
      #expect((0...3_000).contains(milliseconds))
    }
    for position in [5, 2, 6] {
      #expect(try await sale.join("user\(position)", lostPlace: position) == position)
    }
    #expect(try await sale.status(5)?.state == .queued)
    try await sale.wait(for: .reserved, 2)
    try await sale.wait(for: .reserved, 5)
    try await sale.wait(for: .standby, 6)
    #expect(try await sale.join("eve") == 7)
    #expect(try await sale.soldTickets().count == 1)
    await sale.end()
  }

  @Test("Who had left, or whose hold had ended, is known when the line is lost, and counts no more")
  func endsBeforeLoss() async throws {
    let sale = try await SaleFixture(tickets: 2, holdSeconds: 1, rejoinSeconds: 3)
    try await sale.startWorker()
    #expect(try await sale.join("gone") == 1)
    try await sale.wait(for: .expired, 1)
    try await sale.wait(for: .purchased, try await sale.join("served", 2, method: "pm"))
    let past = PastRequests(sale.postgres)
    func lostPlace(_ position: Int, _ user: String) async throws -> LostLines.Return {
      try await past.lifeToReturn(
        .init(event: sale.event, generation: 1, position: position), owner: UserKey(user).text)
    }
    try await sale.eventually("the end in PostgreSQL") {
      try await !sale.postgres.query(
        "SELECT 1 FROM request_end WHERE event_id = \(sale.event) AND generation = 1 AND state = 'X'"
      ).isEmpty
    }
    try await sale.loseRedis()
    try await sale.eventually("an owner of the new life") {
      try await lostPlace(1, "gone") == .countsNot
    }
    #expect(try await lostPlace(2, "served") == .countsNot)
    #expect(try await lostPlace(3, "other") == .counts(generation: 2))
    try await sale.eventually("the end of the time for those who come back") {
      try await !sale.postgres.query(
        "SELECT 1 FROM queue_life WHERE event_id = \(sale.event) AND generation = 2 AND is_restored"
      ).isEmpty
    }
    await sale.end()
  }

  @Test("A worker notices that the line went back while it served it")
  func wentBack() async throws {
    let sale = try await SaleFixture(tickets: 10)
    try await sale.startWorker()
    for n in 1...5 { try await sale.wait(for: .reserved, try await sale.join("user\(n)")) }
    try await sale.rewind(to: 3)
    try await sale.eventually("a new life of the queue") {
      try await sale.queue.reader.document(event: sale.event)?.generation == 2
    }
    try await sale.wait(for: .reserved, try await sale.join("user5", 4))
    await sale.end()
  }

  @Test("A worker without a call under way notices that it speaks to another Redis")
  func anotherRedis() async throws {
    let sale = try await SaleFixture(tickets: 10)
    try await sale.startWorker()
    for n in 1...3 { try await sale.wait(for: .reserved, try await sale.join("user\(n)")) }
    let ticket = try #require(try await sale.status(3)?.tickets.first)
    try await sale.forgetLastDecision(3, "user3", ticket: ticket)
    try await sale.wait(for: .reserved, 3)
    try await sale.wait(for: .reserved, try await sale.join("user4"))
    await sale.end()
  }

  @Test("A loop that fails whenever it has loaded tries again less and less often")
  func backoff() async throws {
    let sale = try await SaleFixture(tickets: 10)
    try await sale.breakLine(true)
    try await sale.startWorker()
    try await sleep(milliseconds: 3_000)
    // Each load takes the versions of the index on by so many.
    let loads = (try await sale.queue.reader.document(event: sale.event)?.version ?? 0) / 10_000
    #expect(loads > 1 && loads < 10, "\(loads)")
    try await sale.breakLine(false)
    try await sale.wait(for: .reserved, try await sale.join("ann"))
    await sale.end()
  }

  @Test("Whoever was told that the place was lost is not sold to, should an old payment turn up")
  func lateConfirmation() async throws {
    let sale = try await SaleFixture(tickets: 10)
    try await sale.startWorker()
    let position = try await sale.join("ann")
    try await sale.wait(for: .reserved, position)
    try await sale.loseRedis()
    let past = PastRequests(sale.postgres),
      key = PurchaseKey(
        event: sale.event, generation: 1, position: position)
    try await sale.eventually("ann is told") {
      try await past.status(key, owner: UserKey("ann").text)?.reason == "queue_lost"
    }
    try await sale.replayConfirmation(position, "ann", tickets: [1], generation: 1)
    try await sale.wait(for: .purchased, try await sale.join("bob", 4, method: "pm_card_visa"))
    try await sale.eventually("the old payment has left its stream") { try await sale.confirmations() == 0 }
    #expect(sale.provider.payments.count == 1)
    #expect(try await sale.soldTickets().count == 4)
    #expect(try await past.status(key, owner: UserKey("ann").text)?.reason == "queue_lost")
    await sale.end()
  }

  @Test(
    "A payment that the owner of its partition does not take is carried out by another worker, however busy",
    arguments: [true, false])
  func help(hasProcessor: Bool) async throws {
    let sale = try await SaleFixture(tickets: 10)
    let owner = try await sale.startWorker()
    let position = try await sale.join("ann")
    try await sale.wait(for: .reserved, position)
    await owner.stop()
    #expect(try await sale.leaseToNobody())
    #expect(try await sale.confirm(position, "ann") == .ok)
    try await sale.startWorker(spareProcessor: .test(hasProcessor))
    try await sale.wait(for: .purchased, position)
    try await sale.eventually("its stream is empty") { try await sale.confirmations() == 0 }
    await sale.end()
  }

  @Test(
    "An owner that goes on is left its payments where there is no processor to spare",
    arguments: [true, false])
  func leftAlone(hasProcessor: Bool) async throws {
    let sale = try await SaleFixture(tickets: 30)
    let owner = try await sale.startWorker()
    let users = (1...30).map { "user\($0)" }
    var positions: [Int] = []
    for user in users { positions.append(try await sale.join(user)) }
    for position in positions { try await sale.wait(for: .reserved, position) }
    await owner.stop()
    let partition = Partition(of: sale.event)
    #expect(try await sale.leaseToNobody())
    try await sale.startWorker(spareProcessor: .test(hasProcessor))
    var taken = 0
    var longestPause: UInt64 = 0
    for (position, user) in zip(positions, users) { #expect(try await sale.confirm(position, user) == .ok) }
    var before = EventLoop.shared.now
    for _ in users {
      taken += try await sale.queue.confirmations.take(partition, worker: "owner", limit: 1).count
      longestPause = max(longestPause, EventLoop.shared.now - before)
      before = EventLoop.shared.now
      try await sleep(milliseconds: 100)
    }
    // A machine that stood still has made this owner one that does nothing.
    if hasProcessor { #expect(taken < 30) } else if longestPause < 1_500 { #expect(taken == 30) }
    await sale.end()
  }

  @Test("What nobody owns is carried out, however busy the machine")
  func ownerless() async throws {
    let sale = try await SaleFixture(tickets: 1)
    #expect(try await sale.leaseToNobody())
    // It does not look for free leases again in this test.
    var patience = Worker.Patience()
    patience.leaseMilliseconds = QueueLeases.longestMilliseconds
    try await sale.startWorker(patience: patience, spareProcessor: .test(false))
    try await sale.eventually("it has looked for leases") {
      try await sale.queue.leases.holders().compactMap { $0 }.count == Partition.count
    }
    try await sale.dropLease()
    try await sale.replayConfirmation(1, "ann", tickets: [1], generation: 1)
    try await sale.eventually("it is paid") { try await sale.soldTickets() == [1] }
    await sale.end()
  }

  @Test("Who helps takes a group at a time, besides what waits for the provider")
  func helpersLimit() async throws {
    let sale = try await SaleFixture(tickets: 600)
    #expect(try await sale.leaseToNobody())
    func pay(_ positions: ClosedRange<Int>) async throws {
      for n in positions { try await sale.replayConfirmation(n, "user\(n)", tickets: [n], generation: 1) }
    }
    try await pay(1...100)
    let helped = MetricsRegistry.shared.counter("onsale_confirmations_helped_total", "")
    let before = helped.value
    let group = ConfirmationConsumer.Limits(Worker.ProviderLimits(), Worker.Patience()).group
    try await sale.postgres.withTransaction { transaction in
      // Nothing gets as far as the provider meanwhile.
      _ = try await transaction.query("LOCK TABLE purchase IN ACCESS EXCLUSIVE MODE")
      try await sale.startWorker(spareProcessor: .test(true))
      try await sale.eventually("it helps") { helped.value - before == 100 }
      try await pay(101...600)
      try await sale.eventually("it helps on") { helped.value - before >= group }
      try await sleep(milliseconds: 1_000)
      #expect(helped.value - before == group)
    }
    try await sale.eventually("its stream is empty") { try await sale.confirmations() == 0 }
    #expect(helped.value - before == 600)
    #expect(sale.provider.payments.count == 600)
    await sale.end()
  }

  @Test("A worker that stops notes what it captured last")
  func lastCaptures() async throws {
    let sale = try await SaleFixture(tickets: 1)
    let worker = try await sale.startWorker()
    try await sale.wait(for: .purchased, try await sale.join("ann", method: "pm_card_visa"))
    await worker.stop()
    #expect(sale.provider.payments.values.map(\.status) == [.succeeded])
    #expect(try await sale.postgres.query("SELECT 1 FROM outbox").isEmpty)
    await sale.end()
  }

  @Test("Who helps has an idle processor, or an owner that does nothing, or none, or is very late")
  func whoHelps() {
    let limits = ConfirmationConsumer.Limits(Worker.ProviderLimits(), Worker.Patience())
    #expect(limits.mayHelp(waited: 200, unmoved: 0, costsNobody: true))
    #expect(limits.mayHelp(waited: 0, unmoved: 200, costsNobody: true), "Redis's clock went back")
    #expect(!limits.mayHelp(waited: 199, unmoved: 199, costsNobody: true))
    #expect(!limits.mayHelp(waited: 29_999, unmoved: 1_999, costsNobody: false))
    #expect(limits.mayHelp(waited: 0, unmoved: 2_000, costsNobody: false))
    #expect(limits.mayHelp(waited: 30_000, unmoved: 0, costsNobody: false))
  }

  @Test("A processor is to spare while half of one is idle, as far as is known")
  func spareProcessors() {
    let kernel = Kernel()
    let spare = SpareProcessor { kernel.reading }
    #expect(!spare.isThere(), "nothing is known yet")
    kernel.reading = (up: 250, idle: 1_125)
    #expect(spare.isThere())
    kernel.reading = (up: 499, idle: 1_125)
    #expect(spare.isThere(), "what is known holds for a moment")
    kernel.reading = (up: 500, idle: 1_249)
    #expect(!spare.isThere())
    kernel.reading = (up: 3_501, idle: 9_000)
    #expect(!spare.isThere(), "that may have been long ago")
    kernel.reading = (up: 6_501, idle: 10_500)
    #expect(spare.isThere())
    kernel.reading = (up: 7_000, idle: 10_000)
    #expect(!spare.isThere(), "the kernel's count went back")
    kernel.reading = nil
    #expect(!spare.isThere(), "what was known last")
    #expect(SpareProcessor(read: { nil }).isThere(), "nobody knows")
  }

  @Test("The kernel says how long processors were idle")
  func kernelsIdleTime() throws {
    func ticks() throws -> Double {
      let stat = try String(contentsOfFile: "/proc/stat", encoding: .utf8)
      return Double(try #require(Int(stat.split(separator: " ")[4])))
    }
    let perSecond = Double(sysconf(Int32(_SC_CLK_TCK)))
    let before = try ticks() * 1_000 / perSecond
    let reading = try #require(SpareProcessor.kernel())
    let after = try ticks() * 1_000 / perSecond
    // Both are rounded, and processors that sleep are counted when they wake.
    #expect(((before - 2_000)...(after + 2_000)).contains(Double(reading.idle)))
    #expect(reading.up > 0)
  }

  @Test("Of two workers the owner of the partition takes its payments")
  func ownersFirst() async throws {
    let sale = try await SaleFixture(tickets: 40)
    for _ in 1...2 { try await sale.startWorker() }
    let helped = MetricsRegistry.shared.counter("onsale_confirmations_helped_total", "")
    let before = helped.value
    for n in 1...40 {
      try await sale.wait(for: .purchased, try await sale.join("user\(n)", method: "pm_card_visa"))
    }
    // Not none: this machine may stand still for longer than the others wait.
    #expect(helped.value - before < 10, "\(helped.value - before) of 40")
    await sale.end()
  }

  @Test("A payment in another partition's stream is brought to its own, and ends there")
  func strayConfirmation() async throws {
    let sale = try await SaleFixture(tickets: 10)
    let stray = Partition(number: (sale.event + 1) % Partition.count)
    try await sale.startWorker()
    let position = try await sale.join("ann")
    let held = try await sale.wait(for: .reserved, position)
    try await sale.replayConfirmation(
      position, "ann", tickets: try #require(held).tickets, generation: 1, stream: stray)
    try await sale.eventually("the stray stream is empty") {
      try await sale.confirmations(stray) == 0
    }
    try await sale.eventually("it is paid") { try await sale.soldTickets() == held?.tickets }
    try await sale.eventually("its own stream is empty") { try await sale.confirmations() == 0 }
    #expect(try await sale.queue.deadLetters.list(stray, limit: 1).isEmpty)
    #expect(try await sale.queue.deadLetters.list(Partition(of: sale.event), limit: 1).isEmpty)
    #expect(sale.provider.payments.count == 1)
    await sale.end()
  }

  @Test("An owner that was replaced can write nothing any more")
  func staleEpoch() async throws {
    let sale = try await SaleFixture(tickets: 1)
    let partition = Partition(of: sale.event)
    let epochs = EpochStore(sale.postgres)
    let old = try await epochs.next(partition)
    #expect(try await sale.queue.leases.own(partition, epoch: old + 1))
    #expect(try await !sale.queue.leases.own(partition, epoch: old))
    await #expect(throws: StoreError.self) {
      _ = try await sale.queue.owned(event: sale.event, epoch: old).takeOver()
    }
    await sale.end()
  }
}

extension Array {
  @LoopActor
  func asyncMap<Output>(_ body: @LoopActor (Element) async throws -> Output) async rethrows -> [Output] {
    var output: [Output] = []
    for element in self { output.append(try await body(element)) }
    return output
  }
}
