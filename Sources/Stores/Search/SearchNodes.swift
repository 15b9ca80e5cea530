import EventLoop

/// Which node of a search cluster is asked next: one after the other, but for those that did not answer of late. Pure: time
/// and chance come in.
///
/// A node that fails is left out, and nobody's search tries whether it is back: a look of its own does, ever more rarely. One
/// that has too much to do is passed over for a moment. Where all are, they are asked all the same.
struct SearchNodes {
  /// Between two looks at a node that is left out.
  static let firstPauseMilliseconds: UInt64 = 500
  static let longestPauseMilliseconds: UInt64 = 30_000
  /// For so long one that is busy is passed over, up to.
  static let busyMilliseconds: UInt64 = 1_000
  /// Of what is asked, the share that may be asked once more of another node; and so many at once, after a quiet time. A
  /// cluster that is slow as a whole is not asked twice as much.
  static let retryShare = 0.1
  static let retriesAtOnce = 10.0

  private struct Node {
    let url: String
    var isOut = false
    var busyUntil: UInt64 = 0
    var wellSince: UInt64 = 0
    var answeredAt: UInt64 = 0
    var backoff = Backoff(
      firstMilliseconds: SearchNodes.firstPauseMilliseconds,
      limitMilliseconds: SearchNodes.longestPauseMilliseconds)
  }

  private var nodes: [Node]
  private var turn: Int
  private var retries = SearchNodes.retriesAtOnce

  /// - Parameter first: whose turn it is, so that not all processes begin at the same one.
  init(_ urls: [String], first: Int) {
    precondition(!urls.isEmpty, "a cluster has a node")
    nodes = urls.map { Node(url: $0) }
    turn = first % nodes.count
  }

  var count: Int { nodes.count }
  var outCount: Int { nodes.count { $0.isOut } }
  func url(_ node: Int) -> String { nodes[node].url }
  func isOut(_ node: Int) -> Bool { nodes[node].isOut }

  /// The node that something is asked of.
  mutating func first(now: UInt64) -> Int {
    retries = min(Self.retriesAtOnce, retries + Self.retryShare)
    return next(besides: nil, now: now) ?? turn
  }

  /// Whether what `node` does not answer may be asked of another one.
  func canAskAgain(besides node: Int) -> Bool {
    retries >= 1 && nodes.indices.contains { $0 != node && !nodes[$0].isOut }
  }

  /// Another one for what `node` did not answer; `nil` if there is none that is not left out, or too much was asked again
  /// of late.
  /// - Parameter isUnseen: nothing has reached the node, so that nobody works twice: always possible.
  mutating func another(than node: Int, isUnseen: Bool, now: UInt64) -> Int? {
    guard nodes.contains(where: { !$0.isOut }) else { return nil }
    if !isUnseen {
      guard retries >= 1 else { return nil }
      retries -= 1
    }
    guard let other = next(besides: node, now: now), !nodes[other].isOut else { return nil }
    return other
  }

  /// In turn: of those that are well, else of those that are busy, else of all.
  private mutating func next(besides node: Int?, now: UInt64) -> Int? {
    let order = (0..<nodes.count).map { (turn + $0) % nodes.count }.filter { $0 != node }
    let best = order.min { rank($0, now) < rank($1, now) }
    if let best { turn = (best + 1) % nodes.count }
    return best
  }

  private func rank(_ node: Int, _ now: UInt64) -> Int {
    nodes[node].isOut ? 2 : now < nodes[node].busyUntil ? 1 : 0
  }

  mutating func answered(_ node: Int, now: UInt64) { nodes[node].answeredAt = now }

  /// It did not answer what it was asked at a time.
  /// - Returns: whether it is left out from now on; not where there is no other, it is already, or it has answered something
  ///   else since then: that is slow, and not away.
  mutating func failed(_ node: Int, askedAt: UInt64, now: UInt64) -> Bool {
    guard nodes.count > 1, !nodes[node].isOut, nodes[node].answeredAt <= askedAt else { return false }
    nodes[node].isOut = true
    // One that comes and goes is looked at ever more rarely.
    nodes[node].backoff.ended(afterMilliseconds: now - nodes[node].wellSince)
    return true
  }

  /// It has too much to do.
  mutating func wasBusy(_ node: Int, now: UInt64, using random: inout some RandomNumberGenerator) {
    nodes[node].busyUntil = now + .random(in: Self.busyMilliseconds / 4...Self.busyMilliseconds, using: &random)
  }

  /// How long to wait until the next look at one that is left out, in milliseconds.
  mutating func pause(_ node: Int, using random: inout some RandomNumberGenerator) -> UInt64 {
    nodes[node].backoff.next(using: &random)
  }

  /// A look found it well again.
  mutating func isBack(_ node: Int, now: UInt64) {
    nodes[node].isOut = false
    nodes[node].busyUntil = 0
    nodes[node].wellSince = now
  }
}
