import EventLoop
import Postgres
import StoreCommon

/// How many tickets events have, and how many of them are sold, for events without a line in Redis: crowds ask for them
/// before a sale and after it.
///
/// Counting reads every ticket, so it is done once for each version of an event, which grows when tickets are added. Of a
/// draft nothing is sold; of others something may still be, so that they are counted again after a while.
@LoopActor
final class TicketCounts {
  private static let eventLimit = 10_000
  private static let freshMilliseconds: UInt64 = 10_000

  struct Counts: Sendable {
    let total: Int
    let sold: Int
  }

  private struct Entry {
    let version: Int
    let isDraft: Bool
    let counts: Counts
    let readAt: UInt64
  }

  private let postgres: PostgresClient
  private var known = RecentValues<Int, Entry>(capacity: TicketCounts.eventLimit)

  init(_ postgres: PostgresClient) { self.postgres = postgres }

  /// - Parameter version: of the event, read before.
  func read(event: Int, version: Int, isDraft: Bool) async throws -> Counts {
    if let entry = known.value(of: event), entry.version == version, entry.isDraft == isDraft,
      isDraft || EventLoop.shared.now < entry.readAt + Self.freshMilliseconds
    {
      return entry.counts
    }
    let rows = try await postgres.query(
      """
      SELECT count(*) AS total, count(*) FILTER (WHERE purchased) AS sold
      FROM ticket WHERE event_id = \(event) AND (withheld IS NULL OR purchased)
      """)
    guard let row = rows.first else { throw StoreError(.unexpectedAnswer, "ticket counts") }
    let counts = Counts(total: try row.int("total"), sold: try row.int("sold"))
    known.set(
      Entry(version: version, isDraft: isDraft, counts: counts, readAt: EventLoop.shared.now), for: event)
    return counts
  }
}
