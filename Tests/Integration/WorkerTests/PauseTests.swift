import EventLoop
import Payments
import Postgres
import Redis
import Sale
import Testing

@testable import Archive
@testable import Ledger
@testable import Queue
@testable import Worker

@Suite("Sales that stand still")
@LoopActor
struct PauseTests {
  private func move(_ sale: SaleFixture, _ state: EventState, stops: Bool = false) async throws {
    let settings = try await sale.events.move(event: sale.event, to: state, stops: stops, by: "boss")
    try await sale.events.publish(settings, to: sale.queue)
  }

  /// Waits until a hold's time would be over if it went on.
  private func waitPast(_ deadline: Int, _ sale: SaleFixture) async throws {
    try await sale.eventually("the time to pass") {
      try await sale.queue.reader.serverMilliseconds() > deadline + 1_200
    }
  }

  private func lockMilliseconds(_ sale: SaleFixture, _ ticket: Int) async throws -> Int? {
    try await sale.queue.redis.command(["PTTL", .text(EventKeys(sale.event).prefix + "l:\(ticket)")]).integer
  }

  @Test("A hold does not run out in a pause, may be paid, and has the time that was left when sales go on")
  func pause() async throws {
    let sale = try await SaleFixture(tickets: 3, holdSeconds: 2)
    try await sale.startWorker()
    let (payer, waiter) = (try await sale.join("ann"), try await sale.join("bob"))
    let deadline = try #require(try await sale.wait(for: .reserved, payer)?.deadline)
    try await sale.wait(for: .reserved, waiter)
    try await move(sale, .paused)
    try await sale.eventually("locks without an end") { try await lockMilliseconds(sale, 1) == -1 }
    let late = try await sale.join("cid")
    try await waitPast(deadline, sale)
    #expect(try await sale.status(payer)?.state == .reserved)
    #expect(try await sale.status(waiter)?.state == .reserved)
    // Nobody is granted anything.
    #expect(try await sale.status(late)?.state == .queued)
    #expect(try await sale.confirm(payer, "ann") == .ok)
    try await sale.wait(for: .purchased, payer)
    try await move(sale, .open)
    #expect(try await sale.status(waiter)?.state == .reserved)
    try await sale.eventually("a lock with an end") { try await lockMilliseconds(sale, 2) ?? -1 != -1 }
    #expect(try await sale.queue.reader.document(event: sale.event)?.stood ?? 0 > 1_000)
    try await sale.wait(for: .reserved, late)
    try await sale.wait(for: .expired, waiter)
    await sale.end()
  }

  @Test("While payments are stopped none starts, and the hold is kept")
  func stop() async throws {
    let sale = try await SaleFixture(tickets: 1, holdSeconds: 2)
    try await sale.startWorker()
    let position = try await sale.join("ann")
    let deadline = try #require(try await sale.wait(for: .reserved, position)?.deadline)
    try await move(sale, .paused, stops: true)
    #expect(try await sale.queue.reader.document(event: sale.event)?.shownState == "stopped")
    #expect(try await sale.confirm(position, "ann") == .stopped)
    try await waitPast(deadline, sale)
    #expect(try await sale.confirm(position, "ann") == .stopped)
    #expect(sale.provider.payments.isEmpty)
    // Payments may start again before sales go on.
    try await move(sale, .paused)
    #expect(try await sale.confirm(position, "ann") == .ok)
    try await sale.wait(for: .purchased, position)
    await sale.end()
  }

  @Test("A card that is declined in a pause leaves the hold its time")
  func declined() async throws {
    let sale = try await SaleFixture(tickets: 1, holdSeconds: 2)
    try await sale.startWorker()
    let position = try await sale.join("ann")
    let deadline = try #require(try await sale.wait(for: .reserved, position)?.deadline)
    try await move(sale, .paused)
    #expect(try await sale.confirm(position, "ann", "decline_1") == .ok)
    try await sale.wait(for: .declined, position)
    try await waitPast(deadline, sale)
    #expect(try await sale.confirm(position, "ann") == .ok)
    try await sale.wait(for: .purchased, position)
    await sale.end()
  }

  @Test("A sale whose line is lost in a pause still stands still, and a hold that is shown is given back")
  func lostRedis() async throws {
    let sale = try await SaleFixture(tickets: 1, holdSeconds: 4, rejoinSeconds: 0)
    try await sale.startWorker()
    let position = try await sale.join("ann")
    let status = try #require(try await sale.wait(for: .reserved, position))
    try await move(sale, .paused)
    try await move(sale, .open)
    try await move(sale, .paused)
    let before = try #require(try await sale.queue.reader.document(event: sale.event))
    try await sale.loseRedis()
    var after: QueueDocument?
    try await sale.eventually("the line's next life") {
      after = try await sale.queue.reader.document(event: sale.event)
      return after?.standsSince != nil
    }
    #expect(after?.state == "paused")
    // On one clock: what was told of the hold's end is comparable with it. PostgreSQL measured by itself.
    let time = try #require(after).eventTime(at: 0), deadline = try #require(status.deadline)
    #expect(abs(time - before.eventTime(at: 0)) < 1_000)
    #expect(deadline > time)
    await sale.end()
  }

  @Test("Another owner keeps it, and sales that are closed go on to the end of their holds")
  func closing() async throws {
    let sale = try await SaleFixture(tickets: 1, holdSeconds: 2)
    try await sale.startWorker()
    let position = try await sale.join("ann")
    let deadline = try #require(try await sale.wait(for: .reserved, position)?.deadline)
    try await move(sale, .paused, stops: true)
    await sale.stopWorkers()
    try await sale.startWorker()
    try await waitPast(deadline, sale)
    #expect(try await sale.status(position)?.state == .reserved)
    try await move(sale, .closed)
    let answer = try await sale.confirm(position, "ann")
    #expect(answer == .closed || answer == .expired)
    try await sale.eventually("the hold's end") {
      let record = try await sale.queue.reader.record(event: sale.event, position: position)
      return record == nil || record?.state == .expired
    }
    await sale.end()
  }
}
