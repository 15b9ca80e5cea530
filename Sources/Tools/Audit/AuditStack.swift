package import EventLoop
import HTTPClient
import JSON
import Ledger
package import Logging
import Payments
import Postgres
import Queue
import Redis

/// An audit with connections of its own, made from the environment.
@LoopActor
package final class AuditStack {
  /// How long to wait for a store to be reachable, in milliseconds.
  private static let readyMilliseconds: UInt64 = 10_000

  private let postgres: PostgresClient
  private let redis: RedisClient
  private let http: HTTPClient
  private let index: (any AuditedIndex)?
  private let logger: Logger
  package let audit: Audit

  /// Connects to everything that is compared.
  /// - Throws: with words for a person, when something is not configured or cannot be reached.
  package init(
    environment: [String: String], options: AuditOptions, index: (any AuditedIndex)? = nil, logger: Logger,
    progress: @escaping @LoopActor (String) -> Void = { _ in }
  ) async throws {
    let names = ["ONSALE_DATABASE_URL", "ONSALE_REDIS_URL", "ONSALE_PAYMENT_URL"]
    let missing = names.filter { (environment[$0] ?? "").isEmpty }
    guard missing.isEmpty, let database = environment[names[0]], let queue = environment[names[1]],
      let payments = environment[names[2]]
    else { throw CannotLook("not set: \(missing.joined(separator: ", "))") }
    // One connection, and time for a page of a large event.
    var postgresConfiguration = try PostgresConfiguration(
      url: database, connections: 2, statementTimeoutMilliseconds: 60_000)
    postgresConfiguration.poolerKeepsSessions = environment["ONSALE_DATABASE_POOLER"] == "session"
    postgres = PostgresClient(postgresConfiguration, logger: logger)
    redis = RedisClient(try RedisConfiguration(url: queue), logger: logger, prepare: QueueStore.prepare)
    http = HTTPClient()
    let provider = StripePaymentClient(
      http, url: payments, secretKey: environment["ONSALE_PAYMENT_KEY"] ?? "")
    audit = Audit(
      sales: AuditStore(postgres), purchases: PurchaseStore(postgres), queues: QueueStore(redis),
      provider: provider, index: index, options: options, logger: logger, progress: progress)
    postgres.start()
    redis.start()
    self.index = index
    self.logger = logger
    do {
      try await index?.open()
      try await postgres.waitUntilReady(milliseconds: Self.readyMilliseconds)
      try await redis.waitUntilReady(milliseconds: Self.readyMilliseconds)
    } catch {
      await close()
      throw error
    }
  }

  /// Violations of one run that systems outside are told of.
  private static let toldViolations = 100

  /// Tells those systems outside that listen. That it failed changes nothing of what was found.
  package func tell(_ report: AuditReport) async {
    let violations = report.findings.kept.filter(\.kind.isViolation).prefix(Self.toldViolations)
    do {
      try await WebhookStore(postgres).tell(
        violations: violations.map { (event: $0.event, identity: "\($0.identity)", data: $0.json.text) })
    } catch {
      logger.warning("nobody outside was told of violations", ["error": "\(error)"])
    }
  }

  package func close() async {
    await index?.close()
    postgres.close()
    redis.close()
    http.close()
  }
}

/// Why nothing could be compared.
package struct CannotLook: Error, CustomStringConvertible {
  package let description: String

  package init(_ description: String) { self.description = description }
}
