import CSodium

/// A short key for a user: 72 bits of a hash of their id, as 12 URL-safe characters.
///
/// Redis keeps one per waiting buyer; ids of an outside identity provider may be long.
package struct UserKey: Hashable, Sendable {
  private static let keptBytes = 9, characters = 12

  package let text: String

  package init(_ userID: String) {
    var user = userID
    var hash = [UInt8](repeating: 0, count: 16)
    user.withUTF8 { bytes in
      _ = crypto_generichash(&hash, hash.count, bytes.baseAddress, UInt64(bytes.count), nil, 0)
    }
    text = String(unsafeUninitializedCapacity: Self.characters + 1) { out in
      out.withMemoryRebound(to: CChar.self) {
        _ = sodium_bin2base64(
          $0.baseAddress!, Self.characters + 1, hash, Self.keptBytes, sodium_base64_VARIANT_URLSAFE_NO_PADDING
        )
      }
      // Without the zero at its end.
      return Self.characters
    }
  }
}
