import EventLoop
import Redis
package import Sale
import StoreCommon

/// What the audit reads of the queues: everything there is, in batches of a bounded size, changing nothing.
extension QueueStore {
  /// Commands that one batch sends at once; the connection pipelines them.
  private static let commandsInFlight = 64
  /// Positions that share one hash of records.
  package static let recordsPerBucket = 100
  /// Users are spread over this many hashes, by the first two characters of their keys.
  package static let userBuckets = userAlphabet.count * userAlphabet.count
  static let userAlphabet = Array(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")

  /// An event's settings and counts as Redis has them.
  package struct QueueFacts: Sendable {
    package var document: QueueDocument
    package var queueLimit: Int
    package var perUserLimit: Int
    package var holdMilliseconds: Int
    package var rate: Int?
    /// Places up to this one may have ended without a record in a line that was sold out, and reopened since.
    package var reopenedUpTo: Int
    /// Places up to this one may be nobody's: the line was lost, and not all who were in it came back.
    package var rejoinedUpTo: Int
    /// How many places have no record, and are in no line, since theirs ended, and since all did; `nil` where that was not
    /// counted from the beginning.
    package var ended: (withLine: Int, inMass: Int)?
    /// Where lines stand, by their numbers.
    package var marks: [Int: LineMark] = [:]
    /// Places that may have ended with their lines.
    package var lineEnds: [ClosedRange<Int>] = []

    package init(
      document: QueueDocument, queueLimit: Int, perUserLimit: Int, holdMilliseconds: Int, rate: Int?,
      reopenedUpTo: Int, rejoinedUpTo: Int
    ) {
      self.document = document
      self.queueLimit = queueLimit
      self.perUserLimit = perUserLimit
      self.holdMilliseconds = holdMilliseconds
      self.rate = rate
      self.reopenedUpTo = reopenedUpTo
      self.rejoinedUpTo = rejoinedUpTo
    }
  }

  /// `nil` where Redis has no queue for the event.
  package func queueFacts(event: Int) async throws -> QueueFacts? {
    let names =
      QueueDocument.fields + [
        "queue_limit", "per_user_limit", "hold_ms", "rate", "reopened_up_to", "rejoined_up_to",
        "counts_ends", "ended_with_line", "ended_in_mass", "stood", "stands_since", "stopped",
      ]
    let answer = try await redis.command(["HMGET", .text(EventKeys(event).meta)] + names.map { .text($0) })
    let values = (answer.array ?? []).map { $0.text ?? "" }
    let own = QueueDocument.fields.count
    guard values.count == names.count, var document = QueueDocument(values: Array(values[..<own])) else {
      return nil
    }
    document.stood = Int(values[own + 9]) ?? 0
    document.standsSince = Int(values[own + 10])
    document.note(stopped: values[own + 11])
    func integer(_ index: Int) -> Int { Int(values[own + index]) ?? 0 }
    var facts = QueueFacts(
      document: document, queueLimit: integer(0), perUserLimit: integer(1), holdMilliseconds: integer(2),
      rate: Int(values[own + 3]), reopenedUpTo: integer(4), rejoinedUpTo: integer(5))
    if integer(6) == 1 { facts.ended = (withLine: integer(7), inMass: integer(8)) }
    facts.marks = try await marks(event: event)
    facts.lineEnds = Self.merged(facts.marks.values.flatMap(\.ends))
    return facts
  }

  private static func merged(_ ends: [LineMark.End]) -> [ClosedRange<Int>] {
    var merged: [ClosedRange<Int>] = []
    for end in ends.sorted(by: { $0.after < $1.after }) where end.through > end.after {
      if let last = merged.last, end.after <= last.upperBound {
        merged[merged.count - 1] = last.lowerBound...max(last.upperBound, end.through)
      } else {
        merged.append(end.after + 1...end.through)
      }
    }
    return merged
  }

  /// Those in line after `position`, in order, at most `limit`, and whether there are more.
  package func waiting(
    event: Int, after position: Int, limit: Int
  ) async throws -> (page: [(position: Int, user: String, line: Int?)], hasMore: Bool) {
    let isSplit = try await redis.command(["HGET", .text(EventKeys(event).meta), "split"]) != .null
    if isSplit {
      let next = try await next(event: event, after: position, limit: limit)
      return (next.entries.map { ($0.position, $0.user, $0.line) }, !next.isAll)
    }
    let answer = try await redis.command([
      "XRANGE", .text(EventKeys(event).queue), .text("\(position + 1)-0"), "+", "COUNT", .integer(limit),
    ])
    let page = (answer.array ?? []).compactMap { value -> (position: Int, user: String, line: Int?)? in
      guard let parts = value.array, parts.count == 2, let id = parts[0].text, let fields = parts[1].array,
        let position = Int(id.prefix { $0 != "-" })
      else { return nil }
      return (position, Self.fields(fields)["u"] ?? "", nil)
    }
    return (page, page.count == limit)
  }

  /// Those who came back to a line that is being restored, by rank in the order of their positions.
  package func restored(event: Int, ranks: Range<Int>) async throws -> [(position: Int, user: String)] {
    let answer = try await redis.command([
      "ZRANGE", .text(EventKeys(event).restored), .integer(ranks.lowerBound), .integer(ranks.upperBound - 1),
      "WITHSCORES",
    ])
    let values = answer.array ?? []
    return stride(from: 0, to: values.count - 1, by: 2).compactMap { index in
      guard let position = values[index + 1].text.flatMap({ Int($0) }) else { return nil }
      let parts = (values[index].text ?? "").split(
        separator: "\n", maxSplits: 1, omittingEmptySubsequences: false)
      return (position, String(parts.last ?? ""))
    }
  }

  /// The records of the positions in these buckets: bucket n has positions n·100 to n·100 + 99.
  package func records(
    event: Int, buckets: Range<Int>
  ) async throws -> [(position: Int, record: RequestRecord?)] {
    let keys = EventKeys(event)
    let answers = try await pipelined(
      buckets.map { ["HGETALL", .text(keys.record($0 * Self.recordsPerBucket).key)] })
    var records: [(position: Int, record: RequestRecord?)] = []
    for (bucket, answer) in zip(buckets, answers) {
      let fields = answer.array ?? []
      for index in stride(from: 0, to: fields.count - 1, by: 2) {
        guard let slot = fields[index].text.flatMap({ Int($0) }) else { continue }
        records.append(
          (bucket * Self.recordsPerBucket + slot, fields[index + 1].text.flatMap(RequestRecord.init)))
      }
    }
    return records
  }

  /// The records of these positions, in their order.
  package func records(event: Int, positions: [Int]) async throws -> [RequestRecord?] {
    let keys = EventKeys(event)
    // Those that follow each other are in one hash.
    var commands: [[RedisArgument]] = []
    var last: String?
    for position in positions {
      let (key, field) = keys.record(position)
      if key == last {
        commands[commands.count - 1].append(.text(field))
      } else {
        commands.append(["HMGET", .text(key), .text(field)])
        last = key
      }
    }
    let answers = try await pipelined(commands)
    return answers.flatMap { ($0.array ?? []).map { $0.text.flatMap(RequestRecord.init) } }
  }

  /// What tells this life of the Redis server from another server, and from itself after a restart.
  package func serverIdentity() async throws -> String {
    let text = try await redis.command(["INFO", "server"]).text ?? ""
    for line in text.split(whereSeparator: \.isNewline) where line.hasPrefix("run_id:") {
      return String(line.dropFirst("run_id:".count))
    }
    throw StoreError(.unexpectedAnswer, "INFO server")
  }

  /// Notes for servers that the event's records say what PostgreSQL knows, in this life of the Redis server.
  package func noteCompared(event: Int, identity: String) async throws {
    _ = try await redis.command(["HSET", .text(EventKeys(event).meta), "compared", .text(identity)])
  }

  /// Whether that is so: an older copy names another life, or none.
  package func isCompared(event: Int, identity: String? = nil) async throws -> Bool {
    async let compared = redis.command(["HGET", .text(EventKeys(event).meta), "compared"])
    var identity = identity
    if identity == nil { identity = try await serverIdentity() }
    return try await compared.text == identity
  }

  /// Commands that looking for places in all lines takes at most.
  private static let placesLookedFor = 100_000

  /// Who stands in line with these positions, by position. Of many, in many lines, only the first are looked for.
  package func entries(event: Int, waitingAt positions: [Int]) async throws -> [Int: Entry] {
    if positions.isEmpty { return [:] }
    let keys = EventKeys(event)
    var entries: [Int: Entry] = [:]
    for waiting in try await alone(event: event) {
      entries[waiting.position] = Entry(
        id: "\(waiting.position)-0", line: Arrival.alone, payload: "", user: waiting.user)
    }
    let lines = try await wishes(event: event).keys.sorted()
    for position in positions.prefix(max(1, Self.placesLookedFor / max(1, lines.count)))
    where entries[position] == nil {
      let answers = try await pipelined(
        lines.map { ["XRANGE", .text(keys.line($0)), .integer(position), .integer(position)] })
      for (line, answer) in zip(lines, answers) {
        guard let parts = answer.array?.first?.array, let fields = parts.last?.array else { continue }
        entries[position] = Entry(
          id: parts[0].text, line: line, payload: "", user: Self.fields(fields)["u"] ?? "")
      }
    }
    return entries
  }

  /// Holds by rank in the order of their deadlines; the deadline, in milliseconds since 1970, is `nil` while a
  /// payment is under way.
  package func holds(event: Int, ranks: Range<Int>) async throws -> [(position: Int, deadline: Int?)] {
    let answer = try await redis.command([
      "ZRANGE", .text(EventKeys(event).holds), .integer(ranks.lowerBound), .integer(ranks.upperBound - 1),
      "WITHSCORES",
    ])
    let values = answer.array ?? []
    return stride(from: 0, to: values.count - 1, by: 2).compactMap { index in
      guard let position = values[index].text.flatMap({ Int($0) }), let score = values[index + 1].text else {
        return nil
      }
      return (position, Double(score).flatMap { $0.isFinite ? Int($0) : nil })
    }
  }

  /// The position that locks each ticket, in order.
  package func locks(event: Int, tickets: [Int]) async throws -> [Int?] {
    if tickets.isEmpty { return [] }
    let prefix = EventKeys(event).prefix
    let answer = try await redis.command(["MGET"] + tickets.map { .text("\(prefix)l:\($0)") })
    guard let values = answer.array, values.count == tickets.count else {
      throw StoreError(.unexpectedAnswer, "MGET")
    }
    return values.map { $0.text.flatMap { Int($0) } }
  }

  /// What Redis remembers of a user of an event.
  package struct RememberedUser: Sendable {
    /// See `UserKey`.
    package let key: String
    /// Their request in line or with a hold; 0 for none.
    package let live: Int
    /// The line in which that waits, or waited; `nil` where it is not known.
    package let line: Int?
    package let ticketsOwned: Int

    /// Lines below this are packed into one number with the place.
    static let packedLines = 256

    /// Reads what the functions write (`put_user`); `nil` if that is no entry of theirs.
    init?(key: String, entry: String) {
      self.key = key
      if entry.hasPrefix("-") {
        guard let packed = Int(entry.dropFirst()) else { return nil }
        live = packed / Self.packedLines
        line = packed % Self.packedLines
        ticketsOwned = 0
        return
      }
      let parts = entry.split(separator: ":", omittingEmptySubsequences: false)
      let place = parts[0].split(separator: ".")
      guard let live = place.first.flatMap({ Int($0) }) else { return nil }
      self.live = live
      line = place.count == 2 ? Int(place[1]) : nil
      ticketsOwned = parts.count > 1 ? Int(parts[1]) ?? 0 : 0
    }
  }

  /// The users in these buckets.
  package func users(event: Int, buckets: Range<Int>) async throws -> [RememberedUser] {
    let keys = EventKeys(event)
    let width = Self.userAlphabet.count
    let answers = try await pipelined(
      buckets.map {
        ["HGETALL", .text(keys.user("\(Self.userAlphabet[$0 / width])\(Self.userAlphabet[$0 % width])"))]
      })
    return answers.flatMap { answer -> [RememberedUser] in
      let fields = answer.array ?? []
      return stride(from: 0, to: fields.count - 1, by: 2).compactMap { index in
        guard let key = fields[index].text, let entry = fields[index + 1].text else { return nil }
        return RememberedUser(key: key, entry: entry)
      }
    }
  }

  /// The fencing number that Redis accepts; 0 before the first owner.
  package func epoch(_ partition: Partition) async throws -> Int {
    try await redis.command(["GET", .text(partition.epoch)]).text.flatMap { Int($0) } ?? 0
  }

  package func leaseHolder(_ partition: Partition) async throws -> String? {
    try await redis.command(["GET", .text(partition.lease)]).text
  }

  /// Entries of a partition's confirmation stream, or of its dead letters.
  package struct StreamEntry: Sendable {
    package let id: String
    package let event: Int
    package let generation: Int
    package let position: Int
    package let attempt: Int

    /// When it was added, in milliseconds since 1970 on Redis's clock.
    package var addedAt: Int { Int(id.prefix { $0 != "-" }) ?? 0 }
  }

  /// Entries after `id`, in order, at most `limit`.
  package func streamEntries(
    _ partition: Partition, deadLetters: Bool, after id: String?, limit: Int
  ) async throws -> [StreamEntry] {
    let answer = try await redis.command([
      "XRANGE", .text(deadLetters ? partition.deadLetters : partition.confirmations),
      id.map { .text("(\($0)") } ?? "-", "+", "COUNT", .integer(limit),
    ])
    return (answer.array ?? []).compactMap { value in
      guard let parts = value.array, parts.count == 2, let id = parts[0].text, let list = parts[1].array
      else {
        return nil
      }
      var numbers: [String: Int] = [:]
      for index in stride(from: 0, to: list.count - 1, by: 2) {
        if let name = list[index].text { numbers[name] = list[index + 1].text.flatMap { Int($0) } }
      }
      return StreamEntry(
        id: id, event: numbers["e"] ?? 0, generation: numbers["g"] ?? 0, position: numbers["p"] ?? 0,
        attempt: numbers["t"] ?? 0)
    }
  }

  // MARK: Repair

  package enum Repair: String, Sendable {
    case purchased = "P"
    /// The payment is under way; `reason` is its method.
    case confirming = "C"
    /// The hold goes on until its deadline.
    case declined = "D"
    case expired = "X"
    /// These say of a hold, or of a place in line, that it had ended.
    case cancelled = "L"
    case declinedForGood = "d"
    case soldOut = "S"
    case rejected = "J"
    /// The record stays as it is; its hold is put into the index of deadlines again.
    case indexed = "I"
  }

  /// Puts a request's record into the state that PostgreSQL has, with everything that goes with it: locks,
  /// bitmap, the user's place and count, and word to the owner of the seat map.
  /// - Parameters:
  ///   - expected: the state that the caller saw, `nil` for no record; nothing is done if it has changed since.
  ///   - free: those of its tickets that nobody else has, to be sold again.
  ///   - user: used where there was no record, and whom the record must be of to be told of a purchase.
  ///   - wish: used where there was no record.
  /// - Returns: whether it was written.
  package func repair(
    event: Int, position: Int, expected: RequestRecord.State?, to repair: Repair, attempt: Int, amount: Int,
    tickets: [Int], free: [Int], reason: String, user: String, wish: WishPlace? = nil
  ) async throws -> Bool {
    let answer = try await redis.call(
      "onsale_repair", keys: [EventKeys(event).meta],
      [
        .integer(position), .text(expected.map { String($0.rawValue) } ?? ""), .text(repair.rawValue),
        .integer(attempt), .integer(amount), .text(Self.text(tickets)),
        .text(free.map(String.init).joined(separator: ",")), .text(Self.field(reason)),
        .text(UserKey(user).text), .text(user), .text(wish?.text ?? ""),
      ])
    return answer.array?.first?.text == "ok"
  }

  /// Deletes the lock of a ticket if this position still has it.
  /// - Parameter isFree: whether to offer the ticket to the owner of the seat map again.
  /// - Returns: whether it was there.
  package func dropLock(event: Int, ticket: Int, position: Int, isFree: Bool) async throws -> Bool {
    let answer = try await redis.call(
      "onsale_drop_lock", keys: [EventKeys(event).meta],
      [.integer(ticket), .integer(position), isFree ? "1" : "0"])
    return answer.array?.first?.text == "ok"
  }

  /// Sends commands at once, a bounded number at a time; the answers are in their order.
  func pipelined(_ commands: [[RedisArgument]]) async throws -> [RedisValue] {
    var answers: [RedisValue] = []
    answers.reserveCapacity(commands.count)
    for start in stride(from: 0, to: commands.count, by: Self.commandsInFlight) {
      let part = commands[start..<min(start + Self.commandsInFlight, commands.count)]
      answers += try await redis.commands(Array(part))
    }
    return answers
  }
}
