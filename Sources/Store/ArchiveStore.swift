package import EventLoop
package import Postgres

/// Queues that have left Redis, in PostgreSQL.
@LoopActor
package final class ArchiveStore {
  package init(_ postgres: PostgresClient) {}

  /// The last head document of a queue, or `nil` if it was never archived.
  package func outcome(event: Int, generation: Int) async throws -> QueueDocument? { nil }

  /// The record of a request that was decided by itself.
  package func record(event: Int, generation: Int, position: Int) async throws -> RequestRecord? { nil }
}
