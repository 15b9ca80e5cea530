import CCurl
package import EventLoop

/// Sends HTTP/1.1 requests over connections that are kept and reused: libcurl's multi interface on the loop.
///
/// Redirects are not followed, and proxies of the environment not used. A request on a kept connection that turns
/// out to be closed is sent once more on a new one, whatever its method: a request that must not happen twice
/// needs a key of its own.
@LoopActor
package final class HTTPClient {
  let configuration: HTTPClientConfiguration
  /// `nil` once closed.
  var multi: UnsafeMutableRawPointer?
  let timer = LoopTimer()
  var sockets: [Int32: Socket] = [:]
  var driveIsScheduled = false

  private var calls: [UInt64: Call] = [:]
  private var origins: [String: Origin] = [:]
  private var idle: [Transfer] = []
  private var lastTicket: UInt64 = 0

  package init(_ configuration: HTTPClientConfiguration = HTTPClientConfiguration()) {
    self.configuration = configuration
    curl_global_init(Int(CURL_GLOBAL_DEFAULT))
    multi = curl_multi_init()
    // The multi handle ends before this object does, so it may point here unretained.
    curl_multi_set_callbacks(multi, socketWanted, timerWanted, Unmanaged.passUnretained(self).toOpaque())
    curl_multi_set_long(multi, CURLMOPT_MAXCONNECTS, max(64, configuration.connectionsPerHost * 4))
  }

  isolated deinit { close() }

  /// Sends `request` and returns the whole response, whatever its status.
  ///
  /// Cancelling the task aborts the transfer; the server may have acted on it.
  /// - Throws: `HTTPClientError`, or `CancellationError`.
  package func send(_ request: HTTPClientRequest) async throws -> HTTPClientResponse {
    try Task.checkCancellation()
    guard multi != nil else {
      throw HTTPClientError(code: .closed, message: "the client is closed", nothingWasSent: true)
    }
    guard calls.count < configuration.capacity else {
      throw HTTPClientError(code: .overloaded, message: "too many requests wait", nothingWasSent: true)
    }
    let origin = try Self.origin(of: request)
    lastTicket += 1
    let ticket = lastTicket
    return try await withTaskCancellationHandler {
      await withUnsafeContinuation { continuation in
        let timeout = request.timeoutMilliseconds ?? configuration.timeoutMilliseconds
        let call = Call(
          ticket: ticket, request: request, origin: origin,
          deadline: EventLoop.shared.now + UInt64(max(1, timeout)), continuation: continuation)
        calls[ticket] = call
        if origins[origin, default: Origin()].underWay < configuration.connectionsPerHost {
          begin(call)
        } else {
          wait(call)
        }
      }
    } onCancel: {
      Task { @LoopActor in abort(ticket, CancellationError()) }
    }.get()
  }

  /// Aborts what is under way and closes all connections. Later sends throw `closed`.
  package func close() {
    guard let multi else { return }
    let error = HTTPClientError(code: .closed, message: "the client was closed", nothingWasSent: false)
    for call in calls.values.sorted(by: { $0.ticket < $1.ticket }) {
      if let transfer = call.transfer { curl_multi_remove_handle(multi, transfer.easy) }
      call.finish(.failure(error))
    }
    calls = [:]
    origins = [:]
    idle = []
    // Closes the connections, which calls back for each socket.
    curl_multi_cleanup(multi)
    self.multi = nil
    timer.cancel()
    for socket in sockets.values { socket.watcher.close() }
    sockets = [:]
  }

  /// Scheme, host and port, as a key; also refuses what could not be sent as it is.
  private static func origin(of request: HTTPClientRequest) throws(HTTPClientError) -> String {
    func refuse(_ code: HTTPClientError.Code, _ message: String) -> HTTPClientError {
      HTTPClientError(code: code, message: message, nothingWasSent: true)
    }
    for (name, value) in request.headers where !isOneLine(name) || !isOneLine(value) {
      throw refuse(.invalidHeader, "a header may not have control characters: \(name.prefix(40))")
    }
    let url = request.url.utf8
    guard url.starts(with: "http://".utf8) || url.starts(with: "https://".utf8), isOneLine(request.url) else {
      throw refuse(.invalidURL, "not an http or https URL")
    }
    let host = url.dropFirst(8)
    let end = host.firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") } ?? url.endIndex
    return String(request.url[..<end])
  }

  private static func isOneLine(_ text: String) -> Bool {
    text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F || $0 == 0x09 }
  }

  private func wait(_ call: Call) {
    origins[call.origin, default: Origin()].waiting.append(call.ticket)
    let timer = LoopTimer()
    let ticket = call.ticket
    timer.schedule(afterMilliseconds: call.deadline - min(call.deadline, EventLoop.shared.now)) {
      [weak self] in
      self?.abort(
        ticket,
        HTTPClientError(code: .timeout, message: "no connection became free in time", nothingWasSent: true))
    }
    call.timer = timer
  }

  private func begin(_ call: Call) {
    guard let multi,
      let transfer = idle.popLast()
        ?? Transfer(configuration, client: Unmanaged.passUnretained(self).toOpaque())
    else {
      calls[call.ticket] = nil
      call.finish(
        .failure(HTTPClientError(code: .overloaded, message: "out of memory", nothingWasSent: true)))
      return
    }
    call.timer = nil
    call.transfer = transfer
    origins[call.origin, default: Origin()].underWay += 1
    let now = EventLoop.shared.now
    transfer.prepare(call, timeoutMilliseconds: Int(call.deadline - min(call.deadline, now)))
    curl_multi_add_handle(multi, transfer.easy)
  }

  private func abort(_ ticket: UInt64, _ error: any Error) {
    guard let call = calls.removeValue(forKey: ticket) else { return }
    let transfer = call.transfer
    if let transfer, let multi {
      // An unfinished transfer takes its connection with it.
      curl_multi_remove_handle(multi, transfer.easy)
      transfer.reset()
      recycle(transfer)
    }
    call.finish(.failure(error))
    if transfer != nil { released(call.origin) }
  }

  /// libcurl says that a transfer is done.
  func finished(_ transfer: Transfer, _ result: CURLcode) {
    guard let multi, let call = transfer.call else { return }
    curl_multi_remove_handle(multi, transfer.easy)
    calls[call.ticket] = nil
    call.finish(transfer.finish(result))
    recycle(transfer)
    released(call.origin)
  }

  private func recycle(_ transfer: Transfer) {
    if idle.count < max(1_024, configuration.connectionsPerHost) { idle.append(transfer) }
  }

  /// A connection to `name` is free: the next call that waits for one begins.
  private func released(_ name: String) {
    guard var origin = origins[name] else { return }
    origin.underWay -= 1
    var next: Call?
    while next == nil, let ticket = origin.next() { next = calls[ticket] }
    origins[name] = origin.underWay == 0 && next == nil ? nil : origin
    if let next { begin(next) }
  }
}
