import EventLoop

/// Connections in the order in which they came in here: all of a server's that wait, or one client's. Adding one and taking
/// one out cost the same wherever it is and however many there are.
@LoopActor
struct PeerQueue<Of: PeerPlace> {
  private(set) var count = 0
  /// The one that has been in here for longest. Whoever has them in here keeps them alive.
  private(set) unowned var first: Peer?
  private unowned var last: Peer?

  mutating func append(_ peer: Peer) {
    Of[peer] = PeerNeighbours(before: last)
    if let last { Of[last].after = peer } else { first = peer }
    last = peer
    count += 1
  }

  mutating func remove(_ peer: Peer) {
    let place = Of[peer]
    if let before = place.before { Of[before].after = place.after } else { first = place.after }
    if let after = place.after { Of[after].before = place.before } else { last = place.before }
    Of[peer] = PeerNeighbours()
    count -= 1
  }
}

/// Where a connection says who is before and behind it in a queue. It is in one of a kind at a time.
@LoopActor
protocol PeerPlace {
  static subscript(peer: Peer) -> PeerNeighbours { get set }
}

struct PeerNeighbours {
  unowned var before: Peer?
  unowned var after: Peer?
}

enum OfServer: PeerPlace {
  static subscript(peer: Peer) -> PeerNeighbours {
    get { peer.ofServer }
    set { peer.ofServer = newValue }
  }
}

enum OfClient: PeerPlace {
  static subscript(peer: Peer) -> PeerNeighbours {
    get { peer.ofClient }
    set { peer.ofClient = newValue }
  }
}
