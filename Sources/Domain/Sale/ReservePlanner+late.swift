extension ReservePlanner {
  /// A payment that was given up, and is authorised after all.
  package struct LatePayment: Sendable, Equatable {
    package let position: Int
    /// What it was for.
    package let tickets: [Int]
    /// What is authorised, in minor units.
    package let amount: Int
    /// Whether as good seats will do for its buyer.
    package let takesOthers: Bool

    package init(position: Int, tickets: [Int], amount: Int, takesOthers: Bool) {
      self.position = position
      self.tickets = tickets
      self.amount = amount
      self.takesOthers = takesOthers
    }
  }

  package enum LateOutcome: Sendable, Equatable {
    case same
    case others([Int])
    case refused
  }

  /// Seats that one call looks at, but for those of its last buyer: a few milliseconds.
  package static let seatsSearched = 100_000

  /// Decides payments that came late, and holds what their buyers get: nobody in line can have what is free now.
  ///
  /// Whose own seats are free has these, before they are other seats of anybody; all of them or none. Then come other seats
  /// for those whom they will do.
  /// - Parameter payments: all that wait, in the order in which they were confirmed.
  /// - Returns: what is decided, in that order each. Who is not among them is decided by the next call, which is to be given
  ///   all who wait then.
  package mutating func decideLate(
    _ payments: [LatePayment], seatsSearched limit: Int = ReservePlanner.seatsSearched
  ) -> [(payment: LatePayment, outcome: LateOutcome)] {
    var decided: [(payment: LatePayment, outcome: LateOutcome)] = []
    var others: [LatePayment] = []
    for payment in payments {
      if takeAgain(payment.tickets) {
        decided.append((payment, .same))
      } else if payment.takesOthers {
        others.append(payment)
      } else {
        decided.append((payment, .refused))
      }
    }
    var search = OtherSeatsSearch()
    for payment in others {
      if search.visited >= limit { break }
      let found = takeOthers(insteadOf: payment.tickets, amount: payment.amount, &search)
      decided.append((payment, found.map { .others($0) } ?? .refused))
    }
    return decided
  }
}
