import Postgres

/// What the queue needs to know of an event; the row in PostgreSQL is the original.
package struct EventSettings: Sendable, Equatable {
  package var id: Int
  package var generation: Int
  package var state: String
  package var queueLimit: Int
  package var perUserLimit: Int
  package var holdSeconds: Int
  /// Grants per second; `nil` means as fast as possible.
  package var rate: Int?
  package var message: String
  /// Grows with every change; Redis keeps the settings of the highest one.
  package var version: Int
  /// A draft without a time for its sale, be it closed before it was opened: nobody but organizers knows of it.
  package var isUnannounced: Bool
  /// For how many milliseconds the sale has stood still before, and stands still now; `nil` if it does not. By PostgreSQL's
  /// clock, for a queue that Redis has lost.
  package var stoodMilliseconds = 0
  package var standingMilliseconds: Int?
  /// Whether no payment starts while it is paused.
  package var isStopped = false
  /// Whether its event does not take place.
  package var isCancelled = false

  /// As organizers see it.
  package var shownState: String {
    EventState.shown(state, isStopped: isStopped, isCancelled: isCancelled)
  }

  package init(
    id: Int, generation: Int, state: String, queueLimit: Int, perUserLimit: Int, holdSeconds: Int, rate: Int?,
    message: String, version: Int = 0, isUnannounced: Bool = false
  ) {
    self.id = id
    self.generation = generation
    self.state = state
    self.queueLimit = queueLimit
    self.perUserLimit = perUserLimit
    self.holdSeconds = holdSeconds
    self.rate = rate
    self.message = message
    self.version = version
    self.isUnannounced = isUnannounced
  }
}

extension EventSettings {
  /// The columns that `init(_:)` reads, of the table `event` or its alias `e`. A sale that was stopped by itself is paused
  /// for its queue, and for everybody who asks, whatever its operator said before.
  static let columns = """
    e.id, e.generation, CASE WHEN e.state = 'open' AND e.halt IS NOT NULL THEN 'paused' ELSE e.state END AS state,
    e.queue_limit, e.per_user_limit, e.hold_seconds, e.rate, e.message, e.version, e.stood_ms,
    (extract(epoch FROM now() - e.stands_since) * 1000)::bigint AS standing_ms, e.payments_stopped,
    e.cancelled_at IS NOT NULL AS is_cancelled, \(isUnannouncedColumn)
    """

  /// As `is_unannounced`, of the table `event` or its alias `e`.
  static let isUnannouncedColumn =
    "e.generation = 0 AND e.state IN ('draft', 'closed') AND e.onsale_at IS NULL AS is_unannounced"

  init(_ row: PostgresRow) throws {
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
