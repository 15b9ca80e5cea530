package import EventLoop
package import HTTPClient
import JSON
import Sale

/// Speaks Stripe's PaymentIntents API, the part that manual capture needs.
///
/// Only creating needs an idempotency key: capture and cancel are guarded by the payment's own state, so they
/// carry none, and a key under which the provider stored a failure cannot stand in their way.
@LoopActor
package final class StripePaymentClient: PaymentProvider {
  /// The metadata that names the order at the provider.
  package nonisolated static let referenceField = "onsale_reference"

  private let client: HTTPClient
  private let url: String
  private let secretKey: String
  /// For one exchange, in milliseconds.
  private let timeoutMilliseconds: Int
  private let pace: RequestPace
  private let returnURL: String
  /// How long a provider is left alone that is asked too often and does not say for how long.
  private static let usualPause = 1_000

  /// Requests a second that the provider itself takes, less a fifth for others; 0, as many as there are, for what is not
  /// the provider itself.
  package nonisolated static func usualRate(_ url: String) -> Int {
    url.hasPrefix("https://api.stripe.com") ? 80 : 0
  }

  /// - Parameters:
  ///   - url: the API's base, such as `https://api.stripe.com`.
  ///   - timeoutMilliseconds: how long the provider may take to answer one request.
  ///   - returnURL: where buyers come back to who confirmed a payment with their bank; empty where none are sent there.
  ///   - requestsPerSecond: how often it is asked at most; 0 for as often as there is something to ask.
  package init(
    _ client: HTTPClient, url: String, secretKey: String, timeoutMilliseconds: Int = 20_000,
    requestsPerSecond: Int = 0, returnURL: String = ""
  ) {
    self.returnURL = returnURL
    pace = RequestPace(perSecond: requestsPerSecond)
    self.client = client
    self.url = url.hasSuffix("/") ? String(url.dropLast()) : url
    self.secretKey = secretKey
    self.timeoutMilliseconds = timeoutMilliseconds
  }

  /// Creates and confirms. A failure of the provider is resolved by asking it for the reference: what it made is
  /// returned. What it replays as failed, and does not find, is thrown as `PaymentError.failed`. What an answer names that
  /// was given before is asked for: it may have changed since.
  package func authorise(_ order: PaymentOrder) async throws -> PaymentOutcome {
    var fields: [(name: String, value: String)] = [
      ("amount", String(Self.providerAmount(order))), ("currency", order.currency.lowercased()),
      (order.isOfForm ? "confirmation_token" : "payment_method", order.method),
      ("payment_method_types[0]", "card"),
      ("confirm", "true"), ("capture_method", "manual"),
      ("metadata[\(Self.referenceField)]", order.reference),
    ]
    // Tokens of the form leave checks to a script in the page, which may be gone by then: the buyer is sent to their bank.
    if order.isOfForm { fields.append(("use_stripe_sdk", "false")) }
    if !returnURL.isEmpty { fields.append(("return_url", returnURL)) }
    for (name, value) in order.metadata.sorted(by: { $0.key < $1.key }) {
      fields.append(("metadata[\(name)]", value))
    }
    let answer = try await exchange(
      "POST", "/v1/payment_intents", fields, idempotencyKey: order.reference, turn: .making(order.event))
    switch answer.status {
    case 200..<300:
      let made = try payment(answer.json)
      return try outcome(answer.isReplayed ? await retrieve(made.id, isUrgent: true) : made, of: order)
    case 402: return answer.decline
    case 400 where answer.isOtherOrder:
      // Begun by the version before, which said less about it: what came of it is found. What is not, may have failed.
      if let known = try await find(reference: order.reference, isUrgent: true) {
        return try outcome(known, of: order)
      }
      throw PaymentError(
        code: .failed, message: answer.error.message, providerCode: answer.error.providerCode)
    case 400..<500 where answer.refusesTheOrder:
      throw PaymentError(
        code: .refused, message: answer.error.message, providerCode: answer.error.providerCode)
    case 500...:
      let known: Payment?
      // Whatever becomes of the question, the outcome of the first request stays unknown.
      do { known = try await find(reference: order.reference, isUrgent: true) } catch { throw answer.error }
      if let known { return try outcome(known, of: order) }
      if answer.isReplayed {
        throw PaymentError(
          code: .failed, message: answer.error.message, providerCode: answer.error.providerCode)
      }
      throw answer.error
    default: throw answer.error
    }
  }

  /// - Throws: `PaymentError.otherOrder` for what is not the order's.
  private func outcome(_ payment: Payment, of order: PaymentOrder) throws -> PaymentOutcome {
    guard payment.isOf(order) else {
      throw PaymentError(
        code: .otherOrder,
        message: "payment \(payment.id) is of \(payment.amount) \(payment.currency) for another order")
    }
    return PaymentOutcome(payment)
  }

  /// In the provider's units. A currency that is not in the table is left to the provider to refuse.
  private static func providerAmount(_ order: PaymentOrder) -> Int {
    Currency(code: order.currency.uppercased())?.providerAmount(order.amount) ?? order.amount
  }

  /// What the provider counts, in minor units by ISO 4217.
  private static func amount(_ amount: Int, _ currency: String) -> Int {
    Currency(code: currency.uppercased())?.amount(ofProvider: amount) ?? amount
  }

  package func capture(_ id: String, reference: String) async throws -> Payment {
    try await settle(id, "capture")
  }

  package func cancel(_ id: String, reference: String) async throws -> Payment {
    try await settle(id, "cancel")
  }

  /// Moves a payment to its end. One that has ended already, by this call, an earlier one or somebody else's, is returned.
  private func settle(_ id: String, _ action: String) async throws -> Payment {
    let answer = try await exchange(
      "POST", "/v1/payment_intents/\(FormEncoding.escape(id))/\(action)", [], turn: .ending)
    switch answer.status {
    case 200..<300: return try payment(answer.json)
    case 400..<500:
      if let told = try? payment(answer.json?["error"]?["payment_intent"]), told.status.isEnd { return told }
      // Its state does not allow it, and does not say which that is.
      if answer.status == 400, let known = try? await retrieve(id, isUrgent: true), known.status.isEnd {
        return known
      }
      throw answer.error
    default:
      if let known = try? await retrieve(id, isUrgent: true), known.status.isEnd { return known }
      throw answer.error
    }
  }

  package func refund(_ id: String) async throws {
    let answer = try await exchange(
      "POST", "/v1/refunds", [("payment_intent", id)], idempotencyKey: "refund-\(id)", turn: .ending)
    if answer.status < 300 || answer.json?["error"]?["code"]?.string == "charge_already_refunded" { return }
    throw answer.error
  }

  /// The metadata that names a refund of ours.
  package nonisolated static let refundField = "onsale_refund"

  /// A failure of the provider is resolved by asking it what was given back of the payment, which it knows at once.
  package func refund(_ order: RefundOrder) async throws -> Refund {
    let amount = Currency(code: order.currency.uppercased())?.providerAmount(order.amount) ?? order.amount
    let answer = try await exchange(
      "POST", "/v1/refunds",
      [
        ("payment_intent", order.payment), ("amount", String(amount)),
        ("metadata[\(Self.refundField)]", order.reference),
      ], idempotencyKey: order.key, turn: .ending)
    switch answer.status {
    // A replayed answer is of then: what it names is asked for.
    case 200..<300 where !answer.isReplayed: return try refund(answer.json)
    case 409, 429, 401, 403: throw answer.error
    case 404 where !answer.refusesTheOrder: throw answer.error
    default:
      let known: Refund?
      // Whatever becomes of the question, what came of the request stays unknown.
      do { known = try await refunds(of: order.payment).first { $0.reference == order.reference } } catch {
        throw PaymentError(code: .outcomeUnknown, message: answer.error.message)
      }
      if let known { return known }
      let code: PaymentError.Code =
        answer.status >= 500
        ? (answer.isReplayed ? .failed : .outcomeUnknown)
        : answer.status < 300 ? .outcomeUnknown : .refused
      throw PaymentError(
        code: code, message: answer.error.message, providerCode: answer.error.providerCode,
        retryAfterMilliseconds: answer.retryAfterMilliseconds)
    }
  }

  package func refunds(of payment: String) async throws -> [Refund] {
    // A payment has a handful of refunds at most: each gives back a part of it.
    try await refunds("&payment_intent=\(FormEncoding.escape(payment))", limit: 100).refunds
  }

  package func refunds(after: String?, limit: Int) async throws -> (refunds: [Refund], hasMore: Bool) {
    try await refunds(
      Self.withPayments + (after.map { "&starting_after=\(FormEncoding.escape($0))" } ?? ""),
      limit: min(max(limit, 1), 100))
  }

  /// Has a list of everybody's tell of each one's payment, too, so that nobody has to ask for it to learn whose it is.
  private static let withPayments = "&expand%5B%5D=data.payment_intent"

  /// - Parameter json: what tells of a payment, wholly or by its id alone; nothing for a charge that was made without one.
  private func paid(_ json: JSON?) -> (id: String, payment: Payment?) {
    guard let id = json?.string ?? json?["id"]?.string else { return ("", nil) }
    // One that cannot be understood is asked for by its id, and keeps no other of the list from being read.
    return (id, json?.string == nil ? try? payment(json) : nil)
  }

  private func refunds(_ query: String, limit: Int) async throws -> (refunds: [Refund], hasMore: Bool) {
    let answer = try await exchange("GET", "/v1/refunds?limit=\(limit)\(query)", [])
    guard answer.status == 200, let data = answer.json?["data"]?.array else { throw answer.error }
    return (try data.map { try refund($0) }, answer.json?["has_more"]?.bool ?? false)
  }

  package func disputes(of payment: String?, after: String?, limit: Int) async throws -> (
    disputes: [Dispute], hasMore: Bool
  ) {
    let which = payment.map { "&payment_intent=\(FormEncoding.escape($0))" } ?? Self.withPayments
    let start = after.map { "&starting_after=\(FormEncoding.escape($0))" } ?? ""
    let answer = try await exchange(
      "GET", "/v1/disputes?limit=\(min(max(limit, 1), 100))\(which)\(start)", [])
    guard answer.status == 200, let data = answer.json?["data"]?.array else { throw answer.error }
    let disputes = try data.map { json in
      guard let id = json["id"]?.string, let amount = json["amount"]?.integer,
        let currency = json["currency"]?.string, let status = json["status"]?.string
      else {
        throw PaymentError(code: .outcomeUnknown, message: "the provider's answer is not a dispute")
      }
      let paid = paid(json["payment_intent"])
      return Dispute(
        id: id, payment: paid.id, amount: Self.amount(amount, currency),
        reason: json["reason"]?.string ?? "", status: status, created: json["created"]?.integer ?? 0,
        paid: paid.payment)
    }
    return (disputes, answer.json?["has_more"]?.bool ?? false)
  }

  private func refund(_ json: JSON?) throws -> Refund {
    guard let json, let id = json["id"]?.string, let amount = json["amount"]?.integer,
      let currency = json["currency"]?.string
    else {
      throw PaymentError(code: .outcomeUnknown, message: "the provider's answer is not a refund")
    }
    let paid = paid(json["payment_intent"])
    return Refund(
      id: id, payment: paid.id, amount: Self.amount(amount, currency),
      // Those of cards in their first moment have none yet.
      status: Refund.Status(rawValue: json["status"]?.string ?? "pending"),
      reference: json["metadata"]?[Self.refundField]?.string, created: json["created"]?.integer ?? 0,
      paid: paid.payment)
  }

  /// - Note: Stripe's search sees a new payment after up to a minute, if nothing is wrong there, and shows old states: what
  ///   it finds is asked for.
  package func find(reference: String) async throws -> Payment? {
    try await find(reference: reference, isUrgent: false)
  }

  package func find(reference: String, isUrgent: Bool) async throws -> Payment? {
    let quoted = reference.replacing("\\", with: "\\\\").replacing("'", with: "\\'")
    let query = "metadata['\(Self.referenceField)']:'\(quoted)'"
    let answer = try await exchange(
      "GET", "/v1/payment_intents/search?limit=100&query=\(FormEncoding.escape(query))", [],
      turn: isUrgent ? .urgent : .asking)
    guard answer.status == 200, let data = answer.json?["data"]?.array else { throw answer.error }
    var found: [Payment] = []
    for known in try data.map({ try payment($0) }) where known.reference == reference {
      found.append(try await retrieve(known.id, isUrgent: isUrgent))
    }
    // One is all there should be. If there are more, the one that holds money matters.
    return found.first { $0.status == .succeeded } ?? found.first { $0.status == .requiresCapture }
      ?? found.first
  }

  package func retrieve(_ id: String) async throws -> Payment { try await retrieve(id, isUrgent: false) }

  package func retrieve(_ id: String, isUrgent: Bool) async throws -> Payment {
    let answer = try await exchange(
      "GET", "/v1/payment_intents/\(FormEncoding.escape(id))", [], turn: isUrgent ? .urgent : .asking)
    guard answer.status == 200 else { throw answer.error }
    return try payment(answer.json)
  }

  package func refunded(_ id: String) async throws -> Int {
    try await refunds(of: id).reduce(0) { $0 + ($1.hasFailed ? 0 : $1.amount) }
  }

  package func list(after: String?, limit: Int) async throws -> (payments: [Payment], hasMore: Bool) {
    let start = after.map { "&starting_after=\(FormEncoding.escape($0))" } ?? ""
    let answer = try await exchange("GET", "/v1/payment_intents?limit=\(min(max(limit, 1), 100))\(start)", [])
    guard answer.status == 200, let data = answer.json?["data"]?.array else { throw answer.error }
    return (try data.map { try payment($0) }, answer.json?["has_more"]?.bool ?? false)
  }

  private func payment(_ json: JSON?) throws -> Payment {
    guard let json, let id = json["id"]?.string, let status = json["status"]?.string,
      let amount = json["amount"]?.integer, let currency = json["currency"]?.string
    else {
      throw PaymentError(code: .outcomeUnknown, message: "the provider's answer is not a payment")
    }
    return Payment(
      id: id, status: Payment.Status(rawValue: status), amount: Self.amount(amount, currency),
      amountCaptured: Self.amount(json["amount_received"]?.integer ?? 0, currency),
      currency: currency.uppercased(),
      reference: json["metadata"]?[Self.referenceField]?.string, created: json["created"]?.integer ?? 0,
      purchase: PurchaseMetadata { json["metadata"]?[$0]?.string },
      refusal: json["last_payment_error"]?["decline_code"]?.string
        ?? json["last_payment_error"]?["code"]?.string,
      redirectURL: json["next_action"]?["redirect_to_url"]?["url"]?.string)
  }

  private func exchange(
    _ method: String, _ target: String, _ fields: [(name: String, value: String)],
    idempotencyKey: String? = nil, turn: RequestPace.Turn = .asking
  ) async throws -> StripeAnswer {
    await pace.turn(turn)
    var headers = [(name: "Authorization", value: "Bearer \(secretKey)")]
    if method == "POST" { headers.append(("Content-Type", "application/x-www-form-urlencoded")) }
    if let idempotencyKey { headers.append(("Idempotency-Key", idempotencyKey)) }
    let request = HTTPClientRequest(
      method: method, url: url + target, headers: headers, body: FormEncoding.encode(fields),
      timeoutMilliseconds: timeoutMilliseconds)
    do {
      let answer = StripeAnswer(try await client.send(request))
      if answer.status == 429 { pace.pause(milliseconds: answer.retryAfterMilliseconds ?? Self.usualPause) }
      return answer
    } catch let error as HTTPClientError {
      let code: PaymentError.Code =
        error.code == .invalidURL || error.code == .invalidHeader
        ? .invalid : error.nothingWasSent ? .unavailable : .outcomeUnknown
      throw PaymentError(code: code, message: error.description)
    }
  }
}
