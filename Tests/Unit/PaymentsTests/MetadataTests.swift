import EventLoop
import JSON
import Payments
import Sale
import Testing

@Suite("What a payment says of its purchase")
@LoopActor
struct MetadataTests {
  private nonisolated static func purchase(_ tickets: [Int], user: String = "ann") -> PurchaseMetadata {
    PurchaseMetadata(event: 42, generation: 2, position: 7, tickets: tickets, user: user, amount: 1_000)
  }

  @Test("The largest purchase of the longest name fits what a provider takes, and is read back")
  func largest() {
    let tickets = (0..<Limits.ticketsPerRequest).map { Limits.ticketID - $0 }
    // A character of several bytes: providers count characters.
    let purchase = Self.purchase(tickets, user: String(repeating: "é", count: 128))
    for (name, value) in purchase.fields {
      #expect(name.count <= PurchaseMetadata.longestName && value.count <= PurchaseMetadata.longestValue)
    }
    #expect(PurchaseMetadata(purchase.fields) == purchase)
    #expect(purchase.tickets == tickets.sorted(), "the order in which they were granted does not matter")
  }

  @Test(
    "What is incomplete or not readable says nothing",
    arguments: [
      "onsale_event", "onsale_generation", "onsale_position", "onsale_tickets", "onsale_user",
      "onsale_amount",
    ])
  func incomplete(name: String) {
    var fields = Self.purchase([1, 2]).fields
    fields[name] = nil
    #expect(PurchaseMetadata(fields) == nil)
    fields[name] = name == "onsale_user" ? "" : "1,x"
    #expect(PurchaseMetadata(fields) == nil)
  }

  @Test("A ticket named twice is no purchase")
  func twice() {
    var fields = Self.purchase([1]).fields
    fields["onsale_tickets"] = "1,1"
    #expect(PurchaseMetadata(fields) == nil)
  }

  @Test("The provider keeps it, and finds the payment by it")
  func kept() async throws {
    try await Provider.with { provider in
      let tickets = (0..<Limits.ticketsPerRequest).map { Limits.ticketID - $0 }
      let purchase = Self.purchase(tickets)
      let order = PaymentOrder(
        reference: "42-2-7-1", amount: 1_000, currency: "EUR", method: "pm_card_visa",
        metadata: purchase.fields)
      guard case .authorised(let made) = try await provider.payments.authorise(order) else {
        Issue.record("was not authorised")
        return
      }
      #expect(made.purchase == purchase)
      #expect(try await provider.payments.retrieve(made.id).purchase == purchase)
      #expect(try await provider.payments.list(after: nil, limit: 10).payments.first?.purchase == purchase)
      let query = "metadata%5B'onsale_user'%5D:'ann'%20AND%20metadata%5B'onsale_event'%5D:'42'"
      let found = try await provider.get("/v1/payment_intents/search?query=\(query)")
      #expect(found["data"]?[0]?["id"]?.string == made.id)
      let others = try await provider.get(
        "/v1/payment_intents/search?query=metadata%5B'onsale_user'%5D:'bob'")
      #expect(others["data"]?.array?.isEmpty == true)
    }
  }

  @Test("An order that the version before began, with less to say, has the outcome that it had then")
  func versionBefore() async throws {
    try await Provider.with { provider in
      var order = PaymentOrder(
        reference: "42-2-7-1", amount: 1_000, currency: "EUR", method: "pm_card_visa",
        metadata: ["onsale_event": "42"])
      let before = try await provider.payments.authorise(order)
      order.metadata = Self.purchase([1]).fields
      #expect(try await provider.payments.authorise(order) == before)
      order.reference = "42-2-8-1"
      order.method = "pm_card_visa_chargeDeclined"
      order.metadata = [:]
      guard case .declined(let id, _, _) = try await provider.payments.authorise(order) else {
        Issue.record("was not declined")
        return
      }
      order.metadata = Self.purchase([1]).fields
      guard case .declined(let again, _, _) = try await provider.payments.authorise(order) else {
        Issue.record("was not declined again")
        return
      }
      #expect(again == id)
    }
  }

  @Test("What was given back is told")
  func refunds() async throws {
    try await Provider.with { provider in
      let order = PaymentOrder(reference: "42-2-7-1", amount: 1_000, currency: "EUR", method: "pm_card_visa")
      guard case .authorised(let made) = try await provider.payments.authorise(order) else { return }
      _ = try await provider.payments.capture(made.id, reference: order.reference)
      #expect(try await provider.payments.refunded(made.id) == 0)
      _ = try await provider.post("/v1/refunds", "payment_intent=\(made.id)&amount=300")
      _ = try await provider.post("/v1/refunds", "payment_intent=\(made.id)&amount=200")
      #expect(try await provider.payments.refunded(made.id) == 500)
    }
  }
}
