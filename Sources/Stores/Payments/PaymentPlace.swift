/// Which payment of which request it is.
package struct PaymentPlace: Hashable, Sendable {
  package let event: Int
  package let generation: Int
  package let position: Int
  package let attempt: Int

  package init(event: Int, generation: Int, position: Int, attempt: Int) {
    self.event = event
    self.generation = generation
    self.position = position
    self.attempt = attempt
  }

  /// Reads `event-generation-position-attempt`, which versions before took for the name of an order; `nil` for anything
  /// else.
  package init?(_ text: String) {
    let parts = text.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
    guard parts.count == 4, let event = parts[0], let generation = parts[1], let position = parts[2],
      let attempt = parts[3]
    else { return nil }
    self.init(event: event, generation: generation, position: position, attempt: attempt)
  }
}

extension Payment {
  /// `nil` for a payment of somebody else.
  /// - Parameter installation: whose payments count; `nil` for everybody's. Those of versions before name nobody.
  package func place(in installation: String?) -> PaymentPlace? {
    if let installation, let own = self.installation, own != installation { return nil }
    if let purchase, let attempt = purchase.attempt {
      return PaymentPlace(
        event: purchase.event, generation: purchase.generation, position: purchase.position, attempt: attempt)
    }
    return reference.flatMap(PaymentPlace.init)
  }
}

/// Whose something is that the provider has of a payment, as a refund or a dispute.
package enum PaymentOwner: Equatable, Sendable {
  case ours(PaymentPlace)
  /// Somebody else's, who uses the same account.
  case others
  /// The provider did not say: its payment must be asked for.
  case unknown

  /// - Parameters:
  ///   - id: of its payment; empty for what has none, as charges that were made without one: none of ours.
  ///   - payment: as the provider told of it together with what is of it; `nil` if it did not.
  init(of id: String, _ payment: Payment?, in installation: String?) {
    guard let payment else {
      self = id.isEmpty ? .others : .unknown
      return
    }
    self = payment.place(in: installation).map { .ours($0) } ?? .others
  }
}

extension Refund {
  package func owner(in installation: String?) -> PaymentOwner {
    PaymentOwner(of: payment, paid, in: installation)
  }
}

extension Dispute {
  package func owner(in installation: String?) -> PaymentOwner {
    PaymentOwner(of: payment, paid, in: installation)
  }
}
