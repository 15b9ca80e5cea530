package import Sale

/// A request that was decided one by one.
package struct RequestRecord: Sendable, Equatable {
  package enum State: Character, Sendable {
    case standby = "B"
    case reserved = "R"
    case confirming = "C"
    case purchased = "P"
    case declined = "D"
    case declinedForGood = "d"
    case expired = "X"
    case soldOut = "S"
    case cancelled = "L"
    case rejected = "J"
  }

  package let state: State
  /// Counts the buyer's payments; 0 before the first.
  package let attempt: Int
  /// Milliseconds since 1970 on Redis's clock.
  package let deadline: Int
  /// In minor units; of a refusal with `only_n_left`, how many are left.
  package let amount: Int
  package let tickets: [Int]
  package let reason: String
  package let userKey: String
  /// As the request's id says it, where that is known.
  package let wish: WishPlace?

  /// Whether its tickets are nobody else's, though not sold.
  package var holdsTickets: Bool { [.reserved, .confirming, .declined].contains(state) }

  package init?(_ text: String) {
    let parts = text.utf8.split(separator: UInt8(ascii: "|"), maxSplits: 6, omittingEmptySubsequences: false)
      .map { String(decoding: $0, as: UTF8.self) }
    guard parts.count == 7, let letter = parts[0].first, let state = State(rawValue: letter) else {
      return nil
    }
    self.state = state
    attempt = Int(parts[1]) ?? 0
    deadline = Int(parts[2]) ?? 0
    amount = Int(parts[3]) ?? 0
    tickets = parts[4].split(separator: ",").compactMap { Int($0) }
    let words = parts[5].split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
    reason = String(words[0])
    wish = words.count > 1 ? WishPlace(words[1]) : nil
    userKey = parts[6]
  }
}
