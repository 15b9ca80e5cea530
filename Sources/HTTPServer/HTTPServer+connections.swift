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
  /// Of all connections, the share kept free by closing idle ones: one in so many.
  private static let freeShare = 16

  func opened(_ connection: OpaquePointer) -> Peer {
    let peer = Peer(
      descriptor: mhd_descriptor(connection), deadline: deadline(seconds: configuration.headerSeconds))
    var on: Int32 = 1
    setsockopt(
      peer.descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
    peer.index = peers.count
    peers.append(peer)
    // Those told to close are as good as gone, or each accept until then would close others.
    if peers.count - closing > connectionLimit - connectionLimit / Self.freeShare { makeRoom() }
    metrics.connections.value = Double(peers.count)
    return peer
  }

  func closed(_ peer: Peer) {
    if peer.phase == .shut { closing -= 1 }
    let last = peers.removeLast()
    if last !== peer {
      peers[peer.index] = last
      last.index = peer.index
    }
    metrics.connections.value = Double(peers.count)
  }

  func deadline(seconds: Int) -> UInt64 { EventLoop.shared.now + UInt64(seconds) * 1000 }

  /// Closes the connections whose phase has lasted too long.
  func sweep() {
    let now = EventLoop.shared.now
    for peer in peers where peer.deadline <= now && peer.phase != .shut { shut(peer) }
  }

  /// Closes the connections that have been idle longest, so that someone who opens connections and does nothing
  /// with them cannot keep others out. Some at a time: finding them costs a look at all.
  private func makeRoom() {
    let idle = peers.filter { $0.phase == .idle }.sorted { $0.deadline < $1.deadline }
    for peer in idle.prefix(max(1, connectionLimit / Self.freeShare / 4)) { shut(peer) }
    metrics.evictions.increment()
  }

  /// Has libmicrohttpd find the connection closed: it has no call to close one.
  func shut(_ peer: Peer) {
    if peer.phase != .shut { closing += 1 }
    peer.enter(.shut, deadline: .max)
    shutdown(peer.descriptor, Int32(SHUT_RDWR))
  }

  /// Ends every `later` answer that is still under way.
  func abandonPending() {
    for peer in peers where peer.phase == .handling {
      guard peer.exchange.isSuspended else { continue }
      peer.exchange.task?.cancel()
      resume(
        peer.exchange, .problem(503, code: "stopping", detail: "The server is stopping. Please try again."))
    }
  }
}
