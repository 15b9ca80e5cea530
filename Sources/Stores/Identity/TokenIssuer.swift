import Foundation
import JSON

/// Issues HS256 tokens for users of our own.
package struct TokenIssuer: Sendable {
  private static let header = Sodium.base64(Array(#"{"alg":"HS256","typ":"JWT"}"#.utf8))

  private let key: Sodium.HMACKey

  /// - Throws: `AuthError.configuration` for a secret shorter than `TokenVerifier.minimumSecretBytes`.
  package init(secret: String) throws(AuthError) {
    try TokenVerifier.check(secret: secret)
    key = Sodium.HMACKey(Array(secret.utf8))
  }

  /// A token that is valid from `now` (seconds since 1970, by default this moment) for `lifetimeSeconds`.
  /// - Parameter session: what it ends with, if that is sooner.
  package func issue(
    user: String, role: Role, lifetimeSeconds: Int, now: Int = Int(Date().timeIntervalSince1970),
    session: Session? = nil
  ) -> String {
    var members: [(name: String, value: JSON)] = [
      ("sub", .string(user)), ("role", .string(role.rawValue)), ("iat", .integer(now)),
      ("exp", .integer(now + lifetimeSeconds)),
    ]
    if let session {
      members.append(("sid", .string("\(session.id).\(session.startedAt)")))
    }
    let claims = JSON.object(members)
    let signed = Self.header + "." + Sodium.base64(claims.serialized())
    let mac = key.mac(Array(signed.utf8)[...])
    return signed + "." + Sodium.base64(mac)
  }
}
