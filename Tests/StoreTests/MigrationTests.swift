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
}
