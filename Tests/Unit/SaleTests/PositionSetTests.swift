import Testing

@testable import Sale

@Suite("Sets of positions")
struct PositionSetTests {
  @Test("What was inserted is in it, one by one or by the piece, and nothing else")
  func membership() {
    var generator = SeededGenerator(seed: 7)
    var set = PositionSet()
    var expected: Set<Int> = []
    for _ in 0..<2_000 {
      let position = Int.random(in: 0..<100_000, using: &generator)
      set.insert(position)
      expected.insert(position)
    }
    var digits = String(repeating: "0", count: PositionSet.width - 2)
    digits += "11"
    set.insert(piece: 3, digits: digits)
    expected.insert(4 * PositionSet.width - 2)
    expected.insert(4 * PositionSet.width - 1)
    for position in -1...100_000 where set.contains(position) != expected.contains(position) {
      Issue.record("\(position)")
    }
    #expect(set.pieceNumbers.flatMap { set.positions(ofPiece: $0) } == expected.sorted())
    #expect(set.positions(ofPiece: 99).isEmpty)
  }

  @Test("A line of ten million takes little more than a megabyte")
  func size() {
    var set = PositionSet()
    for piece in 0...10_000_000 / PositionSet.width { set.insert(piece * PositionSet.width) }
    #expect((1_000_000...1_400_000).contains(set.bytes))
    #expect(PositionSet().isEmpty && !set.isEmpty)
  }
}
