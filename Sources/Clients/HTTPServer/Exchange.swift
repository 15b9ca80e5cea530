import EventLoop

/// One request and its answer, from its headers to the last byte sent.
///
/// Reused for the next request of the connection when nobody holds it any more, so that a request that is
/// answered at once allocates nothing here.
@LoopActor
final class Exchange {
  /// `get` for a method that is not known, which is refused.
  var method: HTTPMethod
  var isMethodKnown = true
  /// Whether it is one of HTTP/1.0.
  var isOld = false
  var body: [UInt8] = []
  var route: Route?
  /// The values of the route's parameters, in order.
  var values: [String] = []
  var queryItems: [(name: String, value: String)] = []

  /// The request's line and headers, in memory of the connection or the server. Empty before and after, which makes later
  /// lookups find nothing instead of freed memory.
  var head = RequestHead()
  /// Only for a request without a connection.
  private let own: (path: [UInt8], query: [UInt8], headers: HTTPResponse.Headers)?

  /// Who waits for the answer of a request without a connection.
  var reader: UnsafeContinuation<Void, Never>?

  /// The connection, from the headers to the last byte of the answer.
  private(set) var peer: Peer?
  /// Whether the connection waits for an answer that was not there at once.
  var isSuspended = false
  /// What that came to.
  var answer: HTTPResponse?
  /// The task that makes it, as long as it runs, where there is one.
  var task: Task<Void, Never>?
  /// What a request without a body is refused with.
  var refusal: HTTPResponse?
  /// Whether all of its body has come.
  var isWhole = false
  /// Whether it is answered, and what still comes of its body is dropped.
  var isAnswered = false
  /// Loop time in milliseconds at which its body began to come.
  var receivedFrom: UInt64 = 0
  /// For whom it counts as one under way.
  var counted: Client?
  /// Whether that one has so many that this one waits a moment.
  var isSlowed = false
  /// Whether it waits that moment just now: nothing was begun for it.
  var isPausing = false
  /// Whatever who refuses some requests has found out of the others.
  var identity: (any AnyObject & Sendable)?
  /// Bytes of a refused body that were dropped.
  var dropped = 0
  /// When the whole request was there, in nanoseconds of the monotonic clock.
  var startedAt: UInt64 = 0

  init() {
    method = .get
    own = nil
  }

  /// A request without a connection.
  init(method: HTTPMethod, target: String, headers: HTTPResponse.Headers, body: [UInt8]) {
    self.method = method
    self.body = body
    let parts = target.utf8.split(
      separator: UInt8(ascii: "?"), maxSplits: 1, omittingEmptySubsequences: false)
    own = (Array(parts[0]), parts.count > 1 ? Array(parts[1]) : [], headers)
  }

  /// Starts a request, in an exchange that is new or has ended.
  func begin(_ peer: Peer) {
    self.peer = peer
    method = .get
    isMethodKnown = false
    isOld = false
    isWhole = false
    isAnswered = false
    counted = nil
    isSlowed = false
    isPausing = false
    dropped = 0
    startedAt = 0
    isSuspended = false
  }

  /// Ends it: the memory of its head is about to be reused.
  func end() {
    // Not kept for an idle connection.
    if !body.isEmpty { body = [] }
    if !queryItems.isEmpty { queryItems = [] }
    // A few strings' room, which the next request has a use for.
    if !values.isEmpty { values.removeAll(keepingCapacity: true) }
    answer = nil
    refusal = nil
    task = nil
    route = nil
    head = RequestHead()
    identity = nil
    peer = nil
  }

  var path: String { withPath { String(decoding: $0, as: UTF8.self) } }

  func withPath<R>(_ use: (UnsafeBufferPointer<UInt8>) -> R) -> R {
    if let own { own.path.withUnsafeBufferPointer(use) } else { use(head.path) }
  }

  private func withQuery<R>(_ use: (UnsafeBufferPointer<UInt8>) -> R) -> R {
    if let own { own.query.withUnsafeBufferPointer(use) } else { use(head.query) }
  }

  func header(_ name: String) -> String? {
    if let own { return own.headers.first { $0.name.lowercased() == name.lowercased() }?.value }
    return head.field(name).map { String(decoding: $0, as: UTF8.self) }
  }

  /// Decodes the query into `queryItems`; false if it is malformed.
  func decodeQuery() -> Bool {
    withQuery { query in
      if query.isEmpty { return true }
      for item in query.split(separator: UInt8(ascii: "&")) {
        let sign = item.firstIndex(of: UInt8(ascii: "=")) ?? item.endIndex
        guard let name = Self.decode(item[..<sign]), let value = Self.decode(item[sign...].dropFirst()) else {
          queryItems = []
          return false
        }
        queryItems.append((name, value))
      }
      return true
    }
  }

  /// The query as it was sent; empty without one.
  var rawQuery: String { withQuery { String(decoding: $0, as: UTF8.self) } }

  private static func decode(_ text: Slice<UnsafeBufferPointer<UInt8>>) -> String? {
    PercentEncoding.decode(UnsafeBufferPointer(rebasing: text), plusIsSpace: true)
  }

  /// Who asks: the connection's other end, or whom a trusted proxy speaks for.
  var client: ClientAddress {
    if let own {
      // As if it came through one.
      let forwarded = own.headers.last { $0.name == "X-Forwarded-For" }?.value.split(separator: ",").last
      return forwarded.flatMap { ClientAddress($0.filter { $0 != " " }) } ?? .nobody
    }
    guard let peer else { return .nobody }
    guard let proxies = peer.proxies else { return peer.address }
    var header = ""
    head.eachField("X-Forwarded-For") { value in
      header += (header.isEmpty ? "" : ",") + String(decoding: value, as: UTF8.self)
      return true
    }
    return peer.address.forwarded(by: header, proxies: proxies)
  }
}
