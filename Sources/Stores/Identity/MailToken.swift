/// What a link in a mail proves: that whoever opens it reads that address's mail. Random, and known by its hash alone
/// wherever it is kept, so that who reads the database cannot use it; to be found by that hash takes no comparison whose
/// time could tell anything of the token.
package struct MailToken: Sendable {
  private static let length = 32
  /// In base64url.
  package static let textLength = 43

  /// What stands in the link.
  package let text: String
  /// What is kept.
  package let hash: String

  /// A new one.
  package init() { self.init(bytes: Sodium.randomBytes(Self.length)) }

  /// `nil` for what is none.
  package init?(_ text: String) {
    guard text.utf8.count == Self.textLength, let bytes = Base64URL.decode(Array(text.utf8)[...]),
      bytes.count == Self.length
    else { return nil }
    self.init(bytes: bytes)
  }

  private init(bytes: [UInt8]) {
    text = Sodium.base64(bytes)
    hash = Sodium.base64(Sodium.hash(bytes, length: Self.length))
  }
}
