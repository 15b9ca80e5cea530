import Catalog
import EventLoop
import HTTPCommon
import HTTPServer
import Identity
import JSON
import Ledger
import Logging
import Postgres
import Testing

@testable import Catalog

@LoopActor
@Suite("Sessions", .timeLimit(.minutes(3)))
struct SessionTests {
  private let service: Service
  private let email: String
  private static let password = "correct horse battery"

  init() async throws {
    service = try await Service.shared()
    email = "session\(Int.random(in: 0...Int.max))@example.com"
    let up: JSON = ["name": "Mina", "email": .string(email), "password": .string(Self.password)]
    #expect(await service.call(.post, "/api/users", up).status == 201)
  }

  private func signIn(
    _ password: String = SessionTests.password, cookies: Bool = false
  ) async -> Service.Answer {
    await service.call(
      .post, "/api/sessions",
      ["email": .string(email), "password": .string(password), "cookies": .bool(cookies)])
  }

  private func status(_ token: String) async -> Int {
    await service.call(.get, "/api/me/tickets", as: .token(token)).status
  }

  private func renew(_ token: String) async -> Service.Answer {
    await service.call(.post, "/api/sessions/refresh", ["refresh_token": .string(token)])
  }

  @Test("A session gives one token after another, until it is signed out; other sessions go on")
  func renewed() async throws {
    let (one, other) = (await signIn().json, await signIn().json)
    let token = try #require(one["token"]?.string), refresh = try #require(one["refresh_token"]?.string)
    let renewal = one["refresh_in_seconds"]?.integer ?? 0
    #expect(renewal > 0 && renewal < one["expires_in_seconds"]?.integer ?? 0)
    let next = await renew(refresh)
    #expect(next.status == 200 && next.json["user_id"] == one["user_id"], "\(next.text)")
    let second = try #require(next.json["token"]?.string)
    #expect(await status(token) == 200)
    #expect(await status(second) == 200)
    #expect(await service.call(.delete, "/api/sessions", as: .token(second)).status == 204)
    for token in [token, second] {
      let refused = await service.call(.get, "/api/me/tickets", as: .token(token))
      #expect(refused.status == 401 && refused.code == "session_ended")
    }
    #expect(await renew(refresh).status == 401)
    #expect(await status(other["token"]?.string ?? "") == 200)
    // What no server knows of the other's memory it learns from PostgreSQL.
    let elsewhere = Sessions(
      issuer: try service.makeIssuer(), coder: SessionCoder(secret: Service.secret),
      store: service.sessions.store,
      ended: EndedSessions(), cookies: SessionCookies(isSecure: false))
    #expect(elsewhere.session(refresh) != nil)
    try await SessionWatch(elsewhere, logger: Logger(label: "test")).look()
    #expect(elsewhere.session(refresh) == nil)
    #expect(elsewhere.session(other["refresh_token"]?.string ?? "") != nil)
  }

  @Test("Signing out everywhere ends all of them; whoever signs in after that is in")
  func everywhere() async throws {
    let (one, other) = (await signIn().json, await signIn().json)
    let token = one["token"]?.string ?? ""
    #expect(await service.call(.delete, "/api/sessions?everywhere=perhaps", as: .token(token)).status == 400)
    #expect(await service.call(.delete, "/api/sessions?everywhere=true", as: .token(token)).status == 204)
    #expect(await status(token) == 401)
    #expect(await status(other["token"]?.string ?? "") == 401)
    #expect(await renew(other["refresh_token"]?.string ?? "").status == 401)
    let again = await signIn().json["token"]?.string ?? ""
    #expect(await status(again) == 200)
  }

  @Test("Whoever knows the password changes it, and is the only one who is signed in then")
  func password() async throws {
    let (one, other) = (await signIn().json, await signIn().json)
    let token = one["token"]?.string ?? ""
    func change(_ current: String, _ new: String) async -> Service.Answer {
      await service.call(
        .post, "/api/me/password", ["current_password": .string(current), "password": .string(new)],
        as: .token(token))
    }
    #expect(await change("a guess", "another good one").code == "wrong_credentials")
    #expect(await change(Self.password, "short").status == 400)
    #expect(await status(other["token"]?.string ?? "") == 200)
    let changed = await change(Self.password, "another good one")
    #expect(changed.status == 200, "\(changed.text)")
    #expect(await status(token) == 401)
    #expect(await status(other["token"]?.string ?? "") == 401)
    #expect(await status(changed.json["token"]?.string ?? "") == 200)
    #expect(await signIn().status == 401)
    #expect(await signIn("another good one").status == 200)
  }

  @Test("Who changes a password with one that was changed meanwhile, or signs in with it, is too late")
  func races() async throws {
    let users = UserStore(service.postgres)
    let before = try #require(try await users.credentials([email]))
    #expect(before.endedUpTo == 0)
    let hash = try await service.hasher.hash("another good one"), end = Sessions.end()
    #expect(
      try await users.setPassword(hash, of: before.id, instead: before.password, endingSessionsUpTo: end))
    // Verified with the password as it was, written after it was changed.
    #expect(
      try await !users.setPassword("theirs", of: before.id, instead: before.password, endingSessionsUpTo: end)
    )
    #expect(try await users.credentials([email])?.password == hash)
    // The end came with the password, in one step: no session outlives it that began with the former one until now, or
    // at a server whose clock is ahead.
    try await SessionWatch(service.sessions, logger: Logger(label: "test")).look()
    let late = Session.begin(user: before.id, now: WallClock.milliseconds + 2_000)
    #expect(service.sessions.session(service.sessions.coder.encode(late)) == nil)
    // Who knows the new one is in at once, and stays.
    let after = await signIn("another good one")
    #expect(after.status == 200)
    #expect(await status(after.json["token"]?.string ?? "") == 200)
    #expect(await renew(after.json["refresh_token"]?.string ?? "").status == 200)
  }

  @Test("Guessing the current password with somebody's token is slowed down as signing in is")
  func guessing() async throws {
    let token = await signIn().json["token"]?.string ?? ""
    var statuses: [Int] = []
    for number in 0...SignInAttempts.limit {
      let answer = await service.call(
        .post, "/api/me/password",
        ["current_password": .string("guess \(number)"), "password": "another good one"], as: .token(token))
      statuses.append(answer.status)
    }
    #expect(statuses.dropLast().allSatisfy { $0 == 403 } && statuses.last == 429, "\(statuses)")
  }

  @Test("A page's tokens are in cookies that count with its own header only")
  func cookies() async throws {
    let answer = await signIn(cookies: true)
    #expect(answer.json["token"] == nil && answer.json["refresh_token"] == nil)
    let set = answer.response.headers.filter { $0.name == "Set-Cookie" }.map(\.value)
    // Access, refresh, and whose device it is.
    #expect(set.count == 3)
    #expect(set.allSatisfy { $0.contains("; HttpOnly; SameSite=Strict") && !$0.contains("Secure") })
    let cookie = set.map { String($0.prefix { $0 != ";" }) }.joined(separator: "; ")
    func call(
      _ method: HTTPMethod, _ target: String, _ headers: HTTPResponse.Headers
    ) async -> Service.Answer {
      await service.call(method, target, headers: [("Cookie", "theme=dark; " + cookie)] + headers)
    }
    #expect(await call(.get, "/api/me/tickets", []).status == 401)
    #expect(await call(.get, "/api/me/tickets", [("X-Onsale-Page", "1")]).status == 200)
    for site in ["cross-site", "same-site", "none"] {
      let headers = [("X-Onsale-Page", "1"), ("Sec-Fetch-Site", site)]
      #expect(await call(.get, "/api/me/tickets", headers).status == 401)
    }
    let own = [("X-Onsale-Page", "1"), ("Sec-Fetch-Site", "same-origin")]
    let renewed = await call(.post, "/api/sessions/refresh", own)
    #expect(renewed.status == 200 && renewed.json["token"] == nil)
    #expect(renewed.response.headers.count { $0.name == "Set-Cookie" } == 2)
    #expect(await call(.post, "/api/sessions/refresh", []).status == 400)
    let forgotten = await service.call(.post, "/api/sessions/refresh", headers: [("X-Onsale-Page", "1")])
    #expect(forgotten.status == 401 && forgotten.code == "session_ended")
    let left = await call(.delete, "/api/sessions", own)
    #expect(left.status == 204)
    #expect(
      left.response.headers.filter { $0.name == "Set-Cookie" }.allSatisfy { $0.value.contains("Max-Age=0") })
    #expect(await call(.get, "/api/me/tickets", own).code == "session_ended")
    let secure = SessionCookies(isSecure: true).keep(access: ("a", 1), refresh: ("b", 2))
    #expect(secure.allSatisfy { $0.value.hasPrefix("__Secure-onsale_") && $0.value.hasSuffix("; Secure") })
  }

  @Test(
    "Who signed in on a device before gets in there, however many strangers guess; another's device is a stranger's"
  )
  func device() async throws {
    let before = await signIn().json, refresh = try #require(before["refresh_token"])
    #expect(
      await service.call(.delete, "/api/sessions", as: .token(before["token"]?.string ?? "")).status == 204)
    let up: JSON = ["name": "E", "email": .string("eve" + email), "password": .string(Self.password)]
    #expect(await service.call(.post, "/api/users", up).status == 201)
    let stranger = await service.call(.post, "/api/sessions", up).json["refresh_token"] ?? .null
    func attempt(_ password: String, _ token: JSON, from client: Int) async -> Int {
      await service.call(
        .post, "/api/sessions",
        ["email": .string(email), "password": .string(password), "refresh_token": token],
        headers: [("X-Forwarded-For", "192.0.2.\(client)")]
      ).status
    }
    var guess = 0
    while guess < 2 * SignInAttempts.addressLimit,
      await attempt("guess \(guess)", stranger, from: guess / SignInAttempts.limit) != 429
    { guess += 1 }
    #expect(guess >= SignInAttempts.addressLimit)
    #expect(await attempt(Self.password, stranger, from: 100) == 429)
    #expect(await attempt(Self.password, refresh, from: 100) == 200)
  }

  @Test("Who has made many accounts comes before nobody with more than some of them")
  func manyKnown() async throws {
    let own = PasswordHasher(threads: 1, longestWaitMilliseconds: 120_000)
    let accounts = Accounts(
      users: UserStore(service.postgres), hasher: own, sessions: service.sessions,
      authenticator: try service.makeAuthenticator())
    let count = 40, marker = "many-\(email)"
    let hash = try await own.hash(Self.password)
    _ = try await service.postgres.query(
      """
      INSERT INTO users (id, name, email, password)
      SELECT n || \(marker), 'N', n || \(marker), \(hash) FROM generate_series(1, \(count)) n
      """)
    var most = 0
    let attempts = try (1...count).map { number in
      let device = service.sessions.coder.encode(
        Session.begin(user: "\(number)\(marker)", now: WallClock.milliseconds))
      let body: JSON = [
        "email": .string("\(number)\(marker)"), "password": .string(Self.password),
        "refresh_token": .string(device),
      ]
      let request = HTTPRequest(
        .post, "/api/sessions", headers: [("X-Forwarded-For", "192.0.2.200")], body: body.serialized())
      guard case .later(let answer) = try accounts.signIn(request) else { throw CancellationError() }
      return Task { @LoopActor in
        let status = await answer().status
        most = max(most, own.waitingKnown)
        return status
      }
    }
    var mostOthers = 0
    for _ in 0..<10_000 where mostOthers == 0 || most == 0 {
      (most, mostOthers) = (max(most, own.waitingKnown), max(mostOthers, own.waitingOthers))
      try await sleep(milliseconds: 1)
    }
    var statuses: [Int: Int] = [:]
    for attempt in attempts { statuses[await attempt.value, default: 0] += 1 }
    // The others came like everybody else.
    #expect((1...16).contains(most) && mostOthers > 0, "\(most) \(mostOthers)")
    #expect(statuses[200] ?? 0 > 16 && Set(statuses.keys).isSubset(of: [200, 429, 503]), "\(statuses)")
  }

  @Test("A token of elsewhere has no session here to be ended")
  func elsewhere() async throws {
    let token = service.token("user-of-elsewhere", .customer)
    #expect(await service.call(.delete, "/api/sessions", as: .token(token)).code == "no_session")
  }
}
