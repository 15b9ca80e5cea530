package import EventLoop
package import Postgres
package import Sale
import StoreCommon

/// An event's tickets in PostgreSQL, as the owner of its seat map needs them.
@LoopActor
package final class SeatStore {
  package let postgres: PostgresClient

  package init(_ postgres: PostgresClient) { self.postgres = postgres }

  package struct Inventory: Sendable {
    package let sections: [SeatMap.Section]
    package let tickets: [SeatMap.Ticket]
    package let sold: [Int]
    /// Claimed by a payment that has not ended.
    package let claimed: [Int]
    /// Not to be granted. What of them is held or claimed goes on to its end.
    package let withheld: Set<Int>
    /// Changes when tickets are added, taken off sale or priced anew.
    package let version: Int
    /// The event's own number for that, as it was before anything of this was read.
    package let ticketsVersion: Int
  }

  /// Rows that are read at once: some milliseconds of the loop.
  private static let pageSize = 4_000

  /// Everything, in pages, each of which is as of a moment of its own: tickets that are added or sold meanwhile may be in
  /// it or not.
  package func inventory(event: Int) async throws -> Inventory {
    // Not joined: in a rush, claims grow faster than the planner's statistics, and a plan made for a handful takes
    // minutes for thousands. Claims first: one that is sold in between is then sold here.
    let isClaimed = try await claimedTickets(event: event)
    var tickets: [SeatMap.Ticket] = []
    var sold: [Int] = [], claimed: [Int] = [], withheld: Set<Int> = []
    let version = try await ticketsVersion(event: event)
    while true {
      let rows = try await postgres.query(
        """
        SELECT id, section_id, row, seat, rank, price, run, place, purchased, withheld IS NOT NULL AS withheld
        FROM ticket
        WHERE event_id = \(event) AND id > \(tickets.last?.id ?? 0) ORDER BY id LIMIT \(Self.pageSize)
        """)
      for row in rows {
        let id = try row.int("id")
        tickets.append(
          SeatMap.Ticket(
            id: id, section: try row.int("section_id"), row: row["row"].string, seat: row["seat"].string,
            rank: try row.int("rank"), price: try row.int("price"), run: row["run"].int,
            place: row["place"].int))
        if try row.bool("withheld") { withheld.insert(id) }
        if try row.bool("purchased") {
          sold.append(id)
        } else if isClaimed.contains(id) {
          claimed.append(id)
        }
      }
      if rows.count < Self.pageSize { break }
    }
    // Last: every section that a ticket is in is there.
    let sections = try await sections(event: event)
    return Inventory(
      sections: sections, tickets: tickets, sold: sold, claimed: claimed,
      withheld: withheld.subtracting(sold), version: version * Self.versionUnit + (tickets.last?.id ?? 0),
      ticketsVersion: version)
  }

  /// Above every ticket's id: versions before this one notice new tickets by the highest of these alone.
  private static let versionUnit = 1 << 21

  private func ticketsVersion(event: Int) async throws -> Int {
    try await postgres.query("SELECT tickets_version FROM event WHERE id = \(event)").first?.int(
      "tickets_version")
      ?? 0
  }

  private func claimedTickets(event: Int) async throws -> Set<Int> {
    var claimed: Set<Int> = []
    var last = 0
    while true {
      let rows = try await postgres.query(
        """
        SELECT ticket_id FROM claim WHERE event_id = \(event) AND ticket_id > \(last)
        ORDER BY ticket_id LIMIT \(Self.pageSize)
        """)
      for row in rows {
        last = try row.int("ticket_id")
        claimed.insert(last)
      }
      if rows.count < Self.pageSize { return claimed }
    }
  }

  package enum Beginning: Sendable, Equatable {
    case now
    /// An owner began it before.
    case again
    /// A later life has begun, and nothing was changed.
    case tooLate
  }

  /// Notes the life that the event's queue has, before anything of it is sold: of earlier ones no purchase begins from
  /// now on, so that whoever is told that a place was lost is not sold to afterwards.
  package func begin(event: Int, generation: Int) async throws -> Beginning {
    // Asked first: to write, even what is there, waits for those who are claiming.
    let rows = try await postgres.query("SELECT generation FROM queue_life WHERE event_id = \(event)")
    if let life = try rows.first?.int("generation"), life >= generation {
      return life == generation ? .again : .tooLate
    }
    _ = try await postgres.query(
      """
      INSERT INTO queue_life AS l (event_id, generation) VALUES (\(event), \(generation))
      ON CONFLICT (event_id) DO UPDATE SET generation = excluded.generation, is_restored = false,
        restored_from = CASE WHEN l.is_restored THEN l.generation ELSE coalesce(l.restored_from, l.generation) END,
        sold_out_since = CASE WHEN NOT EXISTS (
          SELECT FROM ticket WHERE event_id = \(event) AND NOT purchased AND withheld IS NULL)
        THEN coalesce(l.sold_out_since, l.generation) END
      WHERE l.generation < excluded.generation
      """)
    return .now
  }

  /// The highest position of a queue's life that ever reached payment; 0 for none.
  package func lastPaidPosition(event: Int, generation: Int) async throws -> Int {
    let rows = try await postgres.query(
      """
      SELECT coalesce(max(position), 0) AS position FROM purchase
      WHERE event_id = \(event) AND generation = \(generation)
      """)
    return try rows.first?.int("position") ?? 0
  }

  package struct Check: Sendable {
    package let ticketVersion: Int
    /// How many claims were asked for, and how many of them are still those of payments under way.
    package let askedClaims: Int
    package let openClaims: Int
  }

  /// Whether tickets were added, and how many of `claims` are still open. One cheap round trip.
  package func check(event: Int, claims: [Int]) async throws -> Check {
    let rows = try await postgres.query(
      """
      SELECT coalesce((SELECT max(id) FROM ticket WHERE event_id = \(event)), 0)
        + coalesce((SELECT tickets_version FROM event WHERE id = \(event)), 0) * \(Self.versionUnit)::bigint AS version,
        (SELECT count(*) FROM claim c JOIN ticket t ON t.event_id = c.event_id AND t.id = c.ticket_id
         WHERE c.event_id = \(event) AND c.ticket_id = ANY (\(claims)::int[]) AND NOT t.purchased) AS open
      """)
    guard let row = rows.first else { throw StoreError(.unexpectedAnswer, "seat check") }
    return Check(
      ticketVersion: try row.int("version"), askedClaims: claims.count, openClaims: try row.int("open"))
  }
}

extension SeatStore {
  /// The sections of an event; empty for an unknown one.
  package func sections(event: Int) async throws -> [SeatMap.Section] {
    try await postgres.query(
      "SELECT id, name, price, rank FROM section WHERE event_id = \(event) ORDER BY rank"
    ).map(Self.section)
  }

  static func section(_ row: PostgresRow) throws -> SeatMap.Section {
    SeatMap.Section(
      id: try row.int("id"), name: try row.string("name"), price: try row.int("price"),
      rank: try row.int("rank"))
  }
}
