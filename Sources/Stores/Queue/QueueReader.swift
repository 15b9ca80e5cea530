package import EventLoop
import Redis
package import Sale
import StoreCommon

/// What servers read of events' queues, and of Redis itself, changing nothing: the notifier, the catalog, the indexer.
@LoopActor
package struct QueueReader {
  let store: QueueStore

  /// The head document, or `nil` where Redis has no queue for the event.
  package func document(event: Int) async throws -> QueueDocument? {
    let answer = try await store.redis.command(
      ["HMGET", .text(EventKeys(event).meta)] + QueueDocument.storedFields.map { .text($0) })
    let document = QueueDocument(values: (answer.array ?? []).map { $0.text ?? "" })
    return document?.isLost == true ? nil : document
  }

  /// The record of a request, or `nil` if it was not decided by itself.
  package func record(event: Int, position: Int) async throws -> RequestRecord? {
    let (key, field) = EventKeys(event).record(position)
    return try await store.redis.command(["HGET", .text(key), .text(field)]).text.flatMap(RequestRecord.init)
  }

  /// Where the event's lines stand, by their numbers, but for those that never kept anybody waiting.
  package func marks(event: Int) async throws -> [Int: LineMark] {
    try await markTexts(event: event).compactMapValues(LineMark.init)
  }

  /// The same, as they are stored.
  package func markTexts(event: Int) async throws -> [Int: String] {
    try await store.byLine(EventKeys(event).marks)
  }

  /// Bit i, most significant first, is set when position i has a record or waits alone, whatever its line says.
  package func placesApart(event: Int) async throws -> [UInt8] {
    if case .string(let bytes) = try await store.redis.command(["GET", .text(EventKeys(event).away)]) {
      bytes
    } else {
      []
    }
  }

  /// The line in which a user waits with this place; `nil` where they have another by now, or none is known.
  package func line(event: Int, position: Int, userKey: String) async throws -> Int? {
    let key = EventKeys(event).user(userKey)
    let entry = try await store.redis.command(["HGET", .text(key), .text(userKey)]).text
    guard let remembered = entry.flatMap({ RememberedUser(key: userKey, entry: $0) }),
      remembered.live == position
    else {
      return nil
    }
    return remembered.line
  }

  /// Bit i, most significant first, is set when ticket i is not free. `nil` before the first owner loaded it.
  package func unavailableTickets(event: Int) async throws -> [UInt8]? {
    if case .string(let bytes) = try await store.redis.command(["GET", .text(EventKeys(event).bitmap)]) {
      bytes
    } else {
      nil
    }
  }

  /// Events of the partition that have a queue.
  package func liveEvents(_ partition: Partition) async throws -> [Int] {
    let answer = try await store.redis.command(["SMEMBERS", .text(partition.events)])
    return (answer.array ?? []).map(QueueStore.number)
  }

  /// All events that have a queue, the ones made last first. One round trip.
  package func liveEvents() async throws -> [Int] {
    let answers = try await store.redis.commands(Partition.all.map { ["SMEMBERS", .text($0.events)] })
    return answers.flatMap { ($0.array ?? []).map(QueueStore.number) }.sorted(by: >)
  }

  /// Events that are looked at for one user, the ones made last: in Redis some microseconds each, one by one.
  package nonisolated static let eventsLookedAt = 2_000

  /// A user's place, as its id names it.
  package struct OwnPlace: Sendable, Equatable {
    package let event: Int
    package let place: BuyersLine.Place

    package init(event: Int, place: BuyersLine.Place) {
      self.event = event
      self.place = place
    }
  }

  /// The places of a user at these events that may still be open. Two round trips, however many events there are: one
  /// look at each, and one more where there is a place. It may have ended with everybody's meanwhile, which its line says.
  package func places(of userKey: String, events: some Collection<Int>) async throws -> [OwnPlace] {
    let entries = try await store.redis.commands(
      events.map { ["HGET", .text(EventKeys($0).user(userKey)), .text(userKey)] })
    let found = zip(events, entries).compactMap { event, entry -> Int? in
      guard let text = entry.text, let remembered = RememberedUser(key: userKey, entry: text),
        remembered.live > 0
      else { return nil }
      return event
    }
    let places = try await store.redis.commands(
      found.map { ["FCALL_RO", "onsale_place", "1", .text(EventKeys($0).meta), .text(userKey)] })
    return zip(found, places).compactMap { event, answer in
      let numbers = (answer.array ?? []).map(QueueStore.number)
      guard numbers.count == 4, numbers[0] > 0 else { return nil }
      let wish = numbers[2] > 0 && numbers[3] > 0 ? WishPlace(line: numbers[2], ordinal: numbers[3]) : nil
      return OwnPlace(
        event: event, place: BuyersLine.Place(position: numbers[0], generation: numbers[1], wish: wish))
    }
  }

  /// What tells this life of the Redis server from another server, and from itself after a restart.
  package func serverIdentity() async throws -> String {
    let text = try await store.redis.command(["INFO", "server"]).text ?? ""
    for line in text.split(whereSeparator: \.isNewline) where line.hasPrefix("run_id:") {
      return String(line.dropFirst("run_id:".count))
    }
    throw StoreError(.unexpectedAnswer, "INFO server")
  }

  /// Whether the event's records say what PostgreSQL knows, in this life of the Redis server (`StoreComparison.noteCompared`): an
  /// older copy names another life, or none.
  package func isCompared(event: Int, identity: String? = nil) async throws -> Bool {
    async let compared = store.redis.command(["HGET", .text(EventKeys(event).meta), "compared"])
    var identity = identity
    if identity == nil { identity = try await serverIdentity() }
    return try await compared.text == identity
  }

  /// Whether somebody looked at the partition's clock within so long.
  package func knowsClock(_ partition: Partition, within milliseconds: UInt64) -> Bool {
    store.clock.age(partition).map { $0 < milliseconds } ?? false
  }

  /// Looks at the partition's clock, unless somebody did within so long.
  package func lookAtClock(_ partition: Partition, within milliseconds: UInt64) async throws {
    if knowsClock(partition, within: milliseconds) { return }
    let askedAt = EventLoop.shared.now
    store.clock.note(partition, try await self.milliseconds(of: partition), askedAt: askedAt)
  }

  /// What the partition's clock says, in milliseconds since 1970.
  package func milliseconds(of partition: Partition) async throws -> Int {
    let values = try await store.redis.commands([["TIME"], ["GET", .text(partition.clock)]])
    return try Self.milliseconds(values[0]) + QueueStore.number(values[1])
  }

  /// What Redis's own clock says, whether or not it has stepped.
  package func serverMilliseconds() async throws -> Int {
    try Self.milliseconds(try await store.redis.command(["TIME"]))
  }

  private static func milliseconds(_ time: RedisValue) throws -> Int {
    guard let parts = time.array, parts.count == 2 else { throw StoreError(.unexpectedAnswer, "TIME") }
    return QueueStore.number(parts[0]) * 1_000 + QueueStore.number(parts[1]) / 1_000
  }
}
