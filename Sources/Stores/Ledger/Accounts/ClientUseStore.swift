package import EventLoop
package import Postgres
package import Sale

/// What clients do with accounts, hour by hour, for operators: of each server those who do most.
@LoopActor
package final class ClientUseStore {
  /// For so long it is kept.
  package nonisolated static let keptHours = 48

  private let postgres: PostgresClient

  package init(_ postgres: PostgresClient) { self.postgres = postgres }

  /// Writes what a process has counted in an hour by now, in place of what it wrote before.
  /// - Parameters:
  ///   - hour: since 1970.
  ///   - process: unique among all servers that ever run.
  package func write(hour: Int, process: String, _ uses: [(client: String, counts: ClientUse.Counts)])
    async throws
  {
    let clients = uses.map { $0.client }, counts = uses.map { $0.counts }
    _ = try await postgres.transaction([
      "DELETE FROM client_use WHERE hour = \(hour) AND process = \(process)",
      """
      INSERT INTO client_use (hour, process, client, sign_ups, sign_ins, refusals)
      SELECT \(hour)::bigint, \(process)::text, * FROM unnest(\(clients)::text[], \(counts.map(\.signUps))::int[],
        \(counts.map(\.signIns))::int[], \(counts.map(\.refusals))::int[])
      """,
      "DELETE FROM client_use WHERE hour < \(hour - Self.keptHours)",
    ])
  }

  package struct Use: Sendable {
    package let client: String
    package let counts: ClientUse.Counts
    /// Cards that were refused within the last hour or so.
    package let declines: Int
  }

  /// Those with the most since an hour, accounts first.
  package func busiest(since hour: Int, limit: Int) async throws -> [Use] {
    let rows = try await postgres.query(
      """
      WITH used AS (
        SELECT client, sum(sign_ups) AS sign_ups, sum(sign_ins) AS sign_ins, sum(refusals) AS refusals
        FROM client_use WHERE hour >= \(hour) GROUP BY client
      ), refused AS (SELECT client, count(*) AS declines FROM decline WHERE client <> '' GROUP BY client)
      SELECT client, coalesce(sign_ups, 0) AS sign_ups, coalesce(sign_ins, 0) AS sign_ins,
        coalesce(refusals, 0) AS refusals, coalesce(declines, 0) AS declines
      FROM used FULL JOIN refused USING (client)
      ORDER BY 2 DESC, 5 DESC, coalesce(sign_ins, 0) + coalesce(refusals, 0) DESC, client LIMIT \(limit)
      """)
    return try rows.map { row in
      Use(
        client: try row.string("client"),
        counts: ClientUse.Counts(
          signUps: try row.int("sign_ups"), signIns: try row.int("sign_ins"),
          refusals: try row.int("refusals")),
        declines: try row.int("declines"))
    }
  }
}
