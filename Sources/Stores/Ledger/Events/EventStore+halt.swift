import EventLoop
import Postgres
package import Sale
import StoreCommon

/// Sales that are stopped by themselves, and what PostgreSQL learns from Redis after it came back older.
extension EventStore {
  /// Who is noted where no person did it.
  package nonisolated static let watchman = "worker"

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
