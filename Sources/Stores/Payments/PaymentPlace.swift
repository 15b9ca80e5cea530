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
