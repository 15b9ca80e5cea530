package import EventLoop
package import Postgres

/// Fencing numbers of partitions' owners. They come from PostgreSQL, because Redis may forget.
@LoopActor
package final class EpochStore {
  private let postgres: PostgresClient

  package init(_ postgres: PostgresClient) { self.postgres = postgres }

  /// A number that is higher than any given out before for this partition.
  package func next(_ partition: Partition) async throws -> Int {
    let rows = try await postgres.query(
      """
      INSERT INTO partition (id, epoch) VALUES (\(partition.number), 1)
      ON CONFLICT (id) DO UPDATE SET epoch = partition.epoch + 1
      RETURNING epoch
      """)
    guard let row = rows.first else { throw StoreError(.unexpectedAnswer, "partition epoch") }
    return try row.int("epoch")
  }
}
