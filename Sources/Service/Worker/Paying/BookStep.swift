import Ledger
import Payments
import Sale

/// What to do about a payment, decided from what the provider and PostgreSQL say of it. Pure.
///
/// Repaired is what is certain whichever of the two is older: a purchase whose row says that this attempt is over never
/// comes back from there, but for one that was given up, which a payment that comes late may open again. Where PostgreSQL
/// has no such row, or none of this attempt yet, it may have lost what it knew: that is told, and never decided.
enum BookStep: Equatable {
  case fits
  /// Sold by it, and its money is not taken: that is noted as owed. What cannot be taken is taken back there.
  case capture
  /// Taken, and not noted so.
  case note
  /// Nothing was bought with it: what is reserved is let go of, what was taken is given back.
  case letGo
  case tell(BookStore.Finding.Kind, String)

  /// - Parameters:
  ///   - attempt: which of the purchase's payments it is.
  ///   - isOld: whether it is no payment under way any more, by its age.
  ///   - graceSeconds: for so long what happens to a sale is its workers'.
  init(
    _ payment: Payment, attempt: Int, _ purchase: AuditedPurchase?, isOld: Bool, graceSeconds: Int
  ) {
    guard payment.status == .succeeded || payment.status == .requiresCapture || payment.status == .canceled
    else {
      self = .fits
      return
    }
    if let purchase, purchase.state == .sold, purchase.paymentID == payment.id {
      self = purchase.ageSeconds > graceSeconds ? BookStep(sold: purchase, payment) : .fits
    } else if payment.status == .canceled || !isOld {
      self = .fits
    } else {
      self = BookStep(unsold: payment, attempt, purchase)
    }
  }

  private init(sold purchase: AuditedPurchase, _ payment: Payment) {
    let charged = purchase.charged ?? purchase.amount
    switch payment.status {
    case .succeeded
    where payment.amountCaptured != charged || payment.currency != purchase.currency.uppercased():
      self = .tell(
        .capturedWrongAmount,
        "captured \(payment.amountCaptured) \(payment.currency), sold for \(charged) \(purchase.currency)")
    case .succeeded: self = purchase.isCaptureNoted ? .fits : .note
    // All of it was given back before it was taken.
    case .requiresCapture where charged == 0:
      self = .tell(.authorisationOpen, "given back before it was taken, and still reserved")
    case .requiresCapture: self = .capture
    case .canceled where charged == 0: self = .fits
    case .canceled where !purchase.isCaptureNoted: self = .capture
    default: self = .tell(.saleWithoutPayment, "sold, and the payment is \(payment.status)")
    }
  }

  private init(unsold payment: Payment, _ attempt: Int, _ purchase: AuditedPurchase?) {
    let isTaken = payment.status == .succeeded
    guard let purchase, purchase.attempt >= attempt else {
      self = .tell(
        isTaken ? .captureWithoutPurchase : .authorisationOpen,
        "\(payment.amount) \(payment.currency) \(isTaken ? "taken" : "reserved"), and PostgreSQL knows no such attempt"
      )
      return
    }
    if purchase.state == .paying {
      // What is under way is taken up again until it ends, be it by a later attempt with the same payment.
      self = purchase.attempt == attempt || purchase.paymentID == payment.id ? .fits : .letGo
    } else if isTaken, purchase.state == .declined, purchase.attempt == attempt,
      ConfirmationConsumer.undecided.contains(purchase.reason ?? "")
    {
      // A later attempt may have taken it up, and sold with it, which PostgreSQL has lost.
      self = .tell(
        .captureWithoutPurchase,
        "\(payment.amount) \(payment.currency) taken, and PostgreSQL has the attempt as given up")
    } else {
      self = .letGo
    }
  }
}
