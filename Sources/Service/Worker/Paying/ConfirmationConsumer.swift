import EventLoop
import FaultInjection
import Ledger
import Logging
import Metrics
import Payments
import Queue
import Sale
import StoreCommon

/// The confirmation stream: carries out payments, many at once, shared by all workers through a consumer group.
///
/// A partition's confirmations are its owner's first: divided among all who are awake, each would commit smaller
/// groups for the same payments. The others take what has waited for a moment all the same, where a processor is idle
/// (`Limits.mayHelp`).
///
/// 1. Intent and claims are committed in PostgreSQL. 2. The provider authorises. 3. The outcome is committed; that
/// commit is the truth. 4. Redis learns of it and the entry is acknowledged. 5. The money is captured.
/// A crash between any two steps is finished by whoever takes the entry over: each step finds out what was done.
@LoopActor
final class ConfirmationConsumer {
  struct Limits {
    /// Confirmations under way at once in this process: those that the provider is asked about at once, and a group before
    /// and after that. What would be beyond waits here, where no other worker sees it.
    var inFlight: Int
    /// Entries taken from one partition by one call.
    var take = 256
    /// Rows in one transaction. Statements are set-based, so larger is cheaper up to about this. Of each kind of step one
    /// is under way at a time: with two, each would be half as large, and a purchase wait no less.
    var group = 256
    /// An entry that was taken over more often than this is buried: it probably kills whoever holds it. What ended because
    /// somebody was away, or the worker was told to end, does not count.
    var deliveries = 5
    /// A confirmation that fails this often in ways that waiting does not cure is buried.
    var failures = 5
    /// An order that the provider fails for good is declined if no payment of it is found after so long.
    var searchMilliseconds: UInt64
    /// A payment that is not decided after so long is given up, and what there is of it cancelled.
    var paymentSeconds: Int
    /// And so soon if the provider does not know us: an operator may be changing the key.
    var misconfiguredSeconds: Int
    /// For so long a payment waits for its buyer; once, as it ends with the hold.
    var actionSeconds: Int
    /// For so long the provider remembers under which key what was made.
    var keySeconds: Int
    /// A confirmation whose worker says nothing for so long is taken over by another.
    var visibilityMilliseconds: Int
    /// Others help with what has waited for so long where a processor is idle, or the partition has no owner.
    var helpMilliseconds = 200
    /// They help an owner that has taken nothing for so long, however busy the machine.
    var unmovedMilliseconds: Int
    /// They help with what has waited for so long, whoever owns it; as always, a group at a time.
    var longestWaitMilliseconds = 30_000

    init(_ provider: Worker.ProviderLimits, _ patience: Worker.Patience) {
      inFlight = provider.connections + 2 * group
      searchMilliseconds = UInt64(max(0, provider.searchMilliseconds))
      paymentSeconds = provider.paymentSeconds
      misconfiguredSeconds = min(provider.misconfiguredSeconds, provider.paymentSeconds)
      actionSeconds = provider.actionSeconds
      keySeconds = provider.keySeconds
      visibilityMilliseconds = patience.confirmationMilliseconds
      unmovedMilliseconds = patience.leaseMilliseconds / 2
    }

    /// Whether to take from another worker's partition. On a machine whose processors are all busy that slows the others
    /// who work there, the owner as a rule, and makes the groups of both smaller.
    ///
    /// - Parameters:
    ///   - waited: how long ago the partition's next entry was written, in milliseconds by Redis's clock.
    ///   - unmoved: for how long that entry has been the next one, as far as it was seen.
    ///   - costsNobody: whether a processor is idle, or the partition has no owner.
    func mayHelp(waited: Int, unmoved: Int, costsNobody: Bool) -> Bool {
      let waited = max(waited, unmoved)
      return waited >= longestWaitMilliseconds || unmoved >= unmovedMilliseconds
        || costsNobody && waited >= helpMilliseconds
    }
  }

  /// That a payment was captured is noted in few transactions: nobody waits for it, and what is not noted is captured
  /// again by the outbox worker, which the provider makes the same.
  private static let captureNoteMilliseconds: UInt64 = 250
  /// How long a worker that stops waits for its last captures; what is left is the outbox worker's.
  private static let lastCapturesMilliseconds: UInt64 = 2_000
  /// Of what a process may take to end, what all of that may take.
  private static let stopMilliseconds: UInt64 = 8_000
  /// How long a worker that stops waits for what is under way before others may take it over, too.
  private static let giveBackMilliseconds: UInt64 = 6_000
  private static let pollMilliseconds: UInt64 = 500
  private static let shortestBackoffMilliseconds: UInt64 = 50
  private static let longestBackoffMilliseconds: UInt64 = 5_000
  /// Until the first look at a payment that the provider has not decided, and at one that waits for its buyer, who needs a
  /// moment; and between two looks at the longest. Nobody waits for them: what happens is told, and makes us look at once.
  private static let firstLookMilliseconds: UInt64 = 250
  private static let firstBuyerLookMilliseconds: UInt64 = 2_000
  private static let longestLookMilliseconds: UInt64 = 30_000
  /// What rests is said to be under way so often, so that no other worker takes it up as stalled.
  private static let touchMilliseconds: UInt64 = 20_000

  private let worker: String
  private let queue: QueueStore
  private let purchases: PurchaseStore
  private let provider: any PaymentProvider
  private let declines: DeclineLog
  private let limits: Limits
  private let owns: @LoopActor (Partition) -> Bool
  private let spareProcessor: SpareProcessor
  private let logger: Logger

  private let intents: GroupCommit<Confirmation, PurchaseProgress?>
  private let settlements: GroupCommit<PurchaseStore.Settlement, PurchaseProgress?>
  private let captures: GroupCommit<OutboxEntry, Void>
  private var endings: [Int: GroupCommit<ConfirmationStream.Ending, Void>] = [:]

  /// Confirmations under way, by what they are about: a second delivery of one is ignored.
  private var underWay: [PurchaseKey: Confirmation] = [:]
  /// How often each entry under way counts as delivered.
  private var deliveries = DeliveryCounts()
  /// What a worker that stops leaves to the others.
  private var leftBehind: [Confirmation] = []
  private var hasGivenBack = false
  /// Purchases that were taken up from PostgreSQL as stalled, and only waited for somebody who is away.
  private var excused: Set<PurchaseKey> = []
  /// Of those, the ones that wait for the provider.
  private var authorising: Set<PurchaseKey> = []
  /// And the ones that wait for the provider's search, and ask nobody for anything meanwhile.
  private var resting: [PurchaseKey: Signal] = [:]
  private var touchedAt: UInt64 = 0
  /// Payments that are not decided, by whom they wait for.
  private var waiting: [PurchaseKey: PaymentError.Code] = [:]
  private let waitingFor: [PaymentError.Code: Gauge] = [
    .actionRequired: MetricsRegistry.shared.gauge(
      "onsale_payments_at_banks", "Payments that wait for their buyers to confirm them"),
    .pending: MetricsRegistry.shared.gauge(
      "onsale_payments_undecided", "Payments that the provider has and does not decide"),
  ]
  /// Payments under way of which somebody said that something has happened to them.
  private var hinted: Set<PurchaseKey> = []
  private let signal = Signal()
  /// Partitions that may have entries, each once, in the order of their turns.
  private var ready: [Partition] = []
  /// An entry that is next to be taken, and when it was seen first: Redis's clock, which says when it was written, may go
  /// back.
  private struct Head {
    let id: String
    let since: UInt64
  }

  /// Partitions of other workers that may have entries.
  private var watched: Set<Partition> = []
  /// What was next in them when they were last looked at.
  private var heads: [Partition: Head] = [:]
  private let watchSignal = Signal()
  private var isStopping = false
  /// Captures that are not noted yet.
  private var capturing = 0
  private let drained = Signal()

  private let finished: [ConfirmationStream.Ending.Outcome: Counter]
  private let underWayGauge = MetricsRegistry.shared.gauge(
    "onsale_confirmations_under_way", "Confirmations under way in this process")
  private let buried = MetricsRegistry.shared.counter("onsale_dead_letters_total", "Confirmations given up")
  private let helped = MetricsRegistry.shared.counter(
    "onsale_confirmations_helped_total", "Confirmations taken from other workers' partitions")
  private let groupSizes = MetricsRegistry.shared.histogram(
    "onsale_confirm_group_size", "Confirmations in one transaction", buckets: Histogram.sizes)

  init(
    worker: String, queue: QueueStore, purchases: PurchaseStore, provider: any PaymentProvider,
    declines: DeclineLog, database: DatabaseWatch, limits: Limits, spareProcessor: SpareProcessor,
    logger: Logger,
    owns: @escaping @LoopActor (Partition) -> Bool
  ) {
    self.worker = worker
    self.queue = queue
    self.purchases = purchases
    self.provider = provider
    self.declines = declines
    self.limits = limits
    self.owns = owns
    self.spareProcessor = spareProcessor
    self.logger = logger
    let sizes = groupSizes
    intents = GroupCommit(
      maximumBatch: limits.group, capacity: limits.inFlight * 4
    ) { group in
      sizes.record(Double(group.count))
      return await Self.inGroups(group) { group in
        guard try await database.isCertain() else { throw BooksNotCompared() }
        return try await Faults.point(.confirmIntent) { try await purchases.claim(group) }
      }
    }
    settlements = GroupCommit(
      maximumBatch: limits.group, capacity: limits.inFlight * 4
    ) { group in
      await Self.inGroups(group) { group in
        try await Faults.point(.confirmSettle) { try await purchases.settle(group) }
      }
    }
    captures = GroupCommit(
      maximumBatch: limits.group, capacity: limits.inFlight * 4,
      lingerMilliseconds: Self.captureNoteMilliseconds
    ) { group in
      await Self.inGroups(group) { group in
        try await Faults.point(.confirmCaptured) { try await purchases.done(group) }
        return group.map { _ in }
      }
    }
    finished = Dictionary(
      uniqueKeysWithValues: [ConfirmationStream.Ending.Outcome.purchased, .declined, .lost, .refused].map {
        outcome in
        (
          outcome,
          MetricsRegistry.shared.counter(
            "onsale_confirmations_total", "Confirmations that ended", labels: [("outcome", "\(outcome)")])
        )
      })
  }

  /// Runs `perform` on the whole group; if the server refuses it, on halves, so that one bad item fails alone.
  private static func inGroups<Item, Output: Sendable>(
    _ group: [Item], _ perform: @LoopActor ([Item]) async throws -> [Output]
  ) async -> [Result<Output, any Error>] {
    do {
      return try await perform(group).map { .success($0) }
    } catch {
      if group.count == 1 || isTransient(error) { return group.map { _ in .failure(error) } }
      let middle = group.count / 2
      let first = await inGroups(Array(group[..<middle]), perform)
      return first + (await inGroups(Array(group[middle...]), perform))
    }
  }

  // MARK: Taking

  /// Takes confirmations until cancelled, as far as there is room. Errors end a round, not the loop.
  func run() async {
    var polledAt: UInt64 = 0
    while !Task.isCancelled && !isStopping {
      signal.reset()
      if EventLoop.shared.now >= polledAt + Self.pollMilliseconds {
        for partition in Partition.all { announce(partition) }
        polledAt = EventLoop.shared.now
      }
      do {
        try await takeFromReady()
        logger.worksAgain("taking confirmations failed")
      } catch {
        logger.retrying("taking confirmations failed", ["error": "\(error)"])
        // All partitions are looked at anew: the one that failed may have been taken from `ready`.
        polledAt = 0
      }
      await signal.wait(milliseconds: Self.pollMilliseconds)
    }
  }

  /// The partition may have entries.
  func wake(_ partition: Partition) {
    announce(partition)
    if !ready.isEmpty { signal.raise() }
  }

  private func announce(_ partition: Partition) {
    if owns(partition) {
      enqueue(partition)
    } else if watched.insert(partition).inserted {
      watchSignal.raise()
    }
  }

  private func enqueue(_ partition: Partition) {
    if !ready.contains(partition) { ready.append(partition) }
  }

  /// Looks after other workers' partitions until cancelled, and has a batch taken from each that needs help.
  func help() async {
    while !Task.isCancelled && !isStopping {
      watchSignal.reset()
      // In each round, though it may not be needed: what is known of processors is what happened since the last.
      let hasProcessor = spareProcessor.isThere()
      var pause = UInt64(limits.helpMilliseconds / 4)
      do {
        if helping < limits.group {
          // In any order, so that each has its turn.
          for partition in watched.shuffled() where !isStopping { try await look(partition, hasProcessor) }
        }
        logger.worksAgain("looking at other workers' confirmations failed")
      } catch {
        logger.retrying("looking at other workers' confirmations failed", ["error": "\(error)"])
        pause = Self.pollMilliseconds
      }
      // Spread, so that not all of them help with the same moment's delay.
      do { try await sleep(milliseconds: pause + UInt64.random(in: 0...pause)) } catch { return }
      if watched.isEmpty { await watchSignal.wait(milliseconds: Self.pollMilliseconds) }
    }
  }

  private func look(_ partition: Partition, _ hasProcessor: Bool) async throws {
    // Before the look, so that what is announced meanwhile is looked at again.
    watched.remove(partition)
    if owns(partition) {
      enqueue(partition)
      return signal.raise()
    }
    let askedAt = EventLoop.shared.now
    do {
      let next = try await Faults.point(.confirmNext) { try await queue.confirmations.next(partition) }
      let now = EventLoop.shared.now
      let head = next.map { next in
        heads[partition].flatMap { $0.id == next.id ? $0 : nil } ?? Head(id: next.id, since: now)
      }
      heads[partition] = head
      guard let next, let head else { return }
      // Until it was asked: an answer that took long says nothing of the time on its way.
      let unmoved = Int(askedAt - min(askedAt, head.since))
      var mayHelp = limits.mayHelp(waited: next.milliseconds, unmoved: unmoved, costsNobody: hasProcessor)
      // Asked only where it matters.
      if !mayHelp, limits.mayHelp(waited: next.milliseconds, unmoved: unmoved, costsNobody: true) {
        // Ours while it is given back counts as nobody's.
        let holder = try await Faults.point(.confirmNext) { try await queue.leases.holder(partition) }
        mayHelp = holder == nil || holder == worker
      }
      if mayHelp {
        enqueue(partition)
        signal.raise()
      } else {
        watched.insert(partition)
      }
    } catch {
      watched.insert(partition)
      throw error
    }
  }

  private func takeFromReady() async throws {
    while let partition = ready.first, !isStopping, !Task.isCancelled {
      // What is under way raises the signal when it ends.
      guard room > 0 else { return }
      ready.removeFirst()
      let room = owns(partition) ? room : min(room, limits.group - helping)
      guard room > 0 else {
        // Looked at again after a while.
        announce(partition)
        continue
      }
      let taken = try await Faults.point(.confirmTake) {
        try await queue.confirmations.take(partition, worker: worker, limit: room)
      }
      // At the end: one busy event does not keep the others from their turn, and its owner comes before us.
      if taken.count == room { announce(partition) }
      if !owns(partition) { helped.increment(by: taken.count) }
      for confirmation in taken { begin(confirmation) }
    }
  }

  /// How many of other workers' partitions are under way here, but for those that wait for the provider. A group is
  /// enough at a time: whoever helps an owner with what does not wait for the provider only takes from it where both share
  /// the processors, and makes the groups of both smaller.
  private var helping: Int {
    underWay.count { !owns($0.value.partition) && !authorising.contains($0.key) && resting[$0.key] == nil }
  }

  /// How many more may be taken now.
  private var room: Int {
    min(limits.take, limits.inFlight - (underWay.count - resting.count), limits.inFlight * 4 - underWay.count)
  }

  /// Keeps what is under way from being taken over, and takes over what other workers have left behind.
  func watch() async {
    await forgetTheDead()
    while !Task.isCancelled {
      do {
        try await sleep(milliseconds: UInt64(limits.visibilityMilliseconds / 4))
        try await keep()
        if !isStopping { try await takeOver() }
        logger.worksAgain("watching confirmations failed")
      } catch is CancellationError {
        return
      } catch {
        logger.retrying("watching confirmations failed", ["error": "\(error)"])
      }
    }
  }

  /// Workers that were killed have left their names behind. What one left pending keeps it until the next start.
  private func forgetTheDead() async {
    for partition in Partition.all {
      do {
        try await Faults.point(.confirmForget) {
          try await queue.confirmations.forgetConsumers(
            partition, idleMilliseconds: limits.visibilityMilliseconds)
        }
      } catch {
        return logger.info("workers of before were not forgotten", ["error": "\(error)"])
      }
    }
  }

  private func keep() async throws {
    // What was given back may be another worker's by now.
    if hasGivenBack { return }
    let mine = Dictionary(grouping: underWay.values.filter { $0.entryID != nil }, by: \.partition)
    for (partition, confirmations) in mine {
      for (count, ids) in deliveries.grouped(confirmations.compactMap(\.entryID)) {
        try await Faults.point(.confirmKeep) {
          try await queue.confirmations.keep(partition, worker: worker, ids: ids, deliveries: count)
        }
      }
    }
  }

  /// Leaves what is not done to the other workers, at once, and as if this one had never had it.
  private func giveBack() async {
    hasGivenBack = true
    let left = Dictionary(
      grouping: (leftBehind + underWay.values).filter { $0.entryID != nil }, by: \.partition)
    for (partition, confirmations) in left {
      let ids = confirmations.compactMap(\.entryID)
      for id in ids { deliveries.excuse(id) }
      for (count, ids) in deliveries.grouped(ids) {
        try? await Faults.point(.confirmRetire) {
          try await queue.confirmations.keep(
            partition, worker: worker, ids: ids, deliveries: count, silentMilliseconds: Self.forEver)
        }
      }
    }
    leftBehind = []
  }

  /// Longer than any worker waits before it takes over what another has left behind.
  private static let forEver = 86_400_000

  /// Purchases whose stall was not their own fault, once each.
  func takeExcused() -> [PurchaseKey] {
    defer { excused = [] }
    return Array(excused)
  }

  /// What rests here and is not stalled, every now and then.
  func takeTouched() -> [PurchaseKey] {
    let now = EventLoop.shared.now
    guard !isStopping, now >= touchedAt + Self.touchMilliseconds else { return [] }
    touchedAt = now
    return Array(resting.keys)
  }

  private func takeOver() async throws {
    for partition in Partition.all where !isStopping {
      var cursor: String?
      repeat {
        let room = self.room
        guard room > 0 else { return }
        let from = cursor
        let (left, next) = try await Faults.point(.confirmTakeOver) {
          try await queue.confirmations.claim(
            partition, worker: worker, idleMilliseconds: limits.visibilityMilliseconds, limit: room,
            from: from)
        }
        cursor = next
        try await takeOver(left, partition)
        // A little room at a time would take many calls, and what is under way must be kept meanwhile.
      } while cursor != nil && room >= limits.take && !isStopping
    }
  }

  private func takeOver(_ left: [Confirmation], _ partition: Partition) async throws {
    guard !left.isEmpty else { return }
    logger.notice("confirmations taken over", ["partition": partition.number, "count": left.count])
    let deliveries = try await Faults.point(.confirmDeliveries) {
      try await queue.confirmations.deliveries(partition, worker: worker, limit: limits.inFlight)
    }
    for confirmation in left {
      let count = deliveries[confirmation.entryID ?? "", default: 1]
      if count > limits.deliveries {
        try await bury(confirmation, reason: "delivered too often")
      } else {
        begin(confirmation, deliveries: count)
      }
    }
  }

  /// Payments that PostgreSQL says were begun and never ended, whatever became of their entry.
  func begin(stalled: [Confirmation]) {
    for confirmation in stalled {
      // Not stalled at all, if it is under way here: it waits for somebody.
      if underWay[.init(confirmation)] != nil {
        excused.insert(.init(confirmation))
      } else if room > 0 {
        begin(confirmation)
      } else {
        // Nobody has tried it.
        excused.insert(.init(confirmation))
      }
    }
  }

  /// How many payments of PostgreSQL may be taken up now.
  var roomForStalled: Int { isStopping ? 0 : max(0, room) }

  /// Stops taking and waits for what is under way; what does not end is taken over by another worker.
  func stop() async {
    isStopping = true
    let begunAt = EventLoop.shared.now
    signal.raise()
    watchSignal.raise()
    while !underWay.isEmpty {
      if !hasGivenBack, EventLoop.shared.now >= begunAt + Self.giveBackMilliseconds { await giveBack() }
      drained.reset()
      await drained.wait(milliseconds: 200)
    }
    if !hasGivenBack { await giveBack() }
    let end = EventLoop.shared.now + Self.lastCapturesMilliseconds
    while capturing > 0, EventLoop.shared.now < min(end, begunAt + Self.stopMilliseconds) {
      captures.hurry()
      drained.reset()
      await drained.wait(milliseconds: 50)
    }
    for partition in Partition.all {
      try? await Faults.point(.confirmRetire) {
        try await queue.confirmations.retireConsumer(partition, worker: worker)
      }
    }
  }

  // MARK: Carrying out

  /// - Parameter deliveries: how often the entry was delivered, this time included.
  private func begin(_ confirmation: Confirmation, deliveries count: Int = 1) {
    let key = PurchaseKey(confirmation)
    if let known = underWay[key], known.attempt >= confirmation.attempt { return }
    underWay[key] = confirmation
    if let id = confirmation.entryID { deliveries.note(id, count) }
    underWayGauge.value = Double(underWay.count)
    // Owned by this object through `underWay`, bounded by `inFlight`; `stop` waits for all of them.
    Task { @LoopActor in
      if await carryOut(confirmation) {
        if let id = confirmation.entryID { deliveries.forget(id) }
      } else {
        leftBehind.append(confirmation)
      }
      if underWay[key]?.attempt == confirmation.attempt {
        underWay[key] = nil
        note(key, waitsFor: nil)
        hinted.remove(key)
      }
      underWayGauge.value = Double(underWay.count)
      if underWay.isEmpty { drained.raise() }
      if !ready.isEmpty { signal.raise() }
    }
  }

  /// - Returns: false if the worker stops and leaves it undone.
  private func carryOut(_ confirmation: Confirmation) async -> Bool {
    var failures = 0
    // Of looks at what the provider has, and of what else goes wrong: neither makes the other rarer.
    var backoff = Self.shortestBackoffMilliseconds, look: UInt64 = 0
    var trial = Trial()
    while true {
      do {
        try await attempt(confirmation, &trial)
        logger.worksAgain("confirmations wait for somebody who is away")
        return true
      } catch {
        let isTransient = Self.isTransient(error)
        trial.isUrgent = false
        judge(confirmation, isInnocent: isTransient)
        // A stopping worker leaves the entry pending: another one takes it over.
        if isStopping { return false }
        if let failedAt = trial.failedAt, (error as? PaymentError)?.code == .failed {
          logger.retrying(
            "the provider keeps failing an order, its search is waited for",
            ["confirm.reference": confirmation.reference, "error": "\(error)"])
          await rest(confirmation, until: failedAt + limits.searchMilliseconds)
          if isStopping { return false }
          continue
        }
        if let code = (error as? PaymentError)?.code, code == .pending || code == .actionRequired {
          logger.retrying(
            "a payment is not decided yet", level: .info,
            ["confirm.reference": confirmation.reference, "error": "\(error)"])
        } else if isTransient {
          // As many as there are, and each again and again: an outage is one thing to say.
          logger.retrying(
            "confirmations wait for somebody who is away",
            ["confirm.reference": confirmation.reference, "error": "\(error)"])
        } else {
          failures += 1
          logger.retrying(
            "confirmation failed, trying again",
            ["confirm.reference": confirmation.reference, "error": "\(error)", "confirm.failures": failures])
        }
        if failures >= limits.failures {
          if (try? await bury(confirmation, reason: "\(error)")) != nil { return true }
        }
        let code = (error as? PaymentError)?.code
        let isThere = code == .pending || code == .actionRequired
        if isThere {
          // What the provider has, and does not decide, is asked for ever more rarely: it tells of it by itself.
          let first =
            code == .actionRequired ? Self.firstBuyerLookMilliseconds : Self.firstLookMilliseconds
          look = look == 0 ? first : min(look * 2, Self.longestLookMilliseconds)
          backoff = Self.shortestBackoffMilliseconds
        } else {
          look = 0
        }
        if let error = error as? PaymentError {
          // Those who wait for the provider keep nobody from their turn.
          let step = isThere ? look : backoff
          let pause = max(
            step / 2 + UInt64.random(in: 0...step / 2), UInt64(error.retryAfterMilliseconds ?? 0))
          note(.init(confirmation), waitsFor: error.code)
          // To its end at the latest, but not in vain again and again.
          let end = max(trial.endsAt ?? .max, EventLoop.shared.now + Self.shortestBackoffMilliseconds)
          let isHinted = await rest(confirmation, until: min(EventLoop.shared.now + pause, end))
          trial.isUrgent = isHinted || EventLoop.shared.now >= end
          if !isThere { backoff = min(backoff * 2, Self.longestBackoffMilliseconds) }
          continue
        }
        // Spread, so that thousands do not come back at the same moment after an outage.
        try? await sleep(milliseconds: backoff / 2 + UInt64.random(in: 0...backoff / 2))
        backoff = min(backoff * 2, Self.longestBackoffMilliseconds)
      }
    }
  }

  /// Notes what an attempt that failed says of its entry. One that only met an outage has killed nobody.
  private func judge(_ confirmation: Confirmation, isInnocent: Bool) {
    if let id = confirmation.entryID {
      if isInnocent { deliveries.excuse(id) } else { deliveries.accuse(id) }
    } else if isInnocent {
      excused.insert(.init(confirmation))
    }
  }

  private func note(_ key: PurchaseKey, waitsFor code: PaymentError.Code?) {
    let before = waiting[key]
    if before == code { return }
    waiting[key] = code
    if let before { waitingFor[before]?.value -= 1 }
    if let code { waitingFor[code]?.value += 1 }
  }

  /// Waits without taking part in anything; ends early when the worker stops.
  /// - Returns: whether somebody has said that something has happened.
  @discardableResult
  private func rest(_ confirmation: Confirmation, until: UInt64) async -> Bool {
    let key = PurchaseKey(confirmation), alarm = Signal()
    resting[key] = alarm
    defer { resting[key] = nil }
    if !ready.isEmpty { signal.raise() }
    while !isStopping, !hinted.contains(key), EventLoop.shared.now < until {
      alarm.reset()
      await alarm.wait(milliseconds: min(until - EventLoop.shared.now, Self.pollMilliseconds))
    }
    return hinted.remove(key) != nil
  }

  /// Somebody says that something has happened to a payment: who waits for it here asks at once.
  /// - Parameter message: `event-generation-position`.
  func hint(_ message: String) {
    let parts = message.split(separator: "-").compactMap { Int($0) }
    guard parts.count == 3 else { return }
    let key = PurchaseKey(event: parts[0], generation: parts[1], position: parts[2])
    // Also where it is about to wait: it asked before.
    guard underWay[key] != nil else { return }
    hinted.insert(key)
    resting[key]?.raise()
  }

  /// What this process knows of an attempt to pay that goes on.
  private struct Trial {
    /// When the provider said first that the order has failed for good: the loop's clock.
    var failedAt: UInt64?
    /// When the buyer was asked to confirm it with their bank.
    var askedBuyerAt: UInt64?
    /// When it is given up at the latest.
    var endsAt: UInt64?
    /// Something has happened to it, or its time is over: it is asked for before those that are only looked at.
    var isUrgent = false
  }

  private func attempt(_ confirmation: Confirmation, _ trial: inout Trial) async throws {
    if let payment = confirmation.latePayment {
      let isOpen = try await Faults.point(.confirmLate) {
        try await purchases.reopen(confirmation, payment: payment)
      }
      // No other payment is ever ordered in its place: whoever has it is not asked to pay once more.
      if !isOpen { return try await finish(confirmation, .declined, reason: PurchaseStore.tooLate) }
    }
    let progress = try await intents.submit(confirmation)
    if let progress, progress.user != confirmation.user {
      logger.error(
        "a position was given out twice: Redis has lost writes", ["confirm.reference": confirmation.reference]
      )
      return try await finish(confirmation, .lost, reason: "queue_lost")
    }
    switch ConfirmStep(attempt: confirmation.attempt, progress: progress) {
    case .tell(let outcome, let reason):
      try await finish(confirmation, outcome, reason: reason, tickets: progress?.tickets ?? [])
    case .forget: try await finish(confirmation, nil, reason: "")
    case .giveUp:
      // Whether a worker that died had begun it, nobody knows.
      try await settle(
        confirmation, .void, paymentID: progress?.paymentID, reason: "tickets_taken",
        looseReference: progress?.amount == 0 ? nil : confirmation.reference(progress?.id))
    case .pay:
      guard let progress else { return }
      try await pay(confirmation, progress, &trial)
    }
  }

  private func pay(
    _ confirmation: Confirmation, _ progress: PurchaseProgress, _ trial: inout Trial
  ) async throws {
    if progress.amount == 0 {
      return try await settle(
        confirmation, .sold, paymentID: PurchaseStore.freePaymentID(confirmation.reference), reason: "")
    }
    let key = PurchaseKey(confirmation)
    let installation = try await Faults.point(.confirmIntent) { try await purchases.installation() }
    // The parameters are those frozen with the intent: a repetition must not differ.
    let order = PaymentOrder(
      reference: confirmation.reference(progress.id), amount: progress.amount, currency: progress.currency,
      method: progress.method,
      metadata: confirmation.metadata(
        amount: progress.amount, purchase: progress.id, installation: installation
      ).fields, event: confirmation.event)
    var outcome: PaymentOutcome
    // By the card's bank, and not because it was given up, or the provider could not.
    var isRefused = false
    let askedAt = EventLoop.shared.now
    do {
      outcome = try await ask(order, progress, key, isUrgent: trial.isUrgent)
      if case .declined(_, let code, _) = outcome { isRefused = code != "processing_error" }
      if case .waiting(let payment) = outcome {
        // Kept before anything else: from now on it is asked for, and not made again.
        if progress.paymentID != payment.id {
          try await Faults.point(.confirmIntent) {
            try await purchases.note(payment: payment.id, of: key, attempt: confirmation.attempt)
          }
        }
        if let url = payment.redirectURL, payment.status == .requiresAction {
          _ = try await Faults.point(.confirmFinish) {
            try await queue.confirmations.askBuyer(confirmation, redirectURL: url)
          }
        }
        throw PaymentError(
          code: payment.status == .requiresAction ? .actionRequired : .pending,
          message: "payment \(payment.id) is \(payment.status)")
      }
    } catch let error as PaymentError where error.code == .refused {
      // The provider will never take this order: its buyer may try another card, or let the tickets go.
      logger.retrying(
        "order refused by the provider", level: .error,
        ["confirm.reference": confirmation.reference, "error": "\(error)"])
      count("refused")
      return try await settle(
        confirmation, .declined, paymentID: nil, reason: error.providerCode ?? "payment_refused")
    } catch let error as PaymentError where error.code == .failed {
      // Whatever was made of it was there before it was first said to have failed, and would have been found.
      let since = trial.failedAt ?? EventLoop.shared.now
      trial.failedAt = since
      guard askedAt >= since + limits.searchMilliseconds else { throw error }
      outcome = .declined(id: nil, code: "processing_error", message: error.message)
    } catch let error as PaymentError {
      let seconds = error.code == .misconfigured ? limits.misconfiguredSeconds : limits.paymentSeconds
      var isOver = progress.triedSeconds >= seconds
      trial.endsAt = EventLoop.shared.now + UInt64(max(0, seconds - progress.triedSeconds)) * 1_000
      if error.code == .actionRequired {
        // From when its buyer was asked, whatever time went by before; across restarts there is a bound for both.
        let since = trial.askedBuyerAt ?? EventLoop.shared.now
        trial.askedBuyerAt = since
        let end = since + UInt64(limits.actionSeconds) * 1_000
        trial.endsAt = end
        isOver =
          EventLoop.shared.now >= end
          || progress.triedSeconds >= limits.paymentSeconds + limits.actionSeconds
      }
      guard isOver else { throw error }
      logger.retrying(
        "a payment that is not decided is given up", level: .error,
        ["confirm.reference": confirmation.reference, "error": "\(error)", "seconds": progress.triedSeconds])
      outcome = await giveUp(order, progress, key, error)
    }
    switch outcome {
    case .authorised(let payment):
      count("authorised")
      try await settle(confirmation, .sold, paymentID: payment.id, reason: "")
    case .declined(let id, let code, _):
      count("declined")
      // It may have made one all the same, and not say so.
      try await settle(
        confirmation, .declined, paymentID: id, reason: code,
        looseReference: id == nil ? order.reference : nil)
      if isRefused { declines.note(confirmation) }
    case .waiting: break
    }
  }

  /// What came of the order: of a payment that is known by asking for it, else by making it, under a key that the provider
  /// remembers. Is the key too old for that, it is only looked for.
  private func ask(
    _ order: PaymentOrder, _ progress: PurchaseProgress, _ key: PurchaseKey, isUrgent: Bool
  ) async throws -> PaymentOutcome {
    authorising.insert(key)
    defer { authorising.remove(key) }
    if let id = progress.paymentID {
      let payment = try await Faults.point(.confirmAuthorise) {
        try await provider.retrieve(id, isUrgent: isUrgent)
      }
      guard payment.isOf(order) || progress.isTakenUp(payment, order) else {
        throw PaymentError(code: .otherOrder, message: "payment \(id) is of another order")
      }
      return PaymentOutcome(payment)
    }
    if progress.triedSeconds < limits.keySeconds {
      return try await Faults.point(.confirmAuthorise) { try await provider.authorise(order) }
    }
    let found = try await Faults.point(.confirmAuthorise) {
      try await provider.find(reference: order.reference)
    }
    guard let found, found.isOf(order) else {
      return .declined(id: nil, code: "processing_error", message: "the provider knows no such payment")
    }
    return PaymentOutcome(found)
  }

  /// Ends a payment that nobody decides: what is there of it counts, else it is declined, and cancelled later.
  private func giveUp(
    _ order: PaymentOrder, _ progress: PurchaseProgress, _ key: PurchaseKey, _ error: PaymentError
  ) async -> PaymentOutcome {
    authorising.insert(key)
    defer { authorising.remove(key) }
    let reason = Self.reason(of: error)
    count("given_up_\(reason)")
    let known = try? await Faults.point(.confirmAuthorise) {
      if let id = progress.paymentID {
        return try await provider.retrieve(id, isUrgent: true) as Payment?
      }
      return try await provider.find(reference: order.reference, isUrgent: true)
    }
    guard let found = known, found.isOf(order) || progress.isTakenUp(found, order) else {
      return .declined(id: progress.paymentID, code: reason, message: error.message)
    }
    let outcome = PaymentOutcome(found)
    guard case .waiting = outcome else { return outcome }
    return .declined(id: found.id, code: reason, message: error.message)
  }

  /// What buyers are told of payments that nobody has refused: they may be authorised after all.
  nonisolated static let undecided: Set = [
    "processing_timeout", "authentication_required", "payments_unavailable", "payments_busy",
    "payment_unknown",
    "processing_error",
  ]

  /// What its buyer is told of a payment that was given up, one of `undecided`.
  private static func reason(of error: PaymentError) -> String {
    switch error.code {
    case .pending: "processing_timeout"
    case .actionRequired: "authentication_required"
    case .misconfigured: "payments_unavailable"
    case .rateLimited: "payments_busy"
    default: "payment_unknown"
    }
  }

  private func count(_ outcome: String) {
    MetricsRegistry.shared.counter(
      "onsale_payments_total", "Payments that the provider, or its silence, decided",
      labels: [("outcome", outcome)]
    ).increment()
  }

  private func settle(
    _ confirmation: Confirmation, _ outcome: PurchaseStore.Settlement.Outcome, paymentID: String?,
    reason: String, looseReference: String? = nil
  ) async throws {
    let key = PurchaseKey(confirmation)
    let progress = try await settlements.submit(
      PurchaseStore.Settlement(
        key: key, user: confirmation.user, attempt: confirmation.attempt, outcome: outcome,
        paymentID: paymentID, reason: reason, looseReference: looseReference))
    let authorised = outcome == .sold ? paymentID : nil
    let next = ConfirmStep.afterSettlement(
      progress: progress, attempt: confirmation.attempt)
    if progress == nil, let authorised { try await renew(confirmation, authorised) }
    if next.isUndecided, let authorised {
      // Kept, so that it is not looked for once more: it is sold when that can be, else cancelled.
      try await Faults.point(.confirmIntent) {
        try await purchases.note(payment: authorised, of: key, attempt: confirmation.attempt)
      }
    }
    if next.isUndecided { throw StoreError(.unexpectedAnswer, "settlement") }
    if let authorised, progress?.state == .sold, progress?.paymentID == authorised {
      capture(
        OutboxEntry(key: key, kind: .capture, paymentID: authorised), confirmation.reference)
    }
    try await finish(
      confirmation, next.ending?.0, reason: next.ending?.reason ?? "", tickets: progress?.tickets ?? [])
  }

  /// PostgreSQL has lost the intent of a payment that is authorised. Where it cannot be written again, the money is let go
  /// of; what else becomes of the attempt is found out by repeating it.
  private func renew(_ confirmation: Confirmation, _ paymentID: String) async throws {
    let progress = try await intents.submit(confirmation)
    if ConfirmStep(attempt: confirmation.attempt, progress: progress) == .pay { return }
    if progress?.state == .sold, progress?.paymentID == paymentID || PurchaseStore.isFree(paymentID) {
      return
    }
    try await Faults.point(.confirmIntent) {
      try await purchases.add(
        OutboxEntry(key: .init(confirmation), kind: .cancel, paymentID: paymentID))
    }
  }

  /// Captures right after the commit. What fails here is in the outbox, for the outbox worker.
  private func capture(_ entry: OutboxEntry, _ reference: String) {
    capturing += 1
    Task { @LoopActor in
      defer { captured() }
      do {
        if !PurchaseStore.isFree(entry.paymentID) {
          let payment = try await Faults.point(.confirmCapture) {
            try await provider.capture(entry.paymentID, reference: reference)
          }
          guard payment.status == .succeeded else {
            throw PaymentError(code: .invalid, message: "the payment is \(payment.status)")
          }
        }
        try await captures.submit(entry)
      } catch {
        logger.retrying(
          "capture is left to the outbox worker", level: .info,
          ["confirm.reference": reference, "error": "\(error)"])
      }
    }
  }

  private func captured() {
    capturing -= 1
    if isStopping { drained.raise() }
  }

  /// - Parameters:
  ///   - outcome: `nil` only acknowledges the entry.
  ///   - tickets: of the purchase, as PostgreSQL has it.
  private func finish(
    _ confirmation: Confirmation, _ outcome: ConfirmationStream.Ending.Outcome?, reason: String,
    tickets: [Int] = []
  ) async throws {
    guard let outcome else {
      try await Faults.point(.confirmFinish) { try await queue.confirmations.acknowledge(confirmation) }
      return
    }
    try await group(for: confirmation.event).submit(
      .init(confirmation, outcome, reason: reason, tickets: tickets))
    finished[outcome]?.increment()
  }

  private func group(for event: Int) -> GroupCommit<ConfirmationStream.Ending, Void> {
    if let group = endings[event] { return group }
    // Forgotten when the table grows: events come and go, and a group holds nothing between batches.
    if endings.count >= 1_024 { endings = endings.filter { !$0.value.isIdle } }
    let queue = queue
    let group = GroupCommit<ConfirmationStream.Ending, Void>(
      maximumBatch: limits.group, capacity: limits.inFlight * 4
    ) {
      group in
      await Self.inGroups(group) { group in
        try await Faults.point(.confirmFinish) { try await queue.confirmations.finish(event: event, group) }
        return group.map { _ in }
      }
    }
    endings[event] = group
    return group
  }

  private func bury(_ confirmation: Confirmation, reason: String) async throws {
    // What PostgreSQL knows as begun has no entry to be set aside: it is taken up again a limited number of times.
    guard confirmation.entryID != nil else { return }
    try await Faults.point(.confirmBury) { try await queue.deadLetters.bury(confirmation, reason: reason) }
    buried.increment()
    logger.error("confirmation buried", ["confirm.reference": confirmation.reference, "reason": reason])
  }
}
