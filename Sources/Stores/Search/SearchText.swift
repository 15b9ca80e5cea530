import Foundation

/// How text becomes words, the same for what is indexed and for what is asked, in every backend.
enum SearchText {
  /// Longest word that is kept; the rest of a longer one is ignored. Also keeps a word within what an index takes.
  private static let longestWord = 64

  /// A word as it stands in a text.
  struct Place: Equatable {
    let word: String
    let range: Range<String.Index>
    /// Of a script that is written without blanks, or of signs alone.
    var kind = Kind.letters

    enum Kind { case letters, pair, lastLetter, signs, signed }
  }

  /// Words of letters and digits, in lower case, without diacritics: `Dvořák: "Op.95"` is `dvorak`, `op`, `95`.
  ///
  /// Where a script has no blanks between words (`Script.isUnspaced`), each two letters that follow each other are one, and
  /// the last letter is one by itself: whatever is looked for within is a sequence of them. Signs by themselves are words
  /// as well, and letters with the signs that make a name of them, as in `C++` and `P!nk` (`Signs`).
  static func words(_ text: String) -> [String] { places(composed(text)).map(\.word) }

  /// The words of a text with where they stand, in order.
  static func places(_ text: String) -> [Place] {
    var scan = Scan(text)
    return scan.places()
  }

  /// One spelling of what Unicode can write in two ways; wide letters and narrow kana as the usual ones.
  private static func composed(_ text: String) -> String {
    if text.utf8.allSatisfy({ $0 < 0x80 }) { return text }
    if text.unicodeScalars.contains(where: { (0xff00...0xffef).contains($0.value) }) {
      return text.precomposedStringWithCompatibilityMapping
    }
    return text.precomposedStringWithCanonicalMapping
  }

  /// Goes through a text once.
  private struct Scan {
    private let scalars: String.UnicodeScalarView
    private var found: [Place] = []
    /// Letters of a spaced script that follow each other.
    private var word = ""
    private var wordStart: String.Index?
    private var length = 0
    /// Letters of an unspaced one.
    private var letters: [(text: String, start: String.Index)] = []
    /// What stands between blanks, as long as it is signs.
    private var signs: [Unicode.Scalar] = []
    private var signsStart: String.Index?
    /// What stands between blanks, letters and signs of it, and how many words were found before it.
    private var token: [Signs.Part] = []
    private var wordsBefore = 0

    init(_ text: String) { scalars = text.unicodeScalars }

    mutating func places() -> [Place] {
      var isSignsOnly = true
      var index = scalars.startIndex
      while index < scalars.endIndex {
        let scalar = scalars[index]
        switch Script.kind(of: scalar) {
        case .letter:
          isSignsOnly = false
          endLetters(index)
          wordStart = wordStart ?? index
          append(scalar)
          token.append(Signs.Part(scalar, isLetter: true, at: index))
        case .unspaced:
          isSignsOnly = false
          token.append(Signs.Part(scalar, isLetter: true, at: index))
          endWord(index)
          letters.append((String(scalar), index))
        case .mark: break
        case .picture:
          end(index)
          isSignsOnly = false
          let range = index..<scalars.index(after: index)
          endToken()
          found.append(Place(word: Signs.word([scalar]), range: range, kind: .signs))
          wordsBefore = found.count
        case .blank:
          end(index)
          endToken()
          if isSignsOnly { endSigns(index) }
          wordsBefore = found.count
          isSignsOnly = true
          signs = []
          signsStart = nil
        case .sign:
          end(index)
          signsStart = signsStart ?? index
          signs.append(scalar)
          token.append(Signs.Part(scalar, isLetter: false, at: index))
        }
        index = scalars.index(after: index)
      }
      end(index)
      endToken()
      if isSignsOnly { endSigns(index) }
      return found
    }

    /// Letters with signs that tell: one word, before those of its letters that say something by themselves.
    private mutating func endToken() {
      defer { token = [] }
      guard let name = Signs.name(token[...]), let last = name.last else { return }
      let word = Signs.word(
        name.flatMap { $0.isLetter ? Array(Script.plain($0.scalar).unicodeScalars) : [$0.scalar] })
      found[wordsBefore...].removeAll {
        $0.kind == .letters && $0.word.unicodeScalars.count < Signs.longestShort + 1
      }
      let range = name[name.startIndex].index..<scalars.index(after: last.index)
      found.insert(Place(word: word, range: range, kind: .signed), at: wordsBefore)
    }

    private mutating func append(_ scalar: Unicode.Scalar) {
      guard length < longestWord else { return }
      length += 1
      if scalar.isASCII {
        let isCapital = (0x41...0x5a).contains(scalar.value)
        word.unicodeScalars.append(isCapital ? Unicode.Scalar(UInt8(scalar.value) | 0x20) : scalar)
      } else {
        word += Script.plain(scalar)
      }
    }

    private mutating func end(_ index: String.Index) {
      endWord(index)
      endLetters(index)
    }

    private mutating func endWord(_ index: String.Index) {
      guard let start = wordStart else { return }
      if !word.isEmpty { found.append(Place(word: word, range: start..<index)) }
      word = ""
      wordStart = nil
      length = 0
    }

    private mutating func endLetters(_ index: String.Index) {
      guard !letters.isEmpty else { return }
      for (position, letter) in letters.enumerated() {
        let next = position + 1 < letters.count ? letters[position + 1].text : ""
        let end = position + 2 < letters.count ? letters[position + 2].start : index
        found.append(
          Place(word: letter.text + next, range: letter.start..<end, kind: next.isEmpty ? .lastLetter : .pair)
        )
      }
      letters = []
    }

    private mutating func endSigns(_ index: String.Index) {
      guard let start = signsStart, Signs.isName(signs) else { return }
      found.append(Place(word: Signs.word(signs), range: start..<index, kind: .signs))
    }
  }

  // MARK: Queries

  /// Words that say nothing by themselves, left out of a query that has others.
  private static let fillers: Set<String> = [
    "a", "an", "and", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with",
  ]

  /// What of a text must be looked for: the last letter of an unspaced run is in the pair before it already, and letters
  /// with the signs that make a name of them are that name.
  private static func asked(_ text: String) -> [Place] {
    var places: [Place] = []
    for place in self.places(composed(text)) {
      if let name = places.last, name.kind == .signed, name.range.overlaps(place.range) { continue }
      if place.kind == .lastLetter, places.last?.kind == .pair,
        places.last?.range.upperBound == place.range.upperBound
      {
        continue
      }
      places.append(place)
    }
    return places
  }

  /// Whether something is asked for at all. What has no word in it is asked for, too, and is nowhere.
  static func isBlank(_ text: String) -> Bool { text.unicodeScalars.allSatisfy(\.properties.isWhitespace) }

  /// What a query asks for. The last word is taken as unfinished unless something follows it, or it is a number:
  /// who types "symphony 5" does not want the 50th. A letter alone begins too many words, and what says nothing is in too
  /// many texts: either is looked for in names.
  static func terms(_ text: String, atMost limit: Int) -> [SearchTerm] {
    var places = asked(text)
    let isUnfinished = text.unicodeScalars.last.map { !$0.properties.isWhitespace } ?? false
    let last = places.last
    let telling = places.filter { $0.kind != .signs && !fillers.contains($0.word) }
    if !telling.isEmpty { places = telling }
    let words = places.map(\.word)
    // A letter by itself begins the pairs that it is in.
    let single = Set(places.filter { $0.kind == .lastLetter }.map(\.word))
    var terms = SearchDate.terms(Array(words.prefix(limit)))
    for index in terms.indices where single.contains(terms[index].typed) { terms[index].isPrefix = true }
    if isUnfinished, let last, last.kind == .letters && !Signs.isWord(last.word) || last.kind == .signed,
      let term = terms.last, term.typed == last.word, term.alternatives == [term.typed], words.count <= limit,
      !term.typed.allSatisfy(\.isNumber)
    {
      terms[terms.count - 1].isPrefix = true
    }
    if places.count == 1, last?.kind == .letters, let word = words.first, word.unicodeScalars.count == 1,
      !word.allSatisfy(\.isNumber)
    {
      terms[0].isPrefix = false
      terms[0].isOfName = true
    } else if telling.isEmpty {
      for index in terms.indices where fillers.contains(terms[index].typed) { terms[index].isOfName = true }
    }
    return terms
  }

  /// What must stand in a text as it is asked for, as the words that follow each other; only those of several words: texts
  /// in quotation marks, and what is written in an unspaced script.
  static func phrases(_ text: String, atMost limit: Int) -> [[String]] {
    let parts = text.split(omittingEmptySubsequences: false) { "\"“”„«»".contains($0) }
    // Between the first mark and the second, the third and the fourth, and so on; one that is open is no phrase.
    var phrases = parts.enumerated().filter { $0.offset % 2 == 1 && $0.offset + 1 < parts.count }
      .map { part in asked(String(part.element)).filter { $0.kind != .lastLetter }.map(\.word) }
    var run: [Place] = []
    for place in asked(text) + [Place(word: "", range: text.endIndex..<text.endIndex)] {
      // Pairs overlap by a letter.
      if place.kind == .pair, let last = run.last, place.range.lowerBound < last.range.upperBound {
        run.append(place)
        continue
      }
      phrases.append(run.map(\.word))
      run = place.kind == .pair ? [place] : []
    }
    phrases += initials(text)
    return phrases.map { Array($0.prefix(limit)) }.filter { $0.count > 1 }
  }

  /// Letters that signs keep together, as in `AC/DC` and `R&B`: by themselves they say little, so they follow each other.
  private static func initials(_ text: String) -> [[String]] {
    text.split(whereSeparator: \.isWhitespace).compactMap { token in
      let places = asked(String(token))
      let isShort = places.allSatisfy { place in
        place.kind == .letters && place.word.unicodeScalars.count <= Signs.longestShort
          && !place.word.contains(where: \.isNumber)
      }
      return isShort ? places.map(\.word) : nil
    }
  }
}

/// What scripts have to do with words.
enum Script {
  enum Kind { case letter, unspaced, mark, picture, blank, sign }

  /// Letters that Unicode does not decompose into a plain one and a mark.
  private static let plain: [Unicode.Scalar: String] = [
    "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ß": "ss", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h",
    "ŧ": "t",
  ]

  /// A letter in lower case and without its marks.
  static func plain(_ scalar: Unicode.Scalar) -> String {
    var text = ""
    for part in scalar.properties.lowercaseMapping.decomposedStringWithCanonicalMapping.unicodeScalars {
      if let other = plain[part] {
        text += other
      } else if kind(of: part) != .mark {
        text.unicodeScalars.append(part)
      }
    }
    return text
  }

  static func kind(of scalar: Unicode.Scalar) -> Kind {
    if scalar.isASCII {
      let value = scalar.value | 0x20
      if (0x61...0x7a).contains(value) || (0x30...0x39).contains(scalar.value) { return .letter }
      return scalar.value <= 0x20 ? .blank : .sign
    }
    switch scalar.properties.generalCategory {
    case .lowercaseLetter, .otherLetter, .modifierLetter, .uppercaseLetter, .titlecaseLetter, .decimalNumber,
      .letterNumber, .otherNumber:
      return isUnspaced(scalar) ? .unspaced : .letter
    case .nonspacingMark, .spacingMark, .enclosingMark, .format: return .mark
    // Skins of emoji; others stand for apostrophes.
    case .modifierSymbol: return scalar.value > 0xffff ? .mark : .sign
    // Of a trade: part of no name that anybody types.
    case .otherSymbol: return "©®™℠℗".unicodeScalars.contains(scalar) ? .sign : .picture
    case .spaceSeparator, .lineSeparator, .paragraphSeparator, .control: return .blank
    default: return .sign
    }
  }

  /// Scripts that leave no blanks between words, or, as Korean, write into one what is looked for as several.
  private static let unspaced: [ClosedRange<UInt32>] = [
    0x0e00...0x0eff,  // Thai, Lao
    0x1000...0x109f,  // Myanmar
    0x1780...0x17ff,  // Khmer
    0x3005...0x3007, 0x3040...0x30ff, 0x3100...0x312f, 0x31f0...0x31ff,  // kana, bopomofo
    0x3400...0x4dbf, 0x4e00...0x9fff, 0xf900...0xfaff, 0x20000...0x3ffff,  // Chinese characters
    0xac00...0xd7a3,  // Hangul
  ]

  private static func isUnspaced(_ scalar: Unicode.Scalar) -> Bool {
    guard scalar.value >= 0x0e00, scalar.properties.numericType == nil || scalar.value >= 0x3005 else {
      return false
    }
    return unspaced.contains { $0.contains(scalar.value) }
  }

  /// Whether a word is a piece of one, which nobody types and no spelling is near.
  static func isPiece(_ word: String) -> Bool {
    word.unicodeScalars.first.map { kind(of: $0) == .unspaced } ?? false
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
  /// Whether it must stand in the event's name.
  var isOfName = false

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
