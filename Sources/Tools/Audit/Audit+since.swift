import Ledger
import Payments
import Sale

/// Looks only at what may have changed since the last run without findings.
///
/// Of PostgreSQL: the events of which anything was written or deleted since, each whole, and every one that is on sale. Of
/// Redis: every line that there is. Of the provider: payments made since, and a day before, as none is under way for
/// longer; the payment of each purchase that was written since; all refunds and all disputes.
extension Audit {
  /// For so long before the newest payment of that run there may be some that have changed since, by the provider's
  /// clock alone: a payment is under way for a day at most.
  private static let marginSeconds = 86_400
  /// More payments than these are not asked for one by one: all are listed.
  private static let olderAtMost = 1_000

  /// Decides where to begin, before anything is read.
  /// - Returns: what is to be noted of this run; `nil` if nothing can be.
  func begin() async throws -> AuditStore.Mark? {
    (baseline, scope, counts) = (nil, nil, [:])
    guard options.event == nil, let mark = try await sales.mark() else { return nil }
    if options.isFull {
      looked.reason = "asked for"
    } else {
      (baseline, looked.reason) = try await sales.baseline(mark)
    }
    report("counting rows")
    let (counts, changed) = try await sales.changes(since: baseline)
    self.counts = counts
    looked.counted = counts.values.reduce(0) { $0 + $1.all }
    looked.since = baseline?.began
    if baseline != nil { scope = changed }
    return mark
  }

  /// Payments made before are not listed.
  var oldestPayment: Int { baseline.map { $0.newestPayment - Self.marginSeconds } ?? Int.min }

  /// Asks for the payments of refunds that are not known as they are, however old: their events are looked at.
  func readPayments(of refunds: [Refund]) async throws {
    guard !ledger.isWhole else { return }
    let seen = refunds.compactMap { refund -> BookStore.Seen? in
      let (isOurs, key) = Self.key(refund.owner(in: ledger.installation))
      if !isOurs { return nil }
      return BookStore.Seen(
        id: refund.id, payment: refund.payment, key: key, reference: refund.reference, amount: refund.amount,
        hasFailed: refund.hasFailed)
    }
    for payment in try await sales.otherwise(seen) { try await readPayment(payment) }
  }

  /// The same of disputes.
  func readPayments(of disputes: [Dispute]) async throws {
    guard !ledger.isWhole else { return }
    let seen = disputes.compactMap { dispute -> BookStore.SeenDispute? in
      let (isOurs, key) = Self.key(dispute.owner(in: ledger.installation))
      if !isOurs { return nil }
      return BookStore.SeenDispute(
        id: dispute.id, payment: dispute.payment, key: key, status: dispute.status)
    }
    for payment in try await sales.otherwise(seen) { try await readPayment(payment) }
  }

  /// - Returns: whether it may be ours, and whose it is, as far as the provider said so.
  private static func key(_ owner: PaymentOwner) -> (isOurs: Bool, key: PurchaseKey?) {
    switch owner {
    case .others: (false, nil)
    case .unknown: (true, nil)
    case .ours(let place):
      (
        true,
        PurchaseKey(event: place.event, generation: place.generation, position: place.position)
      )
    }
  }

  private func readPayment(_ id: String) async throws {
    do { ledger.add(try await provider.retrieve(id)) } catch let error as PaymentError
      where error.code == .invalid
    {
      return  // of a payment that there is not: that is found where it is named
    }
  }

  /// Asks for the payments of purchases that have changed and are older than what was listed.
  func readOlderPayments(_ sold: Sales) async throws {
    guard !ledger.isWhole else { return }
    let older = sold.purchases.values.filter { purchase in
      guard purchase.state == .sold, !purchase.isSettled, let id = purchase.paymentID,
        !PurchaseStore.isFree(id)
      else { return false }
      return !ledger.entries(purchase.key).contains { $0.id == id }
    }
    if older.count > Self.olderAtMost {
      report("\(older.count) older payments: all are listed")
      return try await readPayments(since: Int.min)
    }
    for purchase in older {
      guard let id = purchase.paymentID else { continue }
      do { ledger.add(try await provider.retrieve(id)) } catch let error as PaymentError
        where error.code == .invalid
      {
        continue  // it has no such payment: that is the finding
      }
    }
  }
}
