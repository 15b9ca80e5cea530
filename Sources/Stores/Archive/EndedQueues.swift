import EventLoop
import Postgres
import Queue
import Sale

/// Lines that have left Redis, as PostgreSQL has them, in memory: how each ended, and which of its places have something of
/// their own. Whoever has nothing of their own ended with everyone else, and is told so without a query.
///
/// Once its outcome is written nothing of a line changes any more, so that is kept for good. What a place of its own came to
/// is read again after a while: a payment may end late, and the audit may put something right.
@LoopActor
final class EndedQueues {
  private static let lineLimit = 2_000
  /// Texts of a hundred records each, some 20 MB.
  private static let bucketLimit = 2_500
  private static let placeLimit = 50_000
  /// Numbers of buckets that one statement reads.
  private static let pageSize = 5_000
  /// How long what is known of a place or of a bucket is told, in milliseconds.
  private static let freshMilliseconds: UInt64 = 10_000

  private struct Life: Hashable {
    let event: Int
    let generation: Int
  }

  private struct Line: Sendable {
    let document: QueueDocument
    let marks: [Int: LineMark]
    /// Bit n is set where something is written of one of the positions from n·100 to n·100 + 99: ten million places are
    /// 12.5 KB.
    let written: [UInt8]

    func mark(of wish: WishPlace?) -> LineMark? { wish.flatMap { marks[$0.line] } }
  }

  private struct Bucket: Hashable {
    let life: Life
    let number: Int
  }

  private struct Place: Hashable {
    let key: PurchaseKey
    let owner: String
  }

  private struct Kept<Value> {
    let value: Value
    let at: UInt64

    @LoopActor var isFresh: Bool { EventLoop.shared.now < at + EndedQueues.freshMilliseconds }
  }

  private let postgres: PostgresClient
  private let archive: ArchiveStore
  private var lines = RecentValues<Life, Line>(capacity: EndedQueues.lineLimit)
  private var buckets = RecentValues<Bucket, Kept<ArchiveStore.Records>>(capacity: EndedQueues.bucketLimit)
  private var places = RecentValues<Place, Kept<RequestStatus>>(capacity: EndedQueues.placeLimit)
  private var reading: [Life: Task<Line?, any Error>] = [:]

  init(_ postgres: PostgresClient, archive: ArchiveStore) {
    self.postgres = postgres
    self.archive = archive
  }

  /// What memory says; `nil` if it says nothing.
  func known(_ key: PurchaseKey, owner: String, wish: WishPlace?) -> RequestStatus? {
    guard let line = lines.value(of: Life(event: key.event, generation: key.generation)) else { return nil }
    if let status = Self.alike(key, wish, line) { return status }
    guard let kept = places.value(of: Place(key: key, owner: owner)), kept.isFresh else { return nil }
    return kept.value
  }

  /// Where a place stands of which nothing is written: `nil` if something may be.
  private static func alike(_ key: PurchaseKey, _ wish: WishPlace?, _ line: Line) -> RequestStatus? {
    if Bitmap.contains(line.written, key.position / QueueStore.recordsPerBucket) { return nil }
    return RequestStatus(
      position: key.position, wish: wish, document: line.document, mark: line.mark(of: wish))
  }

  enum Answer {
    case status(RequestStatus)
    /// It is in the queue's archive, where this may be its record, and this is where its line stood.
    case record(RequestRecord?, QueueDocument, LineMark?)
    /// The line has not left Redis, or was lost with it.
    case unknown
  }

  func find(_ key: PurchaseKey, wish: WishPlace?) async throws -> Answer {
    let life = Life(event: key.event, generation: key.generation)
    guard let line = try await line(life) else { return .unknown }
    if let status = Self.alike(key, wish, line) { return .status(status) }
    let bucket = Bucket(life: life, number: key.position / QueueStore.recordsPerBucket)
    if let kept = buckets.value(of: bucket), kept.isFresh {
      return .record(kept.value.record(key.position), line.document, line.mark(of: wish))
    }
    let records = try await archive.records(
      event: key.event, generation: key.generation, bucket: bucket.number)
    buckets.set(Kept(value: records, at: EventLoop.shared.now), for: bucket)
    return .record(records.record(key.position), line.document, line.mark(of: wish))
  }

  /// What a place came to that has something of its own.
  func keep(_ status: RequestStatus, _ key: PurchaseKey, owner: String) {
    places.set(Kept(value: status, at: EventLoop.shared.now), for: Place(key: key, owner: owner))
  }

  private func line(_ life: Life) async throws -> Line? {
    if let line = lines.value(of: life) { return line }
    if let task = reading[life] { return try await task.value }
    // Owned by this object: one a line, and the statements' own deadlines end it.
    let task = Task<Line?, any Error> { @LoopActor in
      defer { reading[life] = nil }
      guard let (document, marks) = try await archive.outcome(event: life.event, generation: life.generation)
      else { return nil }
      let line = Line(document: document, marks: marks, written: try await written(life))
      lines.set(line, for: life)
      return line
    }
    reading[life] = task
    return try await task.value
  }

  /// Which buckets of positions have a record, or a purchase: one without the other is a fault, and the buyer is told of it
  /// all the same.
  private func written(_ life: Life) async throws -> [UInt8] {
    var bitmap: [UInt8] = []
    var last = -1
    while true {
      let rows = try await postgres.query(
        """
        (SELECT bucket FROM request_archive
         WHERE event_id = \(life.event) AND generation = \(life.generation) AND bucket > \(last)
         ORDER BY bucket LIMIT \(Self.pageSize))
        UNION
        (SELECT DISTINCT (position / \(QueueStore.recordsPerBucket))::int AS bucket FROM purchase
         WHERE event_id = \(life.event) AND generation = \(life.generation)
           AND position >= \((last + 1) * QueueStore.recordsPerBucket)
         ORDER BY 1 LIMIT \(Self.pageSize))
        ORDER BY bucket LIMIT \(Self.pageSize)
        """)
      for row in rows {
        last = try row.int("bucket")
        let byte = last >> 3
        if byte >= bitmap.count { bitmap += [UInt8](repeating: 0, count: byte - bitmap.count + 1) }
        bitmap[byte] |= 0x80 >> UInt8(last & 7)
      }
      if rows.count < Self.pageSize { return bitmap }
    }
  }
}
