package import EventLoop

/// Which handler answers which request.
///
/// Answers by itself, as problems: 400 for a target that is badly encoded, 404, 405 with `Allow`, 413. A HEAD
/// request is answered by the GET route. A static segment wins over `{name}`.
@LoopActor
package struct Router {
  /// The largest body a route takes unless it says otherwise, in bytes.
  package nonisolated static let defaultMaximumBody = 65536

  private(set) var routes: [Route] = []

  package init() {}

  /// - Parameters:
  ///   - pattern: such as `/api/event/{id}/tickets`; `{name}` stands for one whole segment that is not empty.
  ///   - maximumBody: bytes; a request with more is answered 413.
  package mutating func on(
    _ method: HTTPMethod, _ pattern: String, maximumBody: Int = defaultMaximumBody,
    _ handler: @escaping HTTPHandler
  ) {
    routes.append(Route(method: method, pattern: pattern, maximumBody: maximumBody, handler: handler))
  }

  /// Every route, for a test that compares them with the API's description.
  package var patterns: [(method: HTTPMethod, pattern: String)] { routes.map { ($0.method, $0.pattern) } }

  /// Answers a request in process, as the server would: for tests.
  package func respond(to request: HTTPRequest) async -> HTTPResponse {
    .problem(404, code: "not_found", detail: "There is nothing at this path.")
  }
}

/// One entry of the router.
@LoopActor
final class Route {
  let method: HTTPMethod
  let pattern: String
  let maximumBody: Int
  let handler: HTTPHandler
  let names: [String]

  init(method: HTTPMethod, pattern: String, maximumBody: Int, handler: @escaping HTTPHandler) {
    self.method = method
    self.pattern = pattern
    self.maximumBody = maximumBody
    self.handler = handler
    names = pattern.split(separator: "/").filter { $0.hasPrefix("{") }
      .map { String($0.dropFirst().dropLast()) }
  }
}
