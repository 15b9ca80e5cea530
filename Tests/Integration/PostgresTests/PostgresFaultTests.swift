import EventLoop
import Foundation
import Logging
import TestServers
import Testing

@testable import Postgres

@LoopActor
@Suite("The PostgreSQL client, when things break", .timeLimit(.minutes(3)), .serialized)
struct PostgresFaultTests {
  let logger = Logger(label: "test")
  private static let server = Result { try TestPostgres() }

  func connect(
    _ url: String, connections: Int = 1, timeout: UInt64 = 5000, patience: UInt64 = 20_000
  ) async throws -> PostgresClient {
    var configuration = try PostgresConfiguration(
      url: url, connections: connections, statementTimeoutMilliseconds: timeout, waitMilliseconds: 20_000)
    configuration.patienceMilliseconds = patience
    let client = PostgresClient(configuration, logger: logger)
    client.start()
    try await client.waitUntilReady(milliseconds: 60_000)
    return client
  }

  func url(port: Int) -> String { "postgres://postgres@127.0.0.1:\(port)/postgres" }

  @Test("After an immediate stop the client fails clearly, and comes back by itself")
  func restart() async throws {
    let server = try Self.server.get()
    let client = try await connect(server.url, connections: 3)
    defer { client.close() }
    let reading = Task { try await client.query("SELECT pg_sleep(20)") }
    let writing = Task { try await client.query("DO 'BEGIN PERFORM pg_sleep(20); END'") }
    let stepping = Task {
      try await client.withTransaction { transaction in
        _ = try await transaction.query("SELECT 1")
        _ = try await transaction.query("SELECT pg_sleep(20)")
      }
    }
    try await sleep(milliseconds: 200)
    server.stop(SIGQUIT)
    let read = await #expect(throws: PostgresError.self) { try await reading.value }
    #expect(read?.code == .connectionLost)
    let written = await #expect(throws: PostgresError.self) { try await writing.value }
    #expect(written?.code == .outcomeUnknown)
    let stepped = await #expect(throws: PostgresError.self) { try await stepping.value }
    #expect(stepped?.code == .connectionLost)
    while client.isReady { try await sleep(milliseconds: 1) }
    // Waits for the server, and is carried out once it is there.
    let waiting = Task { try await client.query("SELECT 7 AS n")[0].int("n") }
    try server.start()
    #expect(try await waiting.value == 7)
  }

  @Test("Without a server for longer than its patience, the client fails at once")
  func patience() async throws {
    var configuration = try PostgresConfiguration(url: url(port: freePort()))
    configuration.patienceMilliseconds = 50
    let client = PostgresClient(configuration, logger: logger)
    client.start()
    defer { client.close() }
    await #expect(throws: PostgresError.self) { try await client.waitUntilReady(milliseconds: 100) }
    let error = await #expect(throws: PostgresError.self) { try await client.query("SELECT 1") }
    #expect(error?.code == .unavailable)
  }

  @Test("A host that does not answer is tried once by each connection, and then the other one")
  func silentHost() async throws {
    let server = try Self.server.get()
    let silent = try TCPProxy(to: server.port)
    silent.set(.silence)
    defer { silent.close() }
    let client = PostgresClient(
      try PostgresConfiguration(
        url: "postgres://postgres@127.0.0.1:\(silent.port),127.0.0.1:\(server.port)/postgres", connections: 4,
        waitMilliseconds: 8_000), logger: logger)
    client.start()
    defer { client.close() }
    try await client.waitUntilReady(milliseconds: 60_000)
    #expect(silent.connectionCount == 4)
  }

  @Test("A session that an administrator ends is replaced")
  func terminated() async throws {
    let server = try Self.server.get()
    let client = try await connect(server.url)
    defer { client.close() }
    let other = try await connect(server.url)
    defer { other.close() }
    for _ in 0..<3 {
      let pid = try await client.query("SELECT pg_backend_pid() AS n")[0].int("n")
      _ = try await other.query("SELECT pg_terminate_backend(\(pid), 5000)")
      // Either noticed already, or by this statement.
      let next = try? await client.query("SELECT pg_backend_pid() AS n")[0].int("n")
      #expect(next != pid)
    }
  }

  @Test("A client that is let go of without being closed leaves no session behind")
  func letGo() async throws {
    let server = try Self.server.get()
    let other = try await connect(server.url)
    defer { other.close() }
    let pid = try await connect(server.url).query("SELECT pg_backend_pid() AS n")[0].int("n")
    while try await !other.query("SELECT 1 FROM pg_stat_activity WHERE pid = \(pid)").isEmpty {
      try await sleep(milliseconds: 5)
    }
  }

  @Test("A server that became a replica is left", .timeLimit(.minutes(3)))
  func readOnly() async throws {
    let server = try Self.server.get()
    let client = try await connect(server.url)
    defer { client.close() }
    let pid = try await client.query("SELECT pg_backend_pid() AS n")[0].int("n")
    let error = await #expect(throws: PostgresError.self) {
      try await client.transaction(["SET TRANSACTION READ ONLY", "CREATE TABLE never (n int)"])
    }
    #expect(error?.code == .unavailable)
    #expect(error?.sqlState == "25006")
    #expect(try await client.query("SELECT pg_backend_pid() AS n")[0].int("n") != pid)
  }

  @Test("A server that one can connect to and that then refuses everything is come back to ever more slowly")
  func refusesEverything() async throws {
    let server = try Self.server.get()
    let client = try await connect(server.url)
    defer { client.close() }
    let before = client.slots[0].backoff.attempts
    for attempts in 1...4 {
      try await client.waitUntilReady(milliseconds: 60_000)
      await #expect(throws: PostgresError.self) {
        try await client.transaction(["SET TRANSACTION READ ONLY", "CREATE TABLE never (n int)"])
      }
      #expect(client.slots[0].backoff.attempts == before + attempts)
    }
  }

  enum Form: CaseIterable { case pipeline, steps, single }

  /// Inserts through a client that is cut at the commit, and reports the error and whether the row is there.
  func insert(_ form: Form, cut: (String) -> TCPProxy.Cut) async throws -> (PostgresError?, isThere: Bool) {
    let server = try Self.server.get()
    let direct = try await connect(server.url)
    defer { direct.close() }
    let table = "t_" + UUID().uuidString.lowercased().replacing("-", with: "")
    try await direct.script("CREATE TABLE \(table) (n int)")
    let proxy = try TCPProxy(to: server.port)
    defer { proxy.close() }
    let client = try await connect(url(port: proxy.port))
    defer { client.close() }
    proxy.set(cut(form == .single ? "INSERT" : "COMMIT"))
    let statement: SQL = "INSERT INTO \(unsafeSQL: table) VALUES (1)"
    let error = await #expect(throws: PostgresError.self) {
      switch form {
      case .pipeline: _ = try await client.transaction([statement])
      case .steps: try await client.withTransaction { _ = try await $0.query(statement) }
      case .single: _ = try await client.query(statement)
      }
    }
    return (error, try await !direct.query("SELECT 1 FROM \(unsafeSQL: table)").isEmpty)
  }

  @Test("Cut after the commit was carried out, the outcome is unknown", arguments: Form.allCases)
  func cutAfterCommit(form: Form) async throws {
    let (error, isThere) = try await insert(form) { .after(Array($0.utf8)) }
    #expect(error?.code == .outcomeUnknown)
    #expect(isThere)
  }

  /// What a server sends that is told to end while it commits: the commit's answer, and in place of being ready
  /// for the next statement, that it ends.
  nonisolated static func endedAfterCommit(_ answer: [UInt8]) -> [UInt8] {
    let ready = answer.suffix(6)
    precondition(ready.first == UInt8(ascii: "Z"), "an answer ends with being ready")
    let fields = Array(
      "SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0".utf8)
    let length = withUnsafeBytes(of: UInt32(fields.count + 4).bigEndian) { Array($0) }
    return Array(answer.dropLast(6)) + [UInt8(ascii: "E")] + length + fields
  }

  @Test("A server that ends right after the commit leaves the outcome unknown", arguments: Form.allCases)
  func endedAfterCommit(form: Form) async throws {
    let (error, isThere) = try await insert(form) { .rewriting(Array($0.utf8), Self.endedAfterCommit) }
    #expect(error?.code == .outcomeUnknown)
    #expect(isThere)
  }

  @Test("Cut before the commit arrived, the outcome is unknown as well", arguments: Form.allCases)
  func cutBeforeCommit(form: Form) async throws {
    let (error, isThere) = try await insert(form) { .before(Array($0.utf8)) }
    #expect(error?.code == .outcomeUnknown)
    #expect(!isThere)
  }

  @Test("Cut before a statement of a transaction by steps, nothing was done")
  func cutBeforeStatement() async throws {
    let server = try Self.server.get()
    let proxy = try TCPProxy(to: server.port)
    defer { proxy.close() }
    let client = try await connect(url(port: proxy.port))
    defer { client.close() }
    proxy.set(.before(Array("SELECT 2".utf8)))
    let error = await #expect(throws: PostgresError.self) {
      try await client.withTransaction { transaction in
        _ = try await transaction.query("SELECT 1")
        _ = try await transaction.query("SELECT 2")
      }
    }
    #expect(error?.code == .connectionLost)
  }

  @Test("A silent network ends with the deadline, not before and not never")
  func silence() async throws {
    let server = try Self.server.get()
    let proxy = try TCPProxy(to: server.port)
    defer { proxy.close() }
    let client = try await connect(url(port: proxy.port), timeout: 300)
    defer { client.close() }
    proxy.set(.silence)
    var error = await #expect(throws: PostgresError.self) { try await client.transaction(["SELECT 1"]) }
    #expect(error?.code == .outcomeUnknown)
    proxy.set(.never)
    try await client.waitUntilReady(milliseconds: 60_000)
    proxy.set(.silence)
    error = await #expect(throws: PostgresError.self) { try await client.query("SELECT 1") }
    #expect(error?.code == .timeout)
  }
}
