import EventLoop
import FaultInjection
import Ledger
import Lifecycle
import Logging
import Metrics
import Payments
import Sale

/// Learns what happens to payments at the provider without us, and brings purchases in line with it.
///
/// Messages say of which payment there is news. As they may be lost, what was given back and disputed last is also looked
/// at now and then.
@LoopActor
final class NewsInboxWorker {
  private static let idleMilliseconds: UInt64 = 1_000
  /// Payments that are asked for at once, and how many are leased by one call.
  private static let batch = 32
  /// Refunds and disputes that are looked at then.
  private static let latest = 100

  private let refunds: RefundStore
  private let purchases: PurchaseStore
  private let provider: any PaymentProvider
  private let books: BookStore
  private let lookMilliseconds: UInt64
  private let logger: Logger
  private enum Errand: Hashable {
    case look
    case learn(String)
  }
  private let places = Places<Errand>(NewsInboxWorker.batch)
  private var lookedAt: UInt64
  private let learned = MetricsRegistry.shared.counter(
    "onsale_payment_news_total", "Refunds and disputes that somebody made at the payment provider")

  /// - Parameter lookMilliseconds: how often the latest are looked at.
  init(stores: Worker.Stores, provider: any PaymentProvider, lookMilliseconds: Int, logger: Logger) {
    refunds = stores.refunds
    purchases = stores.purchases
    books = stores.books
    self.provider = provider
    self.lookMilliseconds = UInt64(lookMilliseconds)
    self.logger = logger
    // Workers that start together look one after the other.
    lookedAt = EventLoop.shared.now - min(EventLoop.shared.now, .random(in: 0...UInt64(lookMilliseconds)))
  }

  /// Runs until cancelled, and until what was under way then has ended.
  func run() async {
    await repeatRounds("news of payments wait", pauseMilliseconds: Self.idleMilliseconds, logger) {
      try await round()
    }
    await places.end()
  }

  private func round() async throws -> Bool {
    if EventLoop.shared.now >= lookedAt + lookMilliseconds, places.free > 0 {
      lookedAt = EventLoop.shared.now
      places.take(.look) { [self] in await look() }
    }
    return try await places.fill(
      milliseconds: Self.idleMilliseconds, named: { .learn($0.payment) },
      from: { room in try await Faults.point(.newsDue) { try await refunds.dueNews(limit: room) } },
      { [self] in await learn($0) })
  }

  private func look() async {
    do {
      try await lookAtLatest()
      logger.worksAgain("the latest refunds and disputes cannot be looked at")
    } catch {
      logger.retrying("the latest refunds and disputes cannot be looked at", ["error": "\(error)"])
    }
  }

  private func lookAtLatest() async throws {
    let (made, disputes) = try await Faults.point(.newsAsk) {
      (
        try await provider.refunds(after: nil, limit: Self.latest).refunds,
        try await provider.disputes(of: nil, after: nil, limit: Self.latest).disputes
      )
    }
    try await Faults.point(.newsWrite) {
      let installation = try await purchases.installation()
      // Those of ours are known, or are under way.
      let others = made.filter { $0.reference == nil && !$0.hasFailed }
      let seen = others.compactMap { BookStore.Seen($0, in: installation) }
      let disputed = disputes.compactMap { BookStore.SeenDispute($0, in: installation) }
      try await refunds.note(
        payments: Array(try await books.otherwise(seen).union(books.otherwise(disputed))))
    }
  }

  private func learn(_ news: RefundStore.News) async {
    do {
      if let place = try await place(news.payment), try await reconcile(place, news.payment) {
        return
      }
      try await Faults.point(.newsWrite) { try await refunds.learned(news) }
    } catch {
      logger.retrying(
        "news of a payment wait, trying again later", ["payment.id": news.payment, "error": "\(error)"])
    }
  }

  /// Whose it is; `nil` for a payment of somebody else.
  private func place(_ payment: String) async throws -> PurchaseKey? {
    let installation = try await Faults.point(.newsWrite) { try await purchases.installation() }
    do {
      return try await Faults.point(.newsAsk) { try await provider.retrieve(payment) }.place(
        in: installation
      )
      .map { PurchaseKey(event: $0.event, generation: $0.generation, position: $0.position) }
    } catch let error as PaymentError where error.code == .invalid {
      return nil
    }
  }

  /// - Returns: whether there is more to learn, later.
  private func reconcile(_ key: PurchaseKey, _ payment: String) async throws -> Bool {
    let (made, disputes) = try await Faults.point(.newsAsk) {
      (
        try await provider.refunds(of: payment),
        try await provider.disputes(of: payment, after: nil, limit: Self.latest).disputes
      )
    }
    let found = try await Faults.point(.newsWrite) {
      try await refunds.reconcile(
        key, payment: payment,
        // Oldest first: which of them is the one that leaves nothing depends on it.
        refunds: made.reversed().map {
          RefundStore.Seen(id: $0.id, reference: $0.reference, amount: $0.amount, hasFailed: $0.hasFailed)
        },
        disputes: disputes.map {
          RefundStore.Dispute(
            id: $0.id, amount: $0.amount, reason: $0.reason, status: $0.status, createdAt: $0.created)
        })
    }
    learned.increment(by: found.changes.count)
    for change in found.changes {
      logger.notice("news of a payment", ["payment.id": payment, "event.id": key.event, "news": change])
    }
    return found.isUnderWay
  }
}
