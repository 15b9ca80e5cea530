import Archive
import EventLoop
import FaultInjection
import Ledger
import Logging
import Queue

/// Opens events whose time has come, and heals the difference between what PostgreSQL says about events and what
/// their queues say, which a crash between the two writes leaves behind, or a Redis that came back empty.
@LoopActor
final class EventCalendar {
  private static let openMilliseconds: UInt64 = 500
  private static let roundsPerReconciliation = 4

  private let events: EventStore
  private let queue: QueueStore
  private let logger: Logger

  init(events: EventStore, queue: QueueStore, logger: Logger) {
    self.events = events
    self.queue = queue
    self.logger = logger
  }

  /// Runs until cancelled. Every worker does it: each step is atomic and harmless to repeat.
  func run() async {
    var round = 0
    while !Task.isCancelled {
      do {
        let due = try await Faults.point(.openDue) {
          try await events.openDue(
            clocks: (WallClock.milliseconds, try await queue.reader.serverMilliseconds()))
        }
        for settings in due {
          try await Faults.point(.openPublish) { try await events.publish(settings, to: queue) }
        }
        if round % Self.roundsPerReconciliation == 0 {
          let healed = try await Faults.point(.reconcile) { try await events.reconcile(with: queue) }
          if !healed.isEmpty {
            logger.notice("queues brought in line with PostgreSQL", ["events": healed.count])
          }
        }
        logger.worksAgain("calendar round failed")
      } catch is CancellationError {
        return
      } catch {
        logger.retrying("calendar round failed", ["error": "\(error)"])
      }
      round += 1
      do { try await sleep(milliseconds: Self.openMilliseconds) } catch { return }
    }
  }
}
