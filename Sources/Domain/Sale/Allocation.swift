/// What the seat map answers to a request.
package enum Allocation: Sendable, Equatable {
  /// These tickets are now held; `amount` is the sum of their prices in minor units.
  case granted(tickets: [Int], amount: Int)
  /// Nothing free satisfies it, but tickets that are held, and not sold, could.
  case notNow
  /// Free and held tickets together can never satisfy it.
  case never(Refusal)
}
