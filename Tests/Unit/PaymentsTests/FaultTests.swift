import EventLoop
import HTTPClient
import JSON
import Payments
import Testing

@Suite("What the provider does wrong")
@LoopActor
struct FaultTests {
  @Test("Slow: the answer comes, and a client that did not wait gets it by asking again")
  func slow() async throws {
    try await Provider.with { provider in
      try await provider.inject(["latency_ms": ["mean": 2_500, "spread": 10], "for_next": 1])
      let impatient = provider.impatient()
      #expect(await code { _ = try await impatient.authorise(Provider.order("s")) } == .outcomeUnknown)
      var outcome: PaymentOutcome?
      while outcome == nil {
        outcome = try? await provider.payments.authorise(Provider.order("s"))
        try await sleep(milliseconds: 10)
      }
      #expect(outcome?.payment?.status == .requiresCapture)
      #expect(try await provider.summary()["payments"] == 1)
    }
  }

  @Test("No answer before the effect: nothing happened, and the same order goes through")
  func timeoutBefore() async throws {
    try await Provider.with { provider in
      try await provider.inject(["timeout_before_rate": 1, "for_next": 1])
      let impatient = provider.impatient()
      #expect(await code { _ = try await impatient.authorise(Provider.order("t")) } == .outcomeUnknown)
      #expect(try await provider.payments.find(reference: "t") == nil)
      #expect(try await provider.payments.authorise(Provider.order("t")).payment != nil)
      #expect(try await provider.summary()["payments"] == 1)
    }
  }

  @Test("No answer after the effect: the payment is found, and sending again gives the same one")
  func timeoutAfter() async throws {
    try await Provider.with { provider in
      try await provider.inject(["timeout_after_rate": 1, "for_next": 1])
      let impatient = provider.impatient()
      #expect(await code { _ = try await impatient.authorise(Provider.order("t")) } == .outcomeUnknown)
      let found = try await provider.payments.find(reference: "t")
      #expect(found?.status == .requiresCapture)
      #expect(try await provider.payments.authorise(Provider.order("t")).payment == found)
      #expect(try await provider.summary()["payments"] == 1)
    }
  }

  @Test("A capture whose answer is lost has happened, and may be repeated")
  func captureLost() async throws {
    try await Provider.with { provider in
      let payment = try #require(try await provider.payments.authorise(Provider.order("c")).payment)
      try await provider.inject(["timeout_after_rate": 1, "for_next": 1])
      let impatient = provider.impatient()
      #expect(
        await code { _ = try await impatient.capture(payment.id, reference: "c") } == .outcomeUnknown)
      #expect(try await provider.payments.capture(payment.id, reference: "c").status == .succeeded)
      #expect(try await provider.summary()["captured_amount"] == 4200)
    }
  }

  @Test("A stored failure without an effect is first unknown, then a failure, and never a charge")
  func failsBefore() async throws {
    try await Provider.with { provider in
      try await provider.inject(["error_rate": 1, "for_next": 1])
      #expect(
        await code { _ = try await provider.payments.authorise(Provider.order("f")) } == .outcomeUnknown)
      for _ in 0..<2 {
        #expect(await code { _ = try await provider.payments.authorise(Provider.order("f")) } == .failed)
      }
      #expect(try await provider.summary()["payments"] == 0)
    }
  }

  @Test("A stored failure with an effect is resolved to the payment that was made")
  func failsAfter() async throws {
    try await Provider.with { provider in
      try await provider.inject(["error_rate": 1, "for_next": 2])
      _ = try? await provider.payments.authorise(Provider.order("before"))
      let payment = try #require(try await provider.payments.authorise(Provider.order("after")).payment)
      #expect(payment.status == .requiresCapture)
      #expect(try await provider.payments.authorise(Provider.order("after")).payment == payment)
      #expect(try await provider.summary()["payments"] == 1)
    }
  }

  @Test("A stored failure is no decline: the search may not know the payment yet")
  func searchLags() async throws {
    try await Provider.with { provider in
      try await provider.inject(["error_rate": 1, "search_lag_ms": 60_000])
      let payments = provider.payments
      for expected in [PaymentError.Code.outcomeUnknown, .failed] {
        for reference in ["before", "after"] {
          #expect(await code { _ = try await payments.authorise(Provider.order(reference)) } == expected)
        }
      }
      try await provider.inject([:])
      #expect(await code { _ = try await payments.authorise(Provider.order("before")) } == .failed)
      #expect(try await payments.authorise(Provider.order("after")).payment?.status == .requiresCapture)
      #expect(try await provider.summary()["payments"] == 1)
    }
  }

  @Test("Failing captures are repeated until the money is there, once")
  func captureFails() async throws {
    try await Provider.with { provider in
      let payment = try #require(try await provider.payments.authorise(Provider.order("c")).payment)
      try await provider.inject(["error_rate": 1, "for_next": 2])
      #expect(
        await code { _ = try await provider.payments.capture(payment.id, reference: "c") } == .outcomeUnknown)
      // The second one fails after its effect, which asking shows.
      #expect(try await provider.payments.capture(payment.id, reference: "c").status == .succeeded)
      #expect(try await provider.summary()["captured_amount"] == 4200)
    }
  }

  @Test("Declines are injected at their rate")
  func declines() async throws {
    try await Provider.with { provider in
      try await provider.inject(["decline_rate": .number(0.5), "seed": 7])
      var declined = 0
      for number in 0..<100 {
        if try await provider.payments.authorise(Provider.order("d\(number)")).payment == nil {
          declined += 1
        }
      }
      #expect((30...70).contains(declined))
      let summary = try await provider.summary()
      #expect(summary["statuses"]?["requires_payment_method"]?.integer == declined)
      #expect(summary["faults_injected"]?["decline"]?.integer == declined)
    }
  }

  @Test("A request that arrives twice has its effect once")
  func duplicates() async throws {
    try await Provider.with { provider in
      try await provider.inject(["duplicate_rate": 1])
      let payment = try #require(try await provider.payments.authorise(Provider.order("d")).payment)
      #expect(try await provider.payments.capture(payment.id, reference: "d").status == .succeeded)
      let other = try #require(try await provider.payments.authorise(Provider.order("e")).payment)
      #expect(try await provider.payments.cancel(other.id, reference: "e").status == .canceled)
      let summary = try await provider.summary()
      #expect(summary["payments"] == 2 && summary["captures"] == 1 && summary["captured_amount"] == 4200)
    }
  }

  @Test("Whatever goes wrong, each order ends with at most one authorisation, and all can be settled")
  func everything() async throws {
    try await Provider.with { provider in
      try await provider.inject([
        "latency_ms": ["mean": 3, "spread": 3], "decline_rate": .number(0.1), "error_rate": .number(0.15),
        "timeout_before_rate": .number(0.1), "timeout_after_rate": .number(0.1),
        "duplicate_rate": .number(0.1), "hang_ms": 0, "seed": 3,
      ])
      let payments = provider.payments
      let outcomes = await withTaskGroup(of: PaymentOutcome.self) { group in
        for number in 0..<200 {
          group.addTask {
            while true {
              do {
                return try await payments.authorise(Provider.order("e\(number)"))
              } catch let error as PaymentError where error.code == .failed {
                // Nothing was made: the stub's search would know.
                return .declined(id: nil, code: "processing_error", message: "")
              } catch {}
            }
          }
        }
        var outcomes: [PaymentOutcome] = []
        for await outcome in group { outcomes.append(outcome) }
        return outcomes
      }
      let authorised = outcomes.compactMap(\.payment)
      #expect(Set(authorised.map(\.id)).count == authorised.count)
      for payment in authorised {
        while (try? await payments.capture(payment.id, reference: "")) == nil {}
      }
      let summary = try await provider.summary()
      #expect(summary["captured_amount"]?.integer == authorised.count * 4200)
      #expect(summary["captures"]?.integer == authorised.count)
      #expect(summary["open_amount"] == 0)
    }
  }

  @Test(
    "Nobody without the key sets faults or reads the ledger", arguments: ["", "Bearer ", "Bearer sk_test_2"])
  func strangers(_ authorization: String) async throws {
    try await Provider.with { provider in
      for path in ["/stub/faults", "/stub/ledger"] {
        let request = HTTPClientRequest(url: provider.url + path, headers: [("Authorization", authorization)])
        #expect(try await provider.http.send(request).status == 401)
      }
      let answer = try await provider.post(
        "/stub/faults", #"{"decline_rate":1}"#, authorization: authorization)
      #expect(answer.status == 401)
      #expect(try await provider.get("/stub/faults")["decline_rate"]?.double != 1)
    }
  }

  @Test(
    "Faults that make no sense are refused",
    arguments: [
      #"{"decline_rate":2}"#, #"{"error_rate":"a"}"#, #"{"unknown":1}"#, "[]", "{", #"{"for_next":-1}"#,
    ])
  func badFaults(_ text: String) async throws {
    try await Provider.with { provider in
      let answer = try await provider.post("/stub/faults", text)
      #expect(answer.status == 400)
    }
  }
}
