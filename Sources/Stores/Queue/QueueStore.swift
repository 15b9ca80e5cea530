package import EventLoop
package import Redis
import Sale
import StoreCommon

/// Events' queues, holds and request records in Redis, in the domain's words: the connection, what this process remembers, and
/// the door to what each of its users calls.
///
/// Every method of its parts is one round trip and atomic, where it says nothing else. Errors are `RedisError`, or
/// `StoreError` where Redis refused.
@LoopActor
package final class QueueStore {
  package let redis: RedisClient
  /// What time it is for holds, as far as this process has looked.
  package let clock = QueueClock()
  let lines = LineMemory()
  /// Those who come back to a line that was lost, as many at a time as ask at once.
  private(set) lazy var returns = GroupCommit<BuyersLine.Returning, BuyersLine.EnqueueAnswer?>(
    maximumBatch: BuyersLine.returnsAtOnce, capacity: BuyersLine.returnsWaiting
  ) { [unowned self] in await buyers.takeIn($0) }

  package init(_ redis: RedisClient) { self.redis = redis }

  // MARK: Parts, each a reference to this

  package var buyers: BuyersLine { BuyersLine(store: self) }
  package var reader: QueueReader { QueueReader(store: self) }
  package var settings: QueueSettings { QueueSettings(store: self) }
  package var leases: QueueLeases { QueueLeases(store: self) }
  package var holds: QueueHolds { QueueHolds(store: self) }
  package var waiting: WaitingLines { WaitingLines(store: self) }
  package var confirmations: ConfirmationStream { ConfirmationStream(store: self) }
  package var latePayments: LatePayments { LatePayments(store: self) }
  package var deadLetters: DeadLetters { DeadLetters(store: self) }
  package var inspection: QueueInspection { QueueInspection(store: self) }
  package var repairs: QueueRepairs { QueueRepairs(store: self) }
  package var comparison: StoreComparison { StoreComparison(store: self) }
  package var news: QueueNews { QueueNews(store: self) }
  package var refreshes: RefreshClaims { RefreshClaims(store: self) }

  /// The event's queue in the hands of an owner.
  /// - Parameters:
  ///   - epoch: the owner's fencing number.
  ///   - load: names what its memory is from; `nil` where the epoch alone is to be compared.
  package func owned(event: Int, epoch: Int, load: Int? = nil) -> OwnedQueue {
    OwnedQueue(store: self, event: event, epoch: epoch, load: load)
  }

  // MARK: The function library

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

  static func makeGroup(_ partition: Partition, _ redis: RedisClient) async throws {
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

  // MARK: Calls

  func call(_ function: String, _ event: Int, _ arguments: [RedisArgument]) async throws -> [RedisValue] {
    let answer = try await redis.call(function, keys: [EventKeys(event).meta], arguments)
    guard let values = answer.array, let word = values.first?.text else {
      throw StoreError(.unexpectedAnswer, function)
    }
    if word == "stale" { throw StoreError(.staleEpoch, function) }
    if word == "missing" { throw StoreError(.noQueue, "event \(event)") }
    return values
  }

  /// Commands that one batch sends at once; the connection pipelines them.
  private static let commandsInFlight = 64

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

  private static let membersAtOnce = 1_000

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

  /// Values by the number of a line.
  func byLine(_ key: String) async throws -> [Int: String] {
    let answer = try await redis.command(["HGETALL", .text(key)])
    var values: [Int: String] = [:]
    for (line, text) in Self.fields(answer.array ?? []) {
      if let line = Int(line) { values[line] = text }
    }
    return values
  }
}
