package import EventLoop
import Redis
package import Sale
import StoreCommon

/// Who waits for an event, line by line: what its owner reads before it decides, and the audit. Read without a fence: an owner
/// that was replaced learns of it with the next write.
@LoopActor
package struct WaitingLines {
  let store: QueueStore

  /// Someone in line, as the stream has them.
  package struct Entry: Sendable, Equatable {
    package let position: Int
    package let ordinal: Int
    package let line: Int
    /// What the line's wish does not say: exact seats, a payment method; empty for nothing.
    package let payload: String
    package let user: String

    /// - Parameter id: `<position>-<ordinal>`.
    init?(id: String?, line: Int, payload: String, user: String) {
      let parts = (id ?? "").split(separator: "-").compactMap { Int($0) }
      guard parts.count == 2 else { return nil }
      position = parts[0]
      ordinal = parts[1]
      self.line = line
      self.payload = payload
      self.user = user
    }

    /// - Parameter wish: the line's.
    package func arrival(wish: String) -> Arrival {
      let parts = (payload.isEmpty ? wish : payload).split(separator: " ", maxSplits: 1)
      let first = (parts.first ?? "").split(separator: "m", maxSplits: 1, omittingEmptySubsequences: false)
      let rest =
        first.count == 2 ? first[1].split(separator: "c", maxSplits: 1, omittingEmptySubsequences: false) : []
      let limit = rest.first.flatMap { $0.isEmpty && rest.count == 2 ? nil : $0 }
      let maxAmount = limit.flatMap { Int($0) }
      // A limit that cannot be read is somebody's limit all the same: for a version that can.
      let isReadable = limit == nil || maxAmount != nil
      return Arrival(
        position: position, ordinal: ordinal, line: line, user: user,
        seats: isReadable ? first.first.flatMap { RequestedSeats(encoded: String($0)) } : nil,
        method: parts.count == 2 ? String(parts[1]) : nil, client: rest.count == 2 ? String(rest[1]) : "",
        maxAmount: maxAmount)
    }
  }

  package struct NextInLine: Sendable {
    package let entries: [Entry]
    package let tail: Int
    /// Whether nobody else is between the last of them and the tail.
    package let isAll: Bool
  }

  /// What is wished for in each line, by its number.
  package func wishes(event: Int) async throws -> [Int: String] {
    try await store.byLine(EventKeys(event).wishes)
  }

  /// Those behind `position`, over all lines but some, in the order of their positions, at most `limit`.
  package func next(
    event: Int, after position: Int, without lines: some Sequence<Int> = [], limit: Int
  ) async throws -> NextInLine {
    let left = lines.map(String.init).joined(separator: ",")
    let values = try await store.call(
      "onsale_read", event, [.integer(position), .integer(limit), .text(left)])
    guard values.count >= 4, let list = values[3].array else {
      throw StoreError(.unexpectedAnswer, "onsale_read")
    }
    var entries: [Entry] = []
    entries.reserveCapacity(list.count / 4)
    for index in stride(from: 0, to: list.count - 3, by: 4) {
      guard
        let entry = Entry(
          id: list[index].text, line: QueueStore.number(list[index + 1]), payload: list[index + 2].text ?? "",
          user: list[index + 3].text ?? "")
      else { continue }
      entries.append(entry)
    }
    return NextInLine(entries: entries, tail: QueueStore.number(values[1]), isAll: values[2].integer == 1)
  }

  /// Those in each of these lines behind a place, in order, at most so many of each.
  package func entries(
    event: Int, of lines: [(line: Int, after: LinePlace, atMost: Int)]
  ) async throws -> [[Entry]] {
    let keys = EventKeys(event)
    let answers = try await store.pipelined(
      lines.map { line in
        [
          "XRANGE", .text(keys.line(line.line)), .text("\(line.after.position + 1)-0"), "+", "COUNT",
          .integer(line.atMost),
        ]
      })
    return zip(lines, answers).map { line, answer in
      (answer.array ?? []).compactMap { value in
        guard let parts = value.array, parts.count == 2, let fields = parts[1].array else { return nil }
        let values = QueueStore.fields(fields)
        return Entry(
          id: parts[0].text, line: line.line, payload: values["r"] ?? "", user: values["u"] ?? "")
      }
    }
  }

  /// Where the places of these holds stand in line; `nil` for one that does not.
  package func entries(event: Int, of holds: some Sequence<ShownHold>) async throws -> [Entry?] {
    let values = try await store.call(
      "onsale_find", event, holds.flatMap { [.integer($0.position), .text($0.userKey)] })
    return stride(from: 1, to: values.count - 3, by: 4).map { index in
      Entry(
        id: values[index].text, line: QueueStore.number(values[index + 1]),
        payload: values[index + 2].text ?? "",
        user: values[index + 3].text ?? "")
    }
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
      let answers = try await store.pipelined(
        lines.map { ["XRANGE", .text(keys.line($0)), .integer(position), .integer(position)] })
      for (line, answer) in zip(lines, answers) {
        guard let parts = answer.array?.first?.array, let fields = parts.last?.array else { continue }
        entries[position] = Entry(
          id: parts[0].text, line: line, payload: "", user: QueueStore.fields(fields)["u"] ?? "")
      }
    }
    return entries
  }

  /// Those who kept a place after the end of their line, and wait alone.
  package func alone(event: Int) async throws -> [Arrival] {
    let answer = try await store.redis.command([
      "ZRANGE", .text(EventKeys(event).alone), "0", .integer(Limits.waitingAlone), "WITHSCORES",
    ])
    let values = answer.array ?? []
    return stride(from: 0, to: values.count - 1, by: 2).compactMap { index in
      let parts = (values[index].text ?? "").split(
        separator: "\n", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2, let score = values[index + 1].text, let position = Int(score) else {
        return nil
      }
      return Entry(
        id: "\(position)-0", line: Arrival.alone, payload: String(parts[0]), user: String(parts[1]))?
        .arrival(wish: "")
    }
  }

  /// Those in line after `position`, in order, at most `limit`, and whether there are more.
  package func page(
    event: Int, after position: Int, limit: Int
  ) async throws -> (page: [(position: Int, user: String, line: Int?)], hasMore: Bool) {
    let isSplit = try await store.redis.command(["HGET", .text(EventKeys(event).meta), "split"]) != .null
    if isSplit {
      let next = try await next(event: event, after: position, limit: limit)
      return (next.entries.map { ($0.position, $0.user, $0.line) }, !next.isAll)
    }
    let answer = try await store.redis.command([
      "XRANGE", .text(EventKeys(event).queue), .text("\(position + 1)-0"), "+", "COUNT", .integer(limit),
    ])
    let page = (answer.array ?? []).compactMap { value -> (position: Int, user: String, line: Int?)? in
      guard let parts = value.array, parts.count == 2, let id = parts[0].text, let fields = parts[1].array,
        let position = Int(id.prefix { $0 != "-" })
      else { return nil }
      return (position, QueueStore.fields(fields)["u"] ?? "", nil)
    }
    return (page, page.count == limit)
  }

  /// Those who came back to a line that is being restored, by rank in the order of their positions.
  package func restored(event: Int, ranks: Range<Int>) async throws -> [(position: Int, user: String)] {
    let answer = try await store.redis.command([
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
}
