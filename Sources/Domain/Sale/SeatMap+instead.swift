extension SeatMap {
  /// Gives seats as good as these, which somebody else has by now, and holds them: as many of the same section, for the
  /// same money, side by side where these are. Where all of these cost the same, each of the others does.
  ///
  /// Looks at each seat of the section: for the few whose payments came late.
  /// - Returns: `nil` where there are none, or these are of several sections; nothing is held then.
  package mutating func allocate(insteadOf tickets: [Int]) -> [Int]? {
    let own = tickets.compactMap { slot(of: $0) }
    guard let first = own.first, own.count == tickets.count else { return nil }
    let area = rows[Int(rowOfSlot[first])].area
    guard own.allSatisfy({ rows[Int(rowOfSlot[$0])].area == area }) else { return nil }
    let cost = own.reduce(0) { $0 + prices[$1] }
    // Seats of another price are put aside meanwhile.
    var aside: [Int] = []
    if own.allSatisfy({ prices[$0] == prices[first] }) {
      for row in areas[area].rows {
        for slot in rows[row].slots where status[slot] == .free && prices[slot] != prices[first] {
          aside.append(Int(ids[slot]))
        }
      }
    }
    hold(aside)
    defer { release(aside) }
    let seats = RequestedSeats(quantity: own.count, section: areas[area].id, adjacent: areTogether(own))
    guard case .granted(let given, let amount) = allocate(seats) else { return nil }
    if amount == cost { return given }
    release(given)
    return nil
  }

  private func areTogether(_ slots: [Int]) -> Bool {
    guard let low = slots.min(), let high = slots.max(), slots.allSatisfy({ rowOfSlot[$0] == rowOfSlot[low] })
    else { return false }
    return rows[Int(rowOfSlot[low])].isPool || high - low + 1 == slots.count
  }
}
