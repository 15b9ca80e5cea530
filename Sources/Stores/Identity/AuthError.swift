/// Why a token, a password or the configuration of authentication was refused.
package struct AuthError: Error, Sendable, CustomStringConvertible {
  package struct Code: Hashable, Sendable {
    let name: String
    /// Not a signed token at all.
    package static let malformed = Code(name: "malformed")
    /// `alg` is not one that is accepted, or does not belong to the key.
    package static let algorithm = Code(name: "algorithm")
    /// No key of this `kid` is known.
    package static let unknownKey = Code(name: "unknown_key")
    package static let signature = Code(name: "signature")
    package static let expired = Code(name: "expired")
    /// Its user has signed out, or changed the password.
    package static let ended = Code(name: "ended")
    package static let notYetValid = Code(name: "not_yet_valid")
    /// A claim is missing or of the wrong type.
    package static let claims = Code(name: "claims")
    /// Too many passwords wait to be hashed; nothing was done.
    package static let busy = Code(name: "busy")
    /// A secret or key set that must not be used.
    package static let configuration = Code(name: "configuration")
  }

  package let code: Code
  /// For a person; never contains the token or a key.
  package let message: String

  package init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  package var description: String { "\(code.name): \(message)" }
}
