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
  private static let batch = 64
  private static let stalledBatch = 256
  /// For so long what there is of a payment is looked for, where the provider cannot say.
  private static let findSeconds = 86_400

  private let stores: Worker.Stores
  private var purchases: PurchaseStore { stores.purchases }
  private let searchSeconds: Int
  private let provider: any PaymentProvider
  private let lane: ConfirmLane
  private let logger: Logger
  private let relayed = MetricsRegistry.shared.counter(
    "onsale_relayed_total", "Captures and cancellations done after the fact")
  private let lapsed = MetricsRegistry.shared.counter(
    "onsale_authorisations_lapsed_total", "Sales taken back because their authorisation was gone")

  /// - Parameter searchMilliseconds: after so long the provider's search has what was made.
  init(
    stores: Worker.Stores, provider: any PaymentProvider, lane: ConfirmLane, searchMilliseconds: Int,
    logger: Logger
  ) {
    self.stores = stores
    searchSeconds = (searchMilliseconds + 999) / 1_000
    self.provider = provider
    self.lane = lane
    self.logger = logger
  }

  /// Runs until cancelled.
  func run() async {
    await repeatRounds("relay round failed", pauseMilliseconds: Self.idleMilliseconds, logger) {
      try await round()
    }
  }

  private func round() async throws -> Bool {
    let excused = lane.takeExcused()
    let stalled = try await Faults.crossing(.relayStalled) {
      try await purchases.excuse(excused)
      return try await purchases.stalledPayments(limit: Self.stalledBatch)
    }
    if !stalled.isEmpty {
      logger.retrying("stalled payments taken up", level: .notice, ["count": stalled.count])
      lane.begin(stalled: stalled)
    }
    let due = try await Faults.crossing(.relayDue) { try await purchases.dueChores(limit: Self.batch) }
    let attempts = due.map { chore in Task { @LoopActor in await carryOut(chore) } }
    var done: [PurchaseStore.Chore] = []
    for (chore, attempt) in zip(due, attempts) where await attempt.value { done.append(chore) }
    if !done.isEmpty {
      try await Faults.crossing(.confirmCaptured) { try await purchases.done(done) }
      relayed.increment(by: done.count)
    }
    return due.count == Self.batch
  }

  /// Cancels a payment that sold nothing, and gives back what was taken all the same.
  private func letGo(
    of id: String, _ chore: PurchaseStore.Chore, _ reference: String
  ) async throws -> Bool {
    let standing = try await Faults.crossing(.relayDue) { try await purchases.find(chore.key)?.standing }
    if standing?.state == .sold, standing?.paymentID == id { return true }
    let payment = try await Faults.crossing(.confirmVoid) {
      try await provider.cancel(id, reference: reference)
    }
    guard payment.status == .succeeded else { return payment.status == .canceled }
    logger.error(
      "money was taken for nothing: it is given back", ["payment.id": id, "confirm.reference": reference])
    try await Faults.crossing(.confirmVoid) { try await provider.refund(id) }
    return true
  }

  /// A sale that can never be paid, since its authorisation was gone before the capture: its tickets are on sale again,
  /// and its buyer is told so.
  /// - Returns: whether that is done; it is not while the money is being given back, which ends it in its own way.
  private func takeBack(_ chore: PurchaseStore.Chore) async throws -> Bool {
    let (key, queue) = (chore.key, stores.queue)
    let tickets = try await Faults.crossing(.relayDue) {
      try await purchases.lapse(key, paymentID: chore.paymentID)
    }
    guard let tickets else {
      return try await Faults.crossing(.relayDue) { try await !purchases.isBeingGivenBack(key) }
    }
    lapsed.increment()
    logger.error(
      "an authorisation was gone before its capture: its tickets are on sale again",
      ["payment.id": chore.paymentID, "event.id": key.event, "tickets": tickets.count])
    try await Faults.crossing(.relayDue) {
      guard let facts = try await queue.queueFacts(event: key.event) else { return }
      // A place of an earlier life has nobody to be told; its tickets go on sale in this one all the same.
      let isOfThisLife = facts.document.generation == key.generation
      let record = isOfThisLife ? try await queue.record(event: key.event, position: key.position) : nil
      if let record, record.state == .purchased {
        _ = try await queue.repair(
          event: key.event, position: key.position, expected: .purchased, to: .expired,
          attempt: record.attempt, amount: record.amount, tickets: tickets, free: tickets,
          reason: PurchaseStore.authorisationLapsed, user: "")
      } else {
        try await queue.dropSold(event: key.event, tickets)
      }
      // Whoever owns the partition has them as sold, and reads them anew.
      let partition = Partition(of: key.event)
      let epoch = try await stores.epochs.next(partition, above: try await queue.epoch(partition))
      _ = try await queue.own(partition, epoch: epoch)
    }
    return true
  }

  private func carryOut(_ chore: PurchaseStore.Chore) async -> Bool {
    if PurchaseStore.isFree(chore.paymentID) { return true }
    let reference = "\(chore.key.event)-\(chore.key.generation)-\(chore.key.position)"
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
        // Not found is not known yet, as long as it may be.
        guard let payment else { return chore.ageSeconds > 2 * searchSeconds }
        return try await letGo(of: payment.id, chore, reference)
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
