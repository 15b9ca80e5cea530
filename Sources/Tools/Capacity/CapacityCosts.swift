package import JSON

/// What one step of a sale costs each part of an installation, in microseconds of one processor, and what it weighs.
///
/// The defaults were measured with `make profile` on one 2-core virtual machine in November 2026 (the slower of the two in
/// `Tests/Bench/README.md`): another machine has others, which is what `--measured` is for.
package struct CapacityCosts: Sendable, Equatable {
  /// Microseconds of a processor for one of something, by who spends them.
  package struct Step: Sendable, Equatable {
    package var server = 0.0
    package var worker = 0.0
    package var redis = 0.0
    package var postgres = 0.0
  }

  package var join = Step(server: 65, worker: 2, redis: 42, postgres: 1)
  package var poll = Step(server: 31, postgres: 1)
  package var grant = Step(server: 1, worker: 7, redis: 25, postgres: 4)
  /// From the confirmation to the capture.
  package var purchase = Step(server: 60, worker: 280, redis: 100, postgres: 225)
  /// Bytes of Redis for each who waits, and of a server for each open connection.
  package var redisBytesWaiting = 57.0
  package var serverBytesConnection = 21_200.0
  /// Bytes of an answer with its headers.
  package var joinBytes = 520.0
  package var pollBytes = 450.0
  /// Bytes of PostgreSQL's log for a purchase.
  package var logBytesPurchase = 2_600.0
  /// Requests to the provider for a purchase: one to reserve the money and one to take it.
  package var providerRequestsPurchase = 2.0

  package init() {}

  /// Replaces what `json` names: `{"join": {"server": 40}, "redis_bytes_waiting": 61}`.
  /// - Throws: `CapacityError` naming what it cannot take.
  package init(measured json: JSON) throws(CapacityError) {
    self.init()
    guard let members = json.members else { throw CapacityError("the measured costs must be a JSON object") }
    for (name, value) in members {
      if let step = Self.steps[name] {
        guard let costs = value.members else { throw CapacityError("`\(name)` must be an object") }
        for (part, cost) in costs {
          guard let path = Self.parts[part] else { throw CapacityError("`\(name)` has no `\(part)`") }
          self[keyPath: step.appending(path: path)] = try Self.number(cost, "\(name).\(part)")
        }
      } else if let path = Self.weights[name] {
        self[keyPath: path] = try Self.number(value, name)
      } else {
        throw CapacityError("`\(name)` is no cost; there are \(Self.names.joined(separator: ", "))")
      }
    }
  }

  private static func number(_ value: JSON, _ name: String) throws(CapacityError) -> Double {
    guard let number = value.double, number.isFinite, number >= 0 else {
      throw CapacityError("`\(name)` must be a number of 0 or more")
    }
    return number
  }

  private static var names: [String] { (Array(steps.keys) + Array(weights.keys)).sorted() }

  private static var steps: [String: WritableKeyPath<CapacityCosts, Step>] {
    ["join": \.join, "poll": \.poll, "grant": \.grant, "purchase": \.purchase]
  }

  private static var parts: [String: WritableKeyPath<Step, Double>] {
    ["server": \.server, "worker": \.worker, "redis": \.redis, "postgres": \.postgres]
  }

  private static var weights: [String: WritableKeyPath<CapacityCosts, Double>] {
    [
      "redis_bytes_waiting": \.redisBytesWaiting, "server_bytes_connection": \.serverBytesConnection,
      "join_bytes": \.joinBytes, "poll_bytes": \.pollBytes, "log_bytes_purchase": \.logBytesPurchase,
      "provider_requests_purchase": \.providerRequestsPurchase,
    ]
  }
}

/// What cannot be planned, in words for whoever asked.
package struct CapacityError: Error, CustomStringConvertible {
  package let description: String
  init(_ description: String) { self.description = description }
}
