import Sale

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
  /// Grows with every place that gets a record or waits alone although its line says otherwise.
  package var apart = 0
  /// How many are in line.
  package var waiting = 0
  /// For how many milliseconds the sale has stood still, and since when it does, on the partition's clock.
  package var stood = 0
  package var standsSince: Int?
  /// Whether no payment starts.
  package var isStopped = false
  /// Whether the event does not take place.
  package var isCancelled = false

  /// Why everybody ended who was in line when the sale was closed.
  package var closingReason: String { isCancelled ? Self.cancelled : "closed" }
  package static let cancelled = "event_cancelled"

  /// `open`, `paused`, `stopped` or `closed`.
  package var shownState: String {
    EventState.shown(state, isStopped: isStopped, isCancelled: isCancelled)
  }

  /// - Parameter word: 1 where payments are stopped, 2 where the event was cancelled besides.
  mutating func note(stopped word: some StringProtocol) {
    isStopped = word == "1" || word == "2"
    isCancelled = word == "2"
  }

  /// What the event's own clock says, which the deadlines of its holds are on: it stands still while the sale does.
  /// - Parameter now: of the partition's.
  package func eventTime(at now: Int) -> Int { (standsSince ?? now) - stood }

  /// An older copy of itself, which Redis came back with: as good as none.
  package var isLost: Bool { state == "lost" }

  static let fields = [
    "generation", "state", "head", "tail", "free", "held", "sold", "granted_per_second", "sold_out_up_to",
    "closed_up_to", "sold_out", "version", "decided_up_to", "message",
  ]

  /// What is stored; published, the last ones stand by themselves, since the version before reads the message to the end.
  static let storedFields = fields + ["apart", "waiting", "stood", "stands_since", "stopped"]

  /// - Parameter values: in the order of `storedFields`; the last ones may be missing.
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
    if values.count >= Self.storedFields.count {
      apart = integer(14)
      waiting = integer(15)
      stood = integer(16)
      standsSince = Int(values[17])
      note(stopped: values[18])
    }
  }
}

extension QueueDocument {
  /// The last document of a queue that has left Redis.
  package init(
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

/// What a notifier hears: an event's new head document, the positions whose state changed, and where lines stand now.
package struct QueueChange: Sendable {
  package let event: Int
  package private(set) var positions: [Int] = []
  /// Of those, the ones that have a record or wait alone although their line says otherwise.
  package private(set) var apart: [Int] = []
  package private(set) var marks: [Int: LineMark] = [:]
  package private(set) var document: QueueDocument

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
    self.document = document
    for part in lines[1].split(separator: UInt8(ascii: ",")) {
      let text = String(decoding: part, as: UTF8.self)
      switch text.first {
      case "=": add(mark: text.dropFirst())
      case "#":
        let numbers = text.dropFirst().split(separator: ":").compactMap { Int($0) }
        if numbers.count == 2 { (self.document.apart, self.document.waiting) = (numbers[0], numbers[1]) }
      case "~":
        let parts = text.dropFirst().split(separator: ":", omittingEmptySubsequences: false)
        if parts.count == 3 {
          self.document.stood = Int(parts[0]) ?? 0
          self.document.standsSince = Int(parts[1])
          self.document.note(stopped: parts[2])
        }
      default:
        guard let number = Int(text) else { continue }
        positions.append(abs(number))
        if number < 0 { apart.append(-number) }
      }
    }
  }

  /// - Parameter mark: `<number of the line>:<mark>`.
  private mutating func add(mark: Substring) {
    let number = mark.prefix { $0 != ":" }
    guard let line = Int(number), let mark = LineMark(String(mark.dropFirst(number.count + 1))) else {
      return
    }
    marks[line] = mark
  }
}
