/// Tells numbers of payment cards (ISO/IEC 7812) from other text, so that none is kept.
package enum CardNumber {
  private static let lengths = 13...19

  /// Whether the text has a card's number in it, be it with separators, or with more behind it.
  package static func isIn(_ text: String) -> Bool {
    var run: [Int] = []
    for character in text.utf8 {
      switch character {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): run.append(Int(character - UInt8(ascii: "0")))
      case UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: " "): continue
      default:
        if isNumber(run) { return true }
        run = []
      }
    }
    return isNumber(run)
  }

  /// Whether the digits are a number that Luhn's checksum fits, of an industry that issues payment cards, or begin with
  /// one of the usual length: a date or a code may follow.
  private static func isNumber(_ digits: [Int]) -> Bool {
    guard let first = digits.first, (2...6).contains(first), digits.count >= lengths.lowerBound else {
      return false
    }
    let usual = first == 3 ? 15 : 16
    return lengths.contains(digits.count) && fits(digits[...])
      || digits.count > usual && fits(digits[..<usual])
  }

  private static func fits(_ digits: ArraySlice<Int>) -> Bool {
    var sum = 0
    for (index, digit) in digits.reversed().enumerated() {
      let weighted = index % 2 == 0 ? digit : digit * 2
      sum += weighted > 9 ? weighted - 9 : weighted
    }
    return sum % 10 == 0
  }
}
