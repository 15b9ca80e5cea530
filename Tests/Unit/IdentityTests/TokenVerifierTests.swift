import EventLoop
import Foundation
import JSON
import Testing

@testable import Identity

@Suite("Bearer tokens")
@LoopActor
struct TokenVerifierTests {
  static let secret = "0123456789abcdef0123456789abcdef"
  static let now = 1_800_000_000

  private func verifier(jwks: String? = nil, secret: String? = secret) throws -> TokenVerifier {
    try TokenVerifier(secret: secret, jwks: jwks) { Self.now }
  }

  private static let valid: JSON = ["sub": "u1", "role": "organizer", "exp": .integer(now + 600)]

  private static func base64(_ text: String) -> String { Sodium.base64(Array(text.utf8)) }

  /// A token signed with HMAC-SHA-256 under any header and payload.
  private static func signed(header: String, payload: String, key: String = secret) -> String {
    let text = base64(header) + "." + base64(payload)
    let mac = Sodium.HMACKey(Array(key.utf8)).mac(Array(text.utf8)[...])
    return text + "." + Sodium.base64(mac)
  }

  private static let header = #"{"alg":"HS256","typ":"JWT"}"#

  private func code(_ token: String, _ verifier: TokenVerifier) -> AuthError.Code? {
    do throws(AuthError) {
      _ = try verifier.verify(token)
      return nil
    } catch { return error.code }
  }

  @Test("An issued token says who it is for, until when, and in which role")
  func issued() throws {
    let token = try TokenIssuer(secret: Self.secret)
      .issue(user: "u-é", role: .organizer, lifetimeSeconds: 60, now: Self.now)
    let claims = try verifier().verify(token)
    #expect(claims == Claims(user: "u-é", role: .organizer, expiresAt: Self.now + 60))
  }

  @Test("A token of the example in RFC 7515 verifies, and says that it lacks a subject")
  func rfc7515() throws {
    // Its key is 64 bytes that are no text, so only the MAC is checked here.
    let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
    let bytes = Base64URL.decode(Array(key.utf8)[...]) ?? []
    let signed =
      "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
      + "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    let mac = Sodium.HMACKey(bytes).mac(Array(signed.utf8)[...])
    #expect(Sodium.base64(mac) == "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
  }

  @Test(
    "URL-safe base64 is read in its one spelling only",
    arguments: [
      ("", []), ("Zg", [0x66]), ("Zm8", [0x66, 0x6F]), ("Zm9v", [0x66, 0x6F, 0x6F]),
      ("-_-_", [0xFB, 0xFF, 0xBF]),
      // Bits left over, one character alone, padding, the other alphabet, and what is no character of any.
      ("Zh", nil), ("Zm9", nil), ("Z", nil), ("Zm9vZ", nil), ("Zg==", nil), ("+/+/", nil), ("Zm 9", nil),
      ("Zmé", nil),
    ] as [(String, [UInt8]?)])
  func base64(_ text: String, _ bytes: [UInt8]?) {
    #expect(Base64URL.decode(Array(text.utf8)[...]) == bytes)
  }

  @Test("Tokens of a secret that was replaced are good for as long as it is kept")
  func formerSecret() throws {
    let token = try TokenIssuer(secret: Self.secret).issue(user: "ann", role: .customer, lifetimeSeconds: 60)
    let next = "another secret, also of 32 bytes"
    let rotated = try TokenVerifier(secret: next, former: ["one more secret that was replaced", Self.secret])
    #expect(try rotated.verify(token).user == "ann")
    let own = try TokenIssuer(secret: next).issue(user: "bob", role: .customer, lifetimeSeconds: 60)
    #expect(try rotated.verify(own).user == "bob")
    #expect(try code(token, TokenVerifier(secret: next)) == .signature)
    #expect(throws: AuthError.self) { try TokenVerifier(secret: next, former: ["short"]) }
  }

  @Test("A short secret, and none at all, are refused")
  func badConfiguration() {
    #expect(throws: AuthError.self) { try verifier(secret: "short") }
    #expect(throws: AuthError.self) { try verifier(secret: nil) }
    #expect(throws: AuthError.self) { try TokenIssuer(secret: "short") }
  }

  @Test(
    "What is not a signed token is malformed",
    arguments: [
      "", ".", "..", "...", "a.b.c", "a.b", "a.b.c.d", "\u{0}", "💥.💥.💥",
      String(repeating: "a", count: 9_000), String(repeating: ".", count: 5_000),
    ])
  func malformed(_ token: String) throws {
    #expect(try code(token, verifier()) == .malformed)
  }

  @Test(
    "A header that asks for anything but HS256 or a known key is refused",
    arguments: [
      (#"{"alg":"none"}"#, AuthError.Code.algorithm), (#"{"alg":"NONE"}"#, .algorithm),
      (#"{"alg":"nOnE"}"#, .algorithm), (#"{"alg":""}"#, .algorithm), (#"{"alg":null}"#, .algorithm),
      (#"{"alg":1}"#, .algorithm), (#"{"alg":["HS256"]}"#, .algorithm), (#"{}"#, .algorithm),
      (#"{"alg":"HS384"}"#, .algorithm), (#"{"alg":"hs256"}"#, .algorithm), (#"{"alg":"RS256"}"#, .algorithm),
      (#"{"alg":"HS256","crit":["exp"]}"#, .algorithm), (#"{"alg":"HS256","b64":false}"#, .algorithm),
      (#"{"alg":"HS256","alg":"none"}"#, .malformed), (#"["HS256"]"#, .malformed), ("{", .malformed),
    ])
  func badHeaders(_ header: String, _ expected: AuthError.Code) throws {
    let token = Self.signed(header: header, payload: Self.valid.text)
    #expect(try code(token, verifier()) == expected)
    // The same with an empty signature.
    let parts = token.split(separator: ".")
    #expect(try code("\(parts[0]).\(parts[1]).", verifier()) == expected)
  }

  @Test(
    "Claims that are missing or of the wrong type are refused",
    arguments: [
      (#"{"sub":"u"}"#, AuthError.Code.claims), (#"{"sub":"u","exp":"1900000000"}"#, .claims),
      (#"{"sub":"u","exp":null}"#, .claims), (#"{"sub":"u","exp":-1}"#, .claims),
      (#"{"sub":"u","exp":1e300}"#, .claims), (#"{"sub":"u","exp":true}"#, .claims),
      (#"{"sub":"u","exp":1799999900}"#, .expired), (#"{"sub":"u","exp":0}"#, .expired),
      (#"{"exp":1900000000}"#, .claims), (#"{"sub":"","exp":1900000000}"#, .claims),
      (#"{"sub":7,"exp":1900000000}"#, .claims), (#"{"sub":"a\nb","exp":1900000000}"#, .claims),
      (#"{"sub":"u","exp":1900000000,"nbf":1800000090}"#, .notYetValid),
      (#"{"sub":"u","exp":1900000000,"nbf":"x"}"#, .claims),
      (#"{"sub":"u","exp":1900000000,"role":7}"#, .claims), (#"[1]"#, .malformed), (#""x""#, .malformed),
      (#"{"sub":"u","exp":99999999999999999999}"#, .malformed),
      ("{\"sub\":\"\(String(repeating: "x", count: 129))\",\"exp\":1900000000}", .claims),
    ])
  func badClaims(_ payload: String, _ expected: AuthError.Code) throws {
    let token = Self.signed(header: Self.header, payload: payload)
    #expect(try code(token, verifier()) == expected)
  }

  @Test("Clocks may be a little apart, and roles that are not known here give no rights")
  func leeway() throws {
    let payload = #"{"sub":"u","exp":1799999998.5,"nbf":1800000050,"role":"superuser"}"#
    let claims = try verifier().verify(Self.signed(header: Self.header, payload: payload))
    #expect(claims == Claims(user: "u", role: .customer, expiresAt: 1_799_999_998))
  }

  @Test("A changed byte anywhere makes a token invalid")
  func tampered() throws {
    let token = try TokenIssuer(secret: Self.secret)
      .issue(user: "u", role: .customer, lifetimeSeconds: 60, now: Self.now)
    let verifier = try verifier()
    _ = try verifier.verify(token)
    for index in token.indices where token[index] != "." {
      var changed = token
      changed.replaceSubrange(index...index, with: token[index] == "A" ? "B" : "A")
      #expect(code(changed, verifier) != nil)
    }
    #expect(code(token + "=", verifier) == .malformed)
    #expect(code(token + " ", verifier) != nil)
    #expect(
      code(Self.signed(header: Self.header, payload: Self.valid.text, key: "other"), verifier) == .signature)
  }

  @Test("Tokens of an outside identity provider verify", arguments: ["RS256", "ES256", "EdDSA"])
  func publicKeys(_ algorithm: String) throws {
    let key = SigningKey(algorithm, id: "k1"), other = SigningKey(algorithm, id: "k1")
    let verifier = try verifier(jwks: SigningKey.set([key]), secret: nil)
    #expect(try verifier.verify(key.sign(Self.valid)).user == "u1")
    #expect(code(key.sign(Self.valid, keyID: "k2"), verifier) == .unknownKey)
    #expect(code(other.sign(Self.valid), verifier) == .signature)
    var parts = key.sign(Self.valid).split(separator: ".").map(String.init)
    parts[1] = Self.base64(#"{"sub":"admin","role":"organizer","exp":1900000000}"#)
    #expect(code(parts.joined(separator: "."), verifier) == .signature)
    parts[2] = ""
    #expect(code(parts.joined(separator: "."), verifier) != nil)
    #expect(code(key.sign(["sub": "u", "exp": .integer(Self.now - 60)]), verifier) == .expired)
  }

  @Test("A key is used only with its own algorithm")
  func mixUps() throws {
    let rsa = SigningKey("RS256", id: "rsa"), ec = SigningKey("ES256", id: "ec")
    let verifier = try verifier(jwks: SigningKey.set([rsa, ec]))
    #expect(code(ec.sign(Self.valid, keyID: "rsa"), verifier) == .algorithm)
    #expect(code(rsa.sign(Self.valid, keyID: "ec"), verifier) == .algorithm)
    // HS256 with a public key's text as the secret.
    for key in [rsa.jwk.text, rsa.jwk["n"]?.string ?? ""] {
      let forged = Self.signed(
        header: #"{"alg":"HS256","kid":"rsa"}"#, payload: Self.valid.text, key: key)
      #expect(code(forged, verifier) == .signature)
    }
    // A key that the token brings along.
    let own = SigningKey("RS256", id: "own")
    var parts = own.sign(Self.valid).split(separator: ".").map(String.init)
    parts[0] = Self.base64((["alg": "RS256", "kid": "rsa", "jwk": own.jwk] as JSON).text)
    #expect(code(parts.joined(separator: "."), verifier) == .signature)
    // No secret, so no HS256 either.
    let onlyKeys = try self.verifier(jwks: SigningKey.set([rsa]), secret: nil)
    #expect(code(Self.signed(header: Self.header, payload: Self.valid.text), onlyKeys) == .algorithm)
  }

  @Test("A rotated key set works at once, and a withdrawn key no longer does")
  func rotation() throws {
    let old = SigningKey("EdDSA", id: "2024"), new = SigningKey("ES256", id: "2025")
    let verifier = try verifier(jwks: SigningKey.set([old]))
    let token = old.sign(Self.valid)
    _ = try verifier.verify(token)
    try verifier.replaceKeys(jwks: SigningKey.set([old, new]))
    _ = try verifier.verify(token)
    _ = try verifier.verify(new.sign(Self.valid))
    try verifier.replaceKeys(jwks: SigningKey.set([new]))
    #expect(code(token, verifier) == .unknownKey)
    #expect(throws: AuthError.self) { try verifier.replaceKeys(jwks: "{}") }
    _ = try verifier.verify(new.sign(Self.valid))
  }

  @Test(
    "A key set that is broken or dangerous is refused",
    arguments: [
      "", "{}", "[]", #"{"keys":[]}"#, #"{"keys":{}}"#, #"{"keys":[1]}"#,
      #"{"keys":[{"kty":"oct","kid":"a","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}"#,
      #"{"keys":[{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"}]}"#,
      #"{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"AA","y":"AA"}]}"#,
      #"{"keys":[{"kty":"EC","crv":"P-521","kid":"a","x":"AA","y":"AA"}]}"#,
    ])
  func badKeySets(_ text: String) {
    #expect(throws: AuthError.self) { try verifier(jwks: text) }
  }

  private static func nameless(_ key: SigningKey) -> JSON {
    .object((key.jwk.members ?? []).filter { $0.name != "kid" })
  }

  @Test("A key that cannot be used is left out, and the others stay")
  func badKeysAlone() throws {
    let good = SigningKey("ES256", id: "good")
    let bad: [JSON] = [
      ["kty": "oct", "kid": "a", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"],
      ["kty": "RSA", "kid": "b", "n": "AQAB", "e": "AQAB"],
      ["kty": "EC", "crv": "P-256", "kid": "c", "x": "AA", "y": "AA"],
      ["kty": "EC", "crv": "P-521", "kid": "d", "x": "AA", "y": "AA"],
      ["kty": "AKP", "kid": "e", "alg": "ML-DSA-44"],
      SigningKey("ES256", id: "good").jwk, 7, [:], Self.nameless(SigningKey("RS256", id: "f")),
    ]
    let set: JSON = ["keys": .array([bad[0], good.jwk] + bad.dropFirst())]
    let verifier = try verifier(jwks: set.text)
    _ = try verifier.verify(good.sign(Self.valid))
    #expect(verifier.keyProblems.count == 8, "\(verifier.keyProblems)")
    #expect(verifier.keyProblems[0].contains("key 1") && verifier.keyProblems[0].contains("symmetric"))
    let forEncryption: JSON = .object((good.jwk.members ?? []).filter { $0.name != "use" } + [("use", "enc")])
    #expect(throws: AuthError.self) { try self.verifier(jwks: (["keys": [forEncryption]] as JSON).text) }
  }

  @Test("A key without a name is used for tokens that name none, if it is the only one of its kind")
  func namelessKeys() throws {
    let rsa = SigningKey("RS256", id: "x", isNamed: false), curve = SigningKey("ES256", id: "y")
    let unnamedCurve = SigningKey("ES256", id: "z", isNamed: false)
    let both = try verifier(jwks: SigningKey.set([rsa, curve]))
    _ = try both.verify(rsa.sign(Self.valid, isNamed: false))
    _ = try both.verify(curve.sign(Self.valid))
    #expect(code(rsa.sign(Self.valid), both) == .unknownKey)
    #expect(code(unnamedCurve.sign(Self.valid, isNamed: false), both) == .unknownKey)
    let other = SigningKey("RS256", id: "z")
    let two = try verifier(jwks: SigningKey.set([rsa, other]))
    #expect(code(rsa.sign(Self.valid, isNamed: false), two) == .unknownKey)
    _ = try two.verify(other.sign(Self.valid))
  }

  @Test(
    "A key is used with each algorithm of its type, or with the one that it names",
    arguments: ["PS256", "ES384"])
  func otherAlgorithms(_ algorithm: String) throws {
    let key = SigningKey(algorithm, id: "k")
    let bare = JSON.object((key.jwk.members ?? []).filter { $0.name != "alg" })
    let verifier = try verifier(jwks: (["keys": [bare]] as JSON).text)
    _ = try verifier.verify(key.sign(Self.valid))
    let elsewhere = JSON.object((bare.members ?? []) + [("alg", algorithm == "PS256" ? "RS256" : "ES384")])
    let strict = try self.verifier(jwks: (["keys": [elsewhere]] as JSON).text)
    #expect(code(key.sign(Self.valid), strict) == (algorithm == "PS256" ? .algorithm : nil))
  }

  @Test("Roles are found where the provider writes them, and in its own words")
  func roles() throws {
    let key = SigningKey("EdDSA", id: "k")
    for (claim, value, role) in [
      ("role", "organizer", .organizer), ("role", ["customer", "member"], .customer), ("role", [], .customer),
      ("role", ["member", "organizer", 7], .organizer), ("roles", ["Box Office"], .organizer),
      ("https://example.com/roles", ["Box Office", "admins"], .manager),
      ("cognito:groups", "admins", .manager),
      ("realm_access.roles", ["offline_access", "manager"], .manager),
      ("resource_access.onsale.example.roles", ["organizer"], .organizer), ("role", .null, .customer),
      // What another issuer calls a guest is a buyer of theirs, unless the installation says that it is none.
      ("role", "guest", .customer), ("role", ["visitor"], .guest),
      ("role", ["visitor", "customer"], .customer),
    ] as [(String, JSON, Role)] {
      var mapping = ClaimMapping()
      mapping.roleClaim = claim
      mapping.roles = ["Box Office": .organizer, "admins": .manager, "visitor": .guest]
      let verifier = try TokenVerifier(
        secret: nil, jwks: SigningKey.set([key]), mapping: mapping, now: { Self.now })
      let member: (name: String, value: JSON) =
        switch claim {
        case "realm_access.roles": ("realm_access", ["roles": value])
        case "resource_access.onsale.example.roles": ("resource_access", ["onsale.example": ["roles": value]])
        default: (claim, value)
        }
      let claims = try verifier.verify(
        key.sign(.object((Self.valid.members ?? []).filter { $0.name != "role" } + [member])))
      #expect(claims.role == role, "\(claim) \(value.text)")
    }
  }

  @Test(
    "An audience may be absent where the installation says so, and never another one; organizations are read")
  func audienceAndOrganizations() throws {
    let key = SigningKey("EdDSA", id: "k")
    var mapping = ClaimMapping()
    mapping.allowsMissingAudience = true
    mapping.organizationClaim = "org"
    let verifier = try TokenVerifier(
      secret: nil, jwks: SigningKey.set([key]), audience: "onsale", mapping: mapping, now: { Self.now })
    func token(_ more: [(name: String, value: JSON)]) -> String {
      key.sign(.object((Self.valid.members ?? []) + more))
    }
    #expect(try verifier.verify(token([("org", ["a", "b"])])).organizations == ["a", "b"])
    // They are kept in lines: a name of two lines would share its events with both.
    for name in ["A\nB", "\n", "a\u{1}", "\u{85}"] {
      #expect(try verifier.verify(token([("org", [.string(name), "b"])])).organizations == ["b"])
      let members = JSON.object([(name, .bool(true)), ("b", .bool(true))])
      #expect(try verifier.verify(token([("org", members)])).organizations == ["b"])
    }
    #expect(code(token([("aud", "x")]), verifier) == .claims)
    #expect(code(token([("aud", [])]), verifier) == .claims)
  }

  @Test("Issuer and audience are checked where they are configured")
  func origin() throws {
    let key = SigningKey("EdDSA", id: "k")
    let verifier = try TokenVerifier(
      secret: nil, jwks: SigningKey.set([key]), issuer: "https://id.example", audience: "onsale"
    ) { Self.now }
    func token(_ more: [(name: String, value: JSON)]) -> String {
      key.sign(.object((Self.valid.members ?? []) + more))
    }
    _ = try verifier.verify(token([("iss", "https://id.example"), ("aud", "onsale")]))
    _ = try verifier.verify(token([("iss", "https://id.example"), ("aud", ["x", "onsale"])]))
    #expect(code(token([("iss", "https://id.example"), ("aud", "x")]), verifier) == .claims)
    #expect(code(token([("iss", "https://evil.example"), ("aud", "onsale")]), verifier) == .claims)
    #expect(code(token([]), verifier) == .claims)
  }

  @Test("A remembered token is not used past its end, nor longer than a minute")
  func remembered() throws {
    final class Clock {
      var now: Int
      init(now: Int) { self.now = now }
    }
    let clock = Clock(now: Self.now)
    let verifier = try TokenVerifier(secret: Self.secret, rememberAtMost: 4) { clock.now }
    let issuer = try TokenIssuer(secret: Self.secret)
    let token = issuer.issue(user: "u", role: .customer, lifetimeSeconds: 30, now: clock.now)
    _ = try verifier.verify(token)
    clock.now += 29
    _ = try verifier.verify(token)
    clock.now += 1 + TokenVerifier.leewaySeconds
    #expect(code(token, verifier) == .expired)

    var tokens = RememberedTokens(capacity: 4)
    let digest = RememberedTokens.Digest("a")
    tokens.insert(Claims(user: "u", role: .customer, expiresAt: 1_000), digest, now: 100)
    #expect(tokens.claims(of: digest, now: 159) != nil)
    #expect(tokens.claims(of: digest, now: 160) == nil)
    for number in 0..<100 {
      let claims = Claims(user: "\(number)", role: .customer, expiresAt: 1_000)
      tokens.insert(claims, RememberedTokens.Digest("\(number)"), now: 101)
      #expect(tokens.claims(of: RememberedTokens.Digest("\(number)"), now: 101) == claims)
    }
    #expect(tokens.claims(of: digest, now: 101) == nil)
  }

  @Test(
    "Speed of verification, printed",
    .enabled(if: ProcessInfo.processInfo.environment["ONSALE_MEASURE"] != nil))
  func speed() throws {
    let keys = ["RS256", "ES256", "EdDSA"].map { SigningKey($0, id: $0) }
    let verifier = try TokenVerifier(secret: Self.secret, jwks: SigningKey.set(keys), rememberAtMost: 2) {
      Self.now
    }
    let issuer = try TokenIssuer(secret: Self.secret)
    func measure(_ name: String, _ tokens: [String], rounds: Int) throws {
      let clock = ContinuousClock()
      let time = try clock.measure {
        for _ in 0..<rounds { for token in tokens { _ = try verifier.verify(token) } }
      }
      let seconds = Double(time.components.attoseconds) / 1e18 + Double(time.components.seconds)
      print("\(name): \(Int(Double(rounds * tokens.count) / seconds)) verifications/s")
    }
    let users = (0..<100).map { "user-\($0)" }
    let own = users.map { issuer.issue(user: $0, role: .customer, lifetimeSeconds: 900, now: Self.now) }
    try measure("HS256", own, rounds: 100)
    try measure("remembered", [own[0]], rounds: 100_000)
    for key in keys {
      let tokens = users.map { key.sign(["sub": .string($0), "exp": .integer(Self.now + 900)]) }
      try measure(key.id, tokens, rounds: 10)
    }
  }
}
