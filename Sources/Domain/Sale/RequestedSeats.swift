/// What a buyer asks for: a number of seats, the best available or of one section, or exactly these seats.
package struct RequestedSeats: Hashable, Sendable {
  /// How many seats, at least 1. With exact seats it is their number.
  package let quantity: Int
  /// The section to take them from; `nil` for the best one that has them. Ignored with exact seats.
  package let section: Int?
  /// Exactly these tickets, ascending, each once; empty for the best available.
  package let tickets: [Int]
  /// Side by side or nothing. When false, side by side is only preferred.
  package let adjacent: Bool

  /// - Parameters:
  ///   - quantity: ignored when `tickets` is not empty.
  ///   - tickets: in any order; repetitions count once.
  package init(quantity: Int, section: Int? = nil, tickets: [Int] = [], adjacent: Bool = false) {
    if tickets.isEmpty {
      self.quantity = quantity
      self.section = section
      self.tickets = []
      self.adjacent = adjacent
    } else {
      let sorted = tickets.sorted()
      var unique: [Int] = []
      unique.reserveCapacity(sorted.count)
      for id in sorted where id != unique.last { unique.append(id) }
      self.quantity = unique.count
      self.section = nil
      self.tickets = unique
      self.adjacent = false
    }
  }

  /// Compact text without spaces, kept per waiting buyer: `2`, `2s7` (in section 7), `2s7a` (side by side only)
  /// or `t12,13` (exactly these tickets).
  package var encoded: String {
    if !tickets.isEmpty {
      var text = "t"
      for (index, id) in tickets.enumerated() {
        if index > 0 { text += "," }
        text += String(id)
      }
      return text
    }
    return String(quantity) + (section.map { "s\($0)" } ?? "") + (adjacent ? "a" : "")
  }

  /// Reads `encoded`. `nil` for anything else, such as what a later version may write.
  package init?(encoded text: String) {
    var rest = text.utf8[...]
    func number() -> Int? {
      // Digits only: `Int.init` would also take a sign.
      let digits = rest.prefix { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }
      rest = rest.dropFirst(digits.count)
      return Int(Substring(digits))
    }
    func take(_ letter: Unicode.Scalar) -> Bool {
      guard rest.first == UInt8(ascii: letter) else { return false }
      rest = rest.dropFirst()
      return true
    }
    if take("t") {
      var tickets: [Int] = []
      repeat {
        guard let id = number(), id > (tickets.last ?? 0), tickets.count < Limits.ticketsPerRequest
        else { return nil }
        tickets.append(id)
      } while take(",")
      guard rest.isEmpty else { return nil }
      self.init(quantity: tickets.count, tickets: tickets)
      return
    }
    guard let quantity = number(), (1...Limits.ticketsPerRequest).contains(quantity) else { return nil }
    var section: Int?
    if take("s") {
      guard let id = number() else { return nil }
      section = id
    }
    let adjacent = take("a")
    guard rest.isEmpty else { return nil }
    self.init(quantity: quantity, section: section, adjacent: adjacent)
  }
}
