/// Headers that many answers have, put into lines once.
package final class SharedHeaders: Sendable {
  let headers: HTTPResponse.Headers
  /// As they are sent, each with the end of the line before it.
  let lines: [UInt8]

  /// - Parameter headers: constants, which nobody has to look at again; none is the policy for pages.
  init(_ headers: HTTPResponse.Headers) {
    self.headers = headers
    lines = headers.flatMap { Array("\r\n\($0.name): \($0.value)".utf8) }
  }

  static let uncachedJSON = SharedHeaders([
    ("Content-Type", "application/json"), ("Cache-Control", "no-store"),
  ])
}
