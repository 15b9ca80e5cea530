import EventLoop
import Ledger
import Postgres
package import Queue
package import Sale

/// What is left of queues that have left Redis.
extension AuditStore {
  /// How the last queue of an event ended that has left Redis; `nil` if none has.
  package func archivedQueue(event: Int) async throws -> QueueDocument? {
    let rows = try await postgres.query(
      "SELECT max(generation) AS generation FROM queue_outcome WHERE event_id = \(event)")
    guard let generation = rows.first?["generation"].int else { return nil }
    return try await ArchiveStore(postgres).outcome(event: event, generation: generation)?.document
  }

  /// Archived records in buckets of a hundred positions, from the first above `bucket`.
  /// - Returns: the last bucket read, or `nil` when there was none.
  package func archivedRecords(
    event: Int, generation: Int, after bucket: Int, limit: Int,
    _ body: @LoopActor (_ position: Int, _ record: RequestRecord?) -> Void
  ) async throws -> Int? {
    let rows = try await postgres.query(
      """
      SELECT bucket, records FROM request_archive
      WHERE event_id = \(event) AND generation = \(generation) AND bucket > \(bucket) ORDER BY bucket LIMIT \(limit)
      """)
    for row in rows {
      let first = try row.int("bucket") * QueueStore.recordsPerBucket
      for line in try row.string("records").split(separator: "\n") {
        let parts = line.split(separator: "=", maxSplits: 1)
        guard parts.count == 2, let slot = Int(parts[0]) else { continue }
        body(first + slot, RequestRecord(String(parts[1])))
      }
    }
    return try rows.last?.int("bucket")
  }

  /// The record of a request whose queue has left Redis; `nil` if it has none.
  package func archivedRecord(_ key: PurchaseKey) async throws -> RequestRecord? {
    try await ArchiveStore(postgres).record(
      event: key.event, generation: key.generation, position: key.position)
  }
}
