import EventLoop
import Glibc

/// The routes by segment, made once, so that finding one allocates nothing but the parameters' values.
@LoopActor
struct RouteTree {
  enum Target {
    case route(Route)
    case badEncoding
    /// There is something at this path: the one asked for without the slashes at its end.
    case moved(path: String)
    case notFound
    case methodNotAllowed(allow: String)
    case options(allow: String)
  }

  private final class Node {
    var segments: [(bytes: [UInt8], node: Node)] = []
    var parameter: Node?
    var routes: [Route] = []
  }

  private let root = Node()
  private let onRefusal: RefusalHandler?

  init(_ routes: [Route], onRefusal: RefusalHandler? = nil) {
    self.onRefusal = onRefusal
    for route in routes {
      var node = root
      for segment in route.pattern.dropFirst().split(separator: "/", omittingEmptySubsequences: false) {
        if segment.isEmpty && route.pattern == "/" { break }
        node = Self.child(of: node, segment)
      }
      node.routes.append(route)
    }
  }

  private static func child(of node: Node, _ segment: Substring) -> Node {
    let bytes = Array(segment.utf8)
    if segment.hasPrefix("{") {
      if let known = node.parameter { return known }
      let child = Node()
      node.parameter = child
      return child
    }
    if let known = node.segments.first(where: { $0.bytes == bytes }) { return known.node }
    let child = Node()
    node.segments.append((bytes, child))
    return child
  }

  /// Finds what answers the exchange's target, and sets the exchange's route, values and query items.
  func find(_ exchange: Exchange) -> Target {
    let isDecoded = exchange.decodeQuery()
    let target = exchange.withPath { find($0, exchange) }
    // What others hang on to the address of a page is not for us to understand.
    if !isDecoded, case .route(let route) = target, !route.ignoresQuery { return .badEncoding }
    return target
  }

  private func find(_ path: UnsafeBufferPointer<UInt8>, _ exchange: Exchange) -> Target {
    guard path.first == UInt8(ascii: "/") else { return .notFound }
    if PercentEncoding.mayDecode(path), PercentEncoding.decode(path, plusIsSpace: false) == nil {
      return .badEncoding
    }
    guard let node = walk(root, path.count == 1 ? nil : path.dropFirst(), exchange), !node.routes.isEmpty
    else { return withoutSlashes(path, exchange).map { .moved(path: $0) } ?? .notFound }
    let wanted = exchange.method == .head ? .get : exchange.method
    for route in node.routes where route.method == wanted {
      exchange.route = route
      return .route(route)
    }
    var methods = node.routes.map(\.method.rawValue)
    if methods.contains("GET") { methods.append("HEAD") }
    methods.append("OPTIONS")
    let allow = methods.joined(separator: ", ")
    return exchange.method == .options ? .options(allow: allow) : .methodNotAllowed(allow: allow)
  }

  /// The path without the slashes at its end, where there is something at that.
  private func withoutSlashes(_ path: UnsafeBufferPointer<UInt8>, _ exchange: Exchange) -> String? {
    let slash = UInt8(ascii: "/")
    guard path.last == slash, let end = path.lastIndex(where: { $0 != slash }) else { return nil }
    let found = walk(root, path[1...end], exchange)
    exchange.values = []
    return found == nil ? nil : String(decoding: path[...end], as: UTF8.self)
  }

  /// Follows `rest`, the path after a slash; `nil` when the path has ended. Falls back from a static segment to
  /// a parameter, so that `/a/{x}/c` matches where `/a/b` also exists. The values collected are those of the
  /// path taken.
  private func walk(_ node: Node, _ rest: Slice<UnsafeBufferPointer<UInt8>>?, _ exchange: Exchange) -> Node? {
    guard let rest else { return node.routes.isEmpty ? nil : node }
    let end = rest.firstIndex(of: UInt8(ascii: "/"))
    let segment = UnsafeBufferPointer(rebasing: rest[rest.startIndex..<(end ?? rest.endIndex)])
    let next = end.map { rest[($0 + 1)...] }
    for (bytes, child) in node.segments where Self.equal(segment, bytes) {
      if let found = walk(child, next, exchange) { return found }
    }
    guard let child = node.parameter, !segment.isEmpty,
      let value = PercentEncoding.decode(segment, plusIsSpace: false)
    else { return nil }
    exchange.values.append(value)
    if let found = walk(child, next, exchange) { return found }
    exchange.values.removeLast()
    return nil
  }

  /// Literally: a proxy in front has rules and limits for paths as they are written, and must see what we see.
  private static func equal(_ segment: UnsafeBufferPointer<UInt8>, _ bytes: [UInt8]) -> Bool {
    guard segment.count == bytes.count else { return false }
    guard let start = segment.baseAddress else { return true }
    return memcmp(start, bytes, bytes.count) == 0
  }

  /// What is answered where there is no handler.
  func refusal(_ target: Target, _ exchange: Exchange) -> HTTPResponse {
    told(refusal(target, query: exchange.rawQuery), exchange)
  }

  /// A refusal in the form that its client can read.
  func told(_ refusal: HTTPResponse, _ exchange: Exchange) -> HTTPResponse {
    onRefusal?(HTTPRequest(exchange: exchange), refusal) ?? refusal
  }

  private func refusal(_ target: Target, query: String) -> HTTPResponse {
    switch target {
    case .route: preconditionFailure("a route answers itself")
    case .badEncoding:
      .problem(
        400, code: "bad_encoding", detail: "The path and query must be percent-encoded UTF-8 without NUL.")
    case .moved(let path):
      HTTPResponse(status: 308, headers: [("Location", query.isEmpty ? path : "\(path)?\(query)")])
    case .notFound: .problem(404, code: "not_found", detail: "There is nothing at this path.")
    case .methodNotAllowed(let allow):
      .problem(
        405, code: "method_not_allowed", detail: "This path takes \(allow).", headers: [("Allow", allow)])
    case .options(let allow): HTTPResponse(status: 204, headers: [("Allow", allow)])
    }
  }
}
