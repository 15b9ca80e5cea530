/// What is given back of a purchase, decided from what its buyer has and what was charged and given back before. Pure.
package struct RefundPlan: Sendable, Equatable {
  package enum Problem: Error, Sendable, Equatable {
    /// Its buyer has no ticket any more, or those that they have are being given back already.
    case nothingLeft
    /// These are not its buyer's.
    case notTheirs([Int])
    /// These are being given back already.
    case underWay([Int])
  }

  package let tickets: [Int]
  /// What the tickets cost, and never more than is left of what was charged.
  package let amount: Int

  /// - Parameters:
  ///   - asked: tickets to give back; `nil` for all that are left.
  ///   - owned: the buyer's, with their prices when they were bought.
  ///   - charged: what was taken for the purchase, or is to be.
  ///   - refunded: what was given back of it.
  ///   - requested: tickets that are being given back.
  ///   - requestedAmount: and what for.
  package init(
    asked: [Int]?, owned: [Int: Int], charged: Int, refunded: Int, requested: Set<Int>, requestedAmount: Int
  ) throws(Problem) {
    let wanted = asked.map { Set($0) } ?? Set(owned.keys).subtracting(requested)
    let rest = charged - refunded - requestedAmount
    if wanted.isEmpty {
      // Money that came back after its tickets were given away is owed all the same.
      guard asked == nil, owned.isEmpty, requested.isEmpty, rest > 0 else { throw .nothingLeft }
      tickets = []
      amount = rest
      return
    }
    let strange = wanted.subtracting(owned.keys)
    if !strange.isEmpty { throw .notTheirs(strange.sorted()) }
    let twice = wanted.intersection(requested)
    if !twice.isEmpty { throw .underWay(twice.sorted()) }
    tickets = wanted.sorted()
    let price = tickets.reduce(0) { $0 + (owned[$1] ?? 0) }
    amount = max(0, min(price, rest))
  }
}
