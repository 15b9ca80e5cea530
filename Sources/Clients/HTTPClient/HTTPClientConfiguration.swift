/// What an HTTP client bounds.
package struct HTTPClientConfiguration: Sendable {
  /// Connections open at a time to one origin; requests beyond wait for one, in order.
  package var connectionsPerHost = 64
  /// Requests under way or waiting at a time; past it `send` throws `overloaded`.
  package var capacity = 10_000
  package var connectTimeoutMilliseconds = 3_000
  /// For the whole exchange, waiting for a connection included.
  package var timeoutMilliseconds = 30_000
  /// Bytes of a response's body.
  package var maximumResponseBody = 16 << 20
  /// Which addresses it connects to, whatever a name leads to at that moment; `nil` is all of them. Refused ones fail
  /// with `connectFailed` before anything is sent.
  package var connectsTo: (@Sendable (NetworkAddress) -> Bool)?

  package init() {}
}
