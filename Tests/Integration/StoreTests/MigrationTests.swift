import EventLoop
import Postgres
import TestDatabases
import Testing

@testable import Store

@LoopActor
@Suite("Migrations", .timeLimit(.minutes(3)))
struct MigrationTests {
  @Test("Running them again changes nothing; two processes at once apply each step once")
  func twice() async throws {
    let url = try await TestDatabase.make()
    let clients = [
      try await TestDatabase.connect(url, connections: 2),
      try await TestDatabase.connect(url, connections: 2),
      try await TestDatabase.connect(url, connections: 2),
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
    let client = try await TestDatabase.connect(try await TestDatabase.make(), connections: 1)
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

  /// Somebody who reads the sale's tables for so long, as a dump does.
  @Test("Addresses that were typed with accents of their own are found again, and no two become one")
  func composesAddresses() async throws {
    let client = try await TestDatabase.connect(try await TestDatabase.make(), connections: 1)
    defer { client.close() }
    let migrations = Migrations(client, searchSchema: "", logger: DatabaseFixture.logger)
    _ = try await migrations.run()
    let steps = Migrations.steps.indices.filter { Migrations.steps[$0].contains("NFC NORMALIZED") }.map {
      $0 + 1
    }
    try #require(steps.count == 1)
    let addresses = [
      ("1", "jose\u{301}@example.org"), ("2", "zoe\u{308}@example.org"), ("3", "zo\u{eb}@example.org"),
      ("4", "u\u{308}a\u{301}@example.org"), ("5", "\u{fc}a\u{301}@example.org"), ("6", "plain@example.org"),
    ]
    for (id, email) in addresses {
      _ = try await client.query(
        """
        INSERT INTO users (id, name, email, password, created_at)
        VALUES (\(id), 'n', \(email), 'p', to_timestamp(\(Int(id) ?? 0)))
        """)
    }
    _ = try await client.query("DELETE FROM schema_step WHERE id = \(steps[0])")
    #expect(try await migrations.run() == 1)
    let kept = try await client.query("SELECT email FROM users ORDER BY id").map { try $0.string("email") }
    // Compared by scalars: Swift takes both spellings for the same.
    let expected = [
      "jos\u{e9}@example.org", "zoe\u{308}@example.org", "zo\u{eb}@example.org", "\u{fc}\u{e1}@example.org",
      "\u{fc}a\u{301}@example.org", "plain@example.org",
    ]
    #expect(kept.map { Array($0.unicodeScalars) } == expected.map { Array($0.unicodeScalars) })
  }

  @Test("Whoever made an event over HTTP has it; what was made at the terminal becomes nobody's alone")
  func owners() async throws {
    let client = try await TestDatabase.connect(try await TestDatabase.make(), connections: 1)
    defer { client.close() }
    let migrations = Migrations(client, searchSchema: "", logger: DatabaseFixture.logger)
    _ = try await migrations.run()
    let steps = Migrations.steps.indices.filter { Migrations.steps[$0].contains("SET owner = l.who") }
    #expect(steps.count == 1)
    _ = try await client.query("DELETE FROM schema_step WHERE id = \((steps.first ?? 0) + 1)")
    var events: [Int] = []
    let made: [(who: String?, owner: String?)] = [
      ("ann", nil), ("cli:root", nil), ("cli:root", "bob"), (nil, nil),
    ]
    for (who, owner) in made {
      let event = try await DatabaseFixture.makeEvent(tickets: 1, in: client)
      events.append(event)
      _ = try await client.query("UPDATE event SET owner = \(owner) WHERE id = \(event)")
      guard let who else { continue }
      _ = try await client.query(
        """
        INSERT INTO audit_log (who, event_id, action)
        VALUES (\(who), \(event), 'create'), ('eve', \(event), 'create'), ('eve', \(event), 'open')
        """)
    }
    #expect(try await migrations.run() == 1)
    let rows = try await client.query("SELECT owner FROM event WHERE id = ANY(\(events)) ORDER BY id")
    #expect(rows.map { $0["owner"].string } == ["ann", nil, "bob", nil])
  }

  private func dump(_ client: PostgresClient, seconds: Double) -> Task<Void, Never> {
    Task {
      try? await client.script(
        "BEGIN; LOCK TABLE event, ticket, purchase IN ACCESS SHARE MODE; SELECT pg_sleep(\(seconds)); COMMIT")
    }
  }

  private func waitForDump(_ client: PostgresClient) async throws {
    try await eventually {
      try await client.query(
        """
        SELECT FROM pg_locks WHERE relation = 'purchase'::regclass AND mode = 'AccessShareLock' AND granted
          AND pid <> pg_backend_pid()
        """
      ).count == 1
    }
  }

  /// A step that is not there yet, on a table that the dump reads.
  private static let step = "ALTER TABLE purchase ADD COLUMN IF NOT EXISTS later int"

  @Test("Behind a dump it waits without keeping sales from their tables, and is through when the dump is")
  func behindADump() async throws {
    let url = try await TestDatabase.make()
    let client = try await TestDatabase.connect(url, connections: 4)
    defer { client.close() }
    _ = try await Migrations(client, searchSchema: "", logger: DatabaseFixture.logger).run()
    let dump = dump(client, seconds: 6)
    try await waitForDump(client)
    let migrating = Task {
      try await Migrations(client, searchSchema: Self.step, logger: DatabaseFixture.logger).run()
    }
    var longest: UInt64 = 0, asked = 0
    var isThrough = false
    let end = Task { @LoopActor in
      let result = await migrating.result
      isThrough = true
      return result
    }
    while !isThrough {
      let before = EventLoop.shared.now
      _ = try await client.query("SELECT count(*) FROM purchase WHERE event_id = 1")
      longest = max(longest, EventLoop.shared.now - before)
      asked += 1
      try await sleep(milliseconds: 20)
    }
    #expect(longest < 4_000, "a query waited \(longest) ms")
    #expect(asked > 50)
    #expect(try await end.value.get() == 0)
    await dump.value
    #expect(try await client.query("SELECT later FROM purchase").isEmpty)
  }

  @Test("It gives up with a sentence that says who is in the way, and has changed nothing")
  func givesUp() async throws {
    let url = try await TestDatabase.make()
    let client = try await TestDatabase.connect(url, connections: 4)
    defer { client.close() }
    _ = try await Migrations(client, searchSchema: "", logger: DatabaseFixture.logger).run()
    let dump = dump(client, seconds: 6)
    try await waitForDump(client)
    var patience = Migrations.Patience()
    patience.seconds = 2
    patience.firstPauseMilliseconds = 200
    let migrations = Migrations(
      client, searchSchema: "", patience: patience, logger: DatabaseFixture.logger)
    let error = await #expect(throws: StoreError.self) {
      try await migrations.clean("CREATE TABLE first (id int); " + Self.step)
    }
    #expect(error?.code == .conflict)
    #expect(error?.message.contains("within 2 s") == true)
    #expect(error?.message.contains("purchase") == true)
    #expect(try await client.query("SELECT FROM pg_class WHERE relname = 'first'").isEmpty)
    await dump.value
  }
}
