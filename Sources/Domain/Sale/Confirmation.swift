/// A confirmation to be carried out: the frozen parameters of one payment.
package struct Confirmation: Sendable {
  /// Its entry in the partition's stream; `nil` when it was found in PostgreSQL instead.
  package let entryID: String?
  package let event: Int
  package let generation: Int
  package let position: Int
  /// Counts the buyer's tries with other cards after a decline; a retry after a crash keeps it.
  package let attempt: Int
  package let tickets: [Int]
  package let amount: Int
  package let method: String
  package let user: String
  /// As the request's id says it, where that is known.
  package let wish: WishPlace?
  /// What the place is called that the buyer comes from; empty where that is not known.
  package let client: String
  /// The payment of the attempt before, which was given up, and is authorised after all; else `nil`.
  package let latePayment: String?
  /// What the buyer has said of other seats, should the payment come late.
  package let otherSeats: OtherSeats

  package init(
    entryID: String?, event: Int, generation: Int, position: Int, attempt: Int, tickets: [Int], amount: Int,
    method: String, user: String, wish: WishPlace? = nil, client: String = "",
    latePayment: String? = nil, otherSeats: OtherSeats = .notAgreed
  ) {
    self.latePayment = latePayment
    self.otherSeats = otherSeats
    self.entryID = entryID
    self.event = event
    self.generation = generation
    self.position = position
    self.attempt = attempt
    self.tickets = tickets
    self.amount = amount
    self.method = method
    self.user = user
    self.wish = wish
    self.client = client
  }
}
