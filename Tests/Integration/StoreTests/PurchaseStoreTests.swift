import EventLoop
import Metrics
import Postgres
import Sale
import Testing

@testable import Archive
@testable import Ledger
@testable import Queue
@testable import StoreCommon

@LoopActor
@Suite("Purchases in PostgreSQL", .timeLimit(.minutes(3)))
struct PurchaseStoreTests {
  func confirmation(
    _ event: Int, _ position: Int, _ tickets: [Int], attempt: Int = 1, method: String = "pm_card_visa",
    generation: Int = 1
  ) -> Sale.Confirmation {
    Sale.Confirmation(
      entryID: nil, event: event, generation: generation, position: position, attempt: attempt,
      tickets: tickets,
      amount: 100 * tickets.count, method: method, user: "user \(position)")
  }

  func settlement(
    _ confirmation: Sale.Confirmation, _ outcome: PurchaseStore.Settlement.Outcome,
    payment: String? = "pi_1"
  ) -> PurchaseStore.Settlement {
    PurchaseStore.Settlement(
      key: .init(confirmation), user: confirmation.user, attempt: confirmation.attempt, outcome: outcome,
      paymentID: payment,
      reason: outcome == .sold ? "" : "reason")
  }

  @Test("Two who pay in two lives of a line, one after the other in each, keep nobody waiting for each other")
  func usersInTwoLives() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let store = PurchaseStore(it.postgres)
    let event = try await it.makeEvent(tickets: 400)
    func group(_ generation: Int, _ round: Int, attempt: Int) -> [Sale.Confirmation] {
      // In the second life those who were first come last.
      (0..<20).map { number in
        let place = round * 20 + number
        return confirmation(
          of: "user \(generation == 1 ? number : 19 - number)",
          .init(event: event, generation: generation, position: place),
          [(generation - 1) * 200 + place % 200 + 1], attempt: attempt)
      }
    }
    let retries = MetricsRegistry.shared.counter(
      "onsale_postgres_retries_total",
      "Transactions run again after a serialization failure, deadlock or lock timeout")
    let before = retries.value
    let lives = (1...2).map { generation in
      Task { @LoopActor in
        for round in 0..<40 {
          for attempt in 1...2 {
            let group = group(generation, round, attempt: attempt)
            _ = try await store.claim(group)
            _ = try await store.settle(group.map { settlement($0, .declined) })
          }
        }
      }
    }
    for life in lives { try await life.value }
    #expect(retries.value == before)
  }

  @Test("An intent claims its tickets; repeating it changes nothing")
  func claim() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let store = PurchaseStore(it.postgres)
    let event = try await it.makeEvent(tickets: 5)
    let group = [confirmation(event, 1, [1, 2]), confirmation(event, 2, [3], method: "pm', '{x}\"")]
    let first = try await store.claim(group)
    #expect(first.map { $0?.state } == [.paying, .paying])
    #expect(first.map { $0?.ownsItsTickets } == [true, true])
    #expect(first.map { $0?.amount } == [200, 100])
    #expect(first[0]?.currency == "EUR")
    #expect(first[1]?.method == "pm', '{x}\"")
    #expect(try await store.claim(group) == first)
    // Parameters are frozen.
    let changed = try await store.claim([confirmation(event, 1, [4], method: "other")])
    #expect(changed == [first[0]])
    #expect(try await it.count("claim WHERE event_id = \(event)") == 3)
  }

  @Test("A request for the same ticket twice owns it once, and is sold nothing")
  func oneTicketTwice() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let store = PurchaseStore(it.postgres)
    let request = confirmation(try await it.makeEvent(tickets: 5), 1, [5, 5])
    #expect(try await store.claim([request])[0]?.ownsItsTickets == false)
    #expect(try await store.settle([settlement(request, .sold)])[0]?.state == .paying)
  }

  @Test("One request twice in a group, and an unknown event, do not disturb the others")
  func oddGroups() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let store = PurchaseStore(it.postgres)
    let event = try await it.makeEvent(tickets: 5)
    let results = try await store.claim([
      confirmation(event, 1, [1]), confirmation(999_999_999, 1, [1]), confirmation(event, 1, [1]),
      confirmation(event, 2, [2]),
    ])
    #expect(results.map { $0?.ownsItsTickets } == [true, nil, true, true])
    let settled = try await store.settle([
      settlement(confirmation(event, 1, [1]), .sold), settlement(confirmation(event, 1, [1]), .sold),
      settlement(confirmation(999_999_999, 1, [1]), .sold),
    ])
    #expect(settled.map { $0?.state } == [.sold, .sold, nil])
  }

  @Test("Of many groups that claim the same tickets at once, exactly one owns each")
  func race() async throws {
    let it = try await DatabaseFixture(connections: 8)
    defer { it.close() }
    let store = PurchaseStore(it.postgres)
    let event = try await it.makeEvent(tickets: 20)
    let tasks = (0..<16).map { worker in
      Task {
        // Each group wants all tickets, in an order of its own.
        let tickets = (1...20).map { ($0 * 7 + worker * 3) % 20 + 1 }
        return try await store.claim(
          tickets.enumerated().map { index, ticket in
            confirmation(event, worker * 100 + index + 1, [ticket])
          })
      }
    }
    var owned = 0
    for task in tasks { owned += try await task.value.count { $0?.ownsItsTickets == true } }
    #expect(owned == 20)
    #expect(try await it.count("claim WHERE event_id = \(event)") == 20)
  }

  @Test("Of two requests that overlap, one owns all its tickets, and the other can be sold nothing")
  func overlap() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let store = PurchaseStore(it.postgres)
    let event = try await it.makeEvent(tickets: 5)
    let winner = confirmation(event, 1, [1, 2]), loser = confirmation(event, 2, [2, 3])
    #expect(try await store.claim([winner])[0]?.ownsItsTickets == true)
    #expect(try await store.claim([loser])[0]?.ownsItsTickets == false)
    // Whatever a worker believes.
    #expect(try await store.settle([settlement(loser, .sold)])[0]?.state == .paying)
    #expect(try await it.count("ticket WHERE event_id = \(event) AND purchased") == 0)
    #expect(try await store.settle([settlement(loser, .void, payment: nil)])[0]?.state == .void)
    #expect(try await store.settle([settlement(winner, .sold)])[0]?.state == .sold)
    // The third ticket, which only the loser had claimed, is free again.
    #expect(try await store.claim([confirmation(event, 3, [3])])[0]?.ownsItsTickets == true)
    // What is sold stays sold.
    #expect(try await store.claim([confirmation(event, 4, [1])])[0]?.ownsItsTickets == false)
    #expect(try await store.settle([settlement(winner, .declined)])[0]?.state == .sold)
  }

  @Test("A sale marks the tickets, notes the capture, and is told again alike")
  func sale() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let store = PurchaseStore(it.postgres)
    let event = try await it.makeEvent(tickets: 5)
    let request = confirmation(event, 1, [1, 2])
    _ = try await store.claim([request])
    let sold = try await store.settle([settlement(request, .sold, payment: "pi_9")])
    #expect(sold[0]?.state == .sold)
    #expect(sold[0]?.paymentID == "pi_9")
    #expect(try await store.settle([settlement(request, .sold, payment: "pi_other")]) == sold)
    #expect(try await store.claim([request])[0]?.state == .sold)
    #expect(
      try await it.count("ticket WHERE event_id = \(event) AND purchased AND payment_id = 'pi_9' AND id <= 2")
        == 2)
    #expect(
      try await it.count("outbox WHERE event_id = \(event) AND kind = 'capture' AND payment_id = 'pi_9'") == 1
    )
    try await store.done([.init(key: .init(request), kind: .capture, paymentID: "pi_9")])
    #expect(try await it.count("outbox WHERE event_id = \(event) AND kind = 'capture'") == 0)
    #expect(try await it.count("purchase WHERE event_id = \(event) AND captured_at IS NOT NULL") == 1)
    // Told once more after the capture, it is not to be captured again.
    _ = try await store.settle([settlement(request, .sold, payment: "pi_9")])
    #expect(try await it.count("outbox WHERE event_id = \(event) AND kind = 'capture'") == 0)
    let found = try await store.find(.init(request))
    #expect(found?.user == "user 1")
    #expect(found?.tickets == [1, 2])
    #expect(found?.progress.state == .sold)
  }

  @Test("A decline lets the tickets go; a later try may claim them again, an earlier one has no say any more")
  func decline() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let store = PurchaseStore(it.postgres)
    let event = try await it.makeEvent(tickets: 5)
    let first = confirmation(event, 1, [1]), second = confirmation(event, 1, [1], attempt: 2, method: "pm_2")
    _ = try await store.claim([first])
    let declined = try await store.settle([settlement(first, .declined, payment: nil)])
    #expect(declined[0]?.state == .declined)
    #expect(declined[0]?.reason == "reason")
    #expect(try await it.count("claim WHERE event_id = \(event)") == 0)
    #expect(try await store.claim([first])[0]?.state == .declined)
    let again = try await store.claim([second])
    #expect(again[0]?.state == .paying)
    #expect(again[0]?.attempt == 2)
    #expect(again[0]?.method == "pm_2")
    #expect(again[0]?.ownsItsTickets == true)
    #expect(try await store.settle([settlement(first, .sold)])[0]?.state == .paying)
    #expect(try await store.settle([settlement(second, .sold)])[0]?.state == .sold)
  }

  @Test("A position means another request in another life of the queue")
  func generations() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let store = PurchaseStore(it.postgres)
    let event = try await it.makeEvent(tickets: 5)
    let old = confirmation(event, 1, [1]), new = confirmation(event, 1, [2], generation: 2)
    #expect(try await store.claim([old, new]).map { $0?.ownsItsTickets } == [true, true])
    _ = try await store.settle([settlement(old, .void, payment: nil)])
    #expect(try await store.find(.init(new))?.progress.state == .paying)
  }

  @Test(
    "An authorisation that sold nothing is voided with the same commit; that of an attempt under way is not")
  func orphans() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let store = PurchaseStore(it.postgres)
    let event = try await it.makeEvent(tickets: 5)
    func cancelled() async throws -> [String] {
      try await it.postgres.query(
        "SELECT payment_id FROM outbox WHERE event_id = \(event) AND kind = 'cancel' ORDER BY 1"
      ).map { try $0.string("payment_id") }
    }
    let void = confirmation(event, 1, [1]), sold = confirmation(event, 2, [2]),
      open = confirmation(event, 3, [3])
    _ = try await store.claim([void, sold, open])
    _ = try await store.settle([
      settlement(void, .void, payment: nil), settlement(sold, .sold, payment: "pi_sold"),
    ])
    _ = try await store.settle([settlement(sold, .sold, payment: "pi_sold")])
    #expect(try await cancelled() == [])
    _ = try await store.settle([
      settlement(void, .sold, payment: "pi_void"), settlement(sold, .sold, payment: "pi_second"),
      // Its tickets are claimed by somebody else now: nothing is sold, and the attempt goes on.
      settlement(open, .sold, payment: "pi_open"),
    ])
    #expect(try await cancelled() == ["pi_second", "pi_void"])
    #expect(try await store.find(.init(open))?.progress.state == .sold)
  }

  @Test("An authorisation whose intent PostgreSQL has lost is not voided: the intent is written again")
  func lostIntent() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let store = PurchaseStore(it.postgres)
    let event = try await it.makeEvent(tickets: 5)
    let request = confirmation(event, 1, [1])
    #expect(try await store.settle([settlement(request, .sold)]) == [nil])
    #expect(try await it.count("outbox WHERE event_id = \(event)") == 0)
    _ = try await store.claim([request])
    #expect(try await store.settle([settlement(request, .sold)])[0]?.state == .sold)
  }

  @Test("A payment that never ends is taken up a limited number of times")
  func stalls() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let store = PurchaseStore(it.postgres)
    let event = try await it.makeEvent(tickets: 5)
    _ = try await store.claim([confirmation(event, 1, [1])])
    var times = 0
    for _ in 1...20 {
      _ = try await it.postgres.query(
        "UPDATE purchase SET updated_at = now() - interval '1 hour' WHERE event_id = \(event)")
      times += try await store.stalledPayments(limit: 1_000).count { $0.event == event }
    }
    #expect(times == 10)
  }

  @Test(
    "Outbox entries are leased to one caller at a time, ever more rarely, and no number of tries breaks them")
  func outboxEntries() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let store = PurchaseStore(it.postgres)
    let event = try await it.makeEvent(tickets: 5)
    let key = PurchaseKey(event: event, generation: 1, position: 1)
    for _ in 1...2 { try await store.add(.init(key: key, kind: .cancel, paymentID: "pi_1")) }
    func due() async throws -> [OutboxEntry] {
      try await store.dueOutbox(limit: 1_000_000).filter { $0.key.event == event }
    }
    let first = try await due()
    #expect(first.map(\.kind) == [.cancel])
    #expect(first.map(\.attempts) == [1])
    #expect(try await due().isEmpty)
    _ = try await it.postgres.query(
      "UPDATE outbox SET attempts = 100000, available_at = now() WHERE event_id = \(event)")
    #expect(try await due().count == 1)
    #expect(
      try await it.count("outbox WHERE event_id = \(event) AND available_at < now() + interval '1 hour'") == 1
    )
    try await store.done(first)
    #expect(try await it.count("outbox WHERE event_id = \(event)") == 0)
  }

  @Test("A payment that nobody carries on is found once a minute, as it was")
  func stalled() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let store = PurchaseStore(it.postgres)
    let event = try await it.makeEvent(tickets: 5)
    _ = try await store.claim([confirmation(event, 1, [1, 2], method: "m")])
    func stalled() async throws -> [Sale.Confirmation] {
      try await store.stalledPayments(limit: 1000).filter { $0.event == event }
    }
    #expect(try await stalled().isEmpty)
    _ = try await it.postgres.query(
      "UPDATE purchase SET updated_at = now() - interval '2 min' WHERE event_id = \(event)")
    let found = try await stalled()
    #expect(found.map(\.position) == [1])
    #expect(found.first?.tickets == [1, 2])
    #expect(found.first?.amount == 200)
    #expect(found.first?.method == "m")
    #expect(found.first?.user == "user 1")
    #expect(found.first?.entryID == nil)
    #expect(try await stalled().isEmpty)
  }

  @Test("What a clock that has gone back put off for long is done soon all the same")
  func clockWentBack() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    var patience = PurchaseStore.Patience()
    patience.stalledSeconds = 0.05
    let store = PurchaseStore(it.postgres, patience: patience)
    let event = try await it.makeEvent(tickets: 5)
    _ = try await store.claim([confirmation(event, 1, [1]), confirmation(event, 2, [2])])
    _ = try await store.settle([settlement(confirmation(event, 1, [1]), .sold)])
    _ = try await it.postgres.query(
      "UPDATE outbox SET available_at = now() + interval '1 hour' WHERE event_id = \(event)")
    _ = try await it.postgres.query(
      "UPDATE purchase SET updated_at = now() + interval '1 hour' WHERE event_id = \(event)")
    #expect(try await store.dueOutbox(limit: 1_000_000).filter { $0.key.event == event }.count == 1)
    try await eventually {
      try await store.stalledPayments(limit: 1000).contains { $0.event == event }
    }
  }

  @Test("A stall that was nobody's fault does not count")
  func excused() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let store = PurchaseStore(it.postgres)
    let event = try await it.makeEvent(tickets: 5)
    _ = try await store.claim([confirmation(event, 1, [1])])
    let key = PurchaseKey(event: event, generation: 1, position: 1)
    for _ in 1...15 {
      _ = try await it.postgres.query(
        "UPDATE purchase SET updated_at = now() - interval '1 hour' WHERE event_id = \(event)")
      #expect(try await store.stalledPayments(limit: 1_000).contains { $0.event == event })
      try await store.excuse([key])
    }
    #expect(try await it.count("purchase WHERE event_id = \(event) AND stalls = 0") == 1)
  }

  @Test("Of a life of the queue that has ended no purchase begins, and those that began are not told lost")
  func endedLife() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let store = PurchaseStore(it.postgres), seats = SeatStore(it.postgres), past = PastRequests(it.postgres)
    let event = try await it.makeEvent(tickets: 5)
    func state(_ position: Int) async throws -> RequestState? {
      try await past.status(
        .init(event: event, generation: 1, position: position), owner: UserKey("user \(position)").text)?
        .state
    }
    #expect(try await seats.begin(event: event, generation: 1) != .tooLate)
    let known = confirmation(event, 1, [1]), declined = confirmation(event, 2, [2])
    let late = confirmation(event, 3, [3])
    _ = try await store.claim([known, declined])
    _ = try await store.settle([settlement(declined, .declined)])
    _ = try await it.postgres.query("UPDATE event SET generation = 2 WHERE id = \(event)")
    // Redis is empty, and no new line is there yet: nobody is told anything that may turn out otherwise.
    #expect(try await state(3) == nil)
    #expect(try await seats.begin(event: event, generation: 2) != .tooLate)
    #expect(try await seats.begin(event: event, generation: 1) == .tooLate)
    #expect(try await state(1) == .confirming)
    #expect(try await state(2) == .rejected)
    #expect(try await state(3) == .rejected)
    let again = confirmation(event, 2, [2], attempt: 2), first = confirmation(event, 1, [3], generation: 2)
    let results = try await store.claim([known, again, late, first])
    #expect(results.map { $0?.state } == [.paying, .declined, nil, .paying])
    #expect(results[3]?.ownsItsTickets == true)
    #expect(try await store.settle([settlement(known, .sold)])[0]?.state == .sold)
    #expect(try await state(1) == .purchased)
    #expect(try await state(3) == .rejected)
  }

  @Test(
    "Purchases and the end of their line at once: each is sold to or told that the place is lost, never both")
  func endOfLifeRace() async throws {
    let it = try await DatabaseFixture(connections: 8)
    defer { it.close() }
    let store = PurchaseStore(it.postgres), seats = SeatStore(it.postgres), past = PastRequests(it.postgres)
    let event = try await it.makeEvent(tickets: 200)
    #expect(try await seats.begin(event: event, generation: 1) != .tooLate)
    let claims = (0..<20).map { group in
      Task {
        try await store.claim((1...10).map { confirmation(event, group * 10 + $0, [group * 10 + $0]) })
      }
    }
    let asks = (0..<4).map { first in
      Task {
        var lost: [Int] = []
        for position in stride(from: first + 1, through: 200, by: 4) {
          let status = try await past.status(
            .init(event: event, generation: 1, position: position), owner: UserKey("user \(position)").text)
          if status?.reason == "queue_lost" { lost.append(position) }
        }
        return lost
      }
    }
    #expect(try await seats.begin(event: event, generation: 2) != .tooLate)
    for claim in claims { _ = try await claim.value }
    for ask in asks {
      for position in try await ask.value {
        #expect(try await store.find(.init(event: event, generation: 1, position: position)) == nil)
      }
    }
  }

  @Test("Whoever has lost a place to somebody else buys nothing with it; what they bought before is theirs")
  func lostPlace() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let store = PurchaseStore(it.postgres), past = PastRequests(it.postgres)
    let event = try await it.makeEvent(tickets: 5)
    func forfeit(_ position: Int) async throws -> RequestStatus {
      try await past.forfeit(
        .init(event: event, generation: 1, position: position), owner: UserKey("user \(position)").text)
    }
    func second(_ position: Int, _ tickets: [Int], attempt: Int = 1) -> Sale.Confirmation {
      let first = confirmation(event, position, tickets, attempt: attempt)
      return Sale.Confirmation(
        entryID: nil, event: event, generation: 1, position: position, attempt: attempt, tickets: tickets,
        amount: first.amount, method: first.method, user: "second \(position)")
    }
    let lost = RequestStatus(state: .rejected, reason: "queue_lost")
    // Told, and paid too late: the place is the second one's.
    #expect(try await forfeit(1) == lost)
    #expect(try await store.claim([confirmation(event, 1, [1])])[0] == nil)
    #expect(try await store.claim([second(1, [1])])[0]?.user == "second 1")
    #expect(try await forfeit(1) == lost)
    // Paid in time: it is the first one's.
    _ = try await store.claim([confirmation(event, 2, [2])])
    #expect(try await forfeit(2).state == .confirming)
    _ = try await store.settle([settlement(confirmation(event, 2, [2]), .sold)])
    #expect(try await forfeit(2).tickets == [2])
    #expect(try await store.claim([second(2, [3])])[0]?.user == "user 2")
    // Another card of the first one does not pay for what the second one was declined.
    _ = try await store.claim([second(3, [3])])
    _ = try await store.settle([settlement(second(3, [3]), .declined)])
    let progress = try await store.claim([confirmation(event, 3, [4], attempt: 2, method: "first's")])[0]
    #expect(progress?.state == .declined && progress?.user == "second 3")
    #expect(try await store.claim([second(3, [3], attempt: 2)])[0]?.state == .paying)
    #expect(try await it.count("lost_place WHERE event_id = \(event)") == 2)
  }

  @Test("A place that is lost already is looked up without a lock that buyers would wait for")
  func lostPlaceAgain() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let past = PastRequests(it.postgres), event = try await it.makeEvent(tickets: 1)
    #expect(try await SeatStore(it.postgres).begin(event: event, generation: 1) != .tooLate)
    // Who locked the row last.
    func locker() async throws -> String? {
      try await it.postgres.query(
        "SELECT xmax::text AS locker FROM queue_life WHERE event_id = \(event)"
      ).first?.string("locker")
    }
    var lockers: [String?] = [try await locker()]
    for _ in 1...2 {
      let told = try await past.forfeit(.init(event: event, generation: 1, position: 1), owner: "somebody")
      #expect(told.reason == "queue_lost")
      lockers.append(try await locker())
    }
    #expect(lockers[0] != lockers[1] && lockers[1] == lockers[2])
  }

  @Test("Purchases and the loss of their places at once: each is sold to or told so, never both")
  func lostPlaceRace() async throws {
    let it = try await DatabaseFixture(connections: 8)
    defer { it.close() }
    let store = PurchaseStore(it.postgres), past = PastRequests(it.postgres)
    let event = try await it.makeEvent(tickets: 200)
    #expect(try await SeatStore(it.postgres).begin(event: event, generation: 1) != .tooLate)
    let claims = (0..<20).map { group in
      Task {
        try await store.claim((1...10).map { confirmation(event, group * 10 + $0, [group * 10 + $0]) })
      }
    }
    let asks = (0..<4).map { first in
      Task {
        var told: [Int: RequestState] = [:]
        for position in stride(from: 200 - first, through: 1, by: -4) {
          told[position] = try await past.forfeit(
            .init(event: event, generation: 1, position: position), owner: UserKey("user \(position)").text
          ).state
        }
        return told
      }
    }
    for claim in claims { _ = try await claim.value }
    for ask in asks {
      for (position, told) in try await ask.value {
        let found = try await store.find(.init(event: event, generation: 1, position: position))
        #expect((found == nil) == (told == .rejected), "\(position): \(told)")
      }
    }
  }

  @Test("Whoever waited in a line that was lost after everything was sold is told that, and always the same")
  func lostSoldOut() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let store = PurchaseStore(it.postgres), seats = SeatStore(it.postgres), past = PastRequests(it.postgres)
    let event = try await it.makeEvent(tickets: 1)
    func told(_ generation: Int) async throws -> RequestState? {
      try await past.status(
        .init(event: event, generation: generation, position: 9), owner: UserKey("user 9").text)?.state
    }
    for life in 1...2 { #expect(try await seats.begin(event: event, generation: life) != .tooLate) }
    #expect(try await told(1) == .rejected)
    let last = confirmation(event, 1, [1], generation: 2)
    _ = try await store.claim([last])
    #expect(try await store.settle([settlement(last, .sold)])[0]?.state == .sold)
    for life in 3...4 { #expect(try await seats.begin(event: event, generation: life) != .tooLate) }
    #expect(try await told(1) == .rejected)
    #expect(try await told(2) == .soldOut)
    #expect(try await told(3) == .soldOut)
    #expect(try await told(4) == nil)
  }

  private func confirmation(of user: String, _ key: PurchaseKey, _ tickets: [Int], attempt: Int = 1)
    -> Sale.Confirmation
  {
    Sale.Confirmation(
      entryID: nil, event: key.event, generation: key.generation, position: key.position, attempt: attempt,
      tickets: tickets, amount: 100 * tickets.count, method: "pm", user: user)
  }

  private func tickets(_ it: DatabaseFixture, _ event: Int, of user: String) async throws -> Int? {
    try await it.postgres.query("SELECT tickets FROM buyer WHERE event_id = \(event) AND user_id = \(user)")
      .first?
      .int("tickets")
  }

  @Test(
    "The limit per user holds over all lives of the line: what is over it ends before anything is charged")
  func limitPerUser() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let store = PurchaseStore(it.postgres), event = try await it.makeEvent(tickets: 20)
    func place(_ generation: Int, _ position: Int, _ tickets: [Int], attempt: Int = 1)
      -> Sale.Confirmation
    {
      confirmation(
        of: "ann", .init(event: event, generation: generation, position: position), tickets, attempt: attempt)
    }
    let first = place(1, 1, [1, 2, 3])
    #expect(try await store.claim([first])[0]?.state == .paying)
    // One payment under way counts as well as one that is sold.
    let over = place(2, 1, [4, 5]), other = confirmation(event, 7, [6], generation: 2)
    let refused = try await store.claim([over, other])
    #expect(refused.map { $0?.state } == [.void, .paying])
    #expect(refused[0]?.reason == "limit_exceeded")
    #expect(try await it.count("claim WHERE event_id = \(event) AND ticket_id IN (4, 5)") == 0)
    #expect(try await tickets(it, event, of: "ann") == 3)
    // Told again alike, whatever was sold or let go since; and it is what the buyer is told without Redis.
    _ = try await store.settle([settlement(first, .declined, payment: nil)])
    #expect(try await tickets(it, event, of: "ann") == 0)
    #expect(try await store.claim([over])[0] == refused[0])
    let told = try await PastRequests(it.postgres).status(
      .init(event: event, generation: 2, position: 1), owner: UserKey("ann").text)
    #expect(told == RequestStatus(state: .rejected, reason: "limit_exceeded"))

    // Another place has the room that the decline left, and another card of the first one then has none.
    let second = place(2, 2, [4, 5])
    #expect(try await store.claim([second])[0]?.state == .paying)
    #expect(try await store.settle([settlement(second, .sold)])[0]?.state == .sold)
    #expect(try await tickets(it, event, of: "ann") == 2)
    #expect(try await store.claim([place(1, 1, [1, 2, 3], attempt: 2)])[0]?.reason == "limit_exceeded")
    #expect(try await tickets(it, event, of: "ann") == 2)
    // What is over another user's tickets gives its room back.
    let taken = place(3, 1, [4, 8])
    #expect(try await store.claim([taken])[0]?.ownsItsTickets == false)
    #expect(try await store.settle([settlement(taken, .void, payment: nil)])[0]?.state == .void)
    #expect(try await tickets(it, event, of: "ann") == 2)
    // Two that one user begins at once: what fits in order, and nobody else's end.
    let group = [place(4, 1, [9]), place(4, 2, [10]), place(4, 3, [11]), place(4, 1, [9])]
    #expect(
      try await store.claim(group + [confirmation(event, 8, [12], generation: 4)]).map { $0?.state }
        == [.paying, .paying, .void, .paying, .paying])
    #expect(try await tickets(it, event, of: "ann") == 4)
    // What was begun goes on, also where the limit is lower by now.
    _ = try await it.postgres.query("UPDATE event SET per_user_limit = 1 WHERE id = \(event)")
    #expect(try await store.claim([group[0]])[0]?.state == .paying)
    #expect(try await store.settle([settlement(group[0], .sold)])[0]?.state == .sold)
  }

  @Test("A limit that was lowered is that of who comes then, and not of who held tickets before")
  func limitLowered() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let event = try await it.makeEvent(tickets: 9)
    _ = try await it.postgres.query(
      "UPDATE event SET per_user_limit = 1, highest_per_user_limit = 4 WHERE id = \(event)")
    let claimed = try await PurchaseStore(it.postgres).claim([
      confirmation(event, 1, [1, 2, 3]), confirmation(event, 2, [4, 5, 6, 7, 8]),
    ])
    #expect(claimed.map { $0?.state } == [.paying, .void])
  }

  @Test("Of all places that a user has in many lives of the line, as many are sold as one person may buy")
  func limitRace() async throws {
    let it = try await DatabaseFixture(connections: 8)
    defer { it.close() }
    let store = PurchaseStore(it.postgres), event = try await it.makeEvent(tickets: 400)
    let workers = (0..<16).map { worker in
      Task {
        // Each life of the line is carried out by two workers, in an order of their own.
        let life = worker / 2 + 1
        var begun: [PurchaseKey: Int] = [:]
        for start in stride(from: 0, to: 20, by: 5) {
          let group = (start..<start + 5).map { user in
            confirmation(
              of: "racer \(user)",
              .init(event: event, generation: life, position: (user * 7 + life) % 20 + 1),
              [(life - 1) * 40 + user * 2 + 1, (life - 1) * 40 + user * 2 + 2])
          }
          let order = worker % 2 == 0 ? group : group.reversed()
          for (confirmation, progress) in zip(order, try await store.claim(order))
          where progress?.state == .paying {
            begun[.init(confirmation)] = 2
          }
        }
        return begun
      }
    }
    var begun: [PurchaseKey: Int] = [:]
    for worker in workers { begun.merge(try await worker.value) { first, _ in first } }
    // Of eight places with two tickets each, two of every user.
    #expect(begun.count == 40)
    #expect(
      try await it.count(
        "buyer WHERE event_id = \(event) AND tickets = 4 AND user_id LIKE 'racer %'") == 20)
    #expect(
      try await it.count("claim WHERE event_id = \(event)") == 80)
  }

  @Test("What a version before sells, which knows nothing of the count, is counted all the same")
  func limitBesideTheVersionBefore() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let event = try await it.makeEvent(tickets: 9)
    func set(_ state: String) async throws {
      _ = try await it.postgres.query(
        "UPDATE purchase SET state = \(state) WHERE event_id = \(event) AND generation = 1")
    }
    _ = try await it.postgres.query(
      """
      INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method)
      VALUES (\(event), 1, 1, 'ann', 'paying', 1, '{1,2,3}', 300, 'EUR', 'pm')
      """)
    #expect(try await tickets(it, event, of: "ann") == 3)
    try await set("sold")
    #expect(try await tickets(it, event, of: "ann") == 3)
    let more = confirmation(of: "ann", .init(event: event, generation: 2, position: 1), [4, 5])
    #expect(try await PurchaseStore(it.postgres).claim([more])[0]?.reason == "limit_exceeded")
    for (state, count) in [("declined", 0), ("paying", 3), ("void", 0)] {
      try await set(state)
      #expect(try await tickets(it, event, of: "ann") == count)
    }
  }

  @Test("Epochs of a partition only grow, whoever asks")
  func epochs() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let store = EpochStore(it.postgres)
    let tasks = (0..<20).map { _ in Task { try await store.next(Partition(number: 3)) } }
    var epochs: Set<Int> = []
    for task in tasks { epochs.insert(try await task.value) }
    #expect(epochs.count == 20)
    #expect(try await store.next(Partition(number: 3)) > epochs.max() ?? 0)
  }
}
