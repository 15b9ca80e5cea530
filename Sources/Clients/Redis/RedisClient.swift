package import EventLoop
package import Logging
import Metrics

/// Redis over one connection that pipelines by itself: everything sent in one turn of the loop goes out together.
///
/// Commands are carried out in the order of their calls. One that was sent is never sent again by the client; see
/// `RedisError` for what a failure says about its effect. Cancelling a task does not end its command: the timeout
/// bounds it. After a lost connection the client connects again by itself, and meanwhile commands wait, up to
/// their timeout; once it has been away for longer than the configured patience they fail at once.
@LoopActor
package final class RedisClient {
  private enum State { case new, connecting, preparing, ready, away, closed }

  private struct Waiting {
    let arguments: [RedisArgument]
    let answer: RedisAnswer
    let since: UInt64
  }

  /// How often deadlines are looked at, in milliseconds.
  private static let tickMilliseconds: UInt64 = 100
  /// Ticks further apart than this mean that the process was stopped: answers may be there, and are read first.
  private static let pauseMilliseconds: UInt64 = 1000

  /// The client that the current task prepares; its commands pass those that wait for it.
  @TaskLocal private static var preparing: ObjectIdentifier?

  private let configuration: RedisConfiguration
  private let logger: Logger
  private let prepare: @LoopActor (RedisClient) async throws -> Void
  private var state = State.new
  private var connection: RedisConnection?
  private var waiting = Fifo<Waiting>()
  private var awaitingReady: [(deadline: UInt64, answer: UnsafeContinuation<Bool, Never>)] = []
  /// Since when there has been no usable connection.
  private var awaySince: UInt64 = 0
  /// When the present connection became usable, on the loop's clock; tells connections apart.
  package private(set) var readySince: UInt64 = 0
  private var lastFailure = "not connected yet"
  private(set) var backoff = Backoff(firstMilliseconds: 50, limitMilliseconds: 2000)
  private let ticker = LoopTimer()
  private let reconnectTimer = LoopTimer()
  private var lastTick: UInt64 = 0
  private var repreparation: Task<RedisError?, Never>?
  private let lost = MetricsRegistry.shared.counter(
    "onsale_redis_connections_lost_total", "Connections to Redis that ended unasked or could not be made")

  /// - Parameter prepare: runs on each new connection before anybody else's commands; they wait for it. When it
  ///   throws, the connection is made anew. Also runs when `call` finds its function missing.
  package init(
    _ configuration: RedisConfiguration, logger: Logger,
    prepare: @escaping @LoopActor (RedisClient) async throws -> Void = { _ in }
  ) {
    self.configuration = configuration
    self.logger = logger.with(["redis.host": configuration.host, "redis.port": configuration.port])
    self.prepare = prepare
  }

  /// Begins to connect, and keeps connected until `close`. Returns at once.
  package func start() {
    precondition(state == .new, "a client is started once")
    awaySince = EventLoop.shared.now
    lastTick = awaySince
    ticker.schedule(afterMilliseconds: Self.tickMilliseconds, every: Self.tickMilliseconds) { [weak self] in
      self?.tick()
    }
    connect()
  }

  /// Ends the connection. Commands under way fail as lost, those that wait as unavailable.
  package func close() {
    guard state != .closed else { return }
    state = .closed
    ticker.cancel()
    reconnectTimer.cancel()
    lastFailure = "the client is closed"
    let connection = connection
    self.connection = nil
    connection?.discard(RedisError(.connectionLost, lastFailure))
    failWaiting { _ in true }
    for entry in awaitingReady { entry.answer.resume(returning: false) }
    awaitingReady = []
  }

  package var isReady: Bool { state == .ready }

  /// Returns once commands can be sent.
  /// - Throws: `unavailable` after `milliseconds`.
  package func waitUntilReady(milliseconds: UInt64) async throws(RedisError) {
    if state == .ready { return }
    let isReady = await withUnsafeContinuation { answer in
      if state == .closed { return answer.resume(returning: false) }
      awaitingReady.append((EventLoop.shared.now + milliseconds, answer))
    }
    if !isReady { throw RedisError(.unavailable, lastFailure) }
  }

  /// Sends one command and returns its answer.
  package func command(_ arguments: [RedisArgument]) async throws(RedisError) -> RedisValue {
    precondition(!arguments.isEmpty, "a command has a name")
    return try await withUnsafeContinuation { answer in submit(arguments, .one(answer)) }.get()
  }

  /// Sends several commands at once, over one connection, and returns their answers in the same order. Other clients'
  /// commands may come between them.
  /// - Throws: the first failure, when all have been answered; the others may have had their effect.
  package func commands(_ list: [[RedisArgument]]) async throws(RedisError) -> [RedisValue] {
    precondition(list.allSatisfy { !$0.isEmpty }, "a command has a name")
    if list.isEmpty { return [] }
    return try await withUnsafeContinuation { answers in
      let batch = RedisBatch(count: list.count, answers)
      for (index, arguments) in list.enumerated() { submit(arguments, .part(batch, index)) }
    }.get()
  }

  /// Calls a function of a library. If Redis does not know it, `prepare` runs once more, and the call is repeated.
  package func call(
    _ function: String, keys: [String], _ arguments: [RedisArgument]
  ) async throws(RedisError) -> RedisValue {
    let command = Self.command(function, keys, arguments)
    do {
      return try await self.command(command)
    } catch  where error.isFunctionMissing && Self.preparing != ObjectIdentifier(self) {
      try await prepareAgain()
      return try await self.command(command)
    }
  }

  /// The same without a task of the caller's.
  /// - Parameter tell: called once with what came of it, possibly before this returns.
  package func call(
    _ function: String, keys: [String], _ arguments: [RedisArgument],
    _ tell: @escaping @LoopActor (Result<RedisValue, RedisError>) -> Void
  ) {
    let command = Self.command(function, keys, arguments)
    submit(
      command,
      .told { [weak self] result in
        guard case .failure(let error) = result, error.isFunctionMissing, let self else {
          return tell(result)
        }
        // Ends by itself: a preparation and a call, each with its deadline.
        Task { @LoopActor in
          do throws(RedisError) {
            try await prepareAgain()
            tell(.success(try await self.command(command)))
          } catch { tell(.failure(error)) }
        }
      })
  }

  private static func command(
    _ function: String, _ keys: [String], _ arguments: [RedisArgument]
  ) -> [RedisArgument] {
    var command: [RedisArgument] = ["FCALL", .text(function), .integer(keys.count)]
    command.reserveCapacity(3 + keys.count + arguments.count)
    for key in keys { command.append(.text(key)) }
    command.append(contentsOf: arguments)
    return command
  }

  // MARK: Commands

  private func submit(_ arguments: [RedisArgument], _ answer: RedisAnswer) {
    if let connection, state == .ready || state == .preparing && Self.preparing == ObjectIdentifier(self) {
      guard connection.inFlightCount < configuration.capacity else {
        return answer.resume(returning: .failure(RedisError(.unavailable, "too many commands are under way")))
      }
      return connection.send(arguments, answer)
    }
    let now = EventLoop.shared.now
    let isHopeless = state == .closed || state == .new || now > awaySince + configuration.patienceMilliseconds
    if isHopeless || Self.preparing == ObjectIdentifier(self) {
      return answer.resume(returning: .failure(RedisError(.unavailable, lastFailure)))
    }
    guard waiting.count < configuration.capacity else {
      return answer.resume(returning: .failure(RedisError(.unavailable, "too many commands wait")))
    }
    waiting.append(Waiting(arguments: arguments, answer: answer, since: now))
  }

  private func failWaiting(_ mustFail: (Waiting) -> Bool) {
    while let entry = waiting.first, mustFail(entry) {
      _ = waiting.popFirst()
      entry.answer.resume(returning: .failure(RedisError(.unavailable, lastFailure)))
    }
  }

  private func sendWaiting() {
    guard let connection else { return }
    while let entry = waiting.popFirst() { connection.send(entry.arguments, entry.answer) }
  }

  private func tick() {
    let now = EventLoop.shared.now
    defer { lastTick = now }
    if now > lastTick + Self.pauseMilliseconds { return }
    connection?.checkDeadlines(now: now)
    if let connection, connection.isReadOnly {
      connection.discard(RedisError(.connectionLost, "the server is a replica now"))
    }
    failWaiting { now > $0.since + configuration.timeoutMilliseconds }
    for entry in awaitingReady where now > entry.deadline { entry.answer.resume(returning: false) }
    awaitingReady.removeAll { now > $0.deadline }
  }

  // MARK: Connecting

  private func connect() {
    state = .connecting
    // Says which connection the callbacks below speak of, without keeping it alive.
    weak var opened: RedisConnection?
    let connection = RedisConnection(
      configuration, onOpen: { [weak self] in if let opened { self?.opened(opened) } },
      onEnd: { [weak self] error in self?.ended(opened, error) })
    opened = connection
    self.connection = connection
    connection.open()
  }

  private func opened(_ connection: RedisConnection) {
    guard connection === self.connection else { return }
    state = .preparing
    // Owned by the connection: all it waits for fails when that ends.
    Task { @LoopActor in
      do {
        try await connection.greet()
        try await Self.$preparing.withValue(ObjectIdentifier(self)) { try await prepare(self) }
      } catch {
        logger.retrying("redis: preparing a connection failed", ["error": "\(error)"])
        connection.discard(RedisError(.connectionLost, "preparing failed"))
        return
      }
      guard connection === self.connection, connection.isOpen else { return }
      becomeReady()
    }
  }

  private func becomeReady() {
    state = .ready
    readySince = EventLoop.shared.now
    logger.info("redis: connected")
    for problem: StaticString in [
      "redis: connection lost", "redis: cannot connect", "redis: preparing a connection failed",
    ] { logger.worksAgain(problem) }
    sendWaiting()
    for entry in awaitingReady { entry.answer.resume(returning: true) }
    awaitingReady = []
  }

  private func ended(_ connection: RedisConnection?, _ error: RedisError) {
    guard state != .closed, connection === self.connection else { return }
    lost.increment()
    if state == .ready {
      awaySince = EventLoop.shared.now
      backoff.ended(afterMilliseconds: awaySince - readySince)
      logger.retrying("redis: connection lost", ["error": "\(error)"])
    } else {
      logger.retrying("redis: cannot connect", ["error": "\(error)"])
    }
    lastFailure = error.message
    state = .away
    self.connection = nil
    reconnectTimer.schedule(afterMilliseconds: backoff.next()) { [weak self] in self?.connect() }
  }

  /// One preparation serves everybody who finds a function missing at the same time.
  private func prepareAgain() async throws(RedisError) {
    let task =
      repreparation
      ?? Task { @LoopActor in
        defer { repreparation = nil }
        logger.retrying("redis: a function is missing, preparing again", level: .notice)
        do {
          try await Self.$preparing.withValue(ObjectIdentifier(self)) { try await prepare(self) }
          return nil
        } catch {
          return error as? RedisError ?? RedisError(.unavailable, "\(error)")
        }
      }
    repreparation = task
    // Nothing of the call itself was carried out.
    if let error = await task.value { throw RedisError(.unavailable, error.message) }
  }
}

extension RedisError {
  fileprivate var isFunctionMissing: Bool {
    code == .server("ERR") && message.hasPrefix("ERR Function not found")
  }
}
