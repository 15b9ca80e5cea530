/// An address that mail may be sent to: nothing in it means something else to a mail server, or in a message's header.
///
/// Of what RFC 5321 allows quoted local parts and numeric domains are left out. Letters of any script may be in both parts
/// (RFC 6531).
package struct MailAddress: Sendable, Equatable, CustomStringConvertible {
  package let local: String
  package let domain: String

  /// - Returns: `nil` for anything else.
  package init?(_ text: String) {
    let parts = text.split(separator: "@", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2, parts[0].utf8.count <= 64, parts[1].utf8.count <= 255,
      Self.isDotted(parts[0], Self.isAtom), Self.isDotted(parts[1], Self.isLabel)
    else { return nil }
    (local, domain) = (parts[0], parts[1])
  }

  package var description: String { "\(local)@\(domain)" }
  package var isASCII: Bool { description.utf8.allSatisfy { $0 < 0x80 } }

  private static func isDotted(_ text: String, _ allowed: (Unicode.Scalar) -> Bool) -> Bool {
    text.unicodeScalars.split(separator: ".", omittingEmptySubsequences: false).allSatisfy {
      !$0.isEmpty && $0.allSatisfy(allowed)
    }
  }

  /// What stands in a word by itself (`atext` of RFC 5322).
  private static func isAtom(_ scalar: Unicode.Scalar) -> Bool {
    isLabel(scalar) || scalar.isASCII && "!#$%&'*+/=?^_`{|}~".unicodeScalars.contains(scalar)
  }

  private static func isLabel(_ scalar: Unicode.Scalar) -> Bool {
    guard scalar.isASCII else { return !scalar.steersText && !scalar.properties.isWhitespace }
    return "a"..."z" ~= scalar || "A"..."Z" ~= scalar || "0"..."9" ~= scalar || scalar == "-"
  }
}
