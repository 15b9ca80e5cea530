import EventLoop
import Foundation
import JSON
import PaymentStub
import Payments
import Testing

@Suite("The stub speaks Stripe's language")
@LoopActor
struct StubTests {
  @Test("What the form makes of a card pays once")
  func form() async throws {
    try await Provider.with { provider in
      func token(_ number: String, key: String = "pk_test_1") async throws -> (status: Int, json: JSON) {
        let answer = try await provider.post(
          "/stub/confirmation_tokens", "key=\(key)&number=\(number)&expiry=12+%2F+39&cvc=123")
        return (answer.status, answer.json)
      }
      let made = try await token("4242+4242+4242+4242")
      let id = try #require(made.json["id"]?.string)
      #expect(made.status == 200 && id.hasPrefix("ctoken_"))
      #expect(try await provider.payments.authorise(Provider.order("a", method: id)).payment != nil)
      // Asked again under its key, it is the same; for another payment it is nothing.
      #expect(try await provider.payments.authorise(Provider.order("a", method: id)).payment != nil)
      #expect(
        await code { _ = try await provider.payments.authorise(Provider.order("b", method: id)) } == .refused)
      let poor = try #require(try await token("4000000000009995").json["id"]?.string)
      #expect(
        try await provider.payments.authorise(Provider.order("c", method: poor)).declineCode
          == "insufficient_funds")
      #expect(try await token("4242424242424241").json["error"]?["code"]?.string == "incorrect_number")
      #expect(try await token("4242424242424242", key: "pk_live_1").status == 401)
      #expect(try await token("4242424242424242", key: "sk_test_1").status == 401)
    }
  }

  private nonisolated static let create =
    "amount=1000&currency=eur&confirm=true&capture_method=manual&payment_method=pm_card_visa"

  @Test("A key replays its answer, refuses other parameters, and is free after a refusal")
  func keys() async throws {
    try await Provider.with { provider in
      let first = try await provider.post("/v1/payment_intents", Self.create, key: "k")
      #expect(first.status == 200 && !first.isReplayed)
      _ = try await provider.post("/v1/payment_intents/\(first.json["id"]?.string ?? "")/capture", "")
      let second = try await provider.post("/v1/payment_intents", Self.create, key: "k")
      #expect(second.isReplayed && second.json == first.json)
      let reordered = Self.create.split(separator: "&").reversed().joined(separator: "&")
      #expect(try await provider.post("/v1/payment_intents", reordered, key: "k").isReplayed)
      let other = try await provider.post("/v1/payment_intents", Self.create + "&description=x", key: "k")
      #expect(other.status == 400 && other.json["error"]?["type"] == "idempotency_error")
      let path = try await provider.post("/v1/refunds", Self.create, key: "k")
      #expect(path.json["error"]?["type"] == "idempotency_error")
      #expect(try await provider.post("/v1/payment_intents", "amount=1", key: "k2").status == 400)
      #expect(try await provider.post("/v1/payment_intents", Self.create, key: "k2").status == 200)
    }
  }

  @Test("A key in use is 409")
  func keyInUse() async throws {
    try await Provider.with { provider in
      try await provider.inject(["latency_ms": ["mean": 500]])
      var first = 0
      var inUse = 0
      await withTaskGroup(of: (status: Int, json: JSON, isReplayed: Bool)?.self) { group in
        for _ in 0..<5 {
          group.addTask { try? await provider.post("/v1/payment_intents", Self.create, key: "k") }
        }
        for await answer in group {
          if answer?.status == 200, answer?.isReplayed == false { first += 1 }
          if answer?.json["error"]?["code"] == "idempotency_key_in_use" { inUse += 1 }
        }
      }
      #expect(first == 1 && inUse > 0)
      let replayed = try await provider.post("/v1/payment_intents", Self.create, key: "k")
      #expect(replayed.isReplayed)
    }
  }

  @Test(
    "Bad parameters are named",
    arguments: [
      ("", "amount", "parameter_missing"), ("amount=x&currency=eur", "amount", "parameter_invalid_integer"),
      ("amount=1000", "currency", "parameter_missing"),
      ("amount=49&currency=eur", "amount", "amount_too_small"),
      ("amount=100000000&currency=eur", "amount", "amount_too_large"),
      ("amount=1000&currency=euro", "currency", nil),
      ("amount=1000&currency=eur&confirm=maybe", "confirm", nil),
      ("amount=1000&currency=eur&confirm=true", "payment_method", "parameter_missing"),
      ("amount=1000&currency=eur&payment_method=pm_x", "payment_method", "resource_missing"),
      ("amount=1000&currency=eur&capture_method=later", "capture_method", nil),
    ] as [(String, String, String?)])
  func parameters(_ form: String, _ param: String, _ code: String?) async throws {
    try await Provider.with { provider in
      let answer = try await provider.post("/v1/payment_intents", form)
      #expect(answer.status == 400)
      #expect(answer.json["error"]?["type"] == "invalid_request_error")
      #expect(answer.json["error"]?["param"]?.string == param)
      #expect(answer.json["error"]?["code"]?.string == code)
      #expect(answer.json["error"]?["message"]?.string?.isEmpty == false)
    }
  }

  @Test("A declined card is a card error with the payment in it, which another card confirms")
  func declineThenConfirm() async throws {
    try await Provider.with { provider in
      let form = Self.create.replacing("pm_card_visa", with: "pm_card_visa_chargeDeclinedInsufficientFunds")
      let declined = try await provider.post("/v1/payment_intents", form)
      let error = declined.json["error"]
      #expect(declined.status == 402 && error?["type"] == "card_error" && error?["code"] == "card_declined")
      #expect(error?["decline_code"] == "insufficient_funds")
      let intent = error?["payment_intent"]
      #expect(intent?["status"] == "requires_payment_method")
      #expect(intent?["last_payment_error"]?["decline_code"] == "insufficient_funds")
      let id = try #require(intent?["id"]?.string)
      let confirmed = try await provider.post(
        "/v1/payment_intents/\(id)/confirm", "payment_method=pm_card_mastercard")
      #expect(confirmed.json["status"] == "requires_capture" && confirmed.json["last_payment_error"] == .null)
    }
  }

  @Test("Part of an amount is captured, and refunded up to what was captured")
  func partialCaptureAndRefunds() async throws {
    try await Provider.with { provider in
      let id = try #require(try await provider.post("/v1/payment_intents", Self.create).json["id"]?.string)
      #expect(
        try await provider.post("/v1/payment_intents/\(id)/capture", "amount_to_capture=1001").status == 400)
      let captured = try await provider.post("/v1/payment_intents/\(id)/capture", "amount_to_capture=600")
        .json
      #expect(captured["amount_received"] == 600 && captured["amount_capturable"] == 0)
      let refund = try await provider.post("/v1/refunds", "payment_intent=\(id)&amount=400").json
      #expect(refund["object"] == "refund" && refund["amount"] == 400 && refund["status"] == "succeeded")
      #expect(try await provider.post("/v1/refunds", "payment_intent=\(id)&amount=201").status == 400)
      #expect(try await provider.post("/v1/refunds", "payment_intent=\(id)").json["amount"] == 200)
      let again = try await provider.post("/v1/refunds", "payment_intent=\(id)").json
      #expect(again["error"]?["code"] == "charge_already_refunded")
      #expect(try await provider.get("/v1/refunds?payment_intent=\(id)")["data"]?.array?.count == 2)
      let refundID = refund["id"]?.string ?? ""
      #expect(try await provider.get("/v1/refunds/\(refundID)") == refund)
    }
  }

  @Test("Lists go both ways and filter by time; search finds by metadata")
  func lists() async throws {
    try await Provider.with { provider in
      var ids: [String] = []
      for number in 0..<5 {
        let answer = try await provider.post(
          "/v1/payment_intents", Self.create + "&metadata%5Bn%5D=\(number)&metadata[all]=yes")
        ids.append(try #require(answer.json["id"]?.string))
      }
      func listed(_ query: String) async throws -> [String] {
        try await provider.get("/v1/payment_intents\(query)")["data"]?.array?.compactMap { $0["id"]?.string }
          ?? []
      }
      #expect(try await listed("?limit=2") == [ids[4], ids[3]])
      #expect(try await listed("?limit=2&starting_after=\(ids[3])") == [ids[2], ids[1]])
      #expect(try await listed("?limit=2&ending_before=\(ids[1])") == [ids[3], ids[2]])
      #expect(try await listed("?created[gte]=1") == ids.reversed())
      #expect(try await listed("?created[lt]=1000") == [])
      #expect(try await provider.get("/v1/payment_intents?limit=0")["error"]?["param"] == "limit")
      #expect(try await provider.get("/v1/payment_intents?starting_after=pi_x")["error"] != nil)
      #expect(try await listed("/search?query=metadata%5B'n'%5D:'3'") == [ids[3]])
      #expect(
        try await listed("/search?limit=2&query=metadata['all']:'yes'%20AND%20status:'requires_capture'")
          .count == 2)
      #expect(try await listed("/search?query=metadata['all']:'yes'%20AND%20status:'canceled'") == [])
      #expect(
        try await provider.get("/v1/payment_intents/search?query=amount>5")["error"]?["param"] == "query")
    }
  }

  @Test("Basic authentication is taken too, and no key is not")
  func authentication() async throws {
    try await Provider.with { provider in
      let basic = "Basic " + Data("sk_test_1:".utf8).base64EncodedString()
      let right = try await provider.post("/v1/payment_intents", Self.create, authorization: basic)
      #expect(right.status == 200)
      for wrong in ["", "Bearer", "Bearer ", "Bearer sk_test_2", "Basic !!!", "Basic c2tfdGVzdF8y"] {
        #expect(
          try await provider.post("/v1/payment_intents", Self.create, authorization: wrong).status == 401)
      }
    }
  }

  @Test("The ledger survives a restart: payments, refunds and keys")
  func restart() async throws {
    try await Provider.with { provider in
      let kept = try await provider.post("/v1/payment_intents", Self.create + "&metadata[a]=b", key: "kept")
        .json
      let captured = try await provider.post("/v1/payment_intents", Self.create, key: "captured").json
      let id = captured["id"]?.string ?? ""
      _ = try await provider.post("/v1/payment_intents/\(id)/capture", "")
      _ = try await provider.post("/v1/refunds", "payment_intent=\(id)&amount=100")
      let declined = try await provider.post(
        "/v1/payment_intents", Self.create.replacing("visa", with: "visa_chargeDeclined"), key: "declined"
      ).json
      let before = try await provider.summary()
      try await provider.restart()
      let after = try await provider.summary()
      for name in ["payments", "statuses", "captured_amount", "refunded_amount", "keys", "bytes", "records"] {
        #expect(after[name] == before[name], "\(name)")
      }
      #expect(try await provider.get("/v1/payment_intents/\(kept["id"]?.string ?? "")") == kept)
      let replayed = try await provider.post("/v1/payment_intents", Self.create, key: "captured")
      #expect(replayed.isReplayed && replayed.json == captured)
      let again = try await provider.post(
        "/v1/payment_intents", Self.create.replacing("visa", with: "visa_chargeDeclined"), key: "declined")
      #expect(again.status == 402 && again.isReplayed && again.json == declined)
    }
  }

  @Test("A line torn by a crash is cut off, and what comes after is kept")
  func tornLine() async throws {
    try await Provider.with { provider in
      _ = try await provider.post("/v1/payment_intents", Self.create, key: "a")
      try await provider.restart { ledger in
        let handle = try FileHandle(forWritingTo: URL(filePath: ledger))
        try handle.seekToEnd()
        try handle.write(contentsOf: Data(#"{"kind":"created","id":"pi_torn"#.utf8))
        try handle.close()
      }
      #expect(try await provider.summary()["payments"] == 1)
      _ = try await provider.post("/v1/payment_intents", Self.create, key: "b")
      try await provider.restart()
      #expect(try await provider.summary()["payments"] == 2)
    }
  }

  @Test("A ledger with a line that is no record is refused, and so is one in use")
  func badLedger() async throws {
    try await Provider.with { provider in
      await #expect(throws: (any Error).self) { _ = try await Provider.start(provider.ledger) }
      let other = provider.ledger + "-bad"
      try Data("{\"kind\":\"created\"}\n".utf8).write(to: URL(filePath: other))
      await #expect(throws: (any Error).self) { _ = try await Provider.start(other) }
    }
  }
}
