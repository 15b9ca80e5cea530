import CHTTPParser
import EventLoop
import Foundation
import Logging

extension HTTPServer {
  /// Bytes that are read at once: of a large body, and of everything else.
  static let largePiece = 64 << 10
  private static let piece = 16 << 10
  /// Requests of one connection, sent in one go, that are answered before others get their turn.
  private static let requestsPerTurn = 8
  /// Milliseconds that a client has for the next piece of an answer, as long as it gets on, and for all of it.
  private static let pieceMilliseconds: UInt64 = 15_000
  private static let answerMilliseconds: UInt64 = 300_000

  // MARK: Receiving

  func ready(_ peer: Peer, _ events: DescriptorWatcher.Events) {
    switch peer.phase {
    case .idle where peer.keptParsed < peer.kept.count: proceed(peer)
    case .idle, .receivingHead, .receivingBody, .draining: receive(peer)
    case .lingering: discard(peer)
    case .handling: hear(peer)
    case .sending: flush(peer)
    case .closed: break
    }
  }

  /// Whoever sends on before the answer waits for it. Whoever hangs up while their request waits for its turn is not waited
  /// for; nor is a client that says only that it sends nothing more, as no proxy does.
  private func hear(_ peer: Peer) {
    var byte: UInt8 = 0
    if peer.exchange.isPausing, recv(peer.descriptor, &byte, 1, Int32(MSG_PEEK)) == 0 { return close(peer) }
    peer.watcher.watch([])
  }

  /// Reads once what has come, and works through it.
  func receive(_ peer: Peer) {
    let before = peer.kept.count
    load(peer)
    // Not more than the body where another request may follow, which would have to be kept until this one is answered.
    let isBody = peer.phase == .receivingBody || peer.phase == .draining
    let isLarge = isBody && http_parser_announced(&peer.parser) >= Self.largePiece
    let size = isLarge ? Self.largePiece : Self.piece
    let count = recv(peer.descriptor, scratch.baseAddress?.advanced(by: before), size, 0)
    if count < 0, errno == EAGAIN || errno == EINTR { return store(peer, before..<before, head: before) }
    guard count > 0 else { return ended(peer) }
    if peer.phase != .idle { progressed(peer, count) }
    work(peer, from: before, to: before + count)
    if hasMore(peer) { peer.watcher.watch(.writable) }
  }

  /// Whether more requests have come than were answered in this turn; the next one goes on with them.
  private func hasMore(_ peer: Peer) -> Bool { peer.phase == .idle && peer.keptParsed < peer.kept.count }

  /// The client sends nothing more, or is gone.
  private func ended(_ peer: Peer) {
    guard peer.phase == .receivingHead || peer.phase == .receivingBody else { return close(peer) }
    refuse(peer, .malformed("The request ended before it was whole."))
    // It has ended itself.
    if peer.phase == .lingering { close(peer) }
  }

  private func discard(_ peer: Peer) {
    let count = recv(peer.descriptor, scratch.baseAddress, Self.largePiece, 0)
    if count < 0, errno == EAGAIN || errno == EINTR { return }
    peer.exchange.dropped += max(0, count)
    if count <= 0 || peer.exchange.dropped > Self.drainLimit { close(peer) }
  }

  /// Goes on with what came while the answer before was made or sent.
  private func proceed(_ peer: Peer) {
    let parsed = peer.keptParsed, count = peer.kept.count
    guard parsed < count else {
      if peer.phase == .idle { peer.forget() }
      return peer.watcher.watch(.readable)
    }
    load(peer)
    work(peer, from: parsed, to: count)
    // Nothing has been read for a while.
    if peer.phase != .sending, peer.phase != .closed {
      peer.watcher.watch(hasMore(peer) ? .writable : .readable)
    }
  }

  /// Brings what was kept of a connection to the beginning of the memory that all of them are read into.
  private func load(_ peer: Peer) {
    guard let base = scratch.baseAddress, let kept = peer.kept.baseAddress else { return }
    base.update(from: kept, count: peer.kept.count)
    peer.exchange.head.move(to: base)
    peer.forget()
  }

  /// Keeps what outlives this turn.
  /// - Parameters:
  ///   - rest: what the parser has not seen.
  ///   - head: bytes of the request under way, or what has come of it, which end where `rest` begins.
  private func store(_ peer: Peer, from start: Int = 0, _ rest: Range<Int>, head: Int) {
    peer.keep(
      head: UnsafeMutableBufferPointer(rebasing: scratch[start..<(start + head)]),
      rest: UnsafeMutableBufferPointer(rebasing: scratch[rest]))
    peer.exchange.head.move(to: peer.kept.baseAddress)
  }

  /// Works through the bytes of `scratch` up to `end`, of which the parser is done with those before `position`; the head
  /// of the request under way, if there is one, is at the beginning.
  private func work(_ peer: Peer, from position: Int, to end: Int) {
    guard let base = scratch.baseAddress else { return }
    var at = position
    // Where the head of the request under way is.
    var start = 0
    var begun = 0
    var seen = position
    /// Whether a line ends here, be it that its first byte came before.
    func endsLine() -> Bool {
      base[at - 1] == UInt8(ascii: "\n")
        && (at - 2 >= seen ? base[at - 2] : peer.lastByte) == UInt8(ascii: "\r")
    }
    loop: while true {
      switch peer.phase {
      case .idle:
        // Empty lines between requests are nothing.
        while at < end, base[at] == UInt8(ascii: "\r") || base[at] == UInt8(ascii: "\n") { at += 1 }
        start = at
        if at == end { return }
        begun += 1
        if begun > Self.requestsPerTurn { break loop }
        if let taken = takeWhole(peer, UnsafeBufferPointer(start: base + at, count: end - at)) {
          at += taken
          seen = at
          continue
        }
        http_parser_init(&peer.parser, HTTP_REQUEST)
        let patience = deadline(seconds: configuration.headerSeconds)
        enter(.receivingHead, peer, deadline: peer.hasAsked ? patience : min(patience, peer.deadline))
      case .receivingHead, .receivingBody, .draining: break
      case .handling, .sending: break loop
      case .lingering, .closed: return
      }
      if at == end { break }
      if at > seen { peer.lastByte = base[at - 1] }
      seen = at
      let next = http_parser_next(&peer.parser, base + at, end - at)
      at += next.consumed
      if peer.framing != nil, peer.phase != .receivingHead, next.event != HTTP_EVENT_FAULT {
        do throws(RequestHead.Fault) { try frame(peer, next, base, seen..<at) } catch {
          return refuse(peer, error)
        }
      }
      switch next.event {
      case HTTP_EVENT_HEAD:
        // Its last byte is consumed by what follows.
        begin(peer, UnsafeBufferPointer(start: base + start, count: at + 1 - start))
      case HTTP_EVENT_BODY:
        receive(peer.exchange, UnsafeRawBufferPointer(start: next.body, count: next.body_count))
      case HTTP_EVENT_LINE where endsLine(): break
      case HTTP_EVENT_END where http_parser_is_chunked(&peer.parser) == 0 || endsLine(): whole(peer)
      case HTTP_EVENT_LINE, HTTP_EVENT_END:
        return refuse(peer, .malformed("A chunk of the body does not end where it should."))
      case HTTP_EVENT_FAULT:
        let head = UnsafeBufferPointer(start: base + start, count: min(at + 1, end) - start)
        return refuse(peer, fault(peer, base + start, at + 1 - start), head)
      default:
        guard peer.phase == .receivingHead, at - start > configuration.headerLimit else { break }
        let head = UnsafeBufferPointer(start: base + start, count: at - start)
        return refuse(peer, Self.tooLong(head, configuration), head)
      }
    }
    if at > seen { peer.lastByte = base[at - 1] }
    let head = peer.phase == .receivingHead ? at - start : peer.exchange.head.bytes.count
    store(peer, from: start, at..<end, head: head)
  }

  /// Looks at what of a chunked body is none of it.
  private func frame(
    _ peer: Peer, _ next: http_next, _ base: UnsafeMutablePointer<UInt8>, _ taken: Range<Int>
  ) throws(RequestHead.Fault) {
    func take(_ range: Range<Int>) throws(RequestHead.Fault) {
      try peer.framing?.take(UnsafeBufferPointer(start: base + range.lowerBound, count: range.count))
    }
    if next.event == HTTP_EVENT_BODY, let body = next.body {
      let start = body - UnsafePointer(base), end = start + next.body_count
      try take(taken.lowerBound..<start)
      peer.framing?.skipBody()
      try take(end..<taken.upperBound)
    } else {
      try take(taken)
    }
    if next.event == HTTP_EVENT_LINE, http_parser_is_trailing(&peer.parser) != 0 {
      peer.framing?.startTrailers()
    }
    if next.event == HTTP_EVENT_END { peer.framing = nil }
  }

  // MARK: Refusing what is no request

  /// What the parser stumbled over.
  private func fault(_ peer: Peer, _ start: UnsafePointer<UInt8>, _ count: Int) -> RequestHead.Fault {
    switch http_parser_error(&peer.parser) {
    case HPE_UNEXPECTED_CONTENT_LENGTH: .ambiguousBody
    case HPE_INVALID_TRANSFER_ENCODING: .coding
    case HPE_INVALID_CONTENT_LENGTH: .malformed("The Content-Length is no number.")
    case HPE_INVALID_CHUNK_SIZE: .malformed("A chunk of the body has no size that could be read.")
    case HPE_INVALID_VERSION where peer.parser.http_major != 1: .version
    case HPE_INVALID_METHOD
    where UnsafeBufferPointer(start: start, count: count).allSatisfy(RequestHead.isToken):
      .method
    case HPE_HEADER_OVERFLOW: .headers(configuration.headerLimit)
    default: .malformed("The request is not HTTP/1.1 as RFC 9112 has it.")
    }
  }

  static func tooLong(
    _ head: UnsafeBufferPointer<UInt8>, _ configuration: HTTPServerConfiguration
  ) -> RequestHead.Fault {
    let isLine = !head.prefix(configuration.headerLimit).contains(UInt8(ascii: "\n"))
    return isLine ? .target(configuration.headerLimit) : .headers(configuration.headerLimit)
  }

  /// Answers what cannot be read, after which nothing on the connection can be.
  /// - Parameter head: what has come of it.
  func refuse(
    _ peer: Peer, _ fault: RequestHead.Fault,
    _ head: UnsafeBufferPointer<UInt8> = UnsafeBufferPointer(start: nil, count: 0)
  ) {
    if peer.exchange.isAnswered, peer.exchange.peer != nil { return end(peer, isQuiet: false) }
    let exchange: Exchange
    let isUnread = peer.exchange.peer == nil
    if isUnread {
      start(peer)
      if http_parser_method(&peer.parser) == HTTP_HEAD { peer.exchange.method = .head }
      peer.exchange.head = RequestHead(begunBy: head)
    }
    exchange = peer.exchange
    peer.closesNext = true
    let refusal = tree.told(.problem(fault.status, code: fault.code, detail: fault.detail), exchange)
    // Its memory is another's as soon as this returns.
    if isUnread { exchange.head = RequestHead() }
    send(refusal, exchange)
  }

  /// Answers a client that took too long.
  func giveUp(_ peer: Peer) {
    refuse(
      peer,
      RequestHead.Fault(status: 408, code: "request_timeout", detail: "The request did not come in time."))
  }

  // MARK: Sending

  func send(_ answer: HTTPResponse, _ exchange: Exchange) {
    guard let peer = exchange.peer else { return }
    exchange.isAnswered = true
    guard answer.status != HTTPResponse.hangUp.status else { return close(peer) }
    if isStopping { peer.closesNext = true }
    makeHead(answer, exchange, peer)
    metrics?.record(
      exchange.route, exchange.isMethodKnown ? exchange.method : nil, status: answer.status,
      nanoseconds: exchange.startedAt == 0 ? 0 : Self.monotonicNanoseconds() - exchange.startedAt)
    let isBare = exchange.method == .head || answer.status == 204 || answer.status == 304
    let skipped = isBare ? answer.body.count : 0
    let sent = Self.write(peer.descriptor, answerHead.bytes[...], answer.body, from: skipped)
    guard sent >= 0 else { return close(peer) }
    let headLeft = max(0, answerHead.bytes.count - sent)
    let bodySent = skipped + max(0, sent - answerHead.bytes.count)
    if headLeft == 0, bodySent == answer.body.count { return sentAll(peer) }
    peer.unsent = Unsent(head: answerHead.bytes.suffix(headLeft), answer: answer, sent: bodySent)
    enter(.sending, peer, deadline: deadline(seconds: configuration.sendSeconds))
    peer.sendsUntil = EventLoop.shared.now + Self.answerMilliseconds
    peer.watcher.watch(.writable)
  }

  private func makeHead(_ answer: HTTPResponse, _ exchange: Exchange, _ peer: Peer) {
    answerHead.begin(
      status: answer.status, connection: peer.closesNext ? "close" : exchange.isOld ? "keep-alive" : nil)
    if let shared = answer.shared { answerHead.add(shared.lines) }
    var hasPolicy = false
    for (name, value) in answer.headers {
      hasPolicy = hasPolicy || name == Protection.policyName
      if answerHead.add(name, value) { continue }
      logger.retrying(
        "a header is not valid", level: .error,
        ["http.header": name, "http.route": exchange.route?.pattern ?? ""])
    }
    answerHead.add(hasPolicy ? protection.ofPages : protection.ofData)
    if !crossOrigin.origins.isEmpty {
      let isPreflight = exchange.method == .options && exchange.header("Access-Control-Request-Method") != nil
      for (name, value) in crossOrigin.headers(
        path: exchange.path, origin: exchange.header("Origin"),
        preflight: isPreflight ? answer.header("Allow") : nil)
      { _ = answerHead.add(name, value) }
    }
    // These have no body, whose length would be that of another answer.
    answerHead.end(length: answer.status == 204 || answer.status == 304 ? nil : answer.body.count)
  }

  /// Hands over what the kernel takes of a head and the body behind it.
  /// - Returns: how many bytes; -1 if the connection is gone.
  private static func write(
    _ descriptor: Int32, _ head: ArraySlice<UInt8>, _ body: [UInt8], from position: Int
  ) -> Int {
    head.withUnsafeBytes { head in
      body.withUnsafeBytes { body in
        let rest = UnsafeRawBufferPointer(rebasing: body[position...])
        var parts = (
          iovec(iov_base: UnsafeMutableRawPointer(mutating: head.baseAddress), iov_len: head.count),
          iovec(iov_base: UnsafeMutableRawPointer(mutating: rest.baseAddress), iov_len: rest.count)
        )
        return withUnsafeMutablePointer(to: &parts) { parts in
          parts.withMemoryRebound(to: iovec.self, capacity: 2) { parts in
            let sent = writev(descriptor, parts, rest.isEmpty ? 1 : 2)
            return sent < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : sent
          }
        }
      }
    }
  }

  /// The kernel takes more.
  private func flush(_ peer: Peer) {
    guard var unsent = peer.unsent else { return }
    peer.unsent = nil
    let sent = Self.write(peer.descriptor, unsent.head, unsent.answer.body, from: unsent.sent)
    guard sent >= 0 else { return close(peer) }
    if sent > 0 {
      // A slow phone that goes on reading may read on.
      progressed(peer, sent)
      let patience = max(peer.deadline, EventLoop.shared.now + Self.pieceMilliseconds)
      peer.deadline = min(peer.sendsUntil, patience)
    }
    let fromHead = min(sent, unsent.head.count)
    unsent.head.removeFirst(fromHead)
    unsent.sent += sent - fromHead
    if !unsent.head.isEmpty || unsent.sent < unsent.answer.body.count {
      peer.unsent = unsent
      return
    }
    sentAll(peer)
    if peer.phase != .closed, peer.phase != .lingering { proceed(peer) }
  }

  /// The answer is out: the connection waits for the rest of the body, for the next request, or ends.
  private func sentAll(_ peer: Peer) {
    let exchange = peer.exchange
    if peer.closesNext {
      let isQuiet = exchange.isWhole
      completed(exchange)
      return end(peer, isQuiet: isQuiet)
    }
    if exchange.isWhole {
      finish(peer)
    } else {
      enter(.draining, peer, deadline: deadline(seconds: configuration.bodySeconds))
    }
  }

  /// The request is over, and the connection is there for the next one.
  func finish(_ peer: Peer) {
    completed(peer.exchange)
    enter(.idle, peer, deadline: deadline(seconds: configuration.idleSeconds))
  }

  /// Hands over the answer of a request that waits for it; the first one counts.
  func resume(_ exchange: Exchange, _ response: HTTPResponse) {
    guard exchange.answer == nil, let peer = exchange.peer else { return }
    exchange.answer = response
    guard exchange.isSuspended else { return }
    exchange.isSuspended = false
    send(response, exchange)
    if peer.phase == .idle { proceed(peer) }
  }
}
