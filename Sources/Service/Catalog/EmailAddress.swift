import Foundation
import Sale

/// Addresses and passwords in the one spelling that stands for all that look the same.
enum EmailAddress {
  /// The address with its letters composed (NFC) and small. Whether mail arrives there is not known.
  /// - Returns: `nil` for what is no address, or has what nobody sees: blanks, characters without a width, or a point at
  ///   the end of a part, by which one address would look like another's.
  static func normalized(_ text: String) -> String? {
    let address = composed(composed(text).lowercased())
    let parts = address.split(separator: "@", omittingEmptySubsequences: false)
    guard parts.count == 2, address.utf8.count <= Limits.emailBytes else { return nil }
    let isVisible = address.unicodeScalars.allSatisfy { scalar in
      let properties = scalar.properties
      return !properties.isWhitespace && !properties.isDefaultIgnorableCodePoint
        && properties.generalCategory != .format
        && properties.generalCategory != .control
    }
    guard isVisible, hasFullLabels(parts[0]), hasFullLabels(parts[1]) else { return nil }
    return address
  }

  /// Without a point at either end, or two in a row.
  private static func hasFullLabels(_ part: Substring) -> Bool {
    part.unicodeScalars.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { !$0.isEmpty }
  }

  /// NFC: letters with their accents as one character where there is one.
  static func composed(_ text: String) -> String { text.precomposedStringWithCanonicalMapping }
}
