import Foundation

/// How text becomes words, the same for what is indexed and for what is asked, in every backend.
enum SearchText {
  /// Letters that Unicode does not decompose into a plain one and a mark.
  private static let plain: [Unicode.Scalar: String] = [
    "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ß": "ss", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h",
    "ŧ": "t",
  ]

  /// Longest word that is kept; the rest of a longer one is ignored. Also keeps a word within what an index takes.
  private static let longestWord = 64

  /// Words of letters and digits, in lower case, without diacritics: `Dvořák: "Op.95"` is `dvorak`, `op`, `95`.
  static func words(_ text: String) -> [String] {
    var words: [String] = []
    var word = ""
    var length = 0
    func end() {
      if !word.isEmpty { words.append(word) }
      word = ""
      length = 0
    }
    for scalar in text.lowercased().decomposedStringWithCanonicalMapping.unicodeScalars {
      switch kind(of: scalar) {
      case .letter:
        guard length < longestWord else { continue }
        length += 1
        if let plain = plain[scalar] { word += plain } else { word.unicodeScalars.append(scalar) }
      case .mark: continue
      case .separator: end()
      }
    }
    end()
    return words
  }

  private enum Kind { case letter, mark, separator }

  private static func kind(of scalar: Unicode.Scalar) -> Kind {
    switch scalar.properties.generalCategory {
    case .lowercaseLetter, .otherLetter, .modifierLetter, .uppercaseLetter, .titlecaseLetter, .decimalNumber,
      .letterNumber, .otherNumber:
      .letter
    case .nonspacingMark, .spacingMark, .enclosingMark, .format: .mark
    default: .separator
    }
  }

  /// A word as it stands in a text.
  struct Place: Equatable {
    /// As `words` has it.
    let word: String
    let range: Range<String.Index>
  }

  /// The words of a text with where they stand, in order.
  static func places(_ text: String) -> [Place] {
    var places: [Place] = []
    var start: String.Index?
    var isPlain = true
    func end(_ index: String.Index) {
      guard let first = start else { return }
      start = nil
      let run = text[first..<index]
      let word = isPlain && run.utf8.count <= longestWord ? run.lowercased() : words(String(run)).first
      isPlain = true
      if let word { places.append(Place(word: word, range: first..<index)) }
    }
    let scalars = text.unicodeScalars
    var index = scalars.startIndex
    while index < scalars.endIndex {
      let scalar = scalars[index]
      let isPart: Bool
      if scalar.isASCII {
        let value = scalar.value | 0x20
        isPart = value >= 0x61 && value <= 0x7a || scalar.value >= 0x30 && scalar.value <= 0x39
      } else {
        isPart = kind(of: scalar) != .separator
        if isPart { isPlain = false }
      }
      if isPart { start = start ?? index } else { end(index) }
      index = scalars.index(after: index)
    }
    end(scalars.endIndex)
    return places
  }

  /// Words that say nothing by themselves, left out of a query that has others.
  private static let fillers: Set<String> = [
    "a", "an", "and", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with",
  ]

  /// What a query asks for. The last word is taken as unfinished unless something follows it, or it is a number:
  /// who types "symphony 5" does not want the 50th.
  static func terms(_ text: String, atMost limit: Int) -> [SearchTerm] {
    var words = words(text)
    let isUnfinished = text.unicodeScalars.last.map { !$0.properties.isWhitespace } ?? false
    let last = words.last
    let telling = words.filter { !fillers.contains($0) }
    if !telling.isEmpty { words = telling }
    var terms = SearchDate.terms(Array(words.prefix(limit)))
    if isUnfinished, let term = terms.last, term.typed == last, term.alternatives == [term.typed],
      words.count <= limit, !term.typed.allSatisfy(\.isNumber)
    {
      terms[terms.count - 1].isPrefix = true
    }
    return terms
  }

  /// Texts in quotation marks, as the words that must follow each other; only those of several words.
  static func phrases(_ text: String, atMost limit: Int) -> [[String]] {
    let parts = text.split(omittingEmptySubsequences: false) { "\"“”„«»".contains($0) }
    // Between the first mark and the second, the third and the fourth, and so on; one that is open is no phrase.
    return parts.enumerated().filter { $0.offset % 2 == 1 && $0.offset + 1 < parts.count }
      .map { Array(words(String($0.element)).prefix(limit)) }.filter { $0.count > 1 }
  }
}

/// One word of a query.
struct SearchTerm: Hashable, Sendable {
  /// What somebody wrote.
  var typed: String
  /// Any of these is meant; more than one where the spelling was corrected.
  var alternatives: [String]
  /// Whether longer words that begin so are meant too.
  var isPrefix = false

  init(_ word: String) {
    typed = word
    alternatives = [word]
  }

  /// Whether a word of a text is meant.
  func matches(_ word: String) -> Bool {
    alternatives.contains { isPrefix ? word.hasPrefix($0) : word == $0 }
  }
}

/// How hits are ordered: by the sum of these over the query's words, then by date and id.
///
/// Whole numbers that depend on the event's text alone, so that a hit keeps its place whatever else is indexed,
/// and all backends agree.
enum SearchScore {
  /// A word in the event's name, in its location, in its description; and the same where only its beginning fits.
  static let name = (whole: 10, beginning: 9)
  static let location = (whole: 6, beginning: 5)
  static let description = (whole: 3, beginning: 2)
  /// Two words of the query that follow each other in the text, with at most `gaps` words between.
  static let neighbours = 4
  static let gaps = 2
  /// The name consists of as many words as the query, and has them all.
  static let wholeName = 10
}
