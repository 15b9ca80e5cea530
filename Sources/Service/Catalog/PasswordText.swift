import Foundation
import HTTPCommon

/// Passwords as they are hashed: the same however keyboards write their letters (after RFC 8265).
enum PasswordText {
  /// With letters composed (NFC), and blanks of all widths as the usual one.
  static func spelling(_ text: String) -> String {
    var spelling = String.UnicodeScalarView()
    for scalar in text.precomposedStringWithCanonicalMapping.unicodeScalars {
      spelling.append(scalar.properties.generalCategory == .spaceSeparator ? " " : scalar)
    }
    return String(spelling)
  }

  /// A character that nobody sees, and so nobody types again; `nil` where there is none. What joins emoji, or says how one
  /// is drawn, is seen.
  static func hidden(in text: String) -> Unicode.Scalar? {
    var before: Unicode.Scalar?
    for scalar in text.unicodeScalars {
      let properties = scalar.properties
      let isHidden = properties.isDefaultIgnorableCodePoint || properties.generalCategory == .format
      let isOfEmoji = before?.properties.isEmoji == true && before?.isASCII == false
      if isHidden && !(isOfEmoji && scalar.isJoiner) { return scalar }
      // A sequence of several goes on.
      if !isHidden { before = scalar }
    }
    return nil
  }

  /// One that is to be kept from now on.
  static func new(_ fields: Fields, _ name: String, bytes: ClosedRange<Int>) throws(Problem) -> String {
    let password = try fields.string(name, max: bytes.upperBound)
    guard password.utf8.count >= bytes.lowerBound else {
      throw fields.refused(name, "must have at least \(bytes.lowerBound) bytes")
    }
    if let scalar = hidden(in: password) {
      let code = String(scalar.value, radix: 16, uppercase: true)
      throw fields.refused(
        name,
        "has a character that nobody sees (U+\(String(repeating: "0", count: max(0, 4 - code.count)))\(code)), "
          + "as copied text may have: type it by hand")
    }
    return password
  }
}

extension Unicode.Scalar {
  /// What joins emoji to one, makes a flag of one, or chooses how one is drawn.
  fileprivate var isJoiner: Bool {
    value == 0x200D || value == 0xFE0E || value == 0xFE0F || (0xE0020...0xE007F).contains(value)
  }
}
