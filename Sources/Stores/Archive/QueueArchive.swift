package import EventLoop
package import Postgres
package import Queue
import StoreCommon

/// Moves the outcome of a sale that is over from Redis to PostgreSQL, so that Redis holds only sales that are alive.
///
/// A closed queue without holds does not change any more, so its records can be copied in steps: buckets in
/// ascending order, then the outcome, and only then its keys leave Redis, the one that says it is there last.
/// Killed at any point, the next run goes on where this one was.
@LoopActor
package final class QueueArchive {
  /// Hashes of a hundred records that are copied by one statement.
  private static let bucketsAtOnce = 64

  private let queue: QueueStore
  private let archive: ArchiveStore

  package init(_ queue: QueueStore, _ postgres: PostgresClient) {
    self.queue = queue
    archive = ArchiveStore(postgres)
  }

  /// - Returns: whether the queue has left Redis; false while its event is not closed or a hold has not ended.
  /// - Throws: `StoreError.staleEpoch` for an owner that was replaced.
  package func run(event: Int, epoch: Int) async throws -> Bool {
    let owned = queue.owned(event: event, epoch: epoch)
    let document: QueueDocument
    do {
      guard let found = try await owned.archivable() else { return false }
      document = found
    } catch let error as StoreError where error.code == .noQueue {
      return true
    }
    let end = document.tail / QueueStore.recordsPerBucket + 1
    var next = try await archive.nextBucket(event: event, generation: document.generation)
    while next < end {
      // Each step may be the last: whoever comes next goes on where this one stopped.
      try Task.checkCancellation()
      let buckets = next..<min(next + Self.bucketsAtOnce, end)
      let records = try await owned.export(buckets: buckets)
      try await archive.write(event: event, generation: document.generation, records)
      next = buckets.upperBound
    }
    try await archive.close(event: event, document, marks: try await queue.reader.markTexts(event: event))
    try await owned.remove(generation: document.generation, tail: document.tail)
    return true
  }
}
