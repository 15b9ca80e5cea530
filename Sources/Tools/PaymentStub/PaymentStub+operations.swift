import EventLoop
import Foundation
import HTTPServer
import JSON
import Logging
import Sale

extension PaymentStub {
  func create(_ form: Form, _ plan: FaultPlan) throws(StripeFailure) -> (LedgerRecord.Change, status: Int) {
    guard book.intents.count < configuration.paymentLimit else {
      throw StripeFailure(status: 503, type: "api_error", message: "The stub keeps no more payments.")
    }
    guard let amount = try form.integer("amount") else { throw missing("amount") }
    guard let currency = form["currency"]?.lowercased() else { throw missing("currency") }
    try check(amount, currency)
    let captureMethod = form["capture_method"] ?? "automatic"
    guard ["automatic", "automatic_async", "manual"].contains(captureMethod) else {
      throw .invalid("Invalid capture_method.", param: "capture_method")
    }
    if let description = form["description"], description.count > 1000 {
      throw .invalid("The description is too long.", param: "description")
    }
    var intent = PaymentIntent(
      id: Self.id("pi_"), created: Self.now(), amount: amount, currency: currency,
      isManual: captureMethod == "manual", description: form["description"], metadata: try form.metadata(),
      returnURL: form["return_url"],
      state: PaymentIntent.State(status: .requiresPaymentMethod))
    if let method = try form["confirmation_token"].map({ text throws(StripeFailure) in try spend(text) })
      ?? form["payment_method"]
    {
      _ = try card(method)
      intent.state.method = method
      intent.state.status = .requiresConfirmation
    }
    guard try form.bool("confirm") else { return (.created(intent), 200) }
    let status = try charge(intent, &intent.state, plan)
    return (.created(intent), status)
  }

  private func check(_ amount: Int, _ code: String) throws(StripeFailure) {
    guard let currency = Currency(code: code.uppercased()) else {
      throw .invalid("Invalid currency: \(code.prefix(10))", param: "currency")
    }
    let (least, most) = (currency.payment.lowerBound, currency.payment.upperBound)
    if amount < currency.providerAmount(least) {
      throw .invalid(
        "Amount must be at least \(currency.text(least)) \(code).", code: "amount_too_small", param: "amount")
    }
    if amount > currency.providerAmount(most) {
      throw .invalid(
        "Amount must be no more than \(currency.text(most)) \(code).", code: "amount_too_large",
        param: "amount")
    }
    if amount % currency.providerAmount(currency.step) != 0 {
      throw .invalid(
        "Invalid amount for the currency \(code).", code: "invalid_charge_amount", param: "amount")
    }
  }

  func confirm(
    _ id: String, _ form: Form, _ plan: FaultPlan
  ) throws(StripeFailure) -> (LedgerRecord.Change, status: Int) {
    let intent = try intent(id)
    var state = intent.state
    guard [.requiresPaymentMethod, .requiresConfirmation, .requiresAction].contains(state.status) else {
      throw unexpectedState(intent, "confirm")
    }
    if let method = form["payment_method"] { state.method = method }
    let status = try charge(intent, &state, plan)
    return (.changed(id: id, state), status)
  }

  /// Tries the card and sets the state to what comes of it.
  /// - Returns: the status to answer: 402 if the card was refused.
  private func charge(
    _ intent: PaymentIntent, _ state: inout PaymentIntent.State, _ plan: FaultPlan
  ) throws(StripeFailure) -> Int {
    guard let method = state.method else {
      throw .invalid(
        "You cannot confirm this PaymentIntent because it's missing a payment method.",
        code: "parameter_missing", param: "payment_method", intent: intent.json(at: url))
    }
    var outcome = try card(method)
    if plan.declines { outcome = .declined("generic_decline") }
    switch outcome {
    case .approved:
      state.status = intent.isManual ? .requiresCapture : .succeeded
      state.received = intent.isManual ? 0 : intent.amount
      state.decline = nil
      state.wasCharged = true
      return 200
    case .declined(let code):
      state.status = .requiresPaymentMethod
      state.method = nil
      state.decline = code
      state.wasCharged = true
      return 402
    case .authenticationRequired:
      state.status = .requiresAction
      return 200
    case .processed:
      state.status = .processing
      return 200
    }
  }

  /// Ends what is processed, once it has taken its time.
  func process(_ id: String) async {
    try? await sleep(milliseconds: UInt64(faults.settings.processingMilliseconds))
    guard let intent = book.index(of: id).map({ book.intents[$0] }), intent.state.status == .processing,
      case .processed(let decline)? = intent.state.method.flatMap(TestCard.init)
    else { return }
    var state = intent.state
    state.wasCharged = true
    if let decline {
      state.status = .requiresPaymentMethod
      state.method = nil
      state.decline = decline
    } else {
      state.status = intent.isManual ? .requiresCapture : .succeeded
      state.received = intent.isManual ? 0 : intent.amount
    }
    await change(id, state)
  }

  /// What happens to a payment without a request of ours: it is cancelled, captured, or given back.
  func happen(_ event: String, to id: String) async throws(StripeFailure) -> HTTPResponse {
    let intent = try intent(id)
    var state = intent.state
    switch event {
    case "lapse":
      guard state.status == .requiresCapture else { throw unexpectedState(intent, "cancel") }
      state.status = .canceled
      state.canceledAt = Self.now()
      state.cancellationReason = "automatic"
    case "capture":
      guard state.status == .requiresCapture else { throw unexpectedState(intent, "capture") }
      state.status = .succeeded
      state.received = intent.amount
    default: throw .missing("event", event)
    }
    await change(id, state)
    return .json(200, try self.intent(id).json(at: url))
  }

  /// What the buyer says to their bank, on the bank's page.
  func answerBank(_ id: String, approves: Bool) async throws(StripeFailure) -> HTTPResponse {
    let intent = try intent(id)
    if intent.state.status == .requiresAction {
      var state = intent.state
      state.wasCharged = true
      if approves {
        state.status = intent.isManual ? .requiresCapture : .succeeded
        state.received = intent.isManual ? 0 : intent.amount
      } else {
        state.status = .requiresPaymentMethod
        state.method = nil
        state.decline = "payment_intent_authentication_failure"
      }
      await change(id, state)
    }
    return HTTPResponse(status: 303, headers: [("Location", intent.returnURL ?? "/")])
  }

  /// Changes a payment without a request of its owner's, who is told so.
  private func change(_ id: String, _ state: PaymentIntent.State) async {
    do {
      _ = try await commit(LedgerRecord(change: .changed(id: id, state), status: 200, key: nil))
      if let index = book.index(of: id) { tell(book.intents[index]) }
    } catch {
      logger.retrying("the ledger failed", level: .error, ["error": String(describing: error)])
    }
  }

  func capture(_ id: String, _ form: Form) throws(StripeFailure) -> (LedgerRecord.Change, status: Int) {
    let intent = try intent(id)
    guard intent.state.status == .requiresCapture else { throw unexpectedState(intent, "capture") }
    let amount = try form.integer("amount_to_capture") ?? intent.amount
    guard amount > 0 else {
      throw .invalid("Amount must be at least 1.", code: "amount_too_small", param: "amount_to_capture")
    }
    guard amount <= intent.amount else {
      throw .invalid(
        "The amount to capture is more than the amount authorized.", code: "amount_too_large",
        param: "amount_to_capture")
    }
    var state = intent.state
    state.status = .succeeded
    state.received = amount
    return (.changed(id: id, state), 200)
  }

  func cancel(_ id: String, _ form: Form) throws(StripeFailure) -> (LedgerRecord.Change, status: Int) {
    let intent = try intent(id)
    guard ![.succeeded, .canceled, .processing].contains(intent.state.status) else {
      throw unexpectedState(intent, "cancel")
    }
    let reason = form["cancellation_reason"]
    let reasons = ["abandoned", "duplicate", "fraudulent", "requested_by_customer"]
    if let reason, !reasons.contains(reason) {
      throw .invalid("Invalid cancellation_reason.", param: "cancellation_reason")
    }
    var state = intent.state
    state.status = .canceled
    state.canceledAt = Self.now()
    state.cancellationReason = reason
    return (.changed(id: id, state), 200)
  }

  func refund(_ form: Form) throws(StripeFailure) -> (LedgerRecord.Change, status: Int) {
    let charge = form["charge"].map { "pi_" + $0.dropFirst(3) }
    guard let id = form["payment_intent"] ?? charge else { throw missing("payment_intent") }
    guard let index = book.index(of: id) else {
      throw .missing("payment_intent", id, param: "payment_intent", status: 400)
    }
    let intent = book.intents[index]
    let left = intent.state.received - book.refunded(intentAt: index)
    guard intent.state.received > 0 else {
      throw .invalid(
        "This PaymentIntent does not have a successful charge to refund.", param: "payment_intent")
    }
    guard left > 0 else {
      throw .invalid("The charge has already been refunded.", code: "charge_already_refunded")
    }
    let amount = try form.integer("amount") ?? left
    guard (1...left).contains(amount) else {
      throw .invalid(
        "Refund amount (\(amount)) is greater than unrefunded amount on charge (\(left)).",
        code: amount < 1 ? "parameter_invalid_integer" : "amount_too_large", param: "amount")
    }
    let reason = form["reason"]
    if let reason, !["duplicate", "fraudulent", "requested_by_customer"].contains(reason) {
      throw .invalid("Invalid reason.", param: "reason")
    }
    let refund = Refund(
      id: Self.id("re_"), intent: id, created: Self.now(), amount: amount, reason: reason,
      metadata: try form.metadata())
    return (.refunded(refund), 200)
  }

  func intent(_ id: String) throws(StripeFailure) -> PaymentIntent {
    guard let index = book.index(of: id) else { throw .missing("payment_intent", id) }
    return book.intents[index]
  }

  private func card(_ method: String) throws(StripeFailure) -> TestCard {
    guard let card = TestCard(method) else {
      throw .missing("PaymentMethod", method, param: "payment_method", status: 400)
    }
    return card
  }

  private func missing(_ param: String) -> StripeFailure {
    .invalid("Missing required param: \(param).", code: "parameter_missing", param: param)
  }

  private func unexpectedState(_ intent: PaymentIntent, _ action: String) -> StripeFailure {
    .invalid(
      "You cannot \(action) this PaymentIntent because it has a status of \(intent.state.status.rawValue).",
      code: "payment_intent_unexpected_state", intent: intent.json(at: url))
  }

  private static let alphabet = Array("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8)

  /// A new id with 24 random characters.
  static func id(_ prefix: String) -> String {
    var characters: [UInt8] = []
    while characters.count < 24 {
      // Ten at a time: each draw is a system call.
      var random = UInt64.random(in: 0...UInt64.max)
      for _ in 0..<10 {
        characters.append(alphabet[Int(random % 62)])
        random /= 62
      }
    }
    return prefix + String(decoding: characters.prefix(24), as: UTF8.self)
  }

  static func now() -> Int { Int(time(nil)) }
}
