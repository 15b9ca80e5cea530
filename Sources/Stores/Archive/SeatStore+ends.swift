import EventLoop
import Ledger
import Postgres
package import Queue
package import Sale

/// What a worker notes in PostgreSQL so that a loss of Redis does not bring back who had ended.
extension SeatStore {
  /// Notes ends of one life of an event's queue. Repeating it changes nothing, and it does nothing where a later life has
  /// begun: what is known of a life that is lost does not change any more.
  package func note(event: Int, generation: Int, _ ends: [RequestEnd]) async throws {
    var states: [String] = [], positions: [Int] = []
    var lines: [Int] = [], firsts: [Int] = [], lasts: [Int] = [], reasons: [String] = [], left: [Int] = []
    func add(_ line: Int, _ after: Int, _ upTo: Int, _ reason: String, _ count: Int) {
      lines.append(line)
      firsts.append(after)
      lasts.append(upTo)
      reasons.append(reason)
      left.append(count)
    }
    for end in ends {
      switch end {
      case .one(let position, let state):
        states.append(String(state.rawValue))
        positions.append(position)
      case .all(let upTo): add(0, 0, upTo, "", 0)
      case .line(let line, let after, let upTo, let reason, let count): add(line, after, upTo, reason, count)
      }
    }
    if positions.isEmpty && lines.isEmpty { return }
    _ = try await postgres.transaction([
      // As `PurchaseStore.claim` does it: whoever begins a later life waits, or is seen below.
      "SELECT FROM queue_life WHERE event_id = \(event) FOR SHARE",
      """
      INSERT INTO request_end AS e (event_id, generation, state, bucket, ended)
      SELECT \(event)::bigint, \(generation)::int, i.state, i.position / \(unsafeSQL: Self.width),
        bit_or(set_bit(0::bit(\(unsafeSQL: Self.width)), (i.position % \(unsafeSQL: Self.width))::int, 1))
      FROM unnest(\(states)::text[], \(positions)::bigint[]) AS i (state, position)
      WHERE NOT EXISTS (SELECT FROM queue_life l WHERE l.event_id = \(event) AND l.generation > \(generation))
      GROUP BY 3, 4 ORDER BY 3, 4
      ON CONFLICT (event_id, generation, state, bucket) DO UPDATE SET ended = e.ended | excluded.ended
      WHERE e.ended | excluded.ended <> e.ended
      """,
      """
      INSERT INTO line_end AS e (event_id, generation, line, after, up_to, reason, left_over)
      SELECT DISTINCT ON (i.line, i.after) \(event)::bigint, \(generation)::int, i.*
      FROM unnest(\(lines)::int[], \(firsts)::bigint[], \(lasts)::bigint[], \(reasons)::text[], \(left)::int[])
        AS i (line, after, up_to, reason, left_over)
      WHERE NOT EXISTS (SELECT FROM queue_life l WHERE l.event_id = \(event) AND l.generation > \(generation))
      ORDER BY i.line, i.after, i.up_to DESC
      ON CONFLICT (event_id, generation, line, after) DO UPDATE
      SET up_to = excluded.up_to, reason = excluded.reason, left_over = excluded.left_over
      WHERE e.up_to < excluded.up_to
      """,
    ])
  }

  /// Rows of 8,192 digits: two megabytes.
  private static let piecesAtOnce = 256

  /// What is noted of one life, by the state that requests ended in.
  package func ends(event: Int, generation: Int) async throws -> [RequestRecord.State: PositionSet] {
    var ended: [RequestRecord.State: PositionSet] = [:]
    var last = (state: "", bucket: -1)
    while true {
      let rows = try await postgres.query(
        """
        SELECT state, bucket, ended FROM request_end
        WHERE event_id = \(event) AND generation = \(generation)
          AND (state, bucket) > (\(last.state)::text, \(last.bucket)::int)
        ORDER BY state, bucket LIMIT \(Self.piecesAtOnce)
        """)
      for row in rows {
        last = (try row.string("state"), try row.int("bucket"))
        guard let state = last.state.first.flatMap(RequestRecord.State.init(rawValue:)) else { continue }
        ended[state, default: PositionSet()].insert(piece: last.bucket, digits: try row.string("ended"))
      }
      if rows.count < Self.piecesAtOnce { return ended }
    }
  }

  private static let width = "\(PositionSet.width)"

  /// Notes that the time for those who were in the line before is over: should this one be lost, too, its own places
  /// count, and those of earlier lives do not. Repeating it changes nothing.
  package func noteRestored(event: Int, generation: Int) async throws {
    _ = try await postgres.query(
      """
      UPDATE queue_life SET is_restored = true, restored_from = NULL
      WHERE event_id = \(event) AND generation = \(generation) AND NOT is_restored
      """)
  }
}
