/// A distribution of durations in fixed memory, exact to about 3 per cent.
package struct Latencies: Sendable {
  /// Buckets for each doubling.
  private static let perDoubling = 32
  private static let doublings = 32

  private var buckets = [Int](repeating: 0, count: doublings * perDoubling)
  package private(set) var count = 0
  package private(set) var largest = 0

  package init() {}

  package mutating func record(microseconds: Int) {
    let value = max(0, microseconds)
    buckets[Self.bucket(value)] += 1
    count += 1
    largest = max(largest, value)
  }

  /// The duration that `share` of all did not exceed, in microseconds; 0 when there are none.
  package func percentile(_ share: Double) -> Int {
    guard count > 0 else { return 0 }
    let rank = max(1, Int((share * Double(count)).rounded(.up)))
    var seen = 0
    for (index, number) in buckets.enumerated() {
      seen += number
      if seen >= rank { return min(largest, Self.upperBound(index)) }
    }
    return largest
  }

  private static func bucket(_ value: Int) -> Int {
    if value < perDoubling { return value }
    let doubling = Int.bitWidth - 1 - value.leadingZeroBitCount - 5
    let within = (value >> doubling) - perDoubling
    return min((doubling + 1) * perDoubling + within, doublings * perDoubling - 1)
  }

  private static func upperBound(_ bucket: Int) -> Int {
    if bucket < perDoubling { return bucket }
    let doubling = bucket / perDoubling - 1
    return ((bucket % perDoubling + perDoubling + 1) << doubling) - 1
  }
}
