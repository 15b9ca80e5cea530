/// An order's name at the provider: `event-generation-position-attempt`.
package struct PaymentReference: Hashable, Sendable {
  package let event: Int
  package let generation: Int
  package let position: Int
  package let attempt: Int

  /// `nil` for a payment of somebody else.
  package init?(_ text: String) {
    let parts = text.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
    guard parts.count == 4, let event = parts[0], let generation = parts[1], let position = parts[2],
      let attempt = parts[3]
    else { return nil }
    self.event = event
    self.generation = generation
    self.position = position
    self.attempt = attempt
  }
}
