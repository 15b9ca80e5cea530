import EventLoop
import HTTPCommon
import HTTPServer
import Identity
import JSON
import Ledger
import Metrics
import Postgres
import Sale
import Search
import Testing

@testable import Catalog
@testable import Queue

@Suite("Accounts, events and seats")
@LoopActor
struct CatalogTests {
  // MARK: Accounts

  @Test("Signing up, signing in, and using the token")
  func account() async throws {
    let service = try await Service.shared()
    let up: JSON = ["name": "Mina", "email": "Mina.Account@Example.com", "password": "correct horse battery"]
    let made = await service.call(.post, "/api/users", up)
    #expect(made.status == 201, "\(made.text)")
    let user = try #require(made.json["user_id"]?.string)
    let again = await service.call(.post, "/api/users", up)
    #expect(again.status == 409 && again.code == "email_taken")
    let session = await service.call(
      .post, "/api/sessions", ["email": "mina.account@EXAMPLE.com", "password": "correct horse battery"])
    #expect(session.status == 200, "\(session.text)")
    #expect(session.json["user_id"]?.string == user)
    #expect(session.json["expires_in_seconds"]?.integer == 900)
    #expect(session.json["expires_at"]?.string.flatMap { Time.parse($0) } ?? 0 > Time.now)
    let token = try #require(session.json["token"]?.string)
    #expect(
      await service.call(.get, "/api/me/tickets", as: .token(token)).json == ["purchases": [], "unpaid": []])
    for (email, password) in [
      ("mina.account@example.com", "wrong horse"), ("nobody@example.com", "correct horse battery"),
    ] {
      let wrong = await service.call(
        .post, "/api/sessions", ["email": .string(email), "password": .string(password)])
      #expect(wrong.status == 401 && wrong.code == "wrong_credentials")
    }
  }

  @Test("Guessing a password is slowed down, for that address alone")
  func guessing() async throws {
    let service = try await Service.shared()
    var statuses: [Int] = []
    for number in 0..<12 {
      let answer = await service.call(
        .post, "/api/sessions", ["email": "victim@example.com", "password": .string("guess \(number)")])
      statuses.append(answer.status)
      if answer.status == 429 { #expect(answer.response.header("Retry-After") != nil) }
    }
    #expect(statuses.filter { $0 == 401 }.count == SignInAttempts.limit)
    #expect(statuses.last == 429)
    let other = await service.call(
      .post, "/api/sessions", ["email": "other@example.com", "password": "guess"])
    #expect(other.status == 401)
  }

  @Test("Guessing keeps the owner of an address out of nothing, and many clients are slowed down together")
  func lockingOut() async throws {
    let service = try await Service.shared()
    let account: JSON = ["name": "O", "email": "owner@example.com", "password": "the right password"]
    #expect(await service.call(.post, "/api/users", account).status == 201)
    for _ in 0...SignInAttempts.limit {
      _ = await service.call(
        .post, "/api/sessions", ["email": "owner@example.com", "password": "a guess"],
        headers: [("X-Forwarded-For", "192.0.2.66")])
    }
    let credentials: JSON = ["email": "owner@example.com", "password": "the right password"]
    let session = await service.call(
      .post, "/api/sessions", credentials, headers: [("X-Forwarded-For", "192.0.2.66, 192.0.2.7")])
    #expect(session.status == 200, "\(session.text)")

    var attempts = SignInAttempts()
    func taken(_ client: Int, at now: Int = 1) -> Bool {
      attempts.take(.init(email: "e", client: "\(client)"), now: now) == 0
    }
    #expect((0..<150).filter { taken($0) }.count == SignInAttempts.addressLimit)
    #expect(!taken(1_000))
    // The owner's own device has a count of its own, whoever else guesses.
    let own = SignInAttempts.Attempt(email: "e", client: "1000", device: "a")
    #expect((0..<20).filter { _ in attempts.take(own, now: 1) == 0 }.count == SignInAttempts.limit)
    // One after the other there are more.
    #expect(attempts.take(own, now: 1) == SignInAttempts.interval)
    #expect(taken(1, at: 1 + SignInAttempts.addressInterval))
    #expect(!taken(2, at: 1 + SignInAttempts.addressInterval))
  }

  /// Signing in at a server of its own, so that a crowd keeps no other test out.
  private func accounts(_ service: Service) throws -> (router: Router, hasher: PasswordHasher) {
    let hasher = PasswordHasher(longestWaitMilliseconds: 120_000)
    var router = Router()
    Catalog(
      events: service.events, users: UserStore(service.postgres), queue: service.queue.reader,
      search: CachedSearch(PostgresSearchIndex(service.postgres), render: Catalog.body),
      authenticator: try service.makeAuthenticator(), sessions: service.sessions, hasher: hasher,
      ids: service.ids
    ).addRoutes(to: &router)
    return (router, hasher)
  }

  private func signIn(_ router: Router, _ email: String, from client: String) async -> Service.Answer {
    let body: JSON = ["email": .string(email), "password": "a password"]
    let request = HTTPRequest(
      .post, "/api/sessions", headers: [("X-Forwarded-For", client)], body: body.serialized())
    return Service.Answer(response: await router.respond(to: request))
  }

  @Test("While 400 sign-ins come for their passwords, places are given out and told as ever")
  func signInsDuringASale() async throws {
    let service = try await Service.shared()
    let event = try await service.makeEvent(opens: true)
    let (router, hasher) = try accounts(service)
    var answered = 0
    let signIns = (0..<400).map { number in
      Task { @LoopActor in
        let answer = await signIn(
          router, "crowd\(number)@example.com", from: "198.51.\(100 + number / 200).\(number % 200)")
        answered += 1
        return answer
      }
    }
    // Nobody waits for those whom there is no place for.
    while answered + hasher.waiting < 400 { try await sleep(milliseconds: 1) }
    for number in 0..<20 {
      let joined = await service.call(
        .post, "/api/ticket/reserve", ["event_id": .integer(event), "quantity": 1],
        as: .user("sale \(number)"))
      let request = try #require(joined.json["request_id"]?.string, "\(joined.text)")
      #expect(await service.call(.get, "/api/request/\(request)").json["state"] == "queued")
    }
    // Forty calls, one after another, were answered before the passwords were through.
    #expect(hasher.waiting > 0)
    var statuses: [Int: Int] = [:]
    for signIn in signIns {
      let answer = await signIn.value
      statuses[answer.status, default: 0] += 1
      if answer.status == 503 {
        #expect(answer.response.header("Retry-After") != nil)
        // All come within one turn of the loop, before one account was found: nobody passes the line by, and loses
        // their turn among the passwords.
        #expect(answer.text.contains("You have a place"), "\(answer.text)")
      }
    }
    #expect(statuses[503] ?? 0 > 0 && statuses[401] ?? 0 <= PasswordHasher.defaultCapacity / 2, "\(statuses)")
    #expect((statuses[503] ?? 0) + (statuses[401] ?? 0) == 400, "\(statuses)")
  }

  @Test("One client takes a part of the places for passwords, and the others have the rest")
  func passwordsOfOneClient() async throws {
    let service = try await Service.shared()
    let (router, hasher) = try accounts(service)
    var answered = 0
    func start(_ number: Int, from client: String) -> Task<Service.Answer, Never> {
      Task { @LoopActor in
        let answer = await signIn(router, "greedy\(number)@example.com", from: client)
        answered += 1
        return answer
      }
    }
    let greedy = (0..<100).map { start($0, from: "203.0.113.9") }
    while answered + hasher.waiting < 100 { try await sleep(milliseconds: 1) }
    #expect(hasher.waiting <= Accounts.clientPlaces)
    #expect(await start(1_000, from: "203.0.113.10").value.status == 401)
    var statuses: [Int: Int] = [:]
    for task in greedy {
      let answer = await task.value
      statuses[answer.status, default: 0] += 1
      if answer.status != 401 { #expect(answer.response.header("Retry-After") != nil) }
    }
    // Each of them is told when to come again: none went in and found no place there.
    #expect(statuses[401] ?? 0 > 0 && statuses[503] ?? 0 > 0, "\(statuses)")
    #expect((statuses[401] ?? 0) + (statuses[503] ?? 0) == 100, "\(statuses)")
  }

  @Test("One client makes a limited number of accounts an hour, and then one every few seconds")
  func accountsOfOneClient() async throws {
    let service = try await Service.shared()
    let accounts = Accounts(
      users: UserStore(service.postgres), hasher: service.hasher, sessions: service.sessions,
      authenticator: Authenticator(try TokenVerifier(secret: Service.secret)))
    func signUp(_ number: Int, from client: String) async throws -> Service.Answer {
      let body: JSON = ["name": "N", "email": .string("many\(number)@example.com"), "password": "12345678"]
      let request = HTTPRequest(
        .post, "/api/users", headers: [("X-Forwarded-For", client)], body: body.serialized())
      switch checked({ try accounts.signUp(request) }) {
      case .now(let response): return Service.Answer(response: response)
      case .later(let body): return Service.Answer(response: await body())
      case .held: throw Problem(500, "held", "Accounts hold nothing.")
      }
    }
    for _ in 2..<Accounts.signUpsAnHour { accounts.signUps.take("203.0.113.1", now: Accounts.now) }
    #expect(try await signUp(1, from: "203.0.113.1").status == 201)
    // Where no mail says it, one that is taken is told, and counts: nobody asks for as many addresses as they like.
    #expect(try await signUp(1, from: "203.0.113.1").code == "email_taken")
    // One comes back every seven seconds, in which this test may have taken it.
    while try await signUp(1, from: "203.0.113.1").code == "email_taken" {}
    let refused = try await signUp(2, from: "203.0.113.1")
    #expect(refused.status == 429 && refused.code == "too_many_accounts")
    // It gets slower there: nobody who shares the address waits for an hour.
    let wait = Int(refused.response.header("Retry-After") ?? "") ?? 0
    #expect((1...8).contains(wait), "\(wait)")
    #expect(try await signUp(2, from: "203.0.113.2").status == 201)
  }

  @Test("What failed for another reason, or succeeded, is no attempt")
  func givenBack() {
    var attempts = SignInAttempts()
    let attempt = SignInAttempts.Attempt(email: "e", client: "c")
    func isTaken() -> Bool { attempts.take(attempt, now: 1) == 0 }
    for _ in 0..<200 {
      #expect(isTaken())
      attempts.giveBack(attempt, now: 1)
    }
    for _ in 0..<5 {
      for _ in 0..<SignInAttempts.limit { #expect(isTaken()) }
      #expect(!isTaken())
      attempts.succeeded(attempt, now: 1)
    }
  }

  nonisolated static let badAccounts: [JSON] = {
    let good: [(name: String, value: JSON)] = [
      ("name", "N"), ("email", "n@example.com"), ("password", "12345678"),
    ]
    let values: [JSON] = [
      .null, 7, true, [], [:], "", .string(String(repeating: "x", count: 1_000)), "a\u{7}b",
      "'; DROP TABLE users; --\u{0}",
    ]
    var bodies: [JSON] = ["x", 7, .null, [], [:]]
    for field in good.map(\.name) {
      for value in values {
        bodies.append(.object(good.filter { $0.name != field } + [(field, value)]))
      }
    }
    for email in ["plain", "@", "a@", "@b", "a@b@c", "a b@c", "a@b c", "é @x", "a@b\u{2003}"] {
      bodies.append(.object(good.filter { $0.name != "email" } + [("email", .string(email))]))
    }
    bodies.append(.object(good.filter { $0.name != "password" } + [("password", "1234567")]))
    return bodies
  }()

  @Test("What makes no account is a 400", arguments: badAccounts)
  func badAccount(_ body: JSON) async throws {
    let service = try await Service.shared()
    let answer = await service.call(.post, "/api/users", body)
    #expect(answer.status == 400, "\(body.text): \(answer.text)")
    if body["password"]?.string != "1234567" && body["name"]?.string == "N" {
      #expect(await service.call(.post, "/api/sessions", body).status == 400)
    }
  }

  @Test("Hostile texts are kept as they are")
  func hostileTexts() async throws {
    let service = try await Service.shared()
    for (index, text) in [
      "Robert'); DROP TABLE users;--", "{{7*7}}", "<b>", "é́😀", "redis.call('FLUSHALL')", "$1 %s \\ \"",
    ].enumerated() {
      let made = await service.call(
        .post, "/api/users",
        [
          "name": .string(text), "email": .string("h\(index)@example.com"),
          "password": .string("password" + text),
        ])
      #expect(made.status == 201, "\(made.text)")
      let session = await service.call(
        .post, "/api/sessions",
        ["email": .string("h\(index)@example.com"), "password": .string("password" + text)])
      #expect(session.status == 200)
    }
  }

  // MARK: Events

  @Test("An event's page tells its sections, and is not sent twice to who has it")
  func page() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent(opens: true)
    let answer = await service.call(.get, "/api/event/\(id)", as: .user("u"))
    #expect(answer.status == 200, "\(answer.text)")
    let json = answer.json
    #expect(json["id"]?.integer == id && json["name"] == "Concert" && json["date"] == "2031-05-20T19:30:00Z")
    #expect(json["onsale_state"] == "open" && json["onsale_at"] == .null && json["currency"] == "EUR")
    #expect(
      json["sections"] == [
        [
          "name": "Stalls", "price": 9000, "max_price": 9000, "total": 22, "available": 22,
          "held": 0, "sold": 0, "has_seats": true,
        ],
        [
          "name": "Standing", "price": 1500, "max_price": 1500, "total": 30, "available": 30,
          "held": 0, "sold": 0, "has_seats": false,
        ],
      ])
    let tag = try #require(answer.response.header("ETag"))
    for header in [tag, "\"x\", W/\(tag)", "*"] {
      let same = await service.call(
        .get, "/api/event/\(id)", as: .user("u"), headers: [("If-None-Match", header)])
      #expect(same.status == 304 && same.response.body.isEmpty)
    }
    let other = await service.call(
      .get, "/api/event/\(id)", as: .user("u"), headers: [("If-None-Match", "\"x\"")])
    #expect(other.status == 200)
  }

  @Test("Held and sold seats are told apart in the sections, and are not available in the list")
  func counts() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent(opens: true)
    // As the owner of the seat map writes them: 1 to 3 and 23 are not free, and of these 1 and 23 are sold.
    var bitmap = [UInt8](repeating: 0, count: 7)
    for ticket in [1, 2, 3, 23] { bitmap[ticket / 8] |= 0x80 >> UInt8(ticket % 8) }
    let partition = Partition(of: id)
    _ = try await service.queue.leases.own(partition, epoch: 1_000)
    try await service.queue.owned(event: id, epoch: 1_000).publishMap(
      bitmap: bitmap, free: 48, held: 2, sold: 2, reopened: false)
    _ = try await service.postgres.query(
      "UPDATE ticket SET purchased = true, payment_id = 'p' WHERE event_id = \(id) AND id IN (1, 23)")
    let page = await service.call(.get, "/api/event/\(id)", as: .user("u"))
    #expect(
      page.json["sections"] == [
        [
          "name": "Stalls", "price": 9000, "max_price": 9000, "total": 22, "available": 19,
          "held": 2, "sold": 1, "has_seats": true,
        ],
        [
          "name": "Standing", "price": 1500, "max_price": 1500, "total": 30, "available": 29, "held": 0,
          "sold": 1, "has_seats": false,
        ],
      ])
    #expect(page.json["available"] == 48 && page.json["held"] == 2 && page.json["sold"] == 2)
    let list = await service.call(.get, "/api/event/\(id)/tickets", as: .user("u"))
    let tickets = list.json["tickets"]?.array ?? []
    #expect(tickets.compactMap { $0["id"]?.integer } == Array(1...52))
    #expect(tickets.filter { $0["available"] == false }.compactMap { $0["id"]?.integer } == [1, 2, 3, 23])
    #expect(
      tickets[12] == [
        "id": 13, "section": "Stalls", "row": "B", "seat": "1", "price": 9000, "available": true,
      ])
    let standing = await service.call(.get, "/api/event/\(id)/tickets?section=Standing", as: .user("u"))
    #expect(standing.json["tickets"]?.array?.count == 30)
    let tag = try #require(standing.response.header("ETag"))
    #expect(tag != list.response.header("ETag"))
    let same = await service.call(
      .get, "/api/event/\(id)/tickets?section=Standing", as: .user("u"), headers: [("If-None-Match", tag)])
    #expect(same.status == 304)
    let unknown = await service.call(.get, "/api/event/\(id)/tickets?section=Roof", as: .user("u"))
    #expect(unknown.status == 404 && unknown.code == "unknown_section")
  }

  /// A catalog of a test's own, over the shared stores.
  private func catalog(listBytes: Int = Catalog.listBytes) async throws -> (Catalog, Service, Router) {
    let service = try await Service.shared()
    let catalog = Catalog(
      events: service.events, users: UserStore(service.postgres), queue: service.queue.reader,
      search: CachedSearch(PostgresSearchIndex(service.postgres)),
      authenticator: Authenticator(try TokenVerifier(secret: Service.secret)),
      sessions: service.sessions, hasher: PasswordHasher(), ids: service.ids,
      listBytes: listBytes)
    var router = Router()
    catalog.addRoutes(to: &router)
    return (catalog, service, router)
  }

  @Test("Names of sections that do not exist do not push lists out of memory")
  func madeUpSections() async throws {
    let (catalog, service, router) = try await catalog()
    let id = try await service.makeEvent(Service.announced)
    let headers = [(name: "Authorization", value: "Bearer \(service.token("u", .customer))")]
    for section in ["Roof", "Cellar"] {
      let target = "/api/event/\(id)/tickets?section=\(section)"
      #expect(await router.respond(to: HTTPRequest(.get, target, headers: headers)).status == 404)
      #expect(catalog.seats.immediate(Catalog.SeatQuery(event: id, section: section)) == nil)
    }
  }

  @Test("Lists in memory are bounded, those that are still being sent included")
  func listsAreBounded() async throws {
    let (_, service, router) = try await catalog(listBytes: 1)
    let id = try await service.makeEvent(Service.announced)
    let headers = [(name: "Authorization", value: "Bearer \(service.token("u", .customer))")]
    func list(_ query: String) async -> HTTPResponse {
      await router.respond(to: HTTPRequest(.get, "/api/event/\(id)/tickets\(query)", headers: headers))
    }
    let whole = await list("")
    #expect(whole.status == 200)
    let part = await list("?section=Standing")
    #expect(part.status == 503 && part.header("Retry-After") != nil)
    // What is known goes on being told.
    #expect(await list("").body == whole.body)
  }

  @Test("A stadium's seats are made, and listed, in one go")
  func stadium() async throws {
    let service = try await Service.shared()
    var sections: [JSON] = []
    for block in 1...70 {
      let rows = (1...25).map { ["row": .string(String($0)), "seats": 40] as JSON }
      sections.append([
        "name": .string("Block \(block)"), "price": .integer(1_000 * block), "rows": .array(rows),
      ])
    }
    let clock = ContinuousClock()
    var id = 0
    let making = try await clock.measure {
      id = try await service.makeEvent(
        Service.event(sections: .array(sections), [("onsale_at", "2031-01-01T09:00:00Z")]))
    }
    var first: Service.Answer?
    let listing = await clock.measure {
      first = await service.call(.get, "/api/event/\(id)/tickets", as: .user("u"))
    }
    print("70,000 seats: made in \(making), first listed in \(listing)")
    let answer = try #require(first)
    #expect(answer.status == 200)
    #expect(answer.json["tickets"]?.array?.count == 70_000)
    #expect(answer.json["tickets"]?[69_999]?["section"] == "Block 70")
  }

  @Test("Tickets that are added are listed at once when the event's page knows of them")
  func added() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent(Service.announced)
    #expect(
      await service.call(.get, "/api/event/\(id)/tickets", as: .user("u")).json["tickets"]?.array?.count == 52
    )
    let more: JSON = ["sections": [["name": "Stalls", "price": 9000, "rows": [["row": "C", "seats": 3]]]]]
    #expect(await service.call(.post, "/api/admin/events/\(id)/tickets", more, as: .organizer).status == 201)
    // Answers are kept for a second.
    var count = 0
    for _ in 0..<60 where count != 55 {
      try await sleep(milliseconds: 50)
      count =
        await service.call(.get, "/api/event/\(id)/tickets", as: .user("u")).json["tickets"]?.array?.count
        ?? 0
    }
    #expect(count == 55)
    let page = await service.call(.get, "/api/event/\(id)", as: .user("u"))
    #expect(page.json["sections"]?[0]?["available"] == 25)
  }

  // MARK: Hostile

  @Test(
    "Queries with wrong, huge or hostile items are a clear 400, or find nothing",
    arguments: [
      ("limit=0", 400), ("limit=101", 400), ("limit=x", 400), ("limit=1e3", 400), ("max_price=-1", 400),
      ("max_price=99999999999999999999", 400), ("from=yesterday", 400), ("to=2031-02-30", 400),
      ("include_sold_out=maybe", 400), ("terms=" + String(repeating: "x", count: 201), 400),
      ("location=" + String(repeating: "x", count: 801), 400),
      ("cursor=" + String(repeating: "x", count: 201), 400),
      ("terms=a%07b", 400), ("terms='%3B%20DROP%20TABLE%20event%3B--", 200), ("terms=%25%25%25", 200),
      ("terms=a%26%7C!()%3A*%3C%3E", 200), ("location=%5C%27%22", 200), ("cursor=bogus", 400),
      ("cursor=", 400), ("cursor", 400),
      ("from=2031-01-01&to=2031-12-31T00:00:00Z&limit=100&max_price=0&include_sold_out=true", 200),
      ("from=2031-05-20T21:30:00+02:00", 200), ("from=2031-05-20+21:30:00Z", 200),
      ("from=2031-05-20+21:30:00+02:00", 200), ("terms=&limit=", 200), ("unknown=1", 400),
    ])
  func search(_ query: String, _ status: Int) async throws {
    let service = try await Service.shared()
    let answer = await service.call(.get, "/api/search?" + query, as: .user("u"))
    #expect(answer.status == status, "\(answer.text)")
    if status == 200 { #expect(answer.json["events"]?.array != nil && answer.json["total"]?.integer != nil) }
  }

  @Test(
    "Nothing but a valid token opens what needs one",
    arguments: ["/api/search", "/api/event/1", "/api/event/1/tickets", "/api/me/tickets"])
  func tokens(_ target: String) async throws {
    let service = try await Service.shared()
    #expect(await service.call(.get, target).code == "unauthorized")
    for header in ["", "Bearer", "Bearer ", "Basic dTpw", "bearer", "Token x", "Bearer a b"] {
      let answer = await service.call(.get, target, headers: [("Authorization", header)])
      #expect(answer.status == 401, "\(header)")
      #expect(answer.response.header("WWW-Authenticate") == "Bearer")
    }
    let expired = service.token("u", .customer, lifetimeSeconds: -60)
    #expect(await service.call(.get, target, as: .token(expired)).code == "token_expired")
    #expect(await service.call(.get, target, as: .token(expired + "x")).code == "invalid_token")
    let good = await service.call(
      .get, target, headers: [("Authorization", "bearer  \(service.token("u", .customer))")])
    #expect(good.status == 200 || good.status == 404)
  }

  @Test(
    "Events that are not there are 404",
    arguments: ["0", "-1", "999999999", "99999999999999999999999", "x", "1%20OR%201=1", "1'", "%F0%9F%92%A5"])
  func unknownEvents(_ id: String) async throws {
    let service = try await Service.shared()
    for suffix in ["", "/tickets", "/tickets?section=x"] {
      let answer = await service.call(.get, "/api/event/\(id)\(suffix)", as: .user("u"))
      #expect(answer.status == 404 && answer.code == "unknown_event", "\(answer.text)")
    }
  }

  // MARK: Operations

  @Test("Health is there for anyone; metrics, and the details of readiness, for operators alone")
  func operations() async throws {
    let service = try await Service.shared()
    #expect(await service.call(.get, "/healthz").json == ["status": "ok"])
    let ready = await service.call(.get, "/readyz")
    #expect(ready.status == 200, "\(ready.text)")
    #expect(ready.json == ["status": "ready"])
    #expect(await service.call(.get, "/metrics").status == 404)
    let detailed = await service.operatorRouter.respond(to: HTTPRequest(.get, "/readyz"))
    let known = try JSON(parsing: detailed.body)
    #expect(known["details"] == ["detail": "known"] && known["checks"] == ["postgres": "ok", "redis": "ok"])
    let metrics = await service.operatorRouter.respond(to: HTTPRequest(.get, "/metrics"))
    #expect(metrics.header("Content-Type")?.hasPrefix("text/plain; version=0.0.4") == true)
    #expect(String(decoding: metrics.body, as: UTF8.self).contains("process_resident_memory_bytes "))
  }

  @Test("A metric is not told of what is gone any more, and told anew of what comes back")
  func removedMetric() {
    let registry = MetricsRegistry()
    for event in ["1", "2"] { registry.gauge("waiting", "In line", labels: [("event", event)]).value = 7 }
    registry.remove("waiting", labels: [("event", "1")])
    #expect(
      registry.exposition() == "# HELP waiting In line\n# TYPE waiting gauge\nwaiting{event=\"2\"} 7.0\n")
    registry.remove("waiting", labels: [("event", "2")])
    #expect(registry.exposition().isEmpty)
    #expect(registry.gauge("waiting", "In line", labels: [("event", "1")]).value == 0)
  }
}
