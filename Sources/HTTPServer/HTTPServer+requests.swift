import CMicroHTTPD
import EventLoop
import Foundation
import Logging
import Metrics

/// Called by libmicrohttpd when a request's headers are there, for each piece of its body, when it is whole, and
/// again after its connection was resumed.
let accessHandler: MHD_AccessHandlerCallback = { server, connection, path, method, _, data, size, context in
  guard let server, let connection, let path, let method, let size, let context else { return .NO }
  // Called on the loop, by `MHD_run`; nothing here leaves it.
  nonisolated(unsafe) let call = (
    server: server, connection: connection, path: path, method: method, data: data, size: size,
    context: context
  )
  return LoopActor.assumeIsolated {
    let server = Unmanaged<HTTPServer>.fromOpaque(call.server).takeUnretainedValue()
    guard let known = call.context.pointee else {
      return server.begin(call.connection, method: call.method, path: call.path, call.context)
    }
    let exchange = Unmanaged<Exchange>.fromOpaque(known).takeUnretainedValue()
    if call.size.pointee > 0 {
      let piece = UnsafeRawBufferPointer(start: call.data, count: call.size.pointee)
      call.size.pointee = 0
      return server.receive(exchange, piece)
    }
    return server.answer(exchange, call.connection)
  }
}

/// Told by libmicrohttpd that a request is over, whichever way.
let requestCompleted: MHD_RequestCompletedCallback = { server, _, context, _ in
  guard let server, let context, let exchange = context.pointee else { return }
  context.pointee = nil
  nonisolated(unsafe) let call = (server: server, exchange: exchange)
  LoopActor.assumeIsolated {
    let server = Unmanaged<HTTPServer>.fromOpaque(call.server).takeUnretainedValue()
    server.completed(Unmanaged<Exchange>.fromOpaque(call.exchange).takeUnretainedValue())
  }
}

extension HTTPServer {
  /// Bytes of a refused body that are read and dropped, so that the client gets to read why and the connection
  /// lives on. A longer one is cut off.
  private static let drainLimit = 1 << 20
  /// Bytes of a body up to which libmicrohttpd gets a copy, and of the pieces in which it gets a larger one: what
  /// a client that is slow to read may cost besides the body itself, which all its readers share.
  private static let copyLimit = 32 << 10

  /// The headers are there: finds the route, and refuses what will not be read.
  func begin(
    _ connection: OpaquePointer, method: UnsafePointer<CChar>, path: UnsafePointer<CChar>,
    _ request: UnsafeMutablePointer<UnsafeMutableRawPointer?>
  ) -> MHD_Result {
    guard let context = mhd_socket_context(connection) else { return .NO }
    let peer = Unmanaged<Peer>.fromOpaque(context).takeUnretainedValue()
    if !isKnownUniquelyReferenced(&peer.exchange) { peer.exchange = Exchange() }
    let exchange = peer.exchange
    // The peer holds the exchange until `completed`, which comes before it is replaced.
    request.pointee = Unmanaged.passUnretained(exchange).toOpaque()
    exchange.begin(connection, peer, method: HTTPMethod(name: method), path: path)
    peer.hasAsked = true
    enter(.receivingBody, peer, deadline: deadline(seconds: configuration.bodySeconds))

    if exchange.hasAmbiguousBody {
      // Where this request ends is not certain, so nothing after it can be read.
      return send(
        .problem(
          400, code: "ambiguous_body", detail: "A request has one Content-Length or one Transfer-Encoding.",
          headers: [("Connection", "close")]), exchange, connection)
    }
    if mhd_header_size(connection) > configuration.headerLimit {
      exchange.refusal = .problem(
        431, code: "headers_too_large",
        detail: "The request's line and headers may have at most \(configuration.headerLimit) bytes.")
    } else if !exchange.isMethodKnown {
      exchange.refusal = .problem(501, code: "not_implemented", detail: "This method is not known here.")
    } else {
      let target = tree.find(exchange)
      if case .route(let route) = target {
        exchange.refusal = route.refuse?(HTTPRequest(exchange: exchange))
      } else {
        exchange.refusal = tree.refusal(target, exchange)
      }
    }
    guard exchange.method != .get, let announced = exchange.header("Content-Length").flatMap({ Int($0) })
    else { return .YES }
    if let route = exchange.route, announced > route.maximumBody {
      exchange.refusal = .bodyTooLarge(limit: route.maximumBody)
    }
    if let refusal = exchange.refusal,
      announced > Self.drainLimit || exchange.header("Expect") != nil && announced > 0
    {
      // Answered before the body: libmicrohttpd closes the connection afterwards.
      return send(refusal, exchange, connection)
    }
    return .YES
  }

  func receive(_ exchange: Exchange, _ piece: UnsafeRawBufferPointer) -> MHD_Result {
    if exchange.refusal == nil, let route = exchange.route {
      let size = exchange.body.count + piece.count
      if size > route.maximumBody {
        exchange.refusal = .bodyTooLarge(limit: route.maximumBody)
      } else if largeBodyBytes + largePart(size) - largePart(exchange.body.count) > configuration.largeBodies
      {
        exchange.refusal = .problem(
          503, code: "overloaded", detail: "Too many large requests at once. Please try again.")
      } else {
        largeBodyBytes += largePart(size) - largePart(exchange.body.count)
        exchange.body.append(contentsOf: piece)
        return .YES
      }
      dropBody(exchange)
    }
    exchange.dropped += piece.count
    return exchange.dropped <= Self.drainLimit ? .YES : .NO
  }

  private func largePart(_ size: Int) -> Int { max(0, size - configuration.smallBody) }

  private func dropBody(_ exchange: Exchange) {
    largeBodyBytes -= largePart(exchange.body.count)
    exchange.body = []
  }

  /// The request is whole, or its `later` answer is there.
  func answer(_ exchange: Exchange, _ connection: OpaquePointer) -> MHD_Result {
    if let answer = exchange.answer { return send(answer, exchange, connection) }
    enter(.handling, exchange.peer, deadline: .max)
    exchange.startedAt = Self.monotonicNanoseconds()
    if let refusal = exchange.refusal { return send(refusal, exchange, connection) }
    guard let route = exchange.route else { return .NO }
    switch route.handler(HTTPRequest(exchange: exchange)) {
    case .now(let response): return send(response, exchange, connection)
    case .later(let body):
      guard !isClosing else { return send(.stopping, exchange, connection) }
      guard laterCount < configuration.laterLimit else {
        return send(
          .problem(503, code: "overloaded", detail: "Too many requests at once. Please try again."),
          exchange, connection)
      }
      return answerLater(body, exchange, connection)
    }
  }

  private func answerLater(
    _ body: @escaping @LoopActor () async -> HTTPResponse, _ exchange: Exchange, _ connection: OpaquePointer
  ) -> MHD_Result {
    laterCount += 1
    metrics.later.value = Double(laterCount)
    // Owned by the exchange, bounded by `laterLimit`; cancelled by `stop`. Runs at once up to where it first
    // waits, which spares the detour where it does not wait at all.
    let task = Task.immediate { @LoopActor in
      let response = await body()
      laterCount -= 1
      metrics.later.value = Double(laterCount)
      exchange.task = nil
      resume(exchange, response)
    }
    if let answer = exchange.answer { return send(answer, exchange, connection) }
    exchange.task = task
    exchange.isSuspended = true
    MHD_suspend_connection(connection)
    return .YES
  }

  /// Hands over the answer of a `later` request; the first one counts.
  func resume(_ exchange: Exchange, _ response: HTTPResponse) {
    guard exchange.answer == nil, let connection = exchange.connection else { return }
    exchange.answer = response
    guard exchange.isSuspended else { return }
    exchange.isSuspended = false
    MHD_resume_connection(connection)
    runSoon()
  }

  private func send(
    _ answer: HTTPResponse, _ exchange: Exchange, _ connection: OpaquePointer
  ) -> MHD_Result {
    guard answer.status != HTTPResponse.hangUp.status else { return .NO }
    guard let response = Self.response(for: answer) else { return .NO }
    defer { MHD_destroy_response(response) }
    for (name, value) in answer.headers where MHD_add_response_header(response, name, value) == .NO {
      logger.retrying(
        "a header is not valid", level: .error,
        ["http.header": name, "http.route": exchange.route?.pattern ?? ""])
    }
    if !crossOrigin.origins.isEmpty {
      let isPreflight = exchange.method == .options && exchange.header("Access-Control-Request-Method") != nil
      for (name, value) in crossOrigin.headers(
        path: exchange.path, origin: exchange.header("Origin"),
        preflight: isPreflight ? answer.header("Allow") : nil)
      { MHD_add_response_header(response, name, value) }
    }
    if isStopping { MHD_add_response_header(response, "Connection", "close") }
    enter(.sending, exchange.peer, deadline: deadline(seconds: configuration.sendSeconds))
    metrics.record(
      exchange.route, exchange.isMethodKnown ? exchange.method : nil, status: answer.status,
      nanoseconds: exchange.startedAt == 0 ? 0 : Self.monotonicNanoseconds() - exchange.startedAt)
    return MHD_queue_response(connection, UInt32(answer.status), response)
  }

  private static func response(for answer: HTTPResponse) -> OpaquePointer? {
    guard answer.body.count > copyLimit else {
      return answer.body.withUnsafeBytes { body in
        // Copied by libmicrohttpd, which does not write to it.
        MHD_create_response_from_buffer(
          body.count, UnsafeMutableRawPointer(mutating: body.baseAddress), .RESPMEM_MUST_COPY)
      }
    }
    // Released by libmicrohttpd with the response.
    let held = Unmanaged.passRetained(HeldBody(answer)).toOpaque()
    let response = MHD_create_response_from_callback(
      UInt64(answer.body.count), copyLimit,
      { held, position, target, count in
        guard let held, let target else { return -1 }
        let body = Unmanaged<HeldBody>.fromOpaque(held).takeUnretainedValue()
        return body.copy(from: Int(position), to: target, count)
      }, held, { held in held.map { Unmanaged<HeldBody>.fromOpaque($0).release() } })
    if response == nil { Unmanaged<HeldBody>.fromOpaque(held).release() }
    return response
  }

  func completed(_ exchange: Exchange) {
    largeBodyBytes -= largePart(exchange.body.count)
    enter(.idle, exchange.peer, deadline: deadline(seconds: configuration.idleSeconds))
    exchange.task?.cancel()
    exchange.end()
  }

  private static func monotonicNanoseconds() -> UInt64 {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
  }
}

/// A large body that is being sent, piece by piece.
private final class HeldBody: Sendable {
  private let answer: HTTPResponse

  init(_ answer: HTTPResponse) { self.answer = answer }

  func copy(from position: Int, to target: UnsafeMutablePointer<CChar>, _ count: Int) -> Int {
    answer.body.withUnsafeBytes { body in
      let piece = UnsafeRawBufferPointer(rebasing: body.dropFirst(position).prefix(count))
      UnsafeMutableRawBufferPointer(start: target, count: count).copyMemory(from: piece)
      return piece.count
    }
  }
}

extension HTTPMethod {
  init?(name: UnsafePointer<CChar>) {
    // The two that nearly all requests have, without making a string.
    if strcmp(name, "GET") == 0 {
      self = .get
    } else if strcmp(name, "POST") == 0 {
      self = .post
    } else {
      self.init(rawValue: String(cString: name))
    }
  }
}
