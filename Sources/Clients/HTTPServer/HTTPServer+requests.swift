import CHTTPParser
import EventLoop
import Foundation
import Logging
import Metrics

extension HTTPServer {
  private static let interim = Array("HTTP/1.1 100 Continue\r\n\r\n".utf8)

  /// Gives the connection an exchange for its next request.
  func start(_ peer: Peer) {
    if !isKnownUniquelyReferenced(&peer.exchange) { peer.exchange = Exchange() }
    peer.exchange.begin(peer)
    peer.hasAsked = true
  }

  /// The head is there: finds the route, and refuses what will not be read.
  func begin(_ peer: Peer, _ bytes: UnsafeBufferPointer<UInt8>) {
    guard bytes.count <= configuration.headerLimit else {
      return refuse(peer, Self.tooLong(bytes, configuration), bytes)
    }
    let head: RequestHead
    do {
      head = try RequestHead(
        bytes, major: Int(peer.parser.http_major), minor: Int(peer.parser.http_minor))
    } catch { return refuse(peer, error, bytes) }
    start(peer)
    let exchange = peer.exchange
    exchange.head = head
    guard let method = HTTPMethod(http_parser_method(&peer.parser)) else { return refuse(peer, .method) }
    exchange.method = method
    exchange.isMethodKnown = true
    peer.closesNext = http_should_keep_alive(&peer.parser) == 0
    exchange.receivedFrom = EventLoop.shared.now
    enter(.receivingBody, peer, deadline: deadline(seconds: configuration.bodySeconds))

    let announced = http_parser_announced(&peer.parser)
    let isChunked = http_parser_is_chunked(&peer.parser) != 0
    peer.framing = isChunked ? ChunkFraming(limit: configuration.headerLimit) : nil
    let refusal = refusal(of: exchange, announced: isChunked || announced == .max ? 0 : announced)
    guard isChunked || announced != .max && announced > 0 else {
      exchange.refusal = refusal
      return
    }
    if let refusal = refusal ?? (count(exchange) ? nil : .tooMany) {
      // Whether a client that asked first sends its body after all nobody knows, and too much is not waited for.
      if head.expectsContinue || !isChunked && announced > Self.drainLimit { peer.closesNext = true }
      return turnAway(exchange, refusal)
    }
    if head.expectsContinue, peer.parser.http_minor > 0 {
      let sent = Self.interim.withUnsafeBytes {
        Foundation.send(peer.descriptor, $0.baseAddress, $0.count, 0)
      }
      if sent != Self.interim.count { close(peer) }
    }
  }

  private func refusal(of exchange: Exchange, announced: UInt64) -> HTTPResponse? {
    if let peer = exchange.peer, peer.isSurplus {
      peer.closesNext = true
      // Nobody has looked yet whose page it would be.
      return tree.told(.tooMany, exchange)
    }
    let target = tree.find(exchange)
    guard case .route(let route) = target else { return tree.refusal(target, exchange) }
    if let refusal = route.refuse?(HTTPRequest(exchange: exchange)) { return refusal }
    return announced > route.maximumBody ? .bodyTooLarge(limit: route.maximumBody) : nil
  }

  /// A piece of the body is there.
  func receive(_ exchange: Exchange, _ piece: UnsafeRawBufferPointer) {
    guard let peer = exchange.peer else { return }
    guard !exchange.isAnswered, let route = exchange.route else {
      exchange.dropped += piece.count
      if exchange.dropped > Self.drainLimit { end(peer, isQuiet: false) }
      return
    }
    let size = exchange.body.count + piece.count
    let large = largePart(size) - largePart(exchange.body.count)
    guard size <= route.maximumBody, largeBodyBytes + large <= configuration.largeBodies else {
      largeBodyBytes -= largePart(exchange.body.count)
      exchange.body = []
      return turnAway(
        exchange,
        size > route.maximumBody
          ? .bodyTooLarge(limit: route.maximumBody)
          : .problem(
            503, code: "overloaded", detail: "Too many large requests at once. Please try again."))
    }
    largeBodyBytes += large
    exchange.body.append(contentsOf: piece)
    // Whoever brings more has more time.
    peer.deadline = min(
      exchange.receivedFrom + UInt64(configuration.longestBodySeconds) * 1_000,
      exchange.receivedFrom
        + UInt64(configuration.bodySeconds * 1_000 + size * 1_000 / configuration.bodyRate))
  }

  private func largePart(_ size: Int) -> Int { max(0, size - configuration.smallBody) }

  /// All of the request is there.
  func whole(_ peer: Peer) {
    let exchange = peer.exchange
    exchange.isWhole = true
    if exchange.isAnswered { return finish(peer) }
    enter(.handling, peer, deadline: .max)
    exchange.startedAt = Self.monotonicNanoseconds()
    if let refusal = exchange.refusal { return turnAway(exchange, refusal) }
    guard let route = exchange.route else { return close(peer) }
    switch route.handler(HTTPRequest(exchange: exchange)) {
    case .now(let response): send(response, exchange)
    case .later(let body):
      guard !isClosing else { return turnAway(exchange, .stopping) }
      guard laterCount < configuration.laterLimit else {
        return turnAway(
          exchange, .problem(503, code: "overloaded", detail: "Too many requests at once. Please try again."))
      }
      guard count(exchange) else { return turnAway(exchange, .tooMany) }
      answerLater(exchange.isSlowed ? slowed(body, exchange) : body, exchange)
    }
  }

  /// Answers a request without a look at what it asks for.
  private func turnAway(_ exchange: Exchange, _ refusal: HTTPResponse) {
    // What no route is for has its form already.
    send(exchange.route == nil ? refusal : tree.told(refusal, exchange), exchange)
  }

  /// The same a moment later: a client with very many under way gets slower before it is refused.
  private func slowed(
    _ body: @escaping @LoopActor () async -> HTTPResponse, _ exchange: Exchange
  ) -> @LoopActor () async -> HTTPResponse {
    let wait = configuration.slowedMilliseconds
    return {
      exchange.isPausing = true
      do { try await sleep(milliseconds: wait) } catch { return .stopping }
      exchange.isPausing = false
      return await body()
    }
  }

  private func answerLater(_ body: @escaping @LoopActor () async -> HTTPResponse, _ exchange: Exchange) {
    laterCount += 1
    metrics?.later.value = Double(laterCount)
    // Owned by the exchange, bounded by `laterLimit`; cancelled by `stop`. Runs at once up to where it first
    // waits, which spares the detour where it does not wait at all.
    let task = Task.immediate { @LoopActor in
      let response = await body()
      laterCount -= 1
      metrics?.later.value = Double(laterCount)
      exchange.task = nil
      resume(exchange, response)
    }
    if let answer = exchange.answer { return send(answer, exchange) }
    exchange.task = task
    exchange.isSuspended = true
  }

  /// The request is over, whichever way.
  func completed(_ exchange: Exchange) {
    largeBodyBytes -= largePart(exchange.body.count)
    exchange.task?.cancel()
    if let client = exchange.counted { uncount(client) }
    exchange.end()
  }

  static func monotonicNanoseconds() -> UInt64 {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
  }
}

extension HTTPMethod {
  init?(_ method: http_method) {
    switch method {
    case HTTP_GET: self = .get
    case HTTP_HEAD: self = .head
    case HTTP_POST: self = .post
    case HTTP_PUT: self = .put
    case HTTP_PATCH: self = .patch
    case HTTP_DELETE: self = .delete
    case HTTP_OPTIONS: self = .options
    default: return nil
    }
  }
}
