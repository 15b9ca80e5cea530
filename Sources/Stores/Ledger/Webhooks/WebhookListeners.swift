package import EventLoop
package import Sale

/// What a process knows of whom systems outside have asked to be told: a sale that nobody listens to writes, and asks,
/// nothing.
@LoopActor
package final class WebhookListeners {
  /// For so long it is believed that nobody listens, without a look.
  private static let trustMilliseconds: UInt64 = 5_000

  private var types: Set<WebhookType> = []
  private var knownUntil: UInt64 = 0

  package init() {}

  func note(_ endpoints: [WebhookEndpoint]) {
    types = endpoints.reduce(into: []) {
      $0.formUnion($1.types.isEmpty ? Set(WebhookType.allCases) : $1.types)
    }
    knownUntil = EventLoop.shared.now + Self.trustMilliseconds
  }

  package func mayListen(to type: WebhookType) -> Bool {
    EventLoop.shared.now >= knownUntil || types.contains(type)
  }
}
