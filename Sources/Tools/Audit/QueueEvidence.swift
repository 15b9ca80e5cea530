import Ledger
package import Queue
package import Sale
import StoreCommon

/// Everything that Redis has about one event's queue, a few bytes a position.
package struct QueueEvidence: Sendable {
  /// A record with tickets that somebody may count on.
  package struct Hold: Sendable, Equatable {
    package var state: RequestRecord.State
    package var attempt: Int
    package var deadline: Int
    package var amount: Int
    package var tickets: [Int]
  }

  /// Set in `marks` for positions that are in the stream; the other bits are the record's letter.
  private static let inStream: UInt8 = 0x80

  package let facts: QueueFacts
  /// The clock that holds end by, in milliseconds since 1970, read before the records.
  package let now: Int
  /// Redis's own, which says when entries were written.
  package var writtenNow: Int
  private var marks: [UInt8]
  /// Hashes of the users' keys by position; 0 where none is known.
  private var users: [UInt64]
  private var linked: [Bool]
  package private(set) var holds: [Int: Hold] = [:]
  /// Sold ones, as the buyers are told.
  package private(set) var told: [Int: Hold] = [:]
  private var bought: [UInt64: Int] = [:]
  private var owned: [UInt64: Int] = [:]
  package private(set) var findings = Findings()
  /// In line behind the head, and nothing says that their line waits: nobody serves them.
  private(set) var passedOver: [Int] = []
  /// Records beyond the tail that was read first.
  private var strays: [Int] = []
  /// Deadlines by position from the index of holds; `nil` inside for a payment under way.
  package var deadlines: [Int: Int?] = [:]
  /// The position that locks each ticket.
  package var locks: [Int: Int] = [:]
  package var bitmap: [UInt8]?
  /// Places that were decided out of turn, as a bitmap: an owner gave back or put right what Redis had forgotten of them.
  package var apart: [UInt8] = []
  /// Tickets that were sold by Redis' account, in this life of the line or an earlier one.
  package var sold: [UInt8] = []
  /// Entries of the confirmation stream for this event, by position.
  package var confirmations: [Int: QueueInspection.StreamEntry] = [:]
  package var deadLetters: Set<Int> = []
  /// Payments that came late and wait for the owner of their seats: of which attempt, by position.
  package var late: [Int: Int] = [:]
  package var leaseHolder: String?

  package init(facts: QueueFacts, now: Int) {
    self.facts = facts
    self.now = now
    writtenNow = now
    marks = Array(repeating: 0, count: facts.document.tail + 1)
    users = Array(repeating: 0, count: marks.count)
    linked = Array(repeating: false, count: marks.count)
  }

  /// A queue that has left Redis: only its records are left, which must not have changed.
  package init(archived document: QueueDocument, settings: EventSettings) {
    self.init(
      facts: QueueFacts(
        document: document, queueLimit: settings.queueLimit, perUserLimit: settings.perUserLimit,
        holdMilliseconds: settings.holdSeconds * 1000, rate: settings.rate, reopenedUpTo: 0, rejoinedUpTo: 0),
      now: 0)
    isArchived = true
  }

  private(set) var isArchived = false

  package var tail: Int { marks.count - 1 }
  var generation: Int { facts.document.generation }

  /// Whether the head and the end of the line may say something else of the place than its record.
  func isApart(_ position: Int) -> Bool {
    isArchived || apart.count > position >> 3 && apart[position >> 3] & 0x80 >> UInt8(position & 7) != 0
  }

  func isInStream(_ position: Int) -> Bool { marks[position] & Self.inStream != 0 }

  func state(_ position: Int) -> RequestRecord.State? {
    guard marks.indices.contains(position) else { return nil }
    let letter = marks[position] & ~Self.inStream
    return letter == 0 ? nil : RequestRecord.State(rawValue: Character(Unicode.Scalar(letter)))
  }

  /// Whether the place is known to be another user's, in line or decided.
  func isOfAnother(than user: String, _ position: Int) -> Bool {
    guard users.indices.contains(position), users[position] != 0 else { return false }
    return users[position] != Self.hash(UserKey(user).text)
  }

  /// Ended together with everyone in line, without a record of its own.
  func endedInMass(_ position: Int) -> Bool {
    position <= max(facts.document.soldOutUpTo, facts.document.closedUpTo)
  }

  /// Ended together with those who wished for the same, or with everyone, without a record of its own; that it did is
  /// counted.
  func mayHaveEnded(_ position: Int) -> Bool {
    endedInMass(position) || facts.lineEnds.contains { $0.contains(position) }
  }

  /// Places of which there is neither a record nor an entry in line, and which may have ended so.
  var withoutTrace: Int {
    marks.indices.dropFirst().count { marks[$0] == 0 && $0 > facts.rejoinedUpTo && mayHaveEnded($0) }
  }

  /// How many records there are of each state, how many wait in line, and how many ended together with the line; and how
  /// many places nobody has: of those who were there before the line was lost, they did not come back.
  package var tally:
    (
      records: [RequestRecord.State: Int], waiting: Int, soldOut: Int, closed: Int, endedWithLine: Int,
      empty: Int
    )
  {
    var records: [RequestRecord.State: Int] = [:], waiting = 0, soldOut = 0, closed = 0, empty = 0
    var withLine = 0
    for position in marks.indices.dropFirst() {
      if let state = state(position), !(state == .standby && endedInMass(position)) {
        records[state, default: 0] += 1
      } else if isInStream(position) {
        waiting += 1
      } else if endedInMass(position) {
        if position <= facts.document.soldOutUpTo { soldOut += 1 } else { closed += 1 }
      } else if position <= facts.rejoinedUpTo {
        empty += 1
      } else if mayHaveEnded(position) {
        withLine += 1
      }
    }
    // Some of these had ended with their lines before everyone did.
    if let more = facts.ended.map({ max(0, $0.withLine - withLine) }), more > 0 {
      withLine += more
      let ofSoldOut = min(more, soldOut)
      soldOut -= ofSoldOut
      closed -= min(closed, more - ofSoldOut)
    }
    return (records, waiting, soldOut, closed, withLine, empty)
  }

  /// - Parameter line: with those of the same wish; `nil` where there is one for all.
  package mutating func add(waiting position: Int, user: String, line: Int? = nil) {
    // Those who came since the tail was read are looked at another time.
    guard marks.indices.contains(position) else { return }
    if let line, position <= facts.document.head,
      position <= facts.marks[line]?.served?.position ?? .max
    {
      passedOver.append(position)
    }
    marks[position] |= Self.inStream
    users[position] = Self.hash(UserKey(user).text)
  }

  package mutating func add(_ record: RequestRecord?, at position: Int, event: Int) {
    guard marks.indices.contains(position), position > 0 else {
      if strays.count < Findings.keptPerKind { strays.append(position) }
      return
    }
    guard let record, let letter = record.state.rawValue.asciiValue else {
      findings.add(
        Finding(
          .recordUnreadable, event: event, generation: generation, position: position, "unreadable record"))
      return
    }
    marks[position] |= letter
    users[position] = Self.hash(record.userKey)
    let hold = Hold(
      state: record.state, attempt: record.attempt, deadline: record.deadline, amount: record.amount,
      tickets: record.tickets)
    switch record.state {
    case .reserved, .confirming, .declined: holds[position] = hold
    case .purchased:
      told[position] = hold
      bought[users[position], default: 0] += record.tickets.count
    default: break
    }
  }

  /// - Parameter lastTail: the tail, read after the records.
  package mutating func settleStrays(lastTail: Int, event: Int) {
    for position in strays where position > lastTail || position == 0 {
      findings.add(
        Finding(
          .requestUnknown, event: event, generation: generation, position: position,
          "has a record, and the tail is \(lastTail)"))
    }
  }

  package mutating func add(_ user: RememberedUser, event: Int) {
    let hash = Self.hash(user.key)
    if user.ticketsOwned > 0 { owned[hash] = user.ticketsOwned }
    guard user.live > 0, user.live < marks.count else { return }
    if users[user.live] == hash, isLive(user.live) {
      linked[user.live] = true
    } else if !endedInMass(user.live), state(user.live) != nil || !mayHaveEnded(user.live) {
      // Ended in mass leaves the user's place behind, and the next join sees that.
      findings.add(
        Finding(
          .placeStale, event: event, generation: generation, position: user.live,
          "a user's place is this request, which is \(state(user.live)?.name ?? "not known")"
            + (users[user.live] == hash ? "" : " and not theirs")))
    }
  }

  /// In line, or with a hold.
  func isLive(_ position: Int) -> Bool {
    switch state(position) {
    case .reserved, .confirming, .declined: true
    case .standby: !endedInMass(position)
    case nil: isInStream(position)
    default: false
    }
  }

  func isLinked(_ position: Int) -> Bool { linked[position] }

  /// Users whose number of tickets is not what their records say, and what they bought, or were about to buy, when Redis
  /// lost the queue.
  func miscounted(_ sales: Sales) -> [(owned: Int, bought: Int, example: Int?)] {
    var before: [UInt64: Int] = [:]
    for (key, purchase) in sales.purchases where key.generation < generation {
      before[Self.hash(UserKey(purchase.user).text), default: 0] += purchase.tickets.count
    }
    var wrong: [(owned: Int, bought: Int, example: Int?)] = []
    for user in Set(bought.keys).union(owned.keys) {
      let owned = owned[user] ?? 0, bought = bought[user] ?? 0
      if owned < bought || owned > bought + before[user, default: 0] {
        wrong.append((owned, bought, told.keys.first { users[$0] == user }))
      }
    }
    return wrong
  }

  /// FNV-1a; a user's key is a hash already, so this only folds it into a word.
  private static func hash(_ key: String) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in key.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return hash == 0 ? 1 : hash
  }
}

extension RequestRecord.State {
  /// The state in words.
  package var name: String {
    switch self {
    case .standby: "standby"
    case .reserved: "reserved"
    case .confirming: "confirming"
    case .purchased: "purchased"
    case .declined: "declined with a hold"
    case .declinedForGood: "declined"
    case .expired: "expired"
    case .soldOut: "sold out"
    case .cancelled: "cancelled"
    case .rejected: "rejected"
    }
  }
}
