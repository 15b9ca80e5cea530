import EventLoop
import HTTPClient
import JSON
import Payments
import Testing

@Suite("Payments against the live stub")
@LoopActor
struct PaymentTests {
  @Test("An order is authorised, captured and found again")
  func happyPath() async throws {
    try await Provider.with { provider in
      let outcome = try await provider.payments.authorise(Provider.order("7-1-1-0"))
      let payment = try #require(outcome.payment)
      #expect(payment.status == .requiresCapture)
      #expect(payment.amount == 4200 && payment.amountCaptured == 0 && payment.currency == "EUR")
      #expect(payment.reference == "7-1-1-0")
      #expect(payment.created > 1_700_000_000)
      let captured = try await provider.payments.capture(payment.id, reference: "7-1-1-0")
      #expect(captured.status == .succeeded && captured.amountCaptured == 4200)
      #expect(try await provider.payments.find(reference: "7-1-1-0") == captured)
      #expect(try await provider.payments.retrieve(payment.id) == captured)
      #expect(try await provider.payments.find(reference: "7-1-1-1") == nil)
    }
  }

  @Test("The same order again is the same payment")
  func repeated() async throws {
    try await Provider.with { provider in
      let first = try await provider.payments.authorise(Provider.order("a"))
      let second = try await provider.payments.authorise(Provider.order("a"))
      #expect(first == second)
      #expect(try await provider.summary()["payments"] == 1)
    }
  }

  @Test("Sent many times at once, an order is authorised once")
  func concurrent() async throws {
    try await Provider.with { provider in
      try await provider.inject(["latency_ms": ["mean": 20]])
      let payments = provider.payments
      let ids = await withTaskGroup(of: String?.self) { group in
        for _ in 0..<20 {
          group.addTask { try? await payments.authorise(Provider.order("once")).payment?.id }
        }
        var ids: Set<String> = []
        for await id in group where id != nil { ids.insert(id ?? "") }
        return ids
      }
      #expect(ids.count == 1)
      #expect(try await provider.summary()["payments"] == 1)
    }
  }

  @Test("An order that changed under its reference is refused")
  func changedOrder() async throws {
    try await Provider.with { provider in
      _ = try await provider.payments.authorise(Provider.order("a"))
      let error = await #expect(throws: PaymentError.self) {
        try await provider.payments.authorise(Provider.order("a", amount: 999))
      }
      #expect(error?.code == .otherOrder)
    }
  }

  @Test(
    "A refused card is a decline with its reason, for good under the reference",
    arguments: [
      ("pm_card_visa_chargeDeclined", "generic_decline"),
      ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
      ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
      ("pm_card_chargeCustomerFail", "generic_decline"),
      ("pm_card_authenticationRequired", "authentication_required"),
    ])
  func declined(_ method: String, _ code: String) async throws {
    try await Provider.with { provider in
      let order = Provider.order("d", method: method)
      let first = try await provider.payments.authorise(order)
      #expect(first.declineCode == code)
      #expect(try await provider.payments.authorise(order) == first)
      guard case .declined(let id, _, _) = first else { return }
      let payment = try await provider.payments.retrieve(try #require(id))
      #expect(payment.amountCaptured == 0)
      #expect([.requiresPaymentMethod, .requiresAction].contains(payment.status))
    }
  }

  @Test("A cancelled authorisation cannot be captured, a captured one not cancelled; both may be repeated")
  func settle() async throws {
    try await Provider.with { provider in
      let payments = provider.payments
      let first = try #require(try await payments.authorise(Provider.order("a")).payment)
      let second = try #require(try await payments.authorise(Provider.order("b")).payment)
      #expect(try await payments.cancel(first.id, reference: "a").status == .canceled)
      #expect(try await payments.cancel(first.id, reference: "a").status == .canceled)
      #expect(try await payments.capture(second.id, reference: "b").status == .succeeded)
      #expect(try await payments.capture(second.id, reference: "b").status == .succeeded)
      // Who comes too late is told what there is.
      #expect(try await payments.capture(first.id, reference: "a").status == .canceled)
      #expect(try await payments.cancel(second.id, reference: "b").status == .succeeded)
      let summary = try await provider.summary()
      #expect(summary["captured_amount"] == 4200 && summary["open_amount"] == 0)
    }
  }

  @Test(
    "Orders the provider cannot take are refused",
    arguments: [
      Provider.order("x", amount: 0), Provider.order("x", amount: 100_000_000),
      Provider.order("x", method: "pm_unknown"),
    ])
  func refused(_ order: PaymentOrder) async throws {
    try await Provider.with { provider in
      let error = await #expect(throws: PaymentError.self) { try await provider.payments.authorise(order) }
      #expect(error?.code == .refused)
      let summary = try await provider.summary()
      #expect(summary["payments"] == 0)
    }
  }

  @Test("Every payment is listed once, newest first")
  func list() async throws {
    try await Provider.with { provider in
      var ids: [String] = []
      for number in 0..<25 {
        ids.append(
          try #require(try await provider.payments.authorise(Provider.order("l\(number)")).payment?.id))
      }
      var listed: [String] = []
      var hasMore = true
      while hasMore {
        let page = try await provider.payments.list(after: listed.last, limit: 10)
        #expect(page.payments.count <= 10)
        listed += page.payments.map(\.id)
        hasMore = page.hasMore
      }
      #expect(listed == ids.reversed())
    }
  }

  @Test("Text of any kind comes back as it was sent")
  func text() async throws {
    try await Provider.with { provider in
      for reference in ["a'b", "a\\b", "ä&=+ %", "\"x\""] {
        let payment = try await provider.payments.authorise(Provider.order(reference)).payment
        #expect(payment?.reference == reference)
        #expect(try await provider.payments.find(reference: reference)?.id == payment?.id)
      }
    }
  }

  @Test("A provider that is not there did nothing")
  func unavailable() async throws {
    try await Provider.with { provider in
      let payments = StripePaymentClient(provider.http, url: "http://127.0.0.1:1", secretKey: "k")
      let error = await #expect(throws: PaymentError.self) {
        try await payments.authorise(Provider.order("a"))
      }
      #expect(error?.code == .unavailable)
    }
  }

  @Test("A wrong key is refused")
  func wrongKey() async throws {
    try await Provider.with { provider in
      let payments = StripePaymentClient(provider.http, url: provider.url, secretKey: "wrong")
      let error = await #expect(throws: PaymentError.self) {
        try await payments.authorise(Provider.order("a"))
      }
      #expect(error?.code == .misconfigured)
      #expect(error.map { !"\($0)".contains("wrong") } ?? false)
    }
  }
}
