import HTTPClient
import JSON

/// An answer of Stripe's, and what an error in it means.
struct StripeAnswer {
  let status: Int
  /// Whether this is what an earlier request under the same idempotency key was answered.
  let isReplayed: Bool
  /// `nil` if the answer is not JSON.
  let json: JSON?
  /// What `Retry-After` says; `nil` if it says nothing that is a number of seconds.
  let retryAfterMilliseconds: Int?

  init(_ response: HTTPClientResponse) {
    status = response.status
    isReplayed = response.header("Idempotent-Replayed") == "true"
    json = try? JSON(parsing: response.body)
    retryAfterMilliseconds = response.header("Retry-After").flatMap { Int($0) }.map {
      min(max($0, 0), Self.longestPauseSeconds) * 1_000
    }
  }

  /// Longer than that a provider is not believed that it wants to be left alone.
  private static let longestPauseSeconds = 60

  /// Whether this is about the order itself, and not about us: our key, our rights, an address that does not exist, or a
  /// key used for two orders.
  var refusesTheOrder: Bool {
    let error = json?["error"]
    guard error?["type"]?.string == "invalid_request_error" else { return false }
    if status == 404, error?["code"]?.string != "resource_missing" {
      return error?["message"]?.string?.hasPrefix("Unrecognized request URL") == false
    }
    return status == 400 || status == 404
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
      case 401, 403: .misconfigured
      case 404 where json?["error"] == nil || !refusesTheOrder: .misconfigured
      case 400..<500: .invalid
      default: .outcomeUnknown
      }
    return PaymentError(
      code: code, message: error?["message"]?.string ?? "the provider answered \(status)",
      providerCode: error?["code"]?.string ?? error?["type"]?.string,
      retryAfterMilliseconds: retryAfterMilliseconds)
  }
}
