package import EventLoop
package import Postgres

/// Sessions that were ended before their time.
@LoopActor
package final class SessionStore {
  private let postgres: PostgresClient

  package init(_ postgres: PostgresClient) { self.postgres = postgres }

  /// The end of a session, or of all of a user's that began by a time.
  package struct End: Sendable, Equatable {
    /// Grows with every end, nearly: one that is written at the same time as another may come in behind it.
    package let number: Int
    package let user: String
    /// `nil` for all of them.
    package let session: Int64?
    /// Milliseconds since 1970.
    package let at: Int
  }

  package func end(session: Int64, of user: String) async throws {
    _ = try await postgres.query(
      "INSERT INTO session_end (user_id, session) VALUES (\(user), \(Int(session)))")
  }

  /// Ends all of a user's that began by `time`, in milliseconds since 1970.
  package func endAll(of user: String, upTo time: Int) async throws {
    _ = try await postgres.query(
      "INSERT INTO session_end (user_id, ended_at) VALUES (\(user), to_timestamp(\(time) / 1000.0))")
  }

  /// - Returns: those behind `number`, in order, at most `limit`.
  package func ends(after number: Int, limit: Int) async throws -> [End] {
    let rows = try await postgres.query(
      """
      SELECT id, user_id, session, round(extract(epoch FROM ended_at) * 1000)::bigint AS at FROM session_end
      WHERE id > \(number) ORDER BY id LIMIT \(limit)
      """)
    return try rows.map { row in
      End(
        number: try row.int("id"), user: try row.string("user_id"),
        session: row["session"].int.map(Int64.init),
        at: try row.int("at"))
    }
  }

  /// Forgets ends of sessions that are over by now anyway, at most `limit`.
  package func forget(olderThanSeconds seconds: Int, limit: Int) async throws {
    _ = try await postgres.query(
      """
      DELETE FROM session_end WHERE id IN (SELECT id FROM session_end
        WHERE ended_at < now() - \(seconds) * interval '1 s' ORDER BY id LIMIT \(limit))
      """)
  }
}
