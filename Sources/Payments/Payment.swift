/// What to charge, and whom.
package struct PaymentOrder: Sendable, Equatable {
  /// Names the order for good: `event-generation-position-try`. The provider's idempotency key is this, so the
  /// same reference is charged at most once however often it is sent.
  package var reference: String
  /// In the currency's minor unit.
  package var amount: Int
  /// ISO 4217, in either case.
  package var currency: String
  /// The provider's name of the buyer's payment method.
  package var method: String
  package var metadata: [String: String]

  package init(
    reference: String, amount: Int, currency: String, method: String, metadata: [String: String] = [:]
  ) {
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

  package init(
    id: String, status: Status, amount: Int, amountCaptured: Int, currency: String, reference: String?,
    created: Int, purchase: PurchaseMetadata? = nil
  ) {
    self.id = id
    self.status = status
    self.amount = amount
    self.amountCaptured = amountCaptured
    self.currency = currency
    self.reference = reference
    self.created = created
    self.purchase = purchase
  }
}

/// What came of an order.
package enum PaymentOutcome: Sendable, Equatable {
  case authorised(Payment)
  /// The card was refused, for good under this reference. `id` names what the provider recorded, if anything.
  case declined(id: String?, code: String, message: String)
}
