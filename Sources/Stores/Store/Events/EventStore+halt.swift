import EventLoop
import Postgres

/// Sales that are stopped by themselves, and what PostgreSQL learns from Redis after it came back older.
extension EventStore {
  /// Who is noted where no person did it.
  private nonisolated static let watchman = "worker"

  /// Stops the sale of an event. One that is stopped, or that an operator let go on despite the same, is left alone.
  /// - Parameters:
  ///   - version: the settings' version that the queue has; PostgreSQL may have lost it, and the queue takes no older.
  ///   - generation: that of the queue, which is never used again.
  /// - Returns: the settings to publish; `nil` if nothing was changed.
  package func halt(
    event: Int, _ halt: SaleHalt, version: Int, generation: Int
  ) async throws -> EventSettings? {
    let detail = "\(halt.reason.rawValue), \(halt.tickets.count) tickets held back"
    let rows = try await postgres.query(
      """
      WITH halted AS (
        UPDATE event SET halt = \(halt.reason.rawValue), halt_tickets = \(halt.tickets)::int[],
          version = greatest(version, \(version)) + 1, generation = greatest(generation, \(generation))
        WHERE id = \(event) AND state IN ('open', 'paused') AND halt IS NULL
          AND (cardinality(\(halt.tickets)::int[]) = 0 OR NOT \(halt.tickets)::int[] <@ halt_tickets)
        RETURNING *
      ), noted AS (
        INSERT INTO audit_log (who, event_id, action, detail)
        SELECT \(Self.watchman), id, 'halt', \(detail) FROM halted
      )
      SELECT \(unsafeSQL: EventSettings.columns) FROM halted e
      """)
    return try rows.first.map { try EventSettings($0) }
  }

  /// Lets a sale go on whose lost purchases are all there again.
  /// - Returns: the settings to publish; `nil` if it was not stopped for that.
  package func liftHalt(event: Int) async throws -> EventSettings? {
    let rows = try await postgres.query(
      """
      WITH lifted AS (
        UPDATE event SET halt = NULL, halt_tickets = '{}', version = version + 1
        WHERE id = \(event) AND halt = \(SaleHalt.Reason.purchasesLost.rawValue) RETURNING *
      ), noted AS (
        INSERT INTO audit_log (who, event_id, action, detail)
        SELECT \(Self.watchman), id, 'halt ended', 'its purchases are there again' FROM lifted
      )
      SELECT \(unsafeSQL: EventSettings.columns) FROM lifted e
      """)
    return try rows.first.map { try EventSettings($0) }
  }

  /// The first step of opening or resuming a sale.
  /// - Throws: `StoreError.conflict` for one that was stopped by itself, unless it is to go on despite that.
  static func endHalt(
    _ event: Int, despite: Bool, by who: String, _ transaction: PostgresTransaction
  ) async throws {
    let rows = try await transaction.query("SELECT halt, halt_tickets FROM event WHERE id = \(event)")
    guard let halt = rows.first.flatMap(SaleHalt.init) else { return }
    guard despite else {
      throw StoreError(
        .conflict,
        "The sale was stopped: \(halt.reason.rawValue). \(halt.reason.text) To sell on before that: --despite, or "
          + "{\"despite\": true}.")
    }
    // The tickets stay noted, so that it is not stopped again for these; and held back, as long as they are missing.
    _ = try await transaction.query("UPDATE event SET halt = NULL, version = version + 1 WHERE id = \(event)")
    try await note(
      who, "resume despite", event: event,
      detail: "\(halt.reason.rawValue), \(halt.tickets.count) tickets held back", transaction)
  }

  /// Writes an event's settings as its queue has them, where PostgreSQL came back with an older version of them: a sale
  /// that everybody was told is closed does not open again.
  /// - Returns: whether they were older.
  package func catchUp(event: Int, with facts: QueueStore.QueueFacts, version: Int) async throws -> Bool {
    let document = facts.document
    guard let state = EventState(rawValue: document.state), state != .draft else { return false }
    let rows = try await postgres.query(
      """
      WITH caught_up AS (
        UPDATE event SET version = greatest(version, \(version)), generation = greatest(generation, \(document.generation)),
          state = CASE WHEN version < \(version) THEN \(state.rawValue) ELSE state END,
          queue_limit = CASE WHEN version < \(version) THEN \(facts.queueLimit) ELSE queue_limit END,
          per_user_limit = CASE WHEN version < \(version) THEN \(facts.perUserLimit) ELSE per_user_limit END,
          hold_seconds = CASE WHEN version < \(version) THEN \(facts.holdMilliseconds / 1_000) ELSE hold_seconds END,
          rate = CASE WHEN version < \(version) THEN \(facts.rate) ELSE rate END,
          message = CASE WHEN version < \(version) THEN \(document.message) ELSE message END,
          payments_stopped = CASE WHEN version < \(version) THEN \(document.isStopped) ELSE payments_stopped END
        WHERE id = \(event) AND (version < \(version) OR generation < \(document.generation))
        RETURNING id
      ), noted AS (
        INSERT INTO audit_log (who, event_id, action, detail)
        SELECT \(Self.watchman), id, 'settings restored', 'as Redis has them, version ' || \(version)::bigint FROM caught_up
      )
      SELECT id FROM caught_up
      """)
    return !rows.isEmpty
  }

  /// Events that are on sale, and when each was made, in seconds since 1970.
  package func onSale() async throws -> [Int: Int] {
    let rows = try await postgres.query(
      """
      SELECT id, extract(epoch FROM created_at)::bigint AS created FROM event WHERE state IN ('open', 'paused')
      """)
    var events: [Int: Int] = [:]
    for row in rows { events[try row.int("id")] = try row.int("created") }
    return events
  }
}
