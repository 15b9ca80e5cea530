import EventLoop
import HTTPClient
import JSON
import Testing

@testable import Payments

/// What Stripe documents of itself and a kind provider spares its clients.
@Suite("A provider as hard as the real one")
@LoopActor
struct HardProviderTests {
  @Test("The first answer of a key is no news: the payment is asked for, and is as it is now")
  func firstAnswer() async throws {
    try await Provider.with { provider in
      let order = Provider.order("f")
      let payment = try #require(try await provider.payments.authorise(order).payment)
      _ = try await provider.post("/stub/payments/\(payment.id)/lapse", "")
      #expect(try await provider.payments.authorise(order).declineCode == "payment_canceled")
      let taken = Provider.order("g")
      let other = try #require(try await provider.payments.authorise(taken).payment)
      _ = try await provider.post("/stub/payments/\(other.id)/capture", "")
      #expect(try await provider.payments.authorise(taken).payment?.status == .succeeded)
    }
  }

  @Test("A search that shows what was is not believed, and one that lags does not know yet")
  func staleSearch() async throws {
    try await Provider.with { provider in
      let payment = try #require(try await provider.payments.authorise(Provider.order("s")).payment)
      try await provider.inject(["search_stale_ms": 60_000])
      #expect(try await provider.payments.find(reference: "s") == payment)
      try await provider.inject(["search_lag_ms": 60_000])
      #expect(try await provider.payments.find(reference: "s") == nil)
      #expect(try await provider.payments.retrieve(payment.id) == payment)
    }
  }

  @Test(
    "A payment that is processed is waited for, and ends",
    arguments: [("pm_stub_processing", nil), ("pm_stub_processingDeclined", "generic_decline")])
  func processing(_ method: String, _ decline: String?) async throws {
    try await Provider.with { provider in
      try await provider.inject(["processing_ms": 50])
      guard
        case .waiting(let payment) = try await provider.payments.authorise(
          Provider.order("p", method: method))
      else {
        Issue.record("was not waited for")
        return
      }
      #expect(payment.status == .processing)
      var outcome = PaymentOutcome(payment)
      while case .waiting = outcome {
        outcome = PaymentOutcome(try await provider.payments.retrieve(payment.id))
        try await sleep(milliseconds: 10)
      }
      #expect(outcome.declineCode == decline)
      #expect((outcome.payment?.status == .requiresCapture) == (decline == nil))
    }
  }

  @Test(
    "Whatever else it answers has its meaning",
    arguments: [
      (400, PaymentError.Code.refused), (401, .misconfigured), (403, .misconfigured), (404, .misconfigured),
      (409, .outcomeUnknown), (429, .rateLimited), (500, .outcomeUnknown), (503, .outcomeUnknown),
    ])
  func answers(_ status: Int, _ expected: PaymentError.Code) async throws {
    try await Provider.with { provider in
      try await provider.inject(["refuse_rate": 1, "refuse_status": .integer(status)])
      #expect(await code { _ = try await provider.payments.authorise(Provider.order("a")) } == expected)
      try await provider.inject([:])
      let summary = try await provider.summary()
      #expect(summary["payments"] == 0)
    }
  }

  @Test(
    "A provider that wants to be left alone is, for as long as it says",
    arguments: ["rate_limit", "lock_timeout"])
  func retryAfter(code: String) async throws {
    try await Provider.with { provider in
      try await provider.inject(
        ["refuse_rate": 1, "refuse_status": 429, "refuse_code": .string(code), "retry_after": 2])
      let error = await #expect(throws: PaymentError.self) {
        _ = try await provider.payments.authorise(Provider.order("a"))
      }
      #expect(error?.retryAfterMilliseconds == 2_000)
      try await provider.inject([:])
      let before = EventLoop.shared.now
      #expect(try await provider.payments.authorise(Provider.order("a")).payment != nil)
      // Not how long it took: that it did not go out before.
      #expect(EventLoop.shared.now >= before + 1_000)
    }
  }

  @Test("Below its rate the provider is never asked too often")
  func pace() async throws {
    try await Provider.with { provider in
      try await provider.inject(["requests_per_second": 60])
      let payments = StripePaymentClient(
        provider.http, url: provider.url, secretKey: "sk_test_1", requestsPerSecond: 25)
      await withTaskGroup(of: Void.self) { group in
        for number in 0..<40 {
          group.addTask { _ = try? await payments.authorise(Provider.order("pace \(number)")) }
        }
      }
      let summary = try await provider.summary()
      #expect(summary["payments"] == 40)
      #expect(summary["faults_injected"]?["rate_limit"] == nil)
    }
  }

  @Test("Events take turns: one with a thousand payments keeps another's single one waiting for one")
  func turns() async throws {
    let pace = RequestPace(perSecond: 200)
    var order: [Int] = []
    @LoopActor func ask(_ event: Int) async {
      await pace.turn(.making(event))
      order.append(event)
    }
    let large = (0..<200).map { _ in Task { @LoopActor in await ask(1) } }
    let small = Task { @LoopActor in await ask(2) }
    await small.value
    #expect(order.count < 150, "\(order.count) came before")
    for task in large { await task.value }
    #expect(order.count == 201)
  }

  @Test("What is sold is taken while a thousand buyers at their banks are asked for, and a large sale pays")
  func turnsOfKinds() async throws {
    let pace = RequestPace(perSecond: 200)
    var order: [RequestPace.Turn] = []
    @LoopActor func ask(_ turn: RequestPace.Turn) async {
      await pace.turn(turn)
      order.append(turn)
    }
    let many = [RequestPace.Turn.asking, .making(1)].flatMap { turn in
      (0..<150).map { _ in Task { @LoopActor in await ask(turn) } }
    }
    let captures = (0..<20).map { _ in Task { @LoopActor in await ask(.ending) } }
    for task in captures { await task.value }
    #expect(order.count < 150, "\(order.count) came before")
    for task in many { await task.value }
  }

  @Test("Eight large sales leave what is sold a third of the turns, and what has happened goes first")
  func turnsBeforeEvents() async throws {
    let pace = RequestPace(perSecond: 400)
    var order: [RequestPace.Turn] = []
    @LoopActor func ask(_ turn: RequestPace.Turn) async {
      await pace.turn(turn)
      order.append(turn)
    }
    let making = (0..<8).flatMap { event in
      (0..<40).map { _ in Task { @LoopActor in await ask(.making(event)) } }
    }
    let asking = (0..<100).map { _ in Task { @LoopActor in await ask(.asking) } }
    let captures = (0..<30).map { _ in Task { @LoopActor in await ask(.ending) } }
    for task in captures { await task.value }
    // Some of them were asked at once, before anybody else was there.
    #expect(order.count < 180, "\(order.count) came before")
    let before = order.count
    let urgent = (0..<10).map { _ in Task { @LoopActor in await ask(.urgent) } }
    for task in urgent { await task.value }
    let first = order.firstIndex(of: .urgent) ?? 0, last = order.lastIndex(of: .urgent) ?? .max
    #expect(first >= before && last - first <= 21, "\(last - first) came before")
    // And nobody waits for ever.
    #expect(order[before...].contains { $0 != .urgent })
    for task in making + asking { await task.value }
    #expect(order.count == 460)
  }

  @Test(
    "What the provider cannot charge is refused by the stub, too",
    arguments: [
      ("USD", 49), ("HUF", 17_400), ("KWD", 12_345), ("XXX", 1_000),
    ])
  func rules(_ currency: String, _ amount: Int) async throws {
    try await Provider.with { provider in
      var order = Provider.order("r", amount: amount)
      order.currency = currency
      #expect(await code { _ = try await provider.payments.authorise(order) } == .refused)
    }
  }

  @Test(
    "An amount is the same here and there, in whatever units the provider counts",
    arguments: [
      ("ISK", 15_900, "1590000"), ("UGX", 80_000, "8000000"), ("MGA", 200_000, "2000"),
      ("JPY", 8_800, "8800"),
      ("HUF", 1_590_000, "1590000"), ("KWD", 12_340, "12340"),
    ])
  func units(_ currency: String, _ amount: Int, _ there: String) async throws {
    try await Provider.with { provider in
      var order = Provider.order("u", amount: amount)
      order.currency = currency
      let payment = try #require(try await provider.payments.authorise(order).payment)
      #expect(payment.amount == amount && payment.currency == currency)
      let json = try await provider.get("/v1/payment_intents/\(payment.id)")
      #expect(json["amount"]?.integer == Int(there))
      let captured = try await provider.payments.capture(payment.id, reference: "u")
      #expect(captured.amountCaptured == amount)
      try await provider.payments.refund(payment.id)
      try await provider.payments.refund(payment.id)
      #expect(try await provider.payments.refunded(payment.id) == amount)
    }
  }

  @Test("Payments of another installation are somebody else's")
  func installations() async throws {
    try await Provider.with { provider in
      var order = Provider.order("00000000-0000-0000-0000-000000000001-1")
      order.metadata =
        PurchaseMetadata(
          event: 7, generation: 1, position: 3, tickets: [1], user: "ann", amount: 4_200, attempt: 2,
          id: "00000000-0000-0000-0000-000000000001", installation: "here"
        ).fields
      let payment = try #require(try await provider.payments.authorise(order).payment)
      let place = PaymentPlace(event: 7, generation: 1, position: 3, attempt: 2)
      #expect(payment.place(in: "here") == place && payment.place(in: nil) == place)
      #expect(payment.place(in: "there") == nil)
      let before = Payment(
        id: "p", status: .succeeded, amount: 1, amountCaptured: 1, currency: "EUR", reference: "7-1-3-2",
        created: 0)
      #expect(before.place(in: "here") == place, "of a version before, which named nobody")
    }
  }

  @Test(
    "A buyer whose bank wants to hear from them is sent there, and what they say there counts",
    arguments: [("approve", nil), ("refuse", "payment_intent_authentication_failure")])
  func bank(_ answer: String, _ decline: String?) async throws {
    try await Provider.with { provider in
      let payments = StripePaymentClient(
        provider.http, url: provider.url, secretKey: "sk_test_1", returnURL: "https://shop.example/back")
      let order = Provider.order("b", method: "pm_card_threeDSecure2Required")
      guard case .waiting(let payment) = try await payments.authorise(order) else {
        Issue.record("was not asked for")
        return
      }
      let page = try #require(payment.redirectURL)
      #expect(try await provider.http.send(HTTPClientRequest(url: page)).status == 200)
      let back = try await provider.http.send(HTTPClientRequest(method: "POST", url: "\(page)/\(answer)"))
      #expect(back.status == 303 && back.header("Location") == "https://shop.example/back")
      let outcome = PaymentOutcome(try await payments.retrieve(payment.id))
      #expect(outcome.declineCode == decline)
      #expect((outcome.payment?.status == .requiresCapture) == (decline == nil))
      // Who is sent nowhere cannot pay with it.
      let without = try await provider.payments.authorise(
        Provider.order("c", method: "pm_card_threeDSecure2Required"))
      #expect(without.declineCode == "authentication_required")
    }
  }
}

@Suite("Refunds at the provider")
@LoopActor
struct ProviderRefundTests {
  /// A payment that was captured.
  private func captured(_ provider: Provider) async throws -> String {
    let order = Provider.order("r-\(UInt32.random(in: 0...UInt32.max))")
    let payment = try #require(try await provider.payments.authorise(order).payment)
    _ = try await provider.payments.capture(payment.id, reference: order.reference)
    return payment.id
  }

  private func order(_ payment: String, _ amount: Int = 1000, reference: String = "a", attempt: Int = 1)
    -> RefundOrder
  {
    RefundOrder(reference: reference, attempt: attempt, payment: payment, amount: amount, currency: "EUR")
  }

  @Test("Repeated under its name it is one, also once the provider has forgotten the key")
  func once() async throws {
    try await Provider.with { provider in
      let id = try await captured(provider)
      let first = try await provider.payments.refund(order(id))
      #expect(first.amount == 1000 && first.reference == "a" && first.payment == id)
      #expect(try await provider.payments.refund(order(id)) == first)
      #expect(try await provider.payments.refunded(id) == 1000)
      _ = try await provider.payments.refund(order(id, reference: "b"))
      #expect(try await provider.payments.refunded(id) == 2000)
      #expect(try await provider.payments.refunds(of: id).map(\.reference) == ["b", "a"])
    }
  }

  @Test("A list of everybody's refunds and disputes tells whose payment each is of")
  func owners() async throws {
    try await Provider.with { provider in
      var ours = Provider.order("r-ours")
      let purchase = PurchaseMetadata(
        event: 7, generation: 1, position: 9, tickets: [1], user: "ann", amount: ours.amount, attempt: 1,
        installation: "here")
      ours.metadata = purchase.fields
      let payment = try #require(try await provider.payments.authorise(ours).payment)
      _ = try await provider.payments.capture(payment.id, reference: ours.reference)
      _ = try await provider.payments.refund(order(payment.id))
      _ = try await provider.payments.refund(order(try await captured(provider), reference: "b"))
      let listed = try await provider.payments.refunds(after: nil, limit: 10).refunds
      #expect(listed.map(\.reference) == ["b", "a"])
      #expect(listed.map { $0.paid?.id } == listed.map(\.payment) && listed[1].payment == payment.id)
      let place = PaymentPlace(event: 7, generation: 1, position: 9, attempt: 1)
      #expect(listed.map { $0.owner(in: "here") } == [.others, .ours(place)])
      #expect(listed.map { $0.owner(in: "there") } == [.others, .others])
      // Of one payment it is known whose it is.
      #expect(try await provider.payments.refunds(of: payment.id).map(\.paid) == [nil])
    }
  }

  @Test("A failure after the effect is found, and one before it is said to be for good once it is replayed")
  func failures() async throws {
    try await Provider.with { provider in
      let id = try await captured(provider)
      // Every other failure comes after the effect.
      try await provider.inject(["error_rate": 1])
      #expect(await code { _ = try await provider.payments.refund(order(id)) } == .outcomeUnknown)
      #expect(await code { _ = try await provider.payments.refund(order(id)) } == .failed)
      try await provider.inject([:])
      #expect(try await provider.payments.refund(order(id, attempt: 2)).reference == "a")
      #expect(try await provider.payments.refunded(id) == 1000)
    }
  }

  @Test("More than is left is refused for good")
  func refused() async throws {
    try await Provider.with { provider in
      let id = try await captured(provider)
      #expect(await code { _ = try await provider.payments.refund(order(id, 9999)) } == .refused)
      _ = try await provider.payments.refund(order(id, 4200, reference: "all"))
      #expect(await code { _ = try await provider.payments.refund(order(id, 1, reference: "b")) } == .refused)
    }
  }
}
