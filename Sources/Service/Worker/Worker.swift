package import Archive
package import EventLoop
package import Ledger
import Lifecycle
package import Logging
package import Payments
package import Queue
package import Redis
import Sale

/// The role that decides and sells: owner of some partitions, and a member of everyone's confirmation stream.
///
/// Any number of these may run, on any number of machines. One may be killed at any moment: what it had under way
/// is finished by the others.
@LoopActor
package final class Worker: Service {
  package struct Stores {
    package let queue: QueueStore
    package let purchases: PurchaseStore
    package let seats: SeatStore
    package let epochs: EpochStore
    package let archive: QueueArchive
    package let events: EventStore
    package let refunds: RefundStore
    package let declines: DeclineStore
    package let books: BookStore

    package init(
      queue: QueueStore, purchases: PurchaseStore, seats: SeatStore, epochs: EpochStore,
      archive: QueueArchive,
      events: EventStore, refunds: RefundStore, declines: DeclineStore, books: BookStore
    ) {
      self.queue = queue
      self.purchases = purchases
      self.seats = seats
      self.epochs = epochs
      self.archive = archive
      self.events = events
      self.refunds = refunds
      self.declines = declines
      self.books = books
    }
  }

  /// How long a worker may say nothing before others take over what it had.
  package struct Patience: Sendable {
    /// A lease that is not renewed for this long is free.
    package var leaseMilliseconds = 4_000
    /// A confirmation whose worker says nothing for this long is taken over by another.
    package var confirmationMilliseconds = 15_000
    /// Where Redis may have forgotten holds that no worker remembers, nobody is decided for so long: their buyers, and
    /// servers that told of them, show them meanwhile. Twice the pause between two polls of a buyer with a hold.
    package var shownHoldsMilliseconds = 10_000
    /// How often it is looked what was given back and disputed at the provider, in case that its messages are lost.
    package var newsMilliseconds = 60_000
    /// The pause between two pages of the books, and for how long what happens to a payment is left to its workers.
    package var booksMilliseconds = 2_000
    package var booksGraceSeconds = 900

    package init() {}
  }

  package struct ProviderLimits: Sendable {
    /// Calls that the provider is asked at once; payments under way follow from it.
    package var connections = 2_048
    /// After so long the provider's search has what it made.
    package var searchMilliseconds = 60_000
    /// A payment that is not decided after so long is given up.
    package var paymentSeconds = 600
    /// And so soon if the provider does not know us.
    package var misconfiguredSeconds = 60
    /// For so long a payment waits for its buyer, who confirms it with their bank.
    package var actionSeconds = 300
    /// For so long a payment that was given up, and is authorised after all, may still buy what it was for; 0 for never.
    package var lateSeconds = 3_600
    /// Who is asked to pay again for what they were told is theirs has so long for it.
    package var lapsedSeconds = 43_200
    /// For so long the provider remembers idempotency keys; a little less than it says.
    package var keySeconds = 82_800

    package init() {}
  }

  package let name = "worker"
  private let stores: Stores
  private let leases: PartitionLeases
  private let consumer: ConfirmationConsumer
  private let paymentOutbox: PaymentOutboxWorker
  private let refundOutbox: RefundOutboxWorker
  private let newsInbox: NewsInboxWorker
  private let bookkeeper: Bookkeeper
  private let declineLog: DeclineLog
  private let calendar: EventCalendar
  private let database: DatabaseWatch
  private let holds: HoldClock
  private let subscriber: RedisSubscriber
  /// What runs until `stop`: the outer loops.
  private var running: Loops?

  private struct Loops {
    let leasing, settling, refunding, learning, scheduling, comparing, ending, taking, helping,
      watching, counting, auditing: Task<Void, Never>
  }

  /// - Parameter identity: unique among all workers that ever run; names this one in leases and to the confirmation stream.
  package init(
    identity: String, stores: Stores, provider: any PaymentProvider,
    providerLimits: ProviderLimits = ProviderLimits(),
    redis: RedisConfiguration, patience: Patience = Patience(),
    spareProcessor: SpareProcessor = SpareProcessor(),
    logger: Logger
  ) {
    self.stores = stores
    let logger = logger.with(["worker": identity])
    calendar = EventCalendar(events: stores.events, queue: stores.queue, logger: logger)
    // The worker's, not an owner's: a Redis that went back has other owners, too.
    let memory = LineMemory()
    database = DatabaseWatch(worker: identity, stores: stores, provider: provider, logger: logger)
    let database = database
    leases = PartitionLeases(
      worker: identity, queue: stores.queue.leases, epochs: stores.epochs, patience: patience, logger: logger
    ) {
      partition, epoch, onReplaced in
      PartitionOwner(
        partition: partition, epoch: epoch, queue: stores.queue, seats: stores.seats,
        purchases: stores.purchases, archive: stores.archive, memory: memory, database: database,
        lapsedSeconds: providerLimits.lapsedSeconds,
        shownHoldsMilliseconds: UInt64(patience.shownHoldsMilliseconds),
        logger: logger.with(["partition": partition.number]), onReplaced: onReplaced)
    }
    let leases = leases
    holds = HoldClock(queue: stores.queue, leases: leases, logger: logger)
    declineLog = DeclineLog(stores.declines, logger: logger)
    consumer = ConfirmationConsumer(
      worker: identity, queue: stores.queue, purchases: stores.purchases, provider: provider,
      declines: declineLog, database: database, limits: ConfirmationConsumer.Limits(providerLimits, patience),
      spareProcessor: spareProcessor, logger: logger
    ) { leases.owns($0) }
    paymentOutbox = PaymentOutboxWorker(
      stores: stores, provider: provider, consumer: consumer, limits: providerLimits, logger: logger)
    refundOutbox = RefundOutboxWorker(
      stores: stores, provider: provider, searchMilliseconds: providerLimits.searchMilliseconds,
      logger: logger)
    newsInbox = NewsInboxWorker(
      stores: stores, provider: provider, lookMilliseconds: patience.newsMilliseconds, logger: logger)
    bookkeeper = Bookkeeper(
      worker: identity, stores: stores, provider: provider, pauseMilliseconds: patience.booksMilliseconds,
      graceSeconds: patience.booksGraceSeconds, logger: logger)
    let wakes = Dictionary(uniqueKeysWithValues: Partition.all.map { ($0.wakes, $0) })
    let confirmWakes = Dictionary(uniqueKeysWithValues: Partition.all.map { ($0.confirmWakes, $0) })
    let consumer = consumer
    subscriber = RedisSubscriber(
      redis, channels: wakes.keys.sorted() + confirmWakes.keys.sorted(), logger: logger,
      onSubscribed: {
        // Whatever was said while nobody listened.
        for partition in Partition.all {
          leases.wake(partition, event: nil)
          consumer.wake(partition)
        }
      },
      onMessage: { channel, message in
        if let partition = wakes[channel] {
          leases.wake(partition, event: Int(String(decoding: message, as: UTF8.self)))
        } else if let partition = confirmWakes[channel] {
          // Said by a confirmation, or of a payment.
          if message.isEmpty {
            consumer.wake(partition)
          } else {
            consumer.hint(String(decoding: message, as: UTF8.self))
          }
        }
      })
  }

  package func start() async throws {
    subscriber.start()
    let leases = leases, consumer = consumer, paymentOutbox = paymentOutbox, calendar = calendar,
      database = database
    let refundOutbox = refundOutbox, newsInbox = newsInbox, declineLog = declineLog
    let holds = holds, bookkeeper = bookkeeper
    running = Loops(
      leasing: Task { @LoopActor in await leases.run() },
      settling: Task { @LoopActor in await paymentOutbox.run() },
      refunding: Task { @LoopActor in await refundOutbox.run() },
      learning: Task { @LoopActor in await newsInbox.run() },
      scheduling: Task { @LoopActor in await calendar.run() },
      comparing: Task { @LoopActor in await database.run() },
      ending: Task { @LoopActor in await holds.run() },
      taking: Task { @LoopActor in await consumer.run() },
      helping: Task { @LoopActor in await consumer.help() },
      watching: Task { @LoopActor in await consumer.watch() },
      counting: Task { @LoopActor in await declineLog.run() },
      auditing: Task { @LoopActor in await bookkeeper.run() })
  }

  package func stop() async {
    guard let running else { return subscriber.close() }
    let deciding = [
      running.leasing, running.settling, running.refunding, running.learning, running.scheduling,
      running.comparing, running.ending, running.auditing,
    ]
    for task in deciding { task.cancel() }
    await running.leasing.value
    await leases.stop()
    // Takes what still comes until here, as anybody does who does not own the partition.
    await consumer.stop()
    let paying = [running.taking, running.helping, running.watching, running.counting]
    for task in paying { task.cancel() }
    for task in deciding + paying { await task.value }
    subscriber.close()
  }
}
