import EventLoop

/// Connections that wait for their clients, in the order in which they began to. Adding one and taking one out cost the
/// same wherever it is and however many there are.
@LoopActor
struct WaitingPeers {
  private(set) var count = 0
  /// The one that has waited longest. Whoever has them in here keeps them alive.
  private(set) unowned var first: Peer?
  private unowned var last: Peer?

  mutating func append(_ peer: Peer) {
    peer.before = last
    peer.after = nil
    if let last { last.after = peer } else { first = peer }
    last = peer
    count += 1
  }

  mutating func remove(_ peer: Peer) {
    if let before = peer.before { before.after = peer.after } else { first = peer.after }
    if let after = peer.after { after.before = peer.before } else { last = peer.before }
    peer.before = nil
    peer.after = nil
    count -= 1
  }
}
