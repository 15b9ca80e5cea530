/// Why a command has no answer.
package struct RedisError: Error, Sendable, Equatable, CustomStringConvertible {
  package enum Code: Sendable, Hashable {
    /// Nothing was sent: not connected, or too many commands under way. Safe to repeat.
    case unavailable
    /// The connection ended after the command was sent: it may have been carried out or not.
    case connectionLost
    /// No answer came in time: the command may be carried out or not.
    case timeout
    /// Redis refused; the first word of its message, such as `OOM`, `LOADING` or `READONLY`. Nothing was done.
    case server(String)
  }

  package let code: Code
  package let message: String

  package init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  /// An error that Redis answered.
  init(answer: String) {
    self.init(.server(String(answer.prefix { $0 != " " })), answer)
  }

  /// Whether the command may have had its effect.
  package var outcomeIsUnknown: Bool { code == .connectionLost || code == .timeout }

  package var description: String {
    switch code {
    case .unavailable: "Redis is unavailable: \(message)"
    case .connectionLost: "the connection to Redis was lost: \(message)"
    case .timeout: "Redis did not answer in time: \(message)"
    case .server: "Redis refused: \(message)"
    }
  }
}
