/// Someone in line, as the grant loop sees them.
package struct Arrival: Sendable, Equatable {
  /// Counts all who came to the event: the order in which they are looked at.
  package let position: Int
  /// Counts those of the same wish.
  package let ordinal: Int
  /// The line in which they stand, with those who wish for the same; `alone` for who kept a place after the end of one.
  package let line: Int
  package let user: String
  /// What they want; `nil` when this version of the program cannot read it, so that a newer one will.
  package let seats: RequestedSeats?
  /// Set when they asked to pay at once.
  package let method: String?
  /// Where who pays at once came from, as `ClientNames` says it; empty where that is not known.
  package let client: String
  /// The most that they are ready to pay for all of it, in minor units; `nil` for whatever it costs.
  package let maxAmount: Int?

  package static let alone = 0

  package init(
    position: Int, ordinal: Int = 0, line: Int, user: String, seats: RequestedSeats?, method: String?,
    client: String = "", maxAmount: Int? = nil
  ) {
    self.position = position
    self.ordinal = ordinal
    self.line = line
    self.user = user
    self.seats = seats
    self.method = method
    self.client = client
    self.maxAmount = maxAmount
  }
}

/// A place in a line of those who wish for the same.
package struct LinePlace: Hashable, Sendable {
  package let position: Int
  package let ordinal: Int

  package init(position: Int, ordinal: Int) {
    self.position = position
    self.ordinal = ordinal
  }
}

/// What the loop decided about one request.
package struct Decision: Sendable, Equatable {
  package enum Outcome: Sendable, Equatable {
    case granted(tickets: [Int], amount: Int)
    case refused(Refusal)
  }
  package let arrival: Arrival
  package let outcome: Outcome

  package var position: Int { arrival.position }

  package init(_ arrival: Arrival, _ outcome: Outcome) {
    self.arrival = arrival
    self.outcome = outcome
  }
}

/// A line whose wish can never be satisfied: so it ends for everyone in it, by one write.
package struct LineEnd: Sendable, Equatable {
  package let line: Int
  /// The position of the last one before them; `nil` where nobody of the line was served since it last ended.
  package let after: Int?
  package let refusal: Refusal

  package init(line: Int, after: Int?, refusal: Refusal) {
    self.line = line
    self.after = after
    self.refusal = refusal
  }
}
