import Archive
import Audit
import EventLoop
import JSON
import Ledger
import Payments
import Postgres
import Queue
import Sale
import Testing

@Suite("The audit", .serialized)
@LoopActor
struct AuditTests {
  @Test("A sale in which every request went its way is clean, and its figures add up")
  func clean() async throws {
    let hall = try await AuditFixture()
    let sold = try await hall.sell("ann", [1, 2])
    _ = try await hall.hold("bob", [3])
    let waiting = try await hall.join("cid")
    let rejected = try await hall.join("dan")
    try await hall.decide(waiting, "cid", nil)
    try await hall.decide(rejected, "dan", .refused(.seatsTaken))
    _ = try await hall.join("eve")
    let left = try await hall.join("flo")
    _ = try await hall.queue.buyers.cancel(
      event: AuditFixture.event, generation: 1, position: left, user: "flo")

    let report = try await hall.audit()
    #expect(report.findings.counts == [:], "\(report.text)")
    #expect(report.isClean)
    let figures = try #require(report.events[AuditFixture.event])
    #expect(figures.accepted == 6)
    #expect(figures.pending == 3, "a hold, one whom the head has passed, and one behind it")
    #expect(figures.terminal == ["purchased": 1, "rejected": 1, "cancelled": 1])
    #expect(figures.accepted == figures.pending + figures.ended)
    #expect(figures.ticketsSold == 2)
    #expect(figures.amountSold == 2 * AuditFixture.price)
    #expect(figures.salesCaptured == 1)
    #expect(report.payments == [.succeeded: 1])
    #expect(sold.position == 1)
    #expect(try JSON(parsing: report.json.serialized())["clean"]?.bool == true)
    await hall.end()
  }

  @Test("Places that ended with their line are counted, and one that is lost beside them is found")
  func lineEnds() async throws {
    let hall = try await AuditFixture()
    let first = try await hall.join("ann")
    for user in ["bob", "cid", "dan"] { _ = try await hall.join(user) }
    try await hall.end(lineOf: first, .onlyLeft(1))
    _ = try await hall.queue.buyers.enqueue(
      event: AuditFixture.event, user: "eve", seats: RequestedSeats(quantity: 2), method: nil)
    var report = try await hall.audit()
    #expect(report.isClean, "\(report.text)")
    #expect(report.events[AuditFixture.event]?.terminal == ["rejected": 4])
    #expect(report.events[AuditFixture.event]?.pending == 1)
    try await hall.redis("HINCRBY", "\(hall.prefix)m", "ended_with_line", "-1")
    report = try await hall.audit()
    #expect(report.findings.counts == [.requestLost: 1], "\(report.text)")
    await hall.end()
  }

  @Test("Work under way is not damage while it is young, and is when it is old")
  func underWay() async throws {
    let hall = try await AuditFixture()
    let confirmation = try await hall.begin("ann", [1])
    _ = try await hall.purchases.claim([confirmation])
    _ = try await hall.authorise(confirmation)
    try await hall.sql("UPDATE purchase SET updated_at = now() - interval '30 s'")

    let patient = try await hall.audit(grace: 60)
    #expect(patient.findings.violations == 0, "\(patient.text)")
    #expect(patient.events[AuditFixture.event]?.underWay == 2, "a payment and an entry of the stream")
    let strict = try await hall.audit(grace: 10)
    #expect(strict.findings.counts[.paymentStalled] == 1)
    await hall.end()
  }

  @Test("A limit that was lowered is not held against what was bought before")
  func loweredLimit() async throws {
    let hall = try await AuditFixture()
    try await hall.sell("ann", [1, 2, 3])
    let events = EventStore(hall.postgres)
    for limit in [2, 1] {
      var changes = EventChanges()
      changes.perUserLimit = limit
      let settings = try await events.update(event: AuditFixture.event, changes, by: "test")
      try await events.publish(settings, to: hall.queue)
    }
    let report = try await hall.audit()
    #expect(report.findings.counts == [.indexBehind: 1], "\(report.text)")
    await hall.end()
  }

  @Test("Everyone in line who ended together with the sale is counted, without a record of their own")
  func massEnd() async throws {
    let hall = try await AuditFixture()
    try await hall.sell("ann", [1])
    for user in ["bob", "cid", "dan"] { _ = try await hall.join(user) }
    // Twice, as after a lost answer.
    for _ in 1...2 {
      _ = try await hall.queue.owned(event: AuditFixture.event, epoch: 1).commit(
        snapshot: OwnedQueue.LineSnapshot(
          head: 1, tail: 4, isSoldOut: true, free: AuditFixture.tickets - 1, held: 0, sold: 1,
          grantedPerSecond: 0,
          isIdle: true),
        plan: ReservePlanner.Plan())
    }
    let report = try await hall.audit()
    #expect(report.findings.counts == [:], "\(report.text)")
    #expect(report.events[AuditFixture.event]?.terminal == ["purchased": 1, "sold_out": 3])
    await hall.end()
  }

  @Test("A sale that has ended is checked where it was archived")
  func archived() async throws {
    let hall = try await AuditFixture()
    let sold = try await hall.sell("ann", [1])
    let left = try await hall.join("bob")
    _ = try await hall.queue.buyers.cancel(
      event: AuditFixture.event, generation: 1, position: left, user: "bob")
    _ = try await hall.join("cid")
    try await hall.sql("UPDATE event SET state = 'closed', version = 2")
    hall.index.events = [IndexedEvent(id: AuditFixture.event, version: 2)]
    let settings = try #require(try await EventStore(hall.postgres).settings(event: AuditFixture.event))
    try await hall.queue.settings.configure(settings, create: false)
    let beforehand = try await hall.audit()
    #expect(beforehand.isClean, "\(beforehand.text)")
    #expect(try await QueueArchive(hall.queue, hall.postgres).run(event: AuditFixture.event, epoch: 1))

    let report = try await hall.audit()
    #expect(report.findings.counts == [:], "\(report.text)")
    let figures = try #require(report.events[AuditFixture.event])
    #expect(figures.accepted == 3)
    #expect(figures.terminal == ["purchased": 1, "cancelled": 1, "rejected": 1])
    try await hall.sql(
      "UPDATE request_archive SET records = replace(records, \("\(sold.position)=P"), \("\(sold.position)=X"))"
    )
    #expect(try await hall.audit().findings.counts == [.saleNotTold: 1])
    await hall.end()
  }

  @Test("A store that cannot be read is not a clean one")
  func cannotLook() async throws {
    let code = await AuditCommand.run(
      arguments: ["--settle", "0"],
      environment: [
        "ONSALE_DATABASE_URL": "postgres://nobody@127.0.0.1:1/none",
        "ONSALE_REDIS_URL": "redis://127.0.0.1:1",
        "ONSALE_PAYMENT_URL": "http://127.0.0.1:1",
      ])
    #expect(code == 2)
    #expect(await AuditCommand.run(arguments: ["--no-such"], environment: [:]) == 2)
    #expect(await AuditCommand.run(arguments: [], environment: [:]) == 2)
  }

  @Test("An index that goes back is found, and one that is behind is named")
  func searchIndex() async throws {
    let hall = try await AuditFixture()
    hall.index.events = []
    let empty = try await hall.audit()
    #expect(empty.findings.counts == [.indexEmpty: 1])
    #expect(empty.isClean, "a system may run without searches")
    hall.index.events = [IndexedEvent(id: AuditFixture.event, version: 1), IndexedEvent(id: 77, version: 1)]
    #expect(try await hall.audit().findings.counts == [.indexUnknown: 1])
    hall.index.events = [IndexedEvent(id: 77, version: 1)]
    #expect(try await hall.audit().findings.counts == [.indexUnknown: 1, .indexEmpty: 1])
    try await hall.sql("UPDATE event SET version = 3")
    try await hall.redis("HSET", "{p\(hall.partition.number)}:settings", "\(AuditFixture.event)", "3")
    hall.index.events = [IndexedEvent(id: AuditFixture.event, version: 2)]
    #expect(try await hall.audit().findings.counts == [.indexBehind: 1])
    hall.index.events = [IndexedEvent(id: AuditFixture.event, version: 3)]
    #expect(try await hall.audit().isClean)
    await hall.end()
  }
}
