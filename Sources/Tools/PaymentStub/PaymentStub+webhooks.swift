import EventLoop
import Foundation
import HTTPClient
import HTTPServer
import Identity
import JSON
import Logging
import Sale

/// Where messages go, and what they are signed with.
struct WebhookTarget: Sendable {
  let url: String
  let secret: String
}

extension PaymentStub {
  /// Messages under way; more are lost, as a message may be.
  private static let mostMessages = 1_000
  private static let tries = 3

  /// Tells the owner what has happened to a payment without a request of theirs.
  func tell(_ intent: PaymentIntent) {
    let type =
      switch intent.state.status {
      case .requiresCapture: "amount_capturable_updated"
      case .requiresPaymentMethod: "payment_failed"
      case .requiresConfirmation: "created"
      case .requiresAction: "requires_action"
      case .processing: "processing"
      case .succeeded: "succeeded"
      case .canceled: "canceled"
      }
    tell("payment_intent.\(type)", intent.json(at: url))
  }

  /// Tells that something has happened.
  func tell(_ type: String, _ object: JSON) {
    guard let target = webhook, messages < Self.mostMessages, faults.settings.webhookCopies > 0 else {
      return
    }
    let event: JSON = [
      "id": .string(Self.id("evt_")), "object": "event", "api_version": "2025-08-27.basil",
      "created": .integer(Self.now()), "data": ["object": object], "livemode": false,
      "pending_webhooks": 1, "request": ["id": nil, "idempotency_key": nil], "type": .string(type),
    ]
    let body = event.serialized(), copies = faults.settings.webhookCopies
    messages += 1
    // Nobody waits for it; bounded by `mostMessages`.
    Task { @LoopActor in
      defer { messages -= 1 }
      try? await sleep(milliseconds: UInt64(faults.settings.webhookDelayMilliseconds))
      for _ in 0..<copies { await send(body, to: target) }
    }
  }

  private func send(_ body: [UInt8], to target: WebhookTarget) async {
    for attempt in 1...Self.tries {
      let headers = [
        (name: "Content-Type", value: "application/json"),
        (
          name: "Stripe-Signature",
          value: WebhookSignature.header(body, secret: target.secret, at: Self.now())
        ),
      ]
      let request = HTTPClientRequest(method: "POST", url: target.url, headers: headers, body: body)
      if let answer = try? await http.send(request), (200..<300).contains(answer.status) { return }
      try? await sleep(milliseconds: UInt64(200 * attempt))
      if isStopping { return }
    }
    logger.retrying("a webhook was not heard", ["url": target.url])
  }

  func addBank(to router: inout Router) {
    router.on(.get, "/stub/bank/{id}") { [unowned self] request in
      do throws(StripeFailure) {
        return .now(Self.bankPage(try intent(request.parameters["id"] ?? "")))
      } catch { return .now(error.response) }
    }
    for (word, approves) in [("approve", true), ("refuse", false)] {
      router.on(.post, "/stub/bank/{id}/\(word)") { [unowned self] request in
        let id = request.parameters["id"] ?? ""
        return .later { [self] in
          do throws(StripeFailure) { return try await answerBank(id, approves: approves) } catch {
            return error.response
          }
        }
      }
    }
    router.on(.post, "/stub/webhook", refuse: { [unowned self] in refusal(of: $0) }) {
      [unowned self] request in
      guard let json = try? JSON(parsing: request.body), let url = json["url"]?.string,
        let secret = json["secret"]?.string
      else { return .now(StripeFailure.invalid("Say `url` and `secret`.").response) }
      webhook = WebhookTarget(url: url, secret: secret)
      return .now(.json(200, ["url": .string(url)]))
    }
  }

  /// What a bank shows its customer, who may as well close it and walk away.
  private static func bankPage(_ intent: PaymentIntent) -> HTTPResponse {
    let action = "/stub/bank/\(intent.id)"
    let currency = Currency(code: intent.currency.uppercased())
    let amount = currency.map { "\($0.text($0.amount(ofProvider: intent.amount))) \($0.code)" } ?? ""
    let html = """
      <!doctype html><html lang="en"><head><meta charset="utf-8"><title>A bank</title>
      <meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
      <link rel="stylesheet" href="/stub/bank.css"></head>
      <body><main><h1>Is this you?</h1>
      <p>A shop asks for <strong>\(amount)</strong>. This is a test: no money moves.</p>
      <form method="post" action="\(action)/approve"><button>Yes, pay</button></form>
      <form method="post" action="\(action)/refuse"><button>No</button></form>
      </main></body></html>
      """
    return HTTPResponse(
      status: 200,
      headers: [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Security-Policy", "default-src 'none'; style-src 'self'"), ("Cache-Control", "no-store"),
      ], body: Array(html.utf8))
  }
}
