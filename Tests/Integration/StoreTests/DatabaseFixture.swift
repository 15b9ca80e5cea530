import EventLoop
import Foundation
import Logging
import Postgres
import TestDatabases

@testable import Ledger

/// A migrated database of its own, for all tests of this process; each test makes events of its own in it.
@LoopActor
final class DatabaseFixture {
  static let logger = Logger(label: "test")
  private static var migrated: Task<String, any Error>?

  let postgres: PostgresClient

  init(connections: Int = 4) async throws {
    if Self.migrated == nil {
      Self.migrated = Task { @LoopActor in
        let url = try await TestDatabase.make()
        let client = try await TestDatabase.connect(url, connections: 1)
        defer { client.close() }
        _ = try await Migrations(client, searchSchema: "", logger: Self.logger).run()
        return url
      }
    }
    guard let url = try await Self.migrated?.value else { preconditionFailure("set above") }
    postgres = try await TestDatabase.connect(url, connections: connections)
  }

  func close() { postgres.close() }

  /// An event on sale with `tickets` tickets, numbered from 1. - Returns: its id.
  func makeEvent(tickets: Int, generation: Int = 1) async throws -> Int {
    try await Self.makeEvent(tickets: tickets, generation: generation, in: postgres)
  }

  static func makeEvent(tickets: Int, generation: Int = 1, in postgres: PostgresClient) async throws -> Int {
    let event = try await postgres.query(
      """
      INSERT INTO event (name, location, date, currency, state, generation)
      VALUES ('Show', 'Hall', now() + interval '1 year', 'EUR', 'open', \(generation)) RETURNING id
      """)[0].int("id")
    _ = try await postgres.transaction([
      "INSERT INTO section (event_id, id, name, price, rank) VALUES (\(event), 1, 'Floor', 100, 1)",
      """
      INSERT INTO ticket (event_id, id, section_id, rank, price)
      SELECT \(event)::bigint, i, 1, i, 100 FROM generate_series(1, \(tickets)::int) AS i
      """,
    ])
    return event
  }

  func count(_ sql: SQL) async throws -> Int {
    try await postgres.query("SELECT count(*) AS n FROM \(sql)")[0].int("n")
  }
}
