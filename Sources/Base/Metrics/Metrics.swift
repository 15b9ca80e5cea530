package import EventLoop

/// The process's metrics, written out in Prometheus' text format.
///
/// Lives on the loop, so counting is a plain addition. Each name is registered once; asking again for the
/// same name and labels returns the same metric.
@LoopActor
package final class MetricsRegistry {
  package static let shared = MetricsRegistry()

  package typealias Labels = [(name: String, value: String)]

  private struct Family {
    let kind: String
    let help: String
    var members: [(labels: String, metric: any Metric)] = []
  }

  private var families: [String: Family] = [:]

  package init() {}

  package func counter(_ name: String, _ help: String, labels: Labels = []) -> Counter {
    register(name, help, "counter", labels) { Counter() }
  }

  package func gauge(_ name: String, _ help: String, labels: Labels = []) -> Gauge {
    register(name, help, "gauge", labels) { Gauge() }
  }

  /// - Parameter buckets: upper bounds in the metric's unit, ascending; an unbounded one is added.
  package func histogram(
    _ name: String, _ help: String, labels: Labels = [], buckets: [Double] = Histogram.seconds
  ) -> Histogram {
    register(name, help, "histogram", labels) { Histogram(buckets: buckets) }
  }

  /// How long the turns of this process's loop take, in each of which nobody else is served.
  package func addLoopTurns() {
    let name = "onsale_loop_turn_seconds"
    _ = register(name, "Turns of the event loop, in which nobody else is served", "histogram", []) {
      LoopTurnHistogram()
    }
    _ = register(name + "_max", "The longest turn of the event loop since the process began", "gauge", []) {
      LongestTurn { $0.longestSeconds }
    }
    let processor = "onsale_loop_turn_processor_seconds_max"
    _ = register(processor, "The most that one turn of the event loop took of the processor", "gauge", []) {
      LongestTurn { $0.longestProcessorSeconds }
    }
  }

  private func register<M: Metric>(
    _ name: String, _ help: String, _ kind: String, _ labels: Labels, _ make: () -> M
  ) -> M {
    let text = Self.text(labels)
    if let known = families[name]?.members.first(where: { $0.labels == text })?.metric as? M { return known }
    let metric = make()
    families[name, default: Family(kind: kind, help: help)].members.append((text, metric))
    return metric
  }

  /// Ends a metric whose subject has gone: without it, what has labels would grow for ever.
  package func remove(_ name: String, labels: Labels) {
    let text = Self.text(labels)
    families[name]?.members.removeAll { $0.labels == text }
  }

  private static func text(_ labels: Labels) -> String {
    labels.map { "\($0.name)=\"\(escaped($0.value))\"" }.joined(separator: ",")
  }

  private static func escaped(_ value: String) -> String {
    var out = ""
    for character in value {
      switch character {
      case "\\": out += "\\\\"
      case "\"": out += "\\\""
      case "\n": out += "\\n"
      default: out.append(character)
      }
    }
    return out
  }

  /// All metrics in the Prometheus text exposition format, version 0.0.4.
  package func exposition() -> String {
    var out = ""
    for (name, family) in families.sorted(by: { $0.key < $1.key }) where !family.members.isEmpty {
      out += "# HELP \(name) \(family.help)\n# TYPE \(name) \(family.kind)\n"
      for member in family.members { member.metric.write(name: name, labels: member.labels, to: &out) }
    }
    return out
  }
}

@LoopActor
protocol Metric: AnyObject {
  func write(name: String, labels: String, to out: inout String)
}

/// A count that only grows.
@LoopActor
package final class Counter: Metric {
  package private(set) var value = 0

  package func increment(by amount: Int = 1) { value += amount }

  func write(name: String, labels: String, to out: inout String) {
    out += labels.isEmpty ? "\(name) \(value)\n" : "\(name){\(labels)} \(value)\n"
  }
}

/// A value that goes up and down.
@LoopActor
package final class Gauge: Metric {
  package var value = 0.0

  func write(name: String, labels: String, to out: inout String) {
    out += labels.isEmpty ? "\(name) \(value)\n" : "\(name){\(labels)} \(value)\n"
  }
}

/// A distribution over fixed buckets.
@LoopActor
package final class Histogram: Metric {
  /// Bounds for durations in seconds, from 0.5 ms to 10 s.
  package static let seconds: [Double] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
  ]
  /// Bounds for batch sizes.
  package static let sizes: [Double] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]

  private let buckets: [Double]
  private var counts: [Int]
  private var sum = 0.0
  private var count = 0

  init(buckets: [Double]) {
    self.buckets = buckets
    counts = Array(repeating: 0, count: buckets.count)
  }

  package func record(_ value: Double) {
    if let index = buckets.firstIndex(where: { value <= $0 }) { counts[index] += 1 }
    sum += value
    count += 1
  }

  func write(name: String, labels: String, to out: inout String) {
    Self.write(name: name, labels: labels, buckets, counts, sum: sum, count: count, to: &out)
  }

  /// - Parameter counts: how many values are in each bucket alone.
  static func write(
    name: String, labels: String, _ buckets: [Double], _ counts: [Int], sum: Double, count: Int,
    to out: inout String
  ) {
    let prefix = labels.isEmpty ? "" : labels + ","
    var cumulative = 0
    for (bound, bucket) in zip(buckets, counts) {
      cumulative += bucket
      out += "\(name)_bucket{\(prefix)le=\"\(bound)\"} \(cumulative)\n"
    }
    out += "\(name)_bucket{\(prefix)le=\"+Inf\"} \(count)\n"
    let own = labels.isEmpty ? "" : "{\(labels)}"
    out += "\(name)_sum\(own) \(sum)\n\(name)_count\(own) \(count)\n"
  }
}

/// How long the loop's turns took, which the loop counts itself.
@LoopActor
final class LoopTurnHistogram: Metric {
  func write(name: String, labels: String, to out: inout String) {
    let turns = EventLoop.shared.turns
    Histogram.write(
      name: name, labels: labels, LoopTurns.bounds, turns.counts, sum: turns.seconds, count: turns.count,
      to: &out)
  }
}

/// One of the longest turns of the loop.
@LoopActor
final class LongestTurn: Metric {
  private let read: @LoopActor (LoopTurns) -> Double

  init(_ read: @escaping @LoopActor (LoopTurns) -> Double) { self.read = read }

  func write(name: String, labels: String, to out: inout String) {
    out += "\(name) \(read(EventLoop.shared.turns))\n"
  }
}
