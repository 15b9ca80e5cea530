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
      switch scalar.properties.generalCategory {
      case .lowercaseLetter, .otherLetter, .modifierLetter, .uppercaseLetter, .titlecaseLetter,
        .decimalNumber,
        .letterNumber, .otherNumber:
        guard length < longestWord else { continue }
        length += 1
        if let plain = plain[scalar] { word += plain } else { word.unicodeScalars.append(scalar) }
      case .nonspacingMark, .spacingMark, .enclosingMark, .format: continue
      default: end()
      }
    }
    end()
    return words
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
    var terms = words.prefix(limit).map { SearchTerm(alternatives: [$0], isPrefix: false) }
    if isUnfinished, let word = terms.last?.alternatives.first, word == last, words.count <= limit,
      !word.allSatisfy(\.isNumber)
    {
      terms[terms.count - 1].isPrefix = true
    }
    return terms
  }
}

/// One word of a query.
struct SearchTerm: Hashable, Sendable {
  /// Any of these is meant; more than one where the spelling was corrected.
  var alternatives: [String]
  /// Whether longer words that begin so are meant too.
  var isPrefix: Bool
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
