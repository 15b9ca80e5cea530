/// Why the provider gave no outcome.
package struct PaymentError: Error, Sendable, CustomStringConvertible {
  package struct Code: Hashable, Sendable, CustomStringConvertible {
    package let description: String
    /// The provider was not reached: nothing happened.
    package static let unavailable = Code(description: "unavailable")
    /// The request may have had its effect: ask the provider, or repeat it under the same reference.
    package static let outcomeUnknown = Code(description: "outcome_unknown")
    /// The provider answers this order with a failure for good, and finds no payment of it. It may have made one that its
    /// search does not know yet.
    package static let failed = Code(description: "failed")
    /// The provider does not know what we ask for, or its state does not allow it.
    package static let invalid = Code(description: "invalid")
    /// The provider will not take this order, whatever is repeated: the method, the amount or the currency is wrong.
    package static let refused = Code(description: "refused")
    /// Too many requests: nothing happened; later.
    package static let rateLimited = Code(description: "rate_limited")
    /// The provider does not know us, or does not let us do this: a wrong key or address. Nothing happened.
    package static let misconfigured = Code(description: "misconfigured")
    /// What was found under the order's name is not what was ordered.
    package static let otherOrder = Code(description: "other_order")
    /// It exists, and waits for its buyer.
    package static let actionRequired = Code(description: "action_required")
    /// It exists, and is not decided yet.
    package static let pending = Code(description: "pending")
  }

  package let code: Code
  /// For a person; has no card data and no key.
  package let message: String
  /// The provider's own code, such as `payment_intent_unexpected_state`.
  package let providerCode: String?
  /// How long the provider wants to be left alone; `nil` if it does not say.
  package let retryAfterMilliseconds: Int?

  package init(
    code: Code, message: String, providerCode: String? = nil, retryAfterMilliseconds: Int? = nil
  ) {
    self.retryAfterMilliseconds = retryAfterMilliseconds
    self.code = code
    self.message = message
    self.providerCode = providerCode
  }

  package var description: String { "\(code): \(message)" }
}
