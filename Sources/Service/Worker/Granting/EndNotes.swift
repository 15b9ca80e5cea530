import Archive
import EventLoop
import FaultInjection
import Ledger
import Logging
import Queue
import StoreCommon

/// Notes in PostgreSQL, each second, which requests of one event have ended without a purchase, so that a loss of Redis
/// does not bring them back into the line.
///
/// Beside the loop: PostgreSQL's silence must not keep holds from ending. What Redis handed over stays there until it is
/// noted, so that the next owner goes on where this one was; what Redis lost before is what may come back.
@LoopActor
final class EndNotes {
  private static let pauseMilliseconds: UInt64 = 1_000
  /// Ends noted by one statement; some milliseconds of Redis, which looks up their records.
  private static let batchLimit = 2_000

  private let event: Int
  private let epoch: Int
  private let queue: QueueStore
  private let seats: SeatStore
  private let logger: Logger
  /// Owned by this object; one at a time, which ends by itself: some calls, each with its client's deadline.
  private var underWay: Task<Void, Never>?
  private var startedAt: UInt64 = 0
  /// The life of which it is noted that those who were in the one before had their time.
  private var restored: Int?

  init(event: Int, epoch: Int, queue: QueueStore, seats: SeatStore, logger: Logger) {
    self.event = event
    self.epoch = epoch
    self.queue = queue
    self.seats = seats
    self.logger = logger
  }

  /// Begins to note what a tick has shown, unless that is under way, or was a moment ago.
  func note(_ tick: OwnedQueue.Tick, generation: Int, load: Int) {
    let isRestored = !tick.isForReturning && restored != generation
    let now = EventLoop.shared.now
    guard underWay == nil, isRestored || tick.waitingEnds > 0,
      startedAt == 0 || now >= startedAt + Self.pauseMilliseconds
    else { return }
    startedAt = now
    underWay = Task { @LoopActor in
      defer { underWay = nil }
      if isRestored, await attempt({ [self] in try await noteRestored(generation) }) { restored = generation }
      if tick.waitingEnds > 0 { await noteAll(load: load) }
    }
  }

  /// Notes all that Redis has.
  func noteAll(load: Int) async {
    _ = await attempt { [self] in
      var noted = 0
      repeat {
        let some = try await Faults.point(.reserveEnds) {
          try await queue.owned(event: event, epoch: epoch, load: load).ends(
            noted: noted, limit: Self.batchLimit)
        }
        try await Faults.point(.reserveEnds) {
          try await seats.note(event: event, generation: some.generation, some.ends)
        }
        noted = some.count
      } while noted > 0
    }
  }

  private func noteRestored(_ generation: Int) async throws {
    try await Faults.point(.reserveEnds) {
      try await seats.noteRestored(event: event, generation: generation)
    }
  }

  /// - Returns: whether it succeeded. Otherwise the next tick tries again, of this owner or another one.
  private func attempt(_ body: @LoopActor () async throws -> Void) async -> Bool {
    do {
      try await body()
      return true
    } catch let error as StoreError where error.code == .staleEpoch || error.code == .noQueue {
      // The loop learns of it by itself.
    } catch {
      logger.debug("ends were not noted", ["error": "\(error)"])
    }
    return false
  }
}
