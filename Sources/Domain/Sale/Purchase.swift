/// A purchase as its buyer sees it.
package struct Purchase: Sendable {
  package let progress: PurchaseProgress
  package let user: String
  package let tickets: [Int]
  /// What its buyer is told of what was given back, or that they have other seats than were held; empty where nothing is.
  package let note: String

  package init(progress: PurchaseProgress, user: String, tickets: [Int], note: String) {
    self.progress = progress
    self.user = user
    self.tickets = tickets
    self.note = note
  }
}

/// Where a purchase stands.
package struct PurchaseProgress: Sendable, Equatable {
  package enum State: String, Sendable { case paying, sold, declined, void }
  package let state: State
  package let attempt: Int
  package let amount: Int
  package let currency: String
  package let method: String
  /// Also before it is sold, once it is known.
  package let paymentID: String?
  package let reason: String
  /// Whether every ticket is claimed for this request.
  package let ownsItsTickets: Bool
  /// Whose purchase it is. Another user's than was asked for means that Redis gave one position out twice.
  package let user: String
  /// The purchase's own name, a UUID; `nil` for one that a version before began.
  package var id: String?
  /// For how long this attempt has been under way, by PostgreSQL's clock.
  package var triedSeconds = 0
  /// Its tickets, which count, whatever Redis has.
  package var tickets: [Int] = []
  /// What its buyer has said of other seats with this attempt.
  package var otherSeats = OtherSeats.notAgreed
  /// Whether its tickets are others than were held, as its buyer had agreed.
  package var hasOtherSeats = false

  /// Of a purchase of other seats than were held, which were somebody else's when its payment came.
  package static let others = "other_seats"

  /// What its buyer is told besides, once it is sold.
  package var note: String { hasOtherSeats ? Self.others : "" }

  package init(
    state: State, attempt: Int, amount: Int, currency: String, method: String, paymentID: String?,
    reason: String,
    ownsItsTickets: Bool, user: String, id: String? = nil, triedSeconds: Int = 0, tickets: [Int] = [],
    otherSeats: OtherSeats = .notAgreed, hasOtherSeats: Bool = false
  ) {
    self.state = state
    self.attempt = attempt
    self.amount = amount
    self.currency = currency
    self.method = method
    self.paymentID = paymentID
    self.reason = reason
    self.ownsItsTickets = ownsItsTickets
    self.user = user
    self.id = id
    self.triedSeconds = triedSeconds
    self.tickets = tickets
    self.otherSeats = otherSeats
    self.hasOtherSeats = hasOtherSeats
  }
}
