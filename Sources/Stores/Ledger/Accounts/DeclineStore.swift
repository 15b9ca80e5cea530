package import EventLoop
package import Postgres

/// Cards that the provider has refused lately: written by workers, read by servers, which limit how many may be tried.
@LoopActor
package final class DeclineStore {
  private let postgres: PostgresClient

  package init(_ postgres: PostgresClient) { self.postgres = postgres }

  package struct Decline: Sendable, Equatable {
    package let event: Int
    /// The text of a `UserKey`.
    package let user: String
    /// Where its buyer came from, as `ClientNames` says it; empty where that is not known.
    package let client: String

    package init(event: Int, user: String, client: String) {
      self.event = event
      self.user = user
      self.client = client
    }
  }

  package struct Known: Sendable {
    /// Grows with every decline, nearly: one that is written at the same time as another may come in behind it.
    package let number: Int
    package let decline: Decline
    /// Milliseconds since it was written.
    package let age: Int
  }

  package func add(_ declines: [Decline]) async throws {
    _ = try await postgres.query(
      """
      INSERT INTO decline (event_id, user_key, client)
      SELECT * FROM unnest(\(declines.map(\.event))::bigint[], \(declines.map(\.user))::text[],
        \(declines.map(\.client))::text[])
      """)
  }

  /// - Returns: those behind `number`, in order, at most `limit`.
  package func declines(after number: Int, limit: Int) async throws -> [Known] {
    let rows = try await postgres.query(
      """
      SELECT id, event_id, user_key, client, (extract(epoch FROM now() - at) * 1000)::bigint AS age FROM decline
      WHERE id > \(number) ORDER BY id LIMIT \(limit)
      """)
    return try rows.map { row in
      Known(
        number: try row.int("id"),
        decline: Decline(
          event: try row.int("event_id"), user: try row.string("user_key"), client: try row.string("client")),
        age: max(0, try row.int("age")))
    }
  }

  /// Forgets old ones, at most `limit`. - Returns: how many.
  package func forget(olderThanSeconds seconds: Int, limit: Int) async throws -> Int {
    try await postgres.query(
      """
      DELETE FROM decline WHERE id IN (SELECT id FROM decline WHERE at < now() - \(seconds) * interval '1 s'
        ORDER BY at LIMIT \(limit) FOR UPDATE SKIP LOCKED) RETURNING id
      """
    ).count
  }
}
