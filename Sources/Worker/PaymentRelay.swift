import EventLoop
import Faults
import Logging
import Metrics
import Payments
import Store

/// Finishes at the provider what commits have left to do: captures that did not happen right away, and
/// authorisations without a sale. Each is retried, ever more rarely, until it is done.
@LoopActor
final class PaymentRelay {
  private static let idleMilliseconds: UInt64 = 2_000
  private static let batch = 64
  private static let stalledBatch = 256

  private let purchases: PurchaseStore
  private let provider: any PaymentProvider
  private let lane: ConfirmLane
  private let logger: Logger
  private let relayed = MetricsRegistry.shared.counter(
    "onsale_relayed_total", "Captures and cancellations done after the fact")

  init(purchases: PurchaseStore, provider: any PaymentProvider, lane: ConfirmLane, logger: Logger) {
    self.purchases = purchases
    self.provider = provider
    self.lane = lane
    self.logger = logger
  }

  /// Runs until cancelled. Errors end a round, not the loop.
  func run() async {
    while !Task.isCancelled {
      var isBusy = false
      do {
        isBusy = try await round()
        logger.worksAgain("relay round failed")
      } catch is CancellationError {
        return
      } catch {
        logger.retrying("relay round failed", ["error": "\(error)"])
      }
      if !isBusy {
        do { try await sleep(milliseconds: Self.idleMilliseconds) } catch { return }
      }
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

  private func carryOut(_ chore: PurchaseStore.Chore) async -> Bool {
    if PurchaseStore.isFree(chore.paymentID) { return true }
    let reference = "\(chore.key.event)-\(chore.key.generation)-\(chore.key.position)"
    do {
      switch chore.kind {
      case .capture:
        let payment = try await Faults.crossing(.confirmCapture) {
          try await provider.capture(chore.paymentID, reference: reference)
        }
        return payment.status == .succeeded
      case .cancel:
        let payment = try await Faults.crossing(.confirmVoid) {
          try await provider.cancel(chore.paymentID, reference: reference)
        }
        return payment.status == .canceled
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
