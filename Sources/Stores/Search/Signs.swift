/// Signs as words: of letters, since that is what indexes keep. `!!!` is `qq21q21q21`.
enum Signs {
  private static let prefix = "qq"
  private static let longest = 12
  /// What stands between names, and is part of none.
  private static let separators = Set("-‐‑‒–—―&·•・/|\\,;:.(){}[]<>\"'“”„«»‘’‚…+=_~".unicodeScalars)

  static func word(_ signs: [Unicode.Scalar]) -> String {
    prefix + signs.prefix(longest).map { String($0.value, radix: 16) }.joined(separator: "q")
  }

  /// A letter or a sign, where it stands.
  struct Part {
    let scalar: Unicode.Scalar
    let isLetter: Bool
    let index: String.Index
    init(_ scalar: Unicode.Scalar, isLetter: Bool, at index: String.Index) {
      (self.scalar, self.isLetter, self.index) = (scalar, isLetter, index)
    }
  }

  /// Letters that say little without their signs.
  static let longestShort = 2
  /// What makes a name of the letters around it wherever it stands: nobody writes it between words.
  private static let always = Set("$€£¥¢".unicodeScalars)
  /// The same between letters.
  private static let within = Set("!#@*%^°".unicodeScalars)
  /// The same before and behind few letters: before and behind many they are marks of something else.
  private static let around = Set("+#@%°^=".unicodeScalars)

  /// What of a text without blanks is a name that its letters alone would not be: `C++`, `$ign`, `P!nk`, `+44`, but
  /// neither `"Wham!"` nor `AC/DC`, whose letters find it. Its length is that of the longest word of signs at most.
  /// - Returns: `nil` where the letters say it all.
  static func name(_ token: ArraySlice<Part>) -> ArraySlice<Part>? {
    guard token.contains(where: { !$0.isLetter }), token.contains(where: \.isLetter) else { return nil }
    let letters = token.count(where: \.isLetter)
    func isOutside(_ part: Part) -> Bool {
      !part.isLetter && !always.contains(part.scalar)
        && !(letters <= longestShort && around.contains(part.scalar))
    }
    var name = token
    while let part = name.first, isOutside(part) { name.removeFirst() }
    while let part = name.last, isOutside(part) { name.removeLast() }
    guard let first = name.first, let last = name.last else { return nil }
    let tells =
      !first.isLetter || !last.isLetter
      || name.contains { !$0.isLetter && (always.contains($0.scalar) || within.contains($0.scalar)) }
    return tells ? name.prefix(longest) : nil
  }

  static func isWord(_ word: String) -> Bool {
    word.hasPrefix(prefix) && word.dropFirst(prefix.count).allSatisfy { $0 == "q" || $0.isHexDigit }
  }

  /// Whether signs between blanks are a name, as `!!!` is, and not what separates names or ends a sentence.
  static func isName(_ signs: [Unicode.Scalar]) -> Bool {
    signs.count > 1 && !signs.allSatisfy(separators.contains)
  }
}
