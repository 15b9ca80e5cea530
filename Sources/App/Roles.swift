import Admin
import Archive
import Catalog
import EventLoop
import Foundation
import HTTPClient
import HTTPCommon
import HTTPServer
import Identity
import Indexer
import Intake
import Ledger
import Lifecycle
import Logging
import Mailer
import Metrics
import Notifier
import PaymentStub
import Payments
import Postgres
import Queue
import Redis
import SMTPClient
import Sale
import Search
import Web
import Webhooks
import Worker

/// Puts the roles together from their parts. The only place that knows all of them.
@LoopActor
enum Roles {
  // MARK: Clients

  private static func redis(_ configuration: RedisConfiguration, _ logger: Logger) -> RedisClient {
    RedisClient(configuration, logger: logger, prepare: QueueStore.prepare)
  }

  /// `ONSALE_DATABASE_POOLER`, which says what stands in front of PostgreSQL and not where it is.
  private static let poolerKeepsSessions =
    ProcessInfo.processInfo.environment["ONSALE_DATABASE_POOLER"] == "session"

  private static func postgres(_ url: String, connections: Int, _ logger: Logger) throws -> PostgresClient {
    var configuration = try PostgresConfiguration(url: url, connections: connections)
    configuration.poolerKeepsSessions = poolerKeepsSessions
    return PostgresClient(configuration, logger: logger)
  }

  private static func required(_ redis: RedisConfiguration?) throws -> RedisConfiguration {
    guard let redis else { throw Configuration.Invalid(problems: ["ONSALE_REDIS_URL is not set"]) }
    return redis
  }

  /// The search backend that the settings name, and the clients it needs.
  ///
  /// Searches have connections of their own, so that neither they nor the sale can starve the other.
  private static func searchIndex(
    _ settings: Configuration, writer: PostgresClient, _ logger: Logger
  ) throws -> (index: any SearchIndex, services: [any Service], standby: Standby?) {
    if !settings.searchURLs.isEmpty {
      let client = HTTPClient(HTTPClientConfiguration())
      return (
        OpenSearchIndex(client, urls: settings.searchURLs, logger: logger),
        [ClientService("opensearch", start: {}, stop: client.close)], nil
      )
    }
    let (reader, age) = try reader(settings, logger)
    return (
      PostgresSearchIndex(writer, reader: reader, age: age),
      [ClientService("search-postgres", start: reader.startIfSuited, stop: reader.close)],
      age.map { Standby(EventStore(reader), age: $0) }
    )
  }

  /// Where searches read, and how old that may be where it is a server of its own.
  private static func reader(
    _ settings: Configuration, _ logger: Logger
  ) throws -> (PostgresClient, ReplicaAge?) {
    // Whoever looks for something does not wait as long as whoever buys.
    var configuration = try PostgresConfiguration(
      url: settings.searchDatabaseURL, connections: settings.searchConnections,
      statementTimeoutMilliseconds: searchMilliseconds, waitMilliseconds: searchMilliseconds,
      waitingCapacity: searchesWaiting)
    configuration.sessionSettings = PostgresSearchIndex.sessionSettings
    configuration.poolerKeepsSessions = poolerKeepsSessions
    let reader = PostgresClient(configuration, logger: logger)
    return (reader, settings.searchDatabaseURL == settings.databaseURL ? nil : ReplicaAge(reader))
  }

  /// How long searches may take and wait, in milliseconds.
  private static let searchMilliseconds: UInt64 = 2_000
  private static let searchesWaiting = 256

  // MARK: payments

  static func payments(_ arguments: [String], _ environment: [String: String]) async throws -> Int32 {
    let settings = try Configuration(
      environment, needs: [.ledger, .stub], mistakes: mistakes(arguments, of: "payments"))
    Logger.configure(level: settings.logLevel)
    let logger = Logger(label: "payments")
    var configuration = PaymentStubConfiguration(
      host: settings.stubHost, port: settings.stubPort, ledger: settings.ledgerPath, key: settings.paymentKey)
    if let secret = settings.paymentWebhookSecrets.first, !settings.publicURL.isEmpty {
      configuration.webhook = (settings.publicURL + "/api/payment/webhook", secret)
    }
    let stub = PaymentStub(configuration, logger: logger)
    let services: [any Service] = observation(settings, Operations(checks: []), logger) + [stub]
    try await Lifecycle(services, logger: logger).run()
    return 0
  }

  // MARK: migrate

  static func migrate(_ arguments: [String], _ environment: [String: String]) async throws -> Int32 {
    let (cleans, patience, mistakes) = migrateOptions(arguments)
    let settings = try Configuration(environment, needs: [.schemaOwner], mistakes: mistakes)
    Logger.configure(level: settings.logLevel)
    let logger = Logger(label: "migrate")
    let postgres = try postgres(settings.schemaOwnerURL, connections: 1, logger)
    postgres.start()
    defer { postgres.close() }
    try await postgres.waitUntilReady(milliseconds: 30_000)
    let migrations = Migrations(
      postgres, searchSchema: PostgresSearchIndex.schema, patience: patience, logger: logger)
    let applied = try await migrations.run()
    logger.info("schema is up to date", ["schema.applied": applied])
    if cleans {
      try await migrations.clean(PostgresSearchIndex.cleanup)
      logger.info("what only versions before used is gone")
    }
    return 0
  }

  private static func migrateOptions(
    _ arguments: [String]
  ) -> (cleans: Bool, patience: Migrations.Patience, mistakes: [String]) {
    var rest = arguments[...]
    var cleans = false, patience = Migrations.Patience(), mistakes: [String] = []
    while let option = rest.popFirst() {
      switch option {
      case "--clean": cleans = true
      case "--wait":
        if let seconds = rest.popFirst().flatMap({ Int($0) }),
          Migrations.Patience.allowedSeconds.contains(seconds)
        {
          patience.seconds = seconds
        } else {
          mistakes.append(
            "--wait takes a number of seconds, at most \(Migrations.Patience.allowedSeconds.upperBound)")
        }
      default: mistakes.append("migrate takes --clean and --wait, not \"\(option)\"")
      }
    }
    return (cleans, patience, mistakes)
  }

  // MARK: serve

  private static let roleNames = ["catalog", "intake", "notifier", "admin", "web"]

  static func serve(_ arguments: [String], _ environment: [String: String]) async throws -> Int32 {
    let (roles, mistakes) = rolesToServe(arguments)
    let settings = try Configuration(environment, needs: [.database, .redis, .secret], mistakes: mistakes)
    Logger.configure(level: settings.logLevel)
    let logger = Logger(label: "serve")
    let configuration = try required(settings.redis)
    let redis = redis(configuration, logger)
    let postgres = try postgres(settings.databaseURL, connections: settings.databaseConnections, logger)
    let queue = QueueStore(redis)
    let events = EventStore(postgres, rejoinSeconds: settings.rejoinSeconds)
    let seats = SeatStore(postgres), past = PastRequests(postgres)
    let clock = TrustedClock(logger: logger)
    let cookies = SessionCookies(isSecure: settings.publicURL.hasPrefix("https:"))
    let sessions = Sessions(
      issuer: try TokenIssuer(secret: settings.secret),
      coder: SessionCoder(secret: settings.secret, former: settings.formerSecrets),
      store: SessionStore(postgres), ended: EndedSessions(), cookies: cookies)
    let verifier = try tokenVerifier(settings, clock, sessions.ended)
    let authenticator = Authenticator(verifier, cookies: cookies)
    let sessionWatch = SessionWatch(sessions, logger: logger)
    let ids = RequestIDCoder(secret: settings.requestSecret, former: settings.formerRequestSecrets)

    var router = Router()
    var services: [any Service] = [
      ClientService("redis", start: redis.start, stop: redis.close),
      ClientService("postgres", start: postgres.startIfSuited, stop: postgres.close),
      ClientService("session-watch", start: sessionWatch.start, stop: sessionWatch.stop),
      ClockWatch(clock) { try await queue.reader.serverMilliseconds() },
    ]
    if let file = settings.keySet {
      services.append(KeySetFile(file.path, text: file.text, verifier: verifier, logger: logger))
    }
    let clientNames = ClientNames(secret: settings.secret)
    if roles.contains("intake") {
      let declines = DeclineWatch(
        DeclineStore(postgres), names: clientNames, limits: DeclineLimits(settings.declines), logger: logger)
      services.append(ClientService("decline-watch", start: declines.start, stop: declines.stop))
      Intake(
        queue: queue, events: events, sections: SectionNames(seats: seats), past: past, declines: declines,
        authenticator: authenticator, ids: ids
      ).addRoutes(to: &router)
    }
    if roles.contains("intake") {
      PaymentWebhook(
        queue: queue.buyers, refunds: RefundStore(postgres), secrets: settings.paymentWebhookSecrets,
        now: { clock.milliseconds / 1_000 }
      ).addRoutes(to: &router)
    }
    var catalog: Catalog?
    var notifier: Notifier?
    if roles.contains("notifier") {
      let watch = QueueWatch(
        queue: queue, redis: configuration, logger: logger,
        lastPaid: { event, generation in
          try await seats.lastPaidPosition(event: event, generation: generation)
        },
        ends: { event, generation in try await seats.ends(event: event, generation: generation) })
      services.append(ClientService("queue-watch", start: watch.start, stop: watch.stop))
      notifier = Notifier(
        watch: watch, past: past, labels: TicketLabels(seats: seats), ids: ids, authenticator: authenticator)
      notifier?.addRoutes(to: &router)
    }
    if roles.contains("catalog") {
      let search = try searchIndex(settings, writer: postgres, logger)
      services += search.services
      // With another search engine, event pages may still be read from a replica.
      var standby = search.standby
      if standby == nil, settings.searchDatabaseURL != settings.databaseURL {
        let (reader, age) = try reader(settings, logger)
        services.append(ClientService("standby-postgres", start: reader.startIfSuited, stop: reader.close))
        standby = age.map { Standby(EventStore(reader), age: $0) }
      }
      let use = AccountUse(
        ClientUseStore(postgres), names: clientNames, process: processName, logger: logger)
      services.append(ClientService("account-use", start: use.start, stop: use.stop))
      let made = Catalog(
        events: events, standby: standby, users: UserStore(postgres),
        mails: settings.mail == nil ? nil : MailStore(postgres), use: use, queue: queue.reader,
        search: CachedSearch(search.index, render: Catalog.body), authenticator: authenticator,
        sessions: sessions, hasher: PasswordHasher(), ids: ids,
        publicURL: settings.publicURL, zone: settings.timeZone)
      made.addRoutes(to: &router)
      catalog = made
    }
    if roles.contains("admin") {
      Admin(
        events: events, refunds: RefundStore(postgres), queue: queue, ids: ids, authenticator: authenticator,
        logger: logger
      ).addRoutes(to: &router)
    }
    let replication = ReplicationWatch(postgres, logger)
    services.append(replication)
    let operations = operations(postgres, redis, replication)
    operations.addPublicRoutes(to: &router)
    services += observation(settings, operations, logger)
    if roles.contains("web") {
      let entry = PaymentEntry(
        url: settings.paymentURL, publishableKey: settings.paymentPublishableKey, isLive: settings.isLive)
      Web(
        payment: entry, sendsMail: settings.mail != nil, honoursLate: settings.paymentLateSeconds > 0,
        isRequest: { ids.decode($0) != nil },
        list: { [catalog] request in
          guard let catalog else { return nil }
          return Self.listing(await catalog.listing(request))
        },
        describe: { [catalog] event in
          guard let catalog else { return .unknown }
          do {
            guard let event = try await catalog.description(of: event) else { return .nothing }
            return .event(
              Web.Description(
                name: event.name, json: event.json, facts: event.facts, calendar: event.calendar,
                calendarPath: event.calendarPath))
          } catch { return .unknown }
        }
      ).addRoutes(to: &router)
    }
    var http = HTTPServerConfiguration(host: settings.host, port: settings.port)
    http.crossOrigins = settings.crossOrigins
    http.perClientLimit = settings.connectionsPerAddress
    http.trustedProxies = settings.trustedProxies
    http.isSecure = settings.publicURL.hasPrefix("https:")
    let server = HTTPServer(http, router: router, logger: logger)
    services.append(server)
    if let notifier {
      services.append(
        ClientService(
          "long-polls",
          start: {
            // The other half is for those who reserve and pay.
            notifier.longPollLimit = server.connectionLimit / 2
          },
          // Stopped before the server, so that it need not wait for long polls.
          stop: notifier.stop))
    }
    try await Lifecycle(services, logger: logger).run()
    return 0
  }

  private static func tokenVerifier(
    _ settings: Configuration, _ clock: TrustedClock, _ ended: EndedSessions
  ) throws -> TokenVerifier {
    do throws(AuthError) {
      let verifier = try TokenVerifier(
        secret: settings.secret, former: settings.formerSecrets, jwks: settings.keySet?.text,
        issuer: settings.issuer, audience: settings.audience, mapping: settings.claims, ended: ended,
        now: { clock.milliseconds / 1_000 })
      for problem in verifier.keyProblems {
        Logger(label: "auth").warning("a key is left out", ["jwks.problem": problem])
      }
      return verifier
    } catch {
      throw Configuration.Invalid(problems: ["ONSALE_JWKS_FILE: \(error.message)"])
    }
  }

  private static func operations(
    _ postgres: PostgresClient, _ redis: RedisClient, _ replication: ReplicationWatch
  ) -> Operations {
    Operations(
      checks: [
        ("postgres", { _ = try await postgres.query("SELECT 1") }),
        ("redis", { _ = try await redis.command(["PING"]) }),
      ], details: [("postgres_replication", { replication.text })])
  }

  /// Where a process answers its operators; nothing unless the settings ask for it.
  private static func observation(
    _ settings: Configuration, _ postgres: PostgresClient, _ redis: RedisClient, _ logger: Logger
  ) -> [any Service] {
    guard settings.metricsPort != nil else { return [] }
    let replication = ReplicationWatch(postgres, logger)
    return [replication] + observation(settings, operations(postgres, redis, replication), logger)
  }

  private static func observation(
    _ settings: Configuration, _ operations: Operations, _ logger: Logger
  ) -> [any Service] {
    guard let port = settings.metricsPort else { return [] }
    var router = Router()
    operations.addOperatorRoutes(to: &router)
    var configuration = HTTPServerConfiguration(host: settings.metricsHost, port: port)
    // Whoever watches, and not what a process needs for its work.
    configuration.connectionLimit = 64
    // What one process tells must not come from another.
    configuration.sharesPort = false
    configuration.isCounted = false
    return [HTTPServer(configuration, router: router, logger: logger)]
  }

  private static func rolesToServe(_ arguments: [String]) -> (roles: Set<String>, mistakes: [String]) {
    if arguments.isEmpty { return (Set(roleNames), []) }
    guard arguments.count == 2, arguments[0] == "--roles" else {
      return ([], ["serve takes --roles and a list of \(roleNames.joined(separator: ","))"])
    }
    let roles = arguments[1].split(separator: ",").map(String.init)
    let unknown = roles.filter { !roleNames.contains($0) }
    return (
      Set(roles),
      unknown.map { "there is no role \"\($0)\"; there are \(roleNames.joined(separator: ", "))" }
    )
  }

  /// Unique among all processes that ever run.
  private static var processName: String {
    "\(ProcessInfo.processInfo.hostName)-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
  }

  // MARK: worker

  static func worker(_ arguments: [String], _ environment: [String: String]) async throws -> Int32 {
    let settings = try Configuration(
      environment, needs: [.database, .redis, .payments], mistakes: mistakes(arguments, of: "worker"))
    Logger.configure(level: settings.logLevel)
    let logger = Logger(label: "worker")
    let configuration = try required(settings.redis)
    let redis = redis(configuration, logger)
    let postgres = try postgres(settings.databaseURL, connections: settings.databaseConnections, logger)
    // Seat maps and settings are read apart from purchases, whose sessions are tuned for nothing else.
    var selling = try PostgresConfiguration(
      url: settings.databaseURL, connections: settings.databaseConnections)
    PurchaseStore.configure(&selling)
    selling.poolerKeepsSessions = poolerKeepsSessions
    let sales = PostgresClient(selling, logger: logger)
    let queue = QueueStore(redis)
    var payments = HTTPClientConfiguration()
    // A slow provider is waited for by many calls at once, each on a connection of its own.
    let connections = paymentConnections(settings, logger)
    payments.connectionsPerHost = connections
    payments.capacity = max(payments.capacity, 4 * connections)
    var providerLimits = Worker.ProviderLimits()
    providerLimits.connections = connections
    providerLimits.searchMilliseconds = settings.paymentSearchSeconds * 1_000
    providerLimits.paymentSeconds = settings.paymentWaitSeconds
    providerLimits.keySeconds = settings.paymentKeySeconds
    providerLimits.lateSeconds = settings.paymentLateSeconds
    providerLimits.actionSeconds = settings.paymentActionSeconds
    providerLimits.lapsedSeconds = settings.paymentLapsedSeconds
    let client = HTTPClient(payments)
    let identity = processName
    let share = Double(settings.takeoverPercent) / 100
    var patience = Worker.Patience()
    patience.leaseMilliseconds = Int(Double(patience.leaseMilliseconds) * share)
    patience.confirmationMilliseconds = Int(Double(patience.confirmationMilliseconds) * share)
    patience.shownHoldsMilliseconds = Int(Double(patience.shownHoldsMilliseconds) * share)
    patience.newsMilliseconds = Int(Double(patience.newsMilliseconds) * share)
    patience.booksMilliseconds = Int(Double(settings.booksMilliseconds) * share)
    patience.booksGraceSeconds = settings.booksGraceSeconds
    var purchasePatience = PurchaseStore.Patience()
    purchasePatience.captureSeconds *= share
    // What waits for the provider's search is under way all the same.
    purchasePatience.stalledSeconds =
      purchasePatience.stalledSeconds * share + Double(settings.paymentSearchSeconds)
    let listeners = WebhookListeners()
    let webhooks = webhookSender(settings, postgres, queue, listeners, logger)
    let worker = Worker(
      identity: identity,
      stores: Worker.Stores(
        queue: queue, purchases: PurchaseStore(sales, patience: purchasePatience, listeners: listeners),
        seats: SeatStore(postgres),
        epochs: EpochStore(postgres),
        archive: QueueArchive(queue, postgres),
        events: EventStore(postgres, rejoinSeconds: settings.rejoinSeconds),
        refunds: RefundStore(
          postgres, leaseSeconds: purchasePatience.captureSeconds, firstRetrySeconds: 60 * share),
        declines: DeclineStore(postgres), books: BookStore(postgres)),
      provider: StripePaymentClient(
        client, url: settings.paymentURL, secretKey: settings.paymentKey,
        requestsPerSecond: settings.paymentRate ?? StripePaymentClient.usualRate(settings.paymentURL),
        returnURL: settings.publicURL.isEmpty ? "" : settings.publicURL + "/queue/return"),
      providerLimits: providerLimits, redis: configuration, patience: patience,
      logger: logger)
    let services: [any Service] =
      [
        ClientService("redis", start: redis.start, stop: redis.close),
        ClientService("sales-postgres", start: sales.startIfSuited, stop: sales.close),
        ClientService("postgres", start: postgres.startIfSuited, stop: postgres.close),
        ClientService("payments", start: {}, stop: client.close),
      ] + observation(settings, postgres, redis, logger) + [webhooks, worker]
    try await Lifecycle(services, logger: logger).run()
    return 0
  }

  /// Sends what systems outside are told.
  private static func webhookSender(
    _ settings: Configuration, _ postgres: PostgresClient, _ queue: QueueStore, _ listeners: WebhookListeners,
    _ logger: Logger
  ) -> WebhookSender {
    let policy = settings.webhookPolicy
    return WebhookSender(
      store: WebhookStore(postgres, listeners: listeners), queue: queue.news,
      client: HTTPClient(WebhookSender.clientConfiguration(policy)),
      ids: settings.requestSecret.isEmpty
        ? nil : RequestIDCoder(secret: settings.requestSecret, former: settings.formerRequestSecrets),
      allowsPlain: policy.allowsPlain, logger: logger)
  }

  /// The configured number, or what the process's descriptors allow if that is less.
  private static func paymentConnections(_ settings: Configuration, _ logger: Logger) -> Int {
    // Two pools of PostgreSQL, and what else a worker has open.
    let allowed = OpenFiles.connections(
      wanted: settings.paymentConnections, reserved: 192 + 2 * settings.databaseConnections)
    if allowed < settings.paymentConnections {
      logger.notice(
        "the open files limit lowers the number of connections to the provider",
        [
          "payments.connections.configured": settings.paymentConnections,
          "payments.connections.allowed": allowed,
        ])
    }
    return allowed
  }

  // MARK: indexer

  static func indexer(_ arguments: [String], _ environment: [String: String]) async throws -> Int32 {
    let parts = try indexerParts(environment, mistakes: mistakes(arguments, of: "indexer"))
    try await Lifecycle(parts.services + parts.mail + [parts.indexer], logger: parts.logger).run()
    return 0
  }

  /// Builds the search index anew, for `onsale admin reindex`.
  static func reindex(
    _ environment: [String: String], onProgress: @escaping @LoopActor (Int, Int) -> Void
  ) async throws -> Int {
    let parts = try indexerParts(environment)
    let result: Result<Int, any Error>
    do {
      for service in parts.services { try await service.start() }
      result = .success(try await parts.indexer.reindex(onProgress: onProgress))
    } catch {
      result = .failure(error)
    }
    for service in parts.services.reversed() { await service.stop() }
    return try result.get()
  }

  private static func indexerParts(
    _ environment: [String: String], mistakes: [String] = []
  ) throws -> (indexer: Indexer, services: [any Service], mail: [any Service], logger: Logger) {
    let settings = try Configuration(environment, needs: [.database, .redis], mistakes: mistakes)
    Logger.configure(level: settings.logLevel)
    let logger = Logger(label: "indexer")
    let configuration = try required(settings.redis)
    let redis = redis(configuration, logger)
    let postgres = try postgres(settings.databaseURL, connections: indexerConnections, logger)
    let search = try searchIndex(settings, writer: postgres, logger)
    let indexer = Indexer(
      source: IndexSource(postgres), queue: QueueStore(redis), redis: configuration, index: search.index,
      zone: settings.timeZone, logger: logger)
    let services: [any Service] = [
      ClientService("redis", start: redis.start, stop: redis.close),
      ClientService("postgres", start: postgres.startIfSuited, stop: postgres.close),
    ]
    return (
      indexer, services + search.services + observation(settings, postgres, redis, logger),
      mailer(settings, postgres, logger), logger
    )
  }

  /// Sends mail where the settings say how. Beside the indexer, whose work no buyer waits for: a mail server that hangs
  /// does so far from where things are sold and paid. The client is closed before the mailer is stopped, which waits for
  /// what is under way.
  private static func mailer(
    _ settings: Configuration, _ postgres: PostgresClient, _ logger: Logger
  ) -> [any Service] {
    guard let configuration = settings.mail else { return [] }
    let client = SMTPClient(configuration)
    return [
      Mailer(MailStore(postgres), sender: client, site: settings.publicURL, logger: logger),
      ClientService("smtp", start: {}, stop: client.close),
    ]
  }

  /// The search index for `onsale audit`.
  static func searchAudit(_ environment: [String: String]) throws -> SearchAudit {
    let settings = try Configuration(environment, needs: [.database])
    let logger = Logger(label: "audit")
    let postgres = try postgres(settings.databaseURL, connections: 1, logger)
    let search = try searchIndex(settings, writer: postgres, logger)
    let own = ClientService("postgres", start: postgres.startIfSuited, stop: postgres.close)
    return SearchAudit(search.index, services: [own] + search.services)
  }

  private static let indexerConnections = 2

  /// What is wrong with the arguments of a command that takes none.
  private static func mistakes(_ arguments: [String], of command: String) -> [String] {
    arguments.map { "\(command) takes no argument \"\($0)\"" }
  }

  /// What the catalog lists, as the page shows it.
  private static func listing(_ found: EventListing) -> Web.Listing {
    Web.Listing(
      entries: found.entries.map { Web.Listing.Entry(name: $0.name, path: $0.path, facts: $0.facts) },
      summary: found.summary, asked: found.asked, nextPath: found.nextPath, isContinued: found.isContinued)
  }
}

/// A client as a service: it connects in the background, so that a process starts whoever is away.
@LoopActor
final class ClientService: Service {
  let name: String
  private let onStart: @LoopActor () async throws -> Void
  private let onStop: @LoopActor () async -> Void

  init(
    _ name: String, start: @escaping @LoopActor () async throws -> Void,
    stop: @escaping @LoopActor () async -> Void
  ) {
    self.name = name
    onStart = start
    onStop = stop
  }

  func start() async throws { try await onStart() }
  func stop() async { await onStop() }
}
