import Archive
import EventLoop
import FaultInjection
import Ledger
import Lifecycle
import Logging
import Metrics
import Payments
import Sale

/// Looks over the books a little at a time, again and again: all purchases, all payments and all refunds, of every event.
/// What is certain is repaired; what is not is told.
///
/// It heals what no crash of ours should leave behind, and others may: an outbox that was lost, a restored table, a
/// statement by hand. Whatever it finds is looked at once more, at the provider and in PostgreSQL, before anything is done,
/// and what is done is what workers do anyway, by the same means: it is written into the outbox, or noted to be asked for.
@LoopActor
final class Bookkeeper {
  /// What one round looks at, of each book.
  private static let purchasesAtOnce = 500
  private static let paymentsAtOnce = 100
  /// Payments that are asked for once more at once: a call that takes long keeps no other one waiting.
  private static let lookingAtOnce = 8
  /// While the provider is away its books are left alone, for longer after each try.
  private static let longestAwayMilliseconds: UInt64 = 300_000
  /// The lease, in rounds: whoever says nothing for so long is not waited for.
  private static let leaseRounds = 5.0
  private static let shortestLeaseSeconds = 5.0

  private let worker: String
  private let stores: Worker.Stores
  private var books: BookStore { stores.books }
  private let provider: any PaymentProvider
  private let pauseMilliseconds: UInt64
  private let graceSeconds: Int
  private let logger: Logger
  private var told: [BookStore.Finding] = []
  /// So often a page is read again whose payments the provider lists, and tells nothing else of.
  private static let passesOfPage = 3
  private let places = Places<String>(Bookkeeper.lookingAtOnce)
  /// Of the page that is looked at: whose payment was asked for, and whose could not be.
  private var asked = 0, unasked = 0
  private var problem: PaymentError?
  private var passes = 0
  /// Until when the provider's books are left alone, by the loop's clock, and how long next.
  private var awayUntil: UInt64 = 0
  private var backoff: Backoff
  private let away = MetricsRegistry.shared.gauge(
    "onsale_books_away",
    "1 while the payment provider's books cannot be read on, as far as the worker that reads them knows")

  /// - Parameters:
  ///   - pauseMilliseconds: between two rounds.
  ///   - graceSeconds: for so long what happens to a payment is left to those who carry it out.
  init(
    worker: String, stores: Worker.Stores, provider: any PaymentProvider, pauseMilliseconds: Int,
    graceSeconds: Int, logger: Logger
  ) {
    self.worker = worker
    self.stores = stores
    self.provider = provider
    self.pauseMilliseconds = UInt64(pauseMilliseconds)
    self.graceSeconds = graceSeconds
    self.logger = logger
    backoff = Backoff(
      firstMilliseconds: 2 * UInt64(pauseMilliseconds), limitMilliseconds: Self.longestAwayMilliseconds)
  }

  /// Runs until cancelled.
  func run() async {
    await repeatRounds(
      "the books cannot be looked over", pauseMilliseconds: pauseMilliseconds, pausesFirst: true, logger
    ) {
      try await round()
      return false
    }
  }

  /// Reads on in each of the books, and notes after each how far it is. While the provider is away the walk through its
  /// books stays where it is, and that through PostgreSQL goes on.
  private func round() async throws {
    let found = try await Faults.point(.booksTake) {
      try await books.take(worker: worker, seconds: leaseSeconds)
    }
    guard var walk = found else {
      // Whoever has it says so.
      away.value = 0
      return
    }
    told = []
    walk.purchase = try await lookAtPurchases(after: walk.purchase)
    guard try await note(walk), EventLoop.shared.now >= awayUntil else { return }
    do {
      walk.payment = try await lookAtPayments(after: walk.payment)
      guard try await note(walk) else { return }
      walk.refund = try await lookAtRefunds(after: walk.refund)
      guard try await note(walk) else { return }
      away.value = 0
      backoff = Backoff(
        firstMilliseconds: backoff.firstMilliseconds, limitMilliseconds: backoff.limitMilliseconds)
      logger.worksAgain(Self.awayWords)
    } catch let error as PaymentError {
      // What was found of the page is told all the same; the page is read once more.
      try await tell()
      let pause = max(backoff.next(), UInt64(error.retryAfterMilliseconds ?? 0))
      awayUntil = EventLoop.shared.now + pause
      away.value = 1
      logger.retrying(Self.awayWords, ["error": "\(error)", "books.pause_ms": pause])
    }
  }

  private static let awayWords: StaticString = "the provider's books cannot be read: read on once it answers"

  private var leaseSeconds: Double {
    max(Self.shortestLeaseSeconds, Self.leaseRounds * Double(pauseMilliseconds) / 1_000)
  }

  /// - Returns: whether the walk is this worker's still.
  private func note(_ walk: BookStore.Walk) async throws -> Bool {
    try await tell()
    return try await Faults.point(.booksNote) {
      try await books.note(walk, worker: worker, seconds: leaseSeconds)
    }
  }

  private func tell() async throws {
    if told.isEmpty { return }
    try await Faults.point(.booksNote) { try await books.tell(told) }
    told = []
  }

  // MARK: PostgreSQL

  /// - Returns: the last one; zeros at the end, where it begins again.
  private func lookAtPurchases(after key: PurchaseKey) async throws -> PurchaseKey {
    let (flaws, last) = try await Faults.point(.booksLook) {
      try await books.flaws(after: key, graceSeconds: graceSeconds, limit: Self.purchasesAtOnce)
    }
    for flaw in flaws {
      await carefully(flaw.purchase.key) { try await mend(flaw) }
    }
    return last ?? PurchaseKey(event: 0, generation: 0, position: 0)
  }

  private func mend(_ flaw: BookStore.Flaw) async throws {
    let purchase = flaw.purchase, key = purchase.key
    switch flaw.kind {
    case .uncarried:
      guard let payment = purchase.paymentID, !PurchaseStore.isFree(payment) else { return }
      try await carryOut(.capture, key, payment)
    case .loose:
      let released = try await Faults.point(.booksMend) { try await books.release(purchase) }
      guard released > 0 else { return }
      repaired("claim_without_purchase", key, nil)
      // Whoever owns its seats reads them anew.
      try await Faults.point(.booksMend) {
        guard let settings = try await stores.events.noteTicketsChanged(event: key.event) else { return }
        try await stores.events.publish(settings, to: stores.queue)
      }
    case .undelivered:
      tell(.ticketNotDelivered, key, purchase.paymentID, "sold, and not all of its tickets are its own")
    case .stalled: tell(.paymentStalled, key, purchase.paymentID, "paying since \(purchase.ageSeconds) s")
    case .kept:
      tell(
        .moneyKept, key, purchase.paymentID,
        "\((purchase.charged ?? 0) - purchase.refunded) \(purchase.currency) kept for tickets that cost \(purchase.amount)"
      )
    }
  }

  // MARK: The provider

  private func lookAtPayments(after last: String?) async throws -> String? {
    let answer = try await page(after: last) { after in
      try await Faults.point(.booksAsk) {
        try await provider.list(after: after, limit: Self.paymentsAtOnce)
      }
    }
    guard let (payments, hasMore) = answer else { return nil }
    let installation = try await Faults.point(.booksLook) { try await stores.purchases.installation() }
    let ours = payments.compactMap { payment in
      payment.place(in: installation).map { (payment, $0) }
    }
    let keys = Set(ours.map { Self.key($0.1) })
    let purchases = try await Faults.point(.booksLook) { try await books.purchases(of: Array(keys)) }
    try await lookAgain(
      ours.filter { payment, place in step(payment, place, purchases[Self.key(place)]) != .fits })
    return hasMore ? payments.last?.id : nil
  }

  /// - Throws: what keeps the provider from being asked. Payments that cannot be asked for while others can, and whatever
  ///   cannot be asked for again and again, are passed over until the next walk.
  private func lookAgain(_ odd: [(payment: Payment, place: PaymentPlace)]) async throws {
    (asked, unasked, problem) = (0, 0, nil)
    for (payment, place) in odd {
      while await places.room(milliseconds: pauseMilliseconds) == 0, !Task.isCancelled {}
      // An outage is one thing to learn.
      if Task.isCancelled || unasked >= Self.lookingAtOnce && asked == 0 { break }
      places.take(payment.id) { [self] in
        do {
          try await lookAgain(payment.id, place)
          asked += 1
        } catch {
          if let error = error as? PaymentError, Self.isAway(error) {
            unasked += 1
            problem = error
          }
          logger.retrying(
            "one entry of the books cannot be looked at",
            ["event.id": place.event, "payment.id": payment.id, "error": "\(error)"])
        }
      }
    }
    await places.end()
    try Task.checkCancellation()
    if let problem, asked == 0, passes < Self.passesOfPage {
      passes += 1
      throw problem
    }
    passes = 0
  }

  /// Whether nobody else's payment could be asked for either.
  private static func isAway(_ error: PaymentError) -> Bool {
    [.unavailable, .outcomeUnknown, .rateLimited, .misconfigured].contains(error.code)
  }

  private static func key(_ place: PaymentPlace) -> PurchaseKey {
    PurchaseKey(event: place.event, generation: place.generation, position: place.position)
  }

  private func step(_ payment: Payment, _ place: PaymentPlace, _ purchase: AuditedPurchase?) -> BookStep {
    BookStep(
      payment, attempt: place.attempt, purchase,
      isOld: WallClock.milliseconds / 1_000 - payment.created > graceSeconds, graceSeconds: graceSeconds)
  }

  /// A list may be of a moment ago. What is done is decided from how both are now.
  private func lookAgain(_ id: String, _ place: PaymentPlace) async throws {
    let key = Self.key(place)
    let payment = try await Faults.point(.booksAsk) { try await provider.retrieve(id) }
    let purchase = try await Faults.point(.booksLook) { try await books.purchases(of: [key])[key] }
    switch step(payment, place, purchase) {
    case .fits: break
    case .capture:
      let isGivenBack = try await Faults.point(.booksLook) {
        try await stores.purchases.isBeingGivenBack(key)
      }
      if !isGivenBack { try await carryOut(.capture, key, id) }
    case .note:
      try await Faults.point(.booksMend) {
        try await stores.purchases.done([OutboxEntry(key: key, kind: .capture, paymentID: id)])
      }
      repaired("capture_not_noted", key, id)
    case .letGo:
      if try await isGivenBack(payment) { return }
      try await carryOut(.cancel, key, id)
    case .tell(let kind, let detail):
      if kind == .captureWithoutPurchase, try await isGivenBack(payment) { return }
      tell(kind, key, id, detail)
    }
  }

  private func isGivenBack(_ payment: Payment) async throws -> Bool {
    guard payment.status == .succeeded else { return false }
    return try await Faults.point(.booksAsk) {
      try await provider.refunded(payment.id) >= payment.amountCaptured
    }
  }

  private func carryOut(
    _ kind: OutboxEntry.Kind, _ key: PurchaseKey, _ payment: String
  ) async throws {
    let isNew = try await Faults.point(.booksMend) {
      try await stores.purchases.addIfMissing(
        OutboxEntry(key: key, kind: kind, paymentID: payment))
    }
    if isNew { repaired(kind == .capture ? "sale_not_captured" : "authorisation_open", key, payment) }
  }

  private func lookAtRefunds(after last: String?) async throws -> String? {
    let answer = try await page(after: last) { after in
      try await Faults.point(.booksAsk) {
        try await provider.refunds(after: after, limit: Self.paymentsAtOnce)
      }
    }
    guard let (refunds, hasMore) = answer else { return nil }
    let otherwise = try await Faults.point(.booksLook) {
      let installation = try await stores.purchases.installation()
      return try await books.otherwise(refunds.compactMap { BookStore.Seen($0, in: installation) })
    }
    if !otherwise.isEmpty {
      try await Faults.point(.booksMend) { try await stores.refunds.note(payments: otherwise.sorted()) }
    }
    return hasMore ? refunds.last?.id : nil
  }

  /// - Returns: `nil` where the provider does not know the last one any more: the walk begins anew.
  private func page<Page>(
    after last: String?, _ list: @LoopActor (String?) async throws -> Page
  ) async throws -> Page? {
    do { return try await list(last) } catch let error as PaymentError
      where error.code == .invalid && last != nil
    {
      return nil
    }
  }

  // MARK: Words

  /// What cannot be looked at keeps nobody else from being looked at; it comes again with the next walk.
  private func carefully(_ key: PurchaseKey, _ body: @LoopActor () async throws -> Void) async {
    do { try await body() } catch {
      logger.retrying(
        "one entry of the books cannot be looked at", ["event.id": key.event, "error": "\(error)"])
    }
  }

  private func repaired(_ kind: String, _ key: PurchaseKey, _ payment: String?) {
    MetricsRegistry.shared.counter(
      "onsale_books_repaired_total", "What did not fit in the books, and was put right",
      labels: [("kind", kind)]
    ).increment()
    logger.warning(
      "the books did not fit: put right",
      [
        "books.kind": kind, "event.id": key.event, "confirm.reference": key.name,
        "payment.id": payment ?? "",
      ])
  }

  private func tell(
    _ kind: BookStore.Finding.Kind, _ key: PurchaseKey, _ payment: String?, _ detail: String
  ) {
    told.append(BookStore.Finding(kind, key, payment: payment, detail))
    MetricsRegistry.shared.counter(
      "onsale_books_violations_total",
      "What does not fit in the books, and a person must decide; once in each walk",
      labels: [("kind", kind.rawValue)]
    ).increment()
    logger.error(
      "the books do not fit: a person must decide",
      [
        "books.kind": kind.rawValue, "event.id": key.event, "confirm.reference": key.name,
        "payment.id": payment ?? "", "books.detail": detail,
      ])
  }
}
