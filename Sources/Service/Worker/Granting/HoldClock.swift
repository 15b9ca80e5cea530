import EventLoop
import FaultInjection
import Logging
import Metrics
import Queue
import Redis
import Sale
import StoreCommon

/// Ends holds whose time is over, by Redis alone: neither a seat map nor PostgreSQL nor the provider is waited for, so
/// none of them lets a hold outlive its deadline. Owners of seat maps learn of it as they do of cancellations.
///
/// It also notices that Redis's clock has stepped, by the process's own that nobody sets, and has the partition's clock
/// go on as before: holds are as long as their buyers were told.
@LoopActor
final class HoldClock {
  private static let tickMilliseconds: UInt64 = 250
  /// How often others' partitions are looked at too, by somebody: their owners may stand still, or have none.
  private static let othersMilliseconds: UInt64 = 500
  /// After a new connection to Redis what it lost is looked for first, by whoever loads a seat map. Not for longer: that
  /// may take PostgreSQL, which may be away.
  private static let headStartMilliseconds: UInt64 = 400
  /// Tickets that one call frees: a third of what stops Redis for 20 ms when each is a hold of its own.
  private static let limit = 400
  /// Holds whose locks one call renews.
  private static let locks = 500
  /// Two looks at a clock that has stepped differ by less.
  private static let agreementMilliseconds = 1_000
  /// For so long a step of the clock of others' partitions is left to their owner: longer than it takes until there is one.
  private static let ownersMilliseconds: UInt64 = 30_000

  private let queue: QueueStore
  private let leases: PartitionLeases
  private let logger: Logger
  /// Under way, one for each partition at most.
  private var turns: [Partition: Task<Void, Never>] = [:]
  private var lookedAt: [Partition: UInt64] = [:]
  private var steppedAt: [Partition: UInt64] = [:]
  private let steps = MetricsRegistry.shared.counter(
    "onsale_redis_clock_steps_total", "Steps of Redis's clock that were noticed, once a partition")

  init(queue: QueueStore, leases: PartitionLeases, logger: Logger) {
    self.queue = queue
    self.leases = leases
    self.logger = logger
  }

  /// Runs until cancelled. Errors end a partition's turn, not the loop.
  func run() async {
    while !Task.isCancelled {
      if queue.redis.isReady {
        // All at once, so that they go out together: one after the other a busy Redis would be late for the last.
        for partition in Partition.all where turns[partition] == nil && isDue(partition) {
          lookedAt[partition] = EventLoop.shared.now
          turns[partition] = Task { @LoopActor in
            await takeTurn(partition)
            turns[partition] = nil
          }
        }
      }
      do { try await sleep(milliseconds: Self.tickMilliseconds) } catch { break }
    }
    for turn in turns.values { await turn.value }
  }

  private func takeTurn(_ partition: Partition) async {
    do {
      if queue.clock.now(partition) == nil {
        // What time it is must be known before it can be seen that it is not.
        try await Faults.point(.holdsEnd) { try await queue.reader.lookAtClock(partition, within: 0) }
      } else if EventLoop.shared.now >= queue.redis.readySince + Self.headStartMilliseconds {
        try await look(at: partition)
      }
      logger.worksAgain("holds could not be ended")
    } catch {
      logger.retrying("holds could not be ended", ["error": "\(error)"])
    }
  }

  private func isDue(_ partition: Partition) -> Bool {
    if leases.owns(partition) { return true }
    // All workers together look that often, however many they are.
    let pause = Self.othersMilliseconds * UInt64(max(1, leases.aliveCount))
    return EventLoop.shared.now >= (lookedAt[partition] ?? 0) + .random(in: pause / 2...pause)
  }

  private func look(at partition: Partition) async throws {
    var next: String?, doubt: Int?
    repeat {
      let askedAt = EventLoop.shared.now
      let from = next
      let answer = try await Faults.point(.holdsEnd) {
        try await queue.holds.end(partition, from: from, limit: Self.limit)
      }
      switch answer {
      case .ended(let further):
        steppedAt[partition] = nil
        next = further
      case .stepped(let seen):
        // What was long on its way has met a later time, and says nothing.
        guard QueueClock.isPrompt(askedAt), let known = queue.clock.now(partition) else { return }
        let difference = seen - known
        guard let before = doubt, abs(difference - before) < Self.agreementMilliseconds else {
          // Asked twice, before anything is changed.
          if doubt != nil { return }
          doubt = difference
          next = from ?? "0"
          continue
        }
        return try await putRight(partition, by: difference, seen: seen)
      }
    } while next != nil
  }

  /// The partition's clock goes on as if Redis's had not stepped.
  private func putRight(_ partition: Partition, by difference: Int, seen: Int) async throws {
    guard let epoch = leases.epoch(of: partition) else {
      // Its owner's to do. One that is not there leaves it to Redis what time it is.
      let now = EventLoop.shared.now
      let since = steppedAt[partition] ?? now
      steppedAt[partition] = since
      if now >= since + Self.ownersMilliseconds { queue.clock.forget(partition) }
      return
    }
    do {
      let isDone = try await Faults.point(.holdsClock) {
        try await queue.holds.setClock(partition, epoch: epoch, forwardBy: -difference, seen: seen)
      }
      // It says something else by now, which the next look finds.
      guard isDone else { return }
    } catch let error as StoreError where error.code == .staleEpoch {
      // Another's to put right by now, who may die of something before it does: what is known is kept.
      return
    }
    steps.increment()
    logger.warning(
      "Redis's clock has stepped; deadlines go on as before",
      ["partition": partition.number, "clock.step_ms": difference])
    let events = try await Faults.point(.holdsClock) { try await queue.reader.liveEvents(partition) }
    for event in events {
      var first = 0
      while true {
        let from = first
        let count = try await Faults.point(.holdsClock) {
          try await queue.holds.renewLocks(event: event, from: from, limit: Self.locks)
        }
        if count < Self.locks { break }
        first += count
      }
    }
  }
}
