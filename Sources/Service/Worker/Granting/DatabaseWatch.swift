import Archive
import EventLoop
import FaultInjection
import Ledger
import Logging
import Metrics
import Payments
import Queue
import Redis
import Sale
import StoreCommon

/// Notices that PostgreSQL is another server than before, or an older state of itself: a standby that was promoted, a
/// backup or a dump that was restored.
///
/// Every loop then loads anew, and so compares what Redis knows as sold. And one of the workers compares the provider's
/// payments of the events that are on sale, of which PostgreSQL may have lost what Redis has lost, too.
///
/// Where Redis is another than before as well, neither knows what the other has lost: nobody is granted anything, and no
/// payment begins, until that comparison is through (`isCertain`). While the provider is away the sale waits for it.
@LoopActor
final class DatabaseWatch {
  private static let lookMilliseconds: UInt64 = 1_000
  private static let shortestPauseMilliseconds: UInt64 = 100
  /// How long another worker waits for one that compares and is not heard of.
  private static let bookkeeperMilliseconds = 30_000
  /// Of payments that are read at once; at most so many times, and the pause after each.
  private static let pageSize = 100
  private static let pageLimit = 50_000
  private static let pauseMilliseconds: UInt64 = 20
  /// Before payments that PostgreSQL does not know are looked for once more.
  private static let secondLookMilliseconds: UInt64 = 1_000
  /// Payments of one event that are remembered as missing; more stop the sale no less.
  private static let missingLimit = 10_000

  private let worker: String
  private let queue: QueueStore
  private let seats: SeatStore
  private let events: EventStore
  private let purchases: PurchaseStore
  private let epochs: EpochStore
  private let provider: any PaymentProvider
  private let logger: Logger
  private let failures = LogLimit(perSecond: 1)
  private let waiting = MetricsRegistry.shared.gauge(
    "onsale_sale_awaits_books",
    "1 while nothing is sold: both stores may be older, and the provider's books are not compared")
  private let signal = Signal()
  private var last: SeatStore.DatabaseState?
  /// The last pair of which it was heard that it was compared, of whatever life of Redis.
  private var compared: ComparedStores?
  /// The connection to a Redis that has lost nothing since it was compared.
  private var certainConnection: UInt64?
  /// How often PostgreSQL was found to be another than before.
  private(set) var changes = 0

  init(worker: String, stores: Worker.Stores, provider: any PaymentProvider, logger: Logger) {
    self.worker = worker
    queue = stores.queue
    seats = stores.seats
    events = stores.events
    purchases = stores.purchases
    epochs = stores.epochs
    self.provider = provider
    self.logger = logger
  }

  func witness(event: Int, logger: Logger) -> SaleWitness {
    SaleWitness(event: event, queue: queue, seats: seats, events: events, database: self, logger: logger)
  }

  /// Runs until cancelled. Errors end a round, not the loop.
  func run() async {
    while !Task.isCancelled {
      do {
        try await round()
      } catch is CancellationError {
        return
      } catch {
        if let count = failures.next() {
          logger.warning("PostgreSQL could not be looked at", ["error": "\(error)", "log.count": count])
        }
      }
      // Many may ask for it at once.
      do { try await sleep(milliseconds: Self.shortestPauseMilliseconds) } catch { return }
      await signal.wait(milliseconds: Self.lookMilliseconds)
    }
  }

  /// Whether one of the stores certainly knows all that was sold by what either says now; if not, they are compared at once.
  ///
  /// Whoever asks after both were read, and finds the same connection to Redis still, has read no older state of both.
  /// - Parameter looksAnew: otherwise it is taken as known while the connection to Redis is the same.
  func isCertain(looksAnew: Bool = false) async throws -> Bool {
    let connection = queue.redis.readySince
    if !looksAnew, queue.redis.isReady, certainConnection == connection { return true }
    let (redis, noted) = try await Faults.point(.databaseLook) { try await queue.comparison.comparedStores() }
    if let noted { compared = noted }
    if noted?.redis == redis {
      certainConnection = connection
      return true
    }
    certainConnection = nil
    let now = try await Faults.point(.databaseLook) { try await seats.databaseState() }
    let present = ComparedStores(redis: redis, database: now.identity, started: now.started)
    if present.isCertain(noted: noted, remembered: compared) { return true }
    signal.raise()
    return false
  }

  private func round() async throws {
    signal.reset()
    let connection = queue.redis.readySince
    let (redis, known) = try await Faults.point(.databaseLook) { try await queue.comparison.comparedStores() }
    if let known { compared = known }
    if known?.redis != redis { certainConnection = nil }
    // Redis first: what it has was seen before what is seen now.
    let noted = try await Faults.point(.databaseLook) { try await queue.comparison.checkedDatabase() }
    let now = try await Faults.point(.databaseLook) { try await seats.databaseState() }
    let wentBack = noted.identity == now.identity && now.position < noted.position
    let isOther = last.map { $0.identity != now.identity || now.position < $0.position } ?? false
    if wentBack || isOther {
      logger.error(
        "PostgreSQL is another than before: its purchases are compared with Redis and the provider",
        ["postgres.identity": now.identity])
      changes += 1
    } else if let last, last.started != now.started {
      // On the disk that it had, as far as can be seen. Grant loops look all the same: that costs them a load.
      logger.notice("PostgreSQL was restarted")
      changes += 1
    }
    try await Faults.point(.databaseLook) {
      if wentBack || isOther && noted.identity == now.identity {
        try await queue.comparison.noteChecked(database: nil)
      }
      if noted.position != now.position { try await queue.comparison.noteDatabase(position: now.position) }
    }
    last = now
    let present = ComparedStores(redis: redis, database: now.identity, started: now.started)
    let isCertain = present.isCertain(noted: known, remembered: compared)
    if isCertain {
      logger.worksAgain(Self.waitWords)
    } else {
      logger.retrying(Self.waitWords, level: .error, ["postgres.identity": now.identity])
    }
    waiting.value = isCertain ? 0 : 1
    let isSame = noted.identity == now.identity && !wentBack && !isOther
    if isSame && known == present { return }
    guard try await keepBooks() else { return }
    try await catchUp()
    // Of the process that was compared nothing can have been lost since.
    if !isSame || compared.map(present.isSameDatabase) != true { try await compare() }
    try await noteSold()
    // What was compared is what is noted.
    let after = try await Faults.point(.databaseCompare) { try await seats.databaseState() }
    guard after.identity == now.identity, after.started == now.started else { return signal.raise() }
    try await Faults.point(.databaseCompare) {
      try await queue.comparison.note(compared: present, connection: connection)
      try await queue.comparison.noteChecked(database: now.identity)
      try await queue.comparison.releaseBooks(worker: worker)
    }
    compared = present
    waiting.value = 0
    logger.worksAgain(Self.waitWords)
  }

  private static let waitWords: StaticString =
    "both stores are others than before: nothing is sold until the provider's books are compared"

  /// Redis knows what PostgreSQL has as sold, and holds it to that from now on.
  private func noteSold() async throws {
    let alive = try await Faults.point(.databaseCompare) { try await events.onSale() }
    for event in alive.keys.sorted() {
      let sold = try await Faults.point(.databaseCompare) { try await seats.inventory(event: event).sold }
      if sold.isEmpty { continue }
      do {
        try await Faults.point(.databaseCompare) {
          try await queue.comparison.noteSold(event: event, Bitmap.of(sold))
        }
      } catch let error as StoreError where error.code == .noQueue {
        // Of a line that is made later the first load notes it.
      }
    }
  }

  private func keepBooks() async throws -> Bool {
    try await Faults.point(.databaseCompare) {
      try await queue.comparison.takeBooks(worker: worker, milliseconds: Self.bookkeeperMilliseconds)
    }
  }

  /// Writes the settings of sales as their queues have them, where PostgreSQL has lost the last ones.
  private func catchUp() async throws {
    for partition in Partition.all {
      let versions = try await Faults.point(.databaseCompare) {
        try await queue.settings.versions(partition)
      }
      for (event, version) in versions {
        let isOlder = try await Faults.point(.databaseCompare) {
          guard let facts = try await queue.inspection.facts(event: event), !facts.document.isLost else {
            return false
          }
          return try await events.catchUp(event: event, with: facts, version: version)
        }
        if isOlder { logger.notice("settings written as Redis has them", ["event.id": event]) }
      }
    }
  }

  // MARK: The provider's books

  /// A payment that was taken, and of which PostgreSQL has no purchase.
  private struct Missing {
    let payment: Payment
    let attempt: SeatStore.Attempt
  }

  private func compare() async throws {
    let alive = try await Faults.point(.databaseCompare) { try await events.onSale() }
    if alive.isEmpty { return }
    let oldest = alive.values.min() ?? 0
    var missing: [Int: [Missing]] = [:]
    var after: String?
    // From the newest: what was lost last is found first.
    for _ in 0..<Self.pageLimit {
      let from = after
      let (page, hasMore) = try await Faults.point(.databaseCompare) {
        try await provider.list(after: from, limit: Self.pageSize)
      }
      let installation = try await Faults.point(.databaseCompare) { try await purchases.installation() }
      let taken = Self.taken(page, in: installation).filter { alive[$0.key] != nil }
      for (event, payments) in try await unknown(taken) {
        let room = Self.missingLimit - (missing[event]?.count ?? 0)
        missing[event, default: []] += payments.prefix(max(0, room))
      }
      guard hasMore, let end = page.last, end.created >= oldest else { break }
      after = end.id
      guard try await keepBooks() else { throw StoreError(.conflict, "another worker compares the books") }
      try await sleep(milliseconds: Self.pauseMilliseconds)
    }
    if missing.isEmpty { return }
    try await sleep(milliseconds: Self.secondLookMilliseconds)
    var lacksQueue: StoreError?
    for (event, payments) in try await unknown(missing) {
      let kept = try await notGivenBack(payments)
      if kept.isEmpty { continue }
      do { try await stop(event, kept) } catch let error as StoreError where error.code == .noQueue {
        lacksQueue = error
      }
    }
    // While there is no line nobody is sold anything, and there is nothing that could hold tickets back: again, until the
    // calendar has made it, which waits for nothing here.
    if let lacksQueue { throw lacksQueue }
  }

  /// Those whose money was taken, by event.
  private static func taken(_ payments: [Payment], in installation: String) -> [Int: [Missing]] {
    var taken: [Int: [Missing]] = [:]
    for payment in payments where payment.status == .succeeded {
      guard let place = payment.place(in: installation) else { continue }
      taken[place.event, default: []].append(
        Missing(
          payment: payment,
          attempt: SeatStore.Attempt(
            generation: place.generation, position: place.position, attempt: place.attempt)))
    }
    return taken
  }

  private func unknown(_ payments: [Int: [Missing]]) async throws -> [Int: [Missing]] {
    var unknown: [Int: [Missing]] = [:]
    for (event, payments) in payments {
      let known = try await Faults.point(.databaseCompare) {
        try await seats.known(event: event, payments.map(\.attempt))
      }
      let rest = payments.filter { !known.contains($0.attempt) }
      if !rest.isEmpty { unknown[event] = rest }
    }
    return unknown
  }

  private func notGivenBack(_ payments: [Missing]) async throws -> [Missing] {
    var kept: [Missing] = []
    for missing in payments {
      let id = missing.payment.id
      let refunded = try await Faults.point(.databaseCompare) { try await provider.refunded(id) }
      if refunded < missing.payment.amountCaptured { kept.append(missing) }
    }
    return kept
  }

  private func stop(_ event: Int, _ missing: [Missing]) async throws {
    let purchases = missing.compactMap(\.payment.purchase)
    let tickets = Set(purchases.flatMap(\.tickets)).sorted()
    logger.error(
      "the provider has taken money for purchases that PostgreSQL does not have: the sale stops",
      ["event.id": event, "payments": missing.count, "tickets": tickets.count])
    let facts = try await Faults.point(.databaseCompare) {
      guard let facts = try await queue.inspection.facts(event: event) else {
        throw StoreError(.noQueue, "event \(event)")
      }
      if !tickets.isEmpty { try await queue.comparison.noteSold(event: event, Bitmap.of(tickets)) }
      return facts
    }
    try await endHolds(event, facts.document.generation, missing)
    try await Faults.point(.databaseCompare) {
      if !tickets.isEmpty {
        // Whoever owns the partition reads its tickets anew, and holds these back.
        let partition = Partition(of: event)
        let epoch = try await epochs.next(partition, above: try await queue.leases.epoch(partition))
        _ = try await queue.leases.own(partition, epoch: epoch)
      }
      let version = try await queue.settings.versions(Partition(of: event))[event] ?? 0
      let reason: SaleHalt.Reason = purchases.count < missing.count ? .paymentsUnknown : .purchasesLost
      let settings = try await events.halt(
        event: event, SaleHalt(reason: reason, tickets: tickets), version: version,
        generation: facts.document.generation)
      if let settings { try await events.publish(settings, to: queue) }
    }
  }

  /// Ends what an older Redis says of holds of tickets that were sold to somebody else since, but for payments that
  /// PostgreSQL has begun. Their buyers come back with a place that was lost.
  private func endHolds(_ event: Int, _ generation: Int, _ missing: [Missing]) async throws {
    var buyers: [Int: PaymentPosition] = [:]
    for each in missing {
      let buyer = PaymentPosition(generation: each.attempt.generation, position: each.attempt.position)
      for ticket in each.payment.purchase?.tickets ?? [] { buyers[ticket] = buyer }
    }
    var rank = 0
    while true {
      let from = rank
      let page = try await Faults.point(.databaseCompare) {
        try await queue.inspection.holds(event: event, ranks: from..<from + Self.pageSize).map(\.position)
      }
      let records = try await Faults.point(.databaseCompare) {
        try await queue.inspection.records(event: event, positions: page)
      }
      for case (let position, let record?) in zip(page, records)
      where [.reserved, .declined, .confirming].contains(record.state) {
        let holder = PaymentPosition(generation: generation, position: position)
        let others = record.tickets.filter { buyers[$0] != nil && buyers[$0] != holder }
        if others.isEmpty { continue }
        let key = PurchaseKey(event: event, generation: generation, position: position)
        try await Faults.point(.databaseCompare) {
          try await purchases.forfeit(key, owner: record.userKey)
        }
        // A payment under way ends by itself, as its place is lost.
        if record.state == .confirming { continue }
        let isDone = try await Faults.point(.databaseCompare) { [buyers] in
          try await queue.repairs.repair(
            event: event, position: position, expected: record.state, to: .expired, attempt: record.attempt,
            amount: record.amount, tickets: record.tickets, free: record.tickets.filter { buyers[$0] == nil },
            reason: record.reason, user: "")
        }
        // It is not in the list any more.
        if isDone { rank -= 1 }
      }
      rank += page.count
      if page.count < Self.pageSize { return }
    }
  }

  private struct PaymentPosition: Equatable {
    let generation: Int
    let position: Int
  }
}
