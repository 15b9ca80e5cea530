/// The event's head document: everything that a waiting client's answer needs, a few dozen bytes for everyone.
package struct QueueDocument: Sendable, Equatable {
  package var generation: Int
  /// `open`, `paused` or `closed`.
  package var state: String
  /// The highest position decided.
  package var head: Int
  package var tail: Int
  package var free: Int
  package var held: Int
  package var sold: Int
  package var grantedPerSecond: Double
  /// Positions up to this one that have no record of their own ended as sold out.
  package var soldOutUpTo: Int
  /// Positions up to this one that have no record of their own ended because the event closed.
  package var closedUpTo: Int
  /// Positions beyond this one that ended with everyone in line have no record, unless their buyers had left.
  package var decidedUpTo: Int
  package var isSoldOut: Bool
  /// Grows with every change but a join.
  package var version: Int
  package var message: String

  /// An older copy of itself, which Redis came back with: as good as none.
  package var isLost: Bool { state == "lost" }

  static let fields = [
    "generation", "state", "head", "tail", "free", "held", "sold", "granted_per_second", "sold_out_up_to",
    "closed_up_to", "sold_out", "version", "decided_up_to", "message",
  ]

  /// - Parameter values: in the order of `fields`.
  init?(values: [String]) {
    guard values.count >= Self.fields.count, let generation = Int(values[0]) else { return nil }
    self.generation = generation
    state = values[1]
    func integer(_ index: Int) -> Int { Int(values[index]) ?? 0 }
    head = integer(2)
    tail = integer(3)
    free = integer(4)
    held = integer(5)
    sold = integer(6)
    grantedPerSecond = Double(values[7]) ?? 0
    soldOutUpTo = integer(8)
    closedUpTo = integer(9)
    isSoldOut = values[10] == "1"
    version = integer(11)
    decidedUpTo = integer(12)
    // The message comes last because it may contain the separator.
    message = values[13]
  }
}

extension QueueDocument {
  /// The last document of a queue that has left Redis.
  init(
    closed generation: Int, head: Int, tail: Int, free: Int, sold: Int, soldOutUpTo: Int, closedUpTo: Int,
    message: String
  ) {
    self.generation = generation
    state = "closed"
    self.head = head
    self.tail = tail
    self.free = free
    held = 0
    self.sold = sold
    grantedPerSecond = 0
    self.soldOutUpTo = soldOutUpTo
    self.closedUpTo = closedUpTo
    // Every record of an archived queue is looked up first.
    decidedUpTo = tail
    isSoldOut = false
    version = 0
    self.message = message
  }
}

/// What a notifier hears: an event's new head document and the positions whose state changed.
package struct QueueChange: Sendable {
  package let event: Int
  package let positions: [Int]
  package let document: QueueDocument

  package init?(_ message: [UInt8]) {
    // Bytes, not characters: a separator followed by a combining character is another character.
    let lines = message.split(separator: UInt8(ascii: "\n"), maxSplits: 2, omittingEmptySubsequences: false)
    guard lines.count == 3, let event = Int(String(decoding: lines[0], as: UTF8.self)),
      let document = QueueDocument(
        values: lines[2].split(
          separator: UInt8(ascii: "|"), maxSplits: QueueDocument.fields.count - 1,
          omittingEmptySubsequences: false
        ).map { String(decoding: $0, as: UTF8.self) })
    else { return nil }
    self.event = event
    positions = String(decoding: lines[1], as: UTF8.self).split(separator: ",").compactMap { Int($0) }
    self.document = document
  }
}

/// A request that was decided one by one.
package struct RequestRecord: Sendable, Equatable {
  package enum State: Character, Sendable {
    case standby = "B"
    case reserved = "R"
    case confirming = "C"
    case purchased = "P"
    case declined = "D"
    case declinedForGood = "d"
    case expired = "X"
    case soldOut = "S"
    case cancelled = "L"
    case rejected = "J"
  }

  package let state: State
  /// Counts the buyer's payments; 0 before the first.
  package let attempt: Int
  /// Milliseconds since 1970 on Redis's clock.
  package let deadline: Int
  package let amount: Int
  package let tickets: [Int]
  package let reason: String
  package let userKey: String

  init?(_ text: String) {
    let parts = text.utf8.split(separator: UInt8(ascii: "|"), maxSplits: 6, omittingEmptySubsequences: false)
      .map { String(decoding: $0, as: UTF8.self) }
    guard parts.count == 7, let letter = parts[0].first, let state = State(rawValue: letter) else {
      return nil
    }
    self.state = state
    attempt = Int(parts[1]) ?? 0
    deadline = Int(parts[2]) ?? 0
    amount = Int(parts[3]) ?? 0
    tickets = parts[4].split(separator: ",").compactMap { Int($0) }
    reason = parts[5]
    userKey = parts[6]
  }
}
