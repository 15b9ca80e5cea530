package import EventLoop

/// What an HTTP client bounds.
package struct HTTPClientConfiguration: Sendable {
  /// Connections open at a time to one host; requests beyond wait for one.
  package var connectionsPerHost = 64
  /// Requests under way or waiting at a time; past it `send` throws `overloaded`.
  package var capacity = 10_000
  package var connectTimeoutMilliseconds = 3_000
  /// For the whole exchange, waiting for a connection included.
  package var timeoutMilliseconds = 30_000
  /// Bytes of a response's body.
  package var maximumResponseBody = 16 << 20

  package init() {}
}

/// Sends HTTP/1.1 requests over connections that are kept and reused.
@LoopActor
package final class HTTPClient {
  private let configuration: HTTPClientConfiguration

  package init(_ configuration: HTTPClientConfiguration = HTTPClientConfiguration()) {
    self.configuration = configuration
  }

  /// Sends `request` and returns the whole response, whatever its status.
  ///
  /// Cancelling the task aborts the transfer; the server may have acted on it.
  /// - Throws: `HTTPClientError`, or `CancellationError`.
  package func send(_ request: HTTPClientRequest) async throws -> HTTPClientResponse {
    throw HTTPClientError(code: .closed, message: "the client is closed", nothingWasSent: true)
  }

  /// Aborts what is under way and closes all connections.
  package func close() {}
}
