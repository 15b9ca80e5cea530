import EventLoop
import FaultInjection
import Lifecycle
import Logging
import Metrics
import Payments
import Store

/// Finishes at the provider what commits have left to do: captures that did not happen right away, and whatever is open
/// there of payments that sold nothing. Each is retried, ever more rarely, until it is done.
@LoopActor
final class PaymentRelay {
  private static let idleMilliseconds: UInt64 = 2_000
  /// Chores under way at once, and how many are leased, or noted as done, by one call.
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
  /// Who was not searched for for so long was done by somebody else: longer than any chore waits for its next time.
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
  private let lane: ConfirmLane
  private let logger: Logger
  private let places = Places<PurchaseStore.Chore.Name>(PaymentRelay.batch)
  private let ended: GroupCommit<PurchaseStore.Chore, Void>
  private var lookedForStalledAt: UInt64?
  /// What was searched for and not found, and how often, since when by the loop's clock.
  private var notFound: [String: (count: Int, since: UInt64, last: UInt64)] = [:]
  private var tidiedAt: UInt64 = 0
  private let relayed = MetricsRegistry.shared.counter(
    "onsale_relayed_total", "Captures and cancellations done after the fact")
  private let lapsed = MetricsRegistry.shared.counter(
    "onsale_authorisations_lapsed_total", "Sales taken back because their authorisation was gone")

  init(
    stores: Worker.Stores, provider: any PaymentProvider, lane: ConfirmLane, limits: Worker.ProviderLimits,
    logger: Logger
  ) {
    lateSeconds = limits.lateSeconds
    tryingSeconds = limits.paymentSeconds + limits.actionSeconds
    self.stores = stores
    searchSeconds = (limits.searchMilliseconds + 999) / 1_000
    lapsedSeconds = limits.lapsedSeconds
    self.provider = provider
    self.lane = lane
    self.logger = logger
    let purchases = stores.purchases
    ended = GroupCommit(
      maximumBatch: Self.batch, capacity: 2 * Self.batch, lingerMilliseconds: Self.noteMilliseconds,
      performAll: { chores in
        try await Faults.crossing(.confirmCaptured) { try await purchases.done(chores) }
      })
  }

  /// Runs until cancelled, and until what was under way then has ended.
  func run() async {
    await repeatRounds("relay round failed", pauseMilliseconds: Self.idleMilliseconds, logger) {
      try await round()
    }
    await places.end()
  }

  /// Leases as many chores as there are places for. A call of the provider that takes long keeps one of them.
  private func round() async throws -> Bool {
    if lookedForStalledAt.map({ EventLoop.shared.now >= $0 + Self.idleMilliseconds }) ?? true {
      lookedForStalledAt = EventLoop.shared.now
      try await takeUpStalled()
    }
    return try await places.fill(
      milliseconds: Self.idleMilliseconds, named: \.name,
      from: { room in try await Faults.crossing(.relayDue) { try await purchases.dueChores(limit: room) } },
      { [self] in await finish($0) })
  }

  private func finish(_ chore: PurchaseStore.Chore) async {
    guard await carryOut(chore) else { return }
    do {
      try await ended.submit(chore)
      relayed.increment()
    } catch {
      logger.retrying(
        "that a payment chore is done could not be noted, and it is done again", ["error": "\(error)"])
    }
  }

  private func takeUpStalled() async throws {
    let excused = lane.takeExcused()
    let stalled = try await Faults.crossing(.relayStalled) {
      try await purchases.excuse(excused)
      try await purchases.touch(lane.takeTouched())
      // Whom there is no room for is left to others, and has not stalled once more.
      let room = min(Self.stalledBatch, lane.roomForStalled)
      return room > 0 ? try await purchases.stalledPayments(limit: room) : []
    }
    if !stalled.isEmpty {
      logger.retrying("stalled payments taken up", level: .notice, ["count": stalled.count])
      lane.begin(stalled: stalled)
    }
  }

  /// Cancels a payment that sold nothing, and gives back what was taken all the same.
  /// - Parameter found: the payment as it is now, if that is known.
  private func letGo(
    of id: String, _ chore: PurchaseStore.Chore, _ reference: String, found: Payment? = nil
  ) async throws -> Bool {
    let standing = try await Faults.crossing(.relayDue) { try await purchases.find(chore.key)?.standing }
    if standing?.state == .sold, standing?.paymentID == id { return true }
    // Taken up again: it has another end now.
    if standing?.state == .paying, standing?.paymentID == id { return false }
    // Told in Redis once it is done: where that is away no money stays reserved for it. What was noted as too late may have
    // been noted by somebody who died before they told it.
    var tells = standing?.state == .declined && standing?.reason == PurchaseStore.tooLate ? true : nil
    let isUndecided = standing?.state == .declined && ConfirmLane.undecided.contains(standing?.reason ?? "")
    if let standing, isUndecided {
      let late =
        if let found { found } else {
          try await Faults.crossing(.relayLate) { try await provider.retrieve(id) }
        }
      if late.status == .requiresCapture || late.status == .succeeded {
        if try await isStillWanted(late, chore, standing) { return false }
        guard try await isOurs(id, chore, standing) else { return false }
        tells = true
      } else {
        // It was authorised, and is not any more: the owner of its seats would give them to nobody.
        tells = false
      }
    }
    let payment = try await Faults.crossing(.confirmVoid) {
      try await provider.cancel(id, reference: reference)
    }
    guard payment.status == .succeeded else {
      if let tells, let standing { try await dropLate(chore, standing, tells: tells) }
      return payment.status == .canceled
    }
    // It was under way when it was asked for: it may have bought something meanwhile.
    if let standing, isUndecided, try await !isOurs(id, chore, standing) { return false }
    logger.error(
      "money was taken for nothing: it is given back", ["payment.id": id, "confirm.reference": reference])
    try await Faults.crossing(.confirmVoid) { try await provider.refund(id) }
    if let tells, let standing { try await dropLate(chore, standing, tells: tells) }
    return true
  }

  /// A payment that was given up, and is authorised after all: it buys what it was for, if its buyer has the hold still, or
  /// nobody else has the seats, or could have them, which the owner of the event says. Else it is let go of, and its buyer
  /// is told so.
  /// - Returns: whether that is under way, or decided so.
  private func isStillWanted(
    _ payment: Payment, _ chore: PurchaseStore.Chore, _ standing: PurchaseStore.Standing
  ) async throws -> Bool {
    guard lateSeconds > 0, let name = standing.id else { return false }
    let order = PaymentOrder(
      reference: "\(name)-\(standing.attempt)", amount: standing.amount, currency: standing.currency,
      method: standing.method)
    guard payment.status == .requiresCapture, payment.isOf(order) else { return false }
    return try await Faults.crossing(.relayLate) {
      // Not by the chore, which may be written down once more long after.
      if standing.triedSeconds > tryingSeconds + lateSeconds { return false }
      if try await purchases.hasBoughtSince(chore.key, user: standing.user) { return false }
      return try await stores.queue.offerLate(chore.key, standing, payment: payment.id) == .underWay
    }
  }

  /// Whether a payment that was given up, and is authorised after all, is this relay's to let go of. From then on it buys
  /// nothing any more, whatever the owner of the seats decides.
  private func isOurs(_ id: String, _ chore: PurchaseStore.Chore, _ standing: PurchaseStore.Standing)
    async throws -> Bool
  {
    if let record = try await record(of: chore.key), record.state == .purchased,
      record.attempt > standing.attempt
    {
      try await tell(
        .captureWithoutPurchase, id, chore,
        "sold by attempt \(record.attempt), as Redis says, and PostgreSQL has attempt \(standing.attempt) as given up"
      )
      return false
    }
    return try await Faults.crossing(.relayLate) {
      try await purchases.noteTooLate(chore.key, attempt: standing.attempt)
    }
  }

  /// From here on nobody decides about it: its owner is not asked any more, nor are its seats kept from anybody.
  private func dropLate(
    _ chore: PurchaseStore.Chore, _ standing: PurchaseStore.Standing, tells: Bool
  ) async throws {
    try await Faults.crossing(.relayLate) {
      try await stores.queue.dropLate(chore.key, attempt: standing.attempt, tells: tells)
    }
  }

  /// Redis says that a later attempt has bought it than PostgreSQL knows of, which has lost that: a person must decide.
  private func tell(
    _ kind: BookStore.Finding.Kind, _ id: String, _ chore: PurchaseStore.Chore, _ detail: String
  ) async throws {
    logger.error(
      "PostgreSQL is older than a sale: its payment is left as it is, and a person must decide",
      ["payment.id": id, "event.id": chore.key.event, "books.detail": detail])
    try await Faults.crossing(.relayLate) {
      try await stores.books.tell([BookStore.Finding(kind, chore.key, payment: id, detail)])
    }
  }

  /// A sale that can never be paid, since its authorisation was gone before the capture: its buyer is asked again, and has
  /// the tickets for another hold. Where that cannot be, they are on sale again, and its buyer is told so.
  /// - Returns: whether that is done; it is not while the money is being given back, which ends it in its own way.
  private func takeBack(_ chore: PurchaseStore.Chore) async throws -> Bool {
    let key = chore.key
    let known = try await Faults.crossing(.relayDue) { try await purchases.find(key)?.standing }
    let record = try await record(of: key)
    if let record, let known, record.state == .purchased, record.attempt > known.attempt {
      try await tell(
        .saleWithoutPayment, chore.paymentID, chore,
        "its payment is canceled, and Redis says that attempt \(record.attempt) has bought it: PostgreSQL knows of \(known.attempt)"
      )
      return false
    }
    // Also once more, after a crash: then Redis says what its buyer has done since.
    let asks = record?.state == .purchased || known?.reason == PurchaseStore.authorisationLapsed
    let lapse = try await Faults.crossing(.relayDue) {
      try await purchases.lapse(key, paymentID: chore.paymentID, asks: asks)
    }
    guard let lapse else {
      return try await Faults.crossing(.relayDue) { try await !purchases.isBeingGivenBack(key) }
    }
    var tickets = lapse.free
    if lapse.isOpen, let known {
      if try await askAgain(key, attempt: known.attempt, tickets: tickets) {
        note("an authorisation was gone before its capture: its buyer is asked again", chore, tickets)
        return true
      }
      let end = try await Faults.crossing(.relayDue) {
        try await purchases.lapse(key, paymentID: chore.paymentID, asks: false)
      }
      // Its buyer has begun to pay otherwise after all.
      guard let end else { return true }
      tickets = end.free
    }
    note("an authorisation was gone before its capture: its tickets are on sale again", chore, tickets)
    try await release(key, tickets)
    return true
  }

  private func note(_ words: StaticString, _ chore: PurchaseStore.Chore, _ tickets: [Int]) {
    lapsed.increment()
    logger.error(
      words, ["payment.id": chore.paymentID, "event.id": chore.key.event, "tickets": tickets.count])
  }

  /// What Redis has of the purchase's place; `nil` for one of an earlier life, which has nobody to be asked or told.
  private func record(of key: PurchaseStore.Key) async throws -> RequestRecord? {
    let queue = stores.queue
    return try await Faults.crossing(.relayDue) {
      guard try await queue.queueFacts(event: key.event)?.document.generation == key.generation else {
        return nil
      }
      return try await queue.record(event: key.event, position: key.position)
    }
  }

  /// - Returns: false where its buyer cannot have the tickets again.
  private func askAgain(_ key: PurchaseStore.Key, attempt: Int, tickets: [Int]) async throws -> Bool {
    let queue = stores.queue
    return try await Faults.crossing(.relayDue) {
      do {
        return try await queue.askAgain(
          event: key.event, generation: key.generation, position: key.position, attempt: attempt,
          tickets: tickets, reason: PurchaseStore.authorisationLapsed, holdSeconds: lapsedSeconds)
      } catch let error as StoreError where error.code == .noQueue {
        return false
      }
    }
  }

  /// Whoever owns the seats has the tickets as sold, and reads them anew, by the same step.
  private func release(_ key: PurchaseStore.Key, _ tickets: [Int]) async throws {
    let queue = stores.queue
    let record = try await record(of: key)
    try await Faults.crossing(.relayDue) {
      // Of an earlier life, too, its tickets go on sale in this one.
      guard try await queue.queueFacts(event: key.event) != nil else { return }
      if let record, record.state == .purchased {
        let isDone = try await queue.repair(
          event: key.event, position: key.position, expected: .purchased, to: .expired,
          attempt: record.attempt, amount: record.amount, tickets: tickets, free: tickets,
          reason: PurchaseStore.authorisationLapsed, user: "")
        // It has changed under our hands: from the beginning.
        if !isDone { throw StoreError(.conflict, "the place of a lapsed sale has changed") }
      } else {
        try await queue.dropSold(event: key.event, tickets, readsAnew: true)
      }
    }
  }

  /// Not found is not known yet, as long as it may be: a search may lag, and PostgreSQL's clock, by which a chore is so old,
  /// may have stepped.
  private func isNowhere(_ chore: PurchaseStore.Chore) -> Bool {
    let now = EventLoop.shared.now
    if notFound.count >= Self.notFoundLimit, now >= tidiedAt + Self.idleMilliseconds {
      tidiedAt = now
      notFound = notFound.filter { now < $0.value.last + Self.forgottenMilliseconds }
    }
    let isNew = notFound.count < Self.notFoundLimit
    guard let before = notFound[chore.paymentID] ?? (isNew ? (count: 0, since: now, last: now) : nil) else {
      return chore.attempts >= Self.leases && chore.ageSeconds > 2 * searchSeconds
    }
    let isOver =
      before.count + 1 >= Self.searches && now >= before.since + UInt64(searchSeconds) * 1_000
      && chore.ageSeconds > 2 * searchSeconds
    notFound[chore.paymentID] = isOver ? nil : (count: before.count + 1, since: before.since, last: now)
    return isOver
  }

  private func carryOut(_ chore: PurchaseStore.Chore) async -> Bool {
    if PurchaseStore.isFree(chore.paymentID) { return true }
    let reference = chore.key.name
    do {
      switch chore.kind {
      case .capture:
        let payment = try await Faults.crossing(.confirmCapture) {
          try await provider.capture(chore.paymentID, reference: reference)
        }
        if payment.status == .canceled { return try await takeBack(chore) }
        return payment.status == .succeeded
      case .cancel: return try await letGo(of: chore.paymentID, chore, reference)
      case .find where chore.ageSeconds > Self.findSeconds:
        logger.error(
          "what there is of a payment could not be found out, and is not looked for any more",
          ["payment.reference": chore.paymentID, "confirm.reference": reference])
        return true
      case .find:
        let payment = try await Faults.crossing(.confirmVoid) {
          try await provider.find(reference: chore.paymentID)
        }
        guard let payment else { return isNowhere(chore) }
        notFound[chore.paymentID] = nil
        return try await letGo(of: payment.id, chore, reference, found: payment)
      }
    } catch {
      logger.retrying(
        "payment chore failed, trying again later",
        [
          "chore.kind": chore.kind.rawValue, "chore.attempts": chore.attempts, "payment.id": chore.paymentID,
          "error": "\(error)",
        ])
      return false
    }
  }
}
