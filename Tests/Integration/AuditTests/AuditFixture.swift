import Audit
import EventLoop
import Foundation
import Ledger
import Logging
import Payments
import Postgres
import Queue
import Redis
import Sale
import TestDatabases
import TestServers
import Testing

/// An event on sale in a database and a Redis of its own, with a provider in memory. There is no worker: the test
/// does what workers do, step by step, so that nothing moves but what it moves.
@LoopActor
final class AuditFixture {
  /// Everything of one hall happens in this event and in this life of its queue.
  static let event = 42
  static let generation = 1
  static let tickets = 20
  static let price = 1_000

  let queue: QueueStore
  let redis: RedisClient
  let postgres: PostgresClient
  let purchases: PurchaseStore
  let provider = LedgerInMemory()
  let index = IndexInMemory()
  private let database: LeasedDatabase
  private let redisNumber: Int
  private var head = 0

  /// Databases of the shared Redis, used by one test after the other. It has 16; suites run one test at a time, so that few
  /// are needed.
  private static var freeNumbers = Array(1...15)

  init(holdSeconds: Int = 600, perUserLimit: Int = 4) async throws {
    let logger = Logger(label: "test")
    redisNumber = Self.freeNumbers.removeLast()
    database = try await LeasedDatabase.take()
    postgres = try await TestDatabase.connect(database.url, connections: 2)
    _ = try await postgres.transaction([
      """
      INSERT INTO event (id, name, location, date, currency, state, hold_seconds, per_user_limit, generation)
      VALUES (\(Self.event), 'Test', 'Here', now() + interval '1 year', 'EUR', 'open', \(holdSeconds), \(perUserLimit), 1)
      """,
      "INSERT INTO section (event_id, id, name, price, rank) VALUES (\(Self.event), 1, 'A', \(Self.price), 1)",
      """
      INSERT INTO ticket (event_id, id, section_id, rank, price)
      SELECT \(Self.event), n, 1, n, \(Self.price) FROM generate_series(1, \(Self.tickets)) n
      """,
      "INSERT INTO partition (id, epoch) VALUES (\(Partition(of: Self.event).number), 1)",
    ])
    var configuration = try RedisConfiguration(url: try TestRedis.shared.url())
    configuration.database = redisNumber
    redis = RedisClient(configuration, logger: logger) { redis in
      _ = try await redis.command(["FLUSHDB"])
      try await QueueStore.prepare(redis)
      // The functions are the whole server's, and the groups each database's.
      for partition in Partition.all {
        _ = try? await redis.command([
          "XGROUP", "CREATE", .text("{p\(partition.number)}:c"), "workers", "0", "MKSTREAM",
        ])
      }
    }
    redis.start()
    try await redis.waitUntilReady(milliseconds: 10_000)
    queue = QueueStore(redis)
    purchases = PurchaseStore(postgres)
    try await queue.settings.configure(
      EventSettings(
        id: Self.event, generation: Self.generation, state: "open", queueLimit: 1_000_000,
        perUserLimit: perUserLimit, holdSeconds: holdSeconds, rate: nil, message: "", version: 1),
      create: true)
    _ = try await queue.leases.own(partition, epoch: 1)
    _ = try await queue.owned(event: Self.event, epoch: 1).takeOver()
    try await queue.owned(event: Self.event, epoch: 1, load: 0).split()
    _ = try await queue.leases.acquire(partition, worker: "test", milliseconds: 3_600_000)
    try await publish()
    index.events = [IndexedEvent(id: Self.event, version: 1)]
  }

  func end() async {
    redis.close()
    postgres.close()
    database.giveBack()
    Self.freeNumbers.append(redisNumber)
  }

  var partition: Partition { Partition(of: Self.event) }
  var prefix: String { "{p\(partition.number)}:\(Self.event):" }

  func key(_ position: Int) -> PurchaseKey {
    PurchaseKey(event: Self.event, generation: Self.generation, position: position)
  }

  /// - Parameter sinceLast: whether only what may have changed since the last clean run is looked at.
  func audit(
    repairs: Bool = false, grace: Int = 0, settle: Int = 0, sinceLast: Bool = false
  ) async throws -> AuditReport {
    var options = AuditOptions()
    options.isFull = !sinceLast
    options.repairs = repairs
    options.graceSeconds = grace
    options.settleSeconds = settle
    options.pauseMilliseconds = 10
    options.pageSize = 7  // so that paging is always at work
    return try await Audit(
      sales: AuditStore(postgres), purchases: purchases, queues: queue, provider: provider, index: index,
      options: options, logger: Logger(label: "test")
    ).run()
  }

  // MARK: What workers do

  func join(_ user: String) async throws -> Int {
    let answer = try await queue.buyers.enqueue(
      event: Self.event, user: user, seats: RequestedSeats(quantity: 1), method: nil)
    guard case .inLine(let place, _, _) = answer else {
      Issue.record("\(user) did not get into the line: \(answer)")
      return 0
    }
    return place.position
  }

  /// Joins and gets these tickets.
  func hold(_ user: String, _ tickets: [Int]) async throws -> Int {
    let position = try await join(user)
    try await decide(position, user, .granted(tickets: tickets, amount: tickets.count * Self.price))
    return position
  }

  /// - Parameter outcome: `nil` when the head passes over the place.
  func decide(_ position: Int, _ user: String, _ outcome: Decision.Outcome?) async throws {
    let next = try await queue.waiting.next(event: Self.event, after: position - 1, limit: 1)
    let entry = try #require(next.entries.first)
    var plan = ReservePlanner.Plan()
    if let outcome {
      let arrival = Arrival(
        position: position, ordinal: entry.ordinal, line: entry.line, user: user, seats: nil, method: nil)
      plan.decisions = [Decision(arrival, outcome)]
    } else {
      plan.marks[entry.line] = LinePlace(position: position - 1, ordinal: entry.ordinal - 1)
    }
    try await write(plan, head: position)
  }

  /// Ends the line of a place for everyone in it.
  func end(lineOf position: Int, _ refusal: Refusal) async throws {
    let next = try await queue.waiting.next(event: Self.event, after: position - 1, limit: 1)
    let entry = try #require(next.entries.first)
    var plan = ReservePlanner.Plan()
    plan.ends = [LineEnd(line: entry.line, after: position - 1, refusal: refusal)]
    try await write(plan, head: position)
  }

  private func write(_ plan: ReservePlanner.Plan, head position: Int) async throws {
    head = max(head, position)
    let tail = try await queue.reader.document(event: Self.event)?.tail ?? 0
    _ = try await queue.owned(event: Self.event, epoch: 1).commit(
      snapshot: OwnedQueue.LineSnapshot(
        head: head, tail: tail, isSoldOut: false, free: 0, held: 0, sold: 0, grantedPerSecond: 0,
        isIdle: true),
      plan: plan)
    try await publish()
  }

  /// Starts the payment of a hold and takes its entry out of the stream, as a worker does.
  func begin(_ user: String, _ tickets: [Int]) async throws -> Sale.Confirmation {
    let position = try await hold(user, tickets)
    _ = try await queue.buyers.confirm(
      event: Self.event, generation: Self.generation, position: position, user: user, method: "pm_card_visa")
    let taken = try await queue.confirmations.take(partition, worker: "test", limit: 10)
    return try #require(taken.first { $0.position == position })
  }

  /// Authorises a payment for a confirmation; its id.
  func authorise(_ confirmation: Sale.Confirmation) async throws -> String {
    let order = PaymentOrder(
      reference: "\(Self.event)-\(Self.generation)-\(confirmation.position)-\(confirmation.attempt)",
      amount: confirmation.amount, currency: "EUR", method: confirmation.method,
      metadata: PurchaseMetadata(
        event: Self.event, generation: Self.generation, position: confirmation.position,
        tickets: confirmation.tickets, user: confirmation.user, amount: confirmation.amount
      ).fields)
    guard case .authorised(let payment) = try await provider.authorise(order) else { return "" }
    return payment.id
  }

  /// Sells these tickets with every step up to the capture.
  @discardableResult
  func sell(_ user: String, _ tickets: [Int]) async throws -> (position: Int, payment: String) {
    let confirmation = try await begin(user, tickets)
    _ = try await purchases.claim([confirmation])
    let payment = try await authorise(confirmation)
    _ = try await purchases.settle([
      PurchaseStore.Settlement(
        key: PurchaseKey(confirmation), attempt: 1, outcome: .sold, paymentID: payment, reason: "")
    ])
    try await queue.confirmations.finish(
      event: Self.event, [ConfirmationStream.Ending(confirmation, .purchased)])
    _ = try await provider.capture(payment, reference: payment)
    try await purchases.done([
      OutboxEntry(key: PurchaseKey(confirmation), kind: .capture, paymentID: payment)
    ])
    try await publish()
    return (confirmation.position, payment)
  }

  /// Publishes the map as it truly is, as the partition's owner does after each change.
  func publish() async throws {
    var bitmap = [UInt8](repeating: 0, count: Self.tickets / 8 + 1)
    let sold = try await postgres.query("SELECT id FROM ticket WHERE event_id = \(Self.event) AND purchased")
      .map { try $0.int("id") }
    let locks = try await queue.inspection.locks(event: Self.event, tickets: Array(1...Self.tickets))
    let held = (1...Self.tickets).filter { locks[$0 - 1] != nil && !sold.contains($0) }
    for ticket in sold + held { bitmap[ticket / 8] |= 0x80 >> UInt8(ticket % 8) }
    try await queue.owned(event: Self.event, epoch: try await epoch()).publishMap(
      bitmap: bitmap, free: Self.tickets - sold.count - held.count, held: held.count, sold: sold.count,
      reopened: false)
  }

  func epoch() async throws -> Int { try await queue.leases.epoch(partition) }

  // MARK: Damage by hand

  func sql(_ statement: SQL) async throws { _ = try await postgres.query(statement) }

  @discardableResult
  func redis(_ words: String...) async throws -> RedisValue {
    try await redis.command(words.map { .text($0) })
  }

  func setRecord(_ position: Int, _ text: String) async throws {
    try await redis("HSET", "\(prefix)r:\(position / 100)", "\(position % 100)", text)
  }

  func record(_ position: Int) async throws -> RequestRecord? {
    try await queue.reader.record(event: Self.event, position: position)
  }
}

/// A payment provider in memory.
@LoopActor
final class LedgerInMemory: PaymentProvider {
  var payments: [String: Payment] = [:]
  var made: [Refund] = []

  func add(
    _ id: String, _ status: Payment.Status, amount: Int = AuditFixture.price, captured: Int = 0,
    reference: String?
  ) {
    payments[id] = Payment(
      id: id, status: status, amount: amount, amountCaptured: captured, currency: "EUR", reference: reference,
      created: 1_000)
  }

  func authorise(_ order: PaymentOrder) async throws -> PaymentOutcome {
    let id = "pi_" + order.reference
    add(id, .requiresCapture, amount: order.amount, reference: order.reference)
    payments[id]?.purchase = PurchaseMetadata(order.metadata)
    return .authorised(try await retrieve(id))
  }

  func capture(_ id: String, reference: String) async throws -> Payment {
    guard let payment = payments[id], payment.status == .requiresCapture || payment.status == .succeeded
    else {
      throw PaymentError(code: .invalid, message: "cannot be captured")
    }
    payments[id]?.status = .succeeded
    payments[id]?.amountCaptured = payment.amount
    return try await retrieve(id)
  }

  func cancel(_ id: String, reference: String) async throws -> Payment {
    payments[id]?.status = .canceled
    return try await retrieve(id)
  }

  func find(reference: String) async throws -> Payment? {
    payments.values.first { $0.reference == reference }
  }

  func retrieve(_ id: String) async throws -> Payment {
    guard let payment = payments[id] else { throw PaymentError(code: .invalid, message: "no such payment") }
    return payment
  }

  /// All that there is was made days before whatever comes.
  func makeOld() {
    for id in payments.keys { payments[id]?.created = 1_000 - 200_000 }
  }

  /// Gives something back, as somebody does it elsewhere, or as this system does under a reference.
  func giveBack(_ payment: String, _ amount: Int, id: String = "re_1", reference: String? = nil) {
    made.append(Refund(id: id, payment: payment, amount: amount, status: .succeeded, reference: reference))
  }

  func refunded(_ id: String) async throws -> Int { try await refunds(of: id).reduce(0) { $0 + $1.amount } }

  func refund(_ id: String) async throws { giveBack(id, payments[id]?.amountCaptured ?? 0) }

  func refund(_ order: RefundOrder) async throws -> Refund {
    giveBack(order.payment, order.amount, id: "re_" + order.reference, reference: order.reference)
    return made[made.count - 1]
  }

  func refunds(of payment: String) async throws -> [Refund] { made.filter { $0.payment == payment } }

  func refunds(after: String?, limit: Int) async throws -> (refunds: [Refund], hasMore: Bool) {
    (made.reversed(), false)
  }

  var disputed: [Dispute] = []

  func disputes(of payment: String?, after: String?, limit: Int) async throws -> (
    disputes: [Dispute], hasMore: Bool
  ) { (disputed.filter { payment == nil || $0.payment == payment }, false) }

  func list(after: String?, limit: Int) async throws -> (payments: [Payment], hasMore: Bool) {
    let rest = payments.values.sorted { $0.id > $1.id }.filter { after == nil || $0.id < after ?? "" }
    // A page of three shows that all pages are read.
    return (Array(rest.prefix(3)), rest.count > 3)
  }
}

/// A search index that holds what the test puts there.
@LoopActor
final class IndexInMemory: AuditedIndex {
  var events: [IndexedEvent] = []

  func open() async throws {}
  func close() async {}
  func versions(eventVersion: Int, document: QueueDocument?, purchased: Int) -> [Int] { [eventVersion] }

  func indexedEvents(after id: Int, limit: Int) async throws -> [IndexedEvent] {
    Array(events.filter { $0.id > id }.sorted { $0.id < $1.id }.prefix(limit))
  }
}
