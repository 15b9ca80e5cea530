import EventLoop
import Testing

@testable import Identity

@LoopActor
@Suite("Sessions")
struct SessionTests {
  private static let secret = "0123456789abcdef0123456789abcdef"
  private static let coder = SessionCoder(secret: secret)

  @Test(
    "A refresh token says which session, whose, and since when",
    arguments: [
      Session(id: 1, user: "ann", startedAt: 1_900_000_000), Session(id: .min, user: "ü 東京", startedAt: 0),
      Session(id: .max, user: String(repeating: "x", count: 500), startedAt: 1),
    ])
  func roundTrip(_ session: Session) {
    #expect(Self.coder.decode(Self.coder.encode(session)) == session)
  }

  @Test("Nobody can make one up, or change one; one of a former secret is read for as long as that is kept")
  func forged() throws {
    let session = Session(id: 7, user: "ann", startedAt: 1_900_000_000)
    let text = Self.coder.encode(session)
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    for index in text.indices {
      for letter in alphabet where letter != text[index] {
        var changed = text
        changed.replaceSubrange(index...index, with: String(letter))
        #expect(Self.coder.decode(changed) == nil)
      }
    }
    for text in ["", "a", text + "A", String(text.dropLast(4)), String(repeating: "A", count: 100_000)] {
      #expect(Self.coder.decode(text) == nil)
    }
    let next = "another secret, also of 32 bytes"
    #expect(SessionCoder(secret: next).decode(text) == nil)
    #expect(SessionCoder(secret: next, former: [Self.secret]).decode(text) == session)
    // Neither is one the other.
    let verifier = try TokenVerifier(secret: Self.secret)
    #expect(throws: AuthError.self) { try verifier.verify(text) }
    let token = try TokenIssuer(secret: Self.secret).issue(user: "ann", role: .customer, lifetimeSeconds: 60)
    #expect(Self.coder.decode(token) == nil)
  }

  @Test("However many sessions end, one by one or all of a user's, some are kept, and the last ones count")
  func bounded() {
    let ended = EndedSessions(limit: 100)
    func counts(_ number: Int) -> (one: Bool, all: Bool) {
      let of = { (user: String) in Session(id: Int64(number), user: user, startedAt: 1) }
      return (ended.contains(of("nobody")), ended.contains(Session(id: -1, user: "u\(number)", startedAt: 1)))
    }
    for number in 0..<10_000 {
      ended.end(session: Int64(number))
      ended.end(user: "u\(number)", upTo: 1)
    }
    #expect((9_950..<10_000).allSatisfy { counts($0) == (true, true) })
    #expect((0..<10_000).count { counts($0).one } <= 100 && (0..<10_000).count { counts($0).all } <= 100)
  }

  @Test("A token of a session that has ended is refused, also one that was accepted a moment ago")
  func ended() throws {
    let ended = EndedSessions()
    let verifier = try TokenVerifier(secret: Self.secret, ended: ended)
    let issuer = try TokenIssuer(secret: Self.secret)
    func token(_ session: Session) -> String {
      issuer.issue(user: session.user, role: .customer, lifetimeSeconds: 60, session: session)
    }
    func code(_ token: String) -> AuthError.Code? {
      do throws(AuthError) {
        _ = try verifier.verify(token)
        return nil
      } catch { return error.code }
    }
    let now = 1_900_000_000
    let first = token(Session(id: 1, user: "ann", startedAt: now))
    let second = token(Session(id: 2, user: "ann", startedAt: now + 10))
    let other = token(Session(id: 3, user: "bob", startedAt: now))
    for token in [first, second, other] { #expect(code(token) == nil) }
    ended.end(session: 1)
    #expect(code(first) == .ended && code(second) == nil && code(other) == nil)
    ended.end(user: "ann", upTo: now + 9)
    #expect(code(second) == nil)
    ended.end(user: "ann", upTo: now + 10)
    #expect(code(second) == .ended && code(other) == nil)
    // What ended later is not begun anew by an end that was earlier.
    ended.end(user: "ann", upTo: now)
    #expect(code(second) == .ended)
  }
}
