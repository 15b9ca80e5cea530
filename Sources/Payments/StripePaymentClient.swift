package import EventLoop
package import HTTPClient
import JSON
import Onsale

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

  /// - Parameters:
  ///   - url: the API's base, such as `https://api.stripe.com`.
  ///   - timeoutMilliseconds: how long the provider may take to answer one request.
  package init(_ client: HTTPClient, url: String, secretKey: String, timeoutMilliseconds: Int = 20_000) {
    self.client = client
    self.url = url.hasSuffix("/") ? String(url.dropLast()) : url
    self.secretKey = secretKey
    self.timeoutMilliseconds = timeoutMilliseconds
  }

  /// Creates and confirms. A failure of the provider is resolved by asking it for the reference: what it made is
  /// returned. What it replays as failed, and does not find, is thrown as `PaymentError.failed`.
  package func authorise(_ order: PaymentOrder) async throws -> PaymentOutcome {
    var fields: [(name: String, value: String)] = [
      ("amount", String(Self.providerAmount(order))), ("currency", order.currency.lowercased()),
      ("payment_method", order.method), ("payment_method_types[0]", "card"), ("confirm", "true"),
      ("capture_method", "manual"), ("metadata[\(Self.referenceField)]", order.reference),
    ]
    for (name, value) in order.metadata.sorted(by: { $0.key < $1.key }) {
      fields.append(("metadata[\(name)]", value))
    }
    let answer = try await exchange(
      "POST", "/v1/payment_intents", fields, idempotencyKey: order.reference)
    switch answer.status {
    case 200..<300: return try outcome(payment(answer.json), answer.json)
    case 402: return answer.decline
    case 400 where answer.isOtherOrder:
      // Begun by the version before, which said less about it: what came of it is found. What is not, may have failed.
      if let known = try await find(reference: order.reference) {
        guard known.amount == order.amount, known.currency == order.currency.uppercased() else {
          throw answer.error
        }
        return try outcome(known, nil)
      }
      throw PaymentError(
        code: .failed, message: answer.error.message, providerCode: answer.error.providerCode)
    case 400..<500 where answer.refusesTheOrder:
      throw PaymentError(
        code: .refused, message: answer.error.message, providerCode: answer.error.providerCode)
    case 500...:
      let known: Payment?
      // Whatever becomes of the question, the outcome of the first request stays unknown.
      do { known = try await find(reference: order.reference) } catch { throw answer.error }
      if let known { return try outcome(known, nil) }
      if answer.isReplayed {
        throw PaymentError(
          code: .failed, message: answer.error.message, providerCode: answer.error.providerCode)
      }
      throw answer.error
    default: throw answer.error
    }
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
    try await settle(id, "capture", as: .succeeded)
  }

  package func cancel(_ id: String, reference: String) async throws -> Payment {
    try await settle(id, "cancel", as: .canceled)
  }

  /// Moves a payment to its end. One that is there already, of this call or an earlier one, is returned.
  private func settle(_ id: String, _ action: String, as wanted: Payment.Status) async throws -> Payment {
    let answer = try await exchange("POST", "/v1/payment_intents/\(FormEncoding.escape(id))/\(action)", [])
    switch answer.status {
    case 200..<300: return try payment(answer.json)
    case 400..<500:
      if answer.json?["error"]?["code"]?.string == "payment_intent_unexpected_state",
        let known = try? payment(answer.json?["error"]?["payment_intent"]), known.status == wanted
      {
        return known
      }
      throw answer.error
    default:
      if let known = try? await retrieve(id), known.status == wanted { return known }
      throw answer.error
    }
  }

  /// - Note: Stripe's search sees a new payment after up to a minute, if nothing is wrong there.
  package func find(reference: String) async throws -> Payment? {
    let quoted = reference.replacing("\\", with: "\\\\").replacing("'", with: "\\'")
    let query = "metadata['\(Self.referenceField)']:'\(quoted)'"
    let answer = try await exchange(
      "GET", "/v1/payment_intents/search?limit=100&query=\(FormEncoding.escape(query))", [])
    guard answer.status == 200, let data = answer.json?["data"]?.array else { throw answer.error }
    let found = try data.map { try payment($0) }
    // One is all there should be. If there are more, the one that holds money matters.
    return found.first { $0.status == .succeeded } ?? found.first { $0.status == .requiresCapture }
      ?? found.first
  }

  package func retrieve(_ id: String) async throws -> Payment {
    let answer = try await exchange("GET", "/v1/payment_intents/\(FormEncoding.escape(id))", [])
    guard answer.status == 200 else { throw answer.error }
    return try payment(answer.json)
  }

  package func refunded(_ id: String) async throws -> Int {
    // A payment has a handful of refunds at most: each gives back a part of it.
    let answer = try await exchange(
      "GET", "/v1/refunds?limit=100&payment_intent=\(FormEncoding.escape(id))", [])
    guard answer.status == 200, let data = answer.json?["data"]?.array else { throw answer.error }
    return data.reduce(0) { sum, refund in
      let failed = ["failed", "canceled"].contains(refund["status"]?.string)
      let amount = Self.amount(refund["amount"]?.integer ?? 0, refund["currency"]?.string ?? "")
      return sum + (failed ? 0 : amount)
    }
  }

  package func list(after: String?, limit: Int) async throws -> (payments: [Payment], hasMore: Bool) {
    let start = after.map { "&starting_after=\(FormEncoding.escape($0))" } ?? ""
    let answer = try await exchange("GET", "/v1/payment_intents?limit=\(min(max(limit, 1), 100))\(start)", [])
    guard answer.status == 200, let data = answer.json?["data"]?.array else { throw answer.error }
    return (try data.map { try payment($0) }, answer.json?["has_more"]?.bool ?? false)
  }

  /// What a payment that exists means for its order.
  private func outcome(_ payment: Payment, _ json: JSON?) throws -> PaymentOutcome {
    switch payment.status {
    case .requiresCapture, .succeeded: return .authorised(payment)
    case .processing:
      throw PaymentError(code: .outcomeUnknown, message: "the provider still works on it")
    case .requiresAction:
      return .declined(
        id: payment.id, code: "authentication_required", message: "The card asks for a check we do not offer."
      )
    default:
      let error = json?["last_payment_error"]
      return .declined(
        id: payment.id, code: error?["decline_code"]?.string ?? error?["code"]?.string ?? "card_declined",
        message: error?["message"]?.string ?? "The card was declined.")
    }
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
      purchase: PurchaseMetadata { json["metadata"]?[$0]?.string })
  }

  private func exchange(
    _ method: String, _ target: String, _ fields: [(name: String, value: String)],
    idempotencyKey: String? = nil
  ) async throws -> StripeAnswer {
    var headers = [(name: "Authorization", value: "Bearer \(secretKey)")]
    if method == "POST" { headers.append(("Content-Type", "application/x-www-form-urlencoded")) }
    if let idempotencyKey { headers.append(("Idempotency-Key", idempotencyKey)) }
    let request = HTTPClientRequest(
      method: method, url: url + target, headers: headers, body: FormEncoding.encode(fields),
      timeoutMilliseconds: timeoutMilliseconds)
    do {
      return StripeAnswer(try await client.send(request))
    } catch let error as HTTPClientError {
      let code: PaymentError.Code =
        error.code == .invalidURL || error.code == .invalidHeader
        ? .invalid : error.nothingWasSent ? .unavailable : .outcomeUnknown
      throw PaymentError(code: code, message: error.description)
    }
  }
}
