package import EventLoop

/// One request, whole: its body has been received.
///
/// Headers and query items are looked up when asked for, in the memory of the connection; nothing is copied
/// before. That memory is there until the request is answered, also for `later` answers, since their
/// connection is suspended meanwhile. A request that outlives its answer has no headers: lookups give `nil`.
@LoopActor
package struct HTTPRequest {
  let exchange: Exchange

  package var method: HTTPMethod { exchange.method }
  /// The path as sent, without the query and still percent-encoded.
  package var path: String { exchange.path }
  /// The pattern of the route that the request matched, for metrics and logs.
  package var route: String { exchange.route?.pattern ?? "" }
  package var body: [UInt8] { exchange.body }

  /// The decoded path segments that the route's `{name}` stands for.
  package var parameters: Parameters {
    Parameters(names: exchange.route?.names ?? [], values: exchange.values)
  }

  /// The first header of that name, in any case; bytes that are not UTF-8 are replaced.
  package func header(_ name: String) -> String? { exchange.header(name) }

  /// The first query item of that name, decoded; an item without "=" is empty.
  package func query(_ name: String) -> String? { exchange.queryItems.first { $0.name == name }?.value }

  /// All query items, decoded, in order.
  package var queryItems: [(name: String, value: String)] { exchange.queryItems }

  /// The client's address: its connection's, or what a trusted proxy says of it.
  package var clientAddress: String { exchange.client.description }
  /// Who counts as one client: an address of IPv4, or a /56 of IPv6.
  package var client: String { exchange.client.client.description }

  /// What a route's `refuse` has found out, for its handler.
  package var identity: (any AnyObject & Sendable)? {
    get { exchange.identity }
    nonmutating set { exchange.identity = newValue }
  }

  /// A request without a connection, to test handlers in process with `Router.respond(to:)`. It counts as one of a
  /// trusted proxy.
  package init(
    _ method: HTTPMethod, _ target: String, headers: HTTPResponse.Headers = [], body: [UInt8] = []
  ) {
    exchange = Exchange(method: method, target: target, headers: headers, body: body)
  }

  init(exchange: Exchange) { self.exchange = exchange }

  /// What a route's `{name}` segments stood for.
  package struct Parameters: Sendable {
    let names: [String]
    let values: [String]

    package subscript(name: String) -> String? {
      guard let index = names.firstIndex(of: name), index < values.count else { return nil }
      return values[index]
    }
  }
}
