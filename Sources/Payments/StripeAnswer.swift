import HTTPClient
import JSON

/// An answer of Stripe's, and what an error in it means.
struct StripeAnswer {
  let status: Int
  /// Whether this is what an earlier request under the same idempotency key was answered.
  let isReplayed: Bool
  /// `nil` if the answer is not JSON.
  let json: JSON?

  init(_ response: HTTPClientResponse) {
    status = response.status
    isReplayed = response.header("Idempotent-Replayed") == "true"
    json = try? JSON(parsing: response.body)
  }

  /// Whether this is about the order itself, and not about us: our key, our rights, or a key used for two orders.
  var refusesTheOrder: Bool {
    let error = json?["error"]
    if status == 404 { return error?["code"]?.string == "resource_missing" }
    return status == 400 && error?["type"]?.string == "invalid_request_error"
  }

  /// Whether the idempotency key came with other parameters before.
  var isOtherOrder: Bool { status == 400 && json?["error"]?["type"]?.string == "idempotency_error" }

  var decline: PaymentOutcome {
    let error = json?["error"]
    return .declined(
      id: error?["payment_intent"]?["id"]?.string,
      code: error?["decline_code"]?.string ?? error?["code"]?.string ?? "card_declined",
      message: error?["message"]?.string ?? "The card was declined.")
  }

  var error: PaymentError {
    let error = json?["error"]
    let code: PaymentError.Code =
      switch status {
      // Another request under the same key is under way.
      case 409: .outcomeUnknown
      case 429: .rateLimited
      case 400..<500: .invalid
      default: .outcomeUnknown
      }
    return PaymentError(
      code: code, message: error?["message"]?.string ?? "the provider answered \(status)",
      providerCode: error?["code"]?.string ?? error?["type"]?.string)
  }
}
