import CJWT
import JSON

/// Public keys of an identity provider, by `kid`: RSA (RS256), P-256 (ES256) and Ed25519 (EdDSA).
///
/// A key can only be used with the one algorithm that belongs to its type, so a token cannot choose how it is
/// verified. Symmetric keys are refused: whoever publishes one publishes the power to issue.
final class KeySet {
  enum Algorithm: String {
    case rs256 = "RS256"
    case es256 = "ES256"
    case edDSA = "EdDSA"

    fileprivate var code: jwa_alg {
      switch self {
      case .rs256: R_JWA_ALG_RS256
      case .es256: R_JWA_ALG_ES256
      case .edDSA: R_JWA_ALG_EDDSA
      }
    }
  }

  private struct Key {
    let algorithm: Algorithm
    /// Owned; freed with the set.
    let handle: UnsafeMutablePointer<jwk_t>
  }

  /// More keys than this are a mistake, not a rotation.
  private static let capacity = 100
  /// Initialises the library once.
  private static let isReady: Bool = r_global_init() == RHN_OK

  private var keys: [String: Key] = [:]

  var count: Int { keys.count }

  /// - Parameter text: a JWK set, `{"keys": […]}`. Keys of another use or of a type that is not known are
  ///   left out, as the standard asks; a set without any usable key is refused.
  init(_ text: String) throws(AuthError) {
    precondition(Self.isReady, "librhonabwy refused to initialise")
    guard let json = try? JSON(parsing: text), let list = json["keys"]?.array else {
      throw AuthError(.configuration, "the JWK set is not an object with a list `keys`")
    }
    guard list.count <= Self.capacity else {
      throw AuthError(.configuration, "the JWK set has more than \(Self.capacity) keys")
    }
    for (index, member) in list.enumerated() {
      if member["kty"]?.string == "oct" {
        throw AuthError(.configuration, "key \(index + 1) of the JWK set is symmetric, which is never public")
      }
      if let use = member["use"]?.string, use != "sig" { continue }
      guard let algorithm = Self.algorithm(of: member) else { continue }
      guard let id = member["kid"]?.string, !id.isEmpty, id.utf8.count <= 256 else {
        throw AuthError(.configuration, "key \(index + 1) of the JWK set has no `kid`")
      }
      guard keys[id] == nil else {
        throw AuthError(.configuration, "two keys of the JWK set have the same `kid`")
      }
      keys[id] = Key(algorithm: algorithm, handle: try Self.load(member, number: index + 1, algorithm))
    }
    if keys.isEmpty { throw AuthError(.configuration, "the JWK set has no key for RS256, ES256 or EdDSA") }
  }

  deinit {
    for key in keys.values { r_jwk_free(key.handle) }
  }

  private static func algorithm(of key: JSON) -> Algorithm? {
    let algorithm: Algorithm? =
      switch (key["kty"]?.string, key["crv"]?.string) {
      case ("RSA", _): .rs256
      case ("EC", "P-256"): .es256
      case ("OKP", "Ed25519"): .edDSA
      default: nil
      }
    if let said = key["alg"]?.string, said != algorithm?.rawValue { return nil }
    return algorithm
  }

  /// Only the public members are handed on, and nothing that names a remote certificate.
  private static func load(
    _ key: JSON, number: Int, _ algorithm: Algorithm
  ) throws(AuthError) -> UnsafeMutablePointer<jwk_t> {
    let names = ["kty", "crv", "n", "e", "x", "y"]
    let members = (key.members ?? []).filter { names.contains($0.name) }
    var handle: UnsafeMutablePointer<jwk_t>?
    guard r_jwk_init(&handle) == RHN_OK, let handle else {
      throw AuthError(.configuration, "no memory for a key")
    }
    var bits: UInt32 = 0
    guard r_jwk_import_from_json_str(handle, JSON.object(members).text) == RHN_OK,
      r_jwk_is_valid(handle) == RHN_OK, r_jwk_key_type(handle, &bits, R_FLAG_IGNORE_REMOTE) > 0,
      isUsable(handle)
    else {
      r_jwk_free(handle)
      throw AuthError(.configuration, "key \(number) of the JWK set is not a valid public key")
    }
    if algorithm == .rs256, !(2048...8192).contains(bits) {
      r_jwk_free(handle)
      throw AuthError(.configuration, "key \(number) of the JWK set has \(bits) bits; RSA needs 2048 to 8192")
    }
    return handle
  }

  /// Whether its numbers make a key, such as a point on the curve: the import alone does not look at them.
  private static func isUsable(_ key: UnsafeMutablePointer<jwk_t>) -> Bool {
    var size = 16_384
    var out = [UInt8](repeating: 0, count: size)
    return r_jwk_export_to_pem_der(key, R_FORMAT_DER, &out, &size, R_FLAG_IGNORE_REMOTE) == RHN_OK
  }

  /// - Parameters:
  ///   - token: in compact form, its header already read by the caller.
  ///   - algorithm: what the header says.
  func verify(_ token: String, keyID: String, algorithm: String) throws(AuthError) {
    guard let key = keys[keyID] else { throw AuthError(.unknownKey, "no key has this `kid`") }
    guard key.algorithm.rawValue == algorithm else {
      throw AuthError(.algorithm, "this key is not for that `alg`")
    }
    var handle: UnsafeMutablePointer<jws_t>?
    guard r_jws_init(&handle) == RHN_OK, let handle else { throw AuthError(.busy, "no memory") }
    defer { r_jws_free(handle) }
    // The header's own keys and addresses are ignored, and nothing is ever fetched.
    let flags = UInt32(R_PARSE_NONE)
    guard r_jws_advanced_compact_parse(handle, token, flags, R_FLAG_IGNORE_REMOTE) == RHN_OK,
      handle.pointee.alg == key.algorithm.code
    else { throw AuthError(.malformed, "the token cannot be read") }
    guard r_jws_verify_signature(handle, key.handle, R_FLAG_IGNORE_REMOTE) == RHN_OK else {
      throw AuthError(.signature, "the signature does not match")
    }
  }
}
