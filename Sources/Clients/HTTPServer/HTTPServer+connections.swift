import EventLoop
import Foundation
import Logging
import Metrics

extension HTTPServer {
  /// Of what busy connections leave, the share that is kept free by closing waiting ones: one in so many.
  private static let freeShare = 16
  /// Connections that are accepted before others get their turn.
  private static let acceptsPerTurn = 64
  /// Milliseconds for which a client may go on sending before its connection ends, and how many bytes.
  private static let lingerMilliseconds: UInt64 = 2_000
  static let drainLimit = 1 << 20
  /// How often a connection that is closed to make room is read once more.
  private static let lastReads = 16
  /// Bytes that a client has to send, or to read, to count as one that gets on, and milliseconds after which one that has
  /// not may be slow: a phone that changes its cell takes some seconds for a request.
  private static let progressBytes = 16 << 10
  static let slowMilliseconds: UInt64 = 5_000
  /// Slow connections among which the slowest is looked for.
  private static let looks = 32

  // MARK: Opening

  /// Takes what the kernel has accepted for us.
  ///
  /// - Returns: whether there may be more.
  @discardableResult
  func accept() -> Bool {
    guard let listener else { return false }
    for _ in 0..<Self.acceptsPerTurn {
      // Others wait in the kernel's queue, or for another process that shares the port.
      guard peers.count < connectionLimit else {
        listening?.watch([])
        return false
      }
      var storage = sockaddr_storage()
      var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
      let descriptor = withUnsafeMutablePointer(to: &storage) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          Foundation.accept(listener.descriptor, $0, &size)
        }
      }
      if descriptor >= 0 {
        open(descriptor, ClientAddress(storage))
      } else if errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM {
        // Looked at again by the next sweep.
        listening?.watch([])
        return false
      } else if errno != ECONNABORTED && errno != EINTR {
        return false
      }
    }
    return true
  }

  private func open(_ descriptor: Int32, _ address: ClientAddress) {
    // The loop does not wait for it either way: its watcher sees to that.
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    var on: Int32 = 1
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
    let proxies = configuration.trustedProxies
    let peer = Peer(
      descriptor: descriptor, address: address,
      proxies: proxies.contains { $0.contains(address) } ? proxies : nil, openedAt: EventLoop.shared.now,
      deadline: deadline(seconds: configuration.headerSeconds)
    ) { [unowned self] peer, events in ready(peer, events) }
    accepted += 1
    peer.index = peers.count
    peers.append(peer)
    idle.append(peer)
    count(peer)
    makeRoom(for: peer)
    metrics?.connections.value = Double(peers.count)
    if !peer.isDelayed { peer.watcher.watch(.readable) }
  }

  /// Closes the connections that have waited longest, so that someone who opens connections and does nothing
  /// with them cannot keep others out.
  ///
  /// Waiting ones have what busy ones leave. However little that is, a newcomer is the last of them to go, so it has
  /// its time to send a request.
  private func makeRoom(for newcomer: Peer) {
    let busy = peers.count - idle.count - receiving.count
    let room = connectionLimit - busy
    while idle.count + receiving.count > room - max(1, room / Self.freeShare), let longest = slowest(newcomer)
    {
      evict(longest)
    }
  }

  /// Who goes first: of those that have been slow for a while the slowest, then who has had nothing to say for longest,
  /// then who began to send first.
  private func slowest(_ newcomer: Peer) -> Peer? {
    if let slow = slowest(of: receiving) { return slow }
    guard let first = idle.first, first !== newcomer else { return receiving.first }
    // While nobody is slow yet: whoever came before, so that a crowd that trickles does not outlive those who come after it.
    guard let began = receiving.first, began.progressAt < first.progressAt else { return first }
    return began
  }

  /// The one with the fewest bytes in its time, among the first that have not got on for a while; `nil` where there is no
  /// such: nobody's first seconds count.
  private func slowest<Of>(of queue: PeerQueue<Of>) -> Peer? {
    let now = EventLoop.shared.now
    var slowest: Peer?, peer = queue.first
    for _ in 0..<Self.looks {
      guard let some = peer, now >= some.progressAt + Self.slowMilliseconds else { break }
      if let known = slowest {
        // Bytes by milliseconds, multiplied out.
        let isSlower =
          UInt64(some.progress) * (now - known.progressAt) < UInt64(known.progress) * (now - some.progressAt)
        if isSlower { slowest = some }
      } else {
        slowest = some
      }
      peer = Of[some].after
    }
    return slowest
  }

  /// Closes a connection to make room; its client is told, if it waits for an answer.
  private func evict(_ peer: Peer) {
    metrics?.evictions.increment()
    if peer.phase == .receivingHead || peer.phase == .receivingBody { refuse(peer, .overloaded) }
    // What has come and nobody has read would take the answer away from the client.
    var reads = 0
    while peer.phase == .lingering, reads < Self.lastReads,
      recv(peer.descriptor, scratch.baseAddress, Self.largePiece, 0) > 0
    { reads += 1 }
    close(peer)
  }

  // MARK: Clients

  /// Counts a new connection for its client.
  private func count(_ peer: Peer) {
    guard clientLimit > 0, !peer.isTrusted else { return }
    let client = client(peer.address.client)
    if client.count >= clientLimit {
      // Whoever takes too much at least does not keep out others behind the same address.
      let own = slowest(of: client.receiving) ?? client.idle.first
      if let own { evict(own) } else { peer.isSurplus = true }
    }
    client.count += 1
    clients[client.address] = client
    peer.client = client
    client.idle.append(peer)
    peer.isDelayed = client.count > clientLimit / 2
  }

  private func client(_ address: ClientAddress) -> Client { clients[address] ?? Client(address) }

  /// Counts a request that may take long for the client that a proxy speaks for.
  /// - Returns: whether it may have one more.
  func count(_ exchange: Exchange) -> Bool {
    guard clientLimit > 0, exchange.counted == nil, let peer = exchange.peer, peer.isTrusted else {
      return true
    }
    let client = client(exchange.client.client)
    guard client.count < clientLimit else { return false }
    client.count += 1
    clients[client.address] = client
    exchange.counted = client
    exchange.isSlowed = client.count > clientLimit / 2
    return true
  }

  func uncount(_ client: Client) {
    client.count -= 1
    if client.count == 0 { clients[client.address] = nil }
  }

  /// Some more came from a client.
  func progressed(_ peer: Peer, _ count: Int) {
    peer.progress += count
    guard peer.progress >= Self.progressBytes, Self.sends(peer.phase) else { return }
    receiving.remove(peer)
    peer.client?.receiving.remove(peer)
    began(peer)
  }

  private func began(_ peer: Peer) {
    peer.progressAt = EventLoop.shared.now
    peer.progress = 0
    receiving.append(peer)
    peer.client?.receiving.append(peer)
  }

  // MARK: Phases

  /// Moves a connection to its next phase, which may last until `deadline`.
  func enter(_ phase: Peer.Phase, _ peer: Peer, deadline: UInt64) {
    let sent = Self.sends(peer.phase), sends = Self.sends(phase)
    let client = peer.client
    if peer.phase == .idle {
      idle.remove(peer)
      client?.idle.remove(peer)
    }
    if sent && !sends {
      receiving.remove(peer)
      client?.receiving.remove(peer)
    }
    peer.enter(phase, deadline: deadline)
    if phase == .idle {
      peer.progressAt = EventLoop.shared.now
      idle.append(peer)
      client?.idle.append(peer)
    }
    if sends && !sent { began(peer) }
  }

  /// Whether the client is the one that is to do something, be it to read, and has begun.
  private static func sends(_ phase: Peer.Phase) -> Bool {
    switch phase {
    case .receivingHead, .receivingBody, .sending, .draining, .lingering: true
    case .idle, .handling, .closed: false
    }
  }

  func deadline(seconds: Int) -> UInt64 { EventLoop.shared.now + UInt64(seconds) * 1000 }

  /// Ends what has lasted too long: with an answer, where one is owed.
  func sweep() {
    let now = EventLoop.shared.now
    if clientLimit > 0 {
      for peer in peers where peer.isDelayed {
        peer.isDelayed = false
        peer.watcher.watch(.readable)
      }
    }
    for peer in peers where peer.deadline <= now && peer.phase != .closed {
      switch peer.phase {
      case .receivingHead, .receivingBody: giveUp(peer)
      default: close(peer)
      }
    }
    listening?.watch(.readable)
  }

  // MARK: Closing

  /// Ends a connection after its last answer: at once, or, while the client may still send, when that has come.
  func end(_ peer: Peer, isQuiet: Bool) {
    if isQuiet { return close(peer) }
    shutdown(peer.descriptor, Int32(SHUT_WR))
    peer.exchange.dropped = 0
    peer.forget()
    enter(.lingering, peer, deadline: EventLoop.shared.now + Self.lingerMilliseconds)
    peer.watcher.watch(.readable)
  }

  func close(_ peer: Peer) {
    guard peer.phase != .closed else { return }
    peer.unsent = nil
    if peer.exchange.peer != nil { completed(peer.exchange) }
    enter(.closed, peer, deadline: .max)
    peer.forget()
    peer.watcher.close()
    Foundation.close(peer.descriptor)
    let last = peers.removeLast()
    if last !== peer {
      peers[peer.index] = last
      last.index = peer.index
    }
    if let client = peer.client { uncount(client) }
    peer.client = nil
    listening?.watch(.readable)
    metrics?.connections.value = Double(peers.count)
  }

  /// Ends every `later` answer that is still under way.
  func abandonPending() {
    for peer in peers where peer.phase == .handling {
      guard peer.exchange.isSuspended else { continue }
      peer.exchange.task?.cancel()
      resume(peer.exchange, .stopping)
    }
  }
}

extension HTTPResponse {
  static let tooMany = problem(
    429, code: "too_many_connections",
    detail: "There are too many connections from this address. Please try again in a while.",
    headers: [("Retry-After", "5")])
  static let stopping = problem(
    503, code: "stopping", detail: "The server is stopping. Please try again.")
}
