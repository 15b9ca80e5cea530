import Audit
import Foundation
import JSON

/// What a rush measured and what it found, as a table or for machines.
struct LoadTestReport {
  var options: LoadTestOptions
  var figures: LoadTestFigures
  var violations: Violations
  var pending: Int
  var seconds: Double
  var beganUnixMilliseconds = 0
  /// Processor time of the load generator itself.
  var ownSeconds: Double
  var peakMemory: Int
  var freshness: Freshness?
  /// What was done to the stack meanwhile, and how often.
  var chaos: [String: Int]?
  var audit: AuditReport?
  /// Why the stores were not compared.
  var auditFailure: String?

  var isGood: Bool { violations.isEmpty && audit?.isClean != false && auditFailure == nil && pending == 0 }

  private var requests: Int { figures.sent.values.reduce(0, +) }

  var text: String {
    var out = "\n"
    func row(_ name: String, _ value: String) { out += "  " + Self.pad(name, 26) + value + "\n" }
    let joins = LoadTestFigures.rate(figures.joinsBySecond),
      polls = LoadTestFigures.rate(figures.pollsBySecond)
    let purchases = LoadTestFigures.rate(figures.purchasesBySecond)
    out += "rush of \(options.buyers) buyers, seed \(options.seed), \(options.connections) connections, "
    // Joins of a closed loop wait for a connection before anybody wants them; all else counts from when it is due.
    out += options.arrivalsPerSecond.map { "open loop of \($0)/s, " } ?? "closed loop, "
    out += Self.number(seconds) + " s\n"
    row(
      "joins",
      "\(figures.accepted) taken" + (figures.again > 0 ? ", \(figures.again) asked again" : "")
        + Self.speed(joins))
    if figures.placesKept + figures.placesNotKept > 0 {
      row(
        "took what was left",
        "\(figures.placesKept) kept their place"
          + (figures.placesNotKept > 0 ? ", \(figures.placesNotKept) came too late for that" : ""))
    }
    if figures.holdsLost > 0 { row("told that a hold is lost", "\(figures.holdsLost)") }
    row("polls", "\(polls.total)" + Self.speed(polls))
    let returns = LoadTestFigures.rate(figures.returnsBySecond)
    if returns.total > 0 { row("came back to their place", "\(returns.total)" + Self.speed(returns)) }
    row("purchases", "\(purchases.total)" + Self.speed(purchases))
    for name in figures.latencies.keys.sorted() {
      if let latencies = figures.latencies[name] { row("  \(name) answered", Self.times(latencies)) }
    }
    row("join to reserved", Self.times(figures.joinToReserved))
    row("confirm to purchased", Self.times(figures.confirmToPurchased))
    if let freshness {
      for view in Freshness.View.allCases { row("\(view.name) shows it", Self.sight(freshness, view)) }
    }
    row(
      "generator",
      "\(requests) requests, \(Self.number(ownSeconds)) s of processor time, "
        + "\(requests == 0 ? 0 : Int(ownSeconds * 1e6) / requests) µs a request, \(peakMemory >> 20) MiB")
    if let chaos {
      let acts = chaos.sorted { $0.key < $1.key }.map { "\($0.value) times \($0.key)" }
      row("chaos", acts.isEmpty ? "nothing was disturbed" : acts.joined(separator: ", "))
    }
    out += "outcomes\n"
    for outcome in Outcome.allCases {
      if let count = figures.outcomes[outcome], count > 0 { row(outcome.name, "\(count)") }
    }
    if pending > 0 { row("pending", "\(pending)") }
    if !figures.errors.isEmpty { out += "refused or failed\n" }
    for (name, count) in figures.errors.sorted(by: { $0.key < $1.key }) { row(name, "\(count)") }
    out +=
      "promises, as \(options.buyers) buyers saw them (\(figures.verified) asked once more after the end)\n"
    for promise in Violations.Promise.allCases {
      guard let count = violations.counts[promise] else {
        out += "  \(violations.tried.contains(promise) ? "held     " : "not tried") \(promise.rawValue)\n"
        continue
      }
      out += "  BROKEN    \(promise.rawValue): \(count)\n"
      for example in violations.examples[promise] ?? [] { out += "              \(example)\n" }
    }
    if let audit {
      out += "audit of the stores\n" + audit.text.split(separator: "\n").map { "  \($0)\n" }.joined()
    }
    if let auditFailure { out += "audit: could not look: \(auditFailure)\n" }
    return out
  }

  var json: JSON {
    func times(_ latencies: Latencies) -> JSON {
      [
        "count": .integer(latencies.count), "p50_us": .integer(latencies.percentile(0.5)),
        "p99_us": .integer(latencies.percentile(0.99)), "max_us": .integer(latencies.largest),
      ]
    }
    func speed(_ list: [Int]) -> JSON {
      let rate = LoadTestFigures.rate(list)
      return [
        "total": .integer(rate.total), "per_second": .number(rate.mean), "best_second": .integer(rate.best),
        // After so many seconds the last of them.
        "last_second": .integer(list.lastIndex { $0 > 0 }.map { $0 + 1 } ?? 0),
      ]
    }
    func counts(_ list: [(String, Int)]) -> JSON {
      .object(list.sorted { $0.0 < $1.0 }.map { (name: $0.0, value: .integer($0.1)) })
    }
    return [
      "good": .bool(isGood), "buyers": .integer(options.buyers), "seed": .integer(options.seed),
      "seconds": .number(seconds), "began_unix_ms": .integer(beganUnixMilliseconds),
      "accepted": .integer(figures.accepted), "pending": .integer(pending),
      "joins": speed(figures.joinsBySecond), "polls": speed(figures.pollsBySecond),
      "returns": speed(figures.returnsBySecond), "lost_to_back": times(figures.lostToBack),
      "purchases": speed(figures.purchasesBySecond),
      "latencies": .object(figures.latencies.sorted { $0.key < $1.key }.map { ($0.key, times($0.value)) }),
      "join_to_reserved": times(figures.joinToReserved),
      "confirm_to_purchased": times(figures.confirmToPurchased),
      "outcomes": counts(figures.outcomes.map { ($0.key.name, $0.value) }),
      "errors": counts(figures.errors.map { ($0.key, $0.value) }),
      "places_kept": .integer(figures.placesKept), "places_not_kept": .integer(figures.placesNotKept),
      "holds_lost": .integer(figures.holdsLost),
      "tickets_bought": .integer(figures.ticketsBought), "amount": .integer(figures.amount),
      "generator_requests": .integer(requests), "generator_cpu_seconds": .number(ownSeconds),
      "generator_peak_bytes": .integer(peakMemory),
      "not_tried": .array(
        Violations.Promise.allCases.filter { !violations.tried.contains($0) }.map { .string($0.rawValue) }),
      "freshness": .object(
        freshness.map { freshness in
          Freshness.View.allCases.map { view in
            let sight = freshness[view]
            return (
              name: "\(view)",
              value: .object(
                (times(sight.latencies).members ?? []) + [
                  ("answers", .integer(sight.answers)), ("too_early", .integer(sight.tooEarly)),
                  ("failures", counts(sight.failures.map { ($0.key, $0.value) })),
                  ("not_seen", .integer(freshness.unseen(view))), ("went_back", .integer(sight.wentBack)),
                ])
            )
          }
        } ?? []),
      "chaos": counts((chaos ?? [:]).map { ($0.key, $0.value) }),
      "broken": counts(violations.counts.map { ($0.key.rawValue, $0.value) }),
      "audit": audit?.json ?? .null, "audit_failure": JSON(auditFailure),
    ]
  }

  private static func speed(_ rate: (mean: Double, best: Int, total: Int)) -> String {
    rate.total == 0 ? "" : ", \(Int(rate.mean))/s, best second \(rate.best)"
  }

  private static func times(_ latencies: Latencies) -> String {
    guard latencies.count > 0 else { return "-" }
    return "p50 \(duration(latencies.percentile(0.5))), p99 \(duration(latencies.percentile(0.99))), "
      + "max \(duration(latencies.largest)) (\(latencies.count))"
  }

  /// How soon a change is seen there, and what else is worth saying.
  private static func sight(_ freshness: Freshness, _ view: Freshness.View) -> String {
    let sight = freshness[view]
    var text = times(sight.latencies)
    if freshness.unseen(view) > 0 { text += ", \(freshness.unseen(view)) changes not seen" }
    if sight.tooEarly > 0 { text += ", \(sight.tooEarly) looks before it was there" }
    if sight.errors > 0 {
      let reasons = sight.failures.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
      text += ", \(sight.errors) of \(sight.answers + sight.errors) looks failed ("
      text += reasons.joined(separator: ", ") + ")"
    }
    if sight.wentBack > 0 { text += ", went back \(sight.wentBack) times" }
    return text
  }

  private static func duration(_ microseconds: Int) -> String {
    switch microseconds {
    case ..<1_000: "\(microseconds) µs"
    case ..<1_000_000: number(Double(microseconds) / 1e3) + " ms"
    default: number(Double(microseconds) / 1e6) + " s"
    }
  }

  /// One digit after the point.
  static func number(_ value: Double) -> String {
    let tenths = Int((value * 10).rounded())
    return "\(tenths / 10).\(tenths % 10)"
  }

  private static func pad(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(1, width - text.count))
  }
}
