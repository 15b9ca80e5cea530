package import EventLoop
package import Postgres
import Sale
import StoreCommon

/// What the search index is made of, as PostgreSQL has it.
@LoopActor
package final class IndexSource {
  private let postgres: PostgresClient

  package init(_ postgres: PostgresClient) { self.postgres = postgres }

  /// Differs whenever an event was added, changed or removed. One cheap statement.
  package struct Fingerprint: Sendable, Equatable {
    let events: Int
    let versions: Int
    let last: Int
  }

  package func fingerprint() async throws -> Fingerprint {
    let rows = try await postgres.query(
      """
      SELECT count(*) AS events, coalesce(sum(version), 0)::bigint AS versions, coalesce(max(id), 0) AS last
      FROM event
      """)
    guard let row = rows.first else { throw StoreError(.unexpectedAnswer, "fingerprint") }
    return Fingerprint(
      events: try row.int("events"), versions: try row.int("versions"), last: try row.int("last"))
  }

  /// Where an event stands.
  package struct EventVersion: Sendable, Equatable {
    package let version: Int
    package let isClosed: Bool
  }

  /// Events by ascending id, from the first above `id`.
  package func versions(after id: Int, limit: Int) async throws -> [(id: Int, event: EventVersion)] {
    try await postgres.query(
      "SELECT id, version, state = 'closed' AS closed FROM event WHERE id > \(id) ORDER BY id LIMIT \(limit)"
    ).map {
      (try $0.int("id"), EventVersion(version: try $0.int("version"), isClosed: try $0.bool("closed")))
    }
  }

  /// An event with what is indexed of it.
  package struct Facts: Sendable, Equatable {
    package let id: Int
    package let version: Int
    package let state: String
    /// Of its line; 0 before its sale has ever been open.
    package let generation: Int
    /// Unix seconds, as is `onsaleAt`.
    package let date: Int
    package let onsaleAt: Int?
    /// As in `Event`.
    package let dateWas: Int?
    package let locationWas: String?
    package let isPostponed: Bool
    /// Of the venue; `nil` for that of the installation.
    package let timeZone: String?
    package let name: String
    package let location: String
    package let description: String
    package let currency: String
    /// Cheapest and dearest ticket, in minor units; 0 without tickets.
    package let minPrice: Int
    package let maxPrice: Int
    package let tickets: Int
    package let purchased: Int
    /// Purchased, or claimed by a payment that is under way.
    package let taken: Int
    /// Best first.
    package let sections: [Section]

    /// As `EventSettings.isUnannounced`.
    package var isUnannounced: Bool {
      let wasNeverOpen =
        state == EventState.draft.rawValue || state == EventState.closed.rawValue && generation == 0
      return wasNeverOpen && onsaleAt == nil
    }
  }

  /// A part of the house, as PostgreSQL knows it, which is nothing of holds.
  package struct Section: Sendable, Equatable {
    package let id: Int
    package let name: String
    /// Of its cheapest ticket, of those that are not sold while there are any. In minor units.
    package let price: Int
    package let tickets: Int
    package let taken: Int
  }

  /// The events of these ids, in no order; unknown ones are left out. Reads every ticket of theirs.
  package func facts(_ ids: [Int]) async throws -> [Facts] {
    let results = try await postgres.transaction([
      """
      SELECT e.id, e.version, e.state, e.generation, extract(epoch FROM e.date)::bigint AS date,
        extract(epoch FROM e.onsale_at)::bigint AS onsale_at, e.time_zone,
        extract(epoch FROM e.date_was)::bigint AS date_was, e.location_was, \(unsafeSQL: Event.postponedColumn),
        e.name, e.location, e.description, e.currency,
        coalesce(t.min_price, 0) AS min_price, coalesce(t.max_price, 0) AS max_price, t.tickets, t.purchased
      FROM event e CROSS JOIN LATERAL (
        SELECT count(*) AS tickets, count(*) FILTER (WHERE purchased) AS purchased, min(price) AS min_price,
          max(price) AS max_price
        FROM ticket WHERE event_id = e.id AND (withheld IS NULL OR purchased)
      ) t
      WHERE e.id = ANY(\(ids)::bigint[])
      """,
      """
      SELECT k.event_id, s.id, s.name, coalesce(min(k.price) FILTER (WHERE NOT k.purchased), min(k.price)) AS price,
        count(*) AS tickets,
        count(*) FILTER (WHERE k.purchased OR c.ticket_id IS NOT NULL) AS taken
      FROM ticket k JOIN section s ON s.event_id = k.event_id AND s.id = k.section_id
        LEFT JOIN claim c ON c.event_id = k.event_id AND c.ticket_id = k.id
      WHERE k.event_id = ANY(\(ids)::bigint[]) AND (k.withheld IS NULL OR k.purchased)
      GROUP BY k.event_id, s.id, s.name, s.rank ORDER BY k.event_id, s.rank
      """,
    ])
    var sections: [Int: [Section]] = [:]
    for row in results[1] {
      sections[try row.int("event_id"), default: []].append(
        Section(
          id: try row.int("id"), name: try row.string("name"), price: try row.int("price"),
          tickets: try row.int("tickets"), taken: try row.int("taken")))
    }
    return try results[0].map { row in
      let id = try row.int("id")
      let sections = sections[id] ?? []
      return Facts(
        id: id, version: try row.int("version"), state: try row.string("state"),
        generation: try row.int("generation"),
        date: try row.int("date"), onsaleAt: row["onsale_at"].int, dateWas: row["date_was"].int,
        locationWas: row["location_was"].string, isPostponed: try row.bool("is_postponed"),
        timeZone: row["time_zone"].string,
        name: try row.string("name"),
        location: try row.string("location"), description: try row.string("description"),
        currency: try row.string("currency"), minPrice: try row.int("min_price"),
        maxPrice: try row.int("max_price"), tickets: try row.int("tickets"),
        purchased: try row.int("purchased"), taken: sections.reduce(0) { $0 + $1.taken }, sections: sections)
    }
  }

  /// Which tickets belong to which section of an event; they are only ever added.
  package func ticketRanges(event: Int) async throws -> [Int: [ClosedRange<Int>]] {
    try await EventStore(postgres).ticketRanges(event: event)
  }
}
