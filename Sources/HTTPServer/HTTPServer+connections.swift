import CMicroHTTPD
import EventLoop
import Foundation
import Logging
import Metrics

/// Told by libmicrohttpd that a connection was accepted or is closed.
let connectionNotified: MHD_NotifyConnectionCallback = { server, connection, context, code in
  guard let server, let connection, let context else { return }
  // Called on the loop, by `MHD_run`; nothing here leaves it.
  nonisolated(unsafe) let call = (server: server, connection: connection, context: context)
  LoopActor.assumeIsolated {
    let server = Unmanaged<HTTPServer>.fromOpaque(call.server).takeUnretainedValue()
    if code == .CONNECTION_NOTIFY_STARTED {
      let peer = server.opened(call.connection)
      call.context.pointee = Unmanaged.passRetained(peer).toOpaque()
    } else if let peer = call.context.pointee {
      call.context.pointee = nil
      server.closed(Unmanaged<Peer>.fromOpaque(peer).takeRetainedValue())
    }
  }
}

extension HTTPServer {
  /// Of what busy connections leave, the share that is kept free by closing idle ones: one in so many.
  private static let freeShare = 16

  func opened(_ connection: OpaquePointer) -> Peer {
    let peer = Peer(
      descriptor: mhd_descriptor(connection), openedAt: EventLoop.shared.now,
      deadline: deadline(seconds: configuration.headerSeconds))
    accepted += 1
    var on: Int32 = 1
    setsockopt(
      peer.descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
    peer.index = peers.count
    peers.append(peer)
    idle.append(peer)
    makeRoom(for: peer)
    metrics.connections.value = Double(peers.count)
    return peer
  }

  func closed(_ peer: Peer) {
    if peer.phase == .shut { closing -= 1 }
    if peer.phase == .idle { idle.remove(peer) }
    let last = peers.removeLast()
    if last !== peer {
      peers[peer.index] = last
      last.index = peer.index
    }
    // At its limit libmicrohttpd does not listen, and it looks whether it may again only when it is run.
    if peers.count == connectionLimit - 1 { runSoon() }
    metrics.connections.value = Double(peers.count)
  }

  /// Moves a connection to its next phase, which may last until `deadline`.
  func enter(_ phase: Peer.Phase, _ peer: Peer?, deadline: UInt64) {
    // A connection that was told to close must not get new time to live.
    guard let peer, peer.phase != .shut else { return }
    if peer.phase == .idle { idle.remove(peer) }
    peer.enter(phase, deadline: deadline)
    if phase == .idle { idle.append(peer) }
  }

  func deadline(seconds: Int) -> UInt64 { EventLoop.shared.now + UInt64(seconds) * 1000 }

  /// Closes the connections whose phase has lasted too long.
  func sweep() {
    let now = EventLoop.shared.now
    for peer in peers where peer.deadline <= now && peer.phase != .shut { shut(peer) }
  }

  /// Closes the connections that have been idle longest, so that someone who opens connections and does nothing
  /// with them cannot keep others out.
  ///
  /// Idle ones have what busy ones leave. However little that is, a newcomer is the last of them to go, so it has
  /// its time to send a request.
  private func makeRoom(for newcomer: Peer) {
    // Those told to close are as good as gone, or each accept until then would close others.
    let busy = peers.count - closing - idle.count
    let room = connectionLimit - busy
    while idle.count > room - max(1, room / Self.freeShare), let longest = idle.first, longest !== newcomer {
      shut(longest)
      metrics.evictions.increment()
    }
  }

  /// Has libmicrohttpd find the connection closed: it has no call to close one.
  func shut(_ peer: Peer) {
    guard peer.phase != .shut else { return }
    enter(.shut, peer, deadline: .max)
    closing += 1
    shutdown(peer.descriptor, Int32(SHUT_RDWR))
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
  static let stopping = problem(
    503, code: "stopping", detail: "The server is stopping. Please try again.")
}
