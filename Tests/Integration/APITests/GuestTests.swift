import EventLoop
import HTTPCommon
import HTTPServer
import Identity
import JSON
import Sale
import Testing

@testable import Catalog

@LoopActor
@Suite("Guests", .timeLimit(.minutes(3)))
struct GuestTests {
  private let service: Service
  private let token: String

  init() async throws {
    service = try await Service.shared()
    token = try #require(
      await service.call(.post, "/api/sessions/guest").json["token"]?.string)
  }

  @Test("Anybody gets a token to look around with; it is in no cookie, in no cache, and of no session")
  func given() async throws {
    let answer = await service.call(.post, "/api/sessions/guest", [:])
    #expect(answer.status == 200 && answer.response.header("Cache-Control") == "no-store")
    #expect(answer.response.header("Set-Cookie") == nil)
    let lifetime = answer.json["expires_in_seconds"]?.integer ?? 0
    #expect((Sessions.guestSeconds...Sessions.guestSeconds + Sessions.guestStep).contains(lifetime))
    #expect((1..<Sessions.guestSeconds).contains(answer.json["refresh_in_seconds"]?.integer ?? 0))
    #expect(await service.call(.post, "/api/sessions/guest", ["role": "manager"]).status == 400)
    let claims = try TokenVerifier(secret: Service.secret).verify(token)
    #expect(claims.role == .guest && claims.session == nil)
  }

  @Test("All who come in the same minute get the same token, and none is good for longer than told")
  func shared() throws {
    func token(_ now: Int) -> JSON? {
      (try? JSON(parsing: service.sessions.guestToken(now: now).body))?["token"]
    }
    #expect(token(6_000) == token(6_059))
    #expect(token(6_059) != token(6_060))
    let end = 6_000 + Sessions.guestStep + Sessions.guestSeconds
    let text = try #require(token(6_059)?.string)
    for (now, isGood) in [(end - 1, true), (end + TokenVerifier.leewaySeconds, false)] {
      let verifier = try TokenVerifier(secret: Service.secret, now: { now })
      #expect(((try? verifier.verify(text)) != nil) == isGood, "\(now)")
    }
  }

  @Test("A guest finds events, sees one with its seats and its line, and no draft")
  func looks() async throws {
    let event = try await service.makeEvent(opens: true), draft = try await service.makeEvent()
    for path in ["/api/search?terms=concert", "/api/event/\(event)", "/api/event/\(event)/tickets"] {
      let answer = await service.call(.get, path, as: .token(token))
      #expect(answer.status == 200, "\(path): \(answer.text)")
      let theirs = await service.call(.get, path, as: .user("fan"))
      #expect(answer.text == theirs.text && answer.response.header("ETag") == theirs.response.header("ETag"))
    }
    #expect(await service.call(.get, "/api/event/\(event)/queue", as: .token(token)).status == 200)
    for path in ["/api/event/\(draft)", "/api/event/\(draft)/tickets", "/api/event/\(draft)/queue"] {
      // Its organizer looks first, so that it is in memory.
      #expect(await service.call(.get, path, as: .organizer).status == 200)
      #expect(await service.call(.get, path, as: .token(token)).status == 404, "\(path)")
    }
  }

  @Test(
    "A guest is told that an account is needed, before the body is looked at",
    arguments: [
      (HTTPMethod.post, "/api/ticket/reserve"), (.post, "/api/ticket/confirm"), (.delete, "/api/request/x"),
      (.get, "/api/me/tickets"), (.post, "/api/me/password"), (.delete, "/api/sessions"),
      (.delete, "/api/sessions?everywhere=true"), (.get, "/api/admin/events"), (.post, "/api/admin/events"),
    ])
  func wall(_ method: HTTPMethod, _ target: String) async {
    for body in [[], Array("nonsense".utf8)] {
      let answer = await service.call(method, target, bytes: body, as: .token(token))
      #expect(answer.status == 403 && answer.code == "account_required", "\(answer.text)")
    }
  }

  @Test("A whole town behind one address looks around")
  func town() async {
    for _ in 0..<2_000 {
      let answer = await service.call(
        .post, "/api/sessions/guest", headers: [("X-Forwarded-For", "203.0.113.77")])
      guard answer.status == 200 else {
        Issue.record("\(answer.text)")
        return
      }
    }
  }
}
