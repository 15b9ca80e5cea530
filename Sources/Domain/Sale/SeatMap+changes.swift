extension SeatMap {
  // Each of these may be repeated, and ignores tickets that are unknown or past the state it starts from.

  /// Free tickets become held.
  package mutating func hold(_ tickets: [Int]) {
    move(tickets, to: .held) { $0 == .free }
  }

  /// Held tickets become free. A sold one stays sold.
  package mutating func release(_ tickets: [Int]) {
    move(tickets, to: .free) { $0 == .held }
  }

  /// Free or held tickets become sold.
  package mutating func sell(_ tickets: [Int]) {
    move(tickets, to: .sold) { $0 != .sold }
  }

  /// PostgreSQL gave these to somebody else: they are sold, though not by a hold of this map.
  package mutating func lose(_ tickets: [Int]) { sell(tickets) }

  private mutating func move(_ tickets: [Int], to new: Status, if isAllowed: (Status) -> Bool) {
    // Neighbours mostly come together: a row is measured again once for all of them.
    var dirty = -1
    for ticket in tickets {
      guard let slot = slot(of: ticket), isAllowed(status[slot]) else { continue }
      let row = Int(rowOfSlot[slot])
      if row != dirty {
        if dirty >= 0 { measure(dirty) }
        dirty = row
      }
      set(slot, new)
    }
    if dirty >= 0 { measure(dirty) }
  }

  /// Changes one slot and every count; the caller then measures its row.
  mutating func set(_ slot: Int, _ new: Status) {
    let old = status[slot]
    status[slot] = new
    let row = Int(rowOfSlot[slot])
    count(old, -1, rows[row].area)
    count(new, 1, rows[row].area)
    guard rows[row].isPool else { return }
    if old == .free { takeFromPool(slot, row) }
    if new == .free { returnToPool(slot, row) }
    if new == .sold { unsoldRuns[row] -= 1 }
  }

  private mutating func count(_ status: Status, _ change: Int, _ area: Int) {
    switch status {
    case .free:
      counts.free += change
      areas[area].counts.free += change
    case .held:
      counts.held += change
      areas[area].counts.held += change
    case .sold:
      counts.sold += change
      areas[area].counts.sold += change
    }
  }

  private mutating func takeFromPool(_ slot: Int, _ row: Int) {
    poolFree[row] -= 1
    swapInPool(Int(placeInPool[slot]), rows[row].slots.lowerBound + Int(poolFree[row]))
  }

  private mutating func returnToPool(_ slot: Int, _ row: Int) {
    swapInPool(Int(placeInPool[slot]), rows[row].slots.lowerBound + Int(poolFree[row]))
    poolFree[row] += 1
  }

  private mutating func swapInPool(_ a: Int, _ b: Int) {
    pool.swapAt(a, b)
    placeInPool[Int(pool[a])] = Int32(a)
    placeInPool[Int(pool[b])] = Int32(b)
  }

  /// Finds the row's longest runs anew.
  mutating func measure(_ row: Int) {
    if rows[row].isPool {
      freeRuns[row] = Int(poolFree[row])
      return
    }
    var free = 0
    var unsold = 0
    var longestFree = 0
    var longestUnsold = 0
    for slot in rows[row].slots {
      switch status[slot] {
      case .free:
        free += 1
        unsold += 1
        longestFree = max(longestFree, free)
        longestUnsold = max(longestUnsold, unsold)
      case .held:
        free = 0
        unsold += 1
        longestUnsold = max(longestUnsold, unsold)
      case .sold:
        free = 0
        unsold = 0
      }
    }
    freeRuns[row] = longestFree
    unsoldRuns[row] = longestUnsold
  }
}
