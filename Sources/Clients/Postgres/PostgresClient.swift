package import EventLoop
package import Logging
import Metrics

/// PostgreSQL through a pool of connections in pipeline mode.
///
/// A caller that finds no connection free waits, bounded in time and number. Lost connections are made anew by
/// themselves. Serialization failures, deadlocks and lock timeouts are retried a few times, as a whole; what may
/// have been committed is never repeated. Cancelling a task does not end its statement: the timeout bounds it.
@LoopActor
package final class PostgresClient {
  struct Slot {
    var connection: PostgresConnection?
    var backoff = Backoff(firstMilliseconds: 50, limitMilliseconds: 2000)
    var connectAt: UInt64 = 0
    /// How often connecting ran out of time. A host that does not answer at all would use up every try's, so each
    /// such try is followed by one that begins with the next host.
    var timeouts = 0
  }

  private struct Waiting {
    let answer: UnsafeContinuation<PostgresConnection?, Never>
    let since: UInt64
  }

  /// How often deadlines and reconnections are looked at, in milliseconds.
  private static let tickMilliseconds: UInt64 = 50
  /// Ticks further apart than this mean that the process was stopped: answers may be there, and are read first.
  private static let pauseMilliseconds: UInt64 = 1000
  /// How often a transaction is run before its serialization failure or deadlock is reported.
  private static let attempts = 5

  private let configuration: PostgresConfiguration
  private let logger: Logger
  private(set) var slots: [Slot]
  /// The one used last is used next: its statements are prepared, and its server process is warm.
  private var idle: [PostgresConnection] = []
  private var waiting = Fifo<Waiting>()
  private var awaitingReady: [(deadline: UInt64, answer: UnsafeContinuation<Bool, Never>)] = []
  private var openCount = 0
  private var awaySince: UInt64 = 0
  private var lastFailure = "not connected yet"
  /// Whether that is not going to change by itself.
  private var isUnsuited = false
  /// Why there is no connection.
  private var failure: PostgresError { PostgresError(isUnsuited ? .unsuited : .unavailable, lastFailure) }
  private var isStarted = false
  private var isClosed = false
  private let ticker = LoopTimer()
  private var lastTick: UInt64 = 0
  private let lost = MetricsRegistry.shared.counter(
    "onsale_postgres_connections_lost_total",
    "Connections to PostgreSQL that ended unasked or could not be made")
  private let retries = MetricsRegistry.shared.counter(
    "onsale_postgres_retries_total",
    "Transactions run again after a serialization failure, deadlock or lock timeout")

  package init(_ configuration: PostgresConfiguration, logger: Logger) {
    self.configuration = configuration
    self.logger = logger
    slots = Array(repeating: Slot(), count: configuration.connections)
  }

  /// Begins to connect, and keeps connected until `close`. Returns at once.
  package func start() {
    precondition(!isStarted, "a client is started once")
    isStarted = true
    awaySince = EventLoop.shared.now
    lastTick = awaySince
    ticker.schedule(afterMilliseconds: Self.tickMilliseconds, every: Self.tickMilliseconds) { [weak self] in
      self?.tick()
    }
    for index in slots.indices { connect(index) }
  }

  /// Looks whether sessions last through whatever is in front of PostgreSQL, and begins to connect. Where nothing answers
  /// that is not known yet; what is found later is logged, and told as the reason why there is no connection.
  /// - Throws: `unsuited`.
  package func startIfSuited() async throws(PostgresError) {
    // Two: what the first leaves behind, the second must not find.
    var connections: [PostgresConnection] = []
    defer { for connection in connections { connection.retire() } }
    for _ in 0..<2 {
      let (connection, error) = await opened()
      connections.append(connection)
      guard let error else { continue }
      if error.code == .unsuited { throw error }
      break
    }
    start()
  }

  /// A connection beside the pool's, once it is open or has ended.
  private func opened() async -> (PostgresConnection, PostgresError?) {
    var answer: UnsafeContinuation<PostgresError?, Never>?
    var early: PostgresError??
    func end(_ error: PostgresError?) {
      if let waiting = answer.take() {
        waiting.resume(returning: error)
      } else if early == nil {
        early = .some(error)
      }
    }
    let connection = PostgresConnection(
      configuration, logger: logger, onOpen: { _ in end(nil) }, onEnd: { end($1) })
    let timer = LoopTimer()
    timer.schedule(afterMilliseconds: Self.lookMilliseconds) {
      connection.end(PostgresError(.timeout, "connecting took too long"))
    }
    defer { timer.cancel() }
    connection.open(firstHost: 0)
    if let early { return (connection, early) }
    return (connection, await withUnsafeContinuation { answer = $0 })
  }

  /// How long a start waits to know what is in front of PostgreSQL, in milliseconds.
  private static let lookMilliseconds: UInt64 = 2_000

  /// Ends all connections; what is under way is lost, what waits fails.
  package func close() {
    guard !isClosed else { return }
    isClosed = true
    lastFailure = "the client is closed"
    ticker.cancel()
    for slot in slots { slot.connection?.end(PostgresError(.connectionLost, lastFailure)) }
    failWaiting { _ in true }
    for entry in awaitingReady { entry.answer.resume(returning: false) }
    awaitingReady = []
  }

  /// Whether at least one connection is there.
  package var isReady: Bool { openCount > 0 }

  /// Returns once there is a connection.
  /// - Throws: `unavailable` after `milliseconds`.
  package func waitUntilReady(milliseconds: UInt64) async throws(PostgresError) {
    if isReady { return }
    let isReady = await withUnsafeContinuation { answer in
      if isClosed { return answer.resume(returning: false) }
      awaitingReady.append((EventLoop.shared.now + milliseconds, answer))
    }
    if !isReady { throw failure }
  }

  // MARK: Statements

  /// Runs one statement, which is its own transaction.
  package func query(_ sql: SQL) async throws(PostgresError) -> [PostgresRow] {
    if sql.hasZeroByte { throw .zeroByte(sql) }
    return try await retrying { () async throws(PostgresError) -> [PostgresRow] in
      let results = try await self.run([sql], commit: sql.isRead ? nil : 0)
      return results[0].rows
    }
  }

  /// Runs statements as one transaction in one round trip: all take effect, or none.
  /// - Returns: the rows of each statement.
  package func transaction(_ statements: [SQL]) async throws(PostgresError) -> [[PostgresRow]] {
    for sql in statements where sql.hasZeroByte { throw .zeroByte(sql) }
    return try await retrying { () async throws(PostgresError) -> [[PostgresRow]] in
      let results = try await self.run(["BEGIN"] + statements + ["COMMIT"], commit: statements.count + 1)
      guard results[statements.count + 1].tag == "COMMIT" else {
        throw PostgresError(.server, "rolled back", sqlState: "25P02")
      }
      return results[1..<statements.count + 1].map(\.rows)
    }
  }

  /// Runs `body` as one transaction: committed when it returns, rolled back when it throws.
  ///
  /// After a serialization failure, deadlock or lock timeout `body` runs again from its beginning, so whatever it
  /// does besides its statements must bear repetition.
  package func withTransaction<Result>(
    _ body: @LoopActor (PostgresTransaction) async throws -> Result
  ) async throws -> Result {
    var backoff = Backoff(firstMilliseconds: 10, limitMilliseconds: 200)
    while true {
      let connection = try await acquire()
      let transaction = PostgresTransaction(connection)
      do {
        let result = try await body(transaction)
        try await transaction.commit()
        release(connection)
        return result
      } catch {
        transaction.abandon()
        let known = error as? PostgresError
        if let known { end(connection, after: known) }
        release(connection)
        if known?.saysSessionsMix == true, connection.isPooled { throw PostgresConnection.mixedSessions }
        try await waitToRetry(error, &backoff)
      }
    }
  }

  /// Runs several statements in one text, without parameters and without a limit of the statements' time: for
  /// schemas. It is one transaction unless it says otherwise.
  /// - Parameter lockMilliseconds: how long each may wait for a lock, and so keep those waiting who want it after them;
  ///   0 for ever.
  package func script(_ text: String, lockMilliseconds: Int = 0) async throws(PostgresError) {
    let connection = try await acquire()
    let outcome = await connection.runScript(text, lockMilliseconds: lockMilliseconds)
    // Its settings were changed; a new one takes its place.
    connection.retire()
    switch outcome {
    case .done: return
    case .refused(_, let error): throw error
    case .lost(let refusal, let error): throw refusal?.error ?? PostgresError(.outcomeUnknown, error.message)
    case .unsent: throw PostgresError(.unavailable, lastFailure)
    }
  }

  /// - Parameter commit: the statement from which on the effects may be permanent; `nil` if none of them writes.
  private func run(_ statements: [SQL], commit: Int?) async throws(PostgresError) -> [PostgresResult] {
    let connection = try await acquire()
    let outcome = await connection.run(statements)
    switch outcome {
    case .done(let results):
      release(connection)
      return results
    case .refused(let step, let error):
      let isMixed = error.saysSessionsMix && connection.isPooled
      end(connection, after: error)
      release(connection)
      if isMixed { throw PostgresConnection.mixedSessions }
      throw error.classified(mayBeCommitted: step == commit, statements[step])
    case .lost(let refusal, let error):
      // A refusal of a statement before the commit is the end of the transaction, whatever came after it.
      let mayBeCommitted = commit.map { refusal == nil || refusal?.step == $0 } ?? false
      throw (refusal?.error ?? error).classified(
        mayBeCommitted: mayBeCommitted, statements[refusal?.step ?? 0])
    case .unsent: throw PostgresError(.unavailable, lastFailure)
    }
  }

  private func retrying<Result>(
    _ body: @LoopActor () async throws(PostgresError) -> Result
  ) async throws(PostgresError) -> Result {
    var backoff = Backoff(firstMilliseconds: 10, limitMilliseconds: 200)
    while true {
      do throws(PostgresError) {
        return try await body()
      } catch {
        try await waitToRetry(error, &backoff)
      }
    }
  }

  /// Returns when it makes sense to try again. - Throws: `error` when it does not.
  private func waitToRetry<Failure: Error>(_ error: Failure, _ backoff: inout Backoff) async throws(Failure) {
    guard let known = error as? PostgresError, known.isTransient || known.isStalePlan,
      backoff.attempts + 1 < Self.attempts
    else { throw error }
    retries.increment()
    if (try? await sleep(milliseconds: backoff.next())) == nil { throw error }
  }

  // MARK: The pool

  private func acquire() async throws(PostgresError) -> PostgresConnection {
    if let connection = idle.popLast() { return connection }
    let now = EventLoop.shared.now
    let isHopeless = openCount == 0 && now > awaySince + configuration.patienceMilliseconds
    guard isStarted, !isClosed, !isHopeless else { throw failure }
    guard waiting.count < configuration.waitingCapacity else {
      throw PostgresError(.unavailable, "too many callers wait for a connection")
    }
    let connection = await withUnsafeContinuation { answer in
      waiting.append(Waiting(answer: answer, since: now))
    }
    guard let connection else {
      throw openCount > 0 ? PostgresError(.unavailable, "all connections are busy") : failure
    }
    return connection
  }

  private func release(_ connection: PostgresConnection) {
    guard connection.isOpen else { return }
    if connection.isInTransaction {
      // Owned by the connection: ends at the latest with its deadline.
      Task { @LoopActor in
        _ = await connection.run(["ROLLBACK"])
        if connection.isInTransaction {
          connection.end(PostgresError(.connectionLost, "the transaction does not end"))
        }
        release(connection)
      }
    } else if let next = waiting.popFirst() {
      next.answer.resume(returning: connection)
    } else {
      idle.append(connection)
    }
  }

  private func failWaiting(_ mustFail: (Waiting) -> Bool) {
    while let entry = waiting.first, mustFail(entry) {
      _ = waiting.popFirst()
      entry.answer.resume(returning: nil)
    }
  }

  private func tick() {
    let now = EventLoop.shared.now
    defer { lastTick = now }
    if now > lastTick + Self.pauseMilliseconds { return }
    for index in slots.indices {
      if let connection = slots[index].connection {
        connection.checkDeadline(now: now)
      } else if now >= slots[index].connectAt {
        connect(index)
      }
    }
    failWaiting { now > $0.since + configuration.waitMilliseconds }
    for entry in awaitingReady where now > entry.deadline { entry.answer.resume(returning: false) }
    awaitingReady.removeAll { now > $0.deadline }
  }

  private func connect(_ index: Int) {
    let connection = PostgresConnection(
      configuration, logger: logger,
      onOpen: { [weak self] connection in self?.opened(connection, index) },
      onEnd: { [weak self] connection, error in self?.ended(connection, index, error) })
    slots[index].connection = connection
    connection.open(firstHost: slots[index].timeouts)
  }

  private func opened(_ connection: PostgresConnection, _ index: Int) {
    openCount += 1
    isUnsuited = false
    logger.worksAgain("postgres: cannot connect")
    logger.worksAgain("postgres: connection lost")
    if openCount == 1 {
      logger.info("postgres: connected")
      for entry in awaitingReady { entry.answer.resume(returning: true) }
      awaitingReady = []
    }
    release(connection)
  }

  private func ended(_ connection: PostgresConnection, _ index: Int, _ error: PostgresError) {
    slots[index].connection = nil
    idle.removeAll { $0 === connection }
    let now = EventLoop.shared.now
    if let openedAt = connection.openedAt {
      slots[index].backoff.ended(afterMilliseconds: now - openedAt)
      openCount -= 1
      if openCount == 0 { awaySince = now }
    }
    guard !isClosed else { return }
    if connection.isRetired { return connect(index) }
    lastFailure = error.message
    isUnsuited = error.code == .unsuited
    if isUnsuited {
      // Waiting longer makes nothing better.
      for entry in awaitingReady { entry.answer.resume(returning: false) }
      awaitingReady = []
    }
    lost.increment()
    if connection.wasOpen {
      logger.retrying("postgres: connection lost", ["error": error.message])
    } else {
      logger.retrying("postgres: cannot connect", ["error": error.message])
    }
    if !connection.wasOpen, error.code == .timeout { slots[index].timeouts += 1 }
    slots[index].connectAt = now + slots[index].backoff.next()
  }

  /// Ends a connection whose session is of no use any more after `error`.
  private func end(_ connection: PostgresConnection, after error: PostgresError) {
    if error.saysSessionsMix, connection.isPooled {
      // So do those of all others, which lead through the same pooler.
      for other in idle + [connection] { other.end(PostgresConnection.mixedSessions) }
      return
    }
    guard error.endsSession || error.isStalePlan else { return }
    connection.end(error)
    // The others lead to the same server, which is not the primary now.
    if error.sqlState == "25006" { for connection in idle { connection.end(error) } }
  }
}
