/// What to charge, and whom.
package struct PaymentOrder: Sendable, Equatable {
  /// Names the order for good, and no other of whichever installation: the purchase's UUID and the attempt. The provider's
  /// idempotency key is this, so the same reference is charged at most once however often it is sent, as long as the
  /// provider remembers keys.
  package var reference: String
  /// In the currency's minor unit.
  package var amount: Int
  /// ISO 4217, in either case.
  package var currency: String
  /// The provider's name of the buyer's payment method.
  package var method: String
  package var metadata: [String: String]
  /// Whether the method is what the provider's own form has made: a confirmation token, which pays once.
  package var isOfForm: Bool { method.hasPrefix("ctoken_") }
  /// Of which event it is: among many orders that wait for their turn, each event has its own.
  package var event: Int

  package init(
    reference: String, amount: Int, currency: String, method: String, metadata: [String: String] = [:],
    event: Int = 0
  ) {
    self.event = event
    self.reference = reference
    self.amount = amount
    self.currency = currency
    self.method = method
    self.metadata = metadata
  }
}

/// A payment as the provider has it.
package struct Payment: Sendable, Equatable {
  package struct Status: Hashable, Sendable, RawRepresentable, CustomStringConvertible {
    package let rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }
    package var description: String { rawValue }
    package static let requiresPaymentMethod = Status(rawValue: "requires_payment_method")
    package static let requiresConfirmation = Status(rawValue: "requires_confirmation")
    package static let requiresAction = Status(rawValue: "requires_action")
    package static let processing = Status(rawValue: "processing")
    /// Authorised: the money is reserved and not taken.
    package static let requiresCapture = Status(rawValue: "requires_capture")
    /// Captured: the money is taken.
    package static let succeeded = Status(rawValue: "succeeded")
    package static let canceled = Status(rawValue: "canceled")

    /// Whether nothing but giving the money back can happen to it any more.
    package var isEnd: Bool { self == .succeeded || self == .canceled }
  }

  package var id: String
  package var status: Status
  package var amount: Int
  package var amountCaptured: Int
  /// ISO 4217, upper case.
  package var currency: String
  /// The order's reference; `nil` if the payment was not made by this system.
  package var reference: String?
  /// Unix seconds.
  package var created: Int
  /// What it says of its purchase; `nil` if it says nothing, or not all.
  package var purchase: PurchaseMetadata?
  /// Why its last attempt was refused, by the provider's own code; `nil` if it was not.
  package var refusal: String?
  /// Where the buyer goes to confirm that they are the card's owner; `nil` where that is not asked of them.
  package var redirectURL: String?

  /// Who made it; `nil` where it does not say.
  package var installation: String? { purchase?.installation }

  /// Whether it is what was ordered, in reference, amount and currency.
  package func isOf(_ order: PaymentOrder) -> Bool {
    reference == order.reference && amount == order.amount && currency == order.currency.uppercased()
  }

  package init(
    id: String, status: Status, amount: Int, amountCaptured: Int, currency: String, reference: String?,
    created: Int, purchase: PurchaseMetadata? = nil, refusal: String? = nil, redirectURL: String? = nil
  ) {
    self.id = id
    self.status = status
    self.amount = amount
    self.amountCaptured = amountCaptured
    self.currency = currency
    self.reference = reference
    self.created = created
    self.purchase = purchase
    self.refusal = refusal
    self.redirectURL = redirectURL
  }
}

/// What came of an order.
package enum PaymentOutcome: Sendable, Equatable {
  case authorised(Payment)
  /// The card was refused, for good under this reference. `id` names what the provider recorded, if anything.
  case declined(id: String?, code: String, message: String)
  /// The provider still works on it, or it waits for its buyer, who goes to its `redirectURL`: what comes of it is found by asking for it.
  case waiting(Payment)

  /// What a payment that exists means for its order.
  package init(_ payment: Payment) {
    switch payment.status {
    case .requiresCapture, .succeeded: self = .authorised(payment)
    case .processing: self = .waiting(payment)
    case .requiresAction where payment.redirectURL != nil: self = .waiting(payment)
    case .requiresAction:
      self = .declined(
        id: payment.id, code: "authentication_required", message: "The card asks for a check we do not offer."
      )
    case .canceled:
      self = .declined(id: payment.id, code: "payment_canceled", message: "The payment was cancelled.")
    default:
      self = .declined(
        id: payment.id, code: payment.refusal ?? "card_declined", message: "The card was declined.")
    }
  }
}
