import CHiredis
import EventLoop
import Glibc

/// One connection: hiredis' asynchronous context on the loop. Answers come in the order of the commands.
///
/// hiredis collects what is sent during one turn of the loop and writes it at once. The context keeps the
/// connection alive until hiredis lets go of it, so that its callbacks always find it.
@LoopActor
final class RedisConnection: TurnEnd {
  private struct InFlight {
    let answer: RedisAnswer
    let sentAt: UInt64
  }

  /// Buffers larger than this many bytes are not kept for the next command.
  private static let keptBuffer = 1 << 20

  private let configuration: RedisConfiguration
  /// Established; nothing was sent yet.
  private let onOpen: @LoopActor () -> Void
  /// Ended for good; all commands have failed already.
  private let onEnd: @LoopActor (RedisError) -> Void
  private var context: UnsafeMutablePointer<redisAsyncContext>?
  private var watcher: DescriptorWatcher?
  private var wanted: DescriptorWatcher.Events = []
  private var inFlight = Fifo<InFlight>()
  private var buffer: [UInt8] = []
  private var openedAt: UInt64 = 0
  private var isEstablished = false
  /// Whether what was sent goes out at the end of this turn, and whether it just does.
  private var willWrite = false
  private var isWriting = false
  /// Why this side ends the connection; `nil` when the other side does.
  private var reason: RedisError?
  /// What messages of subscribed channels are given to, and confirmations of `SUBSCRIBE` with `nil`.
  private var onMessage: (@LoopActor (_ channel: String, _ message: [UInt8]?) -> Void)?
  /// The server answered that it is a replica: another connection may reach the primary.
  private(set) var isReadOnly = false

  init(
    _ configuration: RedisConfiguration, onOpen: @escaping @LoopActor () -> Void,
    onEnd: @escaping @LoopActor (RedisError) -> Void
  ) {
    self.configuration = configuration
    self.onOpen = onOpen
    self.onEnd = onEnd
  }

  var isOpen: Bool { context != nil }
  var inFlightCount: Int { inFlight.count }

  /// Begins to connect. A failure is reported by `onEnd`, possibly before this returns.
  ///
  /// A host name is looked up by hiredis, which blocks the loop: use addresses, or a resolver on this machine.
  func open() {
    openedAt = EventLoop.shared.now
    guard let context = redisAsyncConnect(configuration.host, Int32(configuration.port)) else {
      return onEnd(RedisError(.unavailable, "out of memory"))
    }
    if context.pointee.err != 0 {
      let message = String(cString: context.pointee.errstr)
      redisAsyncFree(context)
      return onEnd(RedisError(.unavailable, message))
    }
    self.context = context
    Self.setOptions(context.pointee.c.fd, timeoutMilliseconds: configuration.timeoutMilliseconds)
    watcher = DescriptorWatcher(descriptor: context.pointee.c.fd) { [weak self] events in self?.ready(events)
    }

    let data = Unmanaged.passRetained(self).toOpaque()
    context.pointee.data = data
    context.pointee.ev.data = data
    context.pointee.ev.addRead = { RedisConnection.with($0) { $0.want($0.wanted.union(.readable)) } }
    context.pointee.ev.delRead = { RedisConnection.with($0) { $0.want($0.wanted.subtracting(.readable)) } }
    context.pointee.ev.addWrite = { RedisConnection.with($0) { $0.wantToWrite() } }
    context.pointee.ev.delWrite = { RedisConnection.with($0) { $0.want($0.wanted.subtracting(.writable)) } }
    context.pointee.ev.cleanup = { data in
      guard let data else { return }
      LoopActor.assumeIsolated { Unmanaged<RedisConnection>.fromOpaque(data).takeRetainedValue().ended() }
    }
    // Also asks to be told of writability, so the hooks must be there.
    redisAsyncSetConnectCallback(context) { context, status in
      guard status == REDIS_OK else { return }
      RedisConnection.with(context?.pointee.data) { $0.established() }
    }
  }

  /// Ends the connection now; every command under way fails with `error`, or as lost.
  func discard(_ error: RedisError) {
    guard let context else { return }
    if reason == nil { reason = error }
    redisAsyncFree(context)
  }

  /// Sends a command. Its answer, or failure, goes to `answer`.
  func send(_ arguments: [RedisArgument], _ answer: RedisAnswer) {
    guard write(arguments, Self.answered) else {
      return answer.resume(returning: .failure(RedisError(.unavailable, "the connection ends")))
    }
    inFlight.append(InFlight(answer: answer, sentAt: EventLoop.shared.now))
  }

  func command(_ arguments: [RedisArgument]) async throws(RedisError) -> RedisValue {
    try await withUnsafeContinuation { answer in send(arguments, .one(answer)) }.get()
  }

  /// Subscribes, once or again: asking anew for a channel changes nothing, and is confirmed again.
  func subscribe(
    _ channels: [String], _ onMessage: @escaping @LoopActor (_ channel: String, _ message: [UInt8]?) -> Void
  ) {
    self.onMessage = onMessage
    _ = write(["SUBSCRIBE"] + channels.map { .text($0) }, Self.pushed)
  }

  /// Logs in and selects the database; fails while the server cannot take commands yet.
  func greet() async throws(RedisError) {
    if !configuration.password.isEmpty {
      let login: [RedisArgument] =
        configuration.user.isEmpty
        ? [.text(configuration.password)] : [.text(configuration.user), .text(configuration.password)]
      _ = try await command(["AUTH"] + login)
    }
    if configuration.database != 0 { _ = try await command(["SELECT", .integer(configuration.database)]) }
    // A server that still reads its data answers LOADING.
    _ = try await command(["PING"])
  }

  /// Ends the connection if connecting, or its oldest command, has taken too long.
  func checkDeadlines(now: UInt64) {
    let timeout = configuration.timeoutMilliseconds
    if !isEstablished, now > openedAt + timeout {
      discard(RedisError(.unavailable, "connecting took longer than \(timeout) ms"))
    } else if let oldest = inFlight.first, now > oldest.sentAt + timeout {
      // Answers come in order, so whatever was sent after this one cannot be waited for either.
      discard(RedisError(.timeout, "no answer within \(timeout) ms"))
    }
  }

  // MARK: What hiredis calls

  private static func with(_ data: UnsafeMutableRawPointer?, _ body: @LoopActor (RedisConnection) -> Void) {
    guard let data else { return }
    LoopActor.assumeIsolated { body(Unmanaged<RedisConnection>.fromOpaque(data).takeUnretainedValue()) }
  }

  /// hiredis' kind of callback; the last argument is the connection.
  private typealias Callback =
    @convention(c) (
      UnsafeMutablePointer<redisAsyncContext>?, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?
    ) -> Void

  private static let answered: Callback = { _, reply, data in
    // Handed to the loop that this callback already runs on.
    nonisolated(unsafe) let reply = reply
    RedisConnection.with(data) { $0.receive(reply) }
  }

  private static let pushed: Callback = { _, reply, data in
    nonisolated(unsafe) let reply = reply
    RedisConnection.with(data) { $0.receivePush(reply) }
  }

  private func ready(_ events: DescriptorWatcher.Events) {
    // Either step may end the connection.
    if events.contains(.readable), let context { redisAsyncHandleRead(context) }
    if events.contains(.writable), let context { redisAsyncHandleWrite(context) }
  }

  private func want(_ events: DescriptorWatcher.Events) {
    wanted = events
    watcher?.watch(events)
  }

  /// What one turn of the loop sends goes out together at its end, without a look whether the kernel takes it: it nearly
  /// always does.
  private func wantToWrite() {
    guard isEstablished, !isWriting else { return want(wanted.union(.writable)) }
    if willWrite { return }
    willWrite = true
    EventLoop.shared.atEndOfTurn(self)
  }

  func turnEnds() {
    willWrite = false
    guard let context else { return }
    isWriting = true
    redisAsyncHandleWrite(context)
    isWriting = false
  }

  private func established() {
    isEstablished = true
    onOpen()
  }

  private func ended() {
    // hiredis closes the descriptor after this.
    watcher?.close()
    watcher = nil
    let message = problem
    context = nil
    onEnd(reason ?? RedisError(isEstablished ? .connectionLost : .unavailable, message))
  }

  /// hiredis' words for what is wrong with the connection.
  private var problem: String {
    guard let text = context?.pointee.errstr, text.pointee != 0 else { return "the connection ended" }
    return String(cString: text)
  }

  private func receive(_ reply: UnsafeMutableRawPointer?) {
    guard let entry = inFlight.popFirst() else { preconditionFailure("an answer belongs to a command") }
    guard let reply else {
      return entry.answer.resume(returning: .failure(reason ?? RedisError(.connectionLost, problem)))
    }
    let pointer = UnsafePointer(reply.assumingMemoryBound(to: redisReply.self))
    if pointer.pointee.type == REDIS_REPLY_ERROR {
      let error = RedisError(answer: RedisValue.text(of: pointer))
      if error.code == .server("READONLY") { isReadOnly = true }
      entry.answer.resume(returning: .failure(error))
    } else {
      entry.answer.resume(returning: .success(RedisValue(copying: pointer)))
    }
  }

  /// A confirmation or a message; nothing when the connection ends.
  private func receivePush(_ reply: UnsafeMutableRawPointer?) {
    guard let reply else { return }
    let value = RedisValue(copying: UnsafePointer(reply.assumingMemoryBound(to: redisReply.self)))
    guard let parts = value.array, parts.count == 3, let channel = parts[1].text else { return }
    switch (parts[0].text, parts[2]) {
    case ("message", .string(let message)): onMessage?(channel, message)
    case ("subscribe", _): onMessage?(channel, nil)
    default: break
    }
  }

  // MARK: Writing

  /// - Returns: false if hiredis refuses, because the connection ends; the callback is not called then.
  private func write(_ arguments: [RedisArgument], _ callback: Callback) -> Bool {
    guard let context else { return false }
    buffer.removeAll(keepingCapacity: buffer.capacity <= Self.keptBuffer)
    RedisValue.encode(arguments, into: &buffer)
    // hiredis looks for the channels of a SUBSCRIBE as in a C string: without an end it reads on behind it.
    buffer.append(0)
    return buffer.withUnsafeBytes { bytes in
      redisAsyncFormattedCommand(
        context, callback, context.pointee.data, bytes.baseAddress?.assumingMemoryBound(to: CChar.self),
        bytes.count - 1) == REDIS_OK
    }
  }

  /// Small writes go out at once, and a cut network is noticed although nothing is being sent.
  private static func setOptions(_ descriptor: Int32, timeoutMilliseconds: UInt64) {
    func set(_ level: Int32, _ option: Int32, _ value: Int32) {
      var value = value
      setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
    }
    set(Int32(IPPROTO_TCP), TCP_NODELAY, 1)
    set(SOL_SOCKET, SO_KEEPALIVE, 1)
    set(Int32(IPPROTO_TCP), TCP_KEEPIDLE, 5)
    set(Int32(IPPROTO_TCP), TCP_KEEPINTVL, 2)
    set(Int32(IPPROTO_TCP), TCP_KEEPCNT, 3)
    set(Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, Int32(clamping: timeoutMilliseconds))
  }
}
