import Identity
import Testing

@Suite("Signatures of webhooks")
struct WebhookSignatureTests {
  private static let body = Array(#"{"id":"evt_1"}"#.utf8)
  private static let secret = "whsec_0123456789abcdef"

  /// Computed with Python's hmac over "1700000000." and the body.
  private static let known =
    "t=1700000000,v1=dea1657bd5053cb0f8a75ebf0bd3d22e0cdeb79563b44db6b88864e522fb8bc4"

  @Test("What another implementation signed is believed")
  func other() {
    #expect(WebhookSignature.isValid(Self.known, of: Self.body, secrets: [Self.secret], now: 1_700_000_100))
    #expect(WebhookSignature.header(Self.body, secret: Self.secret, at: 1_700_000_000) == Self.known)
  }

  @Test("Two secrets count while they are exchanged, and so does any of several signatures")
  func rotation() {
    for secrets in [["whsec_another_secret", Self.secret], [Self.secret, "whsec_another_secret"]] {
      #expect(WebhookSignature.isValid(Self.known, of: Self.body, secrets: secrets, now: 1_700_000_000))
    }
    let several = Self.known.replacing("v1=", with: "v1=00,v0=11,v1=")
    #expect(WebhookSignature.isValid(several, of: Self.body, secrets: [Self.secret], now: 1_700_000_000))
  }

  @Test(
    "Nothing else is",
    arguments: [
      "", "t=1700000000", "v1=00", "t=x,v1=00", "t=1700000000,v1=",
      "t=1700000000,v0=dea1657bd5053cb0f8a75ebf0bd3d22e0cdeb79563b44db6b88864e522fb8bc4",
      "t=1700000001,v1=dea1657bd5053cb0f8a75ebf0bd3d22e0cdeb79563b44db6b88864e522fb8bc4",
      "t=-9223372036854775807,v1=00", "t=-9223372036854775808,v1=00", "t=9223372036854775807,v1=00",
      "=,=,=", String(repeating: "v1=00,", count: 1_000),
    ])
  func forged(_ header: String) {
    #expect(!WebhookSignature.isValid(header, of: Self.body, secrets: [Self.secret], now: 1_700_000_000))
  }

  @Test("An old one is not, nor one from the future, nor of another body or secret")
  func stale() {
    for now in [1_700_000_301, 1_699_999_699] {
      #expect(!WebhookSignature.isValid(Self.known, of: Self.body, secrets: [Self.secret], now: now))
    }
    #expect(
      !WebhookSignature.isValid(Self.known, of: Self.body + [32], secrets: [Self.secret], now: 1_700_000_000))
    #expect(
      !WebhookSignature.isValid(Self.known, of: Self.body, secrets: ["whsec_another"], now: 1_700_000_000))
    #expect(!WebhookSignature.isValid(Self.known, of: Self.body, secrets: [], now: 1_700_000_000))
  }
}
