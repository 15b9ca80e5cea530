package import EventLoop
import Foundation
import JSON

/// Verifies bearer tokens: HS256 by the installation's secret, and by a JWK set RS256, PS256, ES256, ES384 or EdDSA.
///
/// Which key a token may use follows from its `alg` and `kid` alone, and each key has exactly one algorithm;
/// `alg: none`, mix-ups and unknown critical headers are refused. `exp` is required and `nbf` honoured, both
/// with `leewaySeconds`.
///
/// A verified token is remembered by its hash for a minute at most, and never past its end, so that polling
/// costs a look-up and not a signature. Withdrawing a key takes effect at once.
@LoopActor
package final class TokenVerifier {
  package nonisolated static let minimumSecretBytes = 32
  /// Longer tokens are refused unread.
  package nonisolated static let maximumTokenBytes = 8_192
  /// How far clocks of issuers may be off.
  package nonisolated static let leewaySeconds = 60
  package nonisolated static let maximumUserCharacters = 128

  /// The first is the one that tokens are issued with.
  private let secrets: [Sodium.HMACKey]
  private var keys: KeySet?
  private let issuer: String?
  private let audience: String?
  private let mapping: ClaimMapping
  private let now: @LoopActor () -> Int
  private let ended: EndedSessions
  private var remembered: RememberedTokens
  /// The last header that was read: an issuer writes the same one into all of its tokens.
  private var lastHeader: (text: [UInt8], header: JSON)?

  /// - Parameters:
  ///   - secret: for HS256; at least 32 bytes.
  ///   - former: secrets that it has replaced, whose tokens are still good.
  ///   - jwks: the text of a JWK set.
  ///   - issuer: what `iss` of the JWK set's tokens must be; `nil` for any.
  ///   - audience: what `aud` of the JWK set's tokens must contain; `nil` for any.
  ///   - mapping: where and how the JWK set's tokens say what somebody may do.
  ///   - ended: sessions whose tokens are refused.
  ///   - now: seconds since 1970.
  /// - Throws: `AuthError.configuration`.
  package init(
    secret: String?, former: [String] = [], jwks: String? = nil, issuer: String? = nil,
    audience: String? = nil, mapping: ClaimMapping = .own,
    rememberAtMost capacity: Int = 100_000, ended: EndedSessions = EndedSessions(),
    now: @escaping @LoopActor () -> Int = { WallClock.milliseconds / 1_000 }
  ) throws(AuthError) {
    let secrets = (secret.map { [$0] } ?? []) + former
    for secret in secrets { try Self.check(secret: secret) }
    if secret == nil, jwks == nil {
      throw AuthError(.configuration, "neither a secret nor a JWK set is configured")
    }
    self.secrets = secrets.map { Sodium.HMACKey(Array($0.utf8)) }
    var keys: KeySet?
    if let jwks { keys = try KeySet(jwks) }
    self.keys = keys
    self.issuer = issuer
    self.audience = audience
    self.mapping = mapping
    self.now = now
    self.ended = ended
    remembered = RememberedTokens(capacity: capacity)
  }

  nonisolated static func check(secret: String) throws(AuthError) {
    if secret.utf8.count < minimumSecretBytes {
      throw AuthError(.configuration, "the token secret needs at least \(minimumSecretBytes) bytes")
    }
  }

  /// That something of a JWK set can be used.
  nonisolated package static func check(jwks: String) throws(AuthError) { _ = try KeySet(jwks) }

  /// What is wrong with keys of the JWK set that were left out, for a person.
  package var keyProblems: [String] { keys?.problems ?? [] }

  /// Takes a rotated JWK set. When it is refused, the current one stays.
  package func replaceKeys(jwks: String) throws(AuthError) {
    keys = try KeySet(jwks)
    remembered.removeAll()
  }

  /// - Parameter token: without the word `Bearer`.
  package func verify(_ token: String) throws(AuthError) -> Claims {
    guard token.utf8.count <= Self.maximumTokenBytes else {
      throw AuthError(.malformed, "the token is longer than \(Self.maximumTokenBytes) bytes")
    }
    let now = now()
    let digest = RememberedTokens.Digest(token)
    let claims: Claims
    if let known = remembered.claims(of: digest, now: now) {
      claims = known
    } else {
      claims = try verifyAnew(token, now: now)
      // Only what is valid without any leeway is remembered, so that it is never used past its end.
      if claims.expiresAt > now { remembered.insert(claims, digest, now: now) }
    }
    if let session = claims.session, ended.contains(session) {
      throw AuthError(.ended, "its session has ended")
    }
    return claims
  }

  private func verifyAnew(_ token: String, now: Int) throws(AuthError) -> Claims {
    let bytes = Array(token.utf8)
    let dot = UInt8(ascii: ".")
    guard let first = bytes.firstIndex(of: dot), let second = bytes[(first + 1)...].firstIndex(of: dot),
      !bytes[(second + 1)...].contains(dot), let header = header(bytes[..<first])
    else { throw AuthError(.malformed, "not a signed token in compact form") }
    if header["crit"] != nil || header["b64"] != nil {
      throw AuthError(.algorithm, "critical header members are not supported")
    }
    guard let algorithm = header["alg"]?.string else { throw AuthError(.algorithm, "`alg` is missing") }
    switch algorithm {
    case "HS256":
      guard !secrets.isEmpty else { throw AuthError(.algorithm, "`alg` is not accepted") }
      guard let mac = Base64URL.decode(bytes[(second + 1)...]) else {
        throw AuthError(.malformed, "the signature is not base64url")
      }
      guard secrets.contains(where: { Sodium.equal(mac, $0.mac(bytes[..<second])) }) else {
        throw AuthError(.signature, "the signature does not match")
      }
    default:
      guard let keys, let known = KeySet.Algorithm(rawValue: algorithm) else {
        throw AuthError(.algorithm, "`alg` is not accepted")
      }
      if let keyID = header["kid"], keyID.string == nil {
        throw AuthError(.unknownKey, "`kid` must be a string")
      }
      try keys.verify(token, keyID: header["kid"]?.string, algorithm: known)
    }
    guard let payload = Self.object(bytes[(first + 1)..<second]) else {
      throw AuthError(.malformed, "the payload is not a JSON object")
    }
    if algorithm != "HS256" { try checkOrigin(payload) }
    let isOwn = algorithm == "HS256"
    return try Self.claims(payload, isOwn ? .own : mapping, isOwn: isOwn, now: now)
  }

  private static func claims(
    _ payload: JSON, _ mapping: ClaimMapping, isOwn: Bool, now: Int
  ) throws(AuthError) -> Claims {
    guard let expiresAt = try seconds(payload, "exp") else { throw AuthError(.claims, "`exp` is missing") }
    if expiresAt + leewaySeconds <= now { throw AuthError(.expired, "the token has expired") }
    if let start = try seconds(payload, "nbf"), start > now + leewaySeconds {
      throw AuthError(.notYetValid, "the token is not valid yet")
    }
    guard let user = payload["sub"]?.string, !user.isEmpty else {
      throw AuthError(.claims, "`sub` is missing")
    }
    // Characters are only counted where there can be too many: that is slow.
    guard
      user.utf8.count <= maximumUserCharacters
        || user.utf8.count <= maximumUserCharacters * 4 && user.count <= maximumUserCharacters,
      user.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7f })
    else {
      throw AuthError(
        .claims, "`sub` has more than \(maximumUserCharacters) characters or control characters")
    }
    var session: Session?
    if isOwn, let words = payload["sid"]?.string?.split(separator: "."), words.count == 2,
      let id = Int64(words[0]), let startedAt = Int(words[1])
    {
      session = Session(id: id, user: user, startedAt: startedAt)
    }
    return Claims(
      user: user, role: try mapping.role(payload, isOwn: isOwn),
      organizations: try mapping.organizations(payload),
      expiresAt: expiresAt, session: session)
  }

  private func checkOrigin(_ payload: JSON) throws(AuthError) {
    if let issuer, payload["iss"]?.string != issuer {
      throw AuthError(.claims, "`iss` is not the expected one")
    }
    if let audience {
      let said = payload["aud"]?.array ?? payload["aud"].map { [$0] } ?? []
      if payload["aud"] == nil, mapping.allowsMissingAudience { return }
      if !said.contains(.string(audience)) { throw AuthError(.claims, "`aud` does not name this service") }
    }
  }

  /// A NumericDate: whole or fractional seconds, within what a date can be.
  private static func seconds(_ payload: JSON, _ name: String) throws(AuthError) -> Int? {
    guard let value = payload[name] else { return nil }
    guard let seconds = value.double, seconds >= 0, seconds < 1e12 else {
      throw AuthError(.claims, "`\(name)` is not a time in seconds")
    }
    return Int(seconds)
  }

  private func header(_ part: ArraySlice<UInt8>) -> JSON? {
    if let lastHeader, part.elementsEqual(lastHeader.text) { return lastHeader.header }
    guard let header = Self.object(part) else { return nil }
    lastHeader = (Array(part), header)
    return header
  }

  private static func object(_ part: ArraySlice<UInt8>) -> JSON? {
    guard let bytes = Base64URL.decode(part), let json = try? JSON(parsing: bytes), json.members != nil else {
      return nil
    }
    return json
  }
}
