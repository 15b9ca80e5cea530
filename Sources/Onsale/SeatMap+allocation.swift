extension SeatMap {
  /// How many equally good rows are looked at for one where no single seat is left behind.
  private static let rowsCompared = 8

  /// Gives the best seats there are, and holds them.
  /// - Parameter excluding: sections that nothing may be taken from now, since somebody earlier waits for them.
  ///   What only they could give is worth waiting for: `standby`.
  package mutating func allocate(_ seats: RequestedSeats, excluding: Set<Int> = []) -> Allocation {
    if !seats.tickets.isEmpty { return allocateExactly(seats.tickets, excluding) }
    guard seats.quantity > 0 else { return .rejected(reason: "invalid_quantity") }
    let quantity = seats.quantity

    if let section = seats.section {
      guard let area = areaOfSection[section] else { return .rejected(reason: "unknown_section") }
      if !excluding.contains(section), areas[area].counts.free >= quantity {
        if let row = freeRuns.first(in: areas[area].rows, atLeast: quantity) {
          return granted(quantity) { $0.takeBlock(quantity, firstRow: row, into: &$1) }
        }
        if !seats.adjacent { return granted(quantity) { $0.takeSplit(quantity, area, into: &$1) } }
      }
    } else if counts.free >= quantity {
      if let row = firstRow(with: quantity, excluding) {
        return granted(quantity) { $0.takeBlock(quantity, firstRow: row, into: &$1) }
      }
      if !seats.adjacent {
        if let area = areas.firstIndex(where: { $0.counts.free >= quantity && !excluding.contains($0.id) }) {
          return granted(quantity) { $0.takeSplit(quantity, area, into: &$1) }
        }
        if freeOutside(excluding) >= quantity {
          return granted(quantity) { $0.takeAnywhere(quantity, excluding, into: &$1) }
        }
      }
    }
    return couldSatisfy(seats) ? .standby : .soldOut
  }

  /// Whether free and held tickets together could satisfy it; changes nothing.
  package func couldSatisfy(_ seats: RequestedSeats) -> Bool {
    if !seats.tickets.isEmpty {
      return seats.tickets.allSatisfy { ticket in slot(of: ticket).map { status[$0] != .sold } ?? false }
    }
    if let section = seats.section {
      guard let area = areaOfSection[section] else { return false }
      if seats.adjacent { return unsoldRuns.maximum(in: areas[area].rows) >= seats.quantity }
      return areas[area].counts.free + areas[area].counts.held >= seats.quantity
    }
    if seats.adjacent { return unsoldRuns.maximum(in: 0..<rows.count) >= seats.quantity }
    return counts.free + counts.held >= seats.quantity
  }

  private mutating func allocateExactly(_ tickets: [Int], _ excluding: Set<Int>) -> Allocation {
    var amount = 0
    for ticket in tickets {
      guard let slot = slot(of: ticket) else { return .rejected(reason: "unknown_seats") }
      if status[slot] != .free { return .rejected(reason: "seats_taken") }
      amount += prices[slot]
    }
    if !excluding.isEmpty, tickets.contains(where: { section(of: $0).map(excluding.contains) ?? false }) {
      return .standby
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

  /// The first row, best section first, that has them side by side.
  private func firstRow(with quantity: Int, _ excluding: Set<Int>) -> Int? {
    var start = 0
    while let row = freeRuns.first(in: start..<rows.count, atLeast: quantity) {
      let area = areas[rows[row].area]
      if excluding.isEmpty || !excluding.contains(area.id) { return row }
      start = area.rows.upperBound
    }
    return nil
  }

  private func freeOutside(_ excluding: Set<Int>) -> Int {
    var free = counts.free
    for section in excluding { free -= counts(section: section)?.free ?? 0 }
    return free
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
  private mutating func takeAnywhere(_ quantity: Int, _ excluding: Set<Int>, into slots: inout [Int]) {
    var missing = quantity
    for area in areas.indices where missing > 0 && !excluding.contains(areas[area].id) {
      let share = min(missing, areas[area].counts.free)
      takeSplit(share, area, into: &slots)
      missing -= share
    }
  }
}
