import EventLoop
import Foundation
import Logging
import Payments
import Postgres
import Redis
import Sale
import TestDatabases
import TestServers
import Testing

@testable import Archive
@testable import Ledger
@testable import Queue
@testable import StoreCommon
@testable import Worker

/// One event on sale in a database of its own and the tests' Redis, with workers in this process and a provider
/// that the test controls.
@LoopActor
final class SaleFixture {
  let event: Int
  let queue: QueueStore
  let postgres: PostgresClient
  let purchases: PurchaseStore
  let provider = ScriptedProvider()
  private let database: LeasedDatabase
  private let server: TestRedis
  private let redis: RedisClient
  private let configuration: RedisConfiguration
  private let stores: Worker.Stores
  var refunds: RefundStore { stores.refunds }
  var events: EventStore { stores.events }
  var workers: [Worker] = []

  /// - Parameter tickets: places of general admission in one section, 1000 each.
  init(tickets: Int, holdSeconds: Int = 60, perUserLimit: Int = 4, rejoinSeconds: Int = 0) async throws {
    let logger = Logger(label: "test")
    database = try await LeasedDatabase.take()
    postgres = try await TestDatabase.connect(database.url, connections: 4)
    event = 42
    _ = try await postgres.transaction([
      """
      INSERT INTO event (id, name, location, date, currency, state, hold_seconds, per_user_limit)
      VALUES (\(event), 'Test', 'Here', now() + interval '1 year', 'EUR', 'open', \(holdSeconds), \(perUserLimit))
      """,
      "INSERT INTO section (event_id, id, name, price, rank) VALUES (\(event), 1, 'A', 1000, 1)",
      """
      INSERT INTO ticket (event_id, id, section_id, rank, price)
      SELECT \(event), n, 1, n, 1000 FROM generate_series(1, \(tickets)) n
      """,
    ])
    // Leases and epochs are the whole server's: each sale has one of its own.
    server = try TestRedis()
    configuration = try RedisConfiguration(url: server.url)
    redis = RedisClient(configuration, logger: logger, prepare: QueueStore.prepare)
    redis.start()
    try await redis.waitUntilReady(milliseconds: 5_000)
    queue = QueueStore(redis)
    purchases = PurchaseStore(postgres)
    stores = Worker.Stores(
      queue: queue, purchases: purchases, seats: SeatStore(postgres), epochs: EpochStore(postgres),
      archive: QueueArchive(queue, postgres), events: EventStore(postgres, rejoinSeconds: rejoinSeconds),
      refunds: RefundStore(postgres, leaseSeconds: 0.2, firstRetrySeconds: 0.005),
      declines: DeclineStore(postgres),
      books: BookStore(postgres))
    try await queue.settings.configure(
      EventSettings(
        id: event, generation: 1, state: "open", queueLimit: 1_000_000, perUserLimit: perUserLimit,
        holdSeconds: holdSeconds, rate: nil, message: "", version: 1), create: true)
  }

  @discardableResult
  func startWorker(
    _ limits: Worker.ProviderLimits = Worker.ProviderLimits(), patience: Worker.Patience = Worker.Patience(),
    spareProcessor: SpareProcessor = SpareProcessor()
  ) async throws -> Worker {
    let worker = Worker(
      identity: "test-\(UInt64.random(in: 0...UInt64.max))", stores: stores, provider: provider,
      providerLimits: limits,
      redis: configuration, patience: patience, spareProcessor: spareProcessor, logger: Logger(label: "test"))
    try await worker.start()
    workers.append(worker)
    return worker
  }

  func end() async {
    await stopWorkers()
    redis.close()
    postgres.close()
    database.giveBack()
  }

  private var wishes: [Int: WishPlace] = [:]

  func join(
    _ user: String, _ quantity: Int = 1, method: String? = nil, client: String = "", maxAmount: Int? = nil,
    lostPlace: Int? = nil
  ) async throws -> Int {
    let answer = try await queue.buyers.enqueue(
      event: event, user: user, seats: RequestedSeats(quantity: quantity), method: method,
      client: client, maxAmount: maxAmount, lostPlace: lostPlace)
    guard case .inLine(let place, _, _) = answer else {
      Issue.record("\(user) did not get into the line: \(answer)")
      return 0
    }
    wishes[place.position] = place.wish
    return place.position
  }

  func status(_ position: Int) async throws -> RequestStatus? {
    guard let document = try await queue.reader.document(event: event) else { return nil }
    if let record = try await queue.reader.record(event: event, position: position) {
      return RequestStatus(position: position, document: document, record: record)
    }
    let wish = wishes[position]
    let mark = try await queue.reader.marks(event: event)[wish?.line ?? 0]
    return RequestStatus(position: position, wish: wish, document: document, mark: mark)
  }

  /// How often a condition is looked at, ten milliseconds apart, until it counts as one that never comes: however starved
  /// the machine.
  private static let looks = 6_000

  /// Waits until the request is in `state`, and returns its status then.
  @discardableResult
  func wait(
    for state: RequestState, _ position: Int, sourceLocation: SourceLocation = #_sourceLocation
  ) async throws -> RequestStatus? {
    var last: RequestStatus?
    for _ in 0..<Self.looks {
      last = try await status(position)
      if last?.state == state { return last }
      try await sleep(milliseconds: 10)
    }
    Issue.record(
      "request \(position) is \(last.map { "\($0.state)" } ?? "unknown") and not \(state)",
      sourceLocation: sourceLocation)
    return last
  }

  /// Waits until `condition` holds.
  func eventually(
    _ what: String, sourceLocation: SourceLocation = #_sourceLocation,
    _ condition: @LoopActor () async throws -> Bool
  ) async throws {
    for _ in 0..<Self.looks {
      if try await condition() { return }
      try await sleep(milliseconds: 10)
    }
    Issue.record("never: \(what)", sourceLocation: sourceLocation)
  }

  func confirm(_ position: Int, _ user: String, _ method: String = "pm_card_visa") async throws
    -> BuyersLine.ConfirmAnswer
  {
    try await queue.buyers.confirm(
      event: event, generation: 1, position: position, user: user, method: method)
  }

  /// Whose cards were refused, of those who are asked for.
  func declines(among users: [String] = ["ann"]) async throws -> [String] {
    let names = Dictionary(uniqueKeysWithValues: users.map { (UserKey($0).text, $0) })
    return try await stores.declines.declines(after: 0, limit: 100).compactMap { names[$0.decline.user] }
  }

  /// Cards that were refused and came from a client.
  func declines(from client: String) async throws -> Int {
    try await stores.declines.declines(after: 0, limit: 100).count { $0.decline.client == client }
  }

  /// Makes the line as short as it was when `tail` people had come.
  func rewind(to tail: Int) async throws {
    _ = try await redis.command([
      "HSET", .text(EventKeys(event).meta), "tail", .integer(tail), "head", .integer(tail),
    ])
    // A stream never takes an id below its last one: a copy's last one is lower, too.
    _ = try await redis.command(["DEL", .text(EventKeys(event).line(1))])
  }

  /// Redis comes back, over another connection, as it was before the last in line got their ticket.
  func forgetLastDecision(_ position: Int, _ user: String, ticket: Int) async throws {
    let keys = EventKeys(event), (key, field) = keys.record(position)
    for command: [RedisArgument] in [
      ["HSET", .text(keys.meta), "head", .integer(position - 1), "idle", "0"],
      ["HDEL", .text(key), .text(field)], ["ZREM", .text(keys.holds), .integer(position)],
      ["DEL", .text(keys.prefix + "l:\(ticket)"), .text(keys.line(1))],
      ["XADD", .text(keys.line(1)), .text("\(position)-\(position)"), "u", .text(user)],
      ["SADD", .text(keys.prefix + "ka"), "1"],
    ] { _ = try await redis.command(command) }
    let id = try await redis.command(["CLIENT", "ID"]).integer ?? 0
    let connection = redis.readySince
    _ = try? await redis.command(["CLIENT", "KILL", "ID", .integer(id), "SKIPME", "no"])
    try await eventually("another connection") { redis.readySince != connection }
  }

  /// Redis looks like another life of its server, as far as a test can make it: its note names one that was before. And it
  /// has forgotten that somebody bought a ticket.
  func becomeOtherRedis(forgetting position: Int? = nil, _ user: String = "", ticket: Int = 0) async throws {
    let (_, noted) = try await queue.comparison.comparedStores()
    let stores = try #require(noted)
    let before = ComparedStores(redis: "before", database: stores.database, started: stores.started)
    try await queue.comparison.note(compared: before, connection: redis.readySince)
    guard let position else { return }
    let keys = EventKeys(event), (key, field) = keys.record(position), owner = UserKey(user).text
    for command: [RedisArgument] in [
      ["HDEL", .text(key), .text(field)], ["DEL", .text(keys.sold)],
      ["HDEL", .text(keys.user(owner)), .text(owner)], ["SETBIT", .text(keys.bitmap), .integer(ticket), "0"],
    ] { _ = try await redis.command(command) }
  }

  /// Has every worker's connection to Redis made anew, so that loops load again.
  func reconnect() async throws {
    let connection = redis.readySince
    _ = try? await redis.command(["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no"])
    try await eventually("another connection") { redis.readySince != connection }
  }

  /// What nobody carries out any more.
  func deadLetters() async throws -> Int {
    try await queue.deadLetters.list(Partition(of: event), limit: 100).count
  }

  /// How often the stream's only entry counts as delivered, once it has been given back.
  func deliveriesLeft() async throws -> Int? {
    let answer = try await redis.command([
      "XPENDING", .text(Partition(of: event).confirmations), "workers", "-", "+", "1",
    ])
    return answer.array?.first?.array?.last?.integer
  }

  /// Makes the line unreadable, or empty again.
  func breakLine(_ isBroken: Bool) async throws {
    let line = RedisArgument.text(EventKeys(event).prefix + "ka")
    _ = try await redis.command(isBroken ? ["SET", line, "x"] : ["DEL", line])
  }

  /// Redis forgets what a user has bought.
  func forgetOwned(_ user: String) async throws {
    let key = UserKey(user).text
    _ = try await redis.command(["HDEL", .text(EventKeys(event).user(key)), .text(key)])
  }

  /// Redis comes back empty, except for its functions.
  func loseRedis() async throws { _ = try await redis.command(["FLUSHALL"]) }

  /// Puts a payment into the stream, as a worker would have it that took it from Redis before that was lost.
  func replayConfirmation(
    _ position: Int, _ user: String, tickets: [Int], generation: Int, stream: Partition? = nil
  ) async throws {
    _ = try await redis.command([
      "XADD", .text((stream ?? Partition(of: event)).confirmations), "*", "e", .integer(event), "g",
      .integer(generation),
      "p",
      .integer(position), "t", "1", "k", .text(tickets.map(String.init).joined(separator: ",")), "a",
      .integer(1000 * tickets.count), "m", "pm_card_visa", "u", .text(user),
    ])
  }

  /// Gives the lease of the event's partition to an owner who is nobody. - Returns: whether it was free.
  func leaseToNobody() async throws -> Bool {
    try await queue.leases.acquire(
      Partition(of: event), worker: "owner", milliseconds: QueueLeases.longestMilliseconds)
  }

  /// Ends whatever lease of the event's partition there is, and tells nobody.
  func dropLease() async throws {
    _ = try await redis.command(["DEL", .text(Partition(of: event).lease)])
  }

  /// How many payments are in the stream.
  func confirmations(_ stream: Partition? = nil) async throws -> Int? {
    try await redis.command(["XLEN", .text((stream ?? Partition(of: event)).confirmations)]).integer
  }

  func purchase(_ position: Int) async throws -> Purchase? {
    try await purchases.find(PurchaseKey(event: event, generation: 1, position: position))
  }

  /// What is left to be done at the provider is due now, and not only after the time that its first try has.
  func makeOutboxDue() async throws {
    _ = try await postgres.query("UPDATE outbox SET available_at = now()")
  }

  func soldTickets() async throws -> [Int] {
    try await postgres.query("SELECT id FROM ticket WHERE event_id = \(event) AND purchased ORDER BY id")
      .map { try $0.int("id") }
  }
}

/// A payment provider in memory. Cards named `decline…` are declined; the script may fail calls on the way.
@LoopActor
final class ScriptedProvider: PaymentProvider {
  var payments: [String: Payment] = [:]
  private(set) var refunds: Set<String> = []
  /// Called before an authorisation has its effect, and after it.
  var beforeAuthorising: (PaymentOrder) async throws -> Void = { _ in }
  var afterAuthorising: (PaymentOrder) async throws -> Void = { _ in }
  var onCapture: (String) async throws -> Void = { _ in }
  var onCancel: (String) async throws -> Void = { _ in }
  var onRetrieve: (String) async throws -> Void = { _ in }
  var onList: () async throws -> Void = {}
  var onFind: () throws -> Void = {}
  /// Whether the provider's search has what was made.
  var isFindable = true
  /// What an authorisation becomes, and where its buyer goes then.
  var authorised = Payment.Status.requiresCapture
  var redirectURL: String?
  /// Whether what it processes can be cancelled.
  var cancelsProcessing = true
  /// How often a payment was asked for.
  private(set) var retrievals = 0

  func authorise(_ order: PaymentOrder) async throws -> PaymentOutcome {
    try await beforeAuthorising(order)
    let outcome: PaymentOutcome
    if order.method.hasPrefix("decline") {
      outcome = .declined(id: nil, code: "card_declined", message: "declined")
    } else {
      let id = "pi_" + order.reference
      if payments[id] == nil {
        payments[id] = Payment(
          id: id, status: authorised, amount: order.amount, amountCaptured: 0, currency: order.currency,
          reference: order.reference, created: 0, purchase: PurchaseMetadata(order.metadata),
          redirectURL: redirectURL)
      }
      guard let payment = payments[id] else { throw PaymentError(code: .invalid, message: "lost") }
      outcome = PaymentOutcome(payment)
    }
    try await afterAuthorising(order)
    return outcome
  }

  func capture(_ id: String, reference: String) async throws -> Payment {
    try await onCapture(id)
    return try change(id) {
      $0.status = .succeeded
      $0.amountCaptured = $0.amount
    }
  }

  func cancel(_ id: String, reference: String) async throws -> Payment {
    try await onCancel(id)
    return try change(id) { if cancelsProcessing || $0.status != .processing { $0.status = .canceled } }
  }

  private func change(_ id: String, _ body: (inout Payment) -> Void) throws -> Payment {
    guard var payment = payments[id] else { throw PaymentError(code: .invalid, message: "no such payment") }
    if payment.status.isEnd { return payment }
    body(&payment)
    payments[id] = payment
    return payment
  }

  func find(reference: String) async throws -> Payment? {
    try onFind()
    if !isFindable { return nil }
    return payments["pi_" + reference]
  }

  func retrieve(_ id: String) async throws -> Payment {
    retrievals += 1
    try await onRetrieve(id)
    guard let payment = payments[id] else { throw PaymentError(code: .invalid, message: "no such payment") }
    return payment
  }

  func refunded(_ id: String) async throws -> Int { refunds.contains(id) ? payments[id]?.amount ?? 0 : 0 }

  func refund(_ id: String) async throws { refunds.insert(id) }

  /// What was given back, by reference; and what happens before it is, and after it.
  var given: [String: Refund] = [:]
  var beforeRefund: (RefundOrder) async throws -> Void = { _ in }
  var afterRefund: (RefundOrder) async throws -> Void = { _ in }

  func refund(_ order: RefundOrder) async throws -> Refund {
    try await beforeRefund(order)
    if given[order.reference] == nil {
      given[order.reference] = Refund(
        id: "re_" + order.reference, payment: order.payment, amount: order.amount, status: .succeeded,
        reference: order.reference)
    }
    try await afterRefund(order)
    guard let made = given[order.reference] else { throw PaymentError(code: .invalid, message: "lost") }
    return made
  }

  func refunds(of payment: String) async throws -> [Refund] { given.values.filter { $0.payment == payment } }

  func refunds(after: String?, limit: Int) async throws -> (refunds: [Refund], hasMore: Bool) {
    (given.values.map(told), false)
  }

  /// As a list of everybody's tells it: with its payment.
  private func told(_ refund: Refund) -> Refund {
    var refund = refund
    if refund.paid == nil { refund.paid = payments[refund.payment] }
    return refund
  }

  var disputed: [Dispute] = []

  func disputes(of payment: String?, after: String?, limit: Int) async throws -> (
    disputes: [Dispute], hasMore: Bool
  ) { (disputed.filter { payment == nil || $0.payment == payment }, false) }

  func list(after: String?, limit: Int) async throws -> (payments: [Payment], hasMore: Bool) {
    try await onList()
    return (payments.values.sorted { $0.id < $1.id }, false)
  }
}

extension SpareProcessor {
  /// Always or never there.
  static func test(_ isThere: Bool) -> SpareProcessor {
    SpareProcessor { isThere ? nil : (0, 0) }
  }
}

/// What a kernel says of its processors.
@LoopActor
final class Kernel {
  var reading: SpareProcessor.Reading? = (up: 0, idle: 1_000)
}
