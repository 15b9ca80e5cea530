import CMicroHTTPD
import EventLoop
import Foundation

/// One request and its answer, from its headers to the last byte sent.
///
/// Reused for the next request of the connection when nobody holds it any more, so that a request that is
/// answered at once allocates nothing here.
@LoopActor
final class Exchange {
  /// `get` for a method that is not known, which is refused.
  var method: HTTPMethod
  var isMethodKnown = true
  var body: [UInt8] = []
  var route: Route?
  /// The values of the route's parameters, in order.
  var values: [String] = []
  var queryItems: [(name: String, value: String)] = []

  /// The connection, as long as its memory holds this request: from the headers to the answer's last byte. The
  /// server sets it to `nil` there, which makes later lookups find nothing instead of freed memory.
  private(set) var connection: OpaquePointer?
  /// The path in the connection's memory; valid as long as `connection`.
  private var pathBytes = UnsafeBufferPointer<UInt8>(start: nil, count: 0)
  /// Only for a request without a connection.
  private let own: (path: [UInt8], query: [UInt8], headers: HTTPResponse.Headers)?

  /// The connection's own state, as long as `connection`.
  private(set) var peer: Peer?
  /// Whether libmicrohttpd leaves the connection alone until it is resumed.
  var isSuspended = false
  /// What a `later` answer came to; taken when libmicrohttpd calls again for the resumed connection.
  var answer: HTTPResponse?
  /// The task of a `later` answer, as long as it runs.
  var task: Task<Void, Never>?
  /// What the request is refused with once its body has been drained; the body is dropped meanwhile.
  var refusal: HTTPResponse?
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

  /// Starts a request whose headers have arrived.
  func begin(_ connection: OpaquePointer, _ peer: Peer, method: HTTPMethod?, path: UnsafePointer<CChar>) {
    self.connection = connection
    self.peer = peer
    self.method = method ?? .get
    isMethodKnown = method != nil
    let count = strlen(path)
    pathBytes = UnsafeBufferPointer(
      start: UnsafeRawPointer(path).assumingMemoryBound(to: UInt8.self), count: count)
    route = nil
    if !values.isEmpty { values.removeAll(keepingCapacity: true) }
    if !queryItems.isEmpty { queryItems = [] }
    answer = nil
    task = nil
    refusal = nil
    dropped = 0
    startedAt = 0
    isSuspended = false
  }

  /// Ends it: the connection's memory is about to be reused.
  func end() {
    // Not kept for an idle connection.
    if !body.isEmpty { body = [] }
    connection = nil
    peer = nil
    pathBytes = UnsafeBufferPointer(start: nil, count: 0)
  }

  var path: String { withPath { String(decoding: $0, as: UTF8.self) } }

  func withPath<R>(_ use: (UnsafeBufferPointer<UInt8>) -> R) -> R {
    if let own { own.path.withUnsafeBufferPointer(use) } else { use(pathBytes) }
  }

  func header(_ name: String) -> String? {
    if let own { return own.headers.first { $0.name.lowercased() == name.lowercased() }?.value }
    guard let connection, let value = MHD_lookup_connection_value(connection, .HEADER_KIND, name) else {
      return nil
    }
    return String(cString: value)
  }

  /// Whether more than one header says where the body ends. libmicrohttpd chooses one of them; a proxy in front
  /// may have chosen another, and would then take a part of the body for a request, or a request for a body.
  var hasAmbiguousBody: Bool {
    guard let connection else { return false }
    var count = 0
    _ = withUnsafeMutablePointer(to: &count) { count in
      MHD_get_connection_values_n(
        connection, .HEADER_KIND,
        { count, _, name, size, _, _ in
          guard let name else { return .YES }
          let isOne =
            size == 14 && strncasecmp(name, "content-length", size) == 0
            || size == 17 && strncasecmp(name, "transfer-encoding", size) == 0
          if isOne { count?.assumingMemoryBound(to: Int.self).pointee += 1 }
          return .YES
        }, count)
    }
    return count > 1
  }

  /// Decodes the query into `queryItems`; false if it is malformed.
  func decodeQuery() -> Bool {
    if let own { return decodeOwnQuery(own.query) }
    guard let connection, MHD_get_connection_values(connection, .GET_ARGUMENT_KIND, nil, nil) > 0 else {
      return true
    }
    let collected = withUnsafeMutablePointer(to: &queryItems) { items in
      MHD_get_connection_values_n(
        connection, .GET_ARGUMENT_KIND,
        { items, _, name, nameCount, value, valueCount in
          guard let items = items?.assumingMemoryBound(to: [(name: String, value: String)].self),
            let name = Exchange.decode(name, nameCount), let value = Exchange.decode(value, valueCount)
          else { return .NO }
          items.pointee.append((name, value))
          return .YES
        }, items)
    }
    // The iteration ends at the first item that is refused, which is counted but not collected.
    return Int(collected) == queryItems.count
  }

  /// The query as it was sent; empty without one.
  var rawQuery: String {
    if let own { return String(decoding: own.query, as: UTF8.self) }
    guard let connection else { return "" }
    var items: [String] = []
    _ = withUnsafeMutablePointer(to: &items) { items in
      MHD_get_connection_values_n(
        connection, .GET_ARGUMENT_KIND,
        { items, _, name, nameCount, value, valueCount in
          func text(_ start: UnsafePointer<CChar>?, _ count: Int) -> String {
            String(
              decoding: UnsafeRawBufferPointer(start: start, count: start == nil ? 0 : count), as: UTF8.self)
          }
          let item = text(name, nameCount) + (value == nil ? "" : "=" + text(value, valueCount))
          items?.assumingMemoryBound(to: [String].self).pointee.append(item)
          return .YES
        }, items)
    }
    return items.joined(separator: "&")
  }

  private nonisolated static func decode(_ text: UnsafePointer<CChar>?, _ count: Int) -> String? {
    guard let text else { return "" }
    return text.withMemoryRebound(to: UInt8.self, capacity: count) {
      PercentEncoding.decode(UnsafeBufferPointer(start: $0, count: count), plusIsSpace: true)
    }
  }

  private func decodeOwnQuery(_ query: [UInt8]) -> Bool {
    queryItems = []
    for item in query.split(separator: UInt8(ascii: "&")) {
      let parts = item.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
        .map { part in Array(part).withUnsafeBufferPointer { PercentEncoding.decode($0, plusIsSpace: true) } }
      guard let name = parts[0], let value = parts.count > 1 ? parts[1] : "" else { return false }
      queryItems.append((name, value))
    }
    return true
  }

  var clientAddress: String {
    guard let connection, let address = mhd_client_address(connection) else { return "" }
    var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
    let size =
      address.pointee.sa_family == sa_family_t(AF_INET6)
      ? MemoryLayout<sockaddr_in6>.size : MemoryLayout<sockaddr_in>.size
    getnameinfo(address, socklen_t(size), &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST)
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
