import EventLoop
import Foundation
import Logging
import TestServers
import Testing

@testable import Redis

@LoopActor
@Suite("The Redis client", .timeLimit(.minutes(3)))
struct RedisClientTests {
  let logger = Logger(label: "test")

  /// A client of the shared server, and a prefix for the test's keys.
  func shared() async throws -> (RedisClient, String) {
    var configuration = try RedisConfiguration(url: TestRedis.shared.url())
    configuration.timeoutMilliseconds = 60_000
    let client = RedisClient(configuration, logger: logger)
    client.start()
    try await client.waitUntilReady(milliseconds: 60_000)
    return (client, "test:\(UUID().uuidString):")
  }

  /// Waits for a server that starts slowly on a busy machine.
  func patient(_ redis: TestRedis) throws -> RedisConfiguration {
    var configuration = try RedisConfiguration(url: redis.url)
    configuration.patienceMilliseconds = 60_000
    configuration.timeoutMilliseconds = 60_000
    return configuration
  }

  @Test("Commands sent together are answered in their order")
  func pipelining() async throws {
    let (client, prefix) = try await shared()
    defer { client.close() }
    let key = RedisArgument.text(prefix + "counter")
    // Tasks that one task starts on the loop run in their order, and so do their commands.
    let tasks = (1...5000).map { _ in Task { try await client.command(["INCR", key]).integer } }
    for (index, task) in tasks.enumerated() { #expect(try await task.value == index + 1) }
    _ = try await client.command(["DEL", key])
  }

  @Test("Several commands are answered together, in their order, or fail together")
  func commands() async throws {
    let (client, prefix) = try await shared()
    defer { client.close() }
    let key = RedisArgument.text(prefix + "several")
    #expect(try await client.commands([]) == [])
    let answers = try await client.commands([
      ["SET", key, "1"], ["INCR", key], ["GET", key], ["DEL", key],
    ])
    #expect(answers.map { $0.text ?? $0.integer.map(String.init) } == ["OK", "2", "2", "1"])
    // The first failure is told when all are answered; those after it were carried out.
    let error = await #expect(throws: RedisError.self) {
      try await client.commands([["SET", key, "x"], ["INCR", key], ["LPUSH", key, "y"], ["DEL", key]])
    }
    #expect(error?.code == .server("ERR"))
    #expect(try await client.command(["EXISTS", key]).integer == 0)
  }

  @Test("Values of every kind come back as they are")
  func values() async throws {
    let (client, prefix) = try await shared()
    defer { client.close() }
    let key = RedisArgument.text(prefix + "v")
    let hostile: [UInt8] = Array(0...255) + Array("\r\n$5\r\nDEL x\r\n".utf8)
    #expect(try await client.command(["SET", key, .bytes(hostile)]) == .string(Array("OK".utf8)))
    #expect(try await client.command(["GET", key]) == .string(hostile))
    #expect(try await client.command(["GET", .text(prefix + "none")]) == .null)
    #expect(try await client.command(["SET", key, ""]).text == "OK")
    #expect(try await client.command(["GET", key]) == .string([]))
    #expect(try await client.command(["ECHO", .integer(.min)]).text == "\(Int.min)")
    let nested = try await client.command([
      "EVAL", "return {1, 'two', {3, false}, redis.status_reply('four'), redis.error_reply('FIVE x')}", "0",
    ])
    #expect(
      nested
        == .array([
          .integer(1), .string(Array("two".utf8)), .array([.integer(3), .null]), .string(Array("four".utf8)),
          .string(Array("FIVE x".utf8)),
        ]))
    let large = [UInt8](repeating: 7, count: 5 << 20)
    _ = try await client.command(["SET", key, .bytes(large)])
    #expect(try await client.command(["GET", key]) == .string(large))
    _ = try await client.command(["DEL", key])
  }

  @Test("An error is thrown with the first word as its code, and the next command works")
  func serverErrors() async throws {
    let (client, prefix) = try await shared()
    defer { client.close() }
    _ = try await client.command(["SET", .text(prefix + "s"), "text"])
    let error = await #expect(throws: RedisError.self) {
      try await client.command(["LPUSH", .text(prefix + "s"), "x"])
    }
    #expect(error?.code == .server("WRONGTYPE"))
    #expect(error?.outcomeIsUnknown == false)
    #expect(try await client.command(["DEL", .text(prefix + "s")]).integer == 1)
  }

  @Test("After the server was killed, what was under way is unknown, and the client comes back by itself")
  func reconnect() async throws {
    let redis = try TestRedis()
    let client = RedisClient(try patient(redis), logger: logger)
    client.start()
    defer { client.close() }
    try await client.waitUntilReady(milliseconds: 60_000)
    _ = try await client.command(["SET", "a", "1"])
    let blocked = Task { try await client.command(["BLPOP", "nothing", "0"]) }
    try await sleep(milliseconds: 20)
    redis.stop()
    var error = await #expect(throws: RedisError.self) { try await blocked.value }
    #expect(error?.code == .connectionLost)
    // Waits for the connection, and is sent once it is there.
    async let waited = client.command(["GET", "a"])
    try redis.start()
    #expect(try await waited.text == "1")
    #expect(client.isReady)
    client.close()
    error = await #expect(throws: RedisError.self) { try await client.command(["PING"]) }
    #expect(error?.code == .unavailable)
  }

  @Test("A replica is come back to ever more slowly")
  func replica() async throws {
    let redis = try TestRedis(["--replicaof", "127.0.0.1", "\(freePort())"])
    let client = RedisClient(try patient(redis), logger: logger)
    client.start()
    defer { client.close() }
    try await client.waitUntilReady(milliseconds: 60_000)
    let before = client.backoff.attempts
    for attempts in 1...4 {
      let error = await #expect(throws: RedisError.self) { try await client.command(["SET", "a", "1"]) }
      #expect(error?.code == .server("READONLY"))
      while client.isReady { try await sleep(milliseconds: 1) }
      #expect(client.backoff.attempts == before + attempts)
      try await client.waitUntilReady(milliseconds: 60_000)
    }
  }

  @Test("Away for longer than its patience, the client fails at once")
  func patience() async throws {
    var configuration = try RedisConfiguration(url: "redis://127.0.0.1:\(freePort())")
    configuration.patienceMilliseconds = 50
    configuration.timeoutMilliseconds = 60_000
    let client = RedisClient(configuration, logger: logger)
    client.start()
    defer { client.close() }
    await #expect(throws: RedisError.self) { try await client.waitUntilReady(milliseconds: 100) }
    let error = await #expect(throws: RedisError.self) { try await client.command(["PING"]) }
    #expect(error?.code == .unavailable)
  }

  @Test("A server that hangs times out; the next connection works")
  func timeout() async throws {
    let redis = try TestRedis()
    var configuration = try RedisConfiguration(url: redis.url)
    configuration.timeoutMilliseconds = 1000
    configuration.patienceMilliseconds = 10_000
    let client = RedisClient(configuration, logger: logger)
    client.start()
    defer { client.close() }
    try await client.waitUntilReady(milliseconds: 60_000)
    redis.signal(SIGSTOP)
    let error = await #expect(throws: RedisError.self) { try await client.command(["SET", "x", "1"]) }
    #expect(error?.code == .timeout)
    #expect(error?.outcomeIsUnknown == true)
    redis.signal(SIGCONT)
    try await client.waitUntilReady(milliseconds: 60_000)
    #expect(try await client.command(["GET", "y"]) == .null)
  }

  @Test("More commands than the capacity are refused before they are sent")
  func capacity() async throws {
    var configuration = try RedisConfiguration(url: TestRedis.shared.url())
    configuration.capacity = 2
    let client = RedisClient(configuration, logger: logger)
    client.start()
    defer { client.close() }
    try await client.waitUntilReady(milliseconds: 60_000)
    let key = "test:\(UUID().uuidString)"
    // The first holds up the answers to the others.
    let commands: [[RedisArgument]] = [["BLPOP", .text(key), "1"]] + Array(repeating: ["PING"], count: 9)
    let tasks = commands.map { command in Task { try await client.command(command) } }
    var refused = 0
    for task in tasks {
      do {
        _ = try await task.value
      } catch let error as RedisError {
        #expect(error.code == .unavailable)
        refused += 1
      }
    }
    #expect(refused == 8)
    #expect(try await client.command(["PING"]).text == "PONG")
  }

  @Test("A Redis that comes back empty is prepared before anybody's command reaches it")
  func preparation() async throws {
    let redis = try TestRedis()
    var prepared = 0
    let client = RedisClient(try patient(redis), logger: logger) { client in
      prepared += 1
      _ = try await client.command(["FUNCTION", "LOAD", "REPLACE", .text(Self.library)])
      // Gives the others' commands time to overtake, which they must not.
      try await sleep(milliseconds: 20)
      _ = try await client.command(["SET", "prepared", "yes"])
    }
    client.start()
    defer { client.close() }
    #expect(try await client.command(["GET", "prepared"]).text == "yes")
    #expect(
      try await client.call("test_echo", keys: ["k"], ["a"]) == .array([.string([107]), .string([97])]))
    try redis.stopAndForget()
    while client.isReady { try await sleep(milliseconds: 1) }
    try redis.start()
    #expect(try await client.command(["GET", "prepared"]).text == "yes")
    #expect(try await client.call("test_echo", keys: [], []) == .array([.null, .null]))
    #expect(prepared == 2)
  }

  @Test("A missing function is loaded by preparing once, for all who miss it")
  func missingFunction() async throws {
    let redis = try TestRedis()
    var prepared = 0
    let client = RedisClient(try patient(redis), logger: logger) { client in
      prepared += 1
      _ = try await client.command(["FUNCTION", "LOAD", "REPLACE", .text(Self.library)])
    }
    client.start()
    defer { client.close() }
    _ = try await client.command(["FUNCTION", "FLUSH"])
    let tasks = (0..<50).map { _ in Task { try await client.call("test_echo", keys: ["k"], ["a"]) } }
    for task in tasks { _ = try await task.value }
    #expect(prepared == 2)
    let error = await #expect(throws: RedisError.self) { try await client.call("no_such", keys: [], []) }
    #expect(error?.code == .server("ERR"))
  }

  @Test("A preparation that fails is repeated on a new connection")
  func failingPreparation() async throws {
    var tries = 0
    let client = RedisClient(try RedisConfiguration(url: TestRedis.shared.url()), logger: logger) { client in
      tries += 1
      if tries < 3 { _ = try await client.command(["NO-SUCH-COMMAND"]) }
    }
    client.start()
    defer { client.close() }
    try await client.waitUntilReady(milliseconds: 60_000)
    #expect(try await client.command(["PING"]).text == "PONG")
    #expect(tries == 3)
  }

  @Test("The URL's password and database are used")
  func login() async throws {
    let redis = try TestRedis(["--requirepass", "s3cret@/"])
    let client = RedisClient(
      try RedisConfiguration(url: "redis://:s3cret%40%2F@127.0.0.1:\(redis.port)/3"), logger: logger)
    client.start()
    defer { client.close() }
    try await client.waitUntilReady(milliseconds: 60_000)
    _ = try await client.command(["SET", "here", "1"])
    let info = try await client.command(["INFO", "keyspace"]).text ?? ""
    #expect(info.contains("db3:keys=1"))

    let wrong = RedisClient(
      try RedisConfiguration(url: "redis://:no@127.0.0.1:\(redis.port)"), logger: logger)
    wrong.start()
    defer { wrong.close() }
    await #expect(throws: RedisError.self) { try await wrong.waitUntilReady(milliseconds: 300) }
  }

  @Test(
    "A malformed URL is refused without repeating its password",
    arguments: [
      "", "http://x", "redis://", "redis://:secret@", "redis://secret@h", "redis://:secret@h:port",
      "redis://:secret@h/x", "redis://:secret@h:70000", "redis://:secret@[::1]x",
    ])
  func malformedURL(url: String) {
    let error = #expect(throws: RedisError.self) { try RedisConfiguration(url: url) }
    #expect(error?.message.contains("secret") == false)
  }

  @Test("The parts of a URL are found")
  func url() throws {
    let configuration = try RedisConfiguration(url: "redis://user:p%3Aw@[::1]:7000/2?x=y")
    #expect(configuration.host == "::1")
    #expect(configuration.port == 7000)
    #expect(configuration.user == "user")
    #expect(configuration.password == "p:w")
    #expect(configuration.database == 2)
    #expect(try RedisConfiguration(url: "redis://localhost").port == 6379)
  }

  static let library = """
    #!lua name=test
    redis.register_function('test_echo', function(keys, args) return {keys[1] or false, args[1] or false} end)
    """
}
