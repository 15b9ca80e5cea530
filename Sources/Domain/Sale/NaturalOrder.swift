/// The order in which people count rows and seats: "2" before "10", "Z" before "AA", "7" before "7A".
///
/// A label is read as pieces of digits and of letters. Digits compare as numbers. Up to three letters count on
/// like the columns of a spreadsheet (A … Z, AA …); longer ones are words, after those, in alphabetical order.
/// Case does not matter. Labels that are equal in this sense are ordered by their bytes, so the order is total.
struct NaturalLabel: Comparable, Sendable {
  private enum Piece: Comparable {
    case mark(UInt8)
    case number(Int)
    case letters(length: Int, [UInt8])

    static func < (a: Piece, b: Piece) -> Bool {
      switch (a, b) {
      case (.mark(let a), .mark(let b)): a < b
      case (.number(let a), .number(let b)): a < b
      case (.letters(let a, let c), .letters(let b, let d)): a != b ? a < b : c.lexicographicallyPrecedes(d)
      case (.mark, _): true
      case (_, .mark): false
      case (.number, _): true
      case (_, .number): false
      }
    }
  }

  /// From this length on letters are a word.
  private static let wordLength = 4

  private let pieces: [Piece]
  private let text: String

  init(_ label: String) {
    text = label
    var pieces: [Piece] = []
    var bytes = Array(label.utf8)[...]
    while let first = bytes.first {
      if Self.isDigit(first) {
        let digits = bytes.prefix(while: Self.isDigit)
        var value = 0
        // Saturates: beyond 18 digits the order falls back to the bytes.
        for digit in digits.prefix(18) { value = value * 10 + Int(digit - UInt8(ascii: "0")) }
        pieces.append(.number(value))
        bytes = bytes.dropFirst(digits.count)
      } else if Self.isLetter(first) {
        let letters = bytes.prefix(while: Self.isLetter)
        let folded = letters.map { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) ? $0 - 32 : $0 }
        pieces.append(.letters(length: min(folded.count, Self.wordLength), folded))
        bytes = bytes.dropFirst(letters.count)
      } else {
        pieces.append(.mark(first))
        bytes = bytes.dropFirst()
      }
    }
    self.pieces = pieces
  }

  /// The number, where the label is nothing else.
  var number: Int? {
    if pieces.count == 1, case .number(let value) = pieces[0] { value } else { nil }
  }

  static func < (a: NaturalLabel, b: NaturalLabel) -> Bool {
    if a.pieces == b.pieces { return a.text.utf8.lexicographicallyPrecedes(b.text.utf8) }
    return a.pieces.lexicographicallyPrecedes(b.pieces)
  }

  static func == (a: NaturalLabel, b: NaturalLabel) -> Bool { a.text.utf8.elementsEqual(b.text.utf8) }

  private static func isDigit(_ byte: UInt8) -> Bool {
    byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
  }

  /// Bytes beyond ASCII belong to letters of other scripts.
  private static func isLetter(_ byte: UInt8) -> Bool {
    byte >= 0x80 || byte | 0x20 >= UInt8(ascii: "a") && byte | 0x20 <= UInt8(ascii: "z")
  }
}
