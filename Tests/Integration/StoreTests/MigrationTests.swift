import EventLoop
import Postgres
import TestDatabases
import Testing

@testable import Ledger
@testable import StoreCommon

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
    let counting = Migrations.steps.indices.filter { Migrations.steps[$0].text.contains("INTO buyer") }.map {
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

  /// As the version before left it, with rows; the number of the step that makes the index.
  private func withoutIndex(_ client: PostgresClient) async throws -> Int {
    _ = try await Migrations(client, searchSchema: "", logger: DatabaseFixture.logger).run()
    let step = try #require(Migrations.steps.lastIndex { $0.text.contains("purchase_lapsed") }) + 1
    try await client.script("DROP INDEX purchase_lapsed; DELETE FROM schema_step WHERE id = \(step)")
    return step
  }

  private static let validIndex =
    "SELECT FROM pg_index WHERE indexrelid = 'purchase_lapsed'::regclass AND indisvalid" as SQL

  @Test("An index of a large table is made while purchases are written, which wait for none of it")
  func indexBesideSales() async throws {
    let client = try await TestDatabase.connect(try await TestDatabase.make(), connections: 4)
    defer { client.close() }
    _ = try await withoutIndex(client)
    let event = try await DatabaseFixture.makeEvent(tickets: 9, in: client)
    // Whoever is older keeps the index from being made, and with it, in a script, everybody who writes.
    let older = Task { @LoopActor in
      try await client.script(
        "UPDATE purchase SET reason = reason; SELECT pg_sleep(3)", lockMilliseconds: 0)
    }
    try await waitForSleep(client)
    let migrating = Task { @LoopActor in
      try await Migrations(client, searchSchema: "", logger: DatabaseFixture.logger).run()
    }
    try await waitForIndex(client)
    // It waits, and this does not: its own limit is shorter.
    try await client.script(
      """
      INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method)
      VALUES (\(event), 1, 1, 'ann', 'sold', 1, '{1}', 100, 'EUR', 'pm')
      """, lockMilliseconds: 200)
    #expect(try await client.query(Self.validIndex).isEmpty)
    try await older.value
    #expect(try await migrating.value == 1)
    #expect(try await client.query(Self.validIndex).count == 1)
  }

  @Test("An index that was left half made is made anew, and one that two processes make is made once")
  func indexHalfMade() async throws {
    let url = try await TestDatabase.make()
    let one = try await TestDatabase.connect(url, connections: 2)
    let other = try await TestDatabase.connect(url, connections: 2)
    defer {
      one.close()
      other.close()
    }
    _ = try await withoutIndex(one)
    try await one.script(
      """
      CREATE INDEX purchase_lapsed ON purchase (user_id) WHERE lapsed_at IS NOT NULL;
      UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'purchase_lapsed'::regclass
      """)
    async let first = Migrations(one, searchSchema: "", logger: DatabaseFixture.logger).run()
    async let second = Migrations(other, searchSchema: "", logger: DatabaseFixture.logger).run()
    #expect(try await first + second == 1)
    #expect(try await one.query(Self.validIndex).count == 1)
  }

  private func waitForSleep(_ client: PostgresClient) async throws {
    while try await client.query(
      "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    ).isEmpty {
      try await sleep(milliseconds: 20)
    }
  }

  private func waitForIndex(_ client: PostgresClient) async throws {
    while try await client.query(
      """
      SELECT FROM pg_stat_progress_create_index
      WHERE datname = current_database() AND phase LIKE 'waiting for %'
      """
    ).isEmpty {
      try await sleep(milliseconds: 20)
    }
  }

  @Test("No step from now on makes an index of a table that sales write to within a transaction")
  func indexesBesideSales() throws {
    let old = Migrations.steps.firstIndex { $0.text.contains("tell_event_moved") } ?? 0
    for step in Migrations.steps[(old + 1)...] {
      guard case .script(let text) = step else { continue }
      for table in ["purchase", "claim", "ticket", "buyer", "outbox", "refund"] {
        let found = try Regex("CREATE( UNIQUE)? INDEX [^;]* ON \(table) ")
        #expect(!text.contains(found), "an index on \(table) is a step of its own: .index")
      }
    }
  }

  /// Somebody who reads the sale's tables for so long, as a dump does.
  @Test("Addresses that were typed with accents of their own are found again, and no two become one")
  func composesAddresses() async throws {
    let client = try await TestDatabase.connect(try await TestDatabase.make(), connections: 1)
    defer { client.close() }
    let migrations = Migrations(client, searchSchema: "", logger: DatabaseFixture.logger)
    _ = try await migrations.run()
    let steps = Migrations.steps.indices.filter { Migrations.steps[$0].text.contains("NFC NORMALIZED") }.map {
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
    let steps = Migrations.steps.indices.filter { Migrations.steps[$0].text.contains("SET owner = l.who") }
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
