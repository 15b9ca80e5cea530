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

  /// Takes in the request that begins with `bytes`, if it has come as a whole and is as plain as nearly all are: without
  /// the parser, and without the phases in which the rest is waited for.
  /// - Returns: how many bytes it has; `nil` where nothing was done, and the parser is to look at it.
  func takeWhole(_ peer: Peer, _ bytes: UnsafeBufferPointer<UInt8>) -> Int? {
    guard let head = RequestHead(plainAt: bytes, limit: configuration.headerLimit), let method = head.method,
      head.length <= min(configuration.smallBody, bytes.count - head.bytes.count)
    else { return nil }
    start(peer)
    let exchange = peer.exchange
    exchange.head = head
    exchange.method = method
    exchange.isMethodKnown = true
    exchange.isWhole = true
    exchange.startedAt = Self.monotonicNanoseconds()
    peer.closesNext = !head.keepsAlive
    peer.framing = nil
    enter(.handling, peer, deadline: .max)
    var refusal = refusal(of: exchange, announced: UInt64(head.length))
    if head.length > 0, refusal == nil {
      let body = bytes[head.bytes.count..<(head.bytes.count + head.length)]
      if count(exchange) { exchange.body = Array(body) } else { refusal = .tooMany }
    }
    if let refusal { turnAway(exchange, refusal) } else { answer(exchange) }
    return head.bytes.count + head.length
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
    exchange.isOld = peer.parser.http_minor == 0
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
    answer(exchange)
  }

  private func answer(_ exchange: Exchange) {
    guard let route = exchange.route else { return exchange.peer.map(close) ?? () }
    let answer = route.handler(HTTPRequest(exchange: exchange))
    if case .now(let response) = answer { return send(response, exchange) }
    guard !isClosing else { return turnAway(exchange, .stopping) }
    guard laterCount < configuration.laterLimit else {
      return turnAway(
        exchange, .problem(503, code: "overloaded", detail: "Too many requests at once. Please try again."))
    }
    guard count(exchange) else { return turnAway(exchange, .tooMany) }
    let reply = HTTPReply(server: self, exchange: exchange)
    laterCount += 1
    metrics?.later.value = Double(laterCount)
    if exchange.isSlowed { slowDown(answer, reply) } else { answer.begin(reply) }
    if let answer = exchange.answer { return send(answer, exchange) }
    exchange.isSuspended = true
  }

  /// Answers a request without a look at what it asks for.
  private func turnAway(_ exchange: Exchange, _ refusal: HTTPResponse) {
    // What no route is for has its form already.
    send(exchange.route == nil ? refusal : tree.told(refusal, exchange), exchange)
  }

  /// Begins a moment later: a client with very many under way gets slower before it is refused.
  private func slowDown(_ answer: HTTPAnswer, _ reply: HTTPReply) {
    let exchange = reply.exchange
    exchange.isPausing = true
    // Owned by the exchange, bounded by `laterLimit`; cancelled when the connection ends, and by `stop`.
    exchange.task = Task { @LoopActor in
      do { try await sleep(milliseconds: configuration.slowedMilliseconds) } catch {
        return reply.send(.stopping)
      }
      exchange.isPausing = false
      exchange.task = nil
      answer.begin(reply)
    }
  }

  /// A request that waits for its answer has got it.
  func answered(_ exchange: Exchange, _ response: HTTPResponse) {
    laterCount -= 1
    metrics?.later.value = Double(laterCount)
    exchange.task = nil
    resume(exchange, response)
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
