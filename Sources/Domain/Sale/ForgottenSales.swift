/// Compares what Redis knows of sold tickets with what PostgreSQL knows of their purchases. Pure.
///
/// PostgreSQL decides what is sold. But after it came back with an older state, as a promoted standby that lagged or a
/// restored backup does, what it does not know may have been sold all the same.
package struct ForgottenSales: Sendable, Equatable {
  /// A request that is told that it has bought these tickets.
  package struct Told: Sendable, Equatable {
    package let position: Int
    package let attempt: Int
    package let tickets: [Int]

    package init(position: Int, attempt: Int, tickets: [Int]) {
      self.position = position
      self.attempt = attempt
      self.tickets = tickets
    }
  }

  /// Tickets that were sold, and that PostgreSQL would sell again.
  package private(set) var tickets: Set<Int> = []
  /// Those of them whose buyers are told so.
  package private(set) var positions: Set<Int> = []

  package init() {}

  /// - Parameters:
  ///   - free: tickets that were sold by Redis' account, and that PostgreSQL says are nobody's.
  ///   - neverSold: those of them that by PostgreSQL's account nobody ever had.
  ///   - told: requests that are told that they have bought some of these.
  ///   - known: positions of those whose purchase PostgreSQL has, in whatever state.
  package init(free: Set<Int>, neverSold: Set<Int>, told: [Told], known: Set<Int>) {
    var accounted: Set<Int> = []
    for request in told {
      let wanted = free.intersection(request.tickets)
      if known.contains(request.position) {
        // Sold, and given back since.
        accounted.formUnion(wanted)
      } else if !wanted.isEmpty {
        tickets.formUnion(wanted)
        positions.insert(request.position)
      }
    }
    // Sold in an earlier life of the line, whose requests Redis has forgotten.
    tickets.formUnion(neverSold.intersection(free).subtracting(accounted))
  }

  /// What two looks agree on: what only one of them saw was under way.
  package func agreeing(with other: ForgottenSales) -> ForgottenSales {
    var both = ForgottenSales()
    both.tickets = tickets.intersection(other.tickets)
    both.positions = positions.intersection(other.positions)
    return both
  }

  /// Tickets that `bitmap` says were sold, and that are neither sold nor claimed.
  package static func suspects(bitmap: [UInt8], tickets: [Int], sold: [Int], claimed: [Int]) -> [Int] {
    if !bitmap.contains(where: { $0 != 0 }) { return [] }
    let accounted = Bitmap.of(sold + claimed)
    return tickets.filter { Bitmap.contains(bitmap, $0) && !Bitmap.contains(accounted, $0) }
  }

  /// Whether `bitmap` lacks any of these.
  package static func lacks(_ bitmap: [UInt8], _ tickets: [Int]) -> Bool {
    tickets.contains { !Bitmap.contains(bitmap, $0) }
  }
}

extension Bitmap {
  /// With these bits set.
  package static func of(_ bits: [Int]) -> [UInt8] {
    var bitmap = [UInt8](repeating: 0, count: bits.max().map { ($0 >> 3) + 1 } ?? 0)
    for bit in bits { bitmap[bit >> 3] |= 0x80 >> UInt8(bit & 7) }
    return bitmap
  }
}
