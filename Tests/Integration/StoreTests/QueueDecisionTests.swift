import EventLoop
import Redis
import Sale
import TestServers
import Testing

@testable import Queue
@testable import StoreCommon

@LoopActor
@Suite("Deciding requests", .timeLimit(.minutes(3)))
struct QueueDecisionTests {
  @Test("A grant locks the tickets until the deadline, and is recorded")
  func grant() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let position = try await it.hold("a", [3, 9])
    let record = try #require(try await it.queue.reader.record(event: it.event, position: position))
    #expect(record.state == .reserved)
    #expect(record.tickets == [3, 9])
    #expect(record.amount == 200)
    let now = try await it.queue.reader.milliseconds(of: it.partition)
    #expect(record.deadline > now && record.deadline <= now + 100_000)
    #expect(try await it.isLocked(3))
    #expect(try await it.isMarked(9))
    let ttl = try await it.redis.command(["PTTL", .text("\(it.keys.prefix)l:3")]).integer ?? 0
    #expect(ttl > 0 && ttl <= 100_000)
    let document = try await it.document()
    #expect(document.head == 1)
    #expect(document.grantedPerSecond == 1.5)
    #expect(try await it.line.isEmpty)
  }

  @Test("A grant with a card is a confirmation at once")
  func buy() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.join("a", method: "pm_x")
    try await it.commit([it.grant("a", 1, [4], method: "pm_x")])
    #expect(try await it.state(1) == .confirming)
    let confirmation = try #require(try await it.take().first)
    #expect(confirmation.tickets == [4])
    #expect(confirmation.attempt == 1)
    #expect(confirmation.method == "pm_x")
    #expect(confirmation.user == "a")
    #expect(confirmation.amount == 100)
    // Never ends by time while the payment is under way.
    #expect(try await it.redis.command(["PTTL", .text("\(it.keys.prefix)l:4")]).integer == -1)
    #expect(try await it.queue.inspection.holds(event: it.event, ranks: 0..<10).map(\.deadline) == [nil])
  }

  @Test("A batch that meets a foreign lock is not written at all")
  func conflict() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    _ = try await it.redis.command(["SET", .text("\(it.keys.prefix)l:8"), "99"])
    try await it.join("a")
    try await it.join("b")
    let answer = try await it.commit([it.grant("a", 1, [7]), it.grant("b", 2, [8])])
    guard case .conflict(let tickets) = answer else {
      Issue.record("written")
      return
    }
    #expect(tickets == [8])
    #expect(try await it.state(1) == nil)
    #expect(try await !it.isLocked(7))
    #expect(try await it.document().head == 0)
    #expect(try await it.queue.holds.lockedTickets(event: it.event, [7, 8]) == [8])
  }

  @Test("A batch of any size is written whole, or not at all for one lock among its tickets")
  func largeBatch() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let count = 512, each = 4
    func tickets(_ position: Int) -> [Int] { Array(position * each..<(position + 1) * each) }
    for position in 1...count { try await it.join("u\(position)", quantity: each) }
    let grants = (1...count).map { it.grant("u\($0)", $0, tickets($0)) }
    let foreign = tickets(400)[2]
    let lock = RedisArgument.text("\(it.keys.prefix)l:\(foreign)")
    _ = try await it.redis.command(["SET", lock, "999"])
    guard case .conflict([foreign]) = try await it.commit(grants) else {
      Issue.record("written")
      return
    }
    #expect(try await it.line.count == count)
    _ = try await it.redis.command(["DEL", lock])
    guard case .written(skipped: []) = try await it.commit(grants) else {
      Issue.record("not written")
      return
    }
    #expect(try await it.line.isEmpty)
    for position in 1...count {
      let record = try await it.queue.reader.record(event: it.event, position: position)
      #expect(record?.state == .reserved)
      #expect(record?.tickets == tickets(position))
    }
    let all = Set((1...count).flatMap(tickets))
    #expect(try await Set(it.queue.holds.lockedTickets(event: it.event, Array(all))) == all)
    let bitmap = try #require(try await it.queue.reader.unavailableTickets(event: it.event))
    #expect(Set((0..<bitmap.count * 8).filter { bitmap[$0 / 8] & (128 >> UInt8($0 % 8)) != 0 }) == all)
    #expect(try await it.redis.command(["ZCARD", .text("\(it.keys.prefix)x")]).integer == count)
  }

  @Test("Who left between reading and writing is skipped, and their tickets stay free")
  func skipped() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    for user in ["a", "b", "c"] { try await it.join(user) }
    #expect(try await it.cancel("b", 2) == .ok)
    let answer = try await it.commit(
      [it.grant("a", 1, [1]), it.grant("b", 2, [2]), it.decide("c", 3, .passed)])
    guard case .written(let skipped) = answer else {
      Issue.record("not written")
      return
    }
    #expect(skipped == [2])
    #expect(try await !it.isLocked(2))
    #expect(try await it.state(2) == .cancelled)
    #expect(try await it.state(3) == nil)
    #expect(try await it.line == [3])
  }

  @Test("Whom the head has passed is in line without a record, and can be granted later")
  func passed() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let place = try #require(try await it.ask("a"))
    try await it.commit([it.decide("a", 1, .passed)])
    #expect(try await it.line == [1])
    #expect(try await it.state(1) == nil)
    let again = BuyersLine.Place(position: 1, generation: 1)
    #expect(try await it.enqueue("a") == .inLine(again, head: 1, isNew: false))
    #expect(try await it.ask("a") == place)
    let mark = try #require(try await it.queue.reader.marks(event: it.event)[place.wish?.line ?? 0])
    let document = try await it.document()
    let status = RequestStatus(unread: 1, wish: place.wish, document: document, mark: mark)
    #expect(status?.state == .standby)
    #expect(status?.ahead == 0)
    try await it.commit([it.grant("a", 1, [1])])
    #expect(try await it.state(1) == .reserved)
  }

  @Test("Sold out is one field for everyone in line; after it nobody joins until it is taken back")
  func soldOut() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    for user in ["a", "b", "c"] { try await it.join(user) }
    let place = try await it.ask("a")
    try await it.commit([it.decide("a", 1, .passed)])
    try await it.commit([], head: 1, soldOut: true)
    let document = try await it.document()
    #expect(document.isSoldOut)
    #expect(document.head == 3)
    #expect(document.soldOutUpTo == 3)
    let mark = try await it.queue.reader.marks(event: it.event)[place?.wish?.line ?? 0]
    for position in [1, 3] {
      let status = RequestStatus(unread: position, wish: place?.wish, document: document, mark: mark)
      #expect(status?.state == .soldOut)
    }
    #expect(try await it.enqueue("d") == .soldOut)
    #expect(try await it.enqueue("a") == .soldOut)
    #expect(try await it.cancel("a", 1) == .ended)
    #expect(try await it.cancel("b", 2) == .ended)

    try await it.owned.publishMap(bitmap: [0], free: 5, held: 0, sold: 1, reopened: true)
    #expect(try await it.join("b") == 4)
    #expect(try await it.cancel("b", 2) == .ended)
    #expect(try await it.document().free == 5)
  }

  @Test(
    "While a line is sold out, who has a place is told of it, and nobody is refused after")
  func soldOutLine() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let held = try await it.hold("holder", [1])
    let paid = try await it.hold("owner", [2])
    #expect(try await it.confirm("owner", paid) == .ok)
    let confirmation = try #require(try await it.take().first)
    try await it.queue.confirmations.finish(
      event: it.event, [ConfirmationStream.Ending(confirmation, .purchased)])
    try await it.commit([], head: 2, soldOut: true)
    for user in ["a", "b", "owner"] { #expect(try await it.enqueue(user) == .soldOut) }
    #expect(
      try await it.enqueue("holder")
        == .inLine(BuyersLine.Place(position: held, generation: 1), head: 2, isNew: false))
    #expect(try await it.enqueue("c", idempotencyKey: "k") == .soldOut)

    try await it.owned.publishMap(bitmap: [0], free: 5, held: 0, sold: 1, reopened: true)
    #expect(try await it.join("a") == 3)
    #expect(
      try await it.enqueue("a")
        == .inLine(BuyersLine.Place(position: 3, generation: 1), head: 2, isNew: false))
    try await it.configure { $0.state = "closed" }
    #expect(try await it.enqueue("b") == .closed)
  }

  @Test("After the close nobody is told sold out, and the head never goes back")
  func closed() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    for user in ["a", "b"] { try await it.join(user) }
    try await it.configure { $0.state = "closed" }
    let answer = try await it.commit([it.grant("a", 1, [1])], soldOut: true)
    guard case .written(let skipped) = answer else {
      Issue.record("not written")
      return
    }
    #expect(skipped == [1])
    let document = try await it.document()
    #expect(document.head == 2)
    #expect(document.soldOutUpTo == 0)
    #expect(RequestStatus(position: 1, wish: nil, document: document, mark: nil)?.state == .rejected)
    #expect(try await !it.isLocked(1))
    #expect(try await it.cancel("a", 1) == .ended)
  }

  @Test("A close that is told twice says no more of who was decided before than it did at first")
  func closedTwice() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.takeOver()
    for user in ["a", "b", "c"] { try await it.join(user) }
    let wish = try #require(try await it.ask("c")?.wish)
    try await it.commit([it.grant("a", 1, [1])])
    // By whoever closes it, and by the worker that compares it with PostgreSQL.
    for _ in 1...2 { try await it.configure { $0.state = "closed" } }
    let document = try await it.document()
    #expect(document.head == 3 && document.closedUpTo == 3 && document.decidedUpTo == 1)
    // Told from memory: nobody reads a record for it.
    #expect(RequestStatus(unread: 3, wish: wish, document: document, mark: nil)?.state == .rejected)
  }

  @Test("Whom the head had passed has ended when the sale has closed")
  func closedPassed() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.join("a")
    try await it.commit([it.decide("a", 1, .passed)])
    try await it.configure { $0.state = "closed" }
    #expect(try await it.cancel("a", 1) == .ended)
    #expect(try await it.enqueue("a") == .closed)
  }

  @Test("Every call of a replaced owner is refused")
  func staleEpoch() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.join("a")
    #expect(try await it.queue.leases.own(it.partition, epoch: it.epoch + 1))
    #expect(try await !it.queue.leases.own(it.partition, epoch: it.epoch))
    let calls: [@LoopActor () async throws -> Void] = [
      { try await it.commit([it.grant("a", 1, [1])]) },
      { _ = try await it.tick() },
      { _ = try await it.owned.takeOver() },
      {
        try await it.owned.publishMap(bitmap: [], free: 0, held: 0, sold: 0, reopened: false)
      },
      { _ = try await it.owned.archivable() },
      { try await it.owned.remove(generation: 1, tail: 1) },
    ]
    for call in calls {
      let error = await #expect(throws: StoreError.self) { try await call() }
      #expect(error?.code == .staleEpoch)
    }
    #expect(try await it.state(1) == nil)
    #expect(try await it.document().tail == 1)
  }

  @Test("What an owner sent before it loaded anew is refused")
  func lateCalls() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.takeOver(load: 1)
    _ = try await it.queue.owned(event: it.event, epoch: it.epoch, load: 1).tick(limit: 10)
    try await it.takeOver(load: 2)
    await #expect(throws: StoreError.self) {
      _ = try await it.queue.owned(event: it.event, epoch: it.epoch, load: 1).tick(limit: 10)
    }
    _ = try await it.queue.owned(event: it.event, epoch: it.epoch, load: 2).tick(limit: 10)
  }

  @Test("An operator's message is passed on whatever it begins with")
  func oddMessages() async throws {
    for text in ["\u{301}Doors at 7", "\u{FE0F}", "a|b\nc", "|", ""] {
      let change = QueueChange(Array("42\n1,2\n1|open|1|2|3|4|5|1.5|0|0|0|9|2|\(text)".utf8))
      #expect(change?.document.message == text)
      #expect(change?.positions == [1, 2])
      #expect(change?.document.decidedUpTo == 2)
    }
  }

  @Test("An idle owner is woken by the next to join")
  func idle() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    var woken = 0, isSubscribed = false
    let subscriber = RedisSubscriber(
      try RedisConfiguration(url: it.server.url), channels: [it.partition.wakes], logger: QueueFixture.logger,
      onSubscribed: { isSubscribed = true }, onMessage: { _, _ in woken += 1 })
    subscriber.start()
    defer { subscriber.close() }
    try await eventually { isSubscribed }
    try await it.join("a")
    try await it.commit([it.grant("a", 1, [1])], idle: true)
    try await it.join("b")
    try await it.join("c")
    try await eventually { woken == 1 }
    // Somebody had joined before it fell asleep.
    try await it.commit([it.grant("b", 2, [2])], tail: 2, idle: true)
    try await eventually { woken == 2 }
  }

  @Test("Changes are published with the head document and the positions")
  func announcements() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.configure { $0.message = "line|one\nline two" }
    var changes: [QueueChange] = [], isSubscribed = false
    let subscriber = RedisSubscriber(
      try RedisConfiguration(url: it.server.url), channels: [it.partition.changes],
      logger: QueueFixture.logger,
      onSubscribed: { isSubscribed = true },
      onMessage: { _, message in if let change = QueueChange(message) { changes.append(change) } })
    subscriber.start()
    defer { subscriber.close() }
    try await eventually { isSubscribed }
    try await it.join("a")
    try await it.join("b")
    try await it.commit([it.grant("a", 1, [1]), it.decide("b", 2, .refused(.onlyLeft(1)))])
    try await eventually { changes.count == 1 }
    #expect(changes[0].event == it.event)
    #expect(changes[0].positions == [1, 2])
    #expect(changes[0].document == (try await it.document()))
    #expect(changes[0].document.message == "line|one\nline two")
  }

  @Test("A new owner learns of all holds, and of what happens from then on")
  func load() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let first = try await it.hold("a", [1, 2])
    let second = try await it.hold("b", [3])
    #expect(try await it.cancel("b", second) == .ok)
    _ = try await it.confirm("a", first)
    let loaded = try await it.takeOver()
    #expect(try await it.queue.holds.heldTickets(event: it.event).sorted() == [1, 2])
    #expect(loaded.head == 2)
    #expect(loaded.tail == 2)
    #expect(loaded.state == "open")
    #expect(loaded.rate == nil)
    #expect(!loaded.isSoldOut)
    // What happened before the load is in it already.
    #expect(try await it.tick().feedback.isEmpty)
  }

  @Test("Seats given back while a new owner writes its bitmap are shown free all the same")
  func bitmapRace() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let position = try await it.hold("a", [1])
    try await it.takeOver()
    #expect(try await it.cancel("a", position) == .ok)
    try await it.owned.publishMap(bitmap: [0b0100_0000], free: 0, held: 1, sold: 0, reopened: false)
    #expect(try await it.isMarked(1))
    let feedback = try await it.tick().feedback
    guard case .released([1])? = feedback.first else {
      Issue.record("not told of the seat")
      return
    }
    #expect(try await !it.isMarked(1))
  }

  @Test("A lease has one holder, who may renew and give it back")
  func leases() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    #expect(try await it.queue.leases.acquire(it.partition, worker: "one", milliseconds: 60_000))
    #expect(try await it.queue.leases.acquire(it.partition, worker: "one", milliseconds: 60_000))
    #expect(try await !it.queue.leases.acquire(it.partition, worker: "two", milliseconds: 60_000))
    try await it.queue.leases.release(it.partition, worker: "two")
    #expect(try await it.queue.leases.holder(it.partition) == "one")
    try await it.queue.leases.release(it.partition, worker: "one")
    #expect(try await it.queue.leases.acquire(it.partition, worker: "two", milliseconds: 30))
    try await eventually {
      try await it.queue.leases.acquire(it.partition, worker: "one", milliseconds: 60_000)
    }
  }

  @Test("Settings that come late change nothing")
  func lateSettings() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let old = it.settings
    try await it.configure { $0.perUserLimit = 2 }
    try await it.queue.settings.configure(old)
    #expect(try await it.enqueue("a", quantity: 3) == .limitExceeded(owned: 0, limit: 2))
    var other = old
    other.id = 42 + Partition.count
    #expect(try await it.queue.settings.configure(other, create: false) == nil)
    #expect(try await it.queue.reader.liveEvents(it.partition) == [42])
  }

  @Test("A program waits for another one that is loading the library, and looks again")
  func libraryLock() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let newer = QueueLibrary.source.replacing(
      "local VERSION = \(QueueLibrary.version)\n", with: "local VERSION = 999\n")
    _ = try await it.redis.command(["FUNCTION", "FLUSH"])
    _ = try await it.redis.command(["SET", .text(QueueLibrary.lock), "another", "PX", "60000"])
    let older = Task { try await QueueStore.prepare(it.redis) }
    try await sleep(milliseconds: 100)
    _ = try await it.redis.command(["FUNCTION", "LOAD", "REPLACE", .text(newer)])
    try await older.value
    #expect(try await it.redis.command(["FCALL", "onsale_version", "0"]).integer == 999)
    _ = try await it.redis.command(["FUNCTION", "LOAD", "REPLACE", .text(QueueLibrary.source)])
    _ = try await it.redis.command(["DEL", .text(QueueLibrary.lock)])
  }

  @Test("An older program leaves a newer library alone; a lost one is loaded again")
  func libraryVersions() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let newer = QueueLibrary.source.replacing(
      "local VERSION = \(QueueLibrary.version)\n", with: "local VERSION = 999\n")
    #expect(newer != QueueLibrary.source)
    _ = try await it.redis.command(["FUNCTION", "LOAD", "REPLACE", .text(newer)])
    try await QueueStore.prepare(it.redis)
    #expect(try await it.redis.command(["FCALL", "onsale_version", "0"]).integer == 999)
    _ = try await it.redis.command(["FUNCTION", "FLUSH"])
    #expect(try await it.join("a") == 1)
    #expect(try await it.redis.command(["FCALL", "onsale_version", "0"]).integer == QueueLibrary.version)
  }
}
