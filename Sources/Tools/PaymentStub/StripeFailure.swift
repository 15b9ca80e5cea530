import HTTPServer
import JSON

/// An error that is answered as Stripe's error object.
struct StripeFailure: Error, Sendable {
  let status: Int
  let type: String
  var code: String?
  var declineCode: String?
  let message: String
  var param: String?
  var intent: JSON?
  /// Seconds.
  var retryAfter = 0

  static func invalid(
    _ message: String, code: String? = nil, param: String? = nil, intent: JSON? = nil, status: Int = 400
  ) -> StripeFailure {
    StripeFailure(
      status: status, type: "invalid_request_error", code: code, message: message, param: param,
      intent: intent)
  }

  static func missing(_ what: String, _ id: String, param: String = "intent", status: Int = 404)
    -> StripeFailure
  {
    .invalid("No such \(what): '\(id.prefix(80))'", code: "resource_missing", param: param, status: status)
  }

  static let differentParameters = StripeFailure(
    status: 400, type: "idempotency_error",
    message:
      "Keys for idempotent requests can only be used with the same parameters they were first used with.")
  static let keyInUse = StripeFailure(
    status: 409, type: "idempotency_error", code: "idempotency_key_in_use",
    message: "Another request with this idempotency key is in progress.")
  static let internalError = StripeFailure(
    status: 500, type: "api_error", message: "An unknown error occurred.")

  /// What a request is answered that is refused whatever it asks for, as Stripe words it.
  /// - Parameter code: where a status has several; of 429 also `lock_timeout`, when another request has the object.
  static func refused(_ status: Int, code: String? = nil, retryAfter: Int) -> StripeFailure {
    var failure: StripeFailure
    switch status {
    case 401: failure = invalid("Invalid API Key provided.", status: 401)
    case 403:
      failure = invalid(
        "The provided key does not have the required permissions for this endpoint.", status: 403)
    case 404: failure = invalid("Unrecognized request URL.", status: 404)
    case 409:
      failure = StripeFailure(
        status: 409, type: "idempotency_error", code: "idempotency_key_in_use",
        message: "Another request with this idempotency key is in progress.")
    case 429:
      failure = StripeFailure(
        status: 429, type: "invalid_request_error", code: "rate_limit",
        message: "Request rate limit exceeded.")
    case 500...:
      failure = StripeFailure(status: status, type: "api_error", message: "An unknown error occurred.")
    default: failure = invalid("Received unknown parameter.", code: "parameter_unknown", status: status)
    }
    failure.code = code ?? failure.code
    failure.retryAfter = retryAfter
    return failure
  }

  /// What a refused card is answered.
  static func declined(_ declineCode: String, intent: JSON) -> StripeFailure {
    StripeFailure(
      status: 402, type: "card_error", code: code(of: declineCode), declineCode: declineCode,
      message: message(of: declineCode), intent: intent)
  }

  /// Some reasons have an error code of their own; the others are `card_declined`.
  static func code(of declineCode: String) -> String {
    ["expired_card", "incorrect_cvc", "processing_error", "payment_intent_authentication_failure"].contains(
      declineCode)
      ? declineCode : "card_declined"
  }

  static func message(of declineCode: String) -> String {
    switch declineCode {
    case "insufficient_funds": "Your card has insufficient funds."
    case "expired_card": "Your card has expired."
    case "incorrect_cvc": "Your card's security code is incorrect."
    case "payment_intent_authentication_failure": "The provided payment method has failed authentication."
    case "processing_error": "An error occurred while processing your card. Try again in a little bit."
    default: "Your card was declined."
    }
  }

  var response: HTTPResponse {
    var error: [(name: String, value: JSON)] = [("type", .string(type)), ("message", .string(message))]
    if let code { error.append(("code", .string(code))) }
    if let declineCode { error.append(("decline_code", .string(declineCode))) }
    if let param { error.append(("param", .string(param))) }
    if let intent { error.append(("payment_intent", intent)) }
    if status == 402, let charge = intent?["latest_charge"]?.string {
      error.append(("charge", .string(charge)))
    }
    var response = HTTPResponse.json(status, .object([("error", .object(error))]))
    if retryAfter > 0 { response.headers.append(("Retry-After", String(retryAfter))) }
    return response
  }
}
