/// Which buyer is due when: constant time to add and to take, four bytes a waiting buyer.
///
/// Times are milliseconds since the rush began, and are kept to `resolution`. A buyer is in the wheel at most once.
package struct TimerWheel {
  package static let resolution = 8
  private static let slots = 8_192

  private var wheel: [[Int32]]
  /// Those beyond one turn, by the turn in which they come due.
  private var later: [Int: [(buyer: Int32, slot: Int)]] = [:]
  /// The next slot to be emptied, counted from the beginning.
  private var current = 0
  package private(set) var count = 0

  package init() { wheel = Array(repeating: [], count: Self.slots) }

  package mutating func add(_ buyer: Int, dueAt milliseconds: Int) {
    let slot = max(current, (milliseconds + Self.resolution - 1) / Self.resolution)
    count += 1
    if slot < current + Self.slots {
      wheel[slot % Self.slots].append(Int32(buyer))
    } else {
      later[slot / Self.slots, default: []].append((Int32(buyer), slot))
    }
  }

  /// Takes out those who are due by `milliseconds`, in the order of their times, with their times.
  package mutating func advance(to milliseconds: Int, _ body: (_ buyer: Int, _ dueAt: Int) -> Void) {
    let end = milliseconds / Self.resolution
    while current <= end {
      if current % Self.slots == 0, let due = later.removeValue(forKey: current / Self.slots) {
        for (buyer, slot) in due { wheel[slot % Self.slots].append(buyer) }
      }
      let index = current % Self.slots
      let dueAt = current * Self.resolution
      current += 1
      if wheel[index].isEmpty { continue }
      count -= wheel[index].count
      for buyer in wheel[index] { body(Int(buyer), dueAt) }
      wheel[index].removeAll(keepingCapacity: wheel[index].count < 1_024)
    }
  }
}
