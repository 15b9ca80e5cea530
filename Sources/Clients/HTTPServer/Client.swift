import EventLoop

/// What one client has of the server: connections, or requests through a proxy.
@LoopActor
final class Client {
  let address: ClientAddress
  var count = 0
  /// Of its connections, those that have nothing to do.
  var idle = PeerQueue<OfClient>()
  /// Of its connections, those on which it is the one to go on, in the order in which it last did.
  var receiving = PeerQueue<OfClient>()

  init(_ address: ClientAddress) { self.address = address }
}
