import Archive
import EventLoop
import FaultInjection
import Ledger
import Lifecycle
import Logging
import Metrics
import Payments
import Queue
import Sale

/// Carries out what organizers give back: asks the provider, exactly once, then takes the tickets out of the purchase, and
/// tells Redis and the owner of the seats.
///
/// A crash between any two steps is finished by whoever leases the refund next: what came of an earlier try is looked for
/// at the provider before it is tried again, under the same name.
@LoopActor
final class RefundOutboxWorker {
  private static let idleMilliseconds: UInt64 = 1_000
  /// Refunds under way at once, and how many are leased by one call.
  private static let batch = 64
  /// The owners of seats are told of so many together, at once or after so long: they read an event's tickets anew for it.
  private static let tellMilliseconds: UInt64 = 250
  /// Purchases of a cancelled event that are written down at once.
  private static let cancelled = 500
  /// For so long the line of a cancelled event is waited for.
  private static let lineMilliseconds: UInt64 = 600_000
  /// Cancelled events, and since when this process knows of each.
  private var lingering: [Int: UInt64] = [:]
  /// How often the dead letters are counted.
  private static let countMilliseconds: UInt64 = 15_000
  private var countedAt: UInt64 = 0
  private let dead = MetricsRegistry.shared.gauge(
    "onsale_refunds_dead", "Refunds that failed and are not tried again: they wait for a person")

  private let stores: Worker.Stores
  private var refunds: RefundStore { stores.refunds }
  private let provider: any PaymentProvider
  /// After so long it is certain that the provider made nothing of what it answers with a failure.
  private let searchSeconds: Int
  private let logger: Logger
  private let places = Places<String>(RefundOutboxWorker.batch)
  private let given: GroupCommit<RefundStore.Refund, Void>

  /// - Parameter searchMilliseconds: as `PaymentOutboxWorker` has it.
  init(stores: Worker.Stores, provider: any PaymentProvider, searchMilliseconds: Int, logger: Logger) {
    self.stores = stores
    self.provider = provider
    searchSeconds = (searchMilliseconds + 999) / 1_000
    self.logger = logger
    given = GroupCommit(
      maximumBatch: Self.batch, capacity: 2 * Self.batch, lingerMilliseconds: Self.tellMilliseconds,
      performAll: { refunds in
        // Once for all of an event's: whoever owns its seats reads them anew for it.
        for event in Set(refunds.map(\.key.event)) {
          try await Faults.point(.refundTell) {
            guard let settings = try await stores.events.noteTicketsChanged(event: event) else { return }
            try await stores.events.publish(settings, to: stores.queue)
          }
        }
        try await Faults.point(.refundTell) { try await stores.refunds.told(refunds) }
      })
  }

  /// Runs until cancelled, and until what was under way then has ended.
  func run() async {
    await repeatRounds("refund round failed", pauseMilliseconds: Self.idleMilliseconds, logger) {
      try await round()
    }
    await places.end()
  }

  private func round() async throws -> Bool {
    try await cancelEvents()
    if EventLoop.shared.now >= countedAt + Self.countMilliseconds {
      countedAt = EventLoop.shared.now
      dead.value = Double(try await Faults.point(.refundDue) { try await refunds.deadCount() })
    }
    return try await places.fill(
      milliseconds: Self.idleMilliseconds, named: \.refund.id,
      from: { room in try await Faults.point(.refundDue) { try await refunds.due(limit: room) } },
      { [self] in await finish($0) })
  }

  private func finish(_ due: RefundStore.Due) async {
    guard await carryOut(due) else { return }
    do { try await given.submit(due.refund) } catch {
      logger.retrying(
        "of a refund the seats' owner could not be told, trying again later",
        ["refund.id": due.refund.id, "error": "\(error)"])
    }
  }

  /// Writes down what is to be given back of events that were cancelled. Only once their lines have left Redis, so that
  /// payments that had begun are at their ends; a line that stays for long keeps nobody's money.
  private func cancelEvents() async throws {
    let events = try await Faults.point(.refundCancel) { try await refunds.cancelling() }
    for event in events {
      do {
        try await Faults.point(.refundCancel) {
          let isOver = try await stores.queue.reader.document(event: event) == nil
          let since = lingering[event] ?? EventLoop.shared.now
          lingering[event] = since
          guard isOver || EventLoop.shared.now >= since + Self.lineMilliseconds else { return }
          try await refunds.cancelSome(event: event, isOver: isOver, limit: Self.cancelled)
        }
      } catch let error as CancellationError {
        throw error
      } catch {
        // One event, or Redis, keeps nobody else's refunds waiting.
        logger.retrying("a cancelled event waits", ["event.id": event, "error": "\(error)"])
      }
    }
    lingering = lingering.filter { events.contains($0.key) }
  }

  /// - Returns: whether its tickets are given back, and all but the owner of the seats were told.
  private func carryOut(_ due: RefundStore.Due) async -> Bool {
    do {
      switch RefundStep(due) {
      case .tell: break
      case .settle: try await settle(due, nil)
      case .void, .capture:
        guard try await giveUntaken(due) else { return false }
      case .give:
        guard try await give(due) else { return false }
      }
      return try await tell(due.refund)
    } catch {
      logger.retrying(
        "a refund waits, trying again later", ["refund.id": due.refund.id, "error": "\(error)"])
      return false
    }
  }

  /// - Returns: whether it is settled; false if it failed, or must wait.
  private func giveUntaken(_ due: RefundStore.Due) async throws -> Bool {
    let step = RefundStep(due), key = due.refund.key
    let reference = key.name
    let payment = try await Faults.point(.refundMake) {
      if step == .void { return try await provider.cancel(due.payment, reference: reference) }
      return try await provider.capture(due.payment, reference: reference)
    }
    switch step.next(payment.status) {
    case .voided:
      try await settle(due, nil, isVoid: true)
      return true
    case .give:
      try await Faults.point(.refundSettle) {
        try await stores.purchases.done([
          OutboxEntry(key: key, kind: .capture, paymentID: due.payment)
        ])
      }
      return try await give(due)
    case .lapsed:
      // Nothing was taken, so that nothing has to be given back for these tickets. What is left of the sale is taken back by
      // whoever captures it, and its buyer asked to pay for that alone.
      try await settle(due, nil, hasLapsed: true)
      return true
    case .later:
      throw PaymentError(code: .pending, message: "payment \(payment.id) is \(payment.status)")
    }
  }

  private func give(_ due: RefundStore.Due) async throws -> Bool {
    let refund = due.refund
    let order = RefundOrder(
      reference: refund.id, attempt: due.attempt, payment: due.payment, amount: refund.amount,
      currency: refund.currency, event: refund.key.event)
    let made: Refund
    do {
      // The provider may have forgotten the key of a try whose answer was lost; what it made of it, it knows.
      var known: Refund?
      if due.attemptSeconds > searchSeconds {
        known = try await Faults.point(.refundMake) {
          try await provider.refunds(of: due.payment).first { $0.reference == refund.id }
        }
      }
      if let known {
        made = known
      } else {
        made = try await Faults.point(.refundMake) { try await provider.refund(order) }
      }
    } catch let error as PaymentError where error.code == .refused {
      let reason = error.providerCode ?? "refused"
      logger.error(
        "the provider gives nothing back", ["refund.id": refund.id, "error": "\(error)"])
      try await fail(refund, reason, "refused")
      return false
    } catch let error as PaymentError where error.code == .failed {
      // What was made of it, if anything, would be there by now.
      if due.attemptSeconds > searchSeconds {
        try await Faults.point(.refundSettle) { try await refunds.takeNextKey(due) }
      }
      throw error
    }
    if made.hasFailed {
      try await fail(refund, "refund_\(made.status)", "failed")
      return false
    }
    try await settle(due, made.id)
    return true
  }

  private func fail(_ refund: RefundStore.Refund, _ reason: String, _ outcome: String) async throws {
    let isTriedAgain = try await Faults.point(.refundSettle) {
      try await refunds.fail(refund, reason: reason, mayPass: RefundStep.mayPass(reason))
    }
    count(outcome)
    if isTriedAgain {
      count("retried")
    } else {
      logger.error(
        "a refund is given up, and waits for a person",
        ["refund.id": refund.id, "event.id": refund.key.event, "refund.reason": reason])
    }
  }

  private func settle(
    _ due: RefundStore.Due, _ providerID: String?, isVoid: Bool = false, hasLapsed: Bool = false
  ) async throws {
    let isNew = try await Faults.point(.refundSettle) {
      try await refunds.succeed(due.refund, providerID: providerID, isVoid: isVoid, hasLapsed: hasLapsed)
    }
    if isNew { count(isVoid ? "voided" : hasLapsed ? "lapsed" : "succeeded") }
  }

  /// Tells Redis, where the purchase's record and its user's count are.
  private func tell(_ refund: RefundStore.Refund) async throws -> Bool {
    try await Faults.point(.refundTell) {
      guard let found = try await stores.purchases.find(refund.key) else { return true }
      let owned = try await refunds.owned(event: refund.key.event, user: refund.user)
      return try await stores.queue.confirmations.giveBack(
        refund.tickets, of: refund.key, found, owned: owned) == .told
    }
  }

  private func count(_ outcome: String) {
    MetricsRegistry.shared.counter(
      "onsale_refunds_total", "Refunds that ended", labels: [("outcome", outcome)]
    ).increment()
  }
}
