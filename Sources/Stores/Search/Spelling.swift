/// How far a word is from another, for correcting what was mistyped.
enum Spelling {
  /// Words shorter than this are taken as they are: too many others are near.
  static let shortestWord = 4
  /// How many spellings of one word are tried.
  static let alternatives = 8

  /// How many slips a word may have.
  static func tolerance(_ word: String) -> Int { word.count < 6 ? 1 : 2 }

  /// The fewest insertions, deletions, replacements and swaps of neighbours that turn `typed` into `word`, or,
  /// for a prefix, into any beginning of `word`.
  static func distance(_ typed: String, _ word: String, isPrefix: Bool) -> Int {
    let a = Array(typed.unicodeScalars)
    let b = Array(word.unicodeScalars)
    var beforeLast = [Int](repeating: 0, count: b.count + 1)
    var last = Array(0...b.count)
    var current = last
    for i in 1..<a.count + 1 {
      current[0] = i
      for j in 1..<b.count + 1 {
        var best = min(last[j] + 1, current[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1))
        if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] {
          best = min(best, beforeLast[j - 2] + 1)
        }
        current[j] = best
      }
      (beforeLast, last, current) = (last, current, beforeLast)
    }
    return isPrefix ? last.min() ?? a.count : last[b.count]
  }

  private static func isWord(_ term: SearchTerm) -> Bool {
    term.alternatives == [term.typed] && !term.typed.allSatisfy(\.isNumber) && !Script.isPiece(term.typed)
      && !Signs.isWord(term.typed)
  }

  /// The nearest of `candidates`, all equally near; empty where none is near enough.
  static func corrections(of term: SearchTerm, among candidates: [String]) -> [String] {
    let typed = term.typed
    // A number or a date that is not there is not meant to be another one.
    guard isWord(term), typed.unicodeScalars.count >= shortestWord else { return [] }
    let near =
      candidates
      .filter { $0 != typed }
      .map { (word: $0, distance: distance(typed, $0, isPrefix: term.isPrefix)) }
      .filter { $0.distance <= tolerance(typed) }
    guard let nearest = near.map(\.distance).min() else { return [] }
    return near.filter { $0.distance == nearest }.map(\.word).prefix(alternatives).map { $0 }
  }

  /// The terms with near words in place of those that the index does not have. Where it has them all, and `all`
  /// is set, near words beside each of them. `nil` where nothing is near.
  /// - Parameters:
  ///   - isKnown: by term, whether the index has it.
  ///   - candidates: by term, words of the index that look like it.
  static func corrected(
    _ terms: [SearchTerm], isKnown: [Bool], candidates: [[String]], all: Bool
  ) -> [SearchTerm]? {
    var corrected = terms
    var changed = false
    let everywhere = all && terms.indices.allSatisfy { isKnown[$0] || !isWord(terms[$0]) }
    for index in terms.indices where everywhere || !isKnown[index] {
      let near = corrections(of: terms[index], among: candidates[index])
      if near.isEmpty { continue }
      corrected[index].alternatives = (isKnown[index] ? terms[index].alternatives : []) + near
      changed = true
    }
    return changed ? corrected : nil
  }
}
