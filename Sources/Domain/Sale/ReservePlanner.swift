/// Decides requests in the order of their positions, on one event's seat map: in order, and nobody blocks anybody.
///
/// Free seats go to the earliest whom they satisfy. Who wants what is held by others waits, and keeps nobody waiting but
/// those behind who want the same: one wish, one line. The head passes over them all; nothing is written for who is passed
/// over, and nothing of them is kept here but where each line stands. Exact seats are not waited for. What free and held
/// seats together can never satisfy ends, with the whole line, by one write.
///
/// When seats come back, of the lines that they satisfy the one is served whose next comes first.
///
/// Pure: the caller writes the plan down and then calls `settle`, or throws the planner away and loads anew.
package struct ReservePlanner: Sendable {
  /// Tickets that one plan grants, but for those of its last request: what is written at once takes time.
  package static let ticketLimit = 600
  /// Lines that are read before one plan; those whose next comes first.
  package static let linesRead = 64

  /// A line with somebody whom the head has passed, or may have.
  package struct WaitingLine: Sendable, Equatable {
    /// `nil` when this version of the program cannot read it.
    package let seats: RequestedSeats?
    /// Everyone up to here is decided or has left.
    package fileprivate(set) var served: LinePlace
    /// Those who come next, as far as they were read: in order, and without a gap.
    fileprivate var known: ArraySlice<Arrival> = []

    package init(seats: RequestedSeats?, served: LinePlace) {
      self.seats = seats
      self.served = served
    }

    /// Nobody in it comes before this position.
    fileprivate var next: Int { known.first?.position ?? served.position + 1 }
  }

  package private(set) var map: SeatMap
  package private(set) var head: Int
  package private(set) var waiting: [Int: WaitingLine]
  /// By position.
  package private(set) var alone: [Int: Arrival]
  /// Lines that ended, and of which nobody was served since.
  private var ended: Set<Int> = []
  /// Where lines stand that nobody was told of yet; `nil` inside: nobody waits whom the head has passed.
  private var marks: [Int: LinePlace?] = [:]
  /// Whether what is free or held has changed, so that some who wait may be decided.
  private var hasNews = true

  package init(
    map: SeatMap, head: Int, waiting: [Int: WaitingLine] = [:], alone: [Arrival] = []
  ) {
    self.map = map
    self.head = head
    self.waiting = waiting
    self.alone = Dictionary(alone.map { ($0.position, $0) }, uniquingKeysWith: { first, _ in first })
  }

  package struct Plan: Sendable, Equatable {
    package var decisions: [Decision] = []
    package var ends: [LineEnd] = []
    /// Where lines stand afterwards; `nil` inside: nobody waits whom the head has passed.
    package var marks: [Int: LinePlace?] = [:]
    /// How many of the arrivals were looked at; the others are to be read again.
    package var consumed = 0
    /// Whether it stopped before the end: at a limit, or at a line that must be read first.
    package var goesOn = false
    /// Out of turn: what lines say of the positions does not hold.
    package var isOutOfTurn = false

    package init() {}

    package var isEmpty: Bool { decisions.isEmpty && ends.isEmpty && marks.isEmpty }
    package var granted: Int { decisions.count { if case .granted = $0.outcome { true } else { false } } }
  }

  // MARK: Lines that wait

  /// Lines that free seats may satisfy, and of which nobody is known: to be read before the next plan, from behind the place
  /// that is given, at most so many of each.
  package var unread: [(line: Int, after: LinePlace, atMost: Int)] {
    guard hasNews else { return [] }
    var lines: [(line: Int, after: LinePlace, atMost: Int)] = []
    for (number, line) in waiting where line.known.isEmpty {
      guard let seats = line.seats, map.canGrant(seats) else { continue }
      lines.append((number, line.served, map.counts.free / seats.quantity + 1))
    }
    if lines.count > Self.linesRead {
      lines.sort { $0.after.position < $1.after.position }
      lines.removeLast(lines.count - Self.linesRead)
    }
    return lines
  }

  /// Those behind the last one served, in order; nobody if the line is empty. It is then no line that waits: who comes from
  /// now on comes behind the head, and is looked at there.
  package mutating func add(_ arrivals: [Arrival], to line: Int) {
    guard waiting[line] != nil else { return }
    if arrivals.isEmpty {
      waiting[line] = nil
      marks[line] = .some(nil)
    } else {
      waiting[line]?.known = arrivals[...]
    }
  }

  /// Whether somebody who waits may be served, but for a limit.
  package var isUnfinished: Bool { hasNews && !(waiting.isEmpty && alone.isEmpty) }

  /// Somebody kept a place after the end of their line, and waits there alone.
  package mutating func add(alone arrival: Arrival) {
    alone[arrival.position] = arrival
    hasNews = true
  }

  /// Somebody who waited alone has left.
  package mutating func leave(_ position: Int) { alone[position] = nil }

  // MARK: Deciding

  /// Decides those who wait, then arrivals, and marks what it grants as held.
  /// - Parameters:
  ///   - arrivals: in order of position, all beyond `head`, of all lines but `waiting`.
  ///   - tail: the last position, if nobody else came after `arrivals` up to there: then the head goes that far.
  ///   - grants: at most this many requests are granted; a rate limit.
  package mutating func plan(_ arrivals: [Arrival], tail: Int? = nil, grants: Int) -> Plan {
    var plan = Plan()
    var limit = Limit(grants: grants)
    if serveWaiting(&plan, &limit) {
      serve(arrivals, tail, &plan, &limit)
    }
    plan.marks = marks
    marks = [:]
    return plan
  }

  private struct Limit {
    var grants: Int
    var tickets = ReservePlanner.ticketLimit

    var isReached: Bool { grants <= 0 || tickets <= 0 }

    mutating func spend(_ count: Int) {
      grants -= 1
      tickets -= count
    }
  }

  /// Where one of those is who may be served now.
  private struct Candidate {
    let position: Int
    /// `Arrival.alone` for who waits alone.
    let line: Int
  }

  /// - Returns: whether nobody who waits can be served any more, so that it is the turn of those who have come since.
  private mutating func serveWaiting(_ plan: inout Plan, _ limit: inout Limit) -> Bool {
    guard hasNews else { return true }
    // The next one last.
    var candidates: [Candidate] = []
    for (number, line) in waiting {
      guard let seats = line.seats else { continue }
      if map.canGrant(seats) {
        candidates.append(Candidate(position: line.next, line: number))
      } else if let refusal = map.refusal(of: seats) {
        end(number, after: line.served.position, refusal, &plan)
      }
    }
    // It is not their turn before the head comes to them, whatever they had been told.
    for (position, arrival) in alone where position <= head {
      guard let seats = arrival.seats else { continue }
      if map.canGrant(seats) {
        candidates.append(Candidate(position: position, line: Arrival.alone))
      } else if let refusal = map.refusal(of: seats) {
        alone[position] = nil
        plan.decisions.append(Decision(arrival, .refused(refusal)))
      }
    }
    candidates.sort { $0.position > $1.position }
    while let candidate = candidates.popLast() {
      guard let seats = seats(of: candidate) else { continue }
      // Free seats only become fewer here.
      guard map.canGrant(seats) else { continue }
      if limit.isReached {
        plan.goesOn = true
        return false
      }
      guard let arrival = next(candidate) else {
        // Its next is not known, and may come first.
        plan.goesOn = true
        return false
      }
      guard case .granted(let tickets, let amount) = map.allocate(seats) else { continue }
      grant(arrival, tickets, amount, &plan, &limit)
      if candidate.line == Arrival.alone {
        alone[candidate.position] = nil
        continue
      }
      let served = LinePlace(position: arrival.position, ordinal: arrival.ordinal)
      waiting[candidate.line]?.served = served
      marks[candidate.line] = served
      ended.remove(candidate.line)
      let following = waiting[candidate.line]?.next ?? 0
      // Among those who come later, which are before it in the list.
      var low = 0, high = candidates.count
      while low < high {
        let middle = (low + high) / 2
        if candidates[middle].position > following { low = middle + 1 } else { high = middle }
      }
      candidates.insert(Candidate(position: following, line: candidate.line), at: low)
    }
    hasNews = false
    return true
  }

  private func seats(of candidate: Candidate) -> RequestedSeats? {
    candidate.line == Arrival.alone ? alone[candidate.position]?.seats : waiting[candidate.line]?.seats
  }

  private mutating func next(_ candidate: Candidate) -> Arrival? {
    if candidate.line == Arrival.alone { return alone[candidate.position] }
    return waiting[candidate.line]?.known.popFirst()
  }

  private mutating func serve(_ arrivals: [Arrival], _ tail: Int?, _ plan: inout Plan, _ limit: inout Limit) {
    // Of those who wait alone, the ones whose turn it is among them; the next one last.
    var alone = alone.values.filter { $0.position > head }.sorted { $0.position > $1.position }
    let end = tail ?? arrivals.last?.position ?? head
    var index = 0
    while true {
      let arrival: Arrival
      let next = index < arrivals.count ? arrivals[index].position : end + 1
      if let first = alone.last, first.position < next {
        arrival = first
      } else if index < arrivals.count {
        arrival = arrivals[index]
      } else {
        break
      }
      if limit.isReached {
        plan.goesOn = true
        return
      }
      head = max(head, arrival.position)
      if arrival.line == Arrival.alone {
        alone.removeLast()
        lookAgain(at: arrival, &plan, &limit)
      } else {
        index += 1
        plan.consumed = index
        look(at: arrival, &plan, &limit)
      }
    }
    head = max(head, end)
  }

  /// At somebody who waits alone, and whom the head has come to.
  private mutating func lookAgain(at arrival: Arrival, _ plan: inout Plan, _ limit: inout Limit) {
    guard let seats = arrival.seats else { return }
    switch map.allocate(seats) {
    case .granted(let tickets, let amount):
      alone[arrival.position] = nil
      grant(arrival, tickets, amount, &plan, &limit)
    case .never(let refusal):
      alone[arrival.position] = nil
      plan.decisions.append(Decision(arrival, .refused(refusal)))
    case .notNow: break
    }
  }

  private mutating func look(at arrival: Arrival, _ plan: inout Plan, _ limit: inout Limit) {
    guard let seats = arrival.seats else { return wait(arrival) }
    guard seats.tickets.isEmpty else {
      switch map.allocate(seats) {
      case .granted(let tickets, let amount):
        grant(arrival, tickets, amount, &plan, &limit)
      case .never(let refusal): plan.decisions.append(Decision(arrival, .refused(refusal)))
      case .notNow: plan.decisions.append(Decision(arrival, .refused(.seatsTaken)))
      }
      return
    }
    if waiting[arrival.line] != nil { return wait(arrival) }
    if plan.ends.contains(where: { $0.line == arrival.line }) { return }
    switch map.allocate(seats) {
    case .granted(let tickets, let amount):
      grant(arrival, tickets, amount, &plan, &limit)
      ended.remove(arrival.line)
    case .notNow: wait(arrival)
    case .never(let refusal): end(arrival.line, after: arrival.position - 1, refusal, &plan)
    }
  }

  /// Gives what was allocated, or refuses it where it costs more than its buyer is ready to pay: then it is free as before.
  private mutating func grant(
    _ arrival: Arrival, _ tickets: [Int], _ amount: Int, _ plan: inout Plan, _ limit: inout Limit
  ) {
    if let most = arrival.maxAmount, amount > most {
      map.release(tickets)
      plan.decisions.append(Decision(arrival, .refused(.maxAmountExceeded)))
    } else {
      plan.decisions.append(Decision(arrival, .granted(tickets: tickets, amount: amount)))
      limit.spend(tickets.count)
    }
  }

  /// The head passes over somebody.
  private mutating func wait(_ arrival: Arrival) {
    if waiting[arrival.line] == nil {
      let served = LinePlace(position: arrival.position - 1, ordinal: arrival.ordinal - 1)
      waiting[arrival.line] = WaitingLine(seats: arrival.seats, served: served)
      waiting[arrival.line]?.known = [arrival]
      marks[arrival.line] = served
    } else {
      // One that began to wait among these arrivals: of others, none come here.
      waiting[arrival.line]?.known.append(arrival)
    }
  }

  private mutating func end(_ line: Int, after position: Int, _ refusal: Refusal, _ plan: inout Plan) {
    plan.ends.append(LineEnd(line: line, after: ended.contains(line) ? nil : position, refusal: refusal))
    ended.insert(line)
    waiting[line] = nil
    marks[line] = nil
  }

  /// Gives exactly these tickets again to those who had them before the store forgot it, as far as they are free.
  package mutating func grantAgain(_ decisions: [Decision]) -> Plan {
    var plan = Plan()
    plan.isOutOfTurn = true
    for decision in decisions {
      guard case .granted(let tickets, let amount) = decision.outcome,
        case .granted = map.allocate(RequestedSeats(quantity: tickets.count, tickets: tickets))
      else { continue }
      alone[decision.position] = nil
      plan.decisions.append(Decision(decision.arrival, .granted(tickets: tickets, amount: amount)))
    }
    return plan
  }

  /// Holds exactly these tickets for somebody who has paid for them before, if all of them are free.
  package mutating func takeAgain(_ tickets: [Int]) -> Bool {
    guard case .granted = map.allocate(RequestedSeats(quantity: tickets.count, tickets: tickets)) else {
      return false
    }
    return true
  }

  /// Holds seats as good as these for somebody who has paid for these, and whom others will do.
  mutating func takeOthers(
    insteadOf tickets: [Int], amount: Int, _ search: inout OtherSeatsSearch
  ) -> [Int]? { search.take(insteadOf: tickets, amount: amount, of: &map) }

  /// Whether somebody in line up to `tail` may still be served: not looked at yet, or passed over when less was free.
  package func isAhead(of tail: Int) -> Bool { head < tail || isUnfinished }

  // MARK: What happened

  /// The plan was written down, except for `skipped`, who had left: what they were given is free again.
  package mutating func settle(_ plan: Plan, skipped: Set<Int>) {
    if skipped.isEmpty { return }
    for decision in plan.decisions where skipped.contains(decision.position) {
      if case .granted(let tickets, _) = decision.outcome { release(tickets) }
    }
  }

  package mutating func release(_ tickets: [Int]) {
    map.release(tickets)
    hasNews = true
  }

  package mutating func sell(_ tickets: [Int]) {
    map.sell(tickets)
    hasNews = true
  }

  /// Tickets of holds that the map did not know.
  package mutating func hold(_ tickets: [Int]) { map.hold(tickets) }

  /// Nothing is free and nothing can come back: everyone still in line has the same answer.
  package var isSoldOut: Bool { map.counts.free == 0 && map.counts.held == 0 }
}
