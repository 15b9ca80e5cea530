/// What to give back of a payment that was taken.
package struct RefundOrder: Sendable, Equatable {
  /// Names the refund for good, and no other: its UUID. It is kept with the refund at the provider, and found by that.
  package var reference: String
  /// Which of its idempotency keys: another one only once it is certain that what the one before was answered came of
  /// nothing.
  package var attempt: Int
  package var payment: String
  /// In the currency's minor unit.
  package var amount: Int
  /// ISO 4217.
  package var currency: String
  /// Of which event it is: as in `PaymentOrder`.
  package var event: Int

  package init(
    reference: String, attempt: Int = 1, payment: String, amount: Int, currency: String, event: Int = 0
  ) {
    self.reference = reference
    self.attempt = attempt
    self.payment = payment
    self.amount = amount
    self.currency = currency
    self.event = event
  }

  /// The provider's idempotency key.
  package var key: String { "refund-\(reference)-\(attempt)" }
}

/// Money given back, as the provider has it.
package struct Refund: Sendable, Equatable {
  package struct Status: Hashable, Sendable, RawRepresentable, CustomStringConvertible {
    package let rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }
    package var description: String { rawValue }
    /// On its way.
    package static let pending = Status(rawValue: "pending")
    package static let succeeded = Status(rawValue: "succeeded")
    package static let failed = Status(rawValue: "failed")
    package static let canceled = Status(rawValue: "canceled")
  }

  package var id: String
  package var payment: String
  /// In the currency's minor unit.
  package var amount: Int
  package var status: Status
  /// The order's reference; `nil` if it was not made by this system, but at the provider's dashboard.
  package var reference: String?
  /// Unix seconds.
  package var created: Int
  /// The payment that it is of, in a list of everybody's, where the provider tells of both together.
  package var paid: Payment?

  /// Whether the money stayed where it was.
  package var hasFailed: Bool { status == .failed || status == .canceled }

  package init(
    id: String, payment: String, amount: Int, status: Status, reference: String?, created: Int = 0,
    paid: Payment? = nil
  ) {
    self.id = id
    self.payment = payment
    self.amount = amount
    self.status = status
    self.reference = reference
    self.created = created
    self.paid = paid
  }
}
