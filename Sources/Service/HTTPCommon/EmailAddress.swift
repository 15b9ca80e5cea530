import CIDN2
import Foundation
import Sale

/// A mail address in the one spelling that stands for all that reach the same mailbox.
package struct EmailAddress {
  /// With letters composed (NFC) and small, and the domain as name servers know it (UTS 46, not transitional): `MINA@MÜNCHEN.de`
  /// and `mina@xn--mnchen-3ya.de` are one. Whether mail arrives there is not known.
  package let text: String
  /// Other spellings that accounts of a version before may have, this one's first.
  package let spellings: [String]

  /// - Parameter isNew: whether an account is to be made under it. Whoever has one gets into it with what a version before
  ///   took: an address that would be refused as a new one has one spelling, its own.
  /// - Throws: why it is no address, or has what nobody sees: blanks, characters without a width, or a point at the end of
  ///   a part, by which one address would look like another's. Follows "The field `email`" in a sentence.
  package init(_ typed: String, isNew: Bool = false) throws(Refusal) {
    let address = Self.composed(Self.composed(typed).lowercased())
    let parts = address.split(separator: "@", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2, address.utf8.count <= Limits.emailBytes else { throw Refusal.noAddress }
    guard address.unicodeScalars.allSatisfy({ !Self.isHidden($0) }) else {
      throw Refusal("has a blank, or a character that nobody sees: type it anew")
    }
    // One that is wide, or two letters in one, looks like another, and arrives elsewhere or nowhere.
    guard !isNew || parts[0].unicodeScalars.allSatisfy(Self.isPlain) else {
      throw Refusal("has letters of another width or form before the @: type it with plain ones")
    }
    guard let domain = Self.domain(parts[1]) ?? (isNew ? nil : (parts[1], parts[1])) else {
      throw Refusal("has a domain that there cannot be: type it as the mail provider writes it")
    }
    text = "\(parts[0])@\(domain.ascii)"
    guard Self.hasFullLabels(parts[0]), Self.hasFullLabels(domain.ascii), text.utf8.count <= Limits.emailBytes
    else {
      throw Refusal.noAddress
    }
    var spellings = [address]
    for other in [text, "\(parts[0])@\(domain.unicode)"] where !spellings.contains(other) {
      spellings.append(other)
    }
    self.spellings = spellings
  }

  package struct Refusal: Error {
    package let reason: String
    init(_ reason: String) { self.reason = reason }
    static let noAddress = Refusal("must be an address such as name@example.com")
  }

  /// Not a letter in another width or form.
  private static func isPlain(_ scalar: Unicode.Scalar) -> Bool {
    typedSo.contains(scalar.value)
      || String(scalar).precomposedStringWithCompatibilityMapping == String(scalar)
  }

  /// Letters that Unicode takes apart (NFKC), though keyboards of their languages type them so, and no other way.
  private static let typedSo: Set<UInt32> = Set([
    // Thai and Lao AM, Lao HO NO and HO MO, the Armenian ligature of ECH and YIWN.
    0xE33, 0xEB3, 0xEDC, 0xEDD, 0x587,
  ]).union(0x3131...0x318E)  // Hangul letters that are no syllables

  /// A domain as name servers know it, and as people read it; `nil` for what is none.
  private static func domain(_ typed: String) -> (ascii: String, unicode: String)? {
    let isPlain = typed.utf8.allSatisfy { $0 < 0x80 }
    // What is neither encoded nor to be encoded has one spelling.
    if isPlain && !typed.contains("xn--") { return (typed, typed) }
    guard let unicode = converted(typed, idn2_to_unicode_8z8z),
      // Wide letters and points become usual ones before they are encoded.
      let ascii = converted(isPlain ? unicode : typed, idn2_to_ascii_8z),
      // Wide signs become usual ones, too, and no name has them (STD 3): "＠" would move the address to another domain.
      ascii.utf8.allSatisfy(Self.isOfName)
    else { return nil }
    return (ascii.lowercased(), composed(converted(ascii, idn2_to_unicode_8z8z) ?? unicode))
  }

  private static func isOfName(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."):
      true
    default: false
    }
  }

  private typealias Conversion = (
    UnsafePointer<CChar>?, UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?, CInt
  ) -> CInt

  private static func converted(_ name: String, _ convert: Conversion) -> String? {
    var result: UnsafeMutablePointer<CChar>?
    let flags = CInt(IDN2_NFC_INPUT.rawValue | IDN2_NONTRANSITIONAL.rawValue)
    guard convert(name, &result, flags) == 0, let result else { return nil }
    defer { idn2_free(result) }
    return String(validatingCString: result)
  }

  /// Without a point at either end, or two in a row.
  private static func hasFullLabels(_ part: String) -> Bool {
    part.unicodeScalars.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { !$0.isEmpty }
  }

  package static func isHidden(_ scalar: Unicode.Scalar) -> Bool {
    let properties = scalar.properties
    return properties.isWhitespace || properties.isDefaultIgnorableCodePoint
      || properties.generalCategory == .format || properties.generalCategory == .control
  }

  /// NFC: letters with their accents as one character where there is one.
  private static func composed(_ text: String) -> String { text.precomposedStringWithCanonicalMapping }
}
