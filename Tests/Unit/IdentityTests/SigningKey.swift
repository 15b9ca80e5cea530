import CJWT
import JSON

/// A key pair of an identity provider that exists for one test.
final class SigningKey {
  let id: String
  private let algorithm: jwa_alg
  private let privateKey: UnsafeMutablePointer<jwk_t>
  private let publicKey: UnsafeMutablePointer<jwk_t>

  /// - Parameter isNamed: whether the key itself knows its name, which then is in its tokens, too.
  init(_ algorithm: String, id: String, isNamed: Bool = true) {
    self.id = id
    self.algorithm = r_str_to_jwa_alg(algorithm)
    var pair: (UnsafeMutablePointer<jwk_t>?, UnsafeMutablePointer<jwk_t>?)
    _ = r_global_init()
    precondition(r_jwk_init(&pair.0) == RHN_OK && r_jwk_init(&pair.1) == RHN_OK)
    let (type, bits) =
      switch algorithm {
      case "RS256", "PS256": (R_KEY_TYPE_RSA, UInt32(2048))
      case "ES256": (R_KEY_TYPE_EC, UInt32(256))
      case "ES384": (R_KEY_TYPE_EC, UInt32(384))
      default: (R_KEY_TYPE_EDDSA, UInt32(256))
      }
    precondition(r_jwk_generate_key_pair(pair.0, pair.1, type, bits, id) == RHN_OK)
    if !isNamed {
      for key in [pair.0, pair.1] { precondition(r_jwk_delete_property_str(key, "kid") == RHN_OK) }
    }
    privateKey = pair.0.unsafelyUnwrapped
    publicKey = pair.1.unsafelyUnwrapped
  }

  deinit {
    r_jwk_free(privateKey)
    r_jwk_free(publicKey)
  }

  /// The public key as a JWK.
  var jwk: JSON {
    let text = r_jwk_export_to_json_str(publicKey, 0).unsafelyUnwrapped
    defer { r_free(text) }
    return (try? JSON(parsing: String(cString: text))) ?? nil
  }

  /// - Parameter isNamed: whether the token says which key it was.
  func sign(_ claims: JSON, keyID: String? = nil, isNamed: Bool = true) -> String {
    var jws: UnsafeMutablePointer<jws_t>?
    precondition(r_jws_init(&jws) == RHN_OK)
    defer { r_jws_free(jws) }
    let payload = claims.serialized()
    precondition(r_jws_set_payload(jws, payload, payload.count) == RHN_OK)
    precondition(r_jws_set_alg(jws, algorithm) == RHN_OK)
    if isNamed { precondition(r_jws_set_header_str_value(jws, "kid", keyID ?? id) == RHN_OK) }
    let text = r_jws_serialize(jws, privateKey, 0).unsafelyUnwrapped
    defer { r_free(text) }
    return String(cString: text)
  }

  static func set(_ keys: [SigningKey]) -> String {
    (["keys": .array(keys.map(\.jwk))] as JSON).text
  }
}
