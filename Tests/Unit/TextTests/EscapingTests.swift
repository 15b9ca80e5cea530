import Foundation
import Testing
import Text

@Suite("Text in other languages")
struct EscapingTests {
  /// What may stand beside a character and make another `Character` of it, or steer what is shown: all of
  /// Unicode's format, control, combining, separating and unassigned scalars, and those that Unicode's rules
  /// of segmentation put to the one before or behind (Prepend, Extend, SpacingMark, ZWJ, Regional_Indicator).
  static let disturbing: [Unicode.Scalar] = (0...0x10FFFF).compactMap { Unicode.Scalar($0 as UInt32) }.filter
  {
    let properties = $0.properties
    switch properties.generalCategory {
    case .control, .format, .nonspacingMark, .spacingMark, .enclosingMark, .lineSeparator,
      .paragraphSeparator:
      return true
    default:
      return properties.isGraphemeExtend || properties.isBidiControl || properties.isVariationSelector
        || properties.isEmojiModifier || properties.isDefaultIgnorableCodePoint
        || properties.isNoncharacterCodePoint || (0x1F1E6...0x1F1FF).contains($0.value)
    }
  }

  static func count(_ byte: Character, in bytes: [UInt8]) -> Int {
    bytes.count { $0 == byte.asciiValue }
  }

  @Test("Nothing beside a character of HTML keeps it from being escaped, before, behind or both")
  func html() {
    #expect(Self.disturbing.count > 2_000)
    for scalar in Self.disturbing {
      for character in ["<", ">", "&", "\"", "'"] {
        for text in ["\(scalar)\(character)", "\(character)\(scalar)", "\(scalar)\(character)\(scalar)"] {
          let escaped = Escaping.text(text), attribute = Escaping.attribute(text)
          #expect(!escaped.contains(UInt8(ascii: "<")) && !escaped.contains(UInt8(ascii: ">")))
          #expect(Self.count("&", in: escaped) == ("<>&".contains(character) ? 1 : 0))
          #expect(Self.count("&", in: attribute) == 1)
          for mark in ["<", ">", "\"", "'"] { #expect(Self.count(Character(mark), in: attribute) == 0) }
        }
      }
    }
  }

  @Test("JSON in a script stays the same value, and cannot end the element, whatever stands beside")
  func script() throws {
    // Foundation loses the mark of byte order when it reads.
    for scalar in Self.disturbing where scalar.value >= 0x20 && scalar != "\u{FEFF}" {
      for text in ["\(scalar)</script>", "<\(scalar)/script>", "<!--\(scalar)", "]]>\(scalar)&"] {
        let json = try JSONSerialization.data(withJSONObject: [text], options: .withoutEscapingSlashes)
        let escaped = Escaping.scriptJSON(Array(json))
        #expect(
          Self.count("<", in: escaped) + Self.count(">", in: escaped) + Self.count("&", in: escaped) == 0)
        let again = try JSONSerialization.jsonObject(with: Data(escaped)) as? [String]
        #expect(again.map { Array($0[0].unicodeScalars) } == Array(text.unicodeScalars))
      }
    }
  }

  @Test("No cell of a table is a formula, or ends before its end, whatever stands in front")
  func cells() {
    for first in ["=", "+", "-", "@", "\t=", "\r=", " =", "\u{A0}@", "\u{FF1D}"] {
      let cell = String(decoding: Escaping.csvCell("\(first)1+1"), as: UTF8.self)
      #expect(cell.hasPrefix("\"'"), "\(first)")
    }
    for plain in ["Stalls", "3-4", "a=b", ""] {
      #expect(Escaping.csvCell(plain) == Array("\"\(plain)\"".utf8))
    }
    for scalar in Self.disturbing {
      let cell = Escaping.csvCell("a\"\(scalar)\"\(scalar),b")
      #expect(Self.count("\"", in: cell) == 6)
      #expect(!cell.contains(UInt8(ascii: "\r")))
    }
  }

  @Test("What steers does not reach a terminal, and is seen there")
  func terminal() throws {
    for scalar in Self.disturbing {
      let shown = Escaping.terminal("a\(scalar)b")
      #expect(!shown.unicodeScalars.contains { $0.steersText })
      if scalar.steersText { #expect(shown == "a\\u{\(String(scalar.value, radix: 16))}b") }
      if scalar.value >= 0x20 {
        let json = try JSONSerialization.data(withJSONObject: ["a\(scalar)b"])
        let safe = Escaping.terminalJSON(String(decoding: json, as: UTF8.self))
        #expect(!safe.unicodeScalars.contains { $0.steersText })
        let again = try JSONSerialization.jsonObject(with: Data(safe.utf8)) as? [String]
        #expect(again.map { Array($0[0].unicodeScalars) } == Array("a\(scalar)b".unicodeScalars))
      }
    }
    #expect(Escaping.terminal("one\ntwo\u{1b}[2J", keepsLines: true) == "one\ntwo\\u{1b}[2J")
  }

  @Test(
    "Every control and every character that turns the direction steers; what names are written with does not")
  func classes() {
    for value in 0...0x10FFFF as ClosedRange<UInt32> {
      guard let scalar = Unicode.Scalar(value) else { continue }
      let properties = scalar.properties
      let mustSteer =
        properties.generalCategory == .control || properties.generalCategory == .lineSeparator
        || properties.generalCategory == .paragraphSeparator || properties.isBidiControl
        || properties.isNoncharacterCodePoint
      if mustSteer { #expect(scalar.steersText, "\(String(value, radix: 16))") }
      if properties.isAlphabetic || properties.generalCategory == .nonspacingMark {
        #expect(!scalar.steersText, "\(String(value, radix: 16))")
      }
    }
    for name in ["می‌خواهم", "👩‍👩‍👧", "Ångström", "ไทย", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "O’Brien & Söhne"] {
      #expect(!name.unicodeScalars.contains { $0.steersText }, "\(name)")
    }
  }
}
