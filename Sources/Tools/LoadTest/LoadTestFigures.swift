/// What was measured.
package struct LoadTestFigures: Sendable {
  package var latencies: [String: Latencies] = [:]
  /// From the join to the moment the buyer learns of the seats, and from confirming to learning of the purchase;
  /// both include the pauses between polls.
  package var joinToReserved = Latencies()
  package var confirmToPurchased = Latencies()
  package var outcomes: [Outcome: Int] = [:]
  /// Requests by kind.
  package var sent: [String: Int] = [:]
  /// Errors by kind of request and code.
  package var errors: [String: Int] = [:]
  package var accepted = 0
  /// From the moment somebody first hears that the line is lost to when they have their place again, pauses included.
  package var lostToBack = Latencies()
  package var again = 0
  /// Ends that were answered by asking for what was left: in time, and too late.
  package var placesKept = 0
  package var placesNotKept = 0
  /// Buyers who were told that what was held for them is lost.
  package var holdsLost = 0
  package var amount = 0
  package var ticketsBought = 0
  package var toVerify = 0
  package var verified = 0
  /// What happened in each second.
  package var joinsBySecond: [Int] = []
  package var pollsBySecond: [Int] = []
  package var returnsBySecond: [Int] = []
  package var purchasesBySecond: [Int] = []

  package init() {}

  static func count(_ list: inout [Int], at microseconds: Int) {
    let second = microseconds / 1_000_000
    while list.count <= second { list.append(0) }
    list[second] += 1
  }

  /// Mean over the seconds from the first to the last in which something happened, and the best second.
  package static func rate(_ list: [Int]) -> (mean: Double, best: Int, total: Int) {
    guard let first = list.firstIndex(where: { $0 > 0 }), let last = list.lastIndex(where: { $0 > 0 }) else {
      return (0, 0, 0)
    }
    let total = list.reduce(0, +)
    return (Double(total) / Double(last - first + 1), list.max() ?? 0, total)
  }
}
