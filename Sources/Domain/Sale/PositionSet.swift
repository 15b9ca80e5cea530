/// Positions of a line, a bit each, in pieces of `width` where there are any: a line of ten million takes a megabyte.
package struct PositionSet: Sendable, Equatable {
  /// Positions a piece; PostgreSQL keeps pieces of the same size (`request_end`).
  package static let width = 8_192
  private static let words = width / 64

  private var pieces: [Int: [UInt64]] = [:]

  package init() {}

  package var isEmpty: Bool { pieces.isEmpty }
  /// Memory that it takes, about.
  package var bytes: Int { pieces.count * (Self.width / 8 + 64) }

  /// Which pieces there are, in order.
  package var pieceNumbers: [Int] { pieces.keys.sorted() }

  /// The positions of a piece, in order.
  package func positions(ofPiece number: Int) -> [Int] {
    var positions: [Int] = []
    for (index, word) in (pieces[number] ?? []).enumerated() {
      var rest = word
      while rest != 0 {
        positions.append(number * Self.width + index * 64 + rest.trailingZeroBitCount)
        rest &= rest - 1
      }
    }
    return positions
  }

  package func contains(_ position: Int) -> Bool {
    guard position >= 0, let piece = pieces[position / Self.width] else { return false }
    let bit = position % Self.width
    return piece[bit / 64] & 1 << UInt64(bit % 64) != 0
  }

  package mutating func insert(_ position: Int) {
    precondition(position >= 0, "positions are not negative")
    let bit = position % Self.width
    pieces[position / Self.width, default: Array(repeating: 0, count: Self.words)][bit / 64] |=
      1 << UInt64(bit % 64)
  }

  /// Inserts the positions of a piece.
  /// - Parameter digits: a `1` or `0` for each position.
  package mutating func insert(piece number: Int, digits: String) {
    precondition(number >= 0, "positions are not negative")
    var piece = pieces[number] ?? Array(repeating: 0, count: Self.words)
    var index = 0
    for digit in digits.utf8.prefix(Self.width) {
      if digit == UInt8(ascii: "1") { piece[index / 64] |= 1 << UInt64(index % 64) }
      index += 1
    }
    pieces[number] = piece
  }
}
