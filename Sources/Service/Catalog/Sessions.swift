package import EventLoop
package import HTTPCommon
import HTTPServer
package import Identity
import JSON
package import Ledger

/// Sessions of those who sign in here: a token for some minutes, and one with which a new one is got, without a look-up.
@LoopActor
package struct Sessions {
  /// Of a token. Whoever has one that was stolen is out after so long.
  static let tokenSeconds = 900
  /// From signing in until one has to sign in again.
  static let seconds = 30 * 86_400
  /// When a new token is to be got, as a share of the life of the one before: of a crowd that signed in together, not all
  /// come for it together.
  static let renewal = 0.4...0.8

  /// Of a guest's token: nobody can end one sooner.
  static let guestSeconds = 900
  /// All guests that come within so many seconds get the same token.
  static let guestStep = 60
  private static let guest = "guest"

  let issuer: TokenIssuer
  let coder: SessionCoder
  let store: SessionStore
  package let ended: EndedSessions
  let cookies: SessionCookies

  /// - Parameters:
  ///   - coder: of refresh tokens.
  ///   - ended: what tokens are checked against.
  package init(
    issuer: TokenIssuer, coder: SessionCoder, store: SessionStore, ended: EndedSessions,
    cookies: SessionCookies
  ) {
    self.issuer = issuer
    self.coder = coder
    self.store = store
    self.ended = ended
    self.cookies = cookies
  }

  /// For so long after now sessions are ended together, in milliseconds: those that begin while a password is being changed,
  /// for who knows the former one, and those that began at a server whose clock is ahead. Who signs in within it, with the
  /// password as it is then, has a session from its end on.
  static let endMilliseconds = 10_000

  /// Up to when all sessions of a user end that are ended now, in milliseconds since 1970.
  static func end(now: Int = WallClock.milliseconds) -> Int { now + endMilliseconds }

  /// Begins one for a user. - Parameter now: milliseconds since 1970.
  func begin(_ user: String, inCookies: Bool, now: Int = WallClock.milliseconds) -> HTTPResponse {
    let session = Session.begin(user: user, now: now)
    var response = answer(session, inCookies: inCookies)
    if inCookies { response.headers += cookies.keepDevice(coder.encode(session)) }
    return response
  }

  /// A whole town behind one address may ask: it is signed once a minute.
  private final class GuestToken {
    private var last: (issued: Int, token: String)?

    func token(_ issued: Int, _ sign: () -> String) -> String {
      if let last, last.issued == issued { return last.token }
      let token = sign()
      last = (issued, token)
      return token
    }
  }
  private let guests = GuestToken()

  /// The token of whoever wants to look around, the same for all who come in the same minute: servers remember it once,
  /// however many they are, and nothing is written down anywhere.
  /// - Parameter now: seconds since 1970.
  func guestToken(now: Int = Time.now) -> HTTPResponse {
    let issued = now - now % Self.guestStep
    let end = issued + Self.guestStep + Self.guestSeconds
    let token = guests.token(issued) {
      issuer.issue(user: Self.guest, role: .guest, lifetimeSeconds: end - issued, now: issued)
    }
    let renewal = Double(Self.guestSeconds) * Double.random(in: Self.renewal)
    return .json(
      200,
      [
        "token": .string(token), "expires_at": .string(Time.text(end)),
        "expires_in_seconds": .integer(end - now),
        "refresh_in_seconds": .integer(Int(renewal)),
      ], headers: [("Cache-Control", "no-store")])
  }

  /// Whose device a request comes from, if somebody signed in there before. Whether that session goes on does not matter.
  func deviceOwner(_ request: HTTPRequest, token: String?) -> String? {
    (token ?? cookies.deviceToken(request)).flatMap { coder.decode($0) }?.user
  }

  /// The tokens of a session, in the body or in cookies.
  func answer(_ session: Session, inCookies: Bool) -> HTTPResponse {
    let now = Time.now
    let left = max(0, session.startedAt / 1_000 + Self.seconds - now)
    let lifetime = min(Self.tokenSeconds, left)
    let token = issuer.issue(
      user: session.user, role: .customer, lifetimeSeconds: lifetime, now: now, session: session)
    var members: [(name: String, value: JSON)] = [
      ("user_id", .string(session.user)), ("expires_at", .string(Time.text(now + lifetime))),
      ("expires_in_seconds", .integer(lifetime)),
      ("refresh_in_seconds", .integer(Int(Double(lifetime) * Double.random(in: Self.renewal)))),
      ("session_expires_in_seconds", .integer(left)),
    ]
    var headers: HTTPResponse.Headers = [("Cache-Control", "no-store")]
    let refresh = coder.encode(session)
    if inCookies {
      headers += cookies.keep(access: (token, lifetime), refresh: (refresh, left))
    } else {
      members += [("token", .string(token)), ("refresh_token", .string(refresh))]
    }
    return .json(200, .object(members), headers: headers)
  }

  /// The session of a refresh token, if it goes on.
  func session(_ text: String) -> Session? {
    guard let session = coder.decode(text), session.startedAt / 1_000 + Self.seconds > Time.now,
      !ended.contains(session)
    else { return nil }
    return session
  }

  /// Here at once, and at the other servers within a second or two.
  func end(_ session: Session) async throws {
    try await store.end(session: session.id, of: session.user)
    ended.end(session: session.id)
  }

  /// - Parameter time: milliseconds since 1970.
  func endAll(of user: String, upTo time: Int) async throws {
    try await store.endAll(of: user, upTo: time)
    ended.end(user: user, upTo: time)
  }
}
