/// Which seats of one row of a seating plan sit side by side: by where they are drawn, never by what is printed on them.
package enum SeatNeighbours {
  /// In the plan's own unit.
  package struct Point: Sendable, Equatable {
    package let x: Double
    package let y: Double

    package init(x: Double, y: Double) {
      self.x = x
      self.y = y
    }

    func distance(to other: Point) -> Double {
      let dx = x - other.x, dy = y - other.y
      return (dx * dx + dy * dy).squareRoot()
    }
  }

  /// Wider than so many of the row's usual pitches is an aisle.
  private static let widestStep = 1.6
  /// Positions are given in fractions that do not add up exactly.
  private static let slack = 1e-6

  /// How far apart the row's seats usually are: the median of each one's distance to its nearest.
  /// - Returns: `nil` where positions do not tell.
  package static func pitch(_ positions: [Point?]) -> Double? {
    let points = positions.compactMap { $0 }
    guard points.count == positions.count, points.count > 1 else { return nil }
    var nearest: [Double] = []
    nearest.reserveCapacity(points.count)
    for (index, point) in points.enumerated() {
      var least = Double.infinity
      for (other, there) in points.enumerated() where other != index {
        least = min(least, point.distance(to: there))
      }
      nearest.append(least)
    }
    nearest.sort()
    let median = nearest[nearest.count / 2]
    return median > slack ? median : nil
  }

  /// The row's seats as runs of neighbours, each from one of its ends to the other.
  ///
  /// Seats are joined to those nearest to them, so that a bent row and one whose seats are listed in any order are read
  /// as they are drawn. Where positions are missing or all the same, the row's own order counts, without a gap.
  /// - Parameters:
  ///   - positions: of the row's seats, in its order.
  ///   - usualPitch: that of the plan, for rows of two, whose own says nothing.
  /// - Returns: indices of `positions`, each once; runs by their first one in the row's order.
  package static func runs(_ positions: [Point?], usualPitch: Double? = nil) -> [[Int]] {
    guard let own = pitch(positions) else { return positions.isEmpty ? [] : [Array(positions.indices)] }
    let points = positions.compactMap { $0 }
    let widest = widestStep * (points.count == 2 ? min(own, usualPitch ?? own) : own) + slack
    var steps: [(distance: Double, from: Int, to: Int)] = []
    for from in points.indices {
      for to in points.indices where to > from {
        let distance = points[from].distance(to: points[to])
        if distance <= widest { steps.append((distance, from, to)) }
      }
    }
    steps.sort { ($0.distance, $0.from, $0.to) < ($1.distance, $1.from, $1.to) }
    var beside = [[Int]](repeating: [], count: points.count)
    var chains = Chains(count: points.count)
    for step in steps where beside[step.from].count < 2 && beside[step.to].count < 2 {
      guard chains.join(step.from, step.to) else { continue }
      beside[step.from].append(step.to)
      beside[step.to].append(step.from)
    }
    return walk(beside, points)
  }

  /// Follows each chain from its left end, or its upper one.
  private static func walk(_ beside: [[Int]], _ points: [Point]) -> [[Int]] {
    var runs: [[Int]] = []
    var isSeen = [Bool](repeating: false, count: points.count)
    for first in points.indices where !isSeen[first] {
      var chain = follow(from: first, beside)
      // From somewhere in the middle: once more from the end that was found.
      if let end = chain.last { chain = follow(from: end, beside) }
      for seat in chain { isSeen[seat] = true }
      if let start = chain.first.map({ points[$0] }), let end = chain.last.map({ points[$0] }),
        (end.x, end.y) < (start.x, start.y)
      {
        chain.reverse()
      }
      runs.append(chain)
    }
    return runs
  }

  private static func follow(from start: Int, _ beside: [[Int]]) -> [Int] {
    var chain = [start]
    var previous = -1
    while let here = chain.last, let next = beside[here].first(where: { $0 != previous }) {
      previous = here
      chain.append(next)
    }
    return chain
  }

  /// Which seats hang together already.
  private struct Chains {
    private var parents: [Int]

    init(count: Int) { parents = Array(0..<count) }

    private mutating func root(_ seat: Int) -> Int {
      var seat = seat
      while parents[seat] != seat {
        parents[seat] = parents[parents[seat]]
        seat = parents[seat]
      }
      return seat
    }

    /// - Returns: false where they hang together, so that no chain becomes a ring.
    mutating func join(_ a: Int, _ b: Int) -> Bool {
      let (a, b) = (root(a), root(b))
      parents[a] = b
      return a != b
    }
  }
}
