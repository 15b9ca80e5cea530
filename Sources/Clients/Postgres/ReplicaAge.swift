package import EventLoop

/// How far a server is behind its primary, where it is a replica: 0 for a primary, and for a replica that is
/// connected to one and has applied all it received.
@LoopActor
package final class ReplicaAge {
  /// For how long an answer is kept, in milliseconds: it grows by itself meanwhile.
  private static let freshMilliseconds = 500

  private let client: PostgresClient
  private var askedAt: Int?
  /// When, on the loop's clock in milliseconds, the server is known to have been like its primary.
  private var currentAt: Int?

  package init(_ client: PostgresClient) { self.client = client }

  /// Never too little; too much where the primary had been idle before this process first asked.
  package func milliseconds() async throws -> Int {
    let now = Int(EventLoop.shared.now)
    if let askedAt, let currentAt, now - askedAt < Self.freshMilliseconds {
      return currentAt == askedAt ? 0 : now - currentAt
    }
    let rows = try await client.query(
      """
      SELECT CASE
        WHEN NOT pg_is_in_recovery() THEN 0
        WHEN EXISTS (SELECT FROM pg_stat_wal_receiver)
          AND pg_last_wal_receive_lsn() IS NOT DISTINCT FROM pg_last_wal_replay_lsn() THEN 0
        ELSE greatest(1, extract(epoch FROM clock_timestamp()
          - coalesce(pg_last_xact_replay_timestamp(), pg_postmaster_start_time())) * 1000)::bigint
      END AS age
      """)
    let age = rows.first?["age"].int ?? 0
    askedAt = now
    // What it says of itself is an upper bound: nothing may have been written since.
    let current = max(currentAt ?? .min, now - age)
    currentAt = current
    return now - current
  }
}
