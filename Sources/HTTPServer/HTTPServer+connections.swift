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
    let peer = Peer(
      descriptor: descriptor, address: address, openedAt: EventLoop.shared.now,
      deadline: deadline(seconds: configuration.headerSeconds)
    ) { [unowned self] peer, events in ready(peer, events) }
    accepted += 1
    if configuration.perAddressConnectionLimit > 0 {
      let count = clients[address.client, default: 0] + 1
      clients[address.client] = count
      peer.isSurplus = count > configuration.perAddressConnectionLimit
    }
    peer.index = peers.count
    peers.append(peer)
    idle.append(peer)
    makeRoom(for: peer)
    metrics.connections.value = Double(peers.count)
    peer.watcher.watch(.readable)
  }

  /// Closes the connections that have waited longest, so that someone who opens connections and does nothing
  /// with them cannot keep others out.
  ///
  /// Waiting ones have what busy ones leave. However little that is, a newcomer is the last of them to go, so it has
  /// its time to send a request.
  private func makeRoom(for newcomer: Peer) {
    let busy = peers.count - idle.count
    let room = connectionLimit - busy
    while idle.count > room - max(1, room / Self.freeShare), let longest = idle.first, longest !== newcomer {
      close(longest)
      metrics.evictions.increment()
    }
  }

  // MARK: Phases

  /// Moves a connection to its next phase, which may last until `deadline`.
  func enter(_ phase: Peer.Phase, _ peer: Peer, deadline: UInt64) {
    let waited = Self.waits(peer.phase), waits = Self.waits(phase)
    if waited { idle.remove(peer) }
    peer.enter(phase, deadline: deadline)
    if waits { idle.append(peer) }
  }

  private static func waits(_ phase: Peer.Phase) -> Bool {
    switch phase {
    case .idle, .receivingHead, .lingering: true
    case .receivingBody, .handling, .sending, .draining, .closed: false
    }
  }

  func deadline(seconds: Int) -> UInt64 { EventLoop.shared.now + UInt64(seconds) * 1000 }

  /// Ends what has lasted too long: with an answer, where one is owed.
  func sweep() {
    let now = EventLoop.shared.now
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
    if let count = clients[peer.address.client] {
      clients[peer.address.client] = count > 1 ? count - 1 : nil
    }
    listening?.watch(.readable)
    metrics.connections.value = Double(peers.count)
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
  static let tooManyConnections = problem(
    429, code: "too_many_connections",
    detail: "There are too many connections from this address. Please try again in a while.")
  static let stopping = problem(
    503, code: "stopping", detail: "The server is stopping. Please try again.")
}
