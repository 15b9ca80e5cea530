import Text

/// How far a word is from another, for correcting what was mistyped.
enum Spelling {
  /// Words shorter than this are taken as they are: too many others are near.
  static let shortestWord = 4
  /// How many spellings of one word are tried.
  static let alternatives = 8

  /// How many slips a word may have.
  static func tolerance(_ word: String) -> Int { word.count < 6 ? 1 : 2 }

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
      .map { (word: $0, distance: EditDistance.between(typed, $0, isPrefix: term.isPrefix)) }
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
