/// The seats of one event, in its owner's memory: decides who gets which.
package struct SeatMap: Sendable {
  package struct Section: Sendable {
    package let id: Int
    package let name: String
    package let price: Int
    /// Lower is better, as the seller listed them.
    package let rank: Int

    package init(id: Int, name: String, price: Int, rank: Int) {
      self.id = id
      self.name = name
      self.price = price
      self.rank = rank
    }
  }

  package struct Ticket: Sendable {
    package let id: Int
    package let section: Int
    /// `nil` for a general-admission place.
    package let row: String?
    package let seat: String?
    /// Lower is better, within its section.
    package let rank: Int
    package let price: Int

    package init(id: Int, section: Int, row: String?, seat: String?, rank: Int, price: Int) {
      self.id = id
      self.section = section
      self.row = row
      self.seat = seat
      self.rank = rank
      self.price = price
    }
  }

  package struct Counts: Sendable, Equatable {
    package var free = 0
    package var held = 0
    package var sold = 0
    package var total: Int { free + held + sold }
  }

  package private(set) var counts = Counts()

  /// - Parameters:
  ///   - held: tickets that are locked for somebody.
  ///   - sold: tickets that are sold; wins over `held`.
  package init(sections: [Section], tickets: [Ticket], held: [Int] = [], sold: [Int] = []) {}

  /// - Parameter excluding: sections that nothing may be taken from, because somebody earlier waits for seats in
  ///   them. They still count for whether the request could be satisfied later (`standby` rather than `soldOut`).
  package mutating func allocate(_ seats: RequestedSeats, excluding: Set<Int> = []) -> Allocation { .soldOut }

  /// The section of a ticket, or `nil` for an unknown one.
  package func section(of ticket: Int) -> Int? { nil }

  /// Whether free and held tickets together could satisfy it; changes nothing.
  package func couldSatisfy(_ seats: RequestedSeats) -> Bool { false }

  package mutating func hold(_ tickets: [Int]) {}
  package mutating func release(_ tickets: [Int]) {}
  package mutating func sell(_ tickets: [Int]) {}
  /// Somebody else owns these in PostgreSQL.
  package mutating func lose(_ tickets: [Int]) {}

  package func counts(section: Int) -> Counts? { nil }

  /// Bit i, most significant first, is set when ticket i is not free.
  package var bitmap: [UInt8] { [] }
}
