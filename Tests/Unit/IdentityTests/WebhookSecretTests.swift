import Testing

@testable import Identity

@Suite("Secrets of outgoing webhooks")
struct WebhookSecretTests {
  @Test("Signatures are those of Standard Webhooks")
  func vector() throws {
    let secret = try #require(WebhookSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
    let signature = secret.signature(
      id: "msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp: 1_614_265_330, body: Array(#"{"test": 2432232314}"#.utf8)
    )
    #expect(signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
  }

  @Test("A new secret is one, and no other")
  func random() {
    let secret = WebhookSecret.random()
    #expect(WebhookSecret(secret) != nil)
    #expect(secret != WebhookSecret.random())
  }

  @Test(
    "What is no secret is none",
    arguments: ["", "whsec_", "whsec_!!!!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ="])
  func refused(text: String) { #expect(WebhookSecret(text) == nil) }
}
