/// Where a server listens and what it bounds.
package struct HTTPServerConfiguration: Sendable {
  /// A numeric address or a name that resolves to one.
  package var host: String
  /// 0 takes any free port; `HTTPServer.port` tells which.
  package var port: UInt16
  /// Connections open at a time. Close to it the longest idle ones are closed; at it, new ones wait in the
  /// kernel's queue.
  package var connectionLimit = 20_000
  /// Connections open at a time of one client, which is an address of IPv4 or a /56 of IPv6, and requests under way at a
  /// time of one that comes through a proxy; 0 is no limit. Beyond half of it new connections, or requests, are served a
  /// moment later; beyond all of it the client's slowest and idle ones go, or the new one's request is answered 429. `nil`
  /// is a quarter of `connectionLimit`.
  package var perClientLimit: Int? = 0
  /// Milliseconds that a request waits that comes through a proxy for a client with more than half of its limit.
  package var slowedMilliseconds: UInt64 = 500
  /// Who may say in X-Forwarded-For whom they speak for. What anybody else writes there counts for nothing.
  package var trustedProxies: [AddressRange] = []
  /// Seconds from a new connection until its first request's headers are there.
  package var headerSeconds = 15
  /// Seconds from the end of an answer until the next request's headers are there. More than the 60 after which
  /// proxies let go of an idle connection: whoever is less patient must be the one that sends the requests, or
  /// some are sent to a connection that is just being closed.
  package var idleSeconds = 75
  /// Seconds that a body may take to arrive once its headers are there, and the bytes that it has to bring for each second
  /// more. No body takes longer than `longestBodySeconds`.
  package var bodySeconds = 10
  package var bodyRate = 4_096
  package var longestBodySeconds = 300
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
  /// Whether clients come by HTTPS, by a proxy's doing, and are told to come by nothing else.
  package var isSecure = false
  /// Whether what it does shows in the process's metrics.
  package var isCounted = true
  /// Whether other processes may listen at the same port.
  package var sharesPort = true
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
