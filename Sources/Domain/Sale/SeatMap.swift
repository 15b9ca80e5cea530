/// The seats of one event, in its owner's memory: decides who gets which.
///
/// Best available means: the first section as the seller ranked them that has the seats side by side, in its
/// best row that has them. Within a row the block that leaves no single seat behind is taken, then the one of
/// the best seats. Where no row has them side by side they are split, within one section if one has enough,
/// else over several; unless the buyer insisted on side by side.
///
/// Seats of a seating plan are side by side when they follow each other in a run of it: where they are drawn counts, and
/// no label. Seats that are only numbered are so when they follow each other in the natural order of their labels,
/// without a gap wider than the row's usual step: 1, 3, 5 are neighbours in an odd row, 10 and 12 are not in a row
/// that has 1, 2, 3. General-admission places are all alike, so any of them count as side by side.
///
/// Built for a stadium: an allocation costs the length of one row and the logarithm of the number of rows.
package struct SeatMap: Sendable {
  package struct Section: Sendable {
    package let id: Int
    package let name: String
    /// In minor units. What is charged is the tickets' own price.
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
    /// From 1 to `Limits.ticketID`, unique in the event.
    package let id: Int
    package let section: Int
    /// `nil` for a general-admission place.
    package let row: String?
    package let seat: String?
    /// Lower is better, within its section; a row is as good as its best seat.
    package let rank: Int
    /// In minor units.
    package let price: Int
    /// Neighbours have the same run and places that follow each other; `nil` where no plan says who they are.
    package let run: Int?
    package let place: Int?

    package init(
      id: Int, section: Int, row: String?, seat: String?, rank: Int, price: Int, run: Int? = nil,
      place: Int? = nil
    ) {
      self.id = id
      self.section = section
      self.row = row
      self.seat = seat
      self.rank = rank
      self.price = price
      self.run = run
      self.place = place
    }
  }

  /// How many tickets are in which state.
  package struct Counts: Sendable, Equatable {
    package var free: Int
    package var held: Int
    package var sold: Int
    package var total: Int { free + held + sold }

    package init(free: Int = 0, held: Int = 0, sold: Int = 0) {
      self.free = free
      self.held = held
      self.sold = sold
    }
  }

  enum Status: UInt8 { case free, held, sold }

  /// Seats that lie side by side, or the general-admission places of a section.
  struct Row {
    let slots: Range<Int>
    /// Index of its section in `areas`.
    let area: Int
    /// That of its best seat.
    let rank: Int
    /// Whether its places are all alike.
    let isPool: Bool
  }

  /// A section with its rows.
  struct Area {
    let id: Int
    let rows: Range<Int>
    var counts: Counts
  }

  // Tickets live in slots, ordered by section, row and seat, so that a row is a range of slots.
  var status: [Status]
  let ids: [Int32]
  let prices: [Int]
  let ranks: [Int]
  let rowOfSlot: [Int32]
  /// Slot of each ticket id; -1 where there is none.
  let slotOfID: [Int32]
  let rows: [Row]
  var areas: [Area]
  let areaOfSection: [Int: Int]

  /// By row: the longest run of free seats, and of seats that are not sold.
  var freeRuns: MaximumTree
  var unsoldRuns: MaximumTree

  /// Free slots of the pools, each pool's in its own range of slots, the free ones first; and where each slot is
  /// in there, so that any one can be taken out at once. Meaningless for other slots.
  var pool: [Int32]
  var placeInPool: [Int32]
  /// By row: how many free places a pool has.
  var poolFree: [Int32]

  package internal(set) var counts = Counts()
  package var free: Int { counts.free }
  package var held: Int { counts.held }
  package var sold: Int { counts.sold }

  /// - Parameters:
  ///   - held: tickets that are locked for somebody. Unknown ids are ignored.
  ///   - sold: tickets that are sold; wins over `held`.
  package init(sections: [Section], tickets: [Ticket], held: [Int] = [], sold: [Int] = []) {
    let plan = SeatPlan(sections: sections, tickets: tickets)
    ids = plan.tickets.map { Int32($0.id) }
    prices = plan.tickets.map(\.price)
    ranks = plan.tickets.map(\.rank)
    rows = plan.rows
    areas = plan.areas
    var areaOfSection: [Int: Int] = [:]
    for (index, area) in plan.areas.enumerated() { areaOfSection[area.id] = index }
    self.areaOfSection = areaOfSection

    let count = plan.tickets.count
    status = Array(repeating: .free, count: count)
    var slotOfID = [Int32](repeating: -1, count: Int(ids.max() ?? 0) + 1)
    for slot in 0..<count {
      precondition(slotOfID[Int(ids[slot])] < 0, "a ticket id is unique in its event")
      slotOfID[Int(ids[slot])] = Int32(slot)
    }
    self.slotOfID = slotOfID

    var rowOfSlot = [Int32](repeating: 0, count: count)
    freeRuns = MaximumTree(count: rows.count)
    unsoldRuns = MaximumTree(count: rows.count)
    poolFree = Array(repeating: 0, count: rows.count)
    for (index, row) in rows.enumerated() {
      for slot in row.slots { rowOfSlot[slot] = Int32(index) }
      freeRuns[index] = row.slots.count
      unsoldRuns[index] = row.slots.count
      if row.isPool { poolFree[index] = Int32(row.slots.count) }
    }
    self.rowOfSlot = rowOfSlot
    // Backwards, because places are taken from the end of the free ones: the best first.
    pool = (0..<Int32(count)).map { $0 }
    for row in rows where row.isPool { pool[row.slots].reverse() }
    placeInPool = Array(repeating: 0, count: count)
    for (place, slot) in pool.enumerated() { placeInPool[Int(slot)] = Int32(place) }
    counts.free = count

    sell(sold)
    hold(held)
  }

  // MARK: Queries

  package func counts(section: Int) -> Counts? {
    areaOfSection[section].map { areas[$0].counts }
  }

  /// The section of a ticket; `nil` for an unknown one.
  package func section(of ticket: Int) -> Int? {
    slot(of: ticket).map { areas[rows[Int(rowOfSlot[$0])].area].id }
  }

  /// Bit i, most significant first, is set when ticket i is not free: the layout of Redis's bitmaps.
  package var bitmap: [UInt8] {
    var bits = [UInt8](repeating: 0, count: (slotOfID.count + 7) / 8)
    for (slot, id) in ids.enumerated() where status[slot] != .free {
      bits[Int(id) / 8] |= 0x80 >> UInt8(id % 8)
    }
    return bits
  }

  func slot(of ticket: Int) -> Int? {
    guard slotOfID.indices.contains(ticket), slotOfID[ticket] >= 0 else { return nil }
    return Int(slotOfID[ticket])
  }
}
