/// All buyers of a rush: what each does next, and what each was told. Pure: time comes in, requests come out.
///
/// Bounded by construction: a fixed number of bytes a buyer, at most one timer each, and no more requests than
/// the caller takes.
package struct VirtualBuyers {
  /// A request to be sent for a buyer.
  package struct Job: Sendable {
    package let buyer: Int
    package let step: Step
    /// When the buyer wanted it sent, in microseconds since the rush began: latencies count from here.
    package let wantedAt: Int
  }

  private struct Due {
    let buyer: Int32
    /// Milliseconds since the rush began.
    let at: Int32
  }

  /// Longest request id that is kept.
  private static let longestID = 95

  let options: LoadTestOptions
  package let offer: TicketOffer
  var buyers: [Buyer]
  private(set) var ids: RequestIDs
  var wheel = TimerWheel()
  /// Due, in the order in which they came due; taken from `firstReady` on.
  private var ready: [Due] = []
  private var firstReady = 0
  /// Second clicks, sent right after the first, and what else follows an answer at once.
  private var clicks: [Job] = []
  private var joinsBegun = 0
  private var takesJoin = false
  /// Positions of second clicks, compared at the end.
  var secondPositions: [Int32: Int32] = [:]
  package private(set) var unfinished: Int
  package var figures = LoadTestFigures()
  package var violations = Violations()
  /// What is held, signed, of those who have seats and have not paid.
  var holds: [Int32: String] = [:]
  var placesTaken: [Bool] = []
  /// Of each wish the first in line who was told an end.
  var firstEnds: [Wish: (position: Int32, buyer: Int, told: String)] = [:]
  /// Which buyer bought each ticket, by ticket id; −1 for nobody.
  var owners: [Int32]

  package init(_ options: LoadTestOptions, _ offer: TicketOffer) {
    self.options = options
    self.offer = offer
    buyers = Array(repeating: Buyer(), count: options.buyers)
    ids = RequestIDs(count: options.buyers, longest: Self.longestID)
    owners = Array(repeating: -1, count: offer.largestTicket + 1)
    unfinished = options.buyers
  }

  package func plan(_ buyer: Int) -> BuyerPlan {
    BuyerPlan(buyer: buyer, sections: offer.sections.count, options)
  }

  /// What the buyer wants by now.
  package func wish(_ buyer: Int) -> Wish {
    var wish = plan(buyer).wish
    if buyers[buyer].fewer > 0 {
      wish.quantity = Int(buyers[buyer].fewer)
      wish.adjacent = false
    }
    return wish
  }

  /// The name that the buyer's token carries: the same seed is the same users.
  package func user(_ buyer: Int) -> String { "rush-\(options.seed)-\(buyer)" }

  package var isOver: Bool { unfinished == 0 }

  /// What to send next, or `nil` if nobody is due. Joins and what is due otherwise take turns.
  package mutating func next(at microseconds: Int) -> Job? {
    if let click = clicks.popLast() { return click }
    // `ready` is a local during the call: the closure must not touch `self`.
    var due: [Due] = []
    wheel.advance(to: microseconds / 1000) { due.append(Due(buyer: Int32($0), at: Int32($1))) }
    ready += due
    takesJoin.toggle()
    if takesJoin, let job = nextJoin(microseconds) { return job }
    while firstReady < ready.count {
      let buyer = Int(ready[firstReady].buyer), wantedAt = Int(ready[firstReady].at) * 1000
      firstReady += 1
      if firstReady >= 4_096, firstReady * 2 > ready.count {
        ready.removeFirst(firstReady)
        firstReady = 0
      }
      if buyers[buyer].phase == .ended, buyers[buyer].step != .verify { continue }
      return job(buyer, wantedAt)
    }
    return nextJoin(microseconds)
  }

  private mutating func nextJoin(_ now: Int) -> Job? {
    guard joinsBegun < buyers.count else { return nil }
    var wantedAt = now
    if let rate = options.arrivalsPerSecond {
      wantedAt = joinsBegun * 1_000_000 / rate
      if wantedAt > now { return nil }
    }
    let buyer = joinsBegun
    joinsBegun += 1
    buyers[buyer].joinedAt = Int32(wantedAt / 1000)
    return job(buyer, wantedAt)
  }

  private mutating func job(_ buyer: Int, _ wantedAt: Int) -> Job {
    let step = buyers[buyer].step
    if step == .confirm, buyers[buyer].confirmedAt == 0 {
      buyers[buyer].confirmedAt = Int32(wantedAt / 1000)
    }
    if step == .join || step == .confirm, plan(buyer).doubleClicks {
      clicks.append(Job(buyer: buyer, step: step == .join ? .joinAgain : .confirmAgain, wantedAt: wantedAt))
    }
    return Job(buyer: buyer, step: step, wantedAt: wantedAt)
  }

  mutating func hurry(_ job: Job) { clicks.append(job) }

  /// Lets the buyer do `step` after a pause.
  mutating func schedule(_ buyer: Int, _ step: Step, at milliseconds: Int) {
    buyers[buyer].step = step
    wheel.add(buyer, dueAt: milliseconds)
  }

  mutating func end(_ buyer: Int, _ outcome: Outcome) {
    guard buyers[buyer].phase != .ended else { return }
    holds[Int32(buyer)] = nil
    buyers[buyer].phase = .ended
    buyers[buyer].outcome = outcome
    unfinished -= 1
    figures.outcomes[outcome, default: 0] += 1
  }

  /// What is held for the buyer, signed, to be shown whenever they ask or pay.
  func hold(_ buyer: Int) -> String? { holds[Int32(buyer)] }

  /// The buyer's request id, as text for a URL.
  func id(_ buyer: Int) -> String { String(decoding: ids.id(buyer), as: UTF8.self) }

  mutating func keep(_ id: [UInt8], _ buyer: Int) -> Bool { ids.set(id, buyer) }

  /// Lets up to `count` of those who were in line ask once more.
  package mutating func verifySome(_ count: Int, at milliseconds: Int) {
    let stride = max(1, buyers.count / max(1, count))
    for buyer in Swift.stride(from: 0, to: buyers.count, by: stride)
    where buyers[buyer].phase == .ended && buyers[buyer].outcome.isTerminal && ids.has(buyer) {
      schedule(buyer, .verify, at: milliseconds)
      figures.toVerify += 1
    }
  }

  /// Accepted and not ended, by where they are.
  package var pending: Int { buyers.reduce(0) { $0 + ($1.phase != .ended && $1.position > 0 ? 1 : 0) } }
}
