import EventLoop
import Redis
import Sale
import Testing

@testable import Archive
@testable import Ledger
@testable import Queue
@testable import StoreCommon

@LoopActor
@Suite("Archiving a queue", .timeLimit(.minutes(3)))
struct QueueArchiveTests {
  /// A sale of 250 requests: every third was rejected, one bought, one holds a ticket, the others are in line.
  func sale() async throws -> (QueueFixture, DatabaseFixture, QueueArchive) {
    let database = try await DatabaseFixture()
    let event = try await database.makeEvent(tickets: 10)
    let it = try await QueueFixture(event: event)
    for index in 1...250 { try await it.join("user \(index)") }
    let rejections = stride(from: 3, through: 249, by: 3).map {
      it.decide("user \($0)", $0, .refused(Refusal(reason: "seats_taken")))
    }
    try await it.commit(
      rejections + [it.grant("user 1", 1, [1], method: "m"), it.grant("user 2", 2, [2])], head: 249)
    let confirmation = try #require(try await it.take().first)
    let purchases = PurchaseStore(database.postgres)
    _ = try await purchases.claim([confirmation])
    _ = try await purchases.settle([
      .init(key: .init(confirmation), attempt: 1, outcome: .sold, paymentID: "pi", reason: "")
    ])
    try await it.queue.confirmations.finish(event: event, [.init(confirmation, .purchased)])
    return (it, database, QueueArchive(it.queue, database.postgres))
  }

  func endHold(_ it: QueueFixture) async throws {
    #expect(try await it.cancel("user 2", 2) == .ok)
  }

  /// What the archive must tell after any run that said it is done.
  func check(_ it: QueueFixture, _ database: DatabaseFixture) async throws {
    let store = ArchiveStore(database.postgres)
    let outcome = try #require(try await store.outcome(event: it.event, generation: 1)).document
    #expect(outcome.state == "closed")
    #expect(outcome.head == 250)
    #expect(outcome.tail == 250)
    #expect(outcome.closedUpTo == 250)
    #expect(outcome.sold == 1)
    #expect(outcome.free == 9)
    #expect(outcome.message == "bye|bye")
    #expect(try await store.record(event: it.event, generation: 1, position: 1)?.state == .purchased)
    #expect(try await store.record(event: it.event, generation: 1, position: 1)?.tickets == [1])
    #expect(try await store.record(event: it.event, generation: 1, position: 2)?.state == .cancelled)
    #expect(try await store.record(event: it.event, generation: 1, position: 3)?.reason == "seats_taken")
    #expect(try await store.record(event: it.event, generation: 1, position: 249)?.state == .rejected)
    #expect(try await store.record(event: it.event, generation: 1, position: 250) == nil)
    #expect(try await store.record(event: it.event, generation: 2, position: 1) == nil)
    #expect(try await store.outcome(event: it.event, generation: 2) == nil)

    let past = PastRequests(database.postgres)
    func status(_ position: Int, _ user: String? = nil) async throws -> RequestStatus? {
      let record = try await store.record(event: it.event, generation: 1, position: position)
      return try await past.status(
        .init(event: it.event, generation: 1, position: position),
        owner: user.map { UserKey($0).text } ?? record?.userKey ?? "")
    }
    #expect(try await status(1)?.state == .purchased)
    #expect(try await status(2)?.state == .cancelled)
    #expect(try await status(3)?.reason == "seats_taken")
    #expect(try await status(250)?.reason == "closed")
    for position in 1...3 {
      #expect(try await status(position, "another") == RequestStatus(state: .rejected, reason: "queue_lost"))
    }
  }

  /// Nothing of the event is left in Redis.
  func checkEmpty(_ it: QueueFixture) async throws {
    let keys = try await it.redis.command(["KEYS", .text("{p*}:\(it.event):*")]).array
    #expect(keys == [])
    #expect(try await it.queue.reader.liveEvents(it.partition) == [])
    #expect(try await it.queue.settings.versions(it.partition) == [:])
  }

  @Test("A queue leaves Redis once it is closed and its last hold has ended, not before")
  func archive() async throws {
    let (it, database, archive) = try await sale()
    defer {
      it.close()
      database.close()
    }
    #expect(try await !archive.run(event: it.event, epoch: it.epoch))
    try await it.configure {
      $0.message = "bye|bye"
      $0.state = "closed"
    }
    #expect(try await !archive.run(event: it.event, epoch: it.epoch))
    #expect(try await ArchiveStore(database.postgres).outcome(event: it.event, generation: 1) == nil)
    try await endHold(it)
    let error = await #expect(throws: StoreError.self) {
      try await archive.run(event: it.event, epoch: it.epoch - 1)
    }
    #expect(error?.code == .staleEpoch)
    #expect(try await archive.run(event: it.event, epoch: it.epoch))
    try await check(it, database)
    try await checkEmpty(it)
    #expect(try await archive.run(event: it.event, epoch: it.epoch))
    try await check(it, database)
    let asked = await #expect(throws: StoreError.self) { try await it.enqueue("new") }
    #expect(asked?.code == .noQueue)
  }

  @Test("Killed at any step, the next run finishes it", arguments: 0..<5)
  func resume(killedAfter step: Int) async throws {
    let (it, database, archive) = try await sale()
    defer {
      it.close()
      database.close()
    }
    try await it.configure {
      $0.message = "bye|bye"
      $0.state = "closed"
    }
    try await endHold(it)
    let store = ArchiveStore(database.postgres)
    let document = try #require(try await it.owned.archivable())
    if step >= 1 {
      let buckets = try await it.owned.export(buckets: 0..<1)
      try await store.write(event: it.event, generation: 1, buckets)
      #expect(try await store.nextBucket(event: it.event, generation: 1) == 1)
    }
    if step >= 2 {
      let buckets = try await it.owned.export(buckets: 1..<3)
      #expect(buckets.map(\.number) == [1, 2])
      try await store.write(event: it.event, generation: 1, buckets)
    }
    if step >= 3 { try await store.close(event: it.event, document, marks: [:]) }
    if step >= 4 {
      _ = try await it.redis.call(
        "onsale_remove", keys: [it.keys.meta], [.integer(it.epoch), "1", "r:0", "r:1", "u:AA"])
    }
    #expect(try await archive.run(event: it.event, epoch: it.epoch))
    try await check(it, database)
    try await checkEmpty(it)
  }
}
