import EventLoop

/// The connections that are idle, in the order in which they became so. Adding one and taking one out cost the
/// same wherever it is and however many there are.
@LoopActor
struct IdlePeers {
  private(set) var count = 0
  /// The one that has been idle longest. Whoever has them in here keeps them alive.
  private(set) unowned var first: Peer?
  private unowned var last: Peer?

  mutating func append(_ peer: Peer) {
    peer.idleBefore = last
    peer.idleAfter = nil
    if let last { last.idleAfter = peer } else { first = peer }
    last = peer
    count += 1
  }

  mutating func remove(_ peer: Peer) {
    if let before = peer.idleBefore { before.idleAfter = peer.idleAfter } else { first = peer.idleAfter }
    if let after = peer.idleAfter { after.idleBefore = peer.idleBefore } else { last = peer.idleBefore }
    peer.idleBefore = nil
    peer.idleAfter = nil
    count -= 1
  }
}
