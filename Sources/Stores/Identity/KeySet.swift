import CJWT
import JSON

/// Public keys of an identity provider: RSA (RS256, PS256), P-256 (ES256), P-384 (ES384) and Ed25519 (EdDSA).
///
/// A key is used with the algorithms that belong to its type alone, and with one of them where it says which, so a token
/// cannot choose how it is verified. A key that cannot be used is left out and said, and the others stay: a provider that
/// adds one of a new kind must not lock everybody out.
final class KeySet {
  enum Algorithm: String, CaseIterable {
    case rs256 = "RS256"
    case ps256 = "PS256"
    case es256 = "ES256"
    case es384 = "ES384"
    case edDSA = "EdDSA"

    fileprivate var code: jwa_alg {
      switch self {
      case .rs256: R_JWA_ALG_RS256
      case .ps256: R_JWA_ALG_PS256
      case .es256: R_JWA_ALG_ES256
      case .es384: R_JWA_ALG_ES384
      case .edDSA: R_JWA_ALG_EDDSA
      }
    }
  }

  private struct Key {
    /// `nil` for one without a name: it is used where a token names none, and no other key comes into question.
    let id: String?
    let algorithms: Set<Algorithm>
    /// Owned; freed with the set.
    let handle: UnsafeMutablePointer<jwk_t>
  }

  /// More keys than this are a mistake, not a rotation.
  private static let capacity = 100
  private static let keyIDBytes = 256
  /// Initialises the library once.
  private static let isReady: Bool = r_global_init() == RHN_OK

  private var keys: [Key] = []
  /// What is wrong with keys that were left out, for a person.
  private(set) var problems: [String] = []

  var count: Int { keys.count }

  /// - Parameter text: a JWK set, `{"keys": […]}`. Keys of another use are left out, as the standard asks; so are those
  ///   that cannot be used, of which `problems` tells. A set without any usable key is refused.
  init(_ text: String) throws(AuthError) {
    precondition(Self.isReady, "librhonabwy refused to initialise")
    guard let json = try? JSON(parsing: text), let list = json["keys"]?.array else {
      throw AuthError(.configuration, "the JWK set is not an object with a list `keys`")
    }
    guard list.count <= Self.capacity else {
      throw AuthError(.configuration, "the JWK set has more than \(Self.capacity) keys")
    }
    for (index, member) in list.enumerated() {
      if let use = member["use"]?.string, use != "sig" { continue }
      do throws(AuthError) {
        keys.append(try key(member))
      } catch {
        problems.append("key \(index + 1) of the JWK set \(error.message)")
      }
    }
    if keys.isEmpty {
      let known = Algorithm.allCases.map(\.rawValue).joined(separator: ", ")
      let why = problems.isEmpty ? "" : ": " + problems.joined(separator: "; ")
      throw AuthError(.configuration, "the JWK set has no usable key for \(known)\(why)")
    }
  }

  deinit {
    for key in keys { r_jwk_free(key.handle) }
  }

  private func key(_ member: JSON) throws(AuthError) -> Key {
    func refused(_ why: String) -> AuthError { AuthError(.configuration, why) }
    // Whoever publishes one publishes the power to issue.
    if member["kty"]?.string == "oct" { throw refused("is symmetric, which is never public") }
    let algorithms = Self.algorithms(of: member)
    if algorithms.isEmpty { throw refused("is of a kind that is not used here") }
    let id = member["kid"]?.string
    if let id, id.isEmpty || id.utf8.count > Self.keyIDBytes {
      throw refused("has a `kid` that is empty or longer than \(Self.keyIDBytes) bytes")
    }
    guard !keys.contains(where: { $0.id == id && id != nil && !$0.algorithms.isDisjoint(with: algorithms) })
    else {
      throw refused("has the `kid` of another one before it")
    }
    return Key(
      id: id, algorithms: algorithms,
      handle: try Self.load(
        member,
        isRSA: algorithms.contains(.rs256)
          || algorithms.contains(.ps256)))
  }

  private static func algorithms(of key: JSON) -> Set<Algorithm> {
    let algorithms: Set<Algorithm> =
      switch (key["kty"]?.string, key["crv"]?.string) {
      case ("RSA", _): [.rs256, .ps256]
      case ("EC", "P-256"): [.es256]
      case ("EC", "P-384"): [.es384]
      case ("OKP", "Ed25519"): [.edDSA]
      default: []
      }
    guard let said = key["alg"]?.string else { return algorithms }
    // RFC 9864 calls the one algorithm of Ed25519 by its curve.
    return algorithms.filter { $0.rawValue == said || ($0 == .edDSA && said == "Ed25519") }
  }

  /// Only the public members are handed on, and nothing that names a remote certificate.
  private static func load(_ key: JSON, isRSA: Bool) throws(AuthError) -> UnsafeMutablePointer<jwk_t> {
    let names = ["kty", "crv", "n", "e", "x", "y"]
    let members = (key.members ?? []).filter { names.contains($0.name) }
    var handle: UnsafeMutablePointer<jwk_t>?
    guard r_jwk_init(&handle) == RHN_OK, let handle else {
      throw AuthError(.configuration, "found no memory")
    }
    var bits: UInt32 = 0
    guard r_jwk_import_from_json_str(handle, JSON.object(members).text) == RHN_OK,
      r_jwk_is_valid(handle) == RHN_OK, r_jwk_key_type(handle, &bits, R_FLAG_IGNORE_REMOTE) > 0,
      isUsable(handle)
    else {
      r_jwk_free(handle)
      throw AuthError(.configuration, "is not a valid public key")
    }
    if isRSA, !(2048...8192).contains(bits) {
      r_jwk_free(handle)
      throw AuthError(.configuration, "has \(bits) bits; RSA needs 2048 to 8192")
    }
    return handle
  }

  /// Whether its numbers make a key, such as a point on the curve: the import alone does not look at them.
  private static func isUsable(_ key: UnsafeMutablePointer<jwk_t>) -> Bool {
    var size = 16_384
    var out = [UInt8](repeating: 0, count: size)
    return r_jwk_export_to_pem_der(key, R_FORMAT_DER, &out, &size, R_FLAG_IGNORE_REMOTE) == RHN_OK
  }

  /// The key of that name; where neither names any, the only one that comes into question.
  private func key(_ id: String?, _ algorithm: Algorithm) throws(AuthError) -> Key {
    if let id {
      let named = keys.filter { $0.id == id }
      if let key = named.first(where: { $0.algorithms.contains(algorithm) }) { return key }
      if !named.isEmpty { throw AuthError(.algorithm, "this key is not for that `alg`") }
      throw AuthError(.unknownKey, "no key has this `kid`")
    }
    let possible = keys.filter { $0.algorithms.contains(algorithm) }
    guard possible.count == 1, let only = possible.first, only.id == nil else {
      throw AuthError(.unknownKey, "`kid` is missing")
    }
    return only
  }

  /// - Parameters:
  ///   - token: in compact form, its header already read by the caller.
  ///   - keyID: what the header says; `nil` for nothing.
  ///   - algorithm: what the header says.
  func verify(_ token: String, keyID: String?, algorithm: Algorithm) throws(AuthError) {
    let key = try key(keyID, algorithm)
    var handle: UnsafeMutablePointer<jws_t>?
    guard r_jws_init(&handle) == RHN_OK, let handle else { throw AuthError(.busy, "no memory") }
    defer { r_jws_free(handle) }
    // The header's own keys and addresses are ignored, and nothing is ever fetched.
    let flags = UInt32(R_PARSE_NONE)
    guard r_jws_advanced_compact_parse(handle, token, flags, R_FLAG_IGNORE_REMOTE) == RHN_OK,
      handle.pointee.alg == algorithm.code
    else { throw AuthError(.malformed, "the token cannot be read") }
    guard r_jws_verify_signature(handle, key.handle, R_FLAG_IGNORE_REMOTE) == RHN_OK else {
      throw AuthError(.signature, "the signature does not match")
    }
  }
}
