/// Money that a buyer's bank has taken back, or may, as the provider has it.
package struct Dispute: Sendable, Equatable {
  package var id: String
  package var payment: String
  /// In the currency's minor unit.
  package var amount: Int
  /// The provider's words, such as `fraudulent`; and how it stands, such as `needs_response`, `won`, `lost`.
  package var reason: String
  package var status: String
  /// Unix seconds.
  package var created: Int
  /// The payment that it is about, in a list of everybody's, where the provider tells of both together.
  package var paid: Payment?

  package init(
    id: String, payment: String, amount: Int, reason: String, status: String, created: Int = 0,
    paid: Payment? = nil
  ) {
    self.id = id
    self.payment = payment
    self.amount = amount
    self.reason = reason
    self.status = status
    self.created = created
    self.paid = paid
  }
}
