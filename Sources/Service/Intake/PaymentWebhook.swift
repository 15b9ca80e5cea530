package import EventLoop
import FaultInjection
import HTTPCommon
package import HTTPServer
import Identity
import JSON
package import Ledger
import Metrics
import Payments
package import Queue

/// Hears from the payment provider that something has happened to a payment.
///
/// What is said is a hint and nothing more: it may be late, twice, out of order or of yesterday. Whichever worker has the
/// payment asks the provider what has become of it. That money was given back, or is disputed, is written down for that.
@LoopActor
package struct PaymentWebhook {
  private static let maximumBody = 256 << 10

  private let queue: BuyersLine
  private let refunds: RefundStore
  private let secrets: [String]
  private let now: @LoopActor () -> Int

  /// - Parameters:
  ///   - secrets: that messages are signed with; none where there are no webhooks.
  ///   - now: Unix seconds.
  package init(
    queue: BuyersLine, refunds: RefundStore, secrets: [String], now: @escaping @LoopActor () -> Int
  ) {
    self.queue = queue
    self.refunds = refunds
    self.secrets = secrets
    self.now = now
  }

  package func addRoutes(to router: inout Router) {
    router.on(
      .post, "/api/payment/webhook", maximumBody: Self.maximumBody, refuse: { refuse($0) },
      { request in hear(request) })
  }

  /// What can be said before the message has come.
  private func refuse(_ request: HTTPRequest) -> HTTPResponse? {
    if secrets.isEmpty {
      return .problem(404, code: "not_found", detail: "No webhooks of a payment provider are set up.")
    }
    if request.header("Stripe-Signature") != nil { return nil }
    count("forged")
    return Self.forged
  }

  private static let forged = HTTPResponse.problem(
    400, code: "invalid_signature", detail: "The message is not signed as it should be.")

  private func hear(_ request: HTTPRequest) -> HTTPAnswer {
    guard let header = request.header("Stripe-Signature"),
      WebhookSignature.isValid(header, of: request.body, secrets: secrets, now: now())
    else {
      count("forged")
      return .now(Self.forged)
    }
    let json = try? JSON(parsing: request.body)
    let payment = json.flatMap(Self.news), key = json.flatMap(Self.purchase)
    // Whatever it is about: what is of no use here need not be sent again.
    if payment == nil, key == nil {
      count("ignored")
      return .now(.json(200, ["received": true]))
    }
    count(payment == nil ? "heard" : "news")
    return answer {
      if let payment {
        try await Faults.point(.intakeNews) { try await refunds.note(payments: [payment]) }
      }
      // Also of one that is news: its buyer may be waiting for how it ends.
      if let key {
        try await Faults.point(.intakeHint) {
          try await queue.hintPayment(event: key.event, generation: key.generation, position: key.position)
        }
      }
      return .json(200, ["received": true])
    }
  }

  /// Whose payment something has happened to, by what we wrote on it.
  private static func purchase(_ json: JSON) -> (event: Int, generation: Int, position: Int)? {
    guard let metadata = json["data"]?["object"]?["metadata"] else { return nil }
    return PurchaseMetadata.key { metadata[$0]?.string }
  }

  private static let longestID = 255

  /// The payment of which something was given back, or is disputed, or that was cancelled; `nil` for anything else. What we
  /// give back ourselves is known, unless it fails.
  private static func news(_ json: JSON) -> String? {
    guard let type = json["type"]?.string, let object = json["data"]?["object"] else { return nil }
    let payment: String?
    if type == "payment_intent.canceled" {
      payment = object["id"]?.string
    } else if type.hasPrefix("refund.") || type.hasPrefix("charge.refund")
      || type.hasPrefix("charge.dispute.")
    {
      let isOurs =
        object["object"]?.string == "refund"
        && object["metadata"]?[StripePaymentClient.refundField]?.string != nil
      if isOurs, ["succeeded", "pending"].contains(object["status"]?.string) { return nil }
      payment = object["payment_intent"]?.string ?? object["payment_intent"]?["id"]?.string
    } else {
      return nil
    }
    return payment.flatMap { (1...longestID).contains($0.utf8.count) && !$0.utf8.contains(0) ? $0 : nil }
  }

  private func count(_ outcome: String) {
    MetricsRegistry.shared.counter(
      "onsale_payment_webhooks_total", "Messages of the payment provider", labels: [("outcome", outcome)]
    ).increment()
  }
}
