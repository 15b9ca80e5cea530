/// How buyers say on the page what they pay with.
package enum PaymentEntry: Sendable, Equatable {
  /// In the provider's own form, which its script makes.
  case form(script: String, key: String)
  /// By the stub's test cards.
  case testCards
  /// Not at all: other pages do that.
  case nothing

  private static let provider = "https://api.stripe.com"
  private static let providerScript = "https://js.stripe.com/v3/"

  /// - Parameters:
  ///   - url: the provider's API; empty where it is not known.
  ///   - publishableKey: the provider's, for pages; `nil` where there is none.
  ///   - isLive: whether payments move money: then no test cards are offered, whatever the API's address.
  package init(url: String, publishableKey: String?, isLive: Bool) {
    // Whatever stands between us and the provider: what moves money is typed into nobody else's form.
    let isStub = !isLive && !url.isEmpty && !url.hasPrefix(Self.provider)
    if let publishableKey {
      let base = url.hasSuffix("/") ? String(url.dropLast()) : url
      self = .form(script: isStub ? base + "/stub/stripe.js" : Self.providerScript, key: publishableKey)
    } else {
      self = isStub ? .testCards : .nothing
    }
  }

  /// What the page's policy must allow for it besides, by directive.
  var sources: (scripts: [String], frames: [String], connections: [String]) {
    guard case .form(let script, _) = self else { return ([], [], []) }
    if script == Self.providerScript {
      let own = ["https://js.stripe.com", "https://*.js.stripe.com"]
      return (own, own + ["https://hooks.stripe.com"], [Self.provider])
    }
    // Scheme, host and port.
    let origin = script.split(separator: "/").prefix(2).joined(separator: "//")
    return ([origin], [origin], [])
  }

  /// For the document's root element.
  var attributes: [(name: String, value: String)] {
    switch self {
    case .form(let script, let key): [("data-payment-script", script), ("data-payment-key", key)]
    case .testCards: [("data-payment-cards", "test")]
    case .nothing: []
    }
  }
}
