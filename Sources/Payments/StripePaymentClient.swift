package import EventLoop
package import HTTPClient

/// Speaks Stripe's PaymentIntents API, the part that manual capture needs.
@LoopActor
package final class StripePaymentClient: PaymentProvider {
  private let client: HTTPClient
  private let url: String
  private let secretKey: String

  /// - Parameter url: the API's base, such as `https://api.stripe.com`.
  package init(_ client: HTTPClient, url: String, secretKey: String) {
    self.client = client
    self.url = url
    self.secretKey = secretKey
  }

  package func authorise(_ order: PaymentOrder) async throws -> PaymentOutcome { throw unfinished }
  package func capture(_ id: String, reference: String) async throws -> Payment { throw unfinished }
  package func cancel(_ id: String, reference: String) async throws -> Payment { throw unfinished }
  package func find(reference: String) async throws -> Payment? { throw unfinished }
  package func retrieve(_ id: String) async throws -> Payment { throw unfinished }
  package func list(after: String?, limit: Int) async throws -> (payments: [Payment], hasMore: Bool) {
    throw unfinished
  }

  private var unfinished: PaymentError { PaymentError(code: .unavailable, message: "not built yet") }
}
