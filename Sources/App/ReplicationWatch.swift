import EventLoop
import Lifecycle
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
  private let gauge = MetricsRegistry.shared.gauge(
    "onsale_postgres_replication_synchronous",
    "1 where a commit waits for a standby; 0 where a failover may lose purchases, also while that is not known"
  )
  private var looking: Task<Void, Never>?
  /// `nil` until PostgreSQL has said it, and while it is away.
  private var isSynchronous: Bool?

  init(_ postgres: PostgresClient) { self.postgres = postgres }

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
        AND current_setting('synchronous_commit') NOT IN ('off', 'local') AS synchronous
      """)
    isSynchronous = rows?.first?["synchronous"].bool
    gauge.value = isSynchronous == true ? 1 : 0
  }
}
