import EventLoop
import Redis
import Sale
import TestServers
import Testing

@testable import Queue
@testable import StoreCommon

@LoopActor
@Suite("The end of holds, and the clock", .timeLimit(.minutes(3)))
struct QueueClockTests {
  private static let hour = 3_600_000

  /// As if Redis's clock had stepped by so much.
  private func step(_ it: QueueFixture, _ milliseconds: Int) async throws {
    _ = try await it.redis.command(["SET", .text(it.partition.clock), .integer(milliseconds)])
  }

  private func endHolds(_ it: QueueFixture, limit: Int = 100) async throws -> QueueHolds.EndAnswer {
    try await it.queue.holds.end(it.partition, limit: limit)
  }

  private func timeToLive(_ it: QueueFixture, _ ticket: Int) async throws -> Int {
    try await it.redis.command(["PTTL", .text("\(it.keys.prefix)l:\(ticket)")]).integer ?? 0
  }

  @Test("Holds of all events of a partition end without its owner, who learns of it later, once")
  func withoutOwner() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.setHold(milliseconds: 30)
    let position = try await it.hold("a", [1, 2])
    try await eventually { try await !it.isLocked(1) }
    try await eventually {
      _ = try await endHolds(it)
      return try await it.state(position) == .expired
    }
    #expect(try await !it.isMarked(1))
    #expect(try await it.join("a") == 2, "they may ask again")
    let tick = try await it.tick()
    #expect(tick.expired.isEmpty)
    guard case .released(let tickets)? = tick.feedback.first, tick.feedback.count == 1 else {
      Issue.record("the owner learned \(tick.feedback)")
      return
    }
    #expect(tickets == [1, 2])
  }

  @Test("One call ends so many tickets, and the next ones the rest")
  func bounded() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.setHold(milliseconds: 30)
    for number in 0..<6 { _ = try await it.hold("user\(number)", [2 * number, 2 * number + 1]) }
    try await eventually { try await !it.isLocked(11) }
    var calls = 1
    while case .ended(.some) = try await endHolds(it, limit: 4) { calls += 1 }
    #expect(calls >= 3)
    for position in 1...6 { #expect(try await it.state(position) == .expired) }
  }

  @Test("A declined hold ends too, and one whose payment is under way does not")
  func states() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.setHold(milliseconds: 500)
    let declined = try await it.hold("a", [1]), paying = try await it.hold("b", [2])
    guard try await it.confirm("a", declined) == .ok, try await it.confirm("b", paying) == .ok else { return }
    let taken = try await it.take()
    try await it.queue.confirmations.finish(
      event: it.event, [.init(taken[0], .declined, reason: "card_declined")])
    try await eventually {
      _ = try await endHolds(it)
      return try await it.state(declined) == .declinedForGood
    }
    #expect(try await it.state(paying) == .confirming)
  }

  @Test("A confirm after the deadline is refused, though nobody has ended the hold")
  func lateConfirm() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.setHold(milliseconds: 30)
    let position = try await it.hold("a", [1])
    try await eventually { try await !it.isLocked(1) }
    #expect(try await it.state(position) == .reserved)
    #expect(try await it.confirm("a", position) == .expired)
  }

  @Test(
    "While the clock has stepped nothing ends, and its owner has deadlines go on as before",
    arguments: [1, -1])
  func stepped(direction: Int) async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let position = try await it.hold("a", [1])
    #expect(try await endHolds(it) == .ended(next: nil))
    let before = try #require(it.queue.clock.now(it.partition))
    try await step(it, direction * Self.hour)
    guard case .stepped(let seen) = try await endHolds(it) else {
      Issue.record("the step was not noticed")
      return
    }
    #expect(abs(seen - before - direction * Self.hour) < 2_000)
    #expect(try await it.state(position) == .reserved)
    // Granted before anybody has noticed: for as long as any other.
    let granted = try await it.hold("b", [2])
    if direction > 0 { _ = try await it.redis.command(["DEL", .text("\(it.keys.prefix)l:1")]) }
    #expect(
      try await it.queue.holds.setClock(
        it.partition, epoch: it.epoch, forwardBy: -direction * Self.hour, seen: seen))
    #expect(try await endHolds(it) == .ended(next: nil))
    let now = try #require(it.queue.clock.now(it.partition))
    #expect(abs(now - before) < 5_000)
    for position in [position, granted] {
      let record = try #require(try await it.queue.reader.record(event: it.event, position: position))
      #expect(record.state == .reserved)
      #expect(record.deadline > now + 90_000 && record.deadline <= now + 100_000)
    }
    #expect(try await it.queue.holds.renewLocks(event: it.event, from: 0, limit: 10) == 2)
    for ticket in [1, 2] {
      let left = try await timeToLive(it, ticket)
      #expect(left > 90_000 && left <= 100_000)
    }
    #expect(try await it.confirm("a", position) == .ok)
    #expect(
      try await it.redis.command(["EXISTS", .text(it.partition.clock)]).integer == 0, "back to Redis's own")
  }

  @Test("Only the owner puts a clock right, and only one that says what the owner saw")
  func fenced() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    #expect(try await endHolds(it) == .ended(next: nil))
    let seen = try #require(it.queue.clock.now(it.partition))
    let error = await #expect(throws: StoreError.self) {
      try await it.queue.holds.setClock(it.partition, epoch: it.epoch - 1, forwardBy: Self.hour, seen: seen)
    }
    #expect(error?.code == .staleEpoch)
    #expect(
      try await !it.queue.holds.setClock(
        it.partition, epoch: it.epoch, forwardBy: Self.hour, seen: seen - Self.hour))
    #expect(try await it.redis.command(["EXISTS", .text(it.partition.clock)]).integer == 0)
  }

  @Test("A clock that is off by little is followed")
  func drift() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    var ahead = 0
    for _ in 0..<5 {
      #expect(try await endHolds(it) == .ended(next: nil))
      ahead += 2_000
      try await step(it, ahead)
    }
    #expect(try await endHolds(it) == .ended(next: nil))
  }

  @Test("A lease, a claim and a worker's word that a clock which went back left behind are nobody's")
  func leftBehind() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let hour = RedisArgument.integer(Self.hour)
    _ = try await it.redis.command(["SET", .text(it.partition.lease), "dead", "PX", hour])
    #expect(try await it.queue.leases.holders()[it.partition.number] == nil)
    #expect(try await it.queue.leases.acquire(it.partition, worker: "w", milliseconds: 4_000))
    #expect(try await it.queue.leases.holders()[it.partition.number] == "w")
    #expect(try await !it.queue.leases.acquire(it.partition, worker: "other", milliseconds: 4_000))

    let later = try await it.queue.reader.serverMilliseconds() + Self.hour
    _ = try await it.redis.command(["ZADD", .text(Partition.workers), .integer(later), "dead"])
    #expect(try await it.queue.leases.announce("w", milliseconds: 4_000) == ["w"])

    _ = try await it.redis.command(["SET", .text(it.keys.refresh("here")), "7", "PX", hour])
    #expect(
      try await it.queue.refreshes.claim(event: it.event, place: "here", token: "a", milliseconds: 5_000)
        == .granted)
  }

  @Test("A line that is being restored is not let in by a clock that has stepped")
  func restoring() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    _ = try await it.join("a")
    try await it.lose(restoring: 60_000)
    guard case .inLine(let place, _, true) = try await it.enqueue("a", lostPlace: 1) else {
      Issue.record("did not come back")
      return
    }
    #expect(try await endHolds(it) == .ended(next: nil))
    try await step(it, Self.hour)
    _ = try await it.tick()
    #expect(try await it.line.isEmpty)
    #expect(place.position == 1)
  }
}
