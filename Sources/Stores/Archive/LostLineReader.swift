import EventLoop
import Postgres
import Queue
import Sale

/// Reads what PostgreSQL knows of lines that Redis lost, in batches that neither it nor the server's loop stops at.
@LoopActor
struct LostLineReader {
  /// Rows of 8,192 digits: two megabytes.
  private static let piecesAtOnce = 256
  private static let purchasesAtOnce = 5_000
  private static let forfeitsAtOnce = 5_000
  /// Places given out twice that are remembered, of one event.
  private static let forfeitsKept = 100_000
  /// Of one event; a line has few.
  private static let lineEndsKept = 10_000

  let postgres: PostgresClient

  init(_ postgres: PostgresClient) { self.postgres = postgres }

  /// - Parameter lives: how many before the present one are read, and all that are restored in it.
  /// - Returns: `nil` where no owner has ever begun a life of the event's line.
  func line(event: Int, lives: Int) async throws -> LostLine? {
    let rows = try await postgres.query(
      "SELECT generation, restored_from, sold_out_since, closed_in FROM queue_life WHERE event_id = \(event)")
    guard let row = rows.first else { return nil }
    let generation = try row.int("generation")
    // Nothing is there once the time for those who come back is over.
    let restoredFrom = row["restored_from"].int ?? generation
    let first = min(restoredFrom, generation - lives)
    var line = LostLine(
      generation: generation, restoredFrom: restoredFrom, soldOutSince: row["sold_out_since"].int,
      closedIn: row["closed_in"].int, firstKnown: first)
    try await readEnds(event, first, &line)
    try await readForfeits(event, first, &line)
    for life in max(1, first)..<max(1, first, generation) {
      try await readPurchases(event, life) { position, isPaying in
        if isPaying {
          line.lives[life, default: LostLine.Life()].paying.insert(position)
        } else {
          line.lives[life, default: LostLine.Life()].bought.insert(position)
        }
      }
    }
    return line
  }

  private func readEnds(_ event: Int, _ first: Int, _ line: inout LostLine) async throws {
    var after = (generation: first, state: "", bucket: -1)
    while true {
      let rows = try await postgres.query(
        """
        SELECT generation, state, bucket, ended FROM request_end
        WHERE event_id = \(event) AND generation < \(line.generation)
          AND (generation, state, bucket) > (\(after.generation)::int, \(after.state)::text, \(after.bucket)::int)
        ORDER BY generation, state, bucket LIMIT \(Self.piecesAtOnce)
        """)
      for row in rows {
        after = (try row.int("generation"), try row.string("state"), try row.int("bucket"))
        guard let state = after.state.first.flatMap(RequestRecord.State.init(rawValue:)) else { continue }
        line.lives[after.generation, default: LostLine.Life()].ended[state, default: PositionSet()]
          .insert(piece: after.bucket, digits: try row.string("ended"))
      }
      if rows.count < Self.piecesAtOnce { break }
    }
    let whole = try await postgres.query(
      """
      SELECT generation, line, after, up_to, reason, left_over FROM line_end
      WHERE event_id = \(event) AND generation >= \(first) AND generation < \(line.generation)
      ORDER BY generation, line, after LIMIT \(Self.lineEndsKept)
      """)
    for row in whole {
      line.lives[try row.int("generation"), default: LostLine.Life()].lineEnds[
        try row.int("line"), default: []
      ].append(
        LostLine.LineEnd(
          after: try row.int("after"), upTo: try row.int("up_to"), reason: try row.string("reason"),
          left: try row.int("left_over")))
    }
  }

  private func readForfeits(_ event: Int, _ first: Int, _ line: inout LostLine) async throws {
    var after = (generation: first, position: 0, owner: ""), count = 0
    while count < Self.forfeitsKept {
      let rows = try await postgres.query(
        """
        SELECT generation, position, user_key FROM lost_place
        WHERE event_id = \(event) AND generation < \(line.generation) AND (generation, position, user_key)
          > (\(after.generation)::int, \(after.position)::bigint, \(after.owner)::text)
        ORDER BY generation, position, user_key LIMIT \(Self.forfeitsAtOnce)
        """)
      for row in rows {
        after = (try row.int("generation"), try row.int("position"), try row.string("user_key"))
        line.lives[after.generation, default: LostLine.Life()].forfeited.insert(
          LostLine.Forfeit(position: after.position, owner: after.owner))
      }
      count += rows.count
      if rows.count < Self.forfeitsAtOnce { break }
    }
  }

  /// Positions of one life that bought, or whose payment is under way.
  private func readPurchases(
    _ event: Int, _ generation: Int, _ take: (_ position: Int, _ isPaying: Bool) -> Void
  ) async throws {
    var after = 0
    while true {
      let rows = try await postgres.query(
        """
        SELECT position, state FROM purchase
        WHERE event_id = \(event) AND generation = \(generation) AND position > \(after)
          AND state IN ('paying', 'sold')
        ORDER BY position LIMIT \(Self.purchasesAtOnce)
        """)
      for row in rows {
        after = try row.int("position")
        take(after, try row.string("state") == "paying")
      }
      if rows.count < Self.purchasesAtOnce { return }
    }
  }

  func paid(event: Int, generation: Int) async throws -> PositionSet {
    var paid = PositionSet()
    try await readPurchases(event, generation) { position, _ in paid.insert(position) }
    return paid
  }

  /// Ends a line that was lost when its sale was closed already. - Returns: whether it was.
  func endIfClosed(event: Int, generation: Int) async throws -> Bool {
    try await ArchiveStore(postgres).endLost(event: event, generation: generation)
  }

  func isArchived(event: Int, generation: Int) async throws -> Bool {
    try await !postgres.query(
      "SELECT 1 FROM queue_outcome WHERE event_id = \(event) AND generation = \(generation)"
    ).isEmpty
  }
}
