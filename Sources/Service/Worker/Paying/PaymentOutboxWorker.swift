import EventLoop
import FaultInjection
import Ledger
import Lifecycle
import Logging
import Metrics
import Payments
import Queue
import Sale
import StoreCommon

/// Finishes at the provider what commits have left to do: captures that did not happen right away, and whatever is open
/// there of payments that sold nothing. Each is retried, ever more rarely, until it is done.
@LoopActor
final class PaymentOutboxWorker {
  private static let idleMilliseconds: UInt64 = 2_000
  /// Entries under way at once, and how many are leased, or noted as done, by one call.
  private static let batch = 64
  private static let stalledBatch = 256
  /// What was done is noted in few transactions: nobody waits for it.
  private static let noteMilliseconds: UInt64 = 50
  /// For so long what there is of a payment is looked for, where the provider cannot say.
  private static let findSeconds = 86_400
  /// So often it is searched for at least, by one process.
  private static let searches = 3
  /// Whose searches are counted; those beyond have more of them, by PostgreSQL's count.
  private static let notFoundLimit = 10_000
  private static let leases = 8
  /// Who was not searched for for so long was done by somebody else: longer than any entry waits for its next time.
  private static let forgottenMilliseconds: UInt64 = 900_000

  private let stores: Worker.Stores
  private var purchases: PurchaseStore { stores.purchases }
  private let searchSeconds: Int
  /// For so long a payment that was given up, and is authorised after all, may still buy what it was for.
  private let lateSeconds: Int
  /// No attempt to pay goes on for longer.
  private let tryingSeconds: Int
  private let lapsedSeconds: Int
  private let provider: any PaymentProvider
  private let consumer: ConfirmationConsumer
  private let logger: Logger
  private let places = Places<OutboxEntry.Name>(PaymentOutboxWorker.batch)
  private let ended: GroupCommit<OutboxEntry, Void>
  private var lookedForStalledAt: UInt64?
  /// What was searched for and not found, and how often, since when by the loop's clock.
  private var notFound: [String: (count: Int, since: UInt64, last: UInt64)] = [:]
  private var tidiedAt: UInt64 = 0
  private let carriedOut = MetricsRegistry.shared.counter(
    "onsale_relayed_total", "Captures and cancellations done after the fact")
  private let lapsed = MetricsRegistry.shared.counter(
    "onsale_authorisations_lapsed_total", "Sales taken back because their authorisation was gone")

  init(
    stores: Worker.Stores, provider: any PaymentProvider, consumer: ConfirmationConsumer,
    limits: Worker.ProviderLimits,
    logger: Logger
  ) {
    lateSeconds = limits.lateSeconds
    tryingSeconds = limits.paymentSeconds + limits.actionSeconds
    self.stores = stores
    searchSeconds = (limits.searchMilliseconds + 999) / 1_000
    lapsedSeconds = limits.lapsedSeconds
    self.provider = provider
    self.consumer = consumer
    self.logger = logger
    let purchases = stores.purchases
    ended = GroupCommit(
      maximumBatch: Self.batch, capacity: 2 * Self.batch, lingerMilliseconds: Self.noteMilliseconds,
      performAll: { entries in
        try await Faults.point(.confirmCaptured) { try await purchases.done(entries) }
      })
  }

  /// Runs until cancelled, and until what was under way then has ended.
  func run() async {
    await repeatRounds("outbox round failed", pauseMilliseconds: Self.idleMilliseconds, logger) {
      try await round()
    }
    await places.end()
  }

  /// Leases as many entries as there are places for. A call of the provider that takes long keeps one of them.
  private func round() async throws -> Bool {
    if lookedForStalledAt.map({ EventLoop.shared.now >= $0 + Self.idleMilliseconds }) ?? true {
      lookedForStalledAt = EventLoop.shared.now
      try await takeUpStalled()
    }
    return try await places.fill(
      milliseconds: Self.idleMilliseconds, named: \.name,
      from: { room in try await Faults.point(.outboxDue) { try await purchases.dueOutbox(limit: room) } },
      { [self] in await finish($0) })
  }

  private func finish(_ entry: OutboxEntry) async {
    guard await carryOut(entry) else { return }
    do {
      try await ended.submit(entry)
      carriedOut.increment()
    } catch {
      logger.retrying(
        "that a payment entry is done could not be noted, and it is done again", ["error": "\(error)"])
    }
  }

  private func takeUpStalled() async throws {
    let excused = consumer.takeExcused()
    let stalled = try await Faults.point(.outboxStalled) {
      try await purchases.excuse(excused)
      try await purchases.touch(consumer.takeTouched())
      // Whom there is no room for is left to others, and has not stalled once more.
      let room = min(Self.stalledBatch, consumer.roomForStalled)
      return room > 0 ? try await purchases.stalledPayments(limit: room) : []
    }
    if !stalled.isEmpty {
      logger.retrying("stalled payments taken up", level: .notice, ["count": stalled.count])
      consumer.begin(stalled: stalled)
    }
  }

  /// Cancels a payment that sold nothing, and gives back what was taken all the same.
  /// - Parameter found: the payment as it is now, if that is known.
  private func letGo(
    of id: String, _ entry: OutboxEntry, _ reference: String, found: Payment? = nil
  ) async throws -> Bool {
    let progress = try await Faults.point(.outboxDue) { try await purchases.find(entry.key)?.progress }
    if progress?.state == .sold, progress?.paymentID == id { return true }
    // Taken up again: it has another end now.
    if progress?.state == .paying, progress?.paymentID == id { return false }
    // Told in Redis once it is done: where that is away no money stays reserved for it. What was noted as too late may have
    // been noted by somebody who died before they told it.
    var tells = progress?.state == .declined && progress?.reason == PurchaseStore.tooLate ? true : nil
    let isUndecided =
      progress?.state == .declined && ConfirmationConsumer.undecided.contains(progress?.reason ?? "")
    if let progress, isUndecided {
      let late =
        if let found { found } else {
          try await Faults.point(.outboxLate) { try await provider.retrieve(id) }
        }
      if late.status == .requiresCapture || late.status == .succeeded {
        if try await isStillWanted(late, entry, progress) { return false }
        guard try await isOurs(id, entry, progress) else { return false }
        tells = true
      } else {
        // It was authorised, and is not any more: the owner of its seats would give them to nobody.
        tells = false
      }
    }
    let payment = try await Faults.point(.confirmVoid) {
      try await provider.cancel(id, reference: reference)
    }
    guard payment.status == .succeeded else {
      if let tells, let progress { try await dropLate(entry, progress, tells: tells) }
      return payment.status == .canceled
    }
    // It was under way when it was asked for: it may have bought something meanwhile.
    if let progress, isUndecided, try await !isOurs(id, entry, progress) { return false }
    logger.error(
      "money was taken for nothing: it is given back", ["payment.id": id, "confirm.reference": reference])
    try await Faults.point(.confirmVoid) { try await provider.refund(id) }
    if let tells, let progress { try await dropLate(entry, progress, tells: tells) }
    return true
  }

  /// A payment that was given up, and is authorised after all: it buys what it was for, if its buyer has the hold still, or
  /// nobody else has the seats, or could have them, which the owner of the event says. Else it is let go of, and its buyer
  /// is told so.
  /// - Returns: whether that is under way, or decided so.
  private func isStillWanted(
    _ payment: Payment, _ entry: OutboxEntry, _ progress: PurchaseProgress
  ) async throws -> Bool {
    guard lateSeconds > 0, let name = progress.id else { return false }
    let order = PaymentOrder(
      reference: "\(name)-\(progress.attempt)", amount: progress.amount, currency: progress.currency,
      method: progress.method)
    guard payment.status == .requiresCapture, payment.isOf(order) else { return false }
    return try await Faults.point(.outboxLate) {
      // Not by the entry, which may be written down once more long after.
      if progress.triedSeconds > tryingSeconds + lateSeconds { return false }
      if try await purchases.hasBoughtSince(entry.key, user: progress.user) { return false }
      return try await stores.queue.latePayments.offer(entry.key, progress, payment: payment.id) == .underWay
    }
  }

  /// Whether a payment that was given up, and is authorised after all, is this outbox worker's to let go of. From then on it buys
  /// nothing any more, whatever the owner of the seats decides.
  private func isOurs(_ id: String, _ entry: OutboxEntry, _ progress: PurchaseProgress)
    async throws -> Bool
  {
    if let record = try await record(of: entry.key), record.state == .purchased,
      record.attempt > progress.attempt
    {
      try await tell(
        .captureWithoutPurchase, id, entry,
        "sold by attempt \(record.attempt), as Redis says, and PostgreSQL has attempt \(progress.attempt) as given up"
      )
      return false
    }
    return try await Faults.point(.outboxLate) {
      try await purchases.noteTooLate(entry.key, attempt: progress.attempt)
    }
  }

  /// From here on nobody decides about it: its owner is not asked any more, nor are its seats kept from anybody.
  private func dropLate(
    _ entry: OutboxEntry, _ progress: PurchaseProgress, tells: Bool
  ) async throws {
    try await Faults.point(.outboxLate) {
      try await stores.queue.latePayments.drop(entry.key, attempt: progress.attempt, tells: tells)
    }
  }

  /// Redis says that a later attempt has bought it than PostgreSQL knows of, which has lost that: a person must decide.
  private func tell(
    _ kind: BookStore.Finding.Kind, _ id: String, _ entry: OutboxEntry, _ detail: String
  ) async throws {
    logger.error(
      "PostgreSQL is older than a sale: its payment is left as it is, and a person must decide",
      ["payment.id": id, "event.id": entry.key.event, "books.detail": detail])
    try await Faults.point(.outboxLate) {
      try await stores.books.tell([BookStore.Finding(kind, entry.key, payment: id, detail)])
    }
  }

  /// A sale that can never be paid, since its authorisation was gone before the capture: its buyer is asked again, and has
  /// the tickets for another hold. Where that cannot be, they are on sale again, and its buyer is told so.
  /// - Returns: whether that is done; it is not while the money is being given back, which ends it in its own way.
  private func takeBack(_ entry: OutboxEntry) async throws -> Bool {
    let key = entry.key
    let known = try await Faults.point(.outboxDue) { try await purchases.find(key)?.progress }
    let record = try await record(of: key)
    if let record, let known, record.state == .purchased, record.attempt > known.attempt {
      try await tell(
        .saleWithoutPayment, entry.paymentID, entry,
        "its payment is canceled, and Redis says that attempt \(record.attempt) has bought it: PostgreSQL knows of \(known.attempt)"
      )
      return false
    }
    // Also once more, after a crash: then Redis says what its buyer has done since.
    let asks = record?.state == .purchased || known?.reason == PurchaseStore.authorisationLapsed
    let lapse = try await Faults.point(.outboxDue) {
      try await purchases.lapse(key, paymentID: entry.paymentID, asks: asks)
    }
    guard let lapse else {
      return try await Faults.point(.outboxDue) { try await !purchases.isBeingGivenBack(key) }
    }
    var tickets = lapse.free
    if lapse.isOpen, let known {
      if try await askAgain(key, attempt: known.attempt, tickets: tickets) {
        note("an authorisation was gone before its capture: its buyer is asked again", entry, tickets)
        return true
      }
      let end = try await Faults.point(.outboxDue) {
        try await purchases.lapse(key, paymentID: entry.paymentID, asks: false)
      }
      // Its buyer has begun to pay otherwise after all.
      guard let end else { return true }
      tickets = end.free
    }
    note("an authorisation was gone before its capture: its tickets are on sale again", entry, tickets)
    try await release(key, tickets)
    return true
  }

  private func note(_ words: StaticString, _ entry: OutboxEntry, _ tickets: [Int]) {
    lapsed.increment()
    logger.error(
      words, ["payment.id": entry.paymentID, "event.id": entry.key.event, "tickets": tickets.count])
  }

  /// What Redis has of the purchase's place; `nil` for one of an earlier life, which has nobody to be asked or told.
  private func record(of key: PurchaseKey) async throws -> RequestRecord? {
    let queue = stores.queue
    return try await Faults.point(.outboxDue) {
      guard try await queue.inspection.facts(event: key.event)?.document.generation == key.generation else {
        return nil
      }
      return try await queue.reader.record(event: key.event, position: key.position)
    }
  }

  /// - Returns: false where its buyer cannot have the tickets again.
  private func askAgain(_ key: PurchaseKey, attempt: Int, tickets: [Int]) async throws -> Bool {
    let queue = stores.queue
    return try await Faults.point(.outboxDue) {
      do {
        return try await queue.confirmations.askAgain(
          event: key.event, generation: key.generation, position: key.position, attempt: attempt,
          tickets: tickets, reason: PurchaseStore.authorisationLapsed, holdSeconds: lapsedSeconds)
      } catch let error as StoreError where error.code == .noQueue {
        return false
      }
    }
  }

  /// Whoever owns the seats has the tickets as sold, and reads them anew, by the same step.
  private func release(_ key: PurchaseKey, _ tickets: [Int]) async throws {
    let queue = stores.queue
    let record = try await record(of: key)
    try await Faults.point(.outboxDue) {
      // Of an earlier life, too, its tickets go on sale in this one.
      guard try await queue.inspection.facts(event: key.event) != nil else { return }
      if let record, record.state == .purchased {
        let isDone = try await queue.repairs.repair(
          event: key.event, position: key.position, expected: .purchased, to: .expired,
          attempt: record.attempt, amount: record.amount, tickets: tickets, free: tickets,
          reason: PurchaseStore.authorisationLapsed, user: "")
        // It has changed under our hands: from the beginning.
        if !isDone { throw StoreError(.conflict, "the place of a lapsed sale has changed") }
      } else {
        try await queue.comparison.dropSold(event: key.event, tickets, readsAnew: true)
      }
    }
  }

  /// Not found is not known yet, as long as it may be: a search may lag, and PostgreSQL's clock, by which a entry is so old,
  /// may have stepped.
  private func isNowhere(_ entry: OutboxEntry) -> Bool {
    let now = EventLoop.shared.now
    if notFound.count >= Self.notFoundLimit, now >= tidiedAt + Self.idleMilliseconds {
      tidiedAt = now
      notFound = notFound.filter { now < $0.value.last + Self.forgottenMilliseconds }
    }
    let isNew = notFound.count < Self.notFoundLimit
    guard let before = notFound[entry.paymentID] ?? (isNew ? (count: 0, since: now, last: now) : nil) else {
      return entry.attempts >= Self.leases && entry.ageSeconds > 2 * searchSeconds
    }
    let isOver =
      before.count + 1 >= Self.searches && now >= before.since + UInt64(searchSeconds) * 1_000
      && entry.ageSeconds > 2 * searchSeconds
    notFound[entry.paymentID] = isOver ? nil : (count: before.count + 1, since: before.since, last: now)
    return isOver
  }

  private func carryOut(_ entry: OutboxEntry) async -> Bool {
    if PurchaseStore.isFree(entry.paymentID) { return true }
    let reference = entry.key.name
    do {
      switch entry.kind {
      case .capture:
        let payment = try await Faults.point(.confirmCapture) {
          try await provider.capture(entry.paymentID, reference: reference)
        }
        if payment.status == .canceled { return try await takeBack(entry) }
        return payment.status == .succeeded
      case .cancel: return try await letGo(of: entry.paymentID, entry, reference)
      case .find where entry.ageSeconds > Self.findSeconds:
        logger.error(
          "what there is of a payment could not be found out, and is not looked for any more",
          ["payment.reference": entry.paymentID, "confirm.reference": reference])
        return true
      case .find:
        let payment = try await Faults.point(.confirmVoid) {
          try await provider.find(reference: entry.paymentID)
        }
        guard let payment else { return isNowhere(entry) }
        notFound[entry.paymentID] = nil
        return try await letGo(of: payment.id, entry, reference, found: payment)
      }
    } catch {
      logger.retrying(
        "payment entry failed, trying again later",
        [
          "entry.kind": entry.kind.rawValue, "entry.attempts": entry.attempts, "payment.id": entry.paymentID,
          "error": "\(error)",
        ])
      return false
    }
  }
}
