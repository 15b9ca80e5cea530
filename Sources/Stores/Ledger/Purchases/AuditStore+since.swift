import EventLoop
import Postgres
import StoreCommon

/// The last audit without findings, since which another one looks.
///
/// "Since" is said in numbers of transactions, by which PostgreSQL marks every row that it writes, and not in times: no clock
/// has a part in it. Every transaction below `xmin` had ended when that run began to read, so that it saw what they wrote.
/// Whatever is of a later number, be it of a transaction that had begun long before and committed long after, is looked
/// at. Rows that are gone leave no number, and are missed in the count of their event.
package struct AuditBaseline: Sendable, Equatable {
  /// When it began, in unix seconds.
  package let began: Int
  /// When the newest payment was made that it saw, by the provider's clock.
  package let newestPayment: Int
  let xmin: Int

  /// Whether a row was written since. Numbers in rows have 32 bits: what is less than half of all of them ahead is newer.
  /// A row that is so old that its number comes round again is looked at once more.
  var isNewer: SQL {
    "((xmin::text::bigint - \(xmin % 4_294_967_296)::bigint) & 4294967295) < 2147483648"
  }
}

/// What an audit writes down, so that the next one need not look at everything again.
extension AuditStore {
  /// Where PostgreSQL stood when a run began.
  package struct Mark: Sendable, Equatable {
    /// Which database it is; another one after a standby was promoted, or a dump was restored.
    package let database: String
    package let xmin: Int
  }

  /// What one run did.
  package struct Run: Sendable {
    package let began: Int
    package let isWhole: Bool
    package let isClean: Bool
    package let events: Int
    package let purchases: Int
    package let payments: Int
    package let newestPayment: Int

    package init(
      began: Int, isWhole: Bool, isClean: Bool, events: Int, purchases: Int, payments: Int,
      newestPayment: Int
    ) {
      self.began = began
      self.isWhole = isWhole
      self.isClean = isClean
      self.events = events
      self.purchases = purchases
      self.payments = payments
      self.newestPayment = newestPayment
    }
  }

  /// Rows of one event.
  package struct RowCounts: Sendable, Equatable {
    package var purchases = 0
    package var tickets = 0
    package var claims = 0
    package var all: Int { purchases + tickets + claims }
  }

  /// Runs that are kept.
  private static let keptRuns = 1_000
  /// So many transactions may have been since: well below half of the numbers that rows can tell apart.
  private static let farthest = 1_000_000_000

  /// - Returns: `nil` where nothing can be written down, as on a standby.
  package func mark() async throws -> Mark? {
    let rows = try await postgres.query(
      """
      SELECT pg_is_in_recovery() AS copy, (SELECT system_identifier FROM pg_control_system())::text AS system,
        CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline,
        (SELECT oid FROM pg_database WHERE datname = current_database())::text AS database,
        coalesce(pg_relation_filenode('purchase'), 0)::text AS purchases,
        pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin
      """)
    guard let row = rows.first else { throw StoreError(.unexpectedAnswer, "mark") }
    if try row.bool("copy") { return nil }
    return Mark(
      database: try ["system", "timeline", "database", "purchases"].map { try row.string($0) }
        .joined(separator: "/"),
      xmin: try row.int("xmin"))
  }

  /// The last run without findings; or, in words, why everything must be looked at again.
  package func baseline(_ mark: Mark) async throws -> (AuditBaseline?, reason: String) {
    let rows = try await postgres.query(
      """
      SELECT extract(epoch FROM began_at)::bigint AS began, newest_payment, database, oldest_xid,
        EXISTS (SELECT FROM audit_run w WHERE w.id > r.id AND w.is_whole AND NOT w.is_clean) AS found_since
      FROM audit_run r WHERE is_clean ORDER BY id DESC LIMIT 1
      """)
    guard let row = rows.first else { return (nil, "no run was clean before") }
    // It may have found what only a whole one can see.
    if try row.bool("found_since") { return (nil, "the last whole run had findings") }
    let xmin = try row.int("oldest_xid")
    guard try row.string("database") == mark.database else {
      return (nil, "PostgreSQL is another than it was in the last clean run")
    }
    guard (0...Self.farthest).contains(mark.xmin - xmin) else {
      return (nil, "the last clean run is too many transactions ago")
    }
    return (
      AuditBaseline(
        began: try row.int("began"), newestPayment: try row.int("newest_payment"), xmin: xmin), ""
    )
  }

  /// Counts the rows of each event, and finds the events of which any is newer than the baseline, or is gone. Whoever can
  /// still be sold to is among them.
  ///
  /// PostgreSQL walks its tables for that, without an index that sales would have to keep, and answers with a row an event.
  package func changes(since baseline: AuditBaseline?) async throws -> (
    counts: [Int: RowCounts], changed: Set<Int>
  ) {
    var counts: [Int: RowCounts] = [:]
    var changed: Set<Int> = []
    let isNewer: SQL = baseline?.isNewer ?? "true"
    let tables: [(SQL, WritableKeyPath<RowCounts, Int>)] = [
      ("purchase", \.purchases), ("ticket", \.tickets), ("claim", \.claims),
    ]
    for (table, path) in tables {
      let rows = try await postgres.query(
        "SELECT event_id, count(*) AS rows, bool_or(\(isNewer)) AS changed FROM \(table) GROUP BY event_id")
      for row in rows {
        let event = try row.int("event_id")
        counts[event, default: RowCounts()][keyPath: path] = try row.int("rows")
        if try row.bool("changed") { changed.insert(event) }
      }
    }
    guard baseline != nil else { return (counts, changed) }
    for row in try await postgres.query(
      """
      SELECT id AS event_id FROM event WHERE state IN ('open', 'paused') OR \(isNewer)
      UNION SELECT event_id FROM refund WHERE available_at IS NOT NULL OR \(isNewer)
      UNION SELECT event_id FROM dispute WHERE \(isNewer)
      UNION SELECT event_id FROM outbox
      UNION SELECT event_id FROM buyer WHERE \(isNewer)
      UNION SELECT event_id FROM queue_outcome WHERE \(isNewer)
      UNION SELECT event_id FROM request_archive WHERE \(isNewer)
      """)
    { changed.insert(try row.int("event_id")) }
    var before: [Int: RowCounts] = [:]
    for row in try await postgres.query("SELECT event_id, purchases, tickets, claims FROM audited_event") {
      before[try row.int("event_id")] = RowCounts(
        purchases: try row.int("purchases"), tickets: try row.int("tickets"), claims: try row.int("claims"))
    }
    for event in Set(before.keys).union(counts.keys) where before[event] != counts[event] {
      changed.insert(event)
    }
    return (counts, changed)
  }

  /// The payments of those refunds that are not known here as they are.
  package func otherwise(_ refunds: [BookStore.Seen]) async throws -> Set<String> {
    try await BookStore(postgres).otherwise(refunds)
  }

  /// The payments of those disputes that are not known here as they stand.
  package func otherwise(_ disputes: [BookStore.SeenDispute]) async throws -> Set<String> {
    try await BookStore(postgres).otherwise(disputes)
  }

  /// Notes a run.
  /// - Parameters:
  ///   - counts: the rows of each event at its beginning.
  ///   - scope: the events it looked at; `nil` for all.
  package func note(_ run: Run, _ mark: Mark, counts: [Int: RowCounts], scope: Set<Int>?) async throws {
    let events = counts.keys.filter { scope?.contains($0) != false }.sorted()
    let rows = events.compactMap { counts[$0] }
    var statements: [SQL] = [
      """
      INSERT INTO audit_run (began_at, is_whole, is_clean, events, purchases, payments, newest_payment, database, oldest_xid)
      VALUES (to_timestamp(\(run.began)), \(run.isWhole), \(run.isClean), \(run.events), \(run.purchases),
        \(run.payments), \(run.newestPayment), \(mark.database), \(mark.xmin))
      """,
      "DELETE FROM audit_run WHERE id <= (SELECT max(id) - \(Self.keptRuns) FROM audit_run WHERE is_clean)",
    ]
    if run.isClean {
      statements += [
        "DELETE FROM audited_event WHERE \(scope == nil) OR event_id = ANY (\((scope ?? []).sorted())::bigint[])",
        """
        INSERT INTO audited_event (event_id, purchases, tickets, claims)
        SELECT * FROM unnest(\(events)::bigint[], \(rows.map(\.purchases))::bigint[], \(rows.map(\.tickets))::bigint[],
          \(rows.map(\.claims))::bigint[])
        ON CONFLICT (event_id) DO UPDATE
          SET purchases = excluded.purchases, tickets = excluded.tickets, claims = excluded.claims
        """,
      ]
    }
    _ = try await postgres.transaction(statements)
  }
}
