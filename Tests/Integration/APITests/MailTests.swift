import EventLoop
import HTTPCommon
import HTTPServer
import Identity
import JSON
import Ledger
import Logging
import Postgres
import Queue
import SMTPClient
import Search
import Testing
import Text

@testable import Catalog
@testable import Mailer

/// Keeps what it is given, or says that it does not take it.
@LoopActor
private final class Postbox: MailSender {
  var messages: [MailMessage] = []
  var refusal: SMTPError?
  var isSlow = false

  func send(_ message: MailMessage) async throws(SMTPError) {
    // It came, and nobody knows.
    messages.append(message)
    while isSlow { try? await sleep(milliseconds: 1) }
    if let refusal { throw refusal }
  }
}

@LoopActor
@Suite("Accounts by mail", .timeLimit(.minutes(3)), .serialized)
struct MailTests {
  private static let password = "correct horse battery"
  private let service: Service
  private let store: MailStore
  private let postbox = Postbox()
  private let mailer: Mailer
  private let router: Router
  private let sessions: Sessions
  private let email = "mail\(UInt64.random(in: 0...(.max)))@example.com"

  init() async throws {
    service = try await Service.shared()
    store = MailStore(service.postgres)
    _ = try await service.postgres.query("DELETE FROM mail")
    mailer = Mailer(
      store, sender: postbox, site: "https://tickets.example.com", logger: Logger(label: "test"))
    var router = Router()
    sessions = service.sessions
    Catalog(
      events: service.events, users: UserStore(service.postgres), mails: store, queue: service.queue.reader,
      search: CachedSearch(PostgresSearchIndex(service.postgres), render: Catalog.body),
      authenticator: Authenticator(
        try TokenVerifier(secret: Service.secret, ended: service.sessions.ended),
        cookies: service.sessions.cookies),
      sessions: service.sessions, hasher: service.hasher, ids: service.ids
    ).addRoutes(to: &router)
    self.router = router
  }

  private func post(_ path: String, _ body: JSON, from client: String = "198.51.100.7") async
    -> Service.Answer
  {
    let request = HTTPRequest(.post, path, headers: [("X-Forwarded-For", client)], body: body.serialized())
    return Service.Answer(response: await router.respond(to: request))
  }

  private func signUp(_ email: String, password: String = Self.password) async -> Service.Answer {
    await post(
      "/api/users", ["name": "Mina\r\nBcc: x@y", "email": .string(email), "password": .string(password)])
  }

  private func signUp(named name: String, _ email: String) async -> Service.Answer {
    await post(
      "/api/users", ["name": .string(name), "email": .string(email), "password": .string(Self.password)])
  }

  private func signIn(_ password: String = Self.password) async -> Service.Answer {
    await post("/api/sessions", ["email": .string(email), "password": .string(password)])
  }

  private func reset(_ email: String) async -> Service.Answer {
    await post("/api/password/reset", ["email": .string(email)])
  }

  private func use(_ path: String, _ token: String, _ password: String) async -> Service.Answer {
    await post(path, ["token": .string(token), "password": .string(password)])
  }

  /// What has been sent to this test's address since the last look.
  private func letters(to email: String? = nil) async throws -> [MailMessage] {
    while try await mailer.round() {}
    defer { postbox.messages = [] }
    return postbox.messages.filter { $0.to.description == email ?? self.email }
  }

  private func token(_ message: MailMessage?) throws -> String {
    let line = try #require(message?.text.split(separator: "\n").first { $0.contains("#") })
    #expect(line.hasPrefix("https://tickets.example.com/account?mode="))
    return String(try #require(line.split(separator: "#").last))
  }

  @Test(
    "Whether an address has an account, only its mail says; the account is made by the link and the password")
  func signingUp() async throws {
    let new = await signUp(named: "Mina", email)
    #expect(new.status == 202 && new.text == #"{"state":"mailed"}"#, "\(new.text)")
    #expect(await signIn().status == 401)
    let mails = try await letters()
    #expect(mails.map(\.subject) == ["Confirm your address"])
    #expect(!(mails.first?.text.contains("Mina") ?? true))
    let link = try token(mails.first)
    // Neither the password alone nor the link alone is enough.
    #expect(await use("/api/users/confirm", link, "a guess, long enough").code == "wrong_credentials")
    let other = MailToken().text
    #expect(await use("/api/users/confirm", other, Self.password).code == "link_ended")
    #expect(await use("/api/users/confirm", "nonsense", Self.password).code == "link_ended")
    #expect(await use("/api/password", link, "another good one").code == "link_ended")
    let confirmed = await use("/api/users/confirm", link, Self.password)
    #expect(confirmed.status == 201 && confirmed.json["token"] != nil, "\(confirmed.text)")
    #expect(await use("/api/users/confirm", link, Self.password).code == "link_ended")
    #expect(await signIn().status == 200)
    // Once more, by anybody: the same answer, and nothing has changed.
    let again = await signUp(named: "Mina", email)
    #expect(again.status == new.status && again.text == new.text)
    #expect(again.response.headers.map(\.name) == new.response.headers.map(\.name))
    let known = try await letters()
    #expect(known.map(\.subject) == ["You have an account already"] && !known[0].text.contains("#"))
    #expect(await signIn().status == 200)
  }

  @Test(
    "A control character in a name is refused, and a sign-up that its address never confirms is forgotten")
  func forgotten() async throws {
    #expect(await signUp(email).status == 400)
    #expect(await signUp(named: "Mina", email).status == 202)
    let link = try token(try await letters().first)
    _ = try await service.postgres.query(
      "UPDATE mail_token SET expires_at = now() - interval '1 s' WHERE email = \(email)")
    #expect(await use("/api/users/confirm", link, Self.password).code == "link_ended")
    _ = try await store.tidy()
    let left = try await service.postgres.query("SELECT FROM mail_token WHERE email = \(email)")
    #expect(left.isEmpty)
    // No password stays behind in what was sent.
    let sent = try await service.postgres.query("SELECT password FROM mail WHERE email = \(email)")
    #expect(sent.count == 1 && sent[0]["password"].string == nil)
  }

  @Test(
    "A new password by mail: the same answer for everybody, a link that works once, and no session goes on")
  func resetting() async throws {
    #expect(await signUp(named: "Mina", email).status == 202)
    #expect(
      await use("/api/users/confirm", try token(try await letters().first), Self.password).status == 201)
    let before = await signIn().json
    let nobody = "nobody" + email
    let (one, other) = (await reset(email), await reset(nobody))
    #expect(one.status == 202 && other.status == 202 && one.text == other.text)
    let second = await reset(email.uppercased())
    #expect(second.status == 202)
    while try await mailer.round() {}
    #expect(!postbox.messages.contains { $0.to.description == nobody })
    let links = try await letters()
    #expect(links.count == 2)
    let (first, last) = (try token(links.first), try token(links.last))
    // Only the hash is kept.
    let kept = try await service.postgres.query("SELECT hash FROM mail_token WHERE kind = 'reset'").map {
      try $0.string("hash")
    }
    #expect(kept.contains(MailToken(first)?.hash ?? "") && !kept.contains(first))
    #expect(await use("/api/password", first, "short").status == 400)
    #expect(await use("/api/users/confirm", first, "another good one").code == "link_ended")
    let changed = await use("/api/password", first, "another good one")
    #expect(changed.status == 200 && changed.json["token"] != nil, "\(changed.text)")
    // It works once, and so does none that was sent beside it.
    #expect(await use("/api/password", first, "a third good one").code == "link_ended")
    #expect(await use("/api/password", last, "a third good one").code == "link_ended")
    #expect(await signIn().status == 401)
    #expect(await signIn("another good one").status == 200)
    let refresh: JSON = ["refresh_token": before["refresh_token"] ?? .null]
    #expect(await post("/api/sessions/refresh", refresh).code == "session_ended")
    // Other servers hear of it.
    let elsewhere = EndedSessions()
    let watched = Sessions(
      issuer: try service.makeIssuer(), coder: SessionCoder(secret: Service.secret), store: sessions.store,
      ended: elsewhere, cookies: SessionCookies(isSecure: false))
    try await SessionWatch(watched, logger: Logger(label: "test")).look()
    #expect(watched.session(before["refresh_token"]?.string ?? "") == nil)
    #expect(watched.session(changed.json["refresh_token"]?.string ?? "") != nil)
  }

  @Test("A link whose time is over, or from before the password was changed, sets nothing")
  func ended() async throws {
    #expect(await signUp(named: "Mina", email).status == 202)
    let session = await use("/api/users/confirm", try token(try await letters().first), Self.password).json
    #expect(await reset(email).status == 202)
    let late = try token(try await letters().first)
    _ = try await service.postgres.query(
      "UPDATE mail_token SET expires_at = expires_at - interval '30 min' WHERE hash = \(MailToken(late)?.hash ?? "")"
    )
    #expect(await use("/api/password", late, "another good one").code == "link_ended")
    #expect(await reset(email).status == 202)
    let link = try token(try await letters().first)
    let request = HTTPRequest(
      .post, "/api/me/password", headers: [("Authorization", "Bearer \(session["token"]?.string ?? "")")],
      body: (["current_password": .string(Self.password), "password": "another good one"] as JSON)
        .serialized())
    #expect(await router.respond(to: request).status == 200)
    #expect(await use("/api/password", link, "a third good one").code == "link_ended")
  }

  @Test("An address gets a few mails an hour, however many ask at once, and nobody is told")
  func limited() async throws {
    let asking = (0..<12).map { _ in Task { @LoopActor in await reset(email).status } }
    for task in asking { #expect(await task.value == 202) }
    let rows = try await service.postgres.query("SELECT FROM mail WHERE email = \(email)")
    #expect(rows.count == MailStore.mailsAnHour)
    // Nor does it cost anybody the other kind.
    for _ in 0...MailStore.mailsAnHour { #expect(await signUp(named: "M", email).status == 202) }
    let all = try await service.postgres.query("SELECT FROM mail WHERE email = \(email)")
    #expect(all.count == 2 * MailStore.mailsAnHour)
    _ = try await service.postgres.query(
      "UPDATE mail SET asked_at = asked_at - interval '1 hour' WHERE email = \(email)")
    #expect(await reset(email).status == 202)
    #expect(
      try await service.postgres.query("SELECT FROM mail WHERE email = \(email)").count == all.count + 1)
  }

  @Test("Many spellings of one mailbox get as many mails as one")
  func spellings() async throws {
    let (local, domain) = (email.prefix { $0 != "@" }, "example.com")
    let spellings = (0..<9).map { number in
      number % 2 == 0
        ? "\(local)+\(number)@\(domain)" : "\(local.prefix(number)).\(local.dropFirst(number))@\(domain)"
    }
    for spelling in spellings { #expect(await reset(spelling).status == 202) }
    let rows = try await service.postgres.query("SELECT FROM mail WHERE email = ANY (\(spellings))")
    #expect(rows.count == MailStore.mailsAnHour)
    #expect(await reset("other" + email).status == 202)
    #expect(
      try await service.postgres.query("SELECT FROM mail WHERE email = \("other" + email)").count == 1)
    #expect(
      MailStore.mailbox("+a@example.com") == "+a@example.com" && MailStore.mailbox("a.b+c@x.y") == "ab@x.y")
  }

  @Test("No more mails are taken at a time than go out at once: none waits here while its lease runs out")
  func leased() async throws {
    for number in 0..<3 * SMTPClient.connections { #expect(await reset("\(number)" + email).status == 202) }
    _ = try await service.postgres.query(
      "INSERT INTO users (id, name, email, password) SELECT email, 'N', email, 'x' FROM mail")
    postbox.isSlow = true
    let round = Task { @LoopActor in try await mailer.round() }
    while postbox.messages.count < SMTPClient.connections { try await sleep(milliseconds: 1) }
    let taken = try await service.postgres.query("SELECT FROM mail WHERE attempts > 0")
    #expect(taken.count == SMTPClient.connections)
    #expect(MailStore.sendSeconds > SMTPClient.longestSeconds)
    postbox.isSlow = false
    #expect(try await round.value)
    while try await mailer.round() {}
    #expect(postbox.messages.count == 3 * SMTPClient.connections)
  }

  @Test("A mail that is over is good for nothing, even if it goes out yet")
  func over() async throws {
    #expect(await signUp(named: "Mina", email).status == 202)
    let mail = try #require(try await store.due(limit: 100).first { $0.email == email })
    try await store.end(mail, .givenUp)
    let token = MailToken()
    try await store.keep(token.hash, of: mail, user: nil)
    #expect(await use("/api/users/confirm", token.text, Self.password).code == "link_ended")
  }

  @Test("One client asks for a limited number of mails, and then for one a minute")
  func limitedByClient() async throws {
    var answer = await post("/api/password/reset", ["email": "a0@example.com"], from: "192.0.2.77")
    var count = 0
    while answer.status == 202, count < 200 {
      count += 1
      answer = await post(
        "/api/password/reset", ["email": .string("a\(count)@example.com")], from: "192.0.2.77")
    }
    #expect(answer.status == 429 && answer.code == "too_many_mails" && count == 60, "\(count) \(answer.text)")
    let wait = Int(answer.response.header("Retry-After") ?? "") ?? 0
    #expect((1...61).contains(wait))
    #expect(await post("/api/password/reset", ["email": "b@example.com"], from: "192.0.2.78").status == 202)
  }

  @Test("Addresses that no mail can be sent to are refused")
  func unsendable() async throws {
    for text in ["a<b@example.com", "\"a\"@example.com", "a@[127.0.0.1]", "a;b@example.com"] {
      #expect(await reset(text).code == "invalid_field", "\(text)")
      #expect(await signUp(named: "M", text).code == "invalid_field", "\(text)")
    }
  }

  @Test(
    "What is not taken comes again, ever more rarely, and under the same name; what is refused three times does not"
  )
  func retried() async throws {
    func makeDue() async throws {
      _ = try await service.postgres.query("UPDATE mail SET available_at = now() WHERE email = \(email)")
    }
    func pause() async throws -> Int {
      let row = try await service.postgres.query(
        "SELECT extract(epoch FROM available_at - now())::bigint AS pause FROM mail WHERE email = \(email)")
      return try row[0].int("pause")
    }
    #expect(await signUp(named: "Mina", email).status == 202)
    postbox.refusal = SMTPError(status: 421, isRefusal: false, description: "busy")
    var pauses: [Int] = [], ids: Set<String> = [], links: [String] = []
    for _ in 0..<5 {
      let mails = try await letters()
      #expect(mails.count == 1)
      ids.formUnion(mails.map(\.id))
      links.append(try token(mails.first))
      pauses.append(try await pause())
      #expect(try await letters().isEmpty)
      try await makeDue()
    }
    #expect(ids.count == 1 && Set(links).count == 5)
    #expect(pauses == pauses.sorted() && pauses[0] <= 5 && pauses[4] > 40, "\(pauses)")
    // Killed between sending and noting it: another one has it a little later.
    postbox.refusal = nil
    let leased = try await store.due(limit: 16).filter { $0.email == email }
    #expect(leased.count == 1)
    #expect(try await letters().isEmpty)
    try await makeDue()
    #expect(try await letters().map(\.id) == Array(ids))
    #expect(try await letters().isEmpty)
    // Whichever of them arrives, its link works.
    #expect(await use("/api/users/confirm", links[0], Self.password).status == 201)

    #expect(await reset(email).status == 202)
    postbox.refusal = SMTPError(status: 550, isRefusal: true, description: "no")
    for _ in 0..<3 {
      #expect(try await letters().count == 1)
      try await makeDue()
    }
    #expect(try await letters().isEmpty)
    let outcomes = try await service.postgres.query(
      "SELECT outcome FROM mail WHERE email = \(email) ORDER BY asked_at"
    ).map { $0["outcome"].string }
    #expect(outcomes == ["sent", "refused"])
  }

  @Test(
    "What cannot be sent for hours is given up; what is over is forgotten; too many that wait are told at once"
  )
  func bounded() async throws {
    #expect(await signUp(named: "Mina", email).status == 202)
    _ = try await service.postgres.query(
      "UPDATE mail SET asked_at = now() - interval '5 hours' WHERE email = \(email)")
    #expect(try await store.tidy() == 1)
    #expect(try await letters().isEmpty)
    _ = try await service.postgres.query(
      "UPDATE mail SET ended_at = now() - interval '2 hours' WHERE email = \(email)")
    _ = try await store.tidy()
    #expect(try await service.postgres.query("SELECT FROM mail WHERE email = \(email)").isEmpty)
    _ = try await service.postgres.query(
      """
      INSERT INTO mail (kind, email, available_at)
      SELECT 'reset', 'full' || n || '@example.com', now() + interval '1 day' FROM generate_series(1, \(MailStore.capacity)) n
      """)
    let answer = await reset(email)
    #expect(answer.status == 503 && answer.code == "overloaded")
    _ = try await service.postgres.query("DELETE FROM mail WHERE email LIKE 'full%'")
    #expect(await reset(email).status == 202)
  }

  @Test("Where no mail is sent nobody is told that it is")
  func noMail() async throws {
    for (path, body): (String, JSON) in [
      ("/api/password/reset", ["email": "a@example.com"]),
      ("/api/password", ["token": "t", "password": "12345678"]),
      ("/api/users/confirm", ["token": "t", "password": "12345678"]),
    ] {
      let answer = await service.call(.post, path, body)
      #expect(answer.status == 404 && answer.code == "no_mail")
    }
  }
}
