/// The place of a hit in the order of all hits: score falling, then date and id rising.
struct SearchCursor: Equatable, Sendable {
  /// Whether the spelling was corrected; the next page must be of the same kind.
  var isCorrected: Bool
  var score: Int
  var date: Int
  var id: Int

  /// URL-safe. The first letter is its version.
  var text: String {
    (isCorrected ? "c" : "a") + [score, date, id].map { String($0, radix: 36) }.joined(separator: ".")
  }

  init(isCorrected: Bool, score: Int, date: Int, id: Int) {
    self.isCorrected = isCorrected
    self.score = score
    self.date = date
    self.id = id
  }

  /// `nil` for what is no cursor of this version.
  init?(_ text: String) {
    guard let kind = text.first, kind == "a" || kind == "c" else { return nil }
    let parts = text.dropFirst().split(separator: ".", omittingEmptySubsequences: false)
    let numbers = parts.compactMap { Int($0, radix: 36) }
    guard parts.count == 3, numbers.count == 3 else { return nil }
    self.init(isCorrected: kind == "c", score: numbers[0], date: numbers[1], id: numbers[2])
  }
}
