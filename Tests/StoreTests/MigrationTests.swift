import EventLoop
import Postgres
import Testing

@testable import Store

@LoopActor
@Suite("Migrations", .timeLimit(.minutes(3)))
struct MigrationTests {
  @Test("Running them again changes nothing; two processes at once apply each step once")
  func twice() async throws {
    let url = try await DatabaseFixture.createDatabase()
    let clients = [
      try await DatabaseFixture.connect(url, connections: 2),
      try await DatabaseFixture.connect(url, connections: 2),
      try await DatabaseFixture.connect(url, connections: 2),
    ]
    defer { clients.forEach { $0.close() } }
    let schema = "CREATE TABLE IF NOT EXISTS search_thing (id int)"
    let tasks = clients.map { client in
      Task { try await Migrations(client, searchSchema: schema, logger: DatabaseFixture.logger).run() }
    }
    var applied = 0
    for task in tasks { applied += try await task.value }
    let steps = try await clients[0].query("SELECT id FROM schema_step ORDER BY id").map { try $0.int("id") }
    #expect(steps == Array(1...applied))
    #expect(try await Migrations(clients[0], searchSchema: schema, logger: DatabaseFixture.logger).run() == 0)
    #expect(try await clients[0].query("SELECT 1 FROM search_thing").isEmpty)
  }

  @Test("Whoever bought before tickets were counted by user counts with what they have")
  func countsWhatWasBought() async throws {
    let client = try await DatabaseFixture.connect(try await DatabaseFixture.createDatabase(), connections: 1)
    defer { client.close() }
    let migrations = Migrations(client, searchSchema: "", logger: DatabaseFixture.logger)
    _ = try await migrations.run()
    // As the version before left it.
    let counting = Migrations.steps.indices.filter { Migrations.steps[$0].contains("INTO buyer") }.map {
      $0 + 1
    }
    #expect(counting.count == 2)
    try await client.script(
      """
      DROP FUNCTION count_begun_purchases, count_changed_purchase CASCADE;
      DROP TABLE buyer;
      DELETE FROM schema_step WHERE id IN (\(counting.map(String.init).joined(separator: ", ")));
      """)
    var events: [Int] = []
    for state in ["open", "paused", "closed"] {
      let event = try await DatabaseFixture.makeEvent(tickets: 9, in: client)
      events.append(event)
      _ = try await client.query("UPDATE event SET state = \(state) WHERE id = \(event)")
      _ = try await client.query(
        """
        INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method)
        VALUES (\(event), 1, 1, 'ann', 'sold', 1, '{1,2}', 200, 'EUR', 'pm'),
          (\(event), 2, 1, 'ann', 'paying', 1, '{3}', 100, 'EUR', 'pm'),
          (\(event), 2, 2, 'ann', 'declined', 1, '{4}', 100, 'EUR', 'pm'),
          (\(event), 2, 3, 'bob', 'void', 1, '{5}', 100, 'EUR', 'pm')
        """)
    }
    #expect(try await migrations.run() == 2)
    let rows = try await client.query("SELECT event_id, user_id, tickets FROM buyer ORDER BY event_id")
    #expect(try rows.map { try $0.int("event_id") } == events)
    #expect(try rows.allSatisfy { try $0.string("user_id") == "ann" && $0.int("tickets") == 3 })
    // And the count goes on from there.
    _ = try await client.query("UPDATE purchase SET state = 'declined' WHERE state = 'paying'")
    #expect(try await client.query("SELECT 1 FROM buyer WHERE tickets = 2").count == 3)
  }
}
