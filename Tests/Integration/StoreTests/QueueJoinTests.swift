import EventLoop
import Redis
import Sale
import TestServers
import Testing

@testable import Queue
@testable import StoreCommon

@LoopActor
@Suite("Joining the line", .timeLimit(.minutes(3)))
struct QueueJoinTests {
  @Test("Positions count from 1; asking again gives the same place")
  func positions() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    #expect(
      try await it.enqueue("a") == .inLine(BuyersLine.Place(position: 1, generation: 1), head: 0, isNew: true)
    )
    #expect(
      try await it.enqueue("b") == .inLine(BuyersLine.Place(position: 2, generation: 1), head: 0, isNew: true)
    )
    #expect(
      try await it.enqueue("a", quantity: 3)
        == .inLine(BuyersLine.Place(position: 1, generation: 1), head: 0, isNew: false))
    #expect(try await it.document().tail == 2)
    let entries = try await it.queue.waiting.next(event: it.event, after: 0, limit: 10).entries
    #expect(entries.map(\.user) == ["a", "b"])
    #expect(entries.map { $0.arrival(wish: "1").seats?.quantity } == [1, 1])
  }

  @Test(
    "Asking again tells the line and the place in it that were told first, whatever became of the request")
  func placeInLine() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.takeOver()
    let position = try await it.join("x") + 1
    let told = try #require(try await it.ask("a"))
    #expect(told.position == position && told.wish?.ordinal == 2)
    #expect(try await it.ask("a") == told)
    try await it.commit([it.grant("a", position, [7])])
    #expect(try await it.ask("a") == told)
    #expect(try await it.confirm("a", position) == .ok)
    #expect(try await it.ask("a") == told)
    let taken = try #require(try await it.take().first)
    #expect(taken.wish == told.wish)
    try await it.queue.confirmations.finish(
      event: it.event, [ConfirmationStream.Ending(taken, .declined, reason: "card_declined")])
    #expect(try await it.ask("a") == told)
    let record = try #require(try await it.queue.reader.record(event: it.event, position: position))
    #expect(
      record.reason == "card_declined" && record.wish == told.wish && record.userKey == UserKey("a").text)
  }

  @Test(
    "Who only waits is remembered as one number; place and line are read from it, and from what was written out"
  )
  func packedPlaces() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.takeOver()
    let first = try await it.join("a"), key = UserKey("a").text
    let keys = EventKeys(it.event)
    let entry = try await it.redis.command(["HGET", .text(keys.user(key)), .text(key)]).text
    #expect(entry == "-\(first * RememberedUser.packedLines + 1)")
    #expect(try await it.queue.reader.line(event: it.event, position: first, userKey: key) == 1)
    #expect(try await it.queue.reader.line(event: it.event, position: first + 1, userKey: key) == nil)
    // As the version before wrote it.
    _ = try await it.redis.command(["HSET", .text(keys.user(key)), .text(key), .text("\(first).1")])
    #expect(try await it.queue.reader.line(event: it.event, position: first, userKey: key) == 1)
    #expect(try await it.ask("a")?.position == first)
    // The first line that has no room in the number.
    _ = try await it.redis.command([
      "HSET", .text(keys.meta), "lines", .integer(RememberedUser.packedLines - 1),
    ])
    let second = try await it.join("b", quantity: 2), other = UserKey("b").text
    #expect(
      try await it.redis.command(["HGET", .text(keys.user(other)), .text(other)]).text == "\(second).256")
    #expect(try await it.queue.reader.line(event: it.event, position: second, userKey: other) == 256)
    _ = try await it.cancel("a", first)
    #expect(try await it.redis.command(["HGET", .text(keys.user(key)), .text(key)]).text == "0:0:1")
  }

  @Test("An idempotency key names the place in a line that has ended, though its user has another one by now")
  func keyOfAnEndedLine() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.takeOver()
    func ask(_ quantity: Int, key: String?) async throws -> BuyersLine.Place? {
      let answer = try await it.queue.buyers.enqueue(
        event: it.event, user: "a", seats: RequestedSeats(quantity: quantity), method: nil,
        idempotencyKey: key)
      guard case .inLine(let place, _, _) = answer else { return nil }
      return place
    }
    let told = try #require(try await ask(2, key: "first"))
    let line = try #require(told.wish?.line)
    try await it.commit(ends: [LineEnd(line: line, after: 0, refusal: .onlyLeft(1))])
    // More is no answer to that: a place of its own.
    let other = try #require(try await ask(3, key: nil))
    #expect(other.position == told.position + 1)
    #expect(try await ask(2, key: "first") == told)
  }

  @Test("A line that is restored takes in those who were in it, and then everybody behind them")
  func restored() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.lose(restoring: 60_000)
    guard case .restoring(let milliseconds) = try await it.enqueue("new") else {
      Issue.record("somebody new came in")
      return
    }
    #expect((50_000...60_000).contains(milliseconds))
    func place(_ position: Int, isNew: Bool = true, head: Int = 0) -> BuyersLine.EnqueueAnswer {
      .inLine(BuyersLine.Place(position: position, generation: 2), head: head, isNew: isNew)
    }
    for position in [900, 7, 30, 8] {
      #expect(try await it.enqueue("user \(position)", lostPlace: position) == place(position))
    }
    #expect(try await it.enqueue("user 30", lostPlace: 30) == place(30, isNew: false))
    #expect(try await it.enqueue("user 30") == place(30, isNew: false))
    // Given out twice by a Redis that had lost its last writes: the first to come back has it.
    guard case .restoring = try await it.enqueue("twin", lostPlace: 30) else {
      Issue.record("two have one place")
      return
    }
    #expect(try await it.cancel("other", 8, generation: 2) == .forbidden)
    #expect(try await it.cancel("user 8", 8, generation: 2) == .ok)
    // Told that it is given up, neither its owner nor a twin of theirs has it again.
    for name in ["user 8", "twin"] {
      guard case .restoring = try await it.enqueue(name, lostPlace: 8) else {
        Issue.record("\(name) has a place that was given up")
        return
      }
    }
    #expect(try await it.document().tail == 900)
    // Nobody is in line yet, and an owner that finds nothing to do does not pass anyone over.
    #expect(try await it.tick().hasMore == false)
    try await it.commit([], idle: true)
    #expect(try await it.document().head == 0)
    #expect(try await it.line.isEmpty)

    try await it.endRestoring()
    guard case .restoring = try await it.enqueue("new") else {
      Issue.record("somebody new came in before the line was there")
      return
    }
    #expect(try await it.tick().hasMore == false)
    #expect(try await it.line == [7, 30, 900])
    #expect(try await it.document().head == 6)
    #expect(try await it.enqueue("late", lostPlace: 9) == place(901, head: 6))
    #expect(try await it.enqueue("new") == place(902, head: 6))
    try await it.commit([it.grant("user 7", 7, [1]), it.grant("user 30", 30, [2])])
    #expect(try await it.state(30) == .reserved)
  }

  @Test("A long line comes back piece by piece, and nobody new gets between")
  func restoredInPieces() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.configure { $0.queueLimit = 100_000 }
    try await it.lose(restoring: 60_000)
    for position in (1...2_500).reversed() {
      _ = try await it.enqueue("user \(position)", lostPlace: position)
    }
    try await it.endRestoring()
    for rest in [true, true, false] {
      #expect(try await it.tick().hasMore == rest)
      #expect(try await it.document().head == 0)
      if rest, case .inLine = try await it.enqueue("new") { Issue.record("somebody new came in between") }
    }
    #expect(try await it.line == Array(1...2_500))
    #expect(try await it.join("new") == 2_501)
  }

  @Test(
    "A line that ends while it is restored ends for those who came back, too",
    arguments: ["closed", "sold out"])
  func endsWhileRestored(_ how: String) async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.lose(restoring: 60_000)
    _ = try await it.enqueue("ann", lostPlace: 3)
    if how == "closed" {
      try await it.configure { $0.state = "closed" }
      #expect(try await it.document().closedUpTo == 3)
      #expect(try await it.enqueue("bob", lostPlace: 4) == .closed)
    } else {
      try await it.commit([], soldOut: true)
      #expect(try await it.document().soldOutUpTo == 3)
      #expect(try await it.enqueue("bob", lostPlace: 4) == .soldOut)
    }
    _ = try await it.tick()
    #expect(try await it.line.isEmpty)
    let left = try await it.redis.command(["EXISTS", .text("\(it.keys.prefix)w")])
    #expect(left.integer == 0)
  }

  @Test("Thousands that join at once get each position once")
  func crowd() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.configure { $0.queueLimit = 100_000 }
    let tasks = (0..<3000).map { index in Task { try await it.enqueue("user \(index % 1500)") } }
    var positions: Set<Int> = []
    var new = 0
    for task in tasks {
      guard case .inLine(let place, _, let isNew) = try await task.value else { continue }
      let position = place.position
      positions.insert(position)
      new += isNew ? 1 : 0
    }
    #expect(new == 1500)
    #expect(positions == Set(1...1500))
  }

  @Test("A paused event takes requests, a draft and a closed one do not")
  func states() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.configure { $0.state = "paused" }
    #expect(try await it.join("a") == 1)
    try await it.configure { $0.state = "draft" }
    #expect(try await it.enqueue("b") == .notOpen)
    try await it.configure { $0.state = "closed" }
    #expect(try await it.enqueue("b") == .closed)
    #expect(try await it.enqueue("a") == .closed)
    #expect(try await it.document().closedUpTo == 1)
  }

  @Test("An event that Redis does not know is told apart")
  func missing() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let error = await #expect(throws: StoreError.self) {
      try await it.queue.buyers.enqueue(event: 7, user: "a", seats: RequestedSeats(quantity: 1), method: nil)
    }
    #expect(error?.code == .noQueue)
    #expect(try await it.queue.reader.document(event: 7) == nil)
  }

  @Test("The queue's depth and the user's tickets are limited")
  func limits() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.configure { $0.queueLimit = 2 }
    #expect(try await it.enqueue("a", quantity: 5) == .limitExceeded(owned: 0, limit: 4))
    try await it.join("a")
    try await it.join("b")
    #expect(try await it.enqueue("c") == .queueFull)
    // Whoever is in line keeps their place, however full it is.
    #expect(
      try await it.enqueue("b")
        == .inLine(BuyersLine.Place(position: 2, generation: 1), head: 0, isNew: false))
    try await it.commit([it.decide("a", 1, .refused(Refusal(reason: "no")))])
    #expect(try await it.join("c") == 3)
  }

  @Test("Those who have left take no room in the line, and do not close it")
  func leavingMakesRoom() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.configure { $0.queueLimit = 2 }
    for _ in 1...5 {
      let position = try await it.join("ann")
      #expect(
        try await it.queue.buyers.cancel(event: it.event, generation: 1, position: position, user: "ann")
          == .ok)
    }
    // The owner finds nobody: whoever comes next is the first in line.
    let next = try await it.queue.waiting.next(event: it.event, after: 0, limit: 10)
    #expect(next.entries.isEmpty && next.isAll && next.tail == 5)
    #expect(try await it.join("bob") == 6)
    #expect(try await it.join("eve") == 7)
    #expect(try await it.enqueue("joe") == .queueFull)
  }

  @Test("Nobody leaves a line without end")
  func leavingIsLimited() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    for _ in 1...Limits.placesLeft {
      let position = try await it.join("ann")
      _ = try await it.queue.buyers.cancel(event: it.event, generation: 1, position: position, user: "ann")
    }
    #expect(try await it.enqueue("ann") == .tooOften)
    try await it.join("bob")
  }

  @Test("Only what a user gives up counts as that, by cancelling or by letting a hold expire")
  func whatCountsAsLeft() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    func ends() async throws -> String? {
      try await it.redis.command([
        "HGET", .text(it.keys.user(UserKey("ann").text)), .text(UserKey("ann").text),
      ]).text
    }
    for _ in 0...Limits.placesLeft {
      try await it.commit([it.decide("ann", try await it.join("ann"), .refused(.seatsTaken))])
    }
    try await it.commit([it.decide("ann", try await it.join("ann"), .refused(.sectionSoldOut))])
    #expect(try await ends() == "0:0:0:\(Limits.placesLeft + 2)")
    _ = try await it.cancel("ann", try await it.join("ann"))
    #expect(try await ends() == "0:0:1:\(Limits.placesLeft + 2)")
    try await it.setHold(milliseconds: 1)
    _ = try await it.hold("ann", [1])
    try await eventually { try await it.tick().expired == [1] }
    #expect(try await ends() == "0:0:2:\(Limits.placesLeft + 2)")
    try await it.join("ann")
  }

  @Test("What comes to nothing leaves a record each time, and so has a limit too")
  func refusalsAreLimited() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let key = UserKey("ann").text
    _ = try await it.redis.command([
      "HSET", .text(it.keys.user(key)), .text(key), .text("0:0:0:\(Limits.placesRefused - 1)"),
    ])
    try await it.commit([it.decide("ann", try await it.join("ann"), .refused(.seatsTaken))])
    #expect(try await it.enqueue("ann") == .refusedTooOften)
    try await it.join("bob")
  }

  @Test("What buyers own is remembered when the queue is made anew")
  func ownedInAnEarlierLife() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    _ = try await it.redis.command(["FLUSHALL"])
    try await it.queue.settings.remember(event: it.event, owned: [("ann", 3), ("bob", 4)])
    try await it.configure { $0.generation = 2 }
    #expect(try await it.enqueue("ann", quantity: 2) == .limitExceeded(owned: 3, limit: 4))
    #expect(try await it.enqueue("bob") == .limitExceeded(owned: 4, limit: 4))
    try await it.join("ann")
    // A queue that is there knows better.
    try await it.queue.settings.remember(event: it.event, owned: [("eve", 4)])
    try await it.join("eve")
  }

  @Test("A position that is given out a second time ends the line")
  func positionGivenTwice() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    for name in ["ann", "bob", "eve"] { try await it.join(name) }
    try it.server.stopAndForget()
    while it.redis.isReady { try await sleep(milliseconds: 1) }
    try it.server.start()
    try await it.redis.waitUntilReady(milliseconds: 60_000)
    // What a replica that lagged would say: the same life of the queue, from before.
    try await it.configure { _ in }
    let error = await #expect(throws: StoreError.self) { try await it.enqueue("joe") }
    #expect(error?.code == .noQueue)
    #expect(try await it.queue.reader.document(event: it.event) == nil)
    let next = await #expect(throws: StoreError.self) { try await it.enqueue("jim") }
    #expect(next?.code == .noQueue)
  }

  @Test("Tickets bought before count against the limit; after the end one may ask again, at the back")
  func askingAgain() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let first = try await it.hold("a", [1, 2, 3])
    _ = try await it.confirm("a", first)
    let confirmation = try #require(try await it.take().first)
    try await it.queue.confirmations.finish(event: it.event, [.init(confirmation, .purchased)])
    #expect(try await it.enqueue("a", quantity: 2) == .limitExceeded(owned: 3, limit: 4))
    #expect(try await it.join("a", quantity: 1) == 2)
    // Ended without tickets: the count stays.
    try await it.commit([it.decide("a", 2, .refused(.onlyLeft(0)))])
    #expect(try await it.enqueue("a", quantity: 2) == .limitExceeded(owned: 3, limit: 4))
    #expect(try await it.join("a", quantity: 1) == 3)
  }

  @Test("An idempotency key gives the first place again, even after its end, and refuses another request")
  func idempotency() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    #expect(
      try await it.enqueue("a", idempotencyKey: "k")
        == .inLine(BuyersLine.Place(position: 1, generation: 1), head: 0, isNew: true))
    try await it.commit([it.decide("a", 1, .refused(Refusal(reason: "no")))])
    #expect(
      try await it.enqueue("a", idempotencyKey: "k")
        == .inLine(BuyersLine.Place(position: 1, generation: 1), head: 1, isNew: false))
    #expect(try await it.enqueue("a", quantity: 2, idempotencyKey: "k") == .idempotencyMismatch)
    // Another user's key of the same name is another key.
    #expect(
      try await it.enqueue("b", idempotencyKey: "k")
        == .inLine(BuyersLine.Place(position: 2, generation: 1), head: 1, isNew: true))
  }

  @Test("Whatever keys a user makes up for a place that they have, nothing of them stays")
  func madeUpKeys() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    func used() async throws -> [Int?] {
      let hash = "\(it.keys.prefix)i:\(UserKey("a").text.prefix(2))"
      return [
        try await it.redis.command(["DBSIZE"]).integer,
        try await it.redis.command(["HLEN", .text(hash)]).integer,
        try await it.redis.command(["MEMORY", "USAGE", .text(hash)]).integer,
      ]
    }
    let place = BuyersLine.EnqueueAnswer.inLine(
      BuyersLine.Place(position: 1, generation: 1), head: 0, isNew: false)
    _ = try await it.enqueue("a", idempotencyKey: "first")
    let before = try await used()
    #expect(before[1] == 1)
    for number in 0..<200 {
      let key = String(repeating: "x", count: 250) + "\(number)"
      let answer = try await it.queue.buyers.enqueue(
        event: it.event, user: "a", seats: RequestedSeats(quantity: 50, tickets: Array(999_000...999_049)),
        method: String(repeating: "m", count: 200), idempotencyKey: key)
      guard case .inLine(let same, _, false) = answer, same.position == 1 else {
        Issue.record("another answer: \(answer)")
        return
      }
    }
    #expect(try await used() == before)
    // The one under which the place was given out is still its own.
    #expect(try await it.enqueue("a", idempotencyKey: "first") == place)
    #expect(try await it.enqueue("a", quantity: 2, idempotencyKey: "first") == .idempotencyMismatch)
    // Another place has another one: one is remembered at a time.
    _ = try await it.cancel("a", 1)
    _ = try await it.enqueue("a", idempotencyKey: "second")
    #expect(try await used()[1] == 1)
    let ttl = try await it.redis.command(["TTL", .text("\(it.keys.prefix)i:\(UserKey("a").text.prefix(2))")])
    #expect((86_000...86_400).contains(ttl.integer ?? 0))
    // They go with the queue.
    try await it.queue.buyers.markLost(event: it.event, generation: 1)
    try await it.owned.remove(generation: 1, tail: 2)
    #expect(try await used()[1] == 0)
  }

  @Test("A line that is shorter than it was ends as soon as somebody looks, and the others go on")
  func markOlderCopiesLost() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    for user in ["a", "b", "c"] { try await it.join(user) }
    try await it.queue.buyers.markOlderCopiesLost()
    #expect(try await it.document().tail == 3)
    // Another process gives the lost places out, but not all of them yet.
    _ = try await it.redis.command(["HSET", .text(it.keys.meta), "tail", "2"])
    try await it.queue.buyers.markOlderCopiesLost()
    #expect(try await it.queue.reader.document(event: it.event) == nil)
    #expect(try await it.redis.command(["HGET", .text(it.keys.meta), "state"]).text == "lost")
    // What is given out before Redis has heard of it is no place, either.
    _ = try await it.redis.command(["HSET", .text(it.keys.meta), "state", "open"])
    let error = await #expect(throws: StoreError.self) { try await it.enqueue("d") }
    #expect(error?.code == .noQueue)
  }

  @Test("An owner that was replaced ends no line, whatever it believes to be lost")
  func markLostByNobody() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.join("a")
    let newer = it.epoch + 1
    #expect(try await it.queue.leases.own(it.partition, epoch: newer))
    for load in [nil, 1] {
      let error = await #expect(throws: StoreError.self) {
        try await it.queue.owned(event: it.event, epoch: it.epoch, load: load).markLost(generation: 1)
      }
      #expect(error?.code == .staleEpoch)
    }
    // Nor does one that has loaded the line anew since.
    _ = try await it.queue.owned(event: it.event, epoch: newer, load: 2).takeOver()
    await #expect(throws: StoreError.self) {
      try await it.queue.owned(event: it.event, epoch: newer, load: 1).markLost(generation: 1)
    }
    #expect(try await it.document().tail == 1)
    try await it.queue.owned(event: it.event, epoch: newer, load: 2).markLost(generation: 1)
    #expect(try await it.queue.reader.document(event: it.event) == nil)
  }

  @Test("A payment that ends after its line was lost keeps nobody from removing the line")
  func endOfLostLine() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let ann = try await it.hold("ann", [1]), bob = try await it.join("bob")
    #expect(try await it.confirm("ann", ann) == .ok)
    let taken = try await it.take()
    try await it.queue.buyers.markLost(event: it.event, generation: 1)
    try await it.queue.confirmations.finish(
      event: it.event, taken.map { .init($0, .declined, reason: "card_declined") })
    #expect(try await it.take().isEmpty)
    #expect(try await it.redis.command(["EXISTS", .text(it.keys.holds)]).integer == 0)
    // Nor does an owner who has not heard of it hold anything in it.
    let error = await #expect(throws: StoreError.self) { try await it.commit([it.grant("bob", bob, [2])]) }
    #expect(error?.code == .noQueue)
    for ticket in [1, 2] { #expect(try await !it.isLocked(ticket)) }
    try await it.owned.remove(generation: 1, tail: 2)
    #expect(try await it.redis.command(["EXISTS", .text(it.keys.meta)]).integer == 0)
  }

  @Test("An idempotency key of a line that was lost does not name a place of the next one")
  func idempotencyOfAnotherLife() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.join("a")
    #expect(
      try await it.enqueue("b", idempotencyKey: "k")
        == .inLine(BuyersLine.Place(position: 2, generation: 1), head: 0, isNew: true))
    try await it.queue.buyers.markLost(event: it.event, generation: 1)
    try await it.owned.remove(generation: 1, tail: 2)
    try await it.configure { $0.generation = 2 }
    #expect(
      try await it.enqueue("b", idempotencyKey: "k")
        == .inLine(BuyersLine.Place(position: 1, generation: 2), head: 0, isNew: true))
  }

  @Test("Hostile texts stay texts")
  func hostileTexts() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let texts = [
      "'); redis.call('FLUSHALL') --", "a|b|c", "\r\n*1\r\n$8\r\nFLUSHALL\r\n", "{p1}:x", "5:9", "",
      "é\u{0}\n",
    ]
    for (index, text) in texts.enumerated() {
      let position = try await it.join(text, method: "pm " + text)
      #expect(position == index + 1)
      let entry = try await it.queue.waiting.next(event: it.event, after: position - 1, limit: 1).entries
        .first
      let arrival = entry?.arrival(wish: "1")
      #expect(arrival?.user == text)
      #expect(arrival?.method == "pm " + text)
      try await it.commit([it.decide(text, position, .refused(Refusal(reason: text)))])
      #expect(try await it.state(position) == .rejected)
      // Let go, so that they may come again.
      #expect(
        try await it.queue.reader.record(event: it.event, position: position)?.userKey == UserKey(text).text)
    }
  }

  @Test(
    "Those who come in one call are told, and leave behind, what they would have one by one, in their order")
  func together() async throws {
    let one = try await QueueFixture(), many = try await QueueFixture()
    defer {
      one.close()
      many.close()
    }
    func joining(
      _ user: String, _ quantity: Int = 1, section: Int? = nil, adjacent: Bool = false, key: String? = nil
    ) -> BuyersLine.Joining {
      BuyersLine.Joining(
        user: user, seats: RequestedSeats(quantity: quantity, section: section, adjacent: adjacent),
        method: nil,
        idempotencyKey: key)
    }
    let joinings = [
      joining("a"), joining("b", 2), joining("c"), joining("a", 3), joining("d", 5), joining("e", key: "k"),
      joining("e", key: "k"), joining("e", 2, key: "k"), joining("f", 2, section: 7),
      joining("g", 2, adjacent: true),
      joining("h"), joining("b", key: "other"), joining("i", 2), joining("j", 4),
    ]
    for it in [one, many] { try await it.configure { $0.queueLimit = 8 } }
    var alone: [BuyersLine.EnqueueAnswer] = []
    for joining in joinings {
      alone.append(try await one.queue.buyers.enqueue(event: one.event, [joining])[0].get())
    }
    let together = try await many.queue.buyers.enqueue(event: many.event, joinings).map { try $0.get() }
    #expect(together == alone)
    #expect(together.last == .queueFull)
    #expect(try await many.line == one.line)
    #expect(try await many.contents() == one.contents())
  }

  @Test("Whoever's entry cannot be read is told so alone, and nobody of the same call loses a place by it")
  func unreadable() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let odd = BuyersLine.Joining(user: "odd", seats: RequestedSeats(quantity: 1), method: nil)
    _ = try await it.redis.command([
      "HSET", .text(it.keys.user(odd.userKey)), .text(odd.userKey), "nothing that one could read",
    ])
    let others = ["a", "b"].map {
      BuyersLine.Joining(user: $0, seats: RequestedSeats(quantity: 1), method: nil)
    }
    let answers = await it.queue.buyers.enqueue(event: it.event, [others[0], odd, others[1]])
    let failure = #expect(throws: StoreError.self) { try answers[1].get() }
    // With what Redis said of it.
    #expect(failure?.message.contains("attempt to") == true, "\(String(describing: failure))")
    for (position, index) in [(1, 0), (2, 2)] {
      guard case .inLine(let place, _, true) = try answers[index].get() else {
        Issue.record("\(index) is not in line: \(answers[index])")
        continue
      }
      #expect(place.position == position)
    }
    #expect(try await it.document().tail == 2)
  }
}

extension QueueFixture {
  /// All that Redis keeps of the event, by key.
  fileprivate func contents() async throws -> [String] {
    var contents: [String] = []
    for key in try await redis.command(["KEYS", .text("\(keys.prefix)*")]).array ?? [] {
      let name = key.text ?? ""
      let type = try await redis.command(["TYPE", .text(name)]).text ?? ""
      let reading: [String: [RedisArgument]] = [
        "hash": ["HGETALL", .text(name)], "set": ["SMEMBERS", .text(name)], "string": ["GET", .text(name)],
        "stream": ["XRANGE", .text(name), "-", "+"],
        "zset": ["ZRANGE", .text(name), "0", "-1", "WITHSCORES"],
        "list": ["LRANGE", .text(name), "0", "-1"],
      ]
      let value = try await redis.command(try #require(reading[type]))
      let values = value.array ?? [value]
      let isPairs = type == "hash"
      let texts = stride(from: 0, to: values.count, by: isPairs ? 2 : 1).map {
        isPairs ? "\(values[$0].text ?? "")=\(values[$0 + 1].text ?? "")" : "\(values[$0])"
      }
      contents.append("\(name) \(type) \(texts.sorted())")
    }
    return contents.sorted()
  }
}
