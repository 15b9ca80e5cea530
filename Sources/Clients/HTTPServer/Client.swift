import EventLoop

/// What one client has of the server: connections, or requests through a proxy.
@LoopActor
final class Client {
  let address: ClientAddress
  var count = 0
  /// Of its connections, those that have nothing to do.
  var idle = OwnPeers()
  /// Of its connections, those on which it is the one to go on, in the order in which it last did.
  var receiving = OwnPeers()

  init(_ address: ClientAddress) { self.address = address }
}

/// As `WaitingPeers`, of one client.
@LoopActor
struct OwnPeers {
  private(set) unowned var first: Peer?
  private unowned var last: Peer?

  mutating func append(_ peer: Peer) {
    peer.beforeOfClient = last
    peer.afterOfClient = nil
    if let last { last.afterOfClient = peer } else { first = peer }
    last = peer
  }

  mutating func remove(_ peer: Peer) {
    if let before = peer.beforeOfClient {
      before.afterOfClient = peer.afterOfClient
    } else {
      first = peer.afterOfClient
    }
    if let after = peer.afterOfClient {
      after.beforeOfClient = peer.beforeOfClient
    } else {
      last = peer.beforeOfClient
    }
    peer.beforeOfClient = nil
    peer.afterOfClient = nil
  }
}
