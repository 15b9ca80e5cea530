import EventLoop
import Foundation
import Logging
import TestServers
import Testing

@testable import Postgres

@LoopActor
@Suite("The PostgreSQL client", .timeLimit(.minutes(3)))
struct PostgresClientTests {
  let logger = Logger(label: "test")

  /// A client of the shared server. Its tables are made in a schema of their own, by `name`.
  func shared(
    connections: Int = 4, timeout: UInt64 = 5000,
    _ configure: (inout PostgresConfiguration) -> Void = { _ in }
  ) async throws -> PostgresClient {
    var configuration = try PostgresConfiguration(
      url: TestPostgres.shared.url(), connections: connections, statementTimeoutMilliseconds: timeout)
    configure(&configuration)
    let client = PostgresClient(configuration, logger: logger)
    client.start()
    try await client.waitUntilReady(milliseconds: 60_000)
    return client
  }

  func newName() -> String { "t_" + UUID().uuidString.lowercased().replacing("-", with: "") }

  @Test("Values of every kind come back as they are")
  func values() async throws {
    let client = try await shared()
    defer { client.close() }
    let none: Int? = nil
    let row = try await client.query(
      """
      SELECT \(42)::bigint AS n, \("text")::text AS s, \(true)::bool AS b, \(1.5)::float8 AS d, \(none)::int AS missing,
        \([1, -2, 3])::bigint[] AS ns, \(["a", ""])::text[] AS ss, '{}'::int[] AS empty
      """)[0]
    #expect(try row.int("n") == 42)
    #expect(try row.string("s") == "text")
    #expect(try row.bool("b"))
    #expect(row["d"].string == "1.5")
    #expect(row["missing"].string == nil)
    #expect(row["ns"].ints == [1, -2, 3])
    #expect(row["ss"].string.flatMap(SQLArray.elements(of:)) == ["a", ""])
    #expect(row["empty"].ints == [])
    #expect(throws: PostgresError.self) { try row.int("missing") }
    #expect(throws: PostgresError.self) { try row.int("s") }
  }

  @Test(
    "Parameters cannot become part of the statement",
    arguments: [
      "'; DROP TABLE users; --", "\"", "\\", "$1", "{a,b}", "NULL", "", " ", "é\u{1F600}\n\t\r", "a\\\"b,{}",
    ])
  func injection(text: String) async throws {
    let client = try await shared(connections: 1)
    defer { client.close() }
    let list: [String?] = [text, nil, text + text]
    let row = try await client.query(
      "SELECT \(text)::text AS one, \(list)::text[] AS many, \([text])::text[] AS single")[0]
    #expect(try row.string("one") == text)
    #expect(row["many"].string.flatMap(SQLArray.elements(of:)) == list)
    #expect(row["single"].string.flatMap(SQLArray.elements(of:)) == [text])
  }

  @Test("A zero byte is refused instead of cutting the text")
  func zeroByte() async throws {
    let client = try await shared(connections: 1)
    defer { client.close() }
    let error = await #expect(throws: PostgresError.self) { try await client.query("SELECT \("a\0b")::text") }
    #expect(error?.sqlState == "22021")
  }

  @Test("Statements are composed with their parameters")
  func composition() async throws {
    let client = try await shared(connections: 1)
    defer { client.close() }
    let inner: SQL = "\(2)::int + \(3)::int"
    let sql: SQL = "SELECT \(1)::int + (\(inner)) AS n, \(4)::int AS m\(unsafeSQL: " WHERE true")"
    #expect(sql.text == "SELECT $1::int + ($2::int + $3::int) AS n, $4::int AS m WHERE true")
    let row = try await client.query(sql)[0]
    #expect(try row.int("n") == 6)
    #expect(try row.int("m") == 4)
  }

  @Test("A transaction takes effect as a whole or not at all")
  func atomicity() async throws {
    let client = try await shared()
    defer { client.close() }
    let table = newName()
    try await client.script("CREATE TABLE \(table) (n int PRIMARY KEY)")
    let results = try await client.transaction([
      "INSERT INTO \(unsafeSQL: table) VALUES (\(1)) RETURNING n",
      "INSERT INTO \(unsafeSQL: table) VALUES (\(2))",
      "SELECT n FROM \(unsafeSQL: table) ORDER BY n",
    ])
    #expect(try results[0].map { try $0.int("n") } == [1])
    #expect(results[1].isEmpty)
    #expect(try results[2].map { try $0.int("n") } == [1, 2])
    #expect(try await client.transaction([]).isEmpty)
    let error = await #expect(throws: PostgresError.self) {
      try await client.transaction([
        "INSERT INTO \(unsafeSQL: table) VALUES (\(3))", "INSERT INTO \(unsafeSQL: table) VALUES (\(1))",
        "INSERT INTO \(unsafeSQL: table) VALUES (\(4))",
      ])
    }
    #expect(error?.code == .server)
    #expect(error?.isUniqueViolation == true)
    // On every connection of the pool.
    for _ in 0..<8 {
      let count = try await client.query("SELECT count(*) AS n FROM \(unsafeSQL: table)")[0].int("n")
      #expect(count == 2)
    }
    try await client.script("DROP TABLE \(table)")
  }

  @Test("A transaction by steps is rolled back when its body throws, or when an error was swallowed")
  func steps() async throws {
    struct Change: Error {}
    let client = try await shared(connections: 1)
    defer { client.close() }
    let table = newName()
    try await client.script("CREATE TABLE \(table) (n int PRIMARY KEY)")
    let insert: SQL = "INSERT INTO \(unsafeSQL: table) VALUES (\(1))"
    await #expect(throws: Change.self) {
      try await client.withTransaction { transaction in
        _ = try await transaction.query(insert)
        throw Change()
      }
    }
    let error = await #expect(throws: PostgresError.self) {
      try await client.withTransaction { transaction in
        _ = try await transaction.query(insert)
        _ = try? await transaction.query(insert)
      }
    }
    #expect(error?.isUniqueViolation == true)
    #expect(try await client.query("SELECT 1 FROM \(unsafeSQL: table)").isEmpty)
    let answer = try await client.withTransaction { transaction in
      _ = try await transaction.query(insert)
      return try await transaction.query("SELECT n FROM \(unsafeSQL: table)")[0].int("n")
    }
    #expect(answer == 1)
    #expect(try await client.query("SELECT 1 FROM \(unsafeSQL: table)").count == 1)
    try await client.script("DROP TABLE \(table)")
  }

  @Test("A constraint that is checked at the commit fails a single statement too")
  func deferredConstraint() async throws {
    let client = try await shared(connections: 1)
    defer { client.close() }
    let table = newName()
    try await client.script("CREATE TABLE \(table) (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    let insert: SQL = "INSERT INTO \(unsafeSQL: table) VALUES (1), (1)"
    var error = await #expect(throws: PostgresError.self) { try await client.query(insert) }
    #expect(error?.isUniqueViolation == true)
    error = await #expect(throws: PostgresError.self) { try await client.transaction([insert]) }
    #expect(error?.isUniqueViolation == true)
    #expect(try await client.query("SELECT 1 FROM \(unsafeSQL: table)").isEmpty)
    try await client.script("DROP TABLE \(table)")
  }

  @Test("Serialization failures and deadlocks are decided again as a whole")
  func retries() async throws {
    let client = try await shared(connections: 8)
    defer { client.close() }
    let table = newName()
    try await client.script(
      "CREATE TABLE \(table) (id int PRIMARY KEY, n int); INSERT INTO \(table) VALUES (1, 0), (2, 0)")
    // Opposite orders of two rows: deadlocks.
    let tasks = (0..<40).map { index in
      Task {
        let (first, second) = index % 2 == 0 ? (1, 2) : (2, 1)
        try await client.withTransaction { transaction in
          _ = try await transaction.query("SET LOCAL deadlock_timeout = '10ms'")
          _ = try await transaction.query("UPDATE \(unsafeSQL: table) SET n = n + 1 WHERE id = \(first)")
          _ = try await transaction.query("UPDATE \(unsafeSQL: table) SET n = n + 1 WHERE id = \(second)")
        }
      }
    }
    var done = 0
    for task in tasks {
      do {
        try await task.value
        done += 1
      } catch let error as PostgresError {
        #expect(error.isTransient)
      }
    }
    #expect(done > 0)
    let rows = try await client.query("SELECT n FROM \(unsafeSQL: table)")
    #expect(try rows.map { try $0.int("n") } == [done, done])

    var runs = 0
    try await client.withTransaction { transaction in
      runs += 1
      _ = try await transaction.query("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
      let n = try await transaction.query("SELECT n FROM \(unsafeSQL: table) WHERE id = 1")[0].int("n")
      if runs == 1 {
        _ = try await client.query("UPDATE \(unsafeSQL: table) SET n = n + 1 WHERE id = 1")
      }
      _ = try await transaction.query("UPDATE \(unsafeSQL: table) SET n = \(n + 10) WHERE id = 1")
    }
    #expect(runs == 2)
    #expect(try await client.query("SELECT n FROM \(unsafeSQL: table) WHERE id = 1")[0].int("n") == done + 11)
    try await client.script("DROP TABLE \(table)")
  }

  @Test("Many callers share few connections; too many are refused")
  func pool() async throws {
    let client = try await shared(connections: 2) { $0.waitingCapacity = 10 }
    defer { client.close() }
    let tasks = (0..<40).map { index in
      Task { try await client.query("SELECT \(index)::int AS n, pg_sleep(0.02)")[0].int("n") }
    }
    var answered = 0, refused = 0
    for (index, task) in tasks.enumerated() {
      do {
        #expect(try await task.value == index)
        answered += 1
      } catch let error as PostgresError {
        #expect(error.code == .unavailable)
        refused += 1
      }
    }
    // Two run and ten wait, or one runs while the other connects.
    #expect(answered >= 11)
    #expect(refused >= 28)
  }

  @Test("Nobody waits for a connection longer than allowed")
  func waitingTime() async throws {
    let client = try await shared(connections: 1) { $0.waitMilliseconds = 200 }
    defer { client.close() }
    try await client.withTransaction { transaction in
      _ = try await transaction.query("SELECT 1")
      // The only connection is taken.
      let error = await #expect(throws: PostgresError.self) { try await client.query("SELECT 1") }
      #expect(error?.code == .unavailable)
    }
    _ = try await client.query("SELECT 1")
  }

  @Test("The server ends a statement that runs too long, and nothing of it stays")
  func statementTimeout() async throws {
    let client = try await shared(connections: 1, timeout: 1000)
    defer { client.close() }
    let table = newName()
    // A script may take longer.
    try await client.script("CREATE TABLE \(table) (n int); SELECT pg_sleep(1.5)")
    let error = await #expect(throws: PostgresError.self) {
      try await client.transaction(["INSERT INTO \(unsafeSQL: table) VALUES (1)", "SELECT pg_sleep(30)"])
    }
    #expect(error?.code == .timeout)
    #expect(try await client.query("SELECT 1 FROM \(unsafeSQL: table)").isEmpty)
    try await client.script("DROP TABLE \(table)")
  }

  @Test("More statements than a connection keeps prepared, and changes of the schema, are no error")
  func preparedStatements() async throws {
    let client = try await shared(connections: 1) { $0.preparedStatements = 3 }
    defer { client.close() }
    for round in 0..<3 {
      for index in 0..<7 {
        let n = try await client.query("SELECT \(round)::int + \(unsafeSQL: "\(index)") AS n")[0].int("n")
        #expect(n == round + index)
      }
    }
    _ = await #expect(throws: PostgresError.self) { try await client.query("SELECT no_such_column") }
    _ = await #expect(throws: PostgresError.self) { try await client.query("SELECT no_such_column") }

    let table = newName()
    let other = try await shared(connections: 1)
    defer { other.close() }
    try await other.script("CREATE TABLE \(table) (a int); INSERT INTO \(table) VALUES (1)")
    #expect(try await client.query("SELECT * FROM \(unsafeSQL: table)")[0].string("a") == "1")
    try await other.script("ALTER TABLE \(table) ALTER a TYPE text, ADD b int DEFAULT 2")
    #expect(try await client.query("SELECT * FROM \(unsafeSQL: table)")[0].int("b") == 2)
    try await other.script("DROP TABLE \(table)")
  }

  @Test("Statements are prepared anew after the configured time, but not in the midst of a transaction")
  func oldStatements() async throws {
    let client = try await shared(connections: 1) { $0.preparedMilliseconds = 0 }
    defer { client.close() }
    let count: SQL = "SELECT count(*) AS n FROM pg_prepared_statements"
    for _ in 0..<3 {
      _ = try await client.query("SELECT 1")
      #expect(try await client.query(count)[0].int("n") == 1)
      #expect(try await client.transaction(["SELECT 1", "SELECT 2", count])[2][0].int("n") == 4)
    }
    // One that is refused is rolled back, which is all that its connection takes then, and that goes on.
    let session: SQL = "SELECT pg_backend_pid() AS pid"
    let before = try await client.query(session)[0].int("pid")
    await #expect(throws: PostgresError.self) { try await client.transaction(["SELECT 1", "SELECT 1 / 0"]) }
    #expect(try await client.query(session)[0].int("pid") == before)
    let table = newName()
    try await client.withTransaction { transaction in
      _ = try await transaction.query("CREATE TEMPORARY TABLE \(unsafeSQL: table) (a int)")
      _ = try await transaction.query("INSERT INTO \(unsafeSQL: table) VALUES (1)")
    }
    #expect(try await client.query("SELECT a FROM \(unsafeSQL: table)")[0].int("a") == 1)
  }

  @Test("A script's mistake undoes the script, and the client goes on")
  func scripts() async throws {
    let client = try await shared(connections: 1)
    defer { client.close() }
    let table = newName()
    let error = await #expect(throws: PostgresError.self) {
      try await client.script("CREATE TABLE \(table) (n int); SELECT 1/0;")
    }
    #expect(error?.sqlState == "22012")
    #expect(try await client.query("SELECT to_regclass(\(table)) AS t")[0]["t"].string == nil)
    _ = await #expect(throws: PostgresError.self) { try await client.script("COPY pg_class TO STDOUT") }
    #expect(try await client.query("SELECT 1 AS n")[0].int("n") == 1)
  }

  @Test("A URL that cannot be read is refused without repeating its password")
  func malformedURL() {
    let error = #expect(throws: PostgresError.self) {
      try PostgresConfiguration(url: "postgres://user:secret@host:port:more/x?nonsense=1")
    }
    #expect(error?.message.contains("secret") == false)
  }

  @Test("A host that ran out of time is not tried first again")
  func hosts() throws {
    let configuration = try PostgresConfiguration(
      url: "postgres://a:1,b:2,c:3/db?target_session_attrs=read-write")
    let second = configuration.startParameters(firstHost: 1)
    #expect(second.first { $0.name == "host" }?.value == "b,c,a")
    #expect(second.first { $0.name == "port" }?.value == "2,3,1")
    #expect(configuration.startParameters(firstHost: 3).first { $0.name == "host" }?.value == "a,b,c")
    #expect(second.contains { $0.name == "target_session_attrs" && $0.value == "read-write" })
    #expect(second.contains { $0.name == "client_encoding" && $0.value == "UTF8" })
  }

  @Test(
    "Arrays survive being written and read",
    arguments: [[], ["NULL", nil, "null"], ["{", "}", "\"", "\\,", ""]])
  func arrays(values: [String?]) {
    #expect(SQLArray.elements(of: SQLArray.literal(values)) == values)
  }

  @Test(
    "What is no array is not read as one", arguments: ["", "{", "1,2", "{{1},{2}}", "{\"a\"b}", "{\"a\\"])
  func noArrays(text: String) {
    #expect(SQLArray.elements(of: text) == nil)
  }
}
