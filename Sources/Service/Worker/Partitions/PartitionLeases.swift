import EventLoop
import FaultInjection
import Ledger
import Logging
import Metrics
import Queue
import Sale

/// Divides the partitions among the workers that are alive.
///
/// A lease in Redis says who is alive; the epoch from PostgreSQL makes a former owner harmless, whatever it
/// believes. A worker renews what it has, lets go of what is beyond its share, and takes what nobody holds.
@LoopActor
final class PartitionLeases {
  private let worker: String
  private let queue: QueueLeases
  private let epochs: EpochStore
  private let makeOwner:
    @LoopActor (Partition, Int, _ onReplaced: @escaping @LoopActor () -> Void) -> PartitionOwner
  private let leaseMilliseconds: Int
  private let logger: Logger
  private let ownedGauge = MetricsRegistry.shared.gauge(
    "onsale_partitions_owned", "Partitions this worker owns")
  private let signal = Signal()
  private var owners: [Partition: PartitionOwner] = [:]
  /// Owners on their way out.
  private var ending: [Partition: Task<Void, Never>] = [:]
  /// The workers alive, as last heard; empty before the first time.
  private var alive: [String] = []

  init(
    worker: String, queue: QueueLeases, epochs: EpochStore, patience: Worker.Patience, logger: Logger,
    makeOwner:
      @escaping @LoopActor (Partition, Int, _ onReplaced: @escaping @LoopActor () -> Void) -> PartitionOwner
  ) {
    self.worker = worker
    self.queue = queue
    self.epochs = epochs
    leaseMilliseconds = patience.leaseMilliseconds
    self.logger = logger
    self.makeOwner = makeOwner
  }

  /// Runs until cancelled. Errors end a round, not the loops.
  func run() async {
    // Apart from the rounds, which may wait for PostgreSQL for longer than a lease lasts.
    let renewing = Task { @LoopActor in await renew() }
    while !Task.isCancelled {
      signal.reset()
      do {
        try await round()
        logger.worksAgain("lease round failed")
      } catch is CancellationError {
        break
      } catch {
        logger.retrying("lease round failed", ["error": "\(error)"])
      }
      await signal.wait(milliseconds: UInt64(leaseMilliseconds / 4))
    }
    renewing.cancel()
    await renewing.value
  }

  private func renew() async {
    while !Task.isCancelled {
      do {
        alive = try await Faults.point(.leaseAnnounce) {
          try await queue.announce(worker, milliseconds: leaseMilliseconds)
        }
        for (partition, owner) in owners {
          let renewed = try await Faults.point(.leaseRenew) {
            try await queue.acquire(partition, worker: worker, milliseconds: leaseMilliseconds)
          }
          if !renewed || owner.wasReplaced {
            logger.notice("lease lost", ["partition": partition.number])
            end(partition, owner, handOver: false)
          }
        }
        logger.worksAgain("leases could not be renewed")
      } catch is CancellationError {
        break
      } catch {
        logger.retrying("leases could not be renewed", ["error": "\(error)"])
      }
      do { try await sleep(milliseconds: UInt64(leaseMilliseconds / 4)) } catch { break }
    }
  }

  func owns(_ partition: Partition) -> Bool { owners[partition] != nil }

  /// The owner's epoch, where that is this worker.
  func epoch(of partition: Partition) -> Int? { owners[partition]?.epoch }

  /// How many workers are alive, as last heard.
  var aliveCount: Int { alive.count }

  /// An event of the partition wants its loop, or leases have become free.
  func wake(_ partition: Partition, event: Int?) {
    if let event, let owner = owners[partition] {
      if !owner.wake(event) { signal.raise() }
    } else if event == nil {
      signal.raise()
    }
  }

  /// Hands everything over at once, so that another worker goes on without waiting for a lease to run out.
  func stop() async {
    for (partition, owner) in owners { end(partition, owner, handOver: true) }
    for task in ending.values { await task.value }
    try? await Faults.point(.leaseWithdraw) { try await queue.withdraw(worker) }
  }

  private func round() async throws {
    if !alive.isEmpty {
      let share = (Partition.count + alive.count - 1) / alive.count
      for (partition, owner) in owners.sorted(by: { $0.key.number < $1.key.number }).dropFirst(share) {
        logger.info("partition handed over", ["partition": partition.number])
        end(partition, owner, handOver: true)
      }
      if owners.count < share { try await takeFree(upTo: share) }
    }
    ownedGauge.value = Double(owners.count)
    for owner in owners.values { try await owner.refresh() }
  }

  /// Lets the owner come to its end beside everything else: it may be in the middle of something long.
  private func end(_ partition: Partition, _ owner: PartitionOwner, handOver: Bool) {
    guard owners[partition] === owner else { return }
    owners[partition] = nil
    // Bounded by the partitions; `stop` waits for all of them.
    ending[partition] = Task { @LoopActor in
      await owner.stop()
      if handOver {
        try? await Faults.point(.leaseRelease) { try await queue.release(partition, worker: worker) }
      }
      ending[partition] = nil
    }
  }

  private func takeFree(upTo share: Int) async throws {
    let holders = try await Faults.point(.leaseHolders) { try await queue.holders() }
    // Starting at different places keeps workers that start together from racing for the same leases.
    let offset = worker.utf8.reduce(0) { ($0 &* 31 &+ Int($1)) & 0xffff } % Partition.count
    for index in 0..<Partition.count where owners.count < share {
      let partition = Partition.all[(index + offset) % Partition.count]
      guard owners[partition] == nil, ending[partition] == nil,
        holders[partition.number] == nil || holders[partition.number] == worker
      else { continue }
      // Before the lease: nobody holds one who cannot reach PostgreSQL. An epoch that is not used does no harm.
      let epoch = try await Faults.point(.leaseEpoch) {
        try await epochs.next(partition, above: try await queue.epoch(partition))
      }
      let acquired = try await Faults.point(.leaseAcquire) {
        try await queue.acquire(partition, worker: worker, milliseconds: leaseMilliseconds)
      }
      if acquired { try await own(partition, epoch) }
    }
  }

  private func own(_ partition: Partition, _ epoch: Int) async throws {
    guard try await Faults.point(.leaseOwn, { try await queue.own(partition, epoch: epoch) }) else {
      return
    }
    let owner = makeOwner(partition, epoch) { [weak self] in self?.signal.raise() }
    owners[partition] = owner
    logger.info("partition owned", ["partition": partition.number, "partition.epoch": epoch])
  }
}
