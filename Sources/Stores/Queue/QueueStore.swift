package import EventLoop
package import Redis
package import Sale
import StoreCommon

/// Events' queues, holds and request records in Redis, in the domain's words.
///
/// Every method is one round trip and atomic. Errors are `RedisError`, or `StoreError` where Redis refused.
@LoopActor
package final class QueueStore {
  package let redis: RedisClient
  /// What time it is for holds, as far as this process has looked.
  package let clock = QueueClock()
  let lines = LineMemory()
  /// Those who come back to a line that was lost, as many at a time as ask at once.
  private(set) lazy var returns = GroupCommit<Returning, EnqueueAnswer?>(
    maximumBatch: Self.returnsAtOnce, capacity: Self.returnsWaiting
  ) { [unowned self] in await takeIn($0) }

  package init(_ redis: RedisClient) { self.redis = redis }

  /// Loads the function library when the server has none or an older version of it, and makes the consumer
  /// groups. For `RedisClient`'s `prepare`, so that a Redis that came back empty is usable again at once.
  package static func prepare(_ redis: RedisClient) async throws {
    try await loadLibrary(redis)
    // Also with the functions there: `FLUSHALL` leaves those.
    for partition in Partition.all { try await makeGroup(partition, redis) }
  }

  private static let libraryLockMilliseconds = 5_000
  private static let libraryTries = 200

  /// Looking and loading are two calls, and an older version must not come between those of a newer one: whoever loads
  /// holds a lock meanwhile, which ends by itself when its holder is killed.
  private static func loadLibrary(_ redis: RedisClient) async throws {
    let name = "\(UInt64.random(in: .min ... .max))"
    for _ in 0..<libraryTries {
      if await libraryVersion(redis) >= QueueLibrary.version { return }
      let locked = try await redis.command([
        "SET", .text(QueueLibrary.lock), .text(name), "NX", "PX", .integer(libraryLockMilliseconds),
      ])
      if locked == .null {
        try await sleep(milliseconds: 50)
        continue
      }
      if await libraryVersion(redis) < QueueLibrary.version {
        _ = try await redis.command(["FUNCTION", "LOAD", "REPLACE", .text(QueueLibrary.source)])
      }
      // One that has run out, and is somebody else's by now, stays.
      if try await redis.command(["GET", .text(QueueLibrary.lock)]).text == name {
        _ = try await redis.command(["DEL", .text(QueueLibrary.lock)])
      }
      return
    }
    throw StoreError(.unexpectedAnswer, "the function library is locked")
  }

  private static func libraryVersion(_ redis: RedisClient) async -> Int {
    (try? await redis.command(["FCALL_RO", "onsale_version", "0"]).integer) ?? 0
  }

  private static func hasGroup(_ partition: Partition, _ redis: RedisClient) async -> Bool {
    let groups = try? await redis.command(["XINFO", "GROUPS", .text(partition.confirmations)])
    return groups?.array?.isEmpty == false
  }

  private static func makeGroup(_ partition: Partition, _ redis: RedisClient) async throws {
    // Asked first: a Redis that is out of memory refuses to create even what exists.
    if await hasGroup(partition, redis) { return }
    do {
      _ = try await redis.command([
        "XGROUP", "CREATE", .text(partition.confirmations), "workers", "0", "MKSTREAM",
      ])
    } catch  where error.code == .server("BUSYGROUP") {
      // It exists already.
    }
  }

  /// Reads the stream of confirmations. Where its group is gone, with all of Redis' data, it is made anew.
  private func readStream(_ partition: Partition, _ command: [RedisArgument]) async throws -> RedisValue {
    do {
      return try await redis.command(command)
    } catch  where error.code == .server("NOGROUP") {
      try await Self.makeGroup(partition, redis)
      return try await redis.command(command)
    }
  }

  func call(_ function: String, _ event: Int, _ arguments: [RedisArgument]) async throws -> [RedisValue] {
    let answer = try await redis.call(function, keys: [EventKeys(event).meta], arguments)
    guard let values = answer.array, let word = values.first?.text else {
      throw StoreError(.unexpectedAnswer, function)
    }
    if word == "stale" { throw StoreError(.staleEpoch, function) }
    if word == "missing" { throw StoreError(.noQueue, "event \(event)") }
    return values
  }

  // MARK: Intake

  /// A place in an event's queue.
  package struct Place: Sendable, Equatable {
    package let position: Int
    package let generation: Int
    /// The line of those who wish for the same, and how many came to it before and with this one, as the request's id says
    /// them from the first answer on; `nil` where that is not known: of a place that was kept after the end of its line.
    package let wish: WishPlace?

    package init(position: Int, generation: Int, wish: WishPlace? = nil) {
      self.position = position
      self.generation = generation
      self.wish = wish
    }
  }

  package enum EnqueueAnswer: Sendable, Equatable {
    /// In line. `isNew` is false when this user was in line already.
    case inLine(Place, head: Int, isNew: Bool)
    case notOpen
    case closed
    case soldOut
    case limitExceeded(owned: Int, limit: Int)
    case queueFull
    /// Left a place of this event too often.
    case tooOften
    /// Places of theirs came to nothing too often.
    case refusedTooOften
    /// The idempotency key came with another request before.
    case idempotencyMismatch
    /// Redis lost the line: for so long only those come in who were in it.
    case restoring(milliseconds: Int)
  }

  package enum ConfirmAnswer: String, Sendable {
    case ok, expired, forbidden
    /// The same, and it is noted that other seats will do; or that they will not, whatever was said, as these were chosen by
    /// name.
    case okAgreed = "ok_agreed"
    case okByName = "ok_by_name"
    case notReserved = "not_reserved"
    /// Too many cards were tried for this hold.
    case tooOften = "too_often"
    /// It is not free, and no payment method came with it.
    case methodRequired = "method_required"
    /// The idempotency key came with another card before.
    case idempotencyMismatch = "mismatch"
    /// Other tickets are held by now than the buyer was told of.
    case holdLost = "hold_lost"
    /// No payment starts for now; the hold stays, and its time stands still.
    case stopped
    /// No payment starts any more: the sale was closed while payments were stopped, or its event was cancelled.
    case closed
    /// A payment is under way with which the buyer has said otherwise of other seats.
    case otherAgreement = "agreement"
  }

  /// Starts the payment of a hold, which needs no method where it is free; the hold no longer expires until the payment has ended. Repeating it
  /// while it is under way, or after it succeeded, changes nothing.
  /// - Parameters:
  ///   - tickets: those that the buyer was told of, if that is known: no others are paid for.
  ///   - takesOthers: whether others will do if the payment comes when these are somebody else's. Of seats that were chosen by
  ///     name nothing else will.
  package func confirm(
    event: Int, generation: Int, position: Int, user: String, method: String?, idempotencyKey: String? = nil,
    tickets: [Int] = [], client: String = "", takesOthers: Bool = false
  ) async throws -> ConfirmAnswer {
    let values = try await call(
      "onsale_confirm", event,
      [
        .integer(position), .text(UserKey(user).text), .text(method ?? ""), .text(user),
        .text(Self.name(idempotencyKey, of: user)), .integer(generation), .text(Self.text(tickets)),
        .text(client), takesOthers ? "1" : "0",
      ])
    guard let answer = values[0].text.flatMap(ConfirmAnswer.init(rawValue:)) else {
      throw StoreError(.unexpectedAnswer, "onsale_confirm")
    }
    return answer
  }

  /// Has the buyer told that their payment waits for them, and where they go for that. False where the attempt is over, or
  /// Redis has another line by now.
  package func askBuyer(_ confirmation: Confirmation, redirectURL: String) async throws -> Bool {
    // What separates the parts of a record means the same in an address when it is escaped.
    let url = Self.field(redirectURL.replacing("@", with: "%40").replacing("|", with: "%7C"))
    do {
      let values = try await call(
        "onsale_ask_buyer", confirmation.event,
        [
          .integer(confirmation.position), .integer(confirmation.attempt), .integer(confirmation.generation),
          .text(RequestStatus.actionPrefix + url),
        ])
      return values[0].text == "ok"
    } catch let error as StoreError where error.code == .noQueue {
      return false
    }
  }

  /// Tells the workers that something has happened to the payment of a request: whoever has it asks for it at once.
  package func hintPayment(event: Int, generation: Int, position: Int) async throws {
    _ = try await redis.command([
      "PUBLISH", .text(Partition(of: event).confirmWakes), .text("\(event)-\(generation)-\(position)"),
    ])
  }

  package enum CancelAnswer: String, Sendable {
    case ok, forbidden, purchased, confirming, ended, unknown
  }

  /// Leaves the line, or gives the tickets back.
  package func cancel(event: Int, generation: Int, position: Int, user: String) async throws -> CancelAnswer {
    let values = try await call(
      "onsale_cancel", event, [.integer(position), .text(UserKey(user).text), .integer(generation)])
    guard let answer = values[0].text.flatMap(CancelAnswer.init(rawValue:)) else {
      throw StoreError(.unexpectedAnswer, "onsale_cancel")
    }
    return answer
  }

  // MARK: Notifier and catalog

  /// The head document, or `nil` where Redis has no queue for the event.
  package func document(event: Int) async throws -> QueueDocument? {
    let answer = try await redis.command(
      ["HMGET", .text(EventKeys(event).meta)] + QueueDocument.storedFields.map { .text($0) })
    let document = QueueDocument(values: (answer.array ?? []).map { $0.text ?? "" })
    return document?.isLost == true ? nil : document
  }

  /// The record of a request, or `nil` if it was not decided by itself.
  package func record(event: Int, position: Int) async throws -> RequestRecord? {
    let (key, field) = EventKeys(event).record(position)
    return try await redis.command(["HGET", .text(key), .text(field)]).text.flatMap(RequestRecord.init)
  }

  /// Where the event's lines stand, by their numbers, but for those that never kept anybody waiting.
  package func marks(event: Int) async throws -> [Int: LineMark] {
    try await markTexts(event: event).compactMapValues(LineMark.init)
  }

  /// The same, as they are stored.
  package func markTexts(event: Int) async throws -> [Int: String] {
    try await byLine(EventKeys(event).marks)
  }

  private func byLine(_ key: String) async throws -> [Int: String] {
    let answer = try await redis.command(["HGETALL", .text(key)])
    var values: [Int: String] = [:]
    for (line, text) in Self.fields(answer.array ?? []) {
      if let line = Int(line) { values[line] = text }
    }
    return values
  }

  /// Bit i, most significant first, is set when position i has a record or waits alone, whatever its line says.
  package func placesApart(event: Int) async throws -> [UInt8] {
    if case .string(let bytes) = try await redis.command(["GET", .text(EventKeys(event).away)]) {
      bytes
    } else {
      []
    }
  }

  /// The line in which a user waits with this place; `nil` where they have another by now, or none is known.
  package func line(event: Int, position: Int, userKey: String) async throws -> Int? {
    let key = EventKeys(event).user(userKey)
    let entry = try await redis.command(["HGET", .text(key), .text(userKey)]).text
    guard let remembered = entry.flatMap({ RememberedUser(key: userKey, entry: $0) }),
      remembered.live == position
    else {
      return nil
    }
    return remembered.line
  }

  /// Bit i, most significant first, is set when ticket i is not free. `nil` before the first owner loaded it.
  package func unavailableTickets(event: Int) async throws -> [UInt8]? {
    if case .string(let bytes) = try await redis.command(["GET", .text(EventKeys(event).bitmap)]) {
      bytes
    } else {
      nil
    }
  }

  // MARK: Operator

  /// Changes the settings of the event's queue, unless it has later ones already.
  ///
  /// A queue is created with a generation that was never used before: take a new one from PostgreSQL for every
  /// call that may create, and do not repeat such a call. `EventStore` does.
  /// - Parameter restoreMilliseconds: for how long a line that is created takes in only those who were in the one that
  ///   was lost, at least (`RejoinWindow`); 0 for one that takes everybody at once.
  /// - Returns: the generation of the queue, or `nil` where there is none and `create` is false.
  @discardableResult
  package func configure(
    _ event: EventSettings, create: Bool = true, restoreMilliseconds: Int = 0
  ) async throws -> Int? {
    do {
      let values = try await call(
        "onsale_configure", event.id,
        [
          .integer(event.generation), .text(event.state), .integer(event.queueLimit),
          .integer(event.perUserLimit),
          .integer(event.holdSeconds * 1000), event.rate.map { .integer($0) } ?? "", .text(event.message),
          .integer(event.version), create ? "1" : "0",
        ] + RejoinWindow(shortestMilliseconds: restoreMilliseconds).arguments + [
          .integer(event.stoodMilliseconds), event.standingMilliseconds.map { .integer($0) } ?? "",
          event.isCancelled ? "2" : event.isStopped ? "1" : "0",
        ])
      return values.count > 1 ? Self.number(values[1]) : nil
    } catch let error as StoreError where error.code == .noQueue {
      return nil
    }
  }

  /// The version of the settings that each queue of the partition has.
  package func settingsVersions(_ partition: Partition) async throws -> [Int: Int] {
    let alive = Set(try await liveEvents(partition))
    let answer = try await redis.command(["HGETALL", .text(partition.settings)])
    var versions: [Int: Int] = [:]
    for (event, version) in Self.fields(answer.array ?? []) {
      if let event = Int(event), alive.contains(event) { versions[event] = Int(version) ?? 0 }
    }
    return versions
  }

  package func liveEvents(_ partition: Partition) async throws -> [Int] {
    let answer = try await redis.command(["SMEMBERS", .text(partition.events)])
    return (answer.array ?? []).map(Self.number)
  }

  /// Notes what buyers own already, before the event's queue is made anew.
  package func remember(event: Int, owned: [(user: String, tickets: Int)]) async throws {
    for start in stride(from: 0, to: owned.count, by: 1_000) {
      let batch = owned[start..<min(start + 1_000, owned.count)]
      _ = try await call(
        "onsale_remember", event, batch.flatMap { [.text(UserKey($0.user).text), .integer($0.tickets)] })
    }
  }

  // MARK: Owner of a partition

  /// No lease and no claim in Redis lasts longer. One that does is of a clock that has gone back since.
  package nonisolated static let longestLeaseMilliseconds = 60_000

  package func acquireLease(_ partition: Partition, worker: String, milliseconds: Int) async throws -> Bool {
    try await redis.call(
      "onsale_lease", keys: [partition.lease], [.text(worker), .integer(milliseconds)]
    ).integer == 1
  }

  package func releaseLease(_ partition: Partition, worker: String) async throws {
    _ = try await redis.call("onsale_release_lease", keys: [partition.lease], [.text(worker)])
  }

  /// Who holds each partition's lease, in the order of the partitions.
  package func leaseHolders() async throws -> [String?] {
    // A call for each: in a cluster partitions live on different nodes.
    var holders: [String?] = []
    for partition in Partition.all {
      let values = try await redis.commands([
        ["GET", .text(partition.lease)], ["PTTL", .text(partition.lease)],
      ])
      let isOfAnotherTime = Self.number(values[1]) > Self.longestLeaseMilliseconds
      holders.append(isOfAnotherTime ? nil : values[0].text)
    }
    return holders
  }

  /// Makes `epoch` the partition's epoch in Redis. False when a newer owner did so already.
  package func own(_ partition: Partition, epoch: Int) async throws -> Bool {
    try await redis.call("onsale_own", keys: [partition.epoch], [.integer(epoch)]).integer == 1
  }

  package struct LoadedQueue: Sendable {
    package let state: String
    package let generation: Int
    package let head: Int
    package let tail: Int
    package let rate: Int?
    package let isSoldOut: Bool
    /// How many places of an earlier life were taken up again in this one.
    package let rejoined: Int
    /// Whether there is a line for each wish, and not one for all, as the version before has it: see `split`.
    package let isSplit: Bool
    /// Lines with somebody whom the head has passed, and the last one served of each.
    package let waiting: [Int: LinePlace]
  }

  /// What a new owner starts from. Read it, and then the holds, before the sold tickets are read from PostgreSQL: a ticket
  /// sold in between is then held or sold, never free.
  /// - Parameter load: names this load; calls with another one's name are refused from now on.
  package func takeOver(event: Int, epoch: Int, load: Int = 0) async throws -> LoadedQueue {
    let values = try await call("onsale_take_over", event, [.integer(epoch), .integer(load)])
    let text = values.map { $0.text ?? "" }
    guard text.count >= 10 else { throw StoreError(.unexpectedAnswer, "onsale_take_over") }
    let marks = (values[9].array ?? []).map(Self.number)
    var waiting: [Int: LinePlace] = [:]
    for index in stride(from: 0, to: marks.count - 2, by: 3) {
      waiting[marks[index]] = LinePlace(position: marks[index + 1], ordinal: marks[index + 2])
    }
    return LoadedQueue(
      state: text[1], generation: Int(text[2]) ?? 0, head: Int(text[3]) ?? 0, tail: Int(text[4]) ?? 0,
      rate: Int(text[5]), isSoldOut: text[6] == "1", rejoined: Self.number(values[7]),
      isSplit: text[8] == "1", waiting: waiting)
  }

  /// Brings those who stand in the one line of the version before into those of their wishes, in steps, until nobody is
  /// left there. From then on that version serves the event no more.
  package func split(event: Int, epoch: Int, load: Int) async throws {
    while true {
      let answer = try await redis.command([
        "XRANGE", .text(EventKeys(event).queue), "-", "+", "COUNT", .integer(Self.splitAtOnce),
      ])
      var arguments: [RedisArgument] = [Self.fence(epoch, load)]
      for value in answer.array ?? [] {
        guard let parts = value.array, parts.count == 2, let id = parts[0].text, let fields = parts[1].array
        else { continue }
        let values = Self.fields(fields), user = values["u"] ?? ""
        arguments += [
          .text(String(id.prefix { $0 != "-" })), .text(values["r"] ?? ""), .text(user),
          .text(UserKey(user).text),
        ]
      }
      let left = try await call("onsale_split", event, arguments)
      if left.count > 1, Self.number(left[1]) == 0 { return }
      try Task.checkCancellation()
    }
  }

  private static let splitAtOnce = 500
  private static let membersAtOnce = 1_000

  /// The tickets of all holds, read in steps. What changes meanwhile is in the feedback.
  package func heldTickets(event: Int) async throws -> [Int] {
    let keys = EventKeys(event)
    var held: [Int] = []
    try await scan("ZSCAN", keys.holds) { members in
      var buckets: [String: [RedisArgument]] = [:]
      for index in stride(from: 0, to: members.count - 1, by: 2) {
        guard let position = members[index].text.flatMap({ Int($0) }) else { continue }
        let (key, field) = keys.record(position)
        buckets[key, default: []].append(.text(field))
      }
      let answers = try await pipelined(buckets.map { ["HMGET", .text($0.key)] + $0.value })
      for value in answers.flatMap({ $0.array ?? [] }) {
        guard let record = value.text.flatMap(RequestRecord.init), record.holdsTickets else { continue }
        held += record.tickets
      }
    }
    return held
  }

  /// Reads what may be large in steps, each of which may tell again what one before it told.
  func scan(
    _ command: String, _ key: String, _ body: @LoopActor (_ members: [RedisValue]) async throws -> Void
  ) async throws {
    var cursor = "0"
    repeat {
      let answer = try await redis.command([
        .text(command), .text(key), .text(cursor), "COUNT", .integer(Self.membersAtOnce),
      ])
      guard let parts = answer.array, parts.count == 2, let next = parts[0].text,
        let members = parts[1].array
      else { throw StoreError(.unexpectedAnswer, command) }
      cursor = next
      try await body(members)
    } while cursor != "0"
  }

  /// What is wished for in each line, by its number.
  package func wishes(event: Int) async throws -> [Int: String] {
    try await byLine(EventKeys(event).wishes)
  }

  static func fence(_ epoch: Int, _ load: Int?) -> RedisArgument {
    load.map { .text("\(epoch):\($0)") } ?? .integer(epoch)
  }

  /// Ends a queue that is an older copy of itself: at once for everybody, and then lets go of its seats in steps, one a
  /// call. Harmless to repeat, and where it was made anew since.
  /// - Parameter epoch: the owner's who says so, and who may have been replaced: `StoreError` `staleEpoch`. `nil` for who
  ///   compares what Redis says with nothing but what it said before.
  /// - Returns: whether it still has seats to let go of: its owner calls again before it removes what is left.
  @discardableResult
  package func markLost(event: Int, generation: Int, epoch: Int? = nil, load: Int? = nil) async throws -> Bool
  {
    let values = try await call(
      "onsale_forsake", event, [.integer(generation), epoch.map { Self.fence($0, load) } ?? ""])
    return values.count > 1 && values[1].integer == 1
  }

  /// Ends the queues that are older copies of themselves, as far as this store has given out places of theirs. For when
  /// Redis was away: another process may give out the same places before this one gives out its next.
  package func markOlderCopiesLost() async throws {
    for (event, line) in lines.lines where !line.isLost {
      guard let document = try await document(event: event), document.generation == line.generation,
        document.tail < line.position
      else { continue }
      lines.lose(event: event)
      try await markLost(event: event, generation: line.generation)
    }
  }

  package func publishMap(
    event: Int, epoch: Int, load: Int? = nil, bitmap: [UInt8], free: Int, held: Int, sold: Int,
    reopened: Bool, ticketsVersion: Int = 0
  ) async throws {
    _ = try await call(
      "onsale_publish_map", event,
      [
        Self.fence(epoch, load), .bytes(bitmap), .integer(free), .integer(held), .integer(sold),
        reopened ? "1" : "0", .integer(ticketsVersion),
      ])
  }

  /// For a moment nothing is granted but from a map of this version of the tickets, or a later one.
  /// - Returns: tickets that somebody has until then, as a bitmap; `nil` where Redis has no queue for the event.
  package func barGrants(event: Int, ticketsVersion: Int) async throws -> [UInt8]? {
    do {
      let values = try await call("onsale_bar_grants", event, [.integer(ticketsVersion)])
      guard values.count > 1, case .string(let bytes) = values[1] else {
        throw StoreError(.unexpectedAnswer, "onsale_bar_grants")
      }
      return bytes
    } catch let error as StoreError where error.code == .noQueue {
      return nil
    }
  }

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

  /// Those behind `position`, over all lines but some, in the order of their positions, at most `limit`.
  package func next(
    event: Int, after position: Int, without lines: some Sequence<Int> = [], limit: Int
  ) async throws -> NextInLine {
    let left = lines.map(String.init).joined(separator: ",")
    let values = try await call("onsale_read", event, [.integer(position), .integer(limit), .text(left)])
    guard values.count >= 4, let list = values[3].array else {
      throw StoreError(.unexpectedAnswer, "onsale_read")
    }
    var entries: [Entry] = []
    entries.reserveCapacity(list.count / 4)
    for index in stride(from: 0, to: list.count - 3, by: 4) {
      guard
        let entry = Entry(
          id: list[index].text, line: Self.number(list[index + 1]), payload: list[index + 2].text ?? "",
          user: list[index + 3].text ?? "")
      else { continue }
      entries.append(entry)
    }
    return NextInLine(entries: entries, tail: Self.number(values[1]), isAll: values[2].integer == 1)
  }

  /// Those in each of these lines behind a place, in order, at most so many of each.
  package func entries(
    event: Int, of lines: [(line: Int, after: LinePlace, atMost: Int)]
  ) async throws -> [[Entry]] {
    let keys = EventKeys(event)
    let answers = try await pipelined(
      lines.map { line in
        [
          "XRANGE", .text(keys.line(line.line)), .text("\(line.after.position + 1)-0"), "+", "COUNT",
          .integer(line.atMost),
        ]
      })
    return zip(lines, answers).map { line, answer in
      (answer.array ?? []).compactMap { value in
        guard let parts = value.array, parts.count == 2, let fields = parts[1].array else { return nil }
        let values = Self.fields(fields)
        return Entry(
          id: parts[0].text, line: line.line, payload: values["r"] ?? "", user: values["u"] ?? "")
      }
    }
  }

  /// Those who kept a place after the end of their line, and wait alone.
  package func alone(event: Int) async throws -> [Arrival] {
    let answer = try await redis.command([
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

  /// Where the event stands after a batch.
  package struct LineSnapshot: Sendable {
    package var head: Int
    /// As the owner saw it: whoever came since has not been looked at.
    package var tail: Int
    package var isSoldOut: Bool
    package var free: Int
    package var held: Int
    package var sold: Int
    package var grantedPerSecond: Double
    /// The owner stops reading now and wants to be woken by the next join.
    package var isIdle: Bool

    package init(
      head: Int, tail: Int, isSoldOut: Bool, free: Int, held: Int, sold: Int, grantedPerSecond: Double,
      isIdle: Bool
    ) {
      self.head = head
      self.tail = tail
      self.isSoldOut = isSoldOut
      self.free = free
      self.held = held
      self.sold = sold
      self.grantedPerSecond = grantedPerSecond
      self.isIdle = isIdle
    }
  }

  package enum CommitAnswer: Sendable {
    /// Written, except for `skipped`, who left since they were read: their tickets stay free.
    case written(skipped: [Int])
    /// Nothing was written: these tickets are locked by somebody the owner does not know of.
    case conflict(tickets: [Int])
  }

  /// Writes a plan down: decisions, ends of lines and where they stand, all at once.
  package func commit(
    event: Int, epoch: Int, load: Int? = nil, snapshot: LineSnapshot, plan: ReservePlanner.Plan
  ) async throws -> CommitAnswer {
    let marks = plan.marks.map { line, served in
      served.map { "\(line):\($0.position):\($0.ordinal)" } ?? "\(line)::"
    }
    let ends = plan.ends.map { end in
      "\(end.line)/\(end.after ?? 0)/\(end.refusal.left ?? 0)/\(end.refusal.reason)"
    }
    var arguments: [RedisArgument] = [
      Self.fence(epoch, load), .integer(snapshot.head), .integer(snapshot.tail),
      snapshot.isSoldOut ? "1" : "0", .integer(snapshot.free), .integer(snapshot.held),
      .integer(snapshot.sold), .text("\(snapshot.grantedPerSecond)"), snapshot.isIdle ? "1" : "0",
      .text(marks.joined(separator: ",")), .text(ends.joined(separator: ",")),
    ]
    arguments.reserveCapacity(11 + plan.decisions.count * 9)
    for decision in plan.decisions {
      var kind: RedisArgument, tickets = "", amount = 0, last = ""
      switch decision.outcome {
      case .granted(let ids, let price):
        (kind, tickets, amount, last) = (
          plan.isOutOfTurn ? "A" : "G", Self.text(ids), price, Self.payment(decision.arrival)
        )
      case .refused(let refusal):
        (kind, amount, last) = ("J", refusal.left ?? 0, Self.field(refusal.reason))
      }
      let arrival = decision.arrival
      arguments += [
        kind, .integer(arrival.position), .integer(arrival.ordinal), .integer(arrival.line),
        .text(UserKey(arrival.user).text), .text(tickets), .integer(amount), .text(last), .text(arrival.user),
      ]
    }
    let values = try await call("onsale_decide", event, arguments)
    let ids = values.count > 1 ? Self.tickets(values[1].text ?? "") : []
    return values[0].text == "conflict" ? .conflict(tickets: ids) : .written(skipped: ids)
  }

  package enum Feedback: Sendable {
    case released([Int])
    case sold([Int])
    /// PostgreSQL says these belong to somebody else: the owner's map is wrong.
    case lost([Int])
    /// Somebody kept a place after the end of their line, and waits alone: see `alone`.
    case kept(position: Int)
    /// And gave it up.
    case left(position: Int)
  }

  package struct Tick: Sendable {
    package let expired: [Int]
    package let feedback: [Feedback]
    package let state: String
    package let rate: Int?
    package let tail: Int
    /// The version of the settings that the queue has.
    package let version: Int
    /// Whether there is more to do by the next call: holds that have ended, tickets that came back, or places of a line that
    /// was lost.
    package let hasMore: Bool
    /// As in `LoadedQueue`.
    package let rejoined: Int
    package let waiting: Int
    /// How many ends wait to be noted: `ends`.
    package let waitingEnds: Int
    /// Whether only those come in who were in a line that was lost.
    package let isForReturning: Bool
    /// How many holds were shown that are not decided yet: `shownHolds`.
    package let shownHolds: Int
    /// How many payments came late and are not decided yet: `latePayments`.
    package let latePayments: Int
  }

  /// Returns what happened to tickets since the last call, and brings back a line that was lost, once those who were in
  /// it had time to come. In a process that calls `endHolds` that is all; in any other it also ends holds whose deadline
  /// has passed, of at most `limit` tickets.
  package func tick(event: Int, epoch: Int, load: Int? = nil, limit: Int) async throws -> Tick {
    let now = clock.now(Partition(of: event))
    let values = try await call(
      "onsale_tick", event, [Self.fence(epoch, load), .integer(limit), now.map { .integer($0) } ?? ""])
    guard values.count >= 10 else { throw StoreError(.unexpectedAnswer, "onsale_tick") }
    let news = values[2].array ?? []
    let feedback = news.compactMap { value -> Feedback? in
      guard let text = value.text, let kind = text.first else { return nil }
      let ids = Self.tickets(String(text.dropFirst()))
      switch kind {
      case "r": return .released(ids)
      case "s": return .sold(ids)
      case "c": return ids.first.map { .left(position: $0) }
      case "y": return ids.first.map { .kept(position: $0) }
      default: return .lost(ids)
      }
    }
    return Tick(
      expired: Self.tickets(values[1].text ?? ""), feedback: feedback, state: values[3].text ?? "",
      rate: values[4].text.flatMap { Int($0) }, tail: Self.number(values[5]),
      version: Self.number(values[6]), hasMore: values[7].integer == 1, rejoined: Self.number(values[8]),
      waiting: Self.number(values[9]), waitingEnds: values.count > 10 ? Self.number(values[10]) : 0,
      isForReturning: values.count > 11 && values[11].integer == 1,
      shownHolds: values.count > 12 ? Self.number(values[12]) : 0,
      latePayments: values.count > 13 ? Self.number(values[13]) : 0)
  }

  /// Keys that one `MGET` asks for: some tenths of a millisecond of Redis.
  private static let locksAtOnce = 1_000

  /// Which of these tickets are locked now.
  package func lockedTickets(event: Int, _ tickets: [Int]) async throws -> [Int] {
    let prefix = EventKeys(event).prefix
    var locked: [Int] = []
    for start in stride(from: 0, to: tickets.count, by: Self.locksAtOnce) {
      let some = tickets[start..<min(start + Self.locksAtOnce, tickets.count)]
      let answer = try await redis.command(["MGET"] + some.map { .text("\(prefix)l:\($0)") })
      locked += zip(some, answer.array ?? []).compactMap { $1 == .null ? nil : $0 }
    }
    return locked
  }

  /// Says that `worker` is alive for a while. - Returns: the names of all that are, sorted.
  package func announceWorker(_ worker: String, milliseconds: Int) async throws -> [String] {
    let answer = try await redis.call(
      "onsale_announce_worker", keys: [Partition.workers], [.text(worker), .integer(milliseconds)])
    return (answer.array ?? []).compactMap(\.text).sorted()
  }

  package func withdrawWorker(_ worker: String) async throws {
    _ = try await redis.command(["ZREM", .text(Partition.workers), .text(worker)])
  }

  // MARK: Confirmation stream

  /// The entry that is next to be taken, if there is one, and for how long it has waited.
  package func nextConfirmation(_ partition: Partition) async throws -> (id: String, milliseconds: Int)? {
    let answer = try await redis.call("onsale_next_confirmation", keys: [partition.confirmations], []).array
    guard let answer, answer.count == 2, let id = answer[0].text else { return nil }
    return (id, Self.number(answer[1]))
  }

  /// New confirmations of a partition for this worker, at most `limit`.
  package func takeConfirmations(_ partition: Partition, worker: String, limit: Int) async throws
    -> [Confirmation]
  {
    let answer = try await readStream(
      partition,
      [
        "XREADGROUP", "GROUP", "workers", .text(worker), "COUNT", .integer(limit), "STREAMS",
        .text(partition.confirmations), ">",
      ])
    return try await handOver(Self.confirmations(answer.array?.first?.array?.last), from: partition)
  }

  /// Brings entries that are in another partition's stream than their event's to the right one: only there are they ended.
  /// Killed in between, one is in both streams, which is harmless.
  /// - Returns: the others.
  private func handOver(_ taken: [Confirmation], from partition: Partition) async throws -> [Confirmation] {
    for stray in taken where Partition(of: stray.event) != partition {
      guard let id = stray.entryID else { continue }
      let home = Partition(of: stray.event)
      _ = try await redis.command(["XADD", .text(home.confirmations), "*"] + Self.entry(stray))
      _ = try await redis.command(["XACK", .text(partition.confirmations), "workers", .text(id)])
      _ = try await redis.command(["XDEL", .text(partition.confirmations), .text(id)])
      _ = try await redis.command(["PUBLISH", .text(home.confirmWakes), ""])
    }
    return taken.filter { Partition(of: $0.event) == partition }
  }

  /// Takes over confirmations that a worker has had for longer than `idleMilliseconds`.
  /// - Parameter from: where an earlier call stopped looking.
  /// - Returns: what was taken over, and where to go on: Redis looks at ten times `limit` entries, whoever has them, and
  ///   says `nil` when it was through.
  package func claimConfirmations(
    _ partition: Partition, worker: String, idleMilliseconds: Int, limit: Int, from: String? = nil
  ) async throws -> (taken: [Confirmation], next: String?) {
    let answer = try await readStream(
      partition,
      [
        "XAUTOCLAIM", .text(partition.confirmations), "workers", .text(worker), .integer(idleMilliseconds),
        .text(from ?? "0-0"), "COUNT", .integer(limit),
      ])
    guard let parts = answer.array, parts.count >= 2 else { return ([], nil) }
    let taken = try await handOver(Self.confirmations(parts[1]), from: partition)
    return (taken, parts[0].text == "0-0" ? nil : parts[0].text)
  }

  /// Says that `worker` is still at these entries, so that nobody takes them over.
  /// - Parameters:
  ///   - deliveries: how often they count as delivered.
  ///   - silentMilliseconds: for how long the worker is taken to have said nothing: whoever waits no longer than that
  ///     may take them over at once.
  package func keepConfirmations(
    _ partition: Partition, worker: String, ids: [String], deliveries: Int, silentMilliseconds: Int = 0
  ) async throws {
    _ = try await redis.command(
      ["XCLAIM", .text(partition.confirmations), "workers", .text(worker), "0"] + ids.map { .text($0) } + [
        "IDLE", .integer(silentMilliseconds), "RETRYCOUNT", .integer(deliveries), "JUSTID",
      ])
  }

  /// Forgets workers that left nothing pending and were not heard of for so long. One that is alive comes back by itself.
  package func forgetConsumers(_ partition: Partition, idleMilliseconds: Int) async throws {
    _ = try await redis.call(
      "onsale_forget_consumers", keys: [partition.confirmations], [.integer(idleMilliseconds)])
  }

  /// Forgets a consumer that has nothing pending any more.
  package func retireConsumer(_ partition: Partition, worker: String) async throws {
    let pending = try await redis.command([
      "XPENDING", .text(partition.confirmations), "workers", "-", "+", "1", .text(worker),
    ])
    guard (pending.array ?? []).isEmpty else { return }
    _ = try await redis.command([
      "XGROUP", "DELCONSUMER", .text(partition.confirmations), "workers", .text(worker),
    ])
  }

  /// How often each pending entry was delivered, by its id.
  package func deliveries(_ partition: Partition, worker: String, limit: Int) async throws -> [String: Int] {
    let answer = try await redis.command([
      "XPENDING", .text(partition.confirmations), "workers", "-", "+", .integer(limit), .text(worker),
    ])
    var counts: [String: Int] = [:]
    for value in answer.array ?? [] {
      if let parts = value.array, parts.count == 4, let id = parts[0].text {
        counts[id] = Self.number(parts[3])
      }
    }
    return counts
  }

  /// Moves an entry that keeps failing out of the stream, for `onsale admin dead-letters`.
  package func bury(_ confirmation: Confirmation, reason: String) async throws {
    guard let id = confirmation.entryID else { return }
    let partition = Partition(of: confirmation.event)
    _ = try await redis.command(
      ["XADD", .text(partition.deadLetters), "MAXLEN", "~", "100000", "*"] + Self.entry(confirmation)
        + ["reason", .text(reason)])
    _ = try await redis.command(["XACK", .text(partition.confirmations), "workers", .text(id)])
    _ = try await redis.command(["XDEL", .text(partition.confirmations), .text(id)])
  }

  package func deadLetters(_ partition: Partition, limit: Int) async throws -> [(
    id: String, fields: [String: String]
  )] {
    let answer = try await redis.command([
      "XRANGE", .text(partition.deadLetters), "-", "+", "COUNT", .integer(limit),
    ])
    return (answer.array ?? []).compactMap { value in
      guard let parts = value.array, parts.count == 2, let id = parts[0].text, let fields = parts[1].array
      else { return nil }
      return (id, Self.fields(fields))
    }
  }

  /// Puts a dead letter back into its stream. False if it is not there any more.
  package func requeue(_ partition: Partition, deadLetter id: String) async throws -> Bool {
    let answer = try await redis.command(["XRANGE", .text(partition.deadLetters), .text(id), .text(id)])
    guard let fields = answer.array?.first?.array?.last?.array else { return false }
    let kept = Self.fields(fields).filter { $0.key != "reason" }
    _ = try await redis.command(
      ["XADD", .text(partition.confirmations), "*"] + kept.flatMap { [.text($0.key), .text($0.value)] })
    _ = try await redis.command(["XDEL", .text(partition.deadLetters), .text(id)])
    _ = try await redis.command(["PUBLISH", .text(partition.confirmWakes), ""])
    return true
  }

  /// How a payment ended, for the poller; acknowledges the stream's entry in the same step.
  package struct Ending: Sendable {
    package enum Outcome: String, Sendable {
      case purchased = "P"
      case declined = "D"
      /// PostgreSQL gave the tickets to somebody else; nothing was charged.
      case lost = "X"
      /// Not to be sold to this user; the tickets are nobody's, and nothing was charged.
      case refused = "J"
    }
    package let confirmation: Confirmation
    package let outcome: Outcome
    package let reason: String
    /// What was bought, as PostgreSQL has it.
    package let tickets: [Int]

    /// - Parameter tickets: of the purchase; where that has none, what was to be bought counts.
    package init(
      _ confirmation: Confirmation, _ outcome: Outcome, reason: String = "", tickets: [Int] = []
    ) {
      self.confirmation = confirmation
      self.outcome = outcome
      self.reason = reason
      self.tickets = tickets.isEmpty ? confirmation.tickets : tickets
    }
  }

  /// Tickets that one call tells of, but for those of its last request: some milliseconds of Redis.
  package static let ticketsFinishedAtOnce = 500

  /// - Parameter endings: all of one event. Of many tickets they take several calls, each of which is atomic.
  package func finish(event: Int, _ endings: [Ending]) async throws {
    var rest = endings[...]
    while !rest.isEmpty {
      var count = 0, tickets = 0
      for ending in rest where tickets < Self.ticketsFinishedAtOnce {
        count += 1
        tickets += ending.tickets.count
      }
      try await finish(event: event, atOnce: rest.prefix(count))
      rest = rest.dropFirst(count)
    }
  }

  private func finish(event: Int, atOnce endings: ArraySlice<Ending>) async throws {
    let arguments = endings.flatMap { ending -> [RedisArgument] in
      [
        .text(ending.outcome.rawValue), .integer(ending.confirmation.position),
        .integer(ending.confirmation.attempt), .text(Self.field(ending.reason)),
        .text(ending.confirmation.entryID ?? ""),
        .text(
          "\(ending.confirmation.generation):\(UserKey(ending.confirmation.user).text):"
            + Self.text(ending.tickets)),
      ]
    }
    _ = try await call("onsale_finish", event, arguments)
  }

  /// Forgets an entry that needs no answer: a later attempt of the same buyer is under way.
  package func acknowledge(_ confirmation: Confirmation) async throws {
    guard let id = confirmation.entryID else { return }
    let stream = Partition(of: confirmation.event).confirmations
    _ = try await redis.command(["XACK", .text(stream), "workers", .text(id)])
    _ = try await redis.command(["XDEL", .text(stream), .text(id)])
  }

  // MARK: Encoding

  /// What a wish's entry says: the seats, `m` and the most that they may cost, `c` and the client behind that, and a payment
  /// method behind a blank. What is behind `m` a version that does not know it leaves to one that does.
  static func payload(
    _ seats: RequestedSeats, _ method: String?, _ client: String = "", _ maxAmount: Int?
  ) -> String {
    let client = method == nil || client.isEmpty ? "" : "c" + client
    let limits = maxAmount == nil && client.isEmpty ? "" : "m" + (maxAmount.map(String.init) ?? "") + client
    return seats.encoded + limits + (method.map { " " + $0 } ?? "")
  }

  /// How who pays at once does, and where they came from.
  private static func payment(_ arrival: Arrival) -> String {
    guard let method = arrival.method else { return "" }
    return arrival.client.isEmpty ? method : method + " " + arrival.client
  }

  /// Short, and different for each user: a key is its sender's own.
  static func name(_ idempotencyKey: String?, of user: String) -> String {
    idempotencyKey.map { UserKey("\(user)\n\($0)").text } ?? ""
  }

  /// Text for a record: neither the records' own separators nor that of their archive.
  static func field(_ text: String) -> String {
    text.replacing("|", with: " ").replacing("\n", with: " ").replacing("@", with: " ")
  }

  private static func confirmations(_ entries: RedisValue?) -> [Confirmation] {
    (entries?.array ?? []).compactMap { value in
      guard let parts = value.array, parts.count == 2, let id = parts[0].text, let list = parts[1].array
      else {
        return nil
      }
      let fields = fields(list)
      guard let event = fields["e"].flatMap({ Int($0) }), let position = fields["p"].flatMap({ Int($0) })
      else {
        return nil
      }
      return Confirmation(
        entryID: id, event: event, generation: fields["g"].flatMap { Int($0) } ?? 0, position: position,
        attempt: fields["t"].flatMap { Int($0) } ?? 0, tickets: tickets(fields["k"] ?? ""),
        amount: fields["a"].flatMap { Int($0) } ?? 0, method: fields["m"] ?? "", user: fields["u"] ?? "",
        wish: fields["l"].flatMap { WishPlace($0) }, client: fields["c"] ?? "",
        latePayment: fields["z"].flatMap { $0.isEmpty ? nil : $0 },
        otherSeats: OtherSeats(field: fields["y"] ?? ""))
    }
  }

  /// What `confirmations` reads.
  private static func entry(_ confirmation: Confirmation) -> [RedisArgument] {
    [
      "e", .integer(confirmation.event), "g", .integer(confirmation.generation), "p",
      .integer(confirmation.position), "t", .integer(confirmation.attempt), "k",
      .text(text(confirmation.tickets)), "a", .integer(confirmation.amount), "m", .text(confirmation.method),
      "u",
      .text(confirmation.user), "l", .text(confirmation.wish?.text ?? ""), "c", .text(confirmation.client),
      "z", .text(confirmation.latePayment ?? ""), "y", .text(confirmation.otherSeats.field),
    ]
  }

  static func fields(_ list: [RedisValue]) -> [String: String] {
    var fields: [String: String] = [:]
    for index in stride(from: 0, to: list.count - 1, by: 2) {
      if let name = list[index].text { fields[name] = list[index + 1].text ?? "" }
    }
    return fields
  }

  static func number(_ value: RedisValue) -> Int {
    value.integer ?? value.text.flatMap { Int($0) } ?? 0
  }

  nonisolated static func tickets(_ text: String) -> [Int] {
    text.split(separator: ",").compactMap { Int($0) }
  }

  nonisolated static func text(_ tickets: [Int]) -> String {
    tickets.map(String.init).joined(separator: ",")
  }
}
