/// One payment, as the stub keeps it.
struct PaymentIntent: Sendable, Equatable {
  enum Status: String {
    case requiresPaymentMethod = "requires_payment_method"
    case requiresConfirmation = "requires_confirmation"
    case requiresAction = "requires_action"
    case processing
    case requiresCapture = "requires_capture"
    case succeeded
    case canceled
  }

  /// What changes; also what a repeated request is answered from.
  struct State: Sendable, Equatable {
    var status: Status
    var method: String?
    /// What was captured, in the minor unit.
    var received = 0
    /// Why the last attempt was refused.
    var decline: String?
    var canceledAt: Int?
    var cancellationReason: String?
    /// Whether a charge was ever made, refused ones included.
    var wasCharged = false
  }

  let id: String
  let created: Int
  let amount: Int
  /// ISO 4217, lower case.
  let currency: String
  let isManual: Bool
  let description: String?
  let metadata: [String: String]
  /// Where the buyer comes back to who confirmed it with their bank; `nil` where they are not sent there.
  var returnURL: String?
  var state: State
}

/// Money given back.
struct Refund: Sendable, Equatable {
  let id: String
  let intent: String
  let created: Int
  let amount: Int
  let reason: String?
  let metadata: [String: String]
  var status = "succeeded"
}

/// Money that a buyer's bank wants back.
struct Dispute: Sendable, Equatable {
  let id: String
  let intent: String
  let created: Int
  let amount: Int
  let reason: String
  var status = "needs_response"
}
