package import EventLoop
import Redis
package import Sale
import StoreCommon

/// What the audit reads of the queues, and workers who compare them with PostgreSQL: everything there is, in batches of a
/// bounded size, changing nothing.
@LoopActor
package struct QueueInspection {
  let store: QueueStore

  /// `nil` where Redis has no queue for the event.
  package func facts(event: Int) async throws -> QueueFacts? {
    let names =
      QueueDocument.fields + [
        "queue_limit", "per_user_limit", "hold_ms", "rate", "reopened_up_to", "rejoined_up_to",
        "counts_ends", "ended_with_line", "ended_in_mass", "stood", "stands_since", "stopped",
      ]
    let answer = try await store.redis.command(
      ["HMGET", .text(EventKeys(event).meta)] + names.map { .text($0) })
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
    facts.marks = try await store.reader.marks(event: event)
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

  /// The records of the positions in these buckets: bucket n has positions n·100 to n·100 + 99.
  package func records(
    event: Int, buckets: Range<Int>
  ) async throws -> [(position: Int, record: RequestRecord?)] {
    let keys = EventKeys(event)
    let answers = try await store.pipelined(
      buckets.map { ["HGETALL", .text(keys.record($0 * QueueStore.recordsPerBucket).key)] })
    var records: [(position: Int, record: RequestRecord?)] = []
    for (bucket, answer) in zip(buckets, answers) {
      let fields = answer.array ?? []
      for index in stride(from: 0, to: fields.count - 1, by: 2) {
        guard let slot = fields[index].text.flatMap({ Int($0) }) else { continue }
        records.append(
          (bucket * QueueStore.recordsPerBucket + slot, fields[index + 1].text.flatMap(RequestRecord.init)))
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
    let answers = try await store.pipelined(commands)
    return answers.flatMap { ($0.array ?? []).map { $0.text.flatMap(RequestRecord.init) } }
  }

  /// Holds by rank in the order of their deadlines; the deadline, in milliseconds since 1970, is `nil` while a
  /// payment is under way.
  package func holds(event: Int, ranks: Range<Int>) async throws -> [(position: Int, deadline: Int?)] {
    let answer = try await store.redis.command([
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
    let answer = try await store.redis.command(["MGET"] + tickets.map { .text("\(prefix)l:\($0)") })
    guard let values = answer.array, values.count == tickets.count else {
      throw StoreError(.unexpectedAnswer, "MGET")
    }
    return values.map { $0.text.flatMap { Int($0) } }
  }

  /// The users in these buckets.
  package func users(event: Int, buckets: Range<Int>) async throws -> [RememberedUser] {
    let keys = EventKeys(event)
    let width = QueueStore.userAlphabet.count
    let answers = try await store.pipelined(
      buckets.map {
        [
          "HGETALL",
          .text(keys.user("\(QueueStore.userAlphabet[$0 / width])\(QueueStore.userAlphabet[$0 % width])")),
        ]
      })
    return answers.flatMap { answer -> [RememberedUser] in
      let fields = answer.array ?? []
      return stride(from: 0, to: fields.count - 1, by: 2).compactMap { index in
        guard let key = fields[index].text, let entry = fields[index + 1].text else { return nil }
        return RememberedUser(key: key, entry: entry)
      }
    }
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
    let answer = try await store.redis.command([
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
}
