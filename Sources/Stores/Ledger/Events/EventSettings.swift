package import Postgres
import Sale

extension EventSettings {
  /// The columns that `init(_:)` reads, of the table `event` or its alias `e`. A sale that was stopped by itself is paused
  /// for its queue, and for everybody who asks, whatever its operator said before.
  package static let columns = """
    e.id, e.generation, CASE WHEN e.state = 'open' AND e.halt IS NOT NULL THEN 'paused' ELSE e.state END AS state,
    e.queue_limit, e.per_user_limit, e.hold_seconds, e.rate, e.message, e.version, e.stood_ms,
    (extract(epoch FROM now() - e.stands_since) * 1000)::bigint AS standing_ms, e.payments_stopped,
    e.cancelled_at IS NOT NULL AS is_cancelled, \(isUnannouncedColumn)
    """

  /// As `is_unannounced`, of the table `event` or its alias `e`.
  package static let isUnannouncedColumn =
    "e.generation = 0 AND e.state IN ('draft', 'closed') AND e.onsale_at IS NULL AS is_unannounced"

  package init(_ row: PostgresRow) throws {
    self.init(
      id: try row.int("id"), generation: try row.int("generation"), state: try row.string("state"),
      queueLimit: try row.int("queue_limit"), perUserLimit: try row.int("per_user_limit"),
      holdSeconds: try row.int("hold_seconds"), rate: row["rate"].int, message: try row.string("message"),
      version: try row.int("version"), isUnannounced: try row.bool("is_unannounced"))
    stoodMilliseconds = try row.int("stood_ms")
    standingMilliseconds = row["standing_ms"].int.map { max(0, $0) }
    isStopped = try row.bool("payments_stopped")
    isCancelled = try row.bool("is_cancelled")
  }
}
