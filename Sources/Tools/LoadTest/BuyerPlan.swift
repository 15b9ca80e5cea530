/// What one buyer will do, whatever happens: a pure function of the seed and the buyer's number, so that a crowd
/// needs no memory for its intentions and the same seed makes the same crowd.
package struct BuyerPlan: Sendable, Equatable {
  package enum Behaviour: Sendable, Equatable {
    case buys
    /// Lets the hold expire.
    case abandons
    /// Leaves so many milliseconds after the join, wherever it then is.
    case leavesLine(afterMilliseconds: Int)
    /// Gives the tickets back instead of paying.
    case givesBack
  }

  package enum Card: Sendable, Equatable {
    case good
    case declinedThenGood
    /// Gives up after the decline and lets the hold expire.
    case declined
  }

  package var quantity: Int
  /// Index among the event's sections; `nil` for the best available.
  package var section: Int?
  /// Side by side or not at all.
  package var adjacent: Bool
  package var behaviour: Behaviour
  package var card: Card
  package var doubleClicks: Bool
  package var thinkMilliseconds: Int
  /// Told that fewer are left than were asked for, takes what is left and keeps the place.
  package var takesFewer: Bool

  package var wish: Wish { Wish(quantity: quantity, section: section, adjacent: adjacent) }

  package init(buyer: Int, sections: Int, _ options: LoadTestOptions) {
    var random = SplitMix64(
      state: UInt64(bitPattern: Int64(options.seed)) &* 0x9e37_79b9 ^ UInt64(buyer) << 32)
    quantity = options.quantity.lowerBound + random.below(options.quantity.count)
    let names = random.share(options.namedSection)
    let chosen = random.below(max(1, sections))
    section = names && sections > 0 ? chosen : nil
    let dice = random.unit()
    let half = random.share(0.5)
    let after = random.below(5_000)
    if dice < options.abandon {
      behaviour = .abandons
    } else if dice < options.abandon + options.cancel {
      behaviour = half ? .leavesLine(afterMilliseconds: after) : .givesBack
    } else {
      behaviour = .buys
    }
    let refused = random.share(options.declined)
    let again = random.share(0.5)
    card = refused ? (again ? .declinedThenGood : .declined) : .good
    doubleClicks = random.share(options.doubleClick)
    thinkMilliseconds = random.below(options.thinkMilliseconds + 1)
    adjacent = random.share(options.adjacent) && quantity > 1
    takesFewer = random.share(options.takeFewer)
  }
}

/// What those have in common who are served in the order in which they came.
package struct Wish: Hashable, Sendable {
  package var quantity: Int
  /// Index among the event's sections; `nil` for anywhere.
  package var section: Int?
  package var adjacent = false
}

/// A small generator whose numbers are the same everywhere.
struct SplitMix64 {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  /// From 0 to 1, without 1.
  mutating func unit() -> Double { Double(next() >> 11) / Double(1 << 53) }
  mutating func share(_ share: Double) -> Bool { unit() < share }
  mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
}
