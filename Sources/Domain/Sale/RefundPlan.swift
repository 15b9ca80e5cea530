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

  /// What it is decided from. Amounts are in minor units.
  package struct Account: Sendable, Equatable {
    /// The buyer's tickets, with their prices when they were bought.
    package var owned: [Int: Int]
    /// What was taken for the purchase, or is to be; and what was given back of it.
    package var charged: Int
    package var refunded: Int
    /// What the buyer's bank has taken back for good.
    package var lost: Int
    /// Tickets that are being given back, and what for.
    package var requested: Set<Int>
    package var requestedAmount: Int

    package init(
      owned: [Int: Int], charged: Int, refunded: Int, lost: Int = 0, requested: Set<Int> = [],
      requestedAmount: Int = 0
    ) {
      self.owned = owned
      self.charged = charged
      self.refunded = refunded
      self.lost = lost
      self.requested = requested
      self.requestedAmount = requestedAmount
    }

    /// What may be given back yet.
    package var rest: Int { charged - refunded - lost - requestedAmount }
  }

  private init(tickets: [Int], amount: Int) {
    self.tickets = tickets
    self.amount = amount
  }

  /// - Parameter asked: tickets to give back; `nil` for all that are left.
  package init(asked: [Int]?, of account: Account) throws(Problem) {
    let owned = account.owned, requested = account.requested, rest = account.rest
    let wanted = asked.map { Set($0) } ?? Set(owned.keys).subtracting(requested)
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

  /// Another try of one that failed.
  /// - Parameters:
  ///   - tickets: that it was about; none where they were given back, and only its money came back.
  ///   - amount: that it was about: not more is given back, whatever is left.
  /// - Returns: `nil` where nothing of it is left to give back.
  package init?(again tickets: [Int], amount: Int, of account: Account) {
    if tickets.isEmpty {
      let left = min(amount, account.rest)
      guard left > 0 else { return nil }
      self.init(tickets: [], amount: left)
      return
    }
    let left = tickets.filter { account.owned[$0] != nil && !account.requested.contains($0) }.sorted()
    guard !left.isEmpty else { return nil }
    let price = left.reduce(0) { $0 + (account.owned[$1] ?? 0) }
    self.init(tickets: left, amount: max(0, min(price, amount, account.rest)))
  }
}
