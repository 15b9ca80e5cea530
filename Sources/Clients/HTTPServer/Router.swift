package import EventLoop

/// Which handler answers which request.
///
/// Answers by itself, as problems: 400 for a target that is badly encoded, 404, 405 with `Allow`, 413. What is asked for
/// with slashes at its end is told to be without (308). A HEAD request is answered by the GET route, OPTIONS by 204 with
/// `Allow`. A static segment wins over `{name}`, and is matched as it is written, not what an escape in it stands for.
@LoopActor
package struct Router {
  /// The largest body a route takes unless it says otherwise, in bytes.
  package nonisolated static let defaultMaximumBody = 65536

  private var routes: [Route] = []
  /// Asked about what no route answers, and what the server turns away before a route could, to answer it in another form;
  /// `nil` leaves it. Of a request that could not be read it sees what there is: of a target that is too long the path and no
  /// header.
  package var onRefusal: RefusalHandler?

  package init() {}

  /// - Parameters:
  ///   - pattern: such as `/api/event/{id}/tickets`; `{name}` stands for one whole segment that is not empty.
  ///   - maximumBody: bytes; a request with more is answered 413.
  ///   - refuse: called once the headers are there, before the body is received; what it returns is the answer.
  ///     For routes with large bodies, so that only those who may send one get to.
  ///   - ignoresQuery: whether it answers whatever the query says, and however badly it is encoded.
  package mutating func on(
    _ method: HTTPMethod, _ pattern: String, maximumBody: Int = defaultMaximumBody,
    refuse: (@LoopActor (HTTPRequest) -> HTTPResponse?)? = nil, ignoresQuery: Bool = false,
    _ handler: @escaping HTTPHandler
  ) {
    precondition(pattern.hasPrefix("/"), "a pattern is a path")
    precondition(
      !routes.contains { $0.method == method && $0.pattern == pattern }, "each route is added once")
    routes.append(
      Route(
        method: method, pattern: pattern, maximumBody: maximumBody, refuse: refuse,
        ignoresQuery: ignoresQuery,
        handler: handler))
  }

  /// Every route, for a test that compares them with the API's description.
  package var patterns: [(method: HTTPMethod, pattern: String)] { routes.map { ($0.method, $0.pattern) } }

  /// Answers a request in process, as the server would: for tests.
  package func respond(to request: HTTPRequest) async -> HTTPResponse {
    let exchange = request.exchange
    let tree = self.tree
    let target = tree.find(exchange)
    guard case .route(let route) = target else { return tree.refusal(target, exchange) }
    if let refusal = route.refuse?(request) { return refusal }
    guard exchange.body.count <= route.maximumBody else { return .bodyTooLarge(limit: route.maximumBody) }
    let answer = route.handler(request)
    if case .now(let response) = answer { return response }
    exchange.answer = nil
    answer.begin(HTTPReply(server: nil, exchange: exchange))
    if exchange.answer == nil { await withUnsafeContinuation { exchange.reader = $0 } }
    return exchange.answer ?? .hangUp
  }

  var tree: RouteTree { RouteTree(routes, onRefusal: onRefusal) }
}

/// One entry of the router.
@LoopActor
final class Route {
  let method: HTTPMethod
  let pattern: String
  let maximumBody: Int
  let refuse: (@LoopActor (HTTPRequest) -> HTTPResponse?)?
  let ignoresQuery: Bool
  let handler: HTTPHandler
  /// What the pattern's `{name}`s are called, in order.
  let names: [String]
  /// Where its last answer was counted: nearly all are alike.
  var lastCounted: RouteMetrics.Member?

  init(
    method: HTTPMethod, pattern: String, maximumBody: Int,
    refuse: (@LoopActor (HTTPRequest) -> HTTPResponse?)?, ignoresQuery: Bool, handler: @escaping HTTPHandler
  ) {
    self.method = method
    self.pattern = pattern
    self.maximumBody = maximumBody
    self.refuse = refuse
    self.ignoresQuery = ignoresQuery
    self.handler = handler
    names = pattern.split(separator: "/").filter { $0.hasPrefix("{") }
      .map { String($0.dropFirst().dropLast()) }
  }
}

extension HTTPResponse {
  static func bodyTooLarge(limit: Int) -> HTTPResponse {
    .problem(413, code: "body_too_large", detail: "The body may have at most \(limit) bytes.")
  }
}
