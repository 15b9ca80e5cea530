import CLibPQ
import EventLoop
import Glibc
import Logging

/// One connection: libpq in pipeline mode on the loop, one pipeline at a time.
///
/// A pipeline is statements that leave together and end with one synchronisation point: one round trip. After a
/// statement that fails, the server skips the others up to that point, and everything is read up to there.
@LoopActor
final class PostgresConnection {
  /// How a pipeline ended.
  enum Outcome {
    case done([PostgresResult])
    /// The server refused the statement `step`; those after it were skipped.
    case refused(step: Int, PostgresError)
    /// The connection ended, or the deadline passed, before all was answered; `refusal` had been.
    case lost(refusal: (step: Int, error: PostgresError)?, PostgresError)
    /// The connection had ended before anything was sent.
    case unsent
  }

  private enum Command {
    case forget
    case prepare(text: String, name: String, step: Int)
    case execute(step: Int)
    /// Also what a commit implied by `step`, the last one, is answered with.
    case synchronise(step: Int)
  }

  /// What is under way.
  private struct Work {
    var commands: [Command]
    var next = 0
    var results: [PostgresResult] = []
    var refusal: (step: Int, error: PostgresError)?
    /// Whether the current command was answered; libpq then marks its end with "no result".
    var isAnswered = false
    let answer: UnsafeContinuation<Outcome, Never>
  }

  /// Whether a pooler is in between.
  private(set) var isPooled = false
  /// When statements could first be run, in loop time; `nil` if that never came.
  private(set) var openedAt: UInt64?
  var wasOpen: Bool { openedAt != nil }
  /// Ended on purpose, without anything being wrong.
  private(set) var isRetired = false

  private enum State { case connecting, settingUp, open, ended }

  /// How much later than the server, in milliseconds, the client gives up.
  private static let graceMilliseconds: UInt64 = 1000
  /// How long a script may run, in milliseconds.
  private static let scriptMilliseconds: UInt64 = 600_000

  private let configuration: PostgresConfiguration
  private let logger: Logger
  private let onOpen: @LoopActor (PostgresConnection) -> Void
  private let onEnd: @LoopActor (PostgresConnection, PostgresError) -> Void
  private var handle: OpaquePointer?
  private var watcher: DescriptorWatcher?
  private var state = State.connecting
  private var work: Work?
  /// When what is under way must have ended; `nil` when nothing is.
  private var deadline: UInt64?
  /// The names of this connection's prepared statements, by their texts.
  private var prepared: [String: String] = [:]
  private var preparedCount = 0
  /// When the first of them was prepared, in loop time.
  private var preparedSince: UInt64 = 0

  init(
    _ configuration: PostgresConfiguration, logger: Logger,
    onOpen: @escaping @LoopActor (PostgresConnection) -> Void,
    onEnd: @escaping @LoopActor (PostgresConnection, PostgresError) -> Void
  ) {
    self.configuration = configuration
    self.logger = logger
    self.onOpen = onOpen
    self.onEnd = onEnd
  }

  /// A client that was let go of without being closed leaves no session behind.
  isolated deinit {
    watcher?.close()
    if let handle { PQfinish(handle) }
  }

  /// Whether statements can be run; false for good once the connection has ended.
  var isOpen: Bool { state == .open }
  var isInTransaction: Bool { handle.map { PQtransactionStatus($0) != PQTRANS_IDLE } ?? false }

  // MARK: Connecting

  /// Begins to connect. A failure is reported by `onEnd`, possibly before this returns.
  ///
  /// libpq looks host names up itself, which blocks the loop: use addresses, or a resolver on this machine.
  /// - Parameter firstHost: which of several hosts is tried first.
  func open(firstHost: Int) {
    let parameters = configuration.startParameters(firstHost: firstHost)
    let strings = parameters.flatMap { [strdup($0.name), strdup($0.value)] }
    defer { strings.forEach { free($0) } }
    let names = stride(from: 0, to: strings.count, by: 2).map { UnsafePointer(strings[$0]) } + [nil]
    let values = stride(from: 1, to: strings.count, by: 2).map { UnsafePointer(strings[$0]) } + [nil]
    guard let handle = PQconnectStartParams(names, values, 0) else {
      return end(PostgresError(.unavailable, "out of memory"))
    }
    self.handle = handle
    guard PQstatus(handle) != CONNECTION_BAD else { return end(PostgresError(.unavailable, problem)) }
    PQsetNoticeProcessor(
      handle,
      { data, message in
        guard let data, let message else { return }
        let text = String(cString: message).trimmed
        LoopActor.assumeIsolated {
          Unmanaged<PostgresConnection>.fromOpaque(data).takeUnretainedValue()
            .logger.debug("postgres: notice", ["notice": text])
        }
      }, Unmanaged.passUnretained(self).toOpaque())
    deadline = EventLoop.shared.now + configuration.connectMilliseconds
    watchAnew(.writable)
  }

  private func connectFurther() {
    // libpq may close the descriptor and open another one, with the same number perhaps.
    watcher?.close()
    watcher = nil
    switch PQconnectPoll(handle) {
    case PGRES_POLLING_READING: watchAnew(.readable)
    case PGRES_POLLING_WRITING: watchAnew(.writable)
    case PGRES_POLLING_OK:
      state = .settingUp
      PQsetnonblocking(handle, 1)
      watchAnew(.readable)
      // Owned by the connection: what it waits for fails when that ends.
      Task { @LoopActor in await setUp() }
    default: end(PostgresError(.unavailable, problem))
    }
  }

  /// Makes the server give up on its own, so that a statement ends although nobody listens any more.
  private func setUp() async {
    isPooled = await isBehindPooler()
    if isPooled {
      guard configuration.poolerKeepsSessions else { return end(Self.pooler) }
      guard await isFirstOfSession() else { return end(Self.mixedSessions) }
    }
    let limit = configuration.statementTimeoutMilliseconds
    let own = configuration.sessionSettings.map { "; SET \($0.name) = \($0.value)" }.joined()
    // Compiling a statement takes 0.3 s of a core, longer than nearly all of ours run, and PostgreSQL would do it each time
    // for one whose plan must use what `sessionSettings` discourages, and so looks dear.
    let settings = """
      SET statement_timeout = \(limit); SET lock_timeout = \(limit / 2);
      SET idle_in_transaction_session_timeout = \(limit * 2); SET TimeZone = 'UTC'; SET jit = off\(own)
      """
    guard case .done = await runSimple(settings, milliseconds: configuration.waitMilliseconds) else {
      return end(PostgresError(.unavailable, "the session's settings were refused"))
    }
    guard PQenterPipelineMode(handle) == 1 else { return end(PostgresError(.unavailable, problem)) }
    state = .open
    openedAt = EventLoop.shared.now
    onOpen(self)
  }

  /// A pooler that keeps sessions gives each client one that is as good as new. Any other gives this connection the one
  /// that another used just now, which has left its mark, and leaves this one's mark for the next.
  private func isFirstOfSession() async -> Bool {
    let outcome = await runSimple(
      "SELECT coalesce(current_setting('\(Self.mark)', true), '') AS mark; SET \(Self.mark) = 'taken'",
      milliseconds: configuration.waitMilliseconds)
    guard case .done(let results) = outcome else { return true }
    return (try? results.first?.rows.first?.string("mark")) == ""
  }

  private static let mark = "onsale.session"

  /// What mixed sessions do to a connection that was made when they did not mix.
  static let mixedSessions = PostgresError(
    .unsuited,
    "the pooler in front of PostgreSQL, such as PgBouncer, keeps no sessions, although ONSALE_DATABASE_POOLER=session says "
      + "so: one client gets what another has left behind. Set it to session mode (pool_mode = session, and a "
      + "server_reset_query), or connect to PostgreSQL itself"
  )

  private static let pooler = PostgresError(
    .unsuited,
    "there is a pooler in front of PostgreSQL, such as PgBouncer. Sessions must last: in transaction mode it cannot be "
      + "used. Connect to PostgreSQL itself, or set the pooler to session mode and ONSALE_DATABASE_POOLER=session"
  )

  /// A pooler tells a process of its own making where a server tells the one that serves the session.
  private func isBehindPooler() async -> Bool {
    let outcome = await runSimple(
      "SELECT pg_backend_pid()::int AS pid", milliseconds: configuration.waitMilliseconds)
    guard case .done(let results) = outcome, let pid = try? results.first?.rows.first?.int("pid"), let handle
    else {
      return false
    }
    return pid != Int(PQbackendPID(handle))
  }

  private func watchAnew(_ events: DescriptorWatcher.Events) {
    watcher = DescriptorWatcher(descriptor: PQsocket(handle)) { [weak self] events in self?.ready(events) }
    watcher?.watch(events)
  }

  /// Ends the connection; what is under way is lost. `onEnd` is called once, after that.
  func end(_ error: PostgresError) {
    guard state != .ended else { return }
    state = .ended
    deadline = nil
    watcher?.close()
    watcher = nil
    if let handle { PQfinish(handle) }
    handle = nil
    if let work = work.take() {
      work.answer.resume(returning: .lost(refusal: work.refusal, error))
    }
    onEnd(self, error)
  }

  func retire() {
    isRetired = true
    end(PostgresError(.connectionLost, "no longer needed"))
  }

  /// Ends the connection if what is under way has taken too long.
  func checkDeadline(now: UInt64) {
    guard let deadline, now > deadline else { return }
    switch state {
    case .connecting, .settingUp: end(PostgresError(.timeout, "connecting took too long"))
    case .open: end(PostgresError(.timeout, "no answer in time"))
    case .ended: break
    }
  }

  // MARK: Running statements

  /// Sends `statements` and waits for all their results.
  func run(_ statements: [SQL]) async -> Outcome {
    guard state == .open, let handle else { return .unsent }
    precondition(work == nil, "a connection runs one pipeline at a time")
    var commands: [Command] = []
    var isSent = true
    var names = prepared
    let now = EventLoop.shared.now
    if prepared.isEmpty { preparedSince = now }
    let isFull = prepared.count + statements.count > configuration.preparedStatements
    let isOld = now - preparedSince >= configuration.preparedMilliseconds
    // Not within a transaction: one that has failed takes nothing but its end.
    if isFull || isOld, !prepared.isEmpty, !isInTransaction {
      preparedSince = now
      prepared = [:]
      names = [:]
      commands.append(.forget)
      isSent = PQsendQueryParams(handle, "DEALLOCATE ALL", 0, nil, nil, nil, nil, 0) == 1
    }
    for (step, statement) in statements.enumerated() where isSent {
      let name: String
      if let known = names[statement.text] {
        name = known
      } else {
        preparedCount += 1
        name = "s\(preparedCount)"
        names[statement.text] = name
        commands.append(.prepare(text: statement.text, name: name, step: step))
        isSent = PQsendPrepare(handle, name, statement.text, 0, nil) == 1
      }
      commands.append(.execute(step: step))
      isSent = isSent && statement.send(name, handle)
    }
    commands.append(.synchronise(step: statements.count - 1))
    isSent = isSent && PQpipelineSync(handle) == 1
    deadline = now + configuration.statementTimeoutMilliseconds + Self.graceMilliseconds
    return await withUnsafeContinuation { answer in
      work = Work(commands: commands, answer: answer)
      if isSent { flush() } else { end(PostgresError(.connectionLost, problem)) }
    }
  }

  /// Runs several statements in one text, without parameters, on the connection outside of pipeline mode.
  /// The connection's settings are changed for it: it must not be used for anything else afterwards.
  /// - Parameter lockMilliseconds: how long each of them may wait for a lock; 0 for ever.
  func runScript(_ text: String, lockMilliseconds: Int) async -> Outcome {
    guard state == .open, PQexitPipelineMode(handle) == 1 else { return .unsent }
    let limits =
      "SET statement_timeout = 0; SET lock_timeout = \(lockMilliseconds);"
      + " SET idle_in_transaction_session_timeout = 0"
    guard case .done = await runSimple(limits, milliseconds: configuration.statementTimeoutMilliseconds)
    else {
      return .unsent
    }
    return await runSimple(text, milliseconds: Self.scriptMilliseconds)
  }

  private func runSimple(_ text: String, milliseconds: UInt64) async -> Outcome {
    guard state != .ended else { return .unsent }
    deadline = EventLoop.shared.now + milliseconds
    return await withUnsafeContinuation { answer in
      work = Work(commands: [.execute(step: 0)], answer: answer)
      if PQsendQuery(handle, text) == 1 { flush() } else { end(PostgresError(.connectionLost, problem)) }
    }
  }

  // MARK: The socket

  private func ready(_ events: DescriptorWatcher.Events) {
    if state == .connecting { return connectFurther() }
    if events.contains(.readable) { read() }
    if events.contains(.writable), state != .ended { flush() }
  }

  private func flush() {
    switch PQflush(handle) {
    case 0: watcher?.watch(.readable)
    case 1: watcher?.watch([.readable, .writable])
    default: end(PostgresError(.connectionLost, problem))
    }
  }

  private func read() {
    let isAlive = PQconsumeInput(handle) == 1
    // What arrived before the end still counts.
    takeResults()
    if !isAlive, state != .ended { end(PostgresError(.connectionLost, problem)) }
  }

  private func takeResults() {
    // Also lets libpq digest notices while nothing is under way.
    _ = PQisBusy(handle)
    while work != nil, PQisBusy(handle) == 0 {
      guard let result = PQgetResult(handle) else {
        guard work?.isAnswered == true else {
          // Nothing to come although something is awaited: only a broken connection does that.
          if PQstatus(handle) == CONNECTION_BAD { end(PostgresError(.connectionLost, problem)) }
          return
        }
        advance()
        continue
      }
      switch PQresultStatus(result) {
      case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
        PQclear(result)
        return end(PostgresError(.server, "COPY is not supported", sqlState: "0A000"))
      case PGRES_FATAL_ERROR where PQresultErrorField(result, Int32(UnicodeScalar("C").value)) == nil:
        // Not the server's words but libpq's own: the connection is broken, and no statement was refused.
        let message = String(cString: PQresultErrorMessage(result)).trimmed
        PQclear(result)
        return end(PostgresError(.connectionLost, message))
      default: take(PostgresResult(result))
      }
    }
  }

  private func take(_ result: PostgresResult) {
    guard var current = work else { return }
    // The loop would else copy the results each time.
    work = nil
    defer { if state != .ended, !isFinished(&current) { work = current } }
    current.isAnswered = true
    let command = current.commands[min(current.next, current.commands.count - 1)]
    switch (PQresultStatus(result.handle), command) {
    case (PGRES_PIPELINE_SYNC, _): current.next = current.commands.count
    case (PGRES_TUPLES_OK, .execute), (PGRES_COMMAND_OK, .execute), (PGRES_EMPTY_QUERY, .execute):
      current.results.append(result)
    case (PGRES_COMMAND_OK, .prepare(let text, let name, _)): prepared[text] = name
    case (PGRES_COMMAND_OK, .forget), (PGRES_PIPELINE_ABORTED, _): break
    case (_, .prepare(_, _, let step)), (_, .execute(let step)), (_, .synchronise(let step)):
      if current.refusal == nil { current.refusal = (step, result.error) }
    case (_, .forget):
      if current.refusal == nil { current.refusal = (0, result.error) }
    }
  }

  private func advance() {
    guard var current = work else { return }
    work = nil
    current.isAnswered = false
    // An error in place of the synchronisation, from a commit that it implied, has its end; that comes after it.
    if case .synchronise = current.commands[current.next] {} else { current.next += 1 }
    if !isFinished(&current) { work = current }
  }

  /// Answers once every command has been.
  private func isFinished(_ current: inout Work) -> Bool {
    guard current.next >= current.commands.count else { return false }
    deadline = nil
    if let (step, error) = current.refusal {
      current.answer.resume(returning: .refused(step: step, error))
    } else {
      current.answer.resume(returning: .done(current.results))
    }
    return true
  }

  /// libpq's words for what is wrong with the connection.
  private var problem: String {
    let text = handle.flatMap { PQerrorMessage($0) }.map { String(cString: $0).trimmed } ?? ""
    return text.isEmpty ? "the connection ended" : text
  }
}

extension SQL {
  /// Sends the execution of the prepared statement `name` with this statement's parameters.
  fileprivate func send(_ name: String, _ handle: OpaquePointer) -> Bool {
    // One buffer for all of them, each ended by a zero.
    var bytes: [CChar] = []
    var offsets: [Int?] = []
    offsets.reserveCapacity(parameters.count)
    bytes.reserveCapacity(parameters.reduce(0) { $0 + ($1?.utf8.count ?? 0) + 1 })
    for parameter in parameters {
      guard let parameter else {
        offsets.append(nil)
        continue
      }
      offsets.append(bytes.count)
      for byte in parameter.utf8 { bytes.append(CChar(bitPattern: byte)) }
      bytes.append(0)
    }
    return bytes.withUnsafeBufferPointer { bytes in
      let values = offsets.map { offset in offset.flatMap { offset in bytes.baseAddress.map { $0 + offset } }
      }
      return PQsendQueryPrepared(handle, name, Int32(values.count), values, nil, nil, 0) == 1
    }
  }
}

extension PostgresResult {
  /// What the server says is wrong.
  fileprivate var error: PostgresError {
    func field(_ code: UnicodeScalar) -> String? {
      PQresultErrorField(handle, Int32(code.value)).map { String(cString: $0) }
    }
    return PostgresError(.server, field("M") ?? "refused", sqlState: field("C"))
  }
}

extension String {
  fileprivate var trimmed: String {
    var text = self[...]
    while let last = text.last, last.isWhitespace { text.removeLast() }
    return String(text)
  }
}
