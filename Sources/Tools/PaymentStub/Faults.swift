import JSON

/// What goes wrong on purpose, and how often.
struct FaultSettings: Sendable, Equatable {
  /// Milliseconds before an answer: `mean` plus or minus up to `spread`, half of it before the effect.
  var latencyMean = 0
  var latencySpread = 0
  /// Shares of the requests, 0…1.
  var declineRate = 0.0
  /// A 500 that is kept under the request's key; every other one comes after the effect.
  var errorRate = 0.0
  /// No answer, and no effect.
  var timeoutBeforeRate = 0.0
  /// No answer, after the effect.
  var timeoutAfterRate = 0.0
  /// The request arrives twice, and the second one's answer is what the client gets.
  var duplicateRate = 0.0
  /// Milliseconds for which the search does not find what was made; up to two seconds more.
  var searchLagMilliseconds = 0
  /// Milliseconds for which the search shows what was made as it never was: without an attempt to pay.
  var searchStaleMilliseconds = 0
  /// Share of the requests that are answered with this status, and have no effect.
  var refuseRate = 0.0
  var refuseStatus = 429
  /// What such an answer is called, such as `lock_timeout`; `nil` is what its status is called.
  var refuseCode: String?
  /// Seconds that such an answer wants to be left alone; 0 says nothing.
  var retryAfterSeconds = 0
  /// Requests in a second; those beyond are answered 429. 0 is no limit.
  var requestsPerSecond = 0
  /// Milliseconds until a webhook is sent, and how often; 0 loses all.
  var webhookDelayMilliseconds = 0
  var webhookCopies = 1
  /// Milliseconds that `pm_stub_processing` is processed.
  var processingMilliseconds = 1_000
  /// Milliseconds until the connection of a request without an answer is closed; 0 is at once.
  var hangMilliseconds = 60_000
  var seed: UInt64 = 1
  /// For how many more requests this holds; `nil` is until changed.
  var forNext: Int?
}

/// What happens to one request.
struct FaultPlan: Sendable, Equatable {
  var latency = 0
  var declines = false
  var failsBefore = false
  var failsAfter = false
  var timesOutBefore = false
  var timesOutAfter = false
  var isDuplicated = false
  var hang = 0
}

/// Decides what happens to each request; with the same seed and the same order of requests, the same.
struct FaultInjector: Sendable {
  private(set) var settings = FaultSettings()
  private var state: UInt64 = 1
  private var failures = 0
  private var countedSecond = 0
  private var counted = 0
  /// How often each fault was injected since the start.
  private(set) var injected: [String: Int] = [:]

  mutating func set(_ settings: FaultSettings) {
    self.settings = settings
    state = settings.seed
    failures = 0
  }

  mutating func next() -> FaultPlan {
    guard settings != FaultSettings() else { return FaultPlan() }
    var plan = FaultPlan(hang: settings.hangMilliseconds)
    let spread = settings.latencySpread
    let offset = spread > 0 ? Int(random() * Double(2 * spread + 1)) - spread : 0
    plan.latency = max(0, settings.latencyMean + offset)
    plan.declines = happens(settings.declineRate, "decline")
    if happens(settings.errorRate, "error") {
      failures += 1
      plan.failsBefore = failures % 2 == 1
      plan.failsAfter = failures % 2 == 0
    }
    plan.timesOutBefore = happens(settings.timeoutBeforeRate, "timeout_before")
    plan.timesOutAfter = happens(settings.timeoutAfterRate, "timeout_after")
    plan.isDuplicated = happens(settings.duplicateRate, "duplicate")
    if let left = settings.forNext {
      if left <= 1 { settings = FaultSettings() } else { settings.forNext = left - 1 }
    }
    return plan
  }

  /// Whether a request is refused before anything else is done with it, and how.
  /// - Parameter second: of the present, since 1970.
  mutating func refusal(second: Int) -> StripeFailure? {
    let most = settings.requestsPerSecond
    if most > 0 {
      if second != countedSecond { (countedSecond, counted) = (second, 0) }
      counted += 1
      if counted > most {
        injected["rate_limit", default: 0] += 1
        return .refused(429, retryAfter: 1)
      }
    }
    guard settings.refuseRate > 0, happens(settings.refuseRate, "refuse") else { return nil }
    return .refused(
      settings.refuseStatus, code: settings.refuseCode, retryAfter: settings.retryAfterSeconds)
  }

  /// Draws even where the rate is 0, so that one rate does not shift the others' draws.
  private mutating func happens(_ rate: Double, _ name: String) -> Bool {
    guard random() < rate else { return false }
    injected[name, default: 0] += 1
    return true
  }

  /// SplitMix64, as a number in 0..<1.
  private mutating func random() -> Double {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return Double((z ^ (z >> 31)) >> 11) / Double(1 << 53)
  }
}

extension FaultSettings {
  /// Reads settings; members left out are off.
  /// - Throws: `StripeFailure` naming the member that is wrong.
  init(_ json: JSON) throws(StripeFailure) {
    self.init()
    guard let members = json.members else { throw .invalid("The body must be a JSON object.") }
    for (name, value) in members {
      switch name {
      case "latency_ms":
        latencyMean = try Self.count(value["mean"] ?? 0, "latency_ms[mean]")
        latencySpread = try Self.count(value["spread"] ?? 0, "latency_ms[spread]")
      case "decline_rate": declineRate = try Self.rate(value, name)
      case "error_rate": errorRate = try Self.rate(value, name)
      case "timeout_before_rate": timeoutBeforeRate = try Self.rate(value, name)
      case "timeout_after_rate": timeoutAfterRate = try Self.rate(value, name)
      case "duplicate_rate": duplicateRate = try Self.rate(value, name)
      case "search_lag_ms": searchLagMilliseconds = try Self.count(value, name)
      case "search_stale_ms": searchStaleMilliseconds = try Self.count(value, name)
      case "refuse_rate": refuseRate = try Self.rate(value, name)
      case "refuse_status": refuseStatus = try Self.count(value, name)
      case "refuse_code":
        guard value == .null || value.string != nil else {
          throw .invalid("This must be a text.", param: name)
        }
        refuseCode = value.string
      case "retry_after": retryAfterSeconds = try Self.count(value, name)
      case "requests_per_second": requestsPerSecond = try Self.count(value, name)
      case "webhook_delay_ms": webhookDelayMilliseconds = try Self.count(value, name)
      case "webhook_copies": webhookCopies = min(try Self.count(value, name), 10)
      case "processing_ms": processingMilliseconds = try Self.count(value, name)
      case "hang_ms": hangMilliseconds = try Self.count(value, name)
      case "seed": seed = UInt64(try Self.count(value, name))
      case "for_next": forNext = value == .null ? nil : try Self.count(value, name)
      default: throw .invalid("Unknown fault.", code: "parameter_unknown", param: name)
      }
    }
    if forNext == 0 { self = FaultSettings() }
  }

  private static func count(_ value: JSON, _ name: String) throws(StripeFailure) -> Int {
    guard let count = value.integer, (0...1_000_000_000).contains(count) else {
      throw .invalid("This must be an integer of 0 or more.", param: name)
    }
    return count
  }

  private static func rate(_ value: JSON, _ name: String) throws(StripeFailure) -> Double {
    guard let rate = value.double, (0...1).contains(rate) else {
      throw .invalid("This must be a number from 0 to 1.", param: name)
    }
    return rate
  }

  var json: JSON {
    [
      "latency_ms": ["mean": .integer(latencyMean), "spread": .integer(latencySpread)],
      "decline_rate": .number(declineRate), "error_rate": .number(errorRate),
      "timeout_before_rate": .number(timeoutBeforeRate), "timeout_after_rate": .number(timeoutAfterRate),
      "duplicate_rate": .number(duplicateRate), "search_lag_ms": .integer(searchLagMilliseconds),
      "search_stale_ms": .integer(searchStaleMilliseconds), "refuse_rate": .number(refuseRate),
      "refuse_status": .integer(refuseStatus), "refuse_code": JSON(refuseCode),
      "retry_after": .integer(retryAfterSeconds),
      "requests_per_second": .integer(requestsPerSecond), "processing_ms": .integer(processingMilliseconds),
      "webhook_delay_ms": .integer(webhookDelayMilliseconds), "webhook_copies": .integer(webhookCopies),
      "hang_ms": .integer(hangMilliseconds),
      "seed": .integer(Int(clamping: seed)), "for_next": JSON(forNext),
    ]
  }
}
