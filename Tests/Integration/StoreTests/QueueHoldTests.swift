import EventLoop
import Redis
import Sale
import TestServers
import Testing

@testable import Queue
@testable import StoreCommon

@LoopActor
@Suite("Holding, paying, giving back", .timeLimit(.minutes(3)))
struct QueueHoldTests {
  @Test("A hold is confirmed by its buyer only, once, however often it is asked")
  func confirm() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let position = try await it.hold("a", [1])
    #expect(try await it.confirm("b", position) == .forbidden)
    #expect(try await it.confirm("a", position) == .ok)
    #expect(try await it.confirm("a", position, method: "another") == .ok)
    let taken = try await it.take()
    #expect(taken.count == 1)
    #expect(taken.first?.method == "pm_card_visa")
    #expect(taken.first?.attempt == 1)
    #expect(taken.first?.generation == 1)
    #expect(try await it.take().isEmpty)
    #expect(try await it.state(position) == .confirming)
  }

  @Test("The end of a payment is not that of whoever else was given the place since")
  func endOfAnothersPayment() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let position = try await it.hold("second", [1])
    #expect(try await it.confirm("second", position) == .ok)
    let own = try #require(try await it.take().first)
    let first = Sale.Confirmation(
      entryID: nil, event: it.event, generation: 1, position: position, attempt: own.attempt, tickets: [2],
      amount: 100, method: "pm_card_visa", user: "first")
    for outcome in [ConfirmationStream.Ending.Outcome.lost, .declined, .purchased] {
      try await it.queue.confirmations.finish(event: it.event, [.init(first, outcome)])
      #expect(try await it.state(position) == .confirming)
    }
    try await it.queue.confirmations.finish(event: it.event, [.init(own, .purchased)])
    #expect(try await it.state(position) == .purchased)
  }

  @Test("Workers that are gone are forgotten, unless they have left something undone")
  func forgottenConsumers() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    func take(_ worker: String) async throws -> [Sale.Confirmation] {
      try await it.queue.confirmations.take(it.partition, worker: worker, limit: 1)
    }
    func workers() async throws -> [String] {
      let answer = try await it.redis.command([
        "XINFO", "CONSUMERS", .text(it.partition.confirmations), "workers",
      ])
      return (answer.array ?? []).compactMap { $0.array?[1].text }.sorted()
    }
    for (user, ticket) in [("a", 1), ("b", 2)] {
      #expect(try await it.confirm(user, try await it.hold(user, [ticket])) == .ok)
    }
    let ended = try #require(try await take("gone").first)
    try await it.queue.confirmations.finish(event: it.event, [.init(ended, .purchased)])
    #expect(try await take("died at work").count == 1)
    try await it.queue.confirmations.forgetConsumers(it.partition, idleMilliseconds: 600_000)
    #expect(try await workers() == ["died at work", "gone"])
    try await it.queue.confirmations.forgetConsumers(it.partition, idleMilliseconds: 0)
    #expect(try await workers() == ["died at work"])
  }

  @Test("What is not held cannot be confirmed")
  func notReserved() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let position = try await it.join("a")
    #expect(try await it.confirm("a", position) == .notReserved)
    #expect(try await it.confirm("a", 99) == .notReserved)
    try await it.commit([it.decide("a", position, .passed)])
    #expect(try await it.confirm("a", position) == .notReserved)
    let error = await #expect(throws: StoreError.self) { try await it.confirm("a", position, generation: 2) }
    #expect(error?.code == .noQueue)
  }

  @Test("A hold ends at its deadline: it cannot be confirmed, and its tickets come back")
  func expiry() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.setHold(milliseconds: 30)
    let position = try await it.hold("a", [1, 2])
    try await eventually { try await !it.isLocked(1) }
    #expect(try await it.confirm("b", position) == .forbidden)
    #expect(try await it.confirm("a", position) == .expired)
    #expect(try await it.isMarked(1))
    #expect(try await it.tick().expired.sorted() == [1, 2])
    #expect(try await it.tick().expired.isEmpty)
    #expect(try await it.state(position) == .expired)
    #expect(try await !it.isMarked(1))
    #expect(try await it.confirm("a", position) == .expired)
    #expect(try await it.cancel("a", position) == .ended)
    #expect(try await it.join("a") == 2)
  }

  @Test("A hold does not end while its payment is under way")
  func noExpiryWhilePaying() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.setHold(milliseconds: 60)
    let position = try await it.hold("a", [1])
    guard try await it.confirm("a", position) == .ok else { return }
    try await sleep(milliseconds: 100)
    #expect(try await it.tick().expired.isEmpty)
    #expect(try await it.isLocked(1))
    // Declined after its deadline: it ends with the next tick.
    let confirmation = try #require(try await it.take().first)
    try await it.queue.confirmations.finish(
      event: it.event, [.init(confirmation, .declined, reason: "card_declined")])
    #expect(try await it.state(position) == .declined)
    #expect(try await it.confirm("a", position) == .expired)
    #expect(try await it.tick().expired == [1])
    #expect(try await it.state(position) == .declinedForGood)
    #expect(try await it.queue.reader.record(event: it.event, position: position)?.reason == "card_declined")
    #expect(try await it.join("a") == 2)
  }

  @Test("A purchase ends the request, counts for its user, and leaves the seats taken")
  func purchase() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let position = try await it.hold("a", [1, 2])
    _ = try await it.confirm("a", position)
    let confirmation = try #require(try await it.take().first)
    try await it.queue.confirmations.finish(event: it.event, [.init(confirmation, .purchased)])
    #expect(try await it.state(position) == .purchased)
    #expect(try await it.confirm("a", position) == .ok)
    #expect(try await it.cancel("a", position) == .purchased)
    #expect(try await !it.isLocked(1))
    #expect(try await it.isMarked(1))
    guard case .sold([1, 2])? = try await it.tick().feedback.first else {
      Issue.record("the owner is not told")
      return
    }
    #expect(try await it.queue.inspection.holds(event: it.event, ranks: 0..<10).isEmpty)
    // Told again after a crash, it changes nothing; its entry is gone.
    try await it.queue.confirmations.finish(event: it.event, [.init(confirmation, .purchased)])
    #expect(try await it.tick().feedback.isEmpty)
    #expect(try await it.redis.command(["XLEN", .text(it.partition.confirmations)]).integer == 0)
    #expect(try await it.enqueue("a", quantity: 3) == .limitExceeded(owned: 2, limit: 4))
  }

  @Test("After a decline another card can be tried; an ending of the first try says nothing about the second")
  func declined() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let position = try await it.hold("a", [1])
    #expect(try await it.confirm("a", position, idempotencyKey: "one") == .ok)
    let first = try #require(try await it.take().first)
    try await it.queue.confirmations.finish(
      event: it.event, [.init(first, .declined, reason: "no|money\nat all")])
    let record = try #require(try await it.queue.reader.record(event: it.event, position: position))
    #expect(record.state == .declined)
    #expect(record.reason == "no money at all")
    #expect(record.userKey == UserKey("a").text)
    let ttl = try await it.redis.command(["PTTL", .text("\(it.keys.prefix)l:1")]).integer ?? 0
    #expect(ttl > 0)
    // The first call, repeated, is not a second try; with another card it is another call.
    #expect(try await it.confirm("a", position, idempotencyKey: "one") == .ok)
    #expect(try await it.confirm("a", position, method: "x", idempotencyKey: "one") == .idempotencyMismatch)
    #expect(try await it.take().isEmpty)

    #expect(try await it.confirm("a", position, method: "other", idempotencyKey: "two") == .ok)
    let second = try #require(try await it.take().first)
    #expect(second.attempt == 2)
    #expect(second.method == "other")
    try await it.queue.confirmations.finish(event: it.event, [.init(first, .purchased)])
    #expect(try await it.state(position) == .confirming)
    try await it.queue.confirmations.finish(event: it.event, [.init(second, .purchased)])
    #expect(try await it.state(position) == .purchased)
  }

  @Test("A limited number of cards can be tried for one hold, and as many keys of them are remembered")
  func cardTesting() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    func confirm(_ position: Int, _ key: String, method: String = "pm") async throws
      -> BuyersLine.ConfirmAnswer
    {
      try await it.confirm("ann", position, method: method, idempotencyKey: key)
    }
    for position in 1...2 {
      #expect(try await it.join("ann") == position)
      try await it.commit([it.grant("ann", position, [7])])
      for attempt in 1...Limits.paymentAttempts {
        #expect(try await confirm(position, "\(position) \(attempt)") == .ok)
        // Under way, whatever keys come leave nothing.
        #expect(try await confirm(position, "other \(attempt)") == .ok)
        let taken = try await it.queue.confirmations.take(it.partition, worker: "w", limit: 10)
        #expect(taken.map(\.attempt) == [attempt])
        try await it.queue.confirmations.finish(
          event: it.event, taken.map { .init($0, .declined, reason: "card_declined") })
      }
      #expect(try await confirm(position, "one more") == .tooOften)
      for attempt in 1...Limits.paymentAttempts {
        #expect(try await confirm(position, "\(position) \(attempt)") == .ok)
        #expect(try await confirm(position, "\(position) \(attempt)", method: "x") == .idempotencyMismatch)
      }
      #expect(try await it.take().isEmpty)
      let keys = try await it.redis.command([
        "HLEN", .text("\(it.keys.prefix)i:\(UserKey("ann").text.prefix(2))"),
      ])
      #expect(keys.integer == Limits.paymentAttempts)
      #expect(try await it.cancel("ann", position) == .ok)
    }
  }

  @Test("A payment that may not be begun ends the request with its reason, and its tickets are free again")
  func refused() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let position = try await it.hold("a", [1, 2])
    _ = try await it.confirm("a", position)
    let confirmation = try #require(try await it.take().first)
    try await it.queue.confirmations.finish(
      event: it.event, [.init(confirmation, .refused, reason: "limit_exceeded")])
    let record = try #require(try await it.queue.reader.record(event: it.event, position: position))
    let status = RequestStatus(position: position, document: try await it.document(), record: record)
    #expect(status.state == .rejected && status.reason == "limit_exceeded" && status.tickets.isEmpty)
    for ticket in [1, 2] {
      #expect(try await !it.isMarked(ticket))
      #expect(try await !it.isLocked(ticket))
    }
    guard case .released([1, 2])? = try await it.tick().feedback.first else {
      Issue.record("the owner is not told")
      return
    }
    #expect(try await it.join("a") == 2)
  }

  @Test("A Redis without memory takes no request, and goes on with all that it took")
  func outOfMemory() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let ann = try await it.join("ann"), bob = try await it.join("bob")
    try await it.commit([it.grant("ann", ann, [7])])
    _ = try await it.redis.command(["CONFIG", "SET", "maxmemory", "1"])
    await #expect(throws: RedisError.self) { try await it.enqueue("eve") }
    #expect(
      try await it.queue.buyers.confirm(
        event: it.event, generation: 1, position: ann, user: "ann", method: "pm")
        == .ok)
    #expect(try await it.queue.confirmations.next(it.partition) != nil)
    let taken = try await it.queue.confirmations.take(it.partition, worker: "w", limit: 10)
    try await it.queue.confirmations.finish(event: it.event, taken.map { .init($0, .purchased) })
    #expect(try await it.queue.reader.record(event: it.event, position: ann)?.state == .purchased)
    try await it.commit([it.grant("bob", bob, [8])])
    #expect(try await it.queue.leases.acquire(it.partition, worker: "w", milliseconds: 1_000))
    #expect(
      try await it.queue.buyers.cancel(event: it.event, generation: 1, position: bob, user: "bob") == .ok)
    // Whoever connects now can work too.
    try await QueueStore.prepare(it.redis)
  }

  @Test("The next confirmation is the first that nobody has taken")
  func nextConfirmation() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    func next() async throws -> String? { try await it.queue.confirmations.next(it.partition)?.id }
    #expect(try await next() == nil)
    for user in ["ann", "bob"] {
      _ = try await it.confirm(user, try await it.hold(user, [user == "ann" ? 1 : 2]))
    }
    let ann = try await next()
    #expect(
      try await it.queue.confirmations.take(it.partition, worker: "w", limit: 1).map(\.entryID) == [ann])
    let bob = try await next()
    try await sleep(milliseconds: 20)
    #expect(try await it.queue.confirmations.next(it.partition)?.milliseconds ?? 0 >= 20)
    let taken = try await it.take()
    #expect(bob != nil && taken.map(\.entryID) == [bob])
    // They are there until they are ended, and taken nevertheless.
    #expect(try await next() == nil)
    try await it.queue.confirmations.finish(event: it.event, taken.map { .init($0, .purchased) })
    #expect(try await next() == nil)
  }

  @Test("Tickets that PostgreSQL gave to somebody else end the request, and the owner hears of it")
  func lost() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let position = try await it.hold("a", [1])
    _ = try await it.confirm("a", position)
    let confirmation = try #require(try await it.take().first)
    try await it.queue.confirmations.finish(
      event: it.event, [.init(confirmation, .lost, reason: "tickets_taken")])
    #expect(try await it.state(position) == .expired)
    #expect(try await it.isMarked(1))
    guard case .lost([1])? = try await it.tick().feedback.first else {
      Issue.record("the owner is not told")
      return
    }
    #expect(try await it.join("a") == 2)
  }

  @Test("An ending of an earlier life of the queue does not touch the present one")
  func otherGeneration() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let position = try await it.hold("a", [1])
    _ = try await it.confirm("a", position)
    let confirmation = try #require(try await it.take().first)
    let old = Sale.Confirmation(
      entryID: nil, event: it.event, generation: 0, position: position, attempt: 1, tickets: [1], amount: 100,
      method: "m", user: "z")
    try await it.queue.confirmations.finish(event: it.event, [.init(old, .purchased)])
    #expect(try await it.state(position) == .confirming)
    try await it.queue.confirmations.finish(event: it.event, [.init(confirmation, .purchased)])
    #expect(try await it.state(position) == .purchased)
  }

  @Test("Leaving is possible until the payment, for oneself only")
  func cancel() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let queued = try await it.join("queued")
    #expect(try await it.cancel("other", queued) == .forbidden)
    #expect(try await it.join("other") == 2)
    #expect(try await it.cancel("other", queued) == .forbidden)
    #expect(try await it.cancel("queued", 99) == .unknown)
    let error = await #expect(throws: StoreError.self) {
      try await it.cancel("queued", queued, generation: 9)
    }
    #expect(error?.code == .noQueue)
    #expect(try await it.cancel("queued", queued) == .ok)
    #expect(try await it.cancel("queued", queued) == .ok)
    #expect(Bitmap.contains(try await it.queue.reader.placesApart(event: it.event), queued))
    #expect(try await it.document().apart == 1)
    #expect(try await it.join("queued") == 3)

    let passed = try await it.join("passed")
    try await it.commit([it.decide("passed", passed, .passed)])
    #expect(try await it.cancel("other", passed) == .forbidden)
    #expect(try await it.cancel("passed", passed) == .ok)
    #expect(try await it.line == [2, 3])

    let held = try await it.hold("held", [1])
    #expect(try await it.cancel("other", held) == .forbidden)
    #expect(try await it.cancel("held", held) == .ok)
    #expect(try await !it.isLocked(1))
    #expect(try await !it.isMarked(1))
    guard case .released([1])? = try await it.tick().feedback.first else {
      Issue.record("the owner does not hear of the seat")
      return
    }
    #expect(try await it.confirm("held", held) == .notReserved)

    let paying = try await it.hold("paying", [2])
    _ = try await it.confirm("paying", paying)
    #expect(try await it.cancel("paying", paying) == .confirming)
    let confirmation = try #require(try await it.take().first)
    try await it.queue.confirmations.finish(event: it.event, [.init(confirmation, .declined, reason: "x")])
    #expect(try await it.cancel("paying", paying) == .ok)
    #expect(try await it.state(paying) == .cancelled)

    let rejected = try await it.join("rejected")
    try await it.commit([it.decide("rejected", rejected, .refused(Refusal(reason: "seats_taken")))])
    #expect(try await it.cancel("rejected", rejected) == .ended)
  }

  @Test("What a dead worker left is taken over; what is kept is not; what fails is buried and can come back")
  func stream() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    for (index, user) in ["a", "b"].enumerated() {
      let position = try await it.hold(user, [index + 1])
      _ = try await it.confirm(user, position)
    }
    let taken = try await it.queue.confirmations.take(it.partition, worker: "dead", limit: 10)
    #expect(taken.count == 2)
    #expect(
      try await it.queue.confirmations.claim(it.partition, worker: "new", idleMilliseconds: 60_000, limit: 10)
        .taken.isEmpty)
    // As if a while had passed.
    let ids = taken.compactMap(\.entryID)
    _ = try await it.redis.command(
      ["XCLAIM", .text(it.partition.confirmations), "workers", "dead", "0"] + ids.map { .text($0) }
        + ["IDLE", "100000", "JUSTID"])
    try await it.queue.confirmations.keep(it.partition, worker: "dead", ids: [ids[0]], deliveries: 1)
    let claimed = try await it.queue.confirmations.claim(
      it.partition, worker: "new", idleMilliseconds: 60_000, limit: 10
    ).taken
    #expect(claimed.map(\.position) == [taken[1].position])
    let deliveries = try await it.queue.confirmations.deliveries(it.partition, worker: "new", limit: 10)
    #expect(deliveries[try #require(claimed[0].entryID)] == 2)

    try await it.queue.deadLetters.bury(claimed[0], reason: "poisoned")
    let letters = try await it.queue.deadLetters.list(it.partition, limit: 10)
    #expect(letters.map { $0.fields["reason"] } == ["poisoned"])
    #expect(try await it.queue.deadLetters.requeue(it.partition, deadLetter: letters[0].id))
    #expect(try await !it.queue.deadLetters.requeue(it.partition, deadLetter: letters[0].id))
    let again = try #require(try await it.take().first)
    #expect(again.position == claimed[0].position)
    #expect(again.tickets == claimed[0].tickets)
    #expect(again.user == "b")
  }

  @Test("What a dead worker left is looked for behind what others have, too")
  func laneBehindOthers() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    // Redis looks at ten entries for each that may be taken.
    for number in 1...12 { _ = try await it.confirm("\(number)", it.hold("\(number)", [number])) }
    let alive = try await it.queue.confirmations.take(it.partition, worker: "alive", limit: 11)
    let dead = try await it.queue.confirmations.take(it.partition, worker: "dead", limit: 10)
    #expect((alive.count, dead.count) == (11, 1))
    _ = try await it.redis.command([
      "XCLAIM", .text(it.partition.confirmations), "workers", "dead", "0",
      .text(try #require(dead[0].entryID)), "IDLE", "100000", "JUSTID",
    ])
    func claim(_ from: String?) async throws -> (taken: [Sale.Confirmation], next: String?) {
      try await it.queue.confirmations.claim(
        it.partition, worker: "new", idleMilliseconds: 60_000, limit: 1, from: from)
    }
    let first = try await claim(nil)
    #expect(first.taken.isEmpty)
    let next: String = try #require(first.next)
    let second = try await claim(next)
    #expect(second.taken.map(\.position) == dead.map(\.position))
  }

  @Test("A Redis that lost everything is usable again: functions and groups are made anew")
  func flushed() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    _ = try await it.redis.command(["FLUSHALL"])
    #expect(try await it.take().isEmpty)
    #expect(
      try await it.queue.confirmations.claim(it.partition, worker: "w", idleMilliseconds: 0, limit: 10).taken
        .isEmpty
    )
    let error = await #expect(throws: StoreError.self) { try await it.enqueue("a") }
    #expect(error?.code == .noQueue)
    try it.server.stopAndForget()
    while it.redis.isReady { try await sleep(milliseconds: 1) }
    try it.server.start()
    try await it.redis.waitUntilReady(milliseconds: 60_000)
    try await it.configure { $0.generation = 2 }
    #expect(
      try await it.enqueue("a") == .inLine(BuyersLine.Place(position: 1, generation: 2), head: 0, isNew: true)
    )
    #expect(try await it.take().isEmpty)
  }
}
