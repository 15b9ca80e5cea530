import Ledger
import Payments
import Sale

extension Ledger {
  /// I2 and I3 for one event's requests, both ways.
  /// - Parameter now: unix seconds, on the clock that the provider's times are compared with.
  package func check(_ sales: Sales, event: Int, graceSeconds: Int, now: Int) -> Findings {
    var findings = Findings()
    for purchase in sales.purchases.values where purchase.state == .sold {
      checkPaid(purchase, graceSeconds, &findings)
    }
    for key in keys(of: event) {
      var captures = 0
      for entry in entries(key) {
        if entry.status == .succeeded { captures += 1 }
        check(entry, key, sales.purchases[key], graceSeconds, now, &findings)
      }
      if captures > 1 {
        findings.add(Finding(.capturedTwice, key, "\(captures) payments were captured for this request"))
      }
    }
    return findings
  }

  /// Delivered, so it must be paid.
  private func checkPaid(_ purchase: AuditedPurchase, _ graceSeconds: Int, _ findings: inout Findings) {
    let key = purchase.key
    let charged = purchase.charged ?? purchase.amount
    // What costs nothing no provider ever sees.
    if charged == 0, purchase.paymentID.map(PurchaseStore.isFree) == true { return }
    if let id = purchase.paymentID {
      if refunds(id) != purchase.givenBack || refunded(id) != purchase.refunded {
        findings.add(
          Finding(
            .refundedOtherwise, key, paymentID: id,
            "\(refunded(id)) \(purchase.currency) were given back in \(refunds(id).count) refunds, and "
              + "\(purchase.refunded) in \(purchase.givenBack.count) are known here"))
      }
      // Of what was given back before it was taken nothing was charged in the end.
      if refunded(id) > charged {
        findings.add(
          Finding(
            .refundedTooMuch, key, paymentID: id,
            "\(refunded(id)) of \(charged) \(purchase.currency) were given back"))
      }
      if wasRefundedTwice(id) {
        findings.add(
          Finding(.refundedTwice, key, paymentID: id, "two refunds at the provider are one and the same here")
        )
      }
    }
    if let id = purchase.paymentID, disputes(id) != purchase.disputes {
      findings.add(
        Finding(
          .disputeUnknown, key, paymentID: id,
          "\(disputes(id).count) disputes at the provider, \(purchase.disputes.count) here, or not as they stand"
        ))
    }
    guard let id = purchase.paymentID, let entry = entries(key).first(where: { $0.id == id }) else {
      // It was compared in the last run without findings, and nothing has changed since.
      if purchase.isSettled, !isWhole { return }
      return findings.add(
        Finding(
          .saleWithoutPayment, key, paymentID: purchase.paymentID,
          "sold for \(purchase.amount) \(purchase.currency), and the provider knows no such payment"))
    }
    switch entry.status {
    // Given back before it was taken.
    case .canceled where charged == 0 && purchase.tickets.isEmpty: break
    case .succeeded:
      if entry.amountCaptured != charged || entry.currency != purchase.currency.uppercased() {
        findings.add(
          Finding(
            .capturedWrongAmount, key, paymentID: id,
            "captured \(entry.amountCaptured) \(entry.currency), sold for \(charged) \(purchase.currency)"
          ))
      }
      if !purchase.isCaptureNoted, purchase.ageSeconds > graceSeconds {
        findings.add(Finding(.captureNotNoted, key, paymentID: id, "captured, and not noted"))
      }
    case .requiresCapture:
      if purchase.ageSeconds > graceSeconds {
        findings.add(
          Finding(
            .saleNotCaptured, key, paymentID: id, "sold \(purchase.ageSeconds) s ago, and only authorised"))
      }
    default:
      findings.add(
        Finding(.saleWithoutPayment, key, paymentID: id, "sold, and the payment is \(entry.status.rawValue)"))
    }
  }

  /// Paid, or money reserved, so there must be a purchase for it.
  private func check(
    _ entry: Entry, _ key: PurchaseKey, _ purchase: AuditedPurchase?, _ graceSeconds: Int, _ now: Int,
    _ findings: inout Findings
  ) {
    let isSoldByIt = purchase?.state == .sold && purchase?.paymentID == entry.id
    switch entry.status {
    // What was taken for nothing, and given back, is settled.
    case .succeeded where !isSoldByIt && refunded(entry.id) < entry.amountCaptured:
      findings.add(
        Finding(
          .captureWithoutPurchase, key, paymentID: entry.id,
          "captured \(entry.amountCaptured) \(entry.currency), the purchase is \(purchase?.state.rawValue ?? "missing")"
        ))
    case .requiresCapture where !isSoldByIt:
      let isUnderWay =
        purchase?.state == .paying && (purchase?.attempt == entry.attempt || purchase?.paymentID == entry.id)
      // A payment under way is the workers' until it stalls, which is found by itself.
      if !isUnderWay, now - entry.created > graceSeconds {
        findings.add(
          Finding(
            .authorisationOpen, key, paymentID: entry.id,
            "\(entry.amount) \(entry.currency) reserved since \(now - entry.created) s, the purchase is "
              + (purchase?.state.rawValue ?? "missing")))
      }
    default: break
    }
  }
}
