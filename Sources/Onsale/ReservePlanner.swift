/// Someone in line, as the reserve lane sees them.
package struct Arrival: Sendable, Equatable {
  package let position: Int
  package let user: String
  /// What they want; `nil` when this version of the program cannot read it, so that a newer one will.
  package let seats: RequestedSeats?
  /// Set when they asked to pay at once.
  package let method: String?

  package init(position: Int, user: String, seats: RequestedSeats?, method: String?) {
    self.position = position
    self.user = user
    self.seats = seats
    self.method = method
  }
}

/// What the lane decided about one request.
package struct Decision: Sendable, Equatable {
  package enum Outcome: Sendable, Equatable {
    case granted(tickets: [Int], amount: Int)
    /// Nothing free now, but holds may come back; written down once, the first time.
    case standby
    case soldOut
    case rejected(reason: String)
  }
  package let position: Int
  package let user: String
  package let method: String?
  package let outcome: Outcome

  package init(position: Int, user: String, method: String?, outcome: Outcome) {
    self.position = position
    self.user = user
    self.method = method
    self.outcome = outcome
  }
}

/// Decides requests strictly in the order of their positions, on one event's seat map.
///
/// Nobody overtakes: a request that must wait for held seats blocks the sections it could be served from for
/// everyone behind it, and nothing else. Once everything is blocked, or nothing at all is free, reading stops,
/// so that a crowd in front of the last holds costs one record and not one each.
///
/// Pure: the caller writes the plan down and then calls `settle`, or throws the planner away and loads anew.
package struct ReservePlanner: Sendable {
  /// More standbys than this stop the reading too. They are records in Redis, and looked at in each plan.
  package static let standbyLimit = 1_000

  package private(set) var map: SeatMap
  /// In order of position. Includes requests that this version cannot read; those block nobody.
  package private(set) var standbys: [Arrival]
  package private(set) var head: Int

  package init(map: SeatMap, standbys: [Arrival], head: Int) {
    self.map = map
    self.standbys = standbys.sorted { $0.position < $1.position }
    self.head = head
  }

  package struct Plan: Sendable, Equatable {
    package var decisions: [Decision] = []
    /// How many of the arrivals were decided; the others stay in line.
    package var consumed = 0
    /// Whether it makes no sense to read further before seats come back.
    package var isBlocked = false
  }

  /// Which sections nobody may be served from, because somebody earlier waits for them.
  private struct Blocked {
    var everything = false
    var sections: Set<Int> = []

    mutating func add(_ seats: RequestedSeats, _ map: SeatMap) {
      if let section = seats.section {
        sections.insert(section)
      } else if seats.tickets.isEmpty {
        everything = true
      } else {
        for ticket in seats.tickets { if let section = map.section(of: ticket) { sections.insert(section) } }
      }
    }

    func contains(_ seats: RequestedSeats, _ map: SeatMap) -> Bool {
      if everything { return true }
      if sections.isEmpty { return false }
      if let section = seats.section { return sections.contains(section) }
      return seats.tickets.contains { ticket in map.section(of: ticket).map(sections.contains) ?? false }
    }
  }

  /// Decides standbys, then arrivals, and marks what it grants as held.
  /// - Parameters:
  ///   - arrivals: in order of position, all beyond `head`.
  ///   - grants: at most this many requests are granted; a rate limit.
  package mutating func plan(_ arrivals: [Arrival], grants: Int) -> Plan {
    var plan = Plan()
    var granted = 0
    var blocked = Blocked()
    var waiting: [Arrival] = []

    for (index, standby) in standbys.enumerated() {
      guard let seats = standby.seats else {
        waiting.append(standby)
        continue
      }
      // With the rate used up, or nothing free, those behind cannot be served either: keep them as they are.
      if blocked.everything || granted >= grants || map.counts.free == 0 && map.counts.held > 0 {
        waiting += standbys[index...]
        break
      }
      switch decide(seats, blocked) {
      case .standby:
        waiting.append(standby)
        blocked.add(seats, map)
      case let outcome:
        if case .granted = outcome { granted += 1 }
        plan.decisions.append(Self.decision(standby, outcome))
      }
    }

    for arrival in arrivals {
      if granted >= grants { break }
      if blocked.everything || map.counts.free == 0 && map.counts.held > 0 && !waiting.isEmpty
        || waiting.count >= Self.standbyLimit
      {
        plan.isBlocked = true
        break
      }
      plan.consumed += 1
      guard let seats = arrival.seats else {
        waiting.append(arrival)
        plan.decisions.append(Self.decision(arrival, .standby))
        continue
      }
      let outcome = decide(seats, blocked)
      if case .granted = outcome { granted += 1 }
      if outcome == .standby {
        waiting.append(arrival)
        blocked.add(seats, map)
      }
      plan.decisions.append(Self.decision(arrival, outcome))
    }
    standbys = waiting
    if plan.consumed > 0 { head = max(head, arrivals[plan.consumed - 1].position) }
    return plan
  }

  private mutating func decide(_ seats: RequestedSeats, _ blocked: Blocked) -> Decision.Outcome {
    if blocked.contains(seats, map) { return map.couldSatisfy(seats) ? .standby : .soldOut }
    switch map.allocate(seats, excluding: blocked.sections) {
    case .granted(let tickets, let amount): return .granted(tickets: tickets, amount: amount)
    case .standby: return .standby
    case .soldOut: return .soldOut
    case .rejected(let reason): return .rejected(reason: reason)
    }
  }

  private static func decision(_ arrival: Arrival, _ outcome: Decision.Outcome) -> Decision {
    Decision(position: arrival.position, user: arrival.user, method: arrival.method, outcome: outcome)
  }

  /// The plan was written down, except for `skipped`, who had left: what they were given is free again.
  package mutating func settle(_ plan: Plan, skipped: Set<Int>) {
    if skipped.isEmpty { return }
    for decision in plan.decisions where skipped.contains(decision.position) {
      if case .granted(let tickets, _) = decision.outcome { map.release(tickets) }
    }
    standbys.removeAll { skipped.contains($0.position) }
  }

  /// Somebody on standby has left: they block nobody any more.
  package mutating func leave(_ position: Int) { standbys.removeAll { $0.position == position } }

  package mutating func release(_ tickets: [Int]) { map.release(tickets) }
  package mutating func sell(_ tickets: [Int]) { map.sell(tickets) }

  /// Nothing is free and nothing can come back: everyone still in line has the same answer.
  package var isSoldOut: Bool { map.counts.free == 0 && map.counts.held == 0 }
}
