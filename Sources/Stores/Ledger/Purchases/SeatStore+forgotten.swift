import EventLoop
import Postgres
import StoreCommon

/// What PostgreSQL still knows of sales that somebody else knows of. Rows of purchases are never deleted, so one that is
/// missing was lost.
extension SeatStore {
  /// A purchase, by its place in the event's queue and its attempt to pay.
  package struct Attempt: Hashable, Sendable {
    package let generation: Int
    package let position: Int
    package let attempt: Int

    package init(generation: Int, position: Int, attempt: Int) {
      self.generation = generation
      self.position = position
      self.attempt = attempt
    }
  }

  /// Those of the attempts of which there is a row, whatever its state: of this attempt or a later one.
  package func known(event: Int, _ attempts: [Attempt]) async throws -> Set<Attempt> {
    if attempts.isEmpty { return [] }
    let rows = try await postgres.query(
      """
      SELECT i.n, pg_is_in_recovery() AS copy
      FROM unnest(\(attempts.map(\.generation))::int[], \(attempts.map(\.position))::bigint[],
        \(attempts.map(\.attempt))::int[]) WITH ORDINALITY AS i (generation, position, try, n)
      JOIN purchase p ON p.event_id = \(event) AND p.generation = i.generation AND p.position = i.position
        AND p.try >= i.try
      UNION ALL SELECT 0, pg_is_in_recovery()
      """)
    var known: Set<Attempt> = []
    for row in rows {
      try Self.refuseCopy(row)
      let number = try row.int("n")
      if number > 0 { known.insert(attempts[number - 1]) }
    }
    return known
  }

  /// Those of the tickets that are neither sold nor claimed; and of these those that by PostgreSQL's account nobody ever
  /// had.
  package func unsold(event: Int, _ tickets: [Int]) async throws -> (free: Set<Int>, neverSold: Set<Int>) {
    // Not joined, as everywhere: each statement is one look at an index, whatever the planner believes.
    let rows = try await postgres.query(
      """
      SELECT id, pg_is_in_recovery() AS copy FROM ticket
      WHERE event_id = \(event) AND id = ANY (\(tickets)::int[]) AND NOT purchased
      """)
    var free: Set<Int> = []
    for row in rows {
      try Self.refuseCopy(row)
      free.insert(try row.int("id"))
    }
    let claims = try await postgres.query(
      "SELECT ticket_id FROM claim WHERE event_id = \(event) AND ticket_id = ANY (\(tickets)::int[])")
    for row in claims { free.remove(try row.int("ticket_id")) }
    // What is sold is claimed; the others are attempts to pay that came to nothing. What is left was given back.
    let givenBack = try await postgres.query(
      """
      SELECT DISTINCT k.id FROM purchase p CROSS JOIN LATERAL unnest(p.tickets) AS k (id)
      WHERE p.event_id = \(event) AND (p.state NOT IN ('paying', 'sold', 'declined', 'void')
        OR p.lapsed_at IS NOT NULL
        -- What the version before took back.
        OR p.state IN ('declined', 'void') AND p.reason = \(PurchaseStore.authorisationLapsed))
      UNION SELECT k.id FROM refund r CROSS JOIN LATERAL unnest(r.tickets) AS k (id)
      WHERE r.event_id = \(event) AND r.state = 'succeeded'
      """)
    var neverSold = free
    for row in givenBack { neverSold.remove(try row.int("id")) }
    return (free, neverSold)
  }

  /// A replica may only lag behind: what it does not know says nothing.
  private static func refuseCopy(_ row: PostgresRow) throws {
    if try row.bool("copy") { throw StoreError(.unexpectedAnswer, "PostgreSQL is a replica") }
  }

  /// Which server PostgreSQL is, and which of its histories it lives in. Another one after a failover, a restored backup
  /// or a restored dump; a rewritten table looks like one, too, which does no harm.
  package struct DatabaseState: Sendable, Equatable {
    package let identity: String
    /// How far its log has come, in bytes: it only grows, unless the server's disk is an older copy of itself.
    package let position: Int
    /// When the server was started, in seconds since 1970 by its clock; nothing but another start changes it.
    package let started: String
  }

  /// - Throws: for a replica, too.
  package func databaseState() async throws -> DatabaseState {
    let rows = try await postgres.query(
      """
      SELECT pg_is_in_recovery() AS copy, (SELECT system_identifier FROM pg_control_system())::text AS system,
        CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline,
        (SELECT oid FROM pg_database WHERE datname = current_database())::text AS database,
        coalesce(pg_relation_filenode('purchase'), 0)::text AS purchases,
        extract(epoch FROM pg_postmaster_start_time())::text AS started,
        CASE WHEN pg_is_in_recovery() THEN 0 ELSE (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint END AS position
      """)
    guard let row = rows.first else { throw StoreError(.unexpectedAnswer, "database state") }
    try Self.refuseCopy(row)
    let names = ["system", "timeline", "database", "purchases"]
    return DatabaseState(
      identity: try names.map { try row.string($0) }.joined(separator: "/"),
      position: try row.int("position"), started: try row.string("started"))
  }
}
