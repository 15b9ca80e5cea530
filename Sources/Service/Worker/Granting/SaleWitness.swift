import Archive
import EventLoop
import FaultInjection
import Ledger
import Logging
import Metrics
import Queue
import Sale
import StoreCommon

/// Keeps one event from selling what was sold before, when PostgreSQL came back without some of its purchases.
///
/// At a load it names the tickets that Redis knows as sold and PostgreSQL as nobody's: these are held back, and that is
/// all that the load waits for. Beside the loop it then finds out whose they are. If two looks agree that PostgreSQL
/// knows nothing of their purchases, the sale is stopped, and goes on by itself when they are there again. Tickets that
/// were given back, or that PostgreSQL knows of after all, are handed to the loop by another load.
@LoopActor
final class SaleWitness {
  /// Between the two looks: what one of them saw in passing, such as a failover that is not over, is gone then.
  private static let secondLookMilliseconds: UInt64 = 1_000
  /// How often a sale that was stopped is looked at.
  private static let recheckMilliseconds: UInt64 = 2_000
  private static let firstBackoffMilliseconds: UInt64 = 100
  /// Between two looks whether the provider's books were compared.
  private static let waitMilliseconds: UInt64 = 200
  private static let longestBackoffMilliseconds: UInt64 = 5_000
  /// Hashes of a hundred records that are read at once, and the pause after each time: the sale itself comes first.
  private static let bucketsAtOnce = 64
  private static let pauseMilliseconds: UInt64 = 2
  /// Purchases that one statement asks for.
  private static let purchasesAtOnce = 1_000

  private static let missingName = "onsale_purchases_missing"

  private let event: Int
  private let queue: QueueStore
  private let seats: SeatStore
  private let events: EventStore
  private let database: DatabaseWatch
  private let logger: Logger
  private let labels: MetricsRegistry.Labels
  /// Owned by this object: each load, and `stop`, cancels the one before.
  private var looking: Task<Void, Never>?
  private var hasNews = false
  /// What had been seen of PostgreSQL at the last load.
  private var databaseChanges = 0

  init(
    event: Int, queue: QueueStore, seats: SeatStore, events: EventStore, database: DatabaseWatch,
    logger: Logger
  ) {
    self.event = event
    self.queue = queue
    self.seats = seats
    self.events = events
    self.database = database
    self.logger = logger.with(["event.id": event])
    labels = [("event", String(event))]
  }

  /// Whether the last load is not what the next one would be.
  var mustLoadAnew: Bool { hasNews || database.changes != databaseChanges }

  /// Returns once it is certain that what was read of both stores before is all that was sold.
  /// - Returns: false if it had to wait for that: what was read before says nothing.
  func waitUntilCertain() async throws -> Bool {
    if try await database.isCertain(looksAnew: true) { return true }
    repeat {
      try await sleep(milliseconds: Self.waitMilliseconds)
    } while try await !database.isCertain(looksAnew: true)
    return false
  }

  /// Tickets that nobody may get, for now.
  /// - Parameters:
  ///   - loaded: read before `inventory`.
  /// - Throws: also where PostgreSQL has no tickets at all of an event that has a queue: nobody is told then that they are
  ///   sold out.
  func withheld(_ loaded: OwnedQueue.LoadedQueue, _ inventory: SeatStore.Inventory) async throws -> [Int] {
    stop()
    databaseChanges = database.changes
    guard !inventory.tickets.isEmpty else {
      missing(1)
      throw StoreError(.notFound, "PostgreSQL has no tickets of event \(event), which has a queue")
    }
    let bitmap = try await Faults.point(.forgottenLook) {
      let bitmap = try await queue.comparison.soldTickets(event: event)
      if ForgottenSales.lacks(bitmap, inventory.sold) {
        try await queue.comparison.noteSold(event: event, Bitmap.of(inventory.sold))
      }
      return bitmap
    }
    let suspects = ForgottenSales.suspects(
      bitmap: bitmap, tickets: inventory.tickets.map(\.id), sold: inventory.sold, claimed: inventory.claimed)
    if !suspects.isEmpty {
      logger.warning(
        "tickets that Redis knows as sold are nobody's in PostgreSQL: held back",
        ["tickets": suspects.count])
    }
    looking = Task { @LoopActor in await lookUntilDone(suspects, loaded) }
    return suspects
  }

  func stop() {
    looking?.cancel()
    looking = nil
    hasNews = false
    missing(0)
  }

  private func missing(_ tickets: Int) {
    if tickets == 0 { return MetricsRegistry.shared.remove(Self.missingName, labels: labels) }
    MetricsRegistry.shared.gauge(
      Self.missingName, "Tickets held back because PostgreSQL has lost their purchases", labels: labels
    ).value = Double(tickets)
  }

  private func lookUntilDone(_ suspects: [Int], _ loaded: OwnedQueue.LoadedQueue) async {
    var backoff = Self.firstBackoffMilliseconds
    while !Task.isCancelled {
      do {
        if suspects.isEmpty {
          try await letGoOn()
          return
        }
        if try await settle(suspects, loaded) {
          // Of a load before, it is news to nobody.
          if !Task.isCancelled { hasNews = true }
          return
        }
      } catch is CancellationError {
        return
      } catch {
        logger.warning("lost purchases could not be looked for", ["error": "\(error)"])
      }
      do { try await sleep(milliseconds: backoff) } catch { return }
      backoff = min(backoff * 2, Self.longestBackoffMilliseconds)
    }
  }

  /// - Returns: whether another load is due; false if the two looks differed.
  private func settle(_ suspects: [Int], _ loaded: OwnedQueue.LoadedQueue) async throws -> Bool {
    let first = try await look(suspects, loaded)
    try await sleep(milliseconds: Self.secondLookMilliseconds)
    let second = try await look(suspects, loaded)
    let forgotten = first.forgotten.agreeing(with: second.forgotten)
    if forgotten.tickets != second.forgotten.tickets { return false }
    let accounted = second.free.subtracting(forgotten.tickets)
    if !accounted.isEmpty {
      try await Faults.point(.forgottenLook) {
        try await queue.comparison.dropSold(event: event, accounted.sorted())
      }
    }
    if forgotten.tickets.isEmpty { return true }
    // Another load may have come meanwhile, or the loop's end: what is said from here on is that one's to say.
    try Task.checkCancellation()
    missing(forgotten.tickets.count)
    logger.error(
      "PostgreSQL has lost purchases: the sale stops until they are there again",
      ["tickets": forgotten.tickets.count, "purchases": forgotten.positions.count])
    try await halt(forgotten.tickets.sorted(), loaded)
    if forgotten.tickets.count < suspects.count { return true }
    while try await isMissing(suspects) { try await sleep(milliseconds: Self.recheckMilliseconds) }
    logger.notice("lost purchases are there again, or were given up")
    return true
  }

  /// What one look came to: first at Redis, then at PostgreSQL.
  private func look(
    _ suspects: [Int], _ loaded: OwnedQueue.LoadedQueue
  ) async throws -> (forgotten: ForgottenSales, free: Set<Int>) {
    let wanted = Set(suspects)
    var told: [ForgottenSales.Told] = []
    let end = loaded.tail / QueueStore.recordsPerBucket + 1
    for start in stride(from: 0, to: end, by: Self.bucketsAtOnce) {
      let buckets = start..<min(start + Self.bucketsAtOnce, end)
      let records = try await Faults.point(.forgottenLook) {
        try await queue.inspection.records(event: event, buckets: buckets)
      }
      for case (let position, let record?) in records
      where record.state == .purchased && !wanted.isDisjoint(with: record.tickets) {
        told.append(.init(position: position, attempt: record.attempt, tickets: record.tickets))
      }
      try await sleep(milliseconds: Self.pauseMilliseconds)
    }
    var known: Set<Int> = []
    for start in stride(from: 0, to: told.count, by: Self.purchasesAtOnce) {
      let attempts = told[start..<min(start + Self.purchasesAtOnce, told.count)].map {
        SeatStore.Attempt(generation: loaded.generation, position: $0.position, attempt: $0.attempt)
      }
      let found = try await Faults.point(.forgottenLook) {
        try await seats.known(event: event, attempts)
      }
      known.formUnion(found.map(\.position))
    }
    let (free, neverSold) = try await Faults.point(.forgottenLook) {
      try await seats.unsold(event: event, suspects)
    }
    return (ForgottenSales(free: free, neverSold: neverSold, told: told, known: known), free)
  }

  private func isMissing(_ suspects: [Int]) async throws -> Bool {
    let bitmap = try await Faults.point(.forgottenLook) {
      try await queue.comparison.soldTickets(event: event)
    }
    let (free, _) = try await Faults.point(.forgottenLook) {
      try await seats.unsold(event: event, suspects)
    }
    return suspects.allSatisfy { free.contains($0) && Bitmap.contains(bitmap, $0) }
  }

  private func halt(_ tickets: [Int], _ loaded: OwnedQueue.LoadedQueue) async throws {
    try await Faults.point(.forgottenHalt) {
      let version = try await queue.settings.versions(Partition(of: event))[event] ?? 0
      let settings = try await events.halt(
        event: event, SaleHalt(reason: .purchasesLost, tickets: tickets), version: version,
        generation: loaded.generation)
      if let settings { try await events.publish(settings, to: queue) }
    }
  }

  private func letGoOn() async throws {
    try await Faults.point(.forgottenHalt) {
      guard let settings = try await events.liftHalt(event: event) else { return }
      logger.notice("no purchase is missing any more: the sale goes on")
      try await events.publish(settings, to: queue)
    }
  }
}
