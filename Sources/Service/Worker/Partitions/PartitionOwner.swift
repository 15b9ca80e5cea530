import Archive
import EventLoop
import FaultInjection
import Ledger
import Logging
import Queue
import Sale

/// What a worker does with a partition it owns: one grant loop for each event alive in it.
@LoopActor
final class PartitionOwner {
  let partition: Partition
  let epoch: Int
  private let queue: QueueStore
  private let seats: SeatStore
  private let purchases: PurchaseStore
  private let archive: QueueArchive
  private let memory: LineMemory
  private let database: DatabaseWatch
  private let lapsedSeconds: Int
  private let shownHoldsMilliseconds: UInt64
  private let logger: Logger
  private var loops: [Int: (loop: GrantLoop, task: Task<Void, Never>)] = [:]
  /// A newer owner was met: this one must go.
  private(set) var wasReplaced = false
  private let onReplaced: @LoopActor () -> Void

  init(
    partition: Partition, epoch: Int, queue: QueueStore, seats: SeatStore, purchases: PurchaseStore,
    archive: QueueArchive, memory: LineMemory, database: DatabaseWatch,
    lapsedSeconds: Int, shownHoldsMilliseconds: UInt64, logger: Logger,
    onReplaced: @escaping @LoopActor () -> Void
  ) {
    self.partition = partition
    self.epoch = epoch
    self.queue = queue
    self.seats = seats
    self.purchases = purchases
    self.archive = archive
    self.memory = memory
    self.database = database
    self.lapsedSeconds = lapsedSeconds
    self.shownHoldsMilliseconds = shownHoldsMilliseconds
    self.logger = logger
    self.onReplaced = onReplaced
  }

  /// Starts loops for events that have none. Called regularly, and when an event wakes that is not known.
  func refresh() async throws {
    let events = try await Faults.point(.leaseEvents) { try await queue.reader.liveEvents(partition) }
    for event in events where loops[event] == nil && !wasReplaced { start(event) }
  }

  private func start(_ event: Int) {
    let loop = GrantLoop(
      event: event, epoch: epoch, queue: queue, seats: seats, purchases: purchases, archive: archive,
      memory: memory, witness: database.witness(event: event, logger: logger),
      lapsedSeconds: lapsedSeconds, shownHoldsMilliseconds: shownHoldsMilliseconds, logger: logger)
    // Owned by this object: `stop` cancels and awaits it.
    let task = Task { @LoopActor [weak self] in
      let end = await loop.run()
      guard let self else { return }
      loops[event] = nil
      if case .replaced = end, !wasReplaced {
        wasReplaced = true
        onReplaced()
      }
    }
    loops[event] = (loop, task)
  }

  /// - Returns: whether the event has a loop here.
  func wake(_ event: Int) -> Bool {
    guard let loop = loops[event]?.loop else { return false }
    loop.wake()
    return true
  }

  /// Ends all loops between two batches.
  func stop() async {
    wasReplaced = true
    let tasks = loops.values.map(\.task)
    for task in tasks { task.cancel() }
    for task in tasks { await task.value }
  }
}
