import EventLoop
import Lifecycle
import Logging
import Metrics
import Postgres

/// Whether what PostgreSQL has committed is on another server, too: only then a failover loses no purchase.
///
/// For operators; nothing depends on it, as a single server has no standby to wait for.
@LoopActor
final class ReplicationWatch: Service {
  private static let milliseconds: UInt64 = 5_000

  let name = "replication-watch"
  private let postgres: PostgresClient
  private let logger: Logger
  private let gauge = MetricsRegistry.shared.gauge(
    "onsale_postgres_replication_synchronous",
    "1 where a commit waits for a standby; 0 where a failover may lose purchases, also while that is not known"
  )
  private var looking: Task<Void, Never>?
  /// `nil` until PostgreSQL has said it, and while it is away.
  private var isSynchronous: Bool?
  private var warning = Warning()

  init(_ postgres: PostgresClient, _ logger: Logger) {
    self.postgres = postgres
    self.logger = logger
  }

  /// In a word.
  var text: String? { isSynchronous.map { $0 ? "synchronous" : "not synchronous" } }

  func start() async throws {
    looking = Task { @LoopActor in
      while !Task.isCancelled {
        await look()
        do { try await sleep(milliseconds: Self.milliseconds) } catch { return }
      }
    }
  }

  func stop() async {
    looking?.cancel()
    await looking?.value
  }

  private func look() async {
    // As this session has it: both may be set per role or database. With `local` or `off` a commit waits for no standby,
    // whatever is named; and what manages standbys takes the names away where it stops waiting for them.
    let rows = try? await postgres.query(
      """
      SELECT current_setting('synchronous_standby_names') <> ''
        AND current_setting('synchronous_commit') NOT IN ('off', 'local') AS synchronous,
        EXISTS (
          SELECT FROM pg_stat_replication WHERE application_name NOT IN ('pg_basebackup', 'pg_receivewal')
        ) AS has_standby
      """)
    isSynchronous = rows?.first?["synchronous"].bool
    gauge.value = isSynchronous == true ? 1 : 0
    guard let isSynchronous, let hasStandby = rows?.first?["has_standby"].bool else { return }
    switch warning.next(isSynchronous: isSynchronous, hasStandby: hasStandby) {
    case .loses:
      logger.warning(
        "postgres: commits wait for no standby: a failover would lose the last purchases",
        ["postgres.replication": "not synchronous"])
    case .isOver:
      logger.notice("postgres: commits wait for a standby", ["postgres.replication": "synchronous"])
    case nil: break
    }
  }

  /// When to say what; once each time that it changes. A standby that is away may come back and be promoted, so only a
  /// commit that waits for one ends it; a single server is warned of nothing.
  struct Warning {
    enum Word { case loses, isOver }

    private var isOn = false

    mutating func next(isSynchronous: Bool, hasStandby: Bool) -> Word? {
      if isSynchronous {
        defer { isOn = false }
        return isOn ? .isOver : nil
      }
      guard hasStandby, !isOn else { return nil }
      isOn = true
      return .loses
    }
  }
}
