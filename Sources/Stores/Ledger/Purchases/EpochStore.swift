package import EventLoop
package import Postgres
package import Sale
import StoreCommon

/// Fencing numbers of partitions' owners. They come from PostgreSQL, because Redis may forget.
@LoopActor
package final class EpochStore {
  private let postgres: PostgresClient

  package init(_ postgres: PostgresClient) { self.postgres = postgres }

  /// A number that is higher than any given out before for this partition.
  /// - Parameter accepted: what Redis accepts now: PostgreSQL may have come back without the last ones that it gave out,
  ///   and two owners of one number would both be believed.
  package func next(_ partition: Partition, above accepted: Int = 0) async throws -> Int {
    let rows = try await postgres.query(
      """
      INSERT INTO partition (id, epoch) VALUES (\(partition.number), \(accepted + 1))
      ON CONFLICT (id) DO UPDATE SET epoch = greatest(partition.epoch, \(accepted)) + 1
      RETURNING epoch
      """)
    guard let row = rows.first else { throw StoreError(.unexpectedAnswer, "partition epoch") }
    return try row.int("epoch")
  }
}
