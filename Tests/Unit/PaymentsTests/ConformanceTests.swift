import EventLoop
import Foundation
import HTTPClient
import Payments
import Testing

/// What is asked of a provider, in the order in which a sale asks it. It runs against the stub, and, by an end-to-end test
/// that sets `ONSALE_TEST_PROVIDER_URL`, against `localstripe`, which is nobody's of this project.
@Suite("What any provider does")
@LoopActor
struct ConformanceTests {
  private nonisolated static var elsewhere: String? {
    ProcessInfo.processInfo.environment["ONSALE_TEST_PROVIDER_URL"]
  }

  private func with(_ body: @LoopActor (StripePaymentClient) async throws -> Void) async throws {
    guard let url = Self.elsewhere else { return try await Provider.with { try await body($0.payments) } }
    let http = HTTPClient()
    defer { http.close() }
    try await body(StripePaymentClient(http, url: url, secretKey: "sk_test_12345"))
  }

  /// Of this run alone: what nobody here started may remember others.
  private let name = UUID().uuidString

  @Test("Money is reserved, looked at, and taken once, however often that is asked for")
  func capture() async throws {
    try await with { payments in
      let payment = try #require(try await payments.authorise(Provider.order(name)).payment)
      #expect(payment.status == .requiresCapture && payment.amount == 4200 && payment.amountCaptured == 0)
      #expect(payment.reference == name && payment.currency == "EUR")
      #expect(try await payments.retrieve(payment.id) == payment)
      for _ in 0..<2 {
        let captured = try await payments.capture(payment.id, reference: name)
        #expect(captured.status == .succeeded)
        #expect(Self.elsewhere != nil || captured.amountCaptured == 4200)
      }
      #expect(try await payments.retrieve(payment.id).status == .succeeded)
    }
  }

  // `localstripe` knows no idempotency keys, says neither why nor that a card was refused, nor how much was captured.
  @Test("An order that is sent again is the same payment", .enabled(if: elsewhere == nil))
  func again() async throws {
    try await with { payments in
      let first = try #require(try await payments.authorise(Provider.order(name)).payment)
      #expect(try await payments.authorise(Provider.order(name)).payment?.id == first.id)
    }
  }

  @Test("What is let go of is not taken any more, and what is taken is not let go of")
  func cancel() async throws {
    try await with { payments in
      let first = try #require(try await payments.authorise(Provider.order(name + "a")).payment)
      let second = try #require(try await payments.authorise(Provider.order(name + "b")).payment)
      for _ in 0..<2 {
        #expect(try await payments.cancel(first.id, reference: name + "a").status == .canceled)
      }
      #expect(try await payments.capture(first.id, reference: name + "a").status == .canceled)
      #expect(try await payments.capture(second.id, reference: name + "b").status == .succeeded)
      #expect(try await payments.cancel(second.id, reference: name + "b").status == .succeeded)
    }
  }

  @Test("A card that is refused is a decline, and a method that nobody knows is refused for good")
  func refusals() async throws {
    try await with { payments in
      let declined = try await payments.authorise(
        Provider.order(name, method: "pm_card_visa_chargeDeclined"))
      // Of this card `localstripe` finds out when it captures.
      #expect(Self.elsewhere != nil || declined.declineCode == "generic_decline")
      let error = await #expect(throws: PaymentError.self) {
        try await payments.authorise(Provider.order(name + "x", method: "pm_nobody_knows"))
      }
      #expect(error?.code == .refused)
    }
  }

  @Test("A payment that nobody made is not there")
  func missing() async throws {
    try await with { payments in
      await #expect(throws: PaymentError.self) { try await payments.retrieve("pi_nobody_made_this") }
    }
  }
}
