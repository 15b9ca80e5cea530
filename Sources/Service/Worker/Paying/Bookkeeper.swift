import EventLoop
import FaultInjection
import Lifecycle
import Logging
import Metrics
import Payments
import Sale
import Store

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

  private func round() async throws {
    let lease = max(Self.shortestLeaseSeconds, Self.leaseRounds * Double(pauseMilliseconds) / 1_000)
    let found = try await Faults.crossing(.booksTake) { try await books.take(worker: worker, seconds: lease) }
    guard var walk = found else { return }
    told = []
    walk.purchase = try await lookAtPurchases(after: walk.purchase)
    walk.payment = try await lookAtPayments(after: walk.payment)
    walk.refund = try await lookAtRefunds(after: walk.refund)
    if !told.isEmpty { try await Faults.crossing(.booksNote) { try await books.tell(told) } }
    try await Faults.crossing(.booksNote) { try await books.note(walk, worker: worker) }
  }

  // MARK: PostgreSQL

  /// - Returns: the last one; zeros at the end, where it begins again.
  private func lookAtPurchases(after key: PurchaseStore.Key) async throws -> PurchaseStore.Key {
    let (flaws, last) = try await Faults.crossing(.booksLook) {
      try await books.flaws(after: key, graceSeconds: graceSeconds, limit: Self.purchasesAtOnce)
    }
    for flaw in flaws {
      await carefully(flaw.purchase.key) { try await mend(flaw) }
    }
    return last ?? PurchaseStore.Key(event: 0, generation: 0, position: 0)
  }

  private func mend(_ flaw: BookStore.Flaw) async throws {
    let purchase = flaw.purchase, key = purchase.key
    switch flaw.kind {
    case .uncarried:
      guard let payment = purchase.paymentID, !PurchaseStore.isFree(payment) else { return }
      try await carryOut(.capture, key, payment)
    case .loose:
      let released = try await Faults.crossing(.booksMend) { try await books.release(purchase) }
      guard released > 0 else { return }
      repaired("claim_without_purchase", key, nil)
      // Whoever owns its seats reads them anew.
      try await Faults.crossing(.booksMend) {
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
      try await Faults.crossing(.booksAsk) {
        try await provider.list(after: after, limit: Self.paymentsAtOnce)
      }
    }
    guard let (payments, hasMore) = answer else { return nil }
    let installation = try await Faults.crossing(.booksLook) { try await stores.purchases.installation() }
    let ours = payments.compactMap { payment in
      payment.place(in: installation).map { (payment, $0) }
    }
    let keys = Set(ours.map { Self.key($0.1) })
    let purchases = try await Faults.crossing(.booksLook) { try await books.purchases(of: Array(keys)) }
    for (payment, place) in ours
    where step(payment, place, purchases[Self.key(place)]) != .fits {
      await carefully(Self.key(place)) { try await lookAgain(payment.id, place) }
    }
    return hasMore ? payments.last?.id : nil
  }

  private static func key(_ place: PaymentPlace) -> PurchaseStore.Key {
    PurchaseStore.Key(event: place.event, generation: place.generation, position: place.position)
  }

  private func step(_ payment: Payment, _ place: PaymentPlace, _ purchase: AuditedPurchase?) -> BookStep {
    BookStep(
      payment, attempt: place.attempt, purchase,
      isOld: WallClock.milliseconds / 1_000 - payment.created > graceSeconds, graceSeconds: graceSeconds)
  }

  /// A list may be of a moment ago. What is done is decided from how both are now.
  private func lookAgain(_ id: String, _ place: PaymentPlace) async throws {
    let key = Self.key(place)
    let payment = try await Faults.crossing(.booksAsk) { try await provider.retrieve(id) }
    let purchase = try await Faults.crossing(.booksLook) { try await books.purchases(of: [key])[key] }
    switch step(payment, place, purchase) {
    case .fits: break
    case .capture:
      let isGivenBack = try await Faults.crossing(.booksLook) {
        try await stores.purchases.isBeingGivenBack(key)
      }
      if !isGivenBack { try await carryOut(.capture, key, id) }
    case .note:
      try await Faults.crossing(.booksMend) {
        try await stores.purchases.done([PurchaseStore.Chore(key: key, kind: .capture, paymentID: id)])
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
    return try await Faults.crossing(.booksAsk) {
      try await provider.refunded(payment.id) >= payment.amountCaptured
    }
  }

  private func carryOut(
    _ kind: PurchaseStore.Chore.Kind, _ key: PurchaseStore.Key, _ payment: String
  ) async throws {
    let isNew = try await Faults.crossing(.booksMend) {
      try await stores.purchases.addIfMissing(PurchaseStore.Chore(key: key, kind: kind, paymentID: payment))
    }
    if isNew { repaired(kind == .capture ? "sale_not_captured" : "authorisation_open", key, payment) }
  }

  private func lookAtRefunds(after last: String?) async throws -> String? {
    let answer = try await page(after: last) { after in
      try await Faults.crossing(.booksAsk) {
        try await provider.refunds(after: after, limit: Self.paymentsAtOnce)
      }
    }
    guard let (refunds, hasMore) = answer else { return nil }
    let seen = refunds.map {
      BookStore.Seen(
        id: $0.id, payment: $0.payment, reference: $0.reference, amount: $0.amount, hasFailed: $0.hasFailed)
    }
    let otherwise = try await Faults.crossing(.booksLook) { try await books.otherwise(seen) }
    if !otherwise.isEmpty {
      try await Faults.crossing(.booksMend) { try await stores.refunds.note(payments: otherwise.sorted()) }
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
  private func carefully(_ key: PurchaseStore.Key, _ body: @LoopActor () async throws -> Void) async {
    do { try await body() } catch {
      logger.retrying(
        "one entry of the books cannot be looked at", ["event.id": key.event, "error": "\(error)"])
    }
  }

  private func repaired(_ kind: String, _ key: PurchaseStore.Key, _ payment: String?) {
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
    _ kind: BookStore.Finding.Kind, _ key: PurchaseStore.Key, _ payment: String?, _ detail: String
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
