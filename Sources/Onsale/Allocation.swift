/// What the seat map answers to a request.
package enum Allocation: Sendable, Equatable {
  /// These tickets are now held; `amount` is the sum of their prices in minor units.
  case granted(tickets: [Int], amount: Int)
  /// Nothing free satisfies it, but tickets that are held, and not sold, could.
  case standby
  /// Free and held tickets together can never satisfy it.
  case soldOut
  /// Refused for good: `seats_taken`, `unknown_seats`, `unknown_section` or `too_many`.
  case rejected(reason: String)
}
