/// Where a server listens and what it bounds.
package struct HTTPServerConfiguration: Sendable {
  /// A numeric address or a name that resolves to one.
  package var host: String
  /// 0 takes any free port; `HTTPServer.port` tells which.
  package var port: UInt16
  /// Connections open at a time. Close to it the longest idle ones are closed; at it, new ones wait in the
  /// kernel's queue.
  package var connectionLimit = 20_000
  /// Connections open at a time from one address; 0 is no limit, as a server behind a proxy needs.
  package var perAddressConnectionLimit = 0
  /// Seconds from a new connection until its first request's headers are there.
  package var headerSeconds = 15
  /// Seconds from the end of an answer until the next request's headers are there. More than the 60 after which
  /// proxies let go of an idle connection: whoever is less patient must be the one that sends the requests, or
  /// some are sent to a connection that is just being closed.
  package var idleSeconds = 75
  /// Seconds that a body may take to arrive once its headers are there.
  package var bodySeconds = 20
  /// Seconds that a client may take to receive an answer.
  package var sendSeconds = 60
  /// Bytes of the request line and all headers; more is answered 431.
  package var headerLimit = 8192
  /// `later` answers under way at a time; past it requests that need one are answered 503.
  package var laterLimit = 20_000
  /// Bytes that all bodies under way may have together beyond the first `smallBody` of each; past it a request is
  /// answered 503. The small ones, which buyers send, are bounded by the connections alone, so that large ones
  /// cannot keep them out.
  package var largeBodies = 64 << 20
  package var smallBody = 4_096
  /// Sites whose pages may call what is under `/api/`, such as `https://tickets.example.com`; `*` is every one.
  package var crossOrigins: Set<String> = []
  /// Milliseconds that `stop` waits for answers under way.
  package var stopMilliseconds: UInt64 = 5_000
  /// Milliseconds from a new connection in which `stop` still waits for its first request.
  package var firstRequestMilliseconds: UInt64 = 1_000

  package init(host: String = "127.0.0.1", port: UInt16 = 8080) {
    self.host = host
    self.port = port
  }
}
