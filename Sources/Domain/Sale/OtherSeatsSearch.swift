/// Finds seats as good as those that somebody else has by now: of the same section, for the same money, in blocks as long as
/// theirs were.
///
/// A block has the prices that the one in whose place it stands has, and what all of them cost today is what was authorised
/// for those: nobody pays more, or less. Places of general admission stand for such, and seats for seats.
///
/// One search serves many buyers, as long as seats of its map are only taken meanwhile: where a kind of block was found last
/// is where the next one is looked for, and what was not there is not looked for again. `visited` counts what that costs.
struct OtherSeatsSearch {
  /// Seats side by side, or places of general admission, of which any are.
  private struct Block: Hashable {
    let area: Int
    let isPool: Bool
    /// Ascending.
    let prices: [Int]
  }

  /// Seats looked at so far, at most: a measure of time.
  private(set) var visited = 0
  /// The row from which on blocks of a kind may be.
  private var next: [Block: Int] = [:]
  private var missing: Set<[Block]> = []

  /// Holds seats in the place of these.
  /// - Parameter amount: what was authorised for these.
  /// - Returns: which; `nil` where there are none, and nothing is held.
  mutating func take(insteadOf tickets: [Int], amount: Int, of map: inout SeatMap) -> [Int]? {
    visited += tickets.count
    let slots = tickets.compactMap { map.slot(of: $0) }
    guard !slots.isEmpty, slots.count == tickets.count, let prices = Self.prices(of: slots, amount, map)
    else { return nil }
    let blocks = Self.blocks(slots, prices, map)
    if missing.contains(blocks) { return nil }
    let before = next
    var taken: [Int] = []
    for block in blocks {
      guard let found = take(block, of: &map) else {
        map.release(taken)
        // What was held for it meanwhile hid nothing from others.
        next = before
        missing.insert(blocks)
        return nil
      }
      taken += found
    }
    return taken
  }

  /// What was authorised for each, by slot: what it costs, unless its price has changed since. Of several that cost the
  /// same an equal part was; of others nobody knows then.
  private static func prices(of slots: [Int], _ amount: Int, _ map: SeatMap) -> [Int: Int]? {
    let today = Dictionary(slots.map { ($0, map.prices[$0]) }, uniquingKeysWith: { first, _ in first })
    if slots.reduce(0, { $0 + map.prices[$1] }) == amount { return today }
    guard Set(today.values).count == 1, amount % slots.count == 0 else { return nil }
    return today.mapValues { _ in amount / slots.count }
  }

  /// The largest first, which are the hardest to find.
  private static func blocks(_ slots: [Int], _ prices: [Int: Int], _ map: SeatMap) -> [Block] {
    var blocks: [Block] = [], start = 0
    let slots = slots.sorted()
    for index in slots.indices {
      let row = map.rowOfSlot[slots[index]]
      let isPool = map.rows[Int(row)].isPool
      if index + 1 < slots.count, map.rowOfSlot[slots[index + 1]] == row,
        isPool || slots[index + 1] == slots[index] + 1
      {
        continue
      }
      blocks.append(
        Block(
          area: map.rows[Int(row)].area, isPool: isPool,
          prices: slots[start...index].compactMap { prices[$0] }.sorted()))
      start = index + 1
    }
    return blocks.sorted { ($0.prices.count, $0.area) > ($1.prices.count, $1.area) }
  }

  private mutating func take(_ block: Block, of map: inout SeatMap) -> [Int]? {
    let end = map.areas[block.area].rows.upperBound
    var row = next[block] ?? map.areas[block.area].rows.lowerBound
    while let candidate = map.freeRuns.first(in: row..<end, atLeast: block.prices.count) {
      visited += map.rows[candidate].slots.count
      next[block] = candidate
      if map.rows[candidate].isPool == block.isPool,
        let slots = block.isPool ? Self.places(block, candidate, map) : Self.seats(block, candidate, map)
      {
        let tickets = slots.map { Int(map.ids[$0]) }
        map.hold(tickets)
        return tickets
      }
      row = candidate + 1
    }
    next[block] = end
    return nil
  }

  private static func places(_ block: Block, _ row: Int, _ map: SeatMap) -> [Int]? {
    var wanted: [Int: Int] = [:], slots: [Int] = []
    for price in block.prices { wanted[price, default: 0] += 1 }
    let first = map.rows[row].slots.lowerBound
    // As the best are taken: from the end.
    for place in (first..<first + Int(map.poolFree[row])).reversed() {
      let slot = Int(map.pool[place])
      guard let count = wanted[map.prices[slot]], count > 0 else { continue }
      wanted[map.prices[slot]] = count - 1
      slots.append(slot)
      if slots.count == block.prices.count { return slots }
    }
    return nil
  }

  /// Of several such blocks of a row the one that leaves the fewest single seats behind, of these the best.
  private static func seats(_ block: Block, _ row: Int, _ map: SeatMap) -> [Int]? {
    let length = block.prices.count, cost = block.prices.reduce(0, +), range = map.rows[row].slots
    func isFree(_ slot: Int) -> Bool { range.contains(slot) && map.status[slot] == .free }
    var best: (start: Int, orphans: Int, rank: Int)?
    var free = 0, price = 0, rank = 0
    for slot in range {
      guard map.status[slot] == .free else {
        (free, price, rank) = (0, 0, 0)
        continue
      }
      (free, price, rank) = (free + 1, price + map.prices[slot], rank + map.ranks[slot])
      if free > length {
        price -= map.prices[slot - length]
        rank -= map.ranks[slot - length]
      }
      let start = slot - length + 1
      guard free >= length, price == cost, map.prices[start...slot].sorted() == block.prices else { continue }
      let orphans =
        (isFree(start - 1) && !isFree(start - 2) ? 1 : 0) + (isFree(slot + 1) && !isFree(slot + 2) ? 1 : 0)
      if best.map({ (orphans, rank) < ($0.orphans, $0.rank) }) ?? true { best = (start, orphans, rank) }
    }
    return best.map { Array($0.start..<$0.start + length) }
  }
}
