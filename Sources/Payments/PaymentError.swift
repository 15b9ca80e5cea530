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
    /// The provider does not know us, or what we ask for: our own mistake, such as a wrong key.
    package static let invalid = Code(description: "invalid")
    /// The provider will not take this order, whatever is repeated: the method, the amount or the currency is wrong.
    package static let refused = Code(description: "refused")
    /// Too many requests: nothing happened; later.
    package static let rateLimited = Code(description: "rate_limited")
  }

  package let code: Code
  /// For a person; has no card data and no key.
  package let message: String
  /// The provider's own code, such as `payment_intent_unexpected_state`.
  package let providerCode: String?

  package init(code: Code, message: String, providerCode: String? = nil) {
    self.code = code
    self.message = message
    self.providerCode = providerCode
  }

  package var description: String { "\(code): \(message)" }
}
