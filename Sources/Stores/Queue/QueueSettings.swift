package import EventLoop
import Redis
package import Sale
import StoreCommon

/// What operators and organizers say of an event, in its queue.
@LoopActor
package struct QueueSettings {
  let store: QueueStore

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
      let values = try await store.call(
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
      return values.count > 1 ? QueueStore.number(values[1]) : nil
    } catch let error as StoreError where error.code == .noQueue {
      return nil
    }
  }

  /// The version of the settings that each queue of the partition has.
  package func versions(_ partition: Partition) async throws -> [Int: Int] {
    let alive = Set(try await store.reader.liveEvents(partition))
    let answer = try await store.redis.command(["HGETALL", .text(partition.settings)])
    var versions: [Int: Int] = [:]
    for (event, version) in QueueStore.fields(answer.array ?? []) {
      if let event = Int(event), alive.contains(event) { versions[event] = Int(version) ?? 0 }
    }
    return versions
  }

  /// Notes what buyers own already, before the event's queue is made anew.
  package func remember(event: Int, owned: [(user: String, tickets: Int)]) async throws {
    for start in stride(from: 0, to: owned.count, by: 1_000) {
      let batch = owned[start..<min(start + 1_000, owned.count)]
      _ = try await store.call(
        "onsale_remember", event, batch.flatMap { [.text(UserKey($0.user).text), .integer($0.tickets)] })
    }
  }

  /// For a moment nothing is granted but from a map of this version of the tickets, or a later one.
  /// - Returns: tickets that somebody has until then, as a bitmap; `nil` where Redis has no queue for the event.
  package func barGrants(event: Int, ticketsVersion: Int) async throws -> [UInt8]? {
    do {
      let values = try await store.call("onsale_bar_grants", event, [.integer(ticketsVersion)])
      guard values.count > 1, case .string(let bytes) = values[1] else {
        throw StoreError(.unexpectedAnswer, "onsale_bar_grants")
      }
      return bytes
    } catch let error as StoreError where error.code == .noQueue {
      return nil
    }
  }
}
