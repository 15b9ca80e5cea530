import EventLoop
import Foundation
import Redis
import Sale
import Testing

@testable import Queue

@LoopActor
@Suite("What Redis knows as sold", .timeLimit(.minutes(3)))
struct QueueSoldTests {
  /// Holds these tickets and pays for them; how that ends.
  private func end(
    _ it: QueueFixture, _ user: String, _ tickets: [Int], _ outcome: ConfirmationStream.Ending.Outcome
  ) async throws {
    let position = try await it.hold(user, tickets)
    #expect(try await it.confirm(user, position) == .ok)
    let taken = try #require(try await it.take().first)
    try await it.queue.confirmations.finish(event: it.event, [.init(taken, outcome)])
  }

  private func sold(_ it: QueueFixture) async throws -> [Int] {
    let bitmap = try await it.queue.comparison.soldTickets(event: it.event)
    return (0..<bitmap.count * 8).filter { Bitmap.contains(bitmap, $0) }
  }

  @Test("Tickets are noted when their payment has succeeded, and no others")
  func noted() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    #expect(try await sold(it) == [])
    try await end(it, "a", [3, 9], .purchased)
    try await end(it, "b", [4], .declined)
    try await end(it, "c", [5], .lost)
    #expect(try await sold(it) == [3, 9])
  }

  @Test("What PostgreSQL says is added; what nobody has after all is taken away")
  func added() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await end(it, "a", [3], .purchased)
    try await it.queue.comparison.noteSold(event: it.event, Bitmap.of([1, 17, 200]))
    try await it.queue.comparison.noteSold(event: it.event, Bitmap.of([2]))
    #expect(try await sold(it) == [1, 2, 3, 17, 200])
    try await it.queue.comparison.dropSold(event: it.event, [2, 3])
    #expect(try await sold(it) == [1, 17, 200])
  }

  @Test("It outlives a line that was lost, and leaves with one that was closed")
  func lives() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await end(it, "a", [3], .purchased)
    try await it.queue.buyers.markLost(event: it.event, generation: 1)
    try await it.owned.remove(generation: 1, tail: 1)
    #expect(try await sold(it) == [3])
    try await it.configure { $0.generation = 2 }
    #expect(try await sold(it) == [3])
    try await it.configure { $0.state = "closed" }
    try await it.owned.remove(generation: 2, tail: 0)
    #expect(try await sold(it) == [])
  }

  @Test(
    "A sale that was taken back is a hold again, of all that was sold, and for a whole hold of the event's clock"
  )
  func askedAgain() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let position = try await it.hold("a", [3, 9])
    #expect(try await it.confirm("a", position) == .ok)
    let taken = try #require(try await it.take().first)
    try await it.queue.confirmations.finish(event: it.event, [.init(taken, .purchased)])
    func ask(_ tickets: [Int], attempt: Int = 1) async throws -> Bool {
      try await it.queue.confirmations.askAgain(
        event: it.event, generation: 1, position: position, attempt: attempt, tickets: tickets,
        reason: "authorisation_lapsed", holdSeconds: 0)
    }
    _ = try await it.tick()
    #expect(try await !ask([3]))
    #expect(try await !ask([3, 9, 10]))
    #expect(try await !ask([3, 9], attempt: 2))
    #expect(try await it.state(position) == .purchased)
    #expect(try await sold(it) == [3, 9])
    // It has stood still for two hours.
    _ = try await it.redis.command(["HSET", .text(it.keys.meta), "stood", "7200000"])
    #expect(try await ask([3, 9]))
    #expect(try await ask([9, 3]))
    // The owner has them as sold: by the same step, once, it hears that they are not.
    let lost = try await it.tick().feedback.compactMap {
      if case .lost(let tickets) = $0 { tickets } else { nil }
    }
    #expect(lost == [[3, 9]])
    let record = try #require(try await it.queue.reader.record(event: it.event, position: position))
    #expect(record.state == .declined && record.reason == "authorisation_lapsed" && record.tickets == [3, 9])
    #expect(abs(record.deadline + 7_200_000 - WallClock.milliseconds) < 3_600_000)
    #expect(try await sold(it) == [])
    #expect(try await it.isLocked(3))
    #expect(try await it.isMarked(9))
    #expect(try await it.confirm("a", position, method: "pm_2") == .ok)
    #expect(try await ask([3, 9]))
    #expect(try await it.state(position) == .confirming)
  }

  @Test("Whom nobody watches has longer for it, and nobody is asked for what would be refused")
  func askedAgainForLong() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    var position = 0
    func ask() async throws -> Bool {
      let record = try #require(try await it.queue.reader.record(event: it.event, position: position))
      return try await it.queue.confirmations.askAgain(
        event: it.event, generation: 1, position: position, attempt: record.attempt, tickets: record.tickets,
        reason: "authorisation_lapsed", holdSeconds: 7_200)
    }
    func buy(_ user: String, _ ticket: Int) async throws {
      position = try await it.hold(user, [ticket])
      #expect(try await it.confirm(user, position) == .ok)
      let taken = try #require(try await it.take().first)
      try await it.queue.confirmations.finish(event: it.event, [.init(taken, .purchased)])
    }
    try await buy("a", 1)
    #expect(try await ask())
    let record = try #require(try await it.queue.reader.record(event: it.event, position: position))
    #expect(abs(record.deadline - WallClock.milliseconds - 7_200_000) < 60_000)
    let lock = try await it.redis.command(["PTTL", .text(it.keys.prefix + "l:1")]).integer ?? 0
    #expect(lock > 7_100_000)
    // At the last try that there is.
    try await buy("b", 2)
    let (key, field) = it.keys.record(position)
    let text = try #require(try await it.redis.command(["HGET", .text(key), .text(field)]).text)
    let last = text.replacingOccurrences(of: "P|1|", with: "P|\(Limits.paymentAttempts)|")
    _ = try await it.redis.command(["HSET", .text(key), .text(field), .text(last)])
    #expect(try await !ask())
    #expect(try await it.state(position) == .purchased)
    // Stopped and then closed: no payment begins there any more.
    try await buy("c", 3)
    _ = try await it.redis.command(["HSET", .text(it.keys.meta), "stopped", "1"])
    try await it.configure { $0.state = "closed" }
    _ = try await it.redis.command(["HSET", .text(it.keys.meta), "stopped", "1"])
    #expect(try await !ask())
    _ = try await it.redis.command(["HSET", .text(it.keys.meta), "stopped", "0"])
    #expect(try await ask())
  }

  @Test("Tickets that were sold and are not any more are read anew by their owner, who has them as sold")
  func readAnew() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await end(it, "a", [3, 9], .purchased)
    _ = try await it.tick()
    func lost() async throws -> [[Int]] {
      try await it.tick().feedback.compactMap { if case .lost(let tickets) = $0 { tickets } else { nil } }
    }
    try await it.queue.comparison.dropSold(event: it.event, [5])
    #expect(try await lost() == [])
    try await it.queue.comparison.dropSold(event: it.event, [3, 9], readsAnew: true)
    #expect(try await lost() == [[3, 9]])
    try await it.queue.comparison.dropSold(event: it.event + 1, [3], readsAnew: true)
    try await end(it, "b", [4], .purchased)
    _ = try await it.tick()
    #expect(
      try await it.queue.repairs.repair(
        event: it.event, position: 2, expected: .purchased, to: .expired, attempt: 1, amount: 100,
        tickets: [4], free: [4], reason: "authorisation_lapsed", user: ""))
    #expect(try await lost() == [[4]])
  }

  @Test("A repair notes what was sold, and forgets what is to be sold again")
  func repaired() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let position = try await it.hold("a", [3])
    #expect(
      try await it.queue.repairs.repair(
        event: it.event, position: position, expected: .reserved, to: .purchased, attempt: 1, amount: 100,
        tickets: [3], free: [], reason: "", user: "a"))
    #expect(try await sold(it) == [3])
    #expect(
      try await it.queue.repairs.repair(
        event: it.event, position: position, expected: .purchased, to: .expired, attempt: 1, amount: 100,
        tickets: [3], free: [3], reason: "", user: "a"))
    #expect(try await sold(it) == [])
  }
}
