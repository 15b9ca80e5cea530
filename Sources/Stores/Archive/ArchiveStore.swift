package import EventLoop
package import Postgres
package import Queue

/// Queues that have left Redis, in PostgreSQL.
@LoopActor
package final class ArchiveStore {
  private let postgres: PostgresClient

  package init(_ postgres: PostgresClient) { self.postgres = postgres }

  // MARK: Reading

  /// The last head document of a queue, and how its lines ended, or `nil` if it was never archived, or not completely yet.
  package func outcome(
    event: Int, generation: Int
  ) async throws -> (document: QueueDocument, marks: [Int: LineMark])? {
    let rows = try await postgres.query(
      """
      SELECT o.*, \(unsafeSQL: Self.cancelled) FROM queue_outcome o
      WHERE o.event_id = \(event) AND o.generation = \(generation)
      """)
    guard let document = try document(rows) else { return nil }
    return (document, Self.marks(rows.first?["line_marks"].string ?? ""))
  }

  private static func marks(_ text: String) -> [Int: LineMark] {
    var marks: [Int: LineMark] = [:]
    for entry in text.split(separator: "\n") {
      let parts = entry.split(separator: "=", maxSplits: 1)
      if parts.count == 2, let line = Int(parts[0]) { marks[line] = LineMark(String(parts[1])) }
    }
    return marks
  }

  /// The last document of the event's latest queue that has left Redis. Not by the event's own generation: that may be
  /// above any queue's.
  package func lastOutcome(event: Int) async throws -> QueueDocument? {
    try await document(
      postgres.query(
        """
        SELECT o.*, \(unsafeSQL: Self.cancelled) FROM queue_outcome o WHERE o.event_id = \(event)
        ORDER BY o.generation DESC LIMIT 1
        """))
  }

  private func document(_ rows: [PostgresRow]) throws -> QueueDocument? {
    guard let row = rows.first else { return nil }
    var document = QueueDocument(
      closed: try row.int("generation"), head: try row.int("head"), tail: try row.int("tail"),
      free: try row.int("free"),
      sold: try row.int("sold"), soldOutUpTo: try row.int("sold_out_up_to"),
      closedUpTo: try row.int("closed_up_to"), message: try row.string("message"))
    document.isCancelled = try row.bool("cancelled")
    return document
  }

  /// Whether that was why the line ended: whoever was told before that the sale is closed is told so for good.
  private static let cancelled = """
    coalesce((SELECT e.cancelled_at <= o.archived_at FROM event e WHERE e.id = o.event_id), false) AS cancelled
    """

  /// The records of a hundred positions.
  @LoopActor
  package struct Records: Sendable {
    fileprivate let lines: String

    /// The record of a request that was decided by itself, or `nil`.
    package func record(_ position: Int) -> RequestRecord? {
      let slot = "\(position % QueueStore.recordsPerBucket)="
      return lines.split(separator: "\n").first { $0.hasPrefix(slot) }
        .flatMap { RequestRecord(String($0.dropFirst(slot.count))) }
    }
  }

  package func records(event: Int, generation: Int, bucket: Int) async throws -> Records {
    let rows = try await postgres.query(
      """
      SELECT records FROM request_archive
      WHERE event_id = \(event) AND generation = \(generation) AND bucket = \(bucket)
      """)
    return Records(lines: try rows.first?.string("records") ?? "")
  }

  /// The record of a request that was decided by itself, or `nil`.
  package func record(event: Int, generation: Int, position: Int) async throws -> RequestRecord? {
    try await records(
      event: event, generation: generation, bucket: position / QueueStore.recordsPerBucket
    ).record(position)
  }

  // MARK: Writing

  /// The first bucket that is not archived yet; those before it are.
  package func nextBucket(event: Int, generation: Int) async throws -> Int {
    let rows = try await postgres.query(
      """
      SELECT coalesce(max(bucket) + 1, 0) AS next FROM request_archive
      WHERE event_id = \(event) AND generation = \(generation)
      """)
    return try rows.first?.int("next") ?? 0
  }

  /// Writes buckets, in ascending order. Repeating it changes nothing.
  package func write(event: Int, generation: Int, _ buckets: [RecordBucket]) async throws {
    if buckets.isEmpty { return }
    _ = try await postgres.query(
      """
      INSERT INTO request_archive (event_id, generation, bucket, records)
      SELECT \(event)::bigint, \(generation)::int, i.bucket, i.records
      FROM unnest(\(buckets.map(\.number))::int[], \(buckets.map(\.records))::text[]) AS i (bucket, records)
      ON CONFLICT (event_id, generation, bucket) DO UPDATE SET records = excluded.records
      """)
  }

  /// Notes how the queue ended, after all its buckets were written. What was sold is counted here, where the truth
  /// about it is. Repeating it changes nothing.
  /// - Parameter marks: where lines stood, as they are stored.
  /// Ends a line that was lost when its sale was closed already, so that nobody waits for its owner to archive it: as an
  /// empty life of it, begun and ended at once. Of the one that was lost nothing is bought from now on.
  /// - Parameter generation: the life of which Redis knows nothing any more.
  /// - Returns: false, and changes nothing, where the sale is not closed, or was archived.
  func endLost(event: Int, generation: Int) async throws -> Bool {
    let isLost: SQL = """
      e.id = \(event) AND e.state = 'closed' AND e.generation >= \(generation)
        AND NOT EXISTS (SELECT FROM queue_outcome o WHERE o.event_id = e.id AND o.generation >= \(generation))
      """
    let results = try await postgres.transaction([
      // Several servers may come to it at once: the second sees below what the first did.
      "SELECT FROM event WHERE id = \(event) FOR UPDATE",
      "UPDATE event e SET generation = e.generation + 1 WHERE \(isLost)",
      """
      INSERT INTO queue_life AS l (event_id, generation, closed_in)
      SELECT e.id, e.generation, \(generation) FROM event e WHERE \(isLost)
      ON CONFLICT (event_id) DO UPDATE SET generation = excluded.generation, is_restored = true, restored_from = NULL,
        closed_in = greatest(l.generation, excluded.closed_in)
      """,
      """
      INSERT INTO queue_outcome (event_id, generation, head, tail, sold_out_up_to, closed_up_to, free, sold, message)
      SELECT e.id, e.generation, 0, 0, 0, 0,
        (SELECT count(*) FROM ticket WHERE event_id = e.id AND NOT purchased),
        (SELECT count(*) FROM ticket WHERE event_id = e.id AND purchased), e.message
      FROM event e WHERE \(isLost)
      RETURNING generation
      """,
    ])
    return results.last?.isEmpty == false
  }

  package func close(event: Int, _ document: QueueDocument, marks: [Int: String]) async throws {
    let lines = marks.map { "\($0.key)=\($0.value)" }.joined(separator: "\n")
    _ = try await postgres.transaction([
      """
      INSERT INTO queue_outcome
        (event_id, generation, head, tail, sold_out_up_to, closed_up_to, free, sold, message, line_marks)
      SELECT \(event)::bigint, \(document.generation)::int, \(document.head)::bigint, \(document.tail)::bigint,
        \(document.soldOutUpTo)::bigint, \(document.closedUpTo)::bigint, count(*) FILTER (WHERE NOT purchased),
        count(*) FILTER (WHERE purchased), \(document.message)::text, \(lines)::text
      FROM ticket WHERE event_id = \(event) AND (withheld IS NULL OR purchased)
      ON CONFLICT DO NOTHING
      """,
      // The records say it all; of lives that were lost nothing else is left.
      "DELETE FROM request_end WHERE event_id = \(event) AND generation = \(document.generation)",
      "DELETE FROM line_end WHERE event_id = \(event) AND generation = \(document.generation)",
    ])
  }
}
