/// Why a server did not start.
package struct HTTPServerError: Error, Sendable, CustomStringConvertible {
  package struct Code: Hashable, Sendable, CustomStringConvertible {
    package let description: String
    /// The host is not an address of this machine, or not a name that resolves to one.
    package static let badAddress = Code(description: "bad_address")
    /// The port is taken by another program, or may not be used.
    package static let cannotListen = Code(description: "cannot_listen")
  }

  package let code: Code
  package let message: String

  package var description: String { "\(code): \(message)" }
}
