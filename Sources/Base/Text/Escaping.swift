/// Text on its way into another language, by where it is put: the one place where that is done.
///
/// Everything works on bytes and scalars, never on `Character`: to that, a `<` behind U+0600 or before a
/// combining mark is no `<`, and to a browser it is. What steers text (`steersText`) comes out as a
/// replacement character or visibly, so that a name which was taken in before such were refused does nothing
/// either.
package enum Escaping {
  private static let replacement: [UInt8] = [0xEF, 0xBF, 0xBD]

  /// Between the tags of HTML.
  package static func text(_ text: String) -> [UInt8] {
    html(text) { byte in
      switch byte {
      case UInt8(ascii: "&"): "&amp;"
      case UInt8(ascii: "<"): "&lt;"
      case UInt8(ascii: ">"): "&gt;"
      default: nil
      }
    }
  }

  /// Within an attribute's quotation marks, of either kind.
  package static func attribute(_ text: String) -> [UInt8] {
    html(text) { byte in
      switch byte {
      case UInt8(ascii: "&"): "&amp;"
      case UInt8(ascii: "<"): "&lt;"
      case UInt8(ascii: ">"): "&gt;"
      case UInt8(ascii: "\""): "&quot;"
      case UInt8(ascii: "'"): "&#39;"
      default: nil
      }
    }
  }

  private static func html(_ text: String, _ escape: (UInt8) -> StaticString?) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.utf8.count)
    for scalar in text.unicodeScalars {
      if scalar.isASCII, let escaped = escape(UInt8(truncatingIfNeeded: scalar.value)) {
        bytes.append(
          contentsOf: UnsafeBufferPointer(start: escaped.utf8Start, count: escaped.utf8CodeUnitCount))
      } else if scalar.steersText, scalar != "\n", scalar != "\t" {
        bytes += replacement
      } else {
        bytes.append(contentsOf: UTF8.encode(scalar).unsafelyUnwrapped)
      }
    }
    return bytes
  }

  /// JSON within a `script` element, which nothing in it can end. The value that it stands for is the same.
  package static func scriptJSON(_ json: [UInt8]) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(json.count)
    for byte in json {
      switch byte {
      // All three stand within strings only, where the escape means the same character.
      case UInt8(ascii: "<"): bytes += Array("\\u003c".utf8)
      case UInt8(ascii: ">"): bytes += Array("\\u003e".utf8)
      case UInt8(ascii: "&"): bytes += Array("\\u0026".utf8)
      default: bytes.append(byte)
      }
    }
    return bytes
  }

  /// One cell of comma-separated values, in quotation marks. One that a spreadsheet would take for a formula
  /// gets an apostrophe in front, which says that it is text.
  package static func csvCell(_ text: String) -> [UInt8] {
    var cell = "\""
    let first = text.unicodeScalars.first { !$0.properties.isWhitespace }
    // The last four are the wide forms, which some take for the same.
    let formulas: Set<Unicode.Scalar?> = ["=", "+", "-", "@", "\u{FF1D}", "\u{FF0B}", "\u{FF0D}", "\u{FF20}"]
    if formulas.contains(first) || text.unicodeScalars.first.map({ $0 == "\t" || $0 == "\r" }) == true {
      cell += "'"
    }
    for scalar in text.unicodeScalars {
      if scalar == "\"" {
        cell.unicodeScalars.append(contentsOf: "\"\"".unicodeScalars)
      } else {
        cell.unicodeScalars.append(scalar.steersText && scalar != "\n" ? "\u{FFFD}" : scalar)
      }
    }
    return Array(cell.utf8) + [UInt8(ascii: "\"")]
  }

  /// A value in a line that people read on a terminal: what steers is shown as its number, such as `\u{1b}`.
  /// - Parameter keepsLines: whether line breaks stay, for text of several lines.
  package static func terminal(_ text: String, keepsLines: Bool = false) -> String {
    guard text.unicodeScalars.contains(where: \.steersText) else { return text }
    var shown = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      if scalar.steersText, !(keepsLines && scalar == "\n") {
        shown.append(contentsOf: "\\u{\(String(scalar.value, radix: 16))}".unicodeScalars)
      } else {
        shown.append(scalar)
      }
    }
    return String(shown)
  }

  /// JSON that people may read on a terminal: what steers, and stands within strings, becomes an escape of
  /// JSON, so that programs read the same value.
  package static func terminalJSON(_ json: String) -> String {
    guard json.unicodeScalars.contains(where: { $0.steersText && $0 != "\n" }) else { return json }
    var shown = String.UnicodeScalarView()
    for scalar in json.unicodeScalars {
      if scalar.steersText, scalar != "\n", scalar != "\t", scalar != "\r" {
        for unit in UTF16.encode(scalar).unsafelyUnwrapped {
          let digits = String(unit, radix: 16)
          shown.append(
            contentsOf: ("\\u" + String(repeating: "0", count: 4 - digits.count) + digits).unicodeScalars)
        }
      } else {
        shown.append(scalar)
      }
    }
    return String(shown)
  }
}
