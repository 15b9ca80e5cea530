import CSodium

/// A short key for a user: 72 bits of a hash of their id, as 12 URL-safe characters.
///
/// Redis keeps one per waiting buyer; ids of an outside identity provider may be long.
package struct UserKey: Hashable, Sendable {
  package let text: String

  package init(_ userID: String) {
    var user = userID
    var hash = [UInt8](repeating: 0, count: 16)
    user.withUTF8 { bytes in
      _ = crypto_generichash(&hash, hash.count, bytes.baseAddress, UInt64(bytes.count), nil, 0)
    }
    var encoded = [CChar](repeating: 0, count: 13)
    sodium_bin2base64(&encoded, encoded.count, hash, 9, sodium_base64_VARIANT_URLSAFE_NO_PADDING)
    text = String(decoding: encoded.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
