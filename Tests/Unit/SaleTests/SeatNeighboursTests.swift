import Foundation
import Sale
import Testing

@Suite("Neighbours in a seating plan")
struct SeatNeighboursTests {
  typealias Point = SeatNeighbours.Point

  static func line(_ xs: [Double]) -> [Point?] { xs.map { Point(x: $0, y: 7) } }

  @Test("Seats follow each other as they are drawn, in whatever order they are listed")
  func order() {
    #expect(SeatNeighbours.runs(Self.line([0, 25, 50, 75])) == [[0, 1, 2, 3]])
    #expect(SeatNeighbours.runs(Self.line([75, 0, 50, 25])) == [[1, 3, 2, 0]])
    // Down the page, and turned.
    #expect(SeatNeighbours.runs([25, 0, 50].map { Point(x: 3, y: $0) }) == [[1, 0, 2]])
    #expect(SeatNeighbours.runs([50, 25, 0].map { Point(x: $0, y: -$0) }) == [[2, 1, 0]])
  }

  @Test("An aisle of more than 1.6 usual pitches is not crossed, one of just that is no aisle")
  func aisles() {
    #expect(SeatNeighbours.runs(Self.line([0, 25, 50, 91, 116, 141])) == [[0, 1, 2], [3, 4, 5]])
    #expect(SeatNeighbours.runs(Self.line([0, 25, 50, 90, 115, 140])) == [[0, 1, 2, 3, 4, 5]])
    // Pairs: what is usual is the pitch within one.
    #expect(SeatNeighbours.runs(Self.line([0, 25, 75, 100, 150, 175])) == [[0, 1], [2, 3], [4, 5]])
    // Armchairs are far apart, all of them.
    #expect(SeatNeighbours.runs(Self.line([0, 80, 160])) == [[0, 1, 2]])
  }

  @Test("A row of two is measured by the plan's other rows")
  func two() {
    #expect(SeatNeighbours.runs(Self.line([0, 500])) == [[0, 1]])
    #expect(SeatNeighbours.runs(Self.line([0, 500]), usualPitch: 25) == [[0], [1]])
    #expect(SeatNeighbours.runs(Self.line([0, 25]), usualPitch: 25) == [[0, 1]])
  }

  @Test("A row bent around the stage is one run, and a ring is open somewhere")
  func bent() {
    func arc(_ count: Int, _ turn: Double) -> [Point?] {
      (0..<count).map { index in
        let angle = turn * Double(index) / Double(count) * 2 * .pi
        return Point(x: 300 * cos(angle), y: 300 * sin(angle))
      }
    }
    let bent = SeatNeighbours.runs(arc(40, 0.8))
    #expect(bent == [Array((0..<40).reversed())] || bent == [Array(0..<40)])
    let ring = SeatNeighbours.runs(arc(12, 1))
    #expect(ring.count == 1 && ring[0].count == 12)
  }

  @Test("Without positions, with some missing, or with all at one place the row's order counts")
  func noPositions() {
    #expect(SeatNeighbours.runs([nil, nil, nil]) == [[0, 1, 2]])
    #expect(SeatNeighbours.runs([Point(x: 50, y: 0), nil, Point(x: 0, y: 0)]) == [[0, 1, 2]])
    #expect(SeatNeighbours.runs(Self.line([4, 4, 4, 4])) == [[0, 1, 2, 3]])
    #expect(SeatNeighbours.runs([]) == [] && SeatNeighbours.runs([nil]) == [[0]])
  }

  @Test("Every seat is in one run, whatever the positions")
  func complete() {
    var random = SeededGenerator()
    for _ in 0..<300 {
      let count = Int.random(in: 1...30, using: &random)
      let points: [Point?] = (0..<count).map { _ in
        Point(
          x: Double(Int.random(in: 0...6, using: &random)) * 25,
          y: Double(Int.random(in: 0...2, using: &random)))
      }
      #expect(
        SeatNeighbours.runs(points).flatMap { $0 }.sorted() == Array(0..<count),
        "seed \(random.seed): \(points)")
    }
  }
}
