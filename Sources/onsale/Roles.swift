import API
import Auth
import Catalog
import EventLoop
import Foundation
import HTTPClient
import HTTPServer
import Intake
import Lifecycle
import Logging
import Metrics
import Notifier
import Onsale
import PaymentStub
import Payments
import Postgres
import Redis
import Search
import Store
import Web
import Worker

/// Puts the roles together from their parts. The only place that knows all of them.
@LoopActor
enum Roles {
  // MARK: Clients

  private static func redis(_ configuration: RedisConfiguration, _ logger: Logger) -> RedisClient {
    RedisClient(configuration, logger: logger, prepare: QueueStore.prepare)
  }

  private static func postgres(_ url: String, connections: Int, _ logger: Logger) throws -> PostgresClient {
    PostgresClient(try PostgresConfiguration(url: url, connections: connections), logger: logger)
  }

  private static func required(_ redis: RedisConfiguration?) throws -> RedisConfiguration {
    guard let redis else { throw Configuration.Invalid(problems: ["ONSALE_REDIS_URL is not set"]) }
    return redis
  }

  // MARK: worker

  static func worker(_ arguments: [String], _ environment: [String: String]) async throws -> Int32 {
    try refuseArguments(arguments, of: "worker")
    let settings = try Configuration(environment, needs: [.database, .redis, .payments])
    Logger.configure(level: settings.logLevel)
    let logger = Logger(label: "worker")
    let configuration = try required(settings.redis)
    let redis = redis(configuration, logger)
    let postgres = try postgres(settings.databaseURL, connections: settings.databaseConnections, logger)
    let queue = QueueStore(redis)
    let client = HTTPClient(HTTPClientConfiguration())
    let identity = "\(ProcessInfo.processInfo.hostName)-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
    let worker = Worker(
      identity: identity,
      stores: Worker.Stores(
        queue: queue, purchases: PurchaseStore(postgres), seats: SeatStore(postgres), epochs: EpochStore(postgres),
        archive: QueueArchive(), events: EventStore()),
      provider: StripePaymentClient(client, url: settings.paymentURL, secretKey: settings.paymentKey),
      redis: configuration, logger: logger)
    let services: [any Service] = [
      ClientService("redis", start: redis.start, stop: redis.close),
      ClientService("postgres", start: postgres.start, stop: postgres.close),
      ClientService("payments", start: {}, stop: client.close), worker,
    ]
    try await Lifecycle(services, logger: logger).run()
    return 0
  }

  private static func refuseArguments(_ arguments: [String], of command: String) throws {
    guard let first = arguments.first else { return }
    throw Configuration.Invalid(problems: ["\(command) takes no argument \"\(first)\""])
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
