import Sale

/// The place of a hit in the order of all hits: score falling, then standing, date and id rising.
package struct SearchCursor: Hashable, Sendable {
  /// What hits of a search with words are ordered by, on all of its pages.
  enum Order: Sendable {
    case score
    /// Too many match to rank them; all scores count as 0.
    case date

    /// That of the pages before or, on the first page, what so many matches allow.
    static func of(_ cursor: SearchCursor?, total: Int) -> Order {
      cursor?.order ?? (total > Limits.searchRanked ? .date : .score)
    }
  }

  /// Whether the spelling was corrected; the next page must be of the same kind.
  var isCorrected: Bool
  var order: Order
  var score: Int
  /// `SearchDocument.standing`.
  var standing: Int
  var date: Int
  var id: Int

  private static let letters: [(letter: Character, isCorrected: Bool, order: Order)] = [
    ("e", false, .score), ("g", true, .score), ("f", false, .date), ("h", true, .date),
  ]

  /// URL-safe. The first letter is its version.
  var text: String {
    let kind = Self.letters.first { $0.isCorrected == isCorrected && $0.order == order }?.letter ?? "e"
    return String(kind) + [score, standing, date, id].map { String($0, radix: 36) }.joined(separator: ".")
  }

  init(isCorrected: Bool, order: Order, score: Int, standing: Int, date: Int, id: Int) {
    self.isCorrected = isCorrected
    self.order = order
    self.score = score
    self.standing = standing
    self.date = date
    self.id = id
  }

  /// `nil` for what is no cursor of this version: anything but the very text of one, whose numbers a hit can have.
  package init?(_ text: String) {
    guard let kind = Self.letters.first(where: { $0.letter == text.first }) else { return nil }
    let parts = text.dropFirst().split(separator: ".", omittingEmptySubsequences: false)
    let numbers = parts.compactMap { Int($0, radix: 36) }
    guard parts.count == 4, numbers.count == 4 else { return nil }
    guard Self.scores.contains(numbers[0]), Self.standings.contains(numbers[1]),
      Self.dates.contains(numbers[2]),
      numbers[3] > 0
    else { return nil }
    self.init(
      isCorrected: kind.isCorrected, order: kind.order, score: numbers[0], standing: numbers[1],
      date: numbers[2], id: numbers[3])
    guard self.text.utf8.elementsEqual(text.utf8) else { return nil }
  }

  private static let scores = 0...Int(Int32.max)
  private static let standings = 0...2
  /// Seconds since 1970: what can be written with a year of four digits.
  private static let dates = -62_167_219_200...253_402_300_799
}
