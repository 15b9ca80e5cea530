extension SeatMap {
  /// How many equally good rows are looked at for one where no single seat is left behind.
  private static let rowsCompared = 8

  /// Gives the best seats there are, and holds them.
  package mutating func allocate(_ seats: RequestedSeats) -> Allocation {
    if !seats.tickets.isEmpty { return allocateExactly(seats.tickets) }
    let quantity = seats.quantity
    guard canGrant(seats) else { return refusal(of: seats).map { .never($0) } ?? .notNow }
    if let section = seats.section.flatMap({ areaOfSection[$0] }) {
      if let row = freeRuns.first(in: areas[section].rows, atLeast: quantity) {
        return granted(quantity) { $0.takeBlock(quantity, firstRow: row, into: &$1) }
      }
      return granted(quantity) { $0.takeSplit(quantity, section, into: &$1) }
    }
    if let row = freeRuns.first(in: 0..<rows.count, atLeast: quantity) {
      return granted(quantity) { $0.takeBlock(quantity, firstRow: row, into: &$1) }
    }
    if let area = areas.firstIndex(where: { $0.counts.free >= quantity }) {
      return granted(quantity) { $0.takeSplit(quantity, area, into: &$1) }
    }
    return granted(quantity) { $0.takeAnywhere(quantity, into: &$1) }
  }

  /// Whether free seats satisfy it, which are not exact ones; changes nothing.
  package func canGrant(_ seats: RequestedSeats) -> Bool {
    guard seats.quantity > 0 else { return false }
    if let section = seats.section {
      guard let area = areaOfSection[section], areas[area].counts.free >= seats.quantity else { return false }
      return !seats.adjacent || freeRuns.first(in: areas[area].rows, atLeast: seats.quantity) != nil
    }
    guard counts.free >= seats.quantity else { return false }
    return !seats.adjacent || freeRuns.first(in: 0..<rows.count, atLeast: seats.quantity) != nil
  }

  /// Why free and held seats together can never satisfy it; `nil` while they could. Not for exact seats.
  package func refusal(of seats: RequestedSeats) -> Refusal? {
    guard seats.quantity > 0 else { return .invalidQuantity }
    var there = counts
    var within = 0..<rows.count
    if let section = seats.section {
      guard let area = areaOfSection[section] else { return .unknownSection }
      there = areas[area].counts
      within = areas[area].rows
    }
    let unsold = there.free + there.held
    if unsold == 0, seats.section != nil { return .sectionSoldOut }
    if unsold < seats.quantity { return .onlyLeft(unsold) }
    if seats.adjacent, unsoldRuns.maximum(in: within) < seats.quantity { return .notTogether }
    return nil
  }

  private mutating func allocateExactly(_ tickets: [Int]) -> Allocation {
    var amount = 0
    for ticket in tickets {
      guard let slot = slot(of: ticket) else { return .never(.unknownSeats) }
      if status[slot] != .free { return .never(.seatsTaken) }
      amount += prices[slot]
    }
    hold(tickets)
    return .granted(tickets: tickets, amount: amount)
  }

  private mutating func granted(_ quantity: Int, _ take: (inout SeatMap, inout [Int]) -> Void) -> Allocation {
    var slots: [Int] = []
    slots.reserveCapacity(quantity)
    take(&self, &slots)
    var amount = 0
    for index in slots.indices {
      amount += prices[slots[index]]
      slots[index] = Int(ids[slots[index]])
    }
    return .granted(tickets: slots, amount: amount)
  }

  // MARK: Taking

  /// A choice of neighbouring seats; lower is better, first by the single seats it leaves behind.
  private struct Block {
    var start: Int
    var orphans: Int
    var rank: Int
  }

  /// Takes a block of that length from the row, or from an equally good one where it leaves no single seat.
  private mutating func takeBlock(_ length: Int, firstRow: Int, into slots: inout [Int]) {
    if rows[firstRow].isPool { return takePlaces(length, firstRow, into: &slots) }
    var row = firstRow
    var choice = bestBlock(length, row)
    let end = areas[rows[row].area].rows.upperBound
    var candidate = row
    for _ in 0..<Self.rowsCompared where choice.orphans > 0 {
      guard let next = freeRuns.first(in: candidate + 1..<end, atLeast: length),
        rows[next].rank == rows[firstRow].rank, !rows[next].isPool
      else { break }
      candidate = next
      let other = bestBlock(length, next)
      if other.orphans < choice.orphans { (row, choice) = (next, other) }
    }
    for slot in choice.start..<choice.start + length {
      set(slot, .held)
      slots.append(slot)
    }
    measure(row)
  }

  /// The best block of a row that has one.
  private func bestBlock(_ length: Int, _ row: Int) -> Block {
    var best = Block(start: -1, orphans: .max, rank: .max)
    let range = rows[row].slots
    var slot = range.lowerBound
    while slot < range.upperBound {
      guard status[slot] == .free else {
        slot += 1
        continue
      }
      let first = slot
      while slot < range.upperBound, status[slot] == .free { slot += 1 }
      if slot - first < length { continue }
      var rank = 0
      for member in first..<first + length { rank += ranks[member] }
      for start in first...slot - length {
        let orphans = (start - first == 1 ? 1 : 0) + (slot - start - length == 1 ? 1 : 0)
        if (orphans, rank) < (best.orphans, best.rank) {
          best = Block(start: start, orphans: orphans, rank: rank)
        }
        if start + length < slot { rank += ranks[start + length] - ranks[start] }
      }
    }
    return best
  }

  private mutating func takePlaces(_ quantity: Int, _ row: Int, into slots: inout [Int]) {
    for _ in 0..<quantity {
      let slot = Int(pool[rows[row].slots.lowerBound + Int(poolFree[row]) - 1])
      set(slot, .held)
      slots.append(slot)
    }
    measure(row)
  }

  /// Takes seats of a section that has enough, as few blocks as a greedy choice gives: longest first.
  private mutating func takeSplit(_ quantity: Int, _ area: Int, into slots: inout [Int]) {
    var missing = quantity
    while missing > 0 {
      let longest = min(missing, freeRuns.maximum(in: areas[area].rows))
      guard longest > 0, let row = freeRuns.first(in: areas[area].rows, atLeast: longest) else { return }
      takeBlock(longest, firstRow: row, into: &slots)
      missing -= longest
    }
  }

  /// Takes seats of several sections, best section first.
  private mutating func takeAnywhere(_ quantity: Int, into slots: inout [Int]) {
    var missing = quantity
    for area in areas.indices where missing > 0 {
      let share = min(missing, areas[area].counts.free)
      takeSplit(share, area, into: &slots)
      missing -= share
    }
  }
}
