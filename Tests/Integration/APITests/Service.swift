import Admin
import Archive
import Catalog
import EventLoop
import Foundation
import HTTPCommon
import HTTPServer
import Identity
import Intake
import JSON
import Ledger
import Logging
import Notifier
import Postgres
import Queue
import Redis
import Search
import TestServers

/// All HTTP roles, put together as the executable does it, over a database and a Redis of the tests' own.
@LoopActor
final class Service {
  nonisolated static let secret = "a secret of at least 32 bytes, for tests"

  static let webhookSecret = "whsec_0123456789abcdef"

  let databaseURL: String
  let redisURL: String
  let postgres: PostgresClient
  let redis: RedisClient
  let events: EventStore
  let queue: QueueStore
  let catalog: Catalog
  /// Its threads are nice, and wait for other tests beside these: nobody is told here that they waited too long.
  let hasher = PasswordHasher(longestWaitMilliseconds: 120_000)
  let ids = RequestIDCoder(secret: Service.secret)
  let router: Router
  /// What operators reach at a port of their own.
  let operatorRouter: Router
  private let issuer: TokenIssuer
  let sessions: Sessions

  /// Routes only; nothing is connected.
  init(databaseURL: String, redisURL: String) throws {
    self.databaseURL = databaseURL
    self.redisURL = redisURL
    let logger = Logger(label: "test")
    let configuration = try RedisConfiguration(url: redisURL)
    postgres = PostgresClient(
      try PostgresConfiguration(url: databaseURL, connections: 4, statementTimeoutMilliseconds: 30_000),
      logger: logger)
    redis = RedisClient(configuration, logger: logger, prepare: QueueStore.prepare)
    events = EventStore(postgres)
    queue = QueueStore(redis)
    issuer = try TokenIssuer(secret: Self.secret)
    let cookies = SessionCookies(isSecure: false), ended = EndedSessions()
    sessions = Sessions(
      issuer: issuer, coder: SessionCoder(secret: Self.secret), store: SessionStore(postgres), ended: ended,
      cookies: cookies)
    let authenticator = Authenticator(try TokenVerifier(secret: Self.secret, ended: ended), cookies: cookies)
    let seats = SeatStore(postgres), past = PastRequests(postgres)
    var router = Router()
    catalog = Catalog(
      events: events, users: UserStore(postgres), queue: queue.reader,
      search: CachedSearch(PostgresSearchIndex(postgres), render: Catalog.body), authenticator: authenticator,
      sessions: sessions, hasher: hasher, ids: ids)
    catalog.addRoutes(to: &router)
    Admin(
      events: events, refunds: RefundStore(postgres), queue: queue, ids: ids, authenticator: authenticator,
      logger: logger
    ).addRoutes(to: &router)
    Intake(
      queue: queue, events: events, sections: SectionNames(seats: seats), past: past,
      declines: DeclineWatch(
        DeclineStore(postgres), names: ClientNames(secret: Self.secret), logger: logger),
      authenticator: authenticator, ids: ids
    ).addRoutes(to: &router)
    PaymentWebhook(
      queue: queue.buyers, refunds: RefundStore(postgres), secrets: [Self.webhookSecret], now: { Time.now }
    ).addRoutes(to: &router)
    Notifier(
      watch: QueueWatch(queue: queue, redis: configuration, logger: logger), past: past,
      labels: TicketLabels(seats: seats), ids: ids, authenticator: authenticator
    ).addRoutes(to: &router)
    let checks: [Operations.Check] = [
      ("postgres", { [postgres] in _ = try await postgres.query("SELECT 1") }),
      ("redis", { [redis] in _ = try await redis.command(["PING"]) }),
    ]
    let operations = Operations(checks: checks, details: [("detail", { "known" })])
    operations.addPublicRoutes(to: &router)
    self.router = router
    var operatorRouter = Router()
    operations.addOperatorRoutes(to: &operatorRouter)
    self.operatorRouter = operatorRouter
  }

  private static var running: Task<Service, any Error>?

  /// One service for all tests of this process, connected to a database with the schema and to Redis.
  static func shared() async throws -> Service {
    if let running { return try await running.value }
    let task = Task { @LoopActor in
      let database = "onsale_api_tests"
      let superuserURL = try TestPostgres.shared.url()
      let superuser = PostgresClient(
        try PostgresConfiguration(url: superuserURL, connections: 1), logger: Logger(label: "test"))
      superuser.start()
      try await superuser.waitUntilReady(milliseconds: 20_000)
      try await superuser.script("DROP DATABASE IF EXISTS \(database) WITH (FORCE)")
      try await superuser.script("CREATE DATABASE \(database)")
      superuser.close()
      // A database of Redis of our own: ids of events are those of other suites too.
      let service = try Service(
        databaseURL: Self.replacingDatabase(superuserURL, database),
        redisURL: Self.replacingDatabase(try TestRedis.shared.url(), "7"))
      service.postgres.start()
      service.redis.start()
      try await service.postgres.waitUntilReady(milliseconds: 20_000)
      try await service.redis.waitUntilReady(milliseconds: 20_000)
      _ = try await service.redis.command(["FLUSHDB"])
      let schema = PostgresSearchIndex.schema
      _ = try await Migrations(service.postgres, searchSchema: schema, logger: Logger(label: "test")).run()
      return service
    }
    running = task
    return try await task.value
  }

  private static func replacingDatabase(_ url: String, _ database: String) -> String {
    guard var parts = URLComponents(string: url) else { return url }
    parts.path = "/" + database
    return parts.string ?? url
  }

  func makeAuthenticator() throws -> Authenticator {
    Authenticator(try TokenVerifier(secret: Self.secret))
  }

  func makeIssuer() throws -> TokenIssuer { try TokenIssuer(secret: Self.secret) }

  // MARK: Calls

  struct Answer {
    let response: HTTPResponse
    var status: Int { response.status }
    var text: String { String(decoding: response.body, as: UTF8.self) }
    var json: JSON { (try? JSON(parsing: response.body)) ?? .null }
    var code: String? { json["code"]?.string }
  }

  enum Caller: Sendable {
    case nobody
    case user(String)
    case organizer
    case token(String)
  }

  func token(_ user: String, _ role: Role, lifetimeSeconds: Int = 600) -> String {
    issuer.issue(user: user, role: role, lifetimeSeconds: lifetimeSeconds)
  }

  func call(
    _ method: HTTPMethod, _ target: String, _ body: JSON? = nil, as caller: Caller = .nobody,
    headers: HTTPResponse.Headers = []
  ) async -> Answer {
    await call(method, target, bytes: body?.serialized() ?? [], as: caller, headers: headers)
  }

  func call(
    _ method: HTTPMethod, _ target: String, bytes: [UInt8], as caller: Caller = .nobody,
    headers: HTTPResponse.Headers = []
  ) async -> Answer {
    var headers = headers
    switch caller {
    case .nobody: break
    case .user(let id): headers.append(("Authorization", "Bearer \(token(id, .customer))"))
    case .organizer: headers.append(("Authorization", "Bearer \(token("boss", .organizer))"))
    case .token(let token): headers.append(("Authorization", "Bearer \(token)"))
    }
    let request = HTTPRequest(method, target, headers: headers, body: bytes)
    return Answer(response: await router.respond(to: request))
  }

  // MARK: Events

  static let twoSections: JSON = [
    ["name": "Stalls", "price": 9000, "rows": [["row": "A", "seats": 12], ["row": "B", "seats": 10]]],
    ["name": "Standing", "price": 1500, "capacity": 30],
  ]

  static func event(sections: JSON = twoSections, _ more: [(name: String, value: JSON)] = []) -> JSON {
    let members: [(name: String, value: JSON)] = [
      ("name", "Concert"), ("location", "Hall"), ("date", "2031-05-20T19:30:00Z"), ("currency", "EUR"),
      ("sections", sections),
    ]
    return .object(members.filter { member in !more.contains { $0.name == member.name } } + more)
  }

  /// An event whose sale has a time that is far off, so that everybody may know of it.
  static let announced = event([("onsale_at", "2031-01-01T09:00:00Z")])

  /// Makes an event and returns its id.
  func makeEvent(_ body: JSON = Service.event(), opens: Bool = false) async throws -> Int {
    let answer = await call(.post, "/api/admin/events", body, as: .organizer)
    guard answer.status == 201, let id = answer.json["id"]?.integer else {
      throw Unexpected(answer: answer.text)
    }
    if opens {
      let opened = await call(.post, "/api/admin/events/\(id)/open", as: .organizer)
      guard opened.status == 200 else { throw Unexpected(answer: opened.text) }
    }
    return id
  }

  struct Unexpected: Error { let answer: String }
}
