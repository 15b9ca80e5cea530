/// One of a million buyers, so every byte counts.
struct Buyer {
  /// Where a buyer believes to be.
  enum Phase: UInt8 {
    case away, inLine, holding, paying, ended
  }

  struct Flags: OptionSet {
    let rawValue: UInt8
    /// Seats were granted at some time.
    static let granted = Flags(rawValue: 1)
    /// The good card, after a refused one.
    static let secondCard = Flags(rawValue: 2)
    /// Tried to leave, and could not any more.
    static let stays = Flags(rawValue: 4)
    /// Took what was left, and kept the place.
    static let keptPlace = Flags(rawValue: 8)
  }

  var phase = Phase.away
  var outcome = Outcome.none
  /// What to do when due.
  var step = Step.join
  var flags: Flags = []
  /// How many are asked for in place of those that were planned; 0 for those.
  var fewer: UInt8 = 0
  var position: Int32 = 0
  /// Milliseconds since the rush began.
  var joinedAt: Int32 = 0
  /// When the buyer first wanted to pay with the card at hand; 0 before.
  var confirmedAt: Int32 = 0
  /// When the hold ends, in milliseconds since the rush began; 0 where unknown.
  var holdEndsAt: Int32 = 0
}

/// What a buyer asks the system.
package enum Step: UInt8, Sendable, CaseIterable {
  case join, poll, confirm, cancel
  /// Asks for what is left after an end, to keep the place.
  case takeFewer
  /// The second click of a double click; it only has to have the same answer.
  case joinAgain, confirmAgain
  /// Asks once more after the end.
  case verify
  /// Asks for the place again that was lost with the line.
  case rejoin

  package var name: String {
    switch self {
    case .join, .joinAgain: "join"
    case .poll, .verify: "poll"
    case .confirm, .confirmAgain: "confirm"
    case .cancel: "cancel"
    case .rejoin: "rejoin"
    case .takeFewer: "take fewer"
    }
  }
}

/// How a buyer's ask ended.
package enum Outcome: UInt8, Sendable, CaseIterable {
  case none
  case purchased, expired, declined, soldOut, cancelled, rejected
  /// Not taken in line: sold out already, closed, over the limit, or an error that will not go away.
  case refusedSoldOut, refusedClosed, refusedLimit, refusedOther

  package init?(state: String) {
    switch state {
    case "purchased": self = .purchased
    case "expired": self = .expired
    case "declined": self = .declined
    case "sold_out": self = .soldOut
    case "cancelled": self = .cancelled
    case "rejected": self = .rejected
    default: return nil
    }
  }

  /// Whether it is the terminal state of an accepted request.
  package var isTerminal: Bool {
    switch self {
    case .purchased, .expired, .declined, .soldOut, .cancelled, .rejected: true
    default: false
    }
  }

  package var name: String {
    switch self {
    case .none: "pending"
    case .purchased: "purchased"
    case .expired: "expired"
    case .declined: "declined"
    case .soldOut: "sold_out"
    case .cancelled: "cancelled"
    case .rejected: "rejected"
    case .refusedSoldOut: "refused: sold_out"
    case .refusedClosed: "refused: closed"
    case .refusedLimit: "refused: limit_exceeded"
    case .refusedOther: "refused: other"
    }
  }
}
