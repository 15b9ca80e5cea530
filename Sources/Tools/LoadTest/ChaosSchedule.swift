/// What is done to a stack while a crowd buys, and when: the same seed, time and processes give the same schedule.
package struct ChaosSchedule: Sendable, Equatable {
  package enum Act: Sendable, Equatable {
    /// Ended without a chance to clean up; started again afterwards.
    case kill(String)
    /// Does nothing and keeps its connections and leases, as one does that the machine has no time for.
    case stop(String)
    /// All connections to it end.
    case cut(Store)
    /// Redis answers nobody; the provider is late, fails, and leaves requests without an answer.
    case slow(Store)
  }

  package enum Store: String, Sendable { case redis, postgres, provider }

  package struct Entry: Sendable, Equatable {
    package let atMilliseconds: Int
    package let act: Act
    /// How long it is down, stopped or slow.
    package let milliseconds: Int
  }

  /// A process is left alone for so long after it came back.
  static let breather = 4_000
  /// Longer than leases, so that others take over, and shorter than anybody's patience.
  private static let longestStop = 15_000.0
  /// Several disturbances may follow one another until somebody works again.
  static let recoveryMilliseconds = 45_000

  package let entries: [Entry]

  /// - Parameter processes: such as `worker-1`.
  package init(seed: Int, seconds: Int, processes: [String]) {
    var random = SplitMix64(state: UInt64(bitPattern: Int64(seed)) ^ 0x6368_616f_73)
    var entries: [Entry] = []
    var restsUntil: [String: Int] = [:]
    var now = 500 + random.below(2_000)
    while now < seconds * 1_000 {
      let rested = processes.sorted().filter { restsUntil[$0, default: 0] <= now }
      let dice = random.unit(), target = random.below(max(1, rested.count)), length = random.unit()
      if dice < 0.3 {
        entries.append(
          Entry(atMilliseconds: now, act: .cut(length < 0.5 ? .redis : .postgres), milliseconds: 0))
      } else if dice < 0.5 {
        entries.append(
          Entry(
            atMilliseconds: now, act: .slow(dice < 0.4 ? .redis : .provider),
            milliseconds: 100 + Int(length * 4_000)))
      } else if rested.indices.contains(target) {
        let kills = dice < 0.75
        // Short ones most of the time, and now and then one that outlasts every lease.
        let milliseconds =
          kills ? 100 + Int(length * 3_000) : 200 + Int(Self.longestStop * length * length * length)
        restsUntil[rested[target]] = now + milliseconds + Self.breather
        entries.append(
          Entry(
            atMilliseconds: now, act: kills ? .kill(rested[target]) : .stop(rested[target]),
            milliseconds: milliseconds))
      }
      now += 200 + random.below(2_500)
    }
    self.entries = entries
  }
}

extension ChaosSchedule.Entry: CustomStringConvertible {
  package var description: String {
    let length = " for \(milliseconds) ms"
    let what =
      switch act {
      case .kill(let process): "kill \(process)" + length
      case .stop(let process): "stop \(process)" + length
      case .cut(let store): "cut \(store.rawValue)"
      case .slow(let store): "slow \(store.rawValue)" + length
      }
    return "\(atMilliseconds) ms: \(what)"
  }
}
