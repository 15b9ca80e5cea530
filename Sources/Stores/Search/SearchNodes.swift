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

  var outCount: Int { nodes.count { $0.isOut } }
  func url(_ node: Int) -> String { nodes[node].url }
  func isOut(_ node: Int) -> Bool { nodes[node].isOut }

  /// The node that something is asked of.
  /// - Returns: also whether what it has seen and does not answer may be asked of another one: then one more such request is
  ///   set aside, and to be used or given back.
  mutating func first(now: UInt64) -> (node: Int, mayAskAgain: Bool) {
    retries = min(Self.retriesAtOnce, retries + Self.retryShare)
    let node = next(besides: [], now: now) ?? turn
    guard retries >= 1, nodes.indices.contains(where: { $0 != node && !nodes[$0].isOut }) else {
      return (node, false)
    }
    retries -= 1
    return (node, true)
  }

  /// What was set aside was not needed.
  mutating func giveBack() { retries = min(Self.retriesAtOnce, retries + 1) }

  /// Another one; `nil` if there is none.
  /// - Parameters:
  ///   - tried: those that did not answer.
  ///   - isUnseen: nothing has reached them, so that nobody works twice: those that are left out are asked, too, where
  ///     there is no other.
  mutating func another(besides tried: Set<Int>, isUnseen: Bool, now: UInt64) -> Int? {
    guard isUnseen || nodes.indices.contains(where: { !tried.contains($0) && !nodes[$0].isOut }) else {
      return nil
    }
    return next(besides: tried, now: now)
  }

  /// In turn: of those that are well, else of those that are busy, else of all.
  private mutating func next(besides tried: Set<Int>, now: UInt64) -> Int? {
    let order = (0..<nodes.count).map { (turn + $0) % nodes.count }.filter { !tried.contains($0) }
    let best = order.min { rank($0, now) < rank($1, now) }
    if let best { turn = (best + 1) % nodes.count }
    return best
  }

  private func rank(_ node: Int, _ now: UInt64) -> Int {
    nodes[node].isOut ? 2 : now < nodes[node].busyUntil ? 1 : 0
  }

  /// It has answered, whatever: it is well.
  /// - Returns: whether it was left out until now.
  mutating func answered(_ node: Int, now: UInt64) -> Bool {
    nodes[node].answeredAt = now
    guard nodes[node].isOut else { return false }
    nodes[node].isOut = false
    nodes[node].wellSince = now
    return true
  }

  /// It did not answer what it was asked at a time.
  /// - Returns: whether it is left out from now on. It is not if it has answered something else since then, which is slow and
  ///   not away; and the last that is well never is: there is nobody else to ask.
  mutating func failed(_ node: Int, askedAt: UInt64, now: UInt64) -> Bool {
    guard nodes.count - outCount > 1, !nodes[node].isOut, nodes[node].answeredAt <= askedAt else {
      return false
    }
    nodes[node].isOut = true
    // One that comes and goes is looked at ever more rarely.
    nodes[node].backoff.ended(afterMilliseconds: now - nodes[node].wellSince)
    return true
  }

  /// It has too much to do.
  mutating func wasBusy(_ node: Int, now: UInt64, using random: inout some RandomNumberGenerator) {
    nodes[node].busyUntil =
      now + .random(in: Self.busyMilliseconds / 4...Self.busyMilliseconds, using: &random)
  }

  /// How long to wait until the next look at one that is left out, in milliseconds.
  mutating func pause(_ node: Int, using random: inout some RandomNumberGenerator) -> UInt64 {
    nodes[node].backoff.next(using: &random)
  }
}
