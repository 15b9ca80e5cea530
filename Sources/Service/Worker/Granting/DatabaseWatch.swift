import Archive
import EventLoop
import FaultInjection
import Ledger
import Logging
import Payments
import Queue
import Sale
import StoreCommon

/// Notices that PostgreSQL is another server than before, or an older state of itself: a standby that was promoted, a
/// backup or a dump that was restored.
///
/// Every loop then loads anew, and so compares what Redis knows as sold. And one of the workers compares the provider's
/// payments of the events that are on sale, of which PostgreSQL may have lost what Redis has lost, too.
@LoopActor
final class DatabaseWatch {
  private static let lookMilliseconds: UInt64 = 1_000
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
  private var last: SeatStore.DatabaseState?
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
      do { try await sleep(milliseconds: Self.lookMilliseconds) } catch { return }
    }
  }

  private func round() async throws {
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
      // On the disk that it had, as far as can be seen. PartitionStreams look all the same: that costs them a load.
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
    if noted.identity == now.identity && !wentBack && !isOther { return }
    guard try await keepBooks() else { return }
    try await catchUp()
    try await compare()
    try await Faults.point(.databaseCompare) {
      try await queue.comparison.noteChecked(database: now.identity)
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
    for (event, payments) in try await unknown(missing) {
      let kept = try await notGivenBack(payments)
      if !kept.isEmpty { try await stop(event, kept) }
    }
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
    try await Faults.point(.databaseCompare) {
      // While there is no line nobody is sold anything, and there is nothing that could hold tickets back: later.
      guard let facts = try await queue.inspection.facts(event: event) else {
        throw StoreError(.noQueue, "event \(event)")
      }
      if !tickets.isEmpty {
        try await queue.comparison.noteSold(event: event, Bitmap.of(tickets))
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
}
