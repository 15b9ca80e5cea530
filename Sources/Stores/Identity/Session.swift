package import EventLoop

/// A sign-in on one device: what its refresh token says.
package struct Session: Hashable, Sendable {
  /// Random; names the session in tokens and where it is ended.
  package let id: Int64
  package let user: String
  /// Milliseconds since 1970.
  package let startedAt: Int

  package init(id: Int64, user: String, startedAt: Int) {
    self.id = id
    self.user = user
    self.startedAt = startedAt
  }

  /// - Parameter now: milliseconds since 1970.
  package static func begin(user: String, now: Int) -> Session {
    let bytes = Sodium.randomBytes(8)
    return Session(
      id: bytes.withUnsafeBytes { $0.loadUnaligned(as: Int64.self) }, user: user, startedAt: now)
  }
}

/// Writes and reads refresh tokens: a session, signed, so that nothing need be looked up when one is used.
///
/// A token is `version ‖ id ‖ start ‖ user ‖ MAC` in base64url. It is no access token and cannot be mistaken for one.
package struct SessionCoder: Sendable {
  private static let version: UInt8 = 1
  private static let userOffset = 1 + 8 + 8
  private static let macLength = 32
  package static let longestText = 1_024

  private let keys: SigningKeys

  /// - Parameters:
  ///   - secret: the installation's; refresh tokens get a key of their own, derived from it.
  ///   - former: secrets that it has replaced.
  package init(secret: String, former: [String] = []) {
    keys = SigningKeys(secret: secret, former: former, label: "onsale session 1", macLength: Self.macLength)
  }

  package func encode(_ session: Session) -> String {
    var bytes = [Self.version]
    bytes.append(bigEndian: UInt64(bitPattern: session.id), 8)
    bytes.append(bigEndian: UInt64(bitPattern: Int64(session.startedAt)), 8)
    bytes += session.user.utf8
    bytes += keys.mac(bytes)
    return Sodium.base64(bytes)
  }

  /// `nil` for anything that `encode` did not write with one of the secrets.
  package func decode(_ text: String) -> Session? {
    guard text.utf8.count <= Self.longestText, let bytes = Base64URL.decode(Array(text.utf8)[...]),
      bytes.count > Self.userOffset + Self.macLength, bytes[0] == Self.version,
      keys.haveSigned(bytes)
    else { return nil }
    return bytes.withUnsafeBytes { all in
      Session(
        id: Int64(bigEndian: all.loadUnaligned(fromByteOffset: 1, as: Int64.self)),
        user: String(decoding: all[Self.userOffset..<all.count - Self.macLength], as: UTF8.self),
        startedAt: Int(Int64(bigEndian: all.loadUnaligned(fromByteOffset: 9, as: Int64.self))))
    }
  }
}

/// Sessions that have ended before their time, in memory: tokens are checked against them without a look-up anywhere.
@LoopActor
package final class EndedSessions {
  /// Beyond so many, of single ones and of users, the oldest are forgotten; their refresh tokens then live to their end.
  package nonisolated static let limit = 2_000_000

  private var ids: RecentValues<Int64, Void>
  private var users: RecentValues<String, Int>

  package init(limit: Int = EndedSessions.limit) {
    (ids, users) = (RecentValues(capacity: limit), RecentValues(capacity: limit))
  }

  package func end(session id: Int64) { ids.set((), for: id) }

  /// Ends all sessions of a user that began by then.
  /// - Parameter time: milliseconds since 1970.
  package func end(user: String, upTo time: Int) {
    users.set(max(time, users.value(of: user) ?? 0), for: user)
  }

  package func contains(_ session: Session) -> Bool {
    if ids.value(of: session.id) != nil { return true }
    guard users.count > 0, let time = users.value(of: session.user) else { return false }
    return session.startedAt <= time
  }
}
