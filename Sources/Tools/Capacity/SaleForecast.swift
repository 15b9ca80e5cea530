package import Sale

/// How a sale goes, second by second: who comes, who is served, and how often those who wait ask.
///
/// A model of means, without chance: buyers come evenly, are served at one pace in the order in which they came, and ask as
/// `PollPolicy` tells them. What it leaves out makes a real sale cost less (buyers who leave, long polls) or a moment more
/// (bursts within a second).
package struct SaleForecast: Sendable {
  package struct Demand: Sendable, Equatable {
    package var buyers: Int
    package var seats: Int
    /// Within how many seconds all of them come.
    package var arrivalSeconds: Double
    /// Requests that are granted in a second.
    package var grantsPerSecond: Double
    /// Tickets that a request asks for, on average.
    package var tickets: Double
    /// Seconds between the grant and the confirmation.
    package var thinkSeconds: Double

    package init(
      buyers: Int, seats: Int, arrivalSeconds: Double, grantsPerSecond: Double, tickets: Double = 1.5,
      thinkSeconds: Double = 60
    ) {
      self.buyers = buyers
      self.seats = seats
      self.arrivalSeconds = arrivalSeconds
      self.grantsPerSecond = grantsPerSecond
      self.tickets = tickets
      self.thinkSeconds = thinkSeconds
    }
  }

  /// What happens in one second.
  package struct Second: Sendable, Equatable {
    package var joins = 0.0
    package var polls = 0.0
    package var grants = 0.0
    package var purchases = 0.0
    /// In line at its end.
    package var waiting = 0.0
  }

  package private(set) var seconds: [Second] = []
  /// When the last seat is granted, and when the last buyer has heard of it.
  package private(set) var lastGrant = 0.0
  package private(set) var lastAnswer = 0.0

  /// Looks of a buyer who was served, until the tickets are bought: at the hold, at the payment under way, at its end.
  private static let looksOfAPurchase = 3.0
  private static let longest = 6 * 3_600

  package init(_ demand: Demand, policy: PollPolicy = PollPolicy()) {
    let served = min(Double(demand.buyers), (Double(demand.seats) / demand.tickets).rounded(.up))
    let arrivals = Double(demand.buyers) / max(demand.arrivalSeconds, 1)
    let longestPause = Double(policy.longest) / 1_000
    var come = 0.0, decided = 0.0
    var bought: [Double] = []
    func begin() -> Second {
      let second = Second(joins: min(arrivals, Double(demand.buyers) - come))
      come += second.joins
      return second
    }
    /// Who were granted seats have thought for as long as they do, and buy.
    func end(_ second: inout Second) {
      let paying = seconds.count - Int(demand.thinkSeconds)
      if bought.indices.contains(paying) { second.purchases = bought[paying] }
      second.polls += second.purchases * Self.looksOfAPurchase
      seconds.append(second)
    }
    while seconds.count < Self.longest {
      var second = begin()
      second.grants = min(demand.grantsPerSecond, served - decided, come - decided)
      decided += second.grants
      second.waiting = decided < served ? come - decided : 0
      second.polls = Self.polls(waiting: second.waiting, pace: demand.grantsPerSecond, policy)
      bought.append(second.grants)
      end(&second)
      if decided >= served { break }
    }
    lastGrant = Double(seconds.count)
    // Everybody who is left asks once more, within the longest pause, and is told; who comes later is told at once.
    let refused = come - decided
    let spread = min(longestPause, max(1, refused / max(demand.grantsPerSecond * 4, 1)))
    for offset in 0..<Int(max(spread.rounded(.up), demand.thinkSeconds)) + 1 {
      var second = begin()
      if Double(offset) < spread { second.polls += refused / spread.rounded(.up) }
      end(&second)
    }
    while Double(demand.buyers) - come > 0.5, seconds.count < Self.longest {
      var second = begin()
      end(&second)
    }
    lastAnswer = Double(seconds.count)
  }

  /// Polls in a second of so many who wait: the sum over their places of one by their pause, taken at places whose
  /// distances grow by a twentieth.
  private static func polls(waiting: Double, pace: Double, _ policy: PollPolicy) -> Double {
    var sum = 0.0, near = 0.0
    while near < waiting {
      let far = min(waiting, max(near + 1, near * 1.05))
      let middle = Int((near + far) / 2)
      let pause = policy.pollAfterMilliseconds(
        .queued, position: middle + 1, ahead: middle, grantsPerSecond: pace)
      sum += (far - near) * 1_000 / Double(max(pause, 1))
      near = far
    }
    return sum
  }

  package var joins: Double { seconds.reduce(0) { $0 + $1.joins } }
  package var polls: Double { seconds.reduce(0) { $0 + $1.polls } }
  package var purchases: Double { seconds.reduce(0) { $0 + $1.purchases } }
  package func most(_ what: KeyPath<Second, Double>) -> Double {
    seconds.map { $0[keyPath: what] }.max() ?? 0
  }
}
