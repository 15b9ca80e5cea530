/// Why there is no response.
package struct HTTPClientError: Error, Sendable, CustomStringConvertible {
  package struct Code: Hashable, Sendable, CustomStringConvertible {
    package let description: String
    /// No connection was made, so nothing was sent: the server did not see the request.
    package static let connectFailed = Code(description: "connect_failed")
    /// The time ran out. Unless `nothingWasSent`, the server may have acted on the request.
    package static let timeout = Code(description: "timeout")
    /// The connection broke after the request may have been sent: its outcome is unknown.
    package static let connectionLost = Code(description: "connection_lost")
    /// The response's body is larger than the client takes.
    package static let tooLarge = Code(description: "too_large")
    /// The URL is malformed or not http(s).
    package static let invalidURL = Code(description: "invalid_url")
    /// A header has a control character, such as a line break.
    package static let invalidHeader = Code(description: "invalid_header")
    /// Too many requests wait already; nothing was sent.
    package static let overloaded = Code(description: "overloaded")
    /// The client is closed; nothing was sent.
    package static let closed = Code(description: "closed")
  }

  package let code: Code
  package let message: String
  /// Whether it is certain that no byte of the request left.
  package let nothingWasSent: Bool

  package init(code: Code, message: String, nothingWasSent: Bool) {
    self.code = code
    self.message = message
    self.nothingWasSent = nothingWasSent
  }

  package var description: String { "\(code): \(message)" }
}
