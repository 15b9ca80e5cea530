/// The line of those who come to have a password looked at when more come than there is time for: who came first goes in
/// first, and everyone is told when to come again, so that a crowd comes a few times each and not every other second.
///
/// Whoever finds no room gets a ticket, and is told how long those before them will take. With each password that is
/// done the next ticket is called, and its owner has a place kept from then on. So that nobody works less than they could
/// while those who were called are on their way, whoever has a ticket and comes early goes in where few are inside; and so
/// that tickets of people who never come again keep nobody out, where next to nobody is inside, everybody does.
///
/// Bounded: by tickets in all and of each client, whose others are told to come one after the other, and keep no place; a
/// ticket that nobody came with for a while is forgotten.
package struct PasswordLine: Sendable {
  /// A pause that somebody is told is no longer than this: whatever changes, they notice.
  package static let longestPauseSeconds = 60
  /// Longer than the longest pause, and what clients add to it so that not all of them come at once.
  package static let forgottenMilliseconds = 150_000
  package static let capacity = 20_000
  /// Of one client: what others at most wait for one who is greedy. More people than this behind one address have places in
  /// turn, a part at a time.
  package static let perClient = 64
  private static let leastRoom = 4
  /// The shares of the room up to which early ones, and those without a ticket, go in past those who are called.
  private static let earlyShare = 4, anybodysShare = 8
  private static let tidyMilliseconds = 10_000

  package struct Key: Hashable, Sendable {
    let name: String
    let client: String

    /// - Parameters:
    ///   - name: whose password it is.
    ///   - client: where they come from.
    package init(name: String, client: String) { (self.name, self.client) = (name, client) }
  }

  /// How it goes inside.
  package struct Load: Sendable {
    let inside: Int
    let done: Int
    let millisecondsEach: Double

    /// - Parameters:
    ///   - inside: who wait there, and those whose password is being looked at.
    ///   - done: how many are through since the beginning.
    ///   - millisecondsEach: from one that is through to the next.
    package init(inside: Int, done: Int, millisecondsEach: Double) {
      (self.inside, self.done, self.millisecondsEach) = (inside, done, millisecondsEach)
    }
  }

  package enum Answer: Sendable, Equatable {
    /// In they go. - Parameter ticket: the one that they had, for `giveBack`.
    case enter(ticket: Int?)
    case comeAgain(afterSeconds: Int)
  }

  private struct Ticket {
    let number: Int
    var seenAt: Int
  }

  private let places: Int
  private let insideMilliseconds: Double
  private var tickets: [Key: Ticket] = [:]
  private var owners: [Int: Key] = [:]
  private var ofClient: [String: Int] = [:]
  /// When the next of a client who gets no ticket is to come.
  private var slots: [String: Double] = [:]
  private var last = 0
  /// The lowest number: of whoever had been let in without a ticket, and came out again.
  private var first = 0
  /// Tickets up to this number were called.
  private var called = 0
  /// How many that were called have yet to come.
  private var expected = 0
  private var done = 0
  private var tidiedAt = 0

  /// - Parameters:
  ///   - places: the most that may be inside, however quick it goes there.
  ///   - insideMilliseconds: within which those inside are through, as far as one can say: nobody is let in who would wait
  ///     in vain.
  package init(places: Int, insideMilliseconds: Double = 5_000) {
    self.places = places
    self.insideMilliseconds = insideMilliseconds
  }

  /// How many may be inside at a time.
  package func room(millisecondsEach: Double) -> Int {
    let inTime = insideMilliseconds / max(millisecondsEach, 0.01)
    return max(Self.leastRoom, Int(min(inTime, Double(places))))
  }

  package var count: Int { tickets.count }

  /// Somebody comes.
  /// - Parameters:
  ///   - mayEnter: false where their client has as many inside as it may.
  ///   - now: milliseconds, on any clock that only goes forward.
  package mutating func come(_ key: Key, _ load: Load, mayEnter: Bool = true, now: Int) -> Answer {
    tidy(now)
    call(load.done - done)
    done = load.done
    let room = room(millisecondsEach: load.millisecondsEach)
    if let ticket = tickets[key] {
      let isCalled = ticket.number <= called
      if mayEnter, load.inside < (isCalled ? room : max(1, room / Self.earlyShare)) {
        remove(key, ticket)
        return .enter(ticket: ticket.number)
      }
      tickets[key]?.seenAt = now
      return pause(isCalled ? max(1, room / Self.earlyShare) : ahead(of: ticket.number), load)
    }
    if mayEnter, load.inside + expected < room || load.inside < max(1, room / Self.anybodysShare) {
      return .enter(ticket: nil)
    }
    guard hasTicket(for: key) else {
      return slot(key.client, load, now)
    }
    last += 1
    insert(key, Ticket(number: last, seenAt: now))
    return pause(ahead(of: last), load)
  }

  /// Somebody who went in came out again with nothing done: they have their ticket as before, or, if they had none, one
  /// that is called, as it was their turn.
  package mutating func giveBack(_ key: Key, ticket: Int?, now: Int) {
    guard tickets[key] == nil else { return }
    if let ticket {
      guard owners[ticket] == nil else { return }
      return insert(key, Ticket(number: ticket, seenAt: now))
    }
    guard hasTicket(for: key) else { return }
    first -= 1
    insert(key, Ticket(number: first, seenAt: now))
  }

  private func hasTicket(for key: Key) -> Bool {
    tickets.count < Self.capacity && ofClient[key.client, default: 0] < Self.perClient
  }

  /// Those who are called before a ticket is.
  private func ahead(of number: Int) -> Int { max(1, min(number - called, tickets.count - expected)) }

  /// Behind those of the client who were told so before, at the pace at which they can go in at best.
  private mutating func slot(_ client: String, _ load: Load, _ now: Int) -> Answer {
    let soonest = Double(now) + Double(min(tickets.count, Self.perClient)) * load.millisecondsEach
    let latest = Double(now + Self.longestPauseSeconds * 1_000)
    let slot = min(latest, max(slots[client] ?? 0, soonest))
    if slots[client] != nil || slots.count < Self.capacity { slots[client] = slot + load.millisecondsEach }
    return pause(milliseconds: slot - Double(now))
  }

  private func pause(_ passwords: Int, _ load: Load) -> Answer {
    pause(milliseconds: Double(passwords) * load.millisecondsEach)
  }

  private func pause(milliseconds: Double) -> Answer {
    let seconds = min((milliseconds / 1_000).rounded(.up), Double(Self.longestPauseSeconds))
    return .comeAgain(afterSeconds: max(1, Int(seconds)))
  }

  /// Calls so many more, of those that there still are.
  private mutating func call(_ count: Int) {
    var left = count
    while left > 0, called < last {
      called += 1
      if owners[called] != nil {
        expected += 1
        left -= 1
      }
    }
  }

  private mutating func insert(_ key: Key, _ ticket: Ticket) {
    tickets[key] = ticket
    owners[ticket.number] = key
    ofClient[key.client, default: 0] += 1
    if ticket.number <= called { expected += 1 }
  }

  private mutating func remove(_ key: Key, _ ticket: Ticket) {
    tickets[key] = nil
    owners[ticket.number] = nil
    let others = ofClient[key.client, default: 1] - 1
    ofClient[key.client] = others > 0 ? others : nil
    if ticket.number <= called { expected -= 1 }
  }

  /// Looks through all of them, now and then.
  private mutating func tidy(_ now: Int) {
    guard now - tidiedAt >= Self.tidyMilliseconds else { return }
    tidiedAt = now
    for (key, ticket) in tickets where now - ticket.seenAt >= Self.forgottenMilliseconds {
      remove(key, ticket)
    }
    slots = slots.filter { $0.value > Double(now) }
  }
}
