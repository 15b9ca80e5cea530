/// What a test payment method does.
enum TestCard: Equatable {
  case approved(brand: String, last4: String)
  /// Refused with this decline code.
  case declined(String)
  /// Asks the buyer for a check first.
  case authenticationRequired
  /// Takes a while, and is then approved, or refused with this decline code. No card of Stripe's: payments by bank do so.
  case processed(decline: String?)

  init?(_ method: String) {
    guard let card = Self.all[method] else { return nil }
    self = card
  }

  private static let all: [String: TestCard] = {
    var all: [String: TestCard] = [
      "pm_card_visa": .approved(brand: "visa", last4: "4242"),
      "pm_card_visa_debit": .approved(brand: "visa", last4: "5556"),
      "pm_card_mastercard": .approved(brand: "mastercard", last4: "4444"),
      "pm_card_mastercard_debit": .approved(brand: "mastercard", last4: "3222"),
      "pm_card_mastercard_prepaid": .approved(brand: "mastercard", last4: "5100"),
      "pm_card_amex": .approved(brand: "amex", last4: "8431"),
      "pm_card_discover": .approved(brand: "discover", last4: "9424"),
      "pm_card_diners": .approved(brand: "diners", last4: "3237"),
      "pm_card_jcb": .approved(brand: "jcb", last4: "0505"),
      "pm_card_unionpay": .approved(brand: "unionpay", last4: "0005"),
      "pm_card_us": .approved(brand: "visa", last4: "4242"),
      "pm_card_de": .approved(brand: "visa", last4: "0003"),
      "pm_card_gb": .approved(brand: "visa", last4: "0005"),
      "pm_card_authenticationRequired": .authenticationRequired,
      "pm_card_threeDSecure2Required": .authenticationRequired,
      "pm_stub_processing": .processed(decline: nil),
      "pm_stub_processingDeclined": .processed(decline: "generic_decline"),
      "pm_card_chargeCustomerFail": .declined("generic_decline"),
      "pm_card_radarBlock": .declined("fraudulent"),
    ]
    let declines = [
      "chargeDeclined": "generic_decline", "chargeDeclinedInsufficientFunds": "insufficient_funds",
      "chargeDeclinedLostCard": "lost_card", "chargeDeclinedStolenCard": "stolen_card",
      "chargeDeclinedExpiredCard": "expired_card", "chargeDeclinedIncorrectCvc": "incorrect_cvc",
      "chargeDeclinedProcessingError": "processing_error",
      "chargeDeclinedVelocityLimitExceeded": "card_velocity_exceeded",
      "chargeDeclinedFraudulent": "fraudulent",
    ]
    for (name, decline) in declines {
      all["pm_card_\(name)"] = .declined(decline)
      all["pm_card_visa_\(name)"] = .declined(decline)
    }
    return all
  }()
}
