import EventLoop
import Foundation
import Logging
import Redis
import Sale
import TestServers
import Testing

@testable import Queue

/// One event's queue in a Redis of its own, with an owner.
@LoopActor
final class QueueFixture {
  static let logger = Logger(label: "test")

  let server: TestRedis
  let redis: RedisClient
  let queue: QueueStore
  let event: Int
  let epoch = 5
  var partition: Partition { Partition(of: event) }
  var keys: EventKeys { EventKeys(event) }
  /// The queue in its owner's hands.
  var owned: OwnedQueue { queue.owned(event: event, epoch: epoch) }
  private(set) var settings: EventSettings

  init(event: Int = 42, state: String = "open") async throws {
    self.event = event
    server = try TestRedis()
    redis = RedisClient(
      try RedisConfiguration(url: server.url), logger: Self.logger, prepare: QueueStore.prepare)
    redis.start()
    try await redis.waitUntilReady(milliseconds: 60_000)
    queue = QueueStore(redis)
    settings = EventSettings(
      id: event, generation: 1, state: state, queueLimit: 1000, perUserLimit: 4, holdSeconds: 100, rate: nil,
      message: "")
    try await queue.settings.configure(settings)
    #expect(try await queue.leases.own(partition, epoch: epoch))
    try await takeOver()
  }

  /// What an owner begins with: from then on there is a line for each wish.
  @discardableResult
  func takeOver(load: Int = 0) async throws -> OwnedQueue.LoadedQueue {
    let loaded = try await queue.owned(event: event, epoch: epoch, load: load).takeOver()
    if loaded.isSplit { return loaded }
    try await queue.owned(event: event, epoch: epoch, load: load).split()
    return try await queue.owned(event: event, epoch: epoch, load: load).takeOver()
  }

  func configure(_ change: (inout EventSettings) -> Void) async throws {
    change(&settings)
    settings.version += 1
    try await queue.settings.configure(settings)
  }

  func close() { redis.close() }

  /// Joins the line. - Returns: the position.
  @discardableResult
  func join(_ user: String, quantity: Int = 1, method: String? = nil) async throws -> Int {
    let answer = try await enqueue(user, quantity: quantity, method: method)
    guard case .inLine(let place, _, true) = answer else {
      Issue.record("\(user) is not newly in line: \(answer)")
      return 0
    }
    return place.position
  }

  /// The answer but for the place among those of the same wish, which `ask` tells.
  func enqueue(
    _ user: String, quantity: Int = 1, method: String? = nil, idempotencyKey: String? = nil,
    lostPlace: Int? = nil
  ) async throws -> BuyersLine.EnqueueAnswer {
    let answer = try await queue.buyers.enqueue(
      event: event, user: user, seats: RequestedSeats(quantity: quantity), method: method,
      idempotencyKey: idempotencyKey, lostPlace: lostPlace)
    guard case .inLine(let place, let head, let isNew) = answer else { return answer }
    return .inLine(
      BuyersLine.Place(position: place.position, generation: place.generation), head: head, isNew: isNew)
  }

  /// The place of a user who asks for these seats.
  func ask(
    _ user: String, _ quantity: Int = 1, section: Int? = nil, adjacent: Bool = false
  ) async throws -> BuyersLine.Place? {
    let seats = RequestedSeats(quantity: quantity, section: section, adjacent: adjacent)
    guard
      case .inLine(let place, _, _) = try await queue.buyers.enqueue(
        event: event, user: user, seats: seats, method: nil)
    else { return nil }
    return place
  }

  /// The same event after Redis has lost its line, which is being restored for so long.
  func lose(restoring milliseconds: Int) async throws {
    _ = try await redis.command(["FLUSHALL"])
    settings.generation += 1
    try await queue.settings.configure(settings, restoreMilliseconds: milliseconds)
    #expect(try await queue.leases.own(partition, epoch: epoch))
    try await takeOver()
  }

  /// Ends the time for those who were in a lost line.
  func endRestoring() async throws {
    _ = try await redis.command(["HSET", .text(keys.meta), "restoring_until", "1"])
  }

  var line: [Int] {
    get async throws {
      try await queue.waiting.next(event: event, after: 0, limit: 10_000).entries.map(\.position)
    }
  }

  /// What an owner decides about one place, whatever line it is in.
  struct Choice {
    enum Outcome {
      case granted(tickets: [Int]), refused(Refusal)
      /// The head passes over it.
      case passed
    }
    let position: Int
    let user: String
    var method: String?
    let outcome: Outcome
  }

  @discardableResult
  func commit(
    _ choices: [Choice] = [], ends: [LineEnd] = [], head: Int? = nil, tail: Int? = nil,
    soldOut: Bool = false, idle: Bool = false, epoch: Int? = nil
  ) async throws -> OwnedQueue.CommitAnswer {
    let next = try await queue.waiting.next(event: event, after: 0, limit: 10_000)
    let entries = Dictionary(uniqueKeysWithValues: next.entries.map { ($0.position, $0) })
    var plan = ReservePlanner.Plan()
    plan.ends = ends
    for choice in choices {
      let entry = entries[choice.position]
      // One who has left is written down like those who are there.
      let line = entry?.line ?? 1, ordinal = entry?.ordinal ?? 1
      let arrival = Arrival(
        position: choice.position, ordinal: ordinal, line: line, user: choice.user, seats: nil,
        method: choice.method)
      switch choice.outcome {
      case .granted(let tickets):
        plan.decisions.append(
          Decision(arrival, .granted(tickets: tickets, amount: 100 * tickets.count)))
      case .refused(let refusal): plan.decisions.append(Decision(arrival, .refused(refusal)))
      case .passed where plan.marks[line] == nil:
        plan.marks[line] = LinePlace(position: choice.position - 1, ordinal: ordinal - 1)
      case .passed: break
      }
    }
    return try await queue.owned(event: event, epoch: epoch ?? self.epoch).commit(
      snapshot: OwnedQueue.LineSnapshot(
        head: head ?? choices.map(\.position).max() ?? 0, tail: tail ?? next.tail, isSoldOut: soldOut,
        free: 10, held: 1, sold: 0, grantedPerSecond: 1.5, isIdle: idle),
      plan: plan)
  }

  func grant(_ user: String, _ position: Int, _ tickets: [Int], method: String? = nil) -> Choice {
    Choice(position: position, user: user, method: method, outcome: .granted(tickets: tickets))
  }

  func decide(_ user: String, _ position: Int, _ outcome: Choice.Outcome) -> Choice {
    Choice(position: position, user: user, outcome: outcome)
  }

  /// A request that holds tickets.
  func hold(_ user: String, _ tickets: [Int]) async throws -> Int {
    let position = try await join(user, quantity: tickets.count)
    try await commit([grant(user, position, tickets)])
    return position
  }

  func confirm(
    _ user: String, _ position: Int, method: String = "pm_card_visa", generation: Int = 1,
    idempotencyKey: String? = nil
  ) async throws -> BuyersLine.ConfirmAnswer {
    try await queue.buyers.confirm(
      event: event, generation: generation, position: position, user: user, method: method,
      idempotencyKey: idempotencyKey)
  }

  func cancel(_ user: String, _ position: Int, generation: Int = 1) async throws -> BuyersLine.CancelAnswer {
    try await queue.buyers.cancel(event: event, generation: generation, position: position, user: user)
  }

  func state(_ position: Int) async throws -> RequestRecord.State? {
    try await queue.reader.record(event: event, position: position)?.state
  }

  func document() async throws -> QueueDocument {
    try #require(try await queue.reader.document(event: event))
  }

  func tick() async throws -> OwnedQueue.Tick {
    try await owned.tick(limit: 100)
  }

  /// Makes the holds to come short, in milliseconds.
  func setHold(milliseconds: Int) async throws {
    _ = try await redis.command(["HSET", .text(keys.meta), "hold_ms", .integer(milliseconds)])
  }

  func isLocked(_ ticket: Int) async throws -> Bool {
    try await redis.command(["EXISTS", .text("\(keys.prefix)l:\(ticket)")]).integer == 1
  }

  func isMarked(_ ticket: Int) async throws -> Bool {
    try await redis.command(["GETBIT", .text(keys.bitmap), .integer(ticket)]).integer == 1
  }

  func take() async throws -> [Sale.Confirmation] {
    try await queue.confirmations.take(partition, worker: "w", limit: 100)
  }
}

/// Waits until `condition` holds; the test's time limit bounds it.
@LoopActor
func eventually(_ condition: @LoopActor () async throws -> Bool) async throws {
  while try await !condition() { try await sleep(milliseconds: 5) }
}
