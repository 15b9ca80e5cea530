/// Something that is still to be done at the provider.
package struct OutboxEntry: Sendable {
  package enum Kind: String, Sendable {
    case capture, cancel
    /// Whatever is found under a name is cancelled.
    case find
  }
  /// Which one it is, however often it is leased.
  package struct Name: Hashable, Sendable {
    package let key: PurchaseKey
    package let kind: Kind
    package let paymentID: String
  }
  package let key: PurchaseKey
  package let kind: Kind
  /// With `find`: the order's reference.
  package let paymentID: String
  package let attempts: Int
  /// Since it was noted, by PostgreSQL's clock.
  package let ageSeconds: Int

  package init(key: PurchaseKey, kind: Kind, paymentID: String, attempts: Int = 0, ageSeconds: Int = 0) {
    self.ageSeconds = ageSeconds
    self.key = key
    self.kind = kind
    self.paymentID = paymentID
    self.attempts = attempts
  }

  package var name: Name { Name(key: key, kind: kind, paymentID: paymentID) }
}
