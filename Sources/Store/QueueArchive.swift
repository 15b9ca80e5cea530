package import EventLoop
package import Postgres

/// Moves the outcome of a sale that is over from Redis to PostgreSQL.
@LoopActor
package final class QueueArchive {
  package init(_ queue: QueueStore, _ postgres: PostgresClient) {}

  /// - Returns: whether the queue has left Redis.
  package func run(event: Int, epoch: Int) async throws -> Bool { false }
}
