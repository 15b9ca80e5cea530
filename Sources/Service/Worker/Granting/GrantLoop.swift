import Archive
import EventLoop
import FaultInjection
import Ledger
import Logging
import Metrics
import Queue
import Redis
import Sale
import StoreCommon

/// The grant loop of one event, run by the owner of its partition: takes requests in order of position, decides
/// them on the seat map in memory, writes each batch down with one call, ends holds whose time is over.
///
/// Every write carries the owner's epoch. After any error the memory is thrown away and loaded anew from Redis and
/// PostgreSQL, so that an unknown outcome is never guessed.
@LoopActor
final class GrantLoop {
  /// Why a loop ended by itself.
  enum End: Sendable {
    /// Another owner took over: everything of this epoch must stop.
    case replaced
    /// The event's queue has left Redis, or was lost with it.
    case queueGone
    case cancelled
  }

  private static let batchLimit = 512
  /// Seats whose map is made in one turn of the loop: some milliseconds.
  private static let seatsAtOnce = 10_000
  private static let expiryLimit = 500
  /// Where nothing is free, those who come are looked at no more often: the head only passes over them.
  private static let passingMilliseconds: UInt64 = 20
  private static let tickMilliseconds: UInt64 = 250
  /// How often an event without holds is looked at; wake-ups make this a safety net.
  private static let idleMilliseconds: UInt64 = 1_000
  private static let firstBackoffMilliseconds: UInt64 = 50
  private static let longestBackoffMilliseconds: UInt64 = 2_000
  /// How long a load waits for Redis at most.
  private static let patienceMilliseconds: UInt64 = 2_000
  /// How often PostgreSQL is asked whether the event's tickets have changed, or orphaned claims have ended.
  private static let seatCheckMilliseconds: UInt64 = 2_000

  private let event: Int
  private let epoch: Int
  private let queue: QueueStore
  private let seats: SeatStore
  private let purchases: PurchaseStore
  private let archive: QueueArchive
  private let memory: LineMemory
  private let witness: SaleWitness
  private let lapsedSeconds: Int
  private let shownHoldsMilliseconds: UInt64
  private let logger: Logger
  private let grants = MetricsRegistry.shared.counter(
    "onsale_grants_total", "Requests that were granted seats")
  private let decided = MetricsRegistry.shared.counter(
    "onsale_decisions_total", "Requests decided by the grant loop")
  private let batches = MetricsRegistry.shared.histogram(
    "onsale_reserve_batch_size", "Decisions written down by one call", buckets: Histogram.sizes)
  private let recordsMended = MetricsRegistry.shared.counter(
    "onsale_records_mended_total", "Requests of which Redis had forgotten what PostgreSQL knows")
  private let holdsRestored = MetricsRegistry.shared.counter(
    "onsale_holds_restored_total", "Holds that Redis had forgotten and somebody remembered")
  private let paidLate = MetricsRegistry.shared.counter(
    "onsale_late_payments_total", "Payments that came after their holds had ended",
    labels: [("outcome", "taken")])
  private let tooLate = MetricsRegistry.shared.counter(
    "onsale_late_payments_total", "Payments that came after their holds had ended",
    labels: [("outcome", "let_go")])
  private let lost = MetricsRegistry.shared.counter(
    "onsale_queues_lost_total", "Queues that Redis came back with an older state of")
  private static let waitingName = "onsale_waiting"
  private let waitingLabels: MetricsRegistry.Labels
  private let waiting: Gauge

  private let signal = Signal()
  private let endNotes: EndNotes
  private var planner = ReservePlanner(
    map: SeatMap(sections: [], tickets: [], held: [], sold: []), head: 0)
  private var state = ""
  private var pace = GrantPace(rate: nil)
  private var speed = GrantSpeed()
  private var generation = 0
  private var tail = 0
  private var isSoldOut = false
  private var isIdle = false
  /// What is wished for in each line.
  private var wishes: [Int: String] = [:]
  /// Somebody kept a place after the end of their line.
  private var mustReadAlone = false
  /// The life of the line that this loop is the first to own, until it has been compared.
  private var firstOwned = 0
  /// Until when nobody is decided, since holds may be forgotten that only their buyers know of.
  private var undecidedUntil: UInt64 = 0
  /// How many of those were shown that are not given back yet.
  private var shownHolds = 0
  /// Payments that came after their holds had ended, and are not decided yet.
  private var latePayments = 0
  /// What PostgreSQL said of them, asked beside the loop: its silence must not keep holds from ending.
  private var lateCheck: Task<LateCheck?, Never>?
  private var lateCheckEnded = false
  /// Until when it is not asked again, since it did not answer.
  private var lateUntil: UInt64 = 0

  private struct LateCheck: Sendable {
    let generation: Int
    /// Of which it was asked.
    let positions: [Int]
    /// In the order in which they were confirmed.
    let known: [(position: Int, late: PurchaseStore.Late)]
  }
  /// Only those come in who were in a line that was lost.
  private var isForReturning = false
  /// Tickets that Redis says are locked by somebody the loop knows nothing of; outlives a reload.
  private var foreignLocks: Set<Int> = []
  /// Tickets claimed in PostgreSQL by payments that Redis knows nothing of (it lost them): held until they end.
  private var orphanedClaims: Set<Int> = []
  /// Tickets that were taken off sale while somebody had them.
  private var withheldInUse: Set<Int> = []
  private var seatVersion = 0
  private var settingsVersion = 0
  /// What PostgreSQL said about the tickets, asked beside the loop: its silence must not keep holds from ending.
  private var seatCheck: Task<SeatStore.Check?, Never>?
  private var seatCheckEnded = false
  /// The event's settings have changed: nobody is decided before the tickets were looked at.
  private var mustCheckSeats = false
  /// Names the load that the memory is from.
  private var loadNumber = 0
  /// The connection to Redis that the memory was read over.
  private var connection: UInt64 = 0
  /// How long to wait after the next error. Short again once a load has proved to be of use.
  private var backoff = GrantLoop.firstBackoffMilliseconds
  private var loadedAt: UInt64 = 0
  private var seatsCheckedAt: UInt64 = 0
  private var tickedAt: UInt64 = 0
  /// Some seats stand otherwise than the memory says: they are read anew, at most so often.
  private var isOutdated = false
  private static let outdatedMilliseconds: UInt64 = 1_000
  private var published: Counts?

  private struct Counts: Equatable { let head, free, held, sold: Int }

  init(
    event: Int, epoch: Int, queue: QueueStore, seats: SeatStore, purchases: PurchaseStore,
    archive: QueueArchive, memory: LineMemory, witness: SaleWitness, lapsedSeconds: Int,
    shownHoldsMilliseconds: UInt64,
    logger: Logger
  ) {
    self.event = event
    self.epoch = epoch
    self.queue = queue
    self.seats = seats
    self.purchases = purchases
    self.archive = archive
    self.memory = memory
    self.witness = witness
    self.lapsedSeconds = lapsedSeconds
    self.shownHoldsMilliseconds = shownHoldsMilliseconds
    self.logger = logger.with(["event.id": event, "partition.epoch": epoch])
    endNotes = EndNotes(event: event, epoch: epoch, queue: queue, seats: seats, logger: self.logger)
    waitingLabels = [("event", String(event))]
    waiting = MetricsRegistry.shared.gauge(Self.waitingName, "Requests in line", labels: waitingLabels)
  }

  /// Something changed: a join after idleness, tickets that came back, the operator's settings.
  func wake() { signal.raise() }

  /// Serves the event until the task is cancelled, between two batches, or the loop has nothing to do any more.
  func run() async -> End {
    defer { MetricsRegistry.shared.remove(Self.waitingName, labels: waitingLabels) }
    defer { witness.stop() }
    while !Task.isCancelled {
      do {
        try await load()
        try await serve()
        return .queueGone
      } catch is CancellationError {
        break
      } catch let error as StoreError where error.code == .staleEpoch {
        logger.notice("replaced by a newer owner")
        return .replaced
      } catch let error as StoreError where error.code == .noQueue {
        return .queueGone
      } catch is Reload {
        logger.retrying("seat map loaded anew", level: .notice)
      } catch {
        logger.retrying("grant loop starts over", ["error": "\(error)"])
        do { try await sleep(milliseconds: backoff) } catch { break }
        backoff = min(backoff * 2, Self.longestBackoffMilliseconds)
      }
    }
    return .cancelled
  }

  /// The event's queue, as this loop and what it has loaded may change it.
  private var owned: OwnedQueue { queue.owned(event: event, epoch: epoch, load: loadNumber) }

  /// The memory may be wrong: throw it away.
  private struct Reload: Error {}

  /// What comes behind another connection may be an older copy of what was read, or lack what was written.
  private func mustBeSameRedis() throws {
    if !queue.redis.isReady || queue.redis.readySince != connection { throw Reload() }
  }

  private func load() async throws {
    loadNumber += 1
    isOutdated = false
    try await queue.redis.waitUntilReady(milliseconds: Self.patienceMilliseconds)
    connection = queue.redis.readySince
    var loaded = try await takeOver()
    if !loaded.isSplit, loaded.state != "lost" {
      try await Faults.point(.reserveLoad) {
        try await owned.split()
      }
      loaded = try await takeOver()
    }
    if try await isOlderCopy(loaded) {
      try await remove(loaded)
      throw StoreError(.noQueue, "event \(event)")
    }
    generation = loaded.generation
    let anotherRedis = try await compareRecords(loaded)
    if anotherRedis != nil {
      // What was given back by that is no news any more: it is free in what is read from here on.
      loaded = try await takeOver()
      if loaded.generation != generation { throw Reload() }
    }
    // What is released or sold from here on is in the feedback.
    let held = try await Faults.point(.reserveLoad) {
      try mustBeSameRedis()
      return try await queue.holds.heldTickets(event: event)
    }
    // After the holds were read: a ticket sold in between is then held or sold here, never free. And after the life was
    // noted: what earlier ones have claimed is there, and they claim nothing more.
    let inventory = try await Faults.point(.reserveSeats) { try await seats.inventory(event: event) }
    // After all that was read of either: from then on it is of the servers that were looked at.
    guard try await witness.waitUntilCertain() else { throw Reload() }
    try mustBeSameRedis()
    orphanedClaims = Set(inventory.claimed).subtracting(held)
    let forgotten = try await witness.withheld(loaded, inventory)
    // What is withheld and nobody's is not there; what is somebody's is not granted again once it comes back.
    withheldInUse = inventory.withheld.intersection(Set(held).union(inventory.claimed))
    let gone = inventory.withheld.subtracting(withheldInUse)
    let taken = held + inventory.claimed + foreignLocks + forgotten
    // Of many seats it takes longer than a turn of the loop may, which payments wait for.
    let map =
      inventory.tickets.count > Self.seatsAtOnce
      ? try await SideThread.shared.run { Self.map(inventory, taken, gone) }
      : Self.map(inventory, taken, gone)
    seatVersion = inventory.version
    settingsVersion = 0
    state = loaded.state
    tail = loaded.tail
    pace = GrantPace(rate: loaded.rate)
    let reopened = loaded.isSoldOut && !(map.counts.free == 0 && map.counts.held == 0)
    isSoldOut = loaded.isSoldOut && !reopened
    let (wishes, alone) = try await Faults.point(.reserveRead) {
      try mustBeSameRedis()
      return (try await queue.waiting.wishes(event: event), try await queue.waiting.alone(event: event))
    }
    self.wishes = wishes
    mustReadAlone = false
    var waiting: [Int: ReservePlanner.WaitingLine] = [:]
    for (line, served) in loaded.waiting {
      waiting[line] = ReservePlanner.WaitingLine(
        seats: wishes[line].flatMap(RequestedSeats.init(encoded:)), served: served)
    }
    planner = ReservePlanner(map: map, head: loaded.head, waiting: waiting, alone: alone)
    isIdle = false
    published = nil
    try await Faults.point(.reservePublish) {
      try mustBeSameRedis()
      try await owned.publishMap(
        bitmap: map.bitmap, free: map.counts.free, held: map.counts.held, sold: map.counts.sold,
        reopened: reopened, ticketsVersion: inventory.ticketsVersion)
    }
    if let anotherRedis {
      try await grantAgain()
      memory.compared[event] = anotherRedis
      try await Faults.point(.reserveCompare) {
        try await queue.comparison.noteCompared(event: event, identity: anotherRedis)
      }
      firstOwned = 0
    }
    loadedAt = EventLoop.shared.now
    seatsCheckedAt = loadedAt
    // Nobody is decided before what an owner before this one did not come to.
    let wasShown = try await Faults.point(.reserveCompare) {
      try await queue.holds.hasShownHolds(event: event)
    }
    tickedAt = wasShown ? 0 : loadedAt
    logger.info(
      "seat map loaded",
      [
        "seats.free": map.counts.free, "seats.held": map.counts.held, "seats.sold": map.counts.sold,
        "queue.head": loaded.head,
      ])
  }

  private nonisolated static func map(
    _ inventory: SeatStore.Inventory, _ taken: [Int], _ gone: Set<Int>
  ) -> SeatMap {
    let tickets = gone.isEmpty ? inventory.tickets : inventory.tickets.filter { !gone.contains($0.id) }
    var map = SeatMap(sections: inventory.sections, tickets: tickets, held: taken, sold: inventory.sold)
    // Idempotent, and PostgreSQL is the truth: a ticket both held in Redis and sold there is sold.
    map.sell(inventory.sold)
    return map
  }

  /// What PostgreSQL says of this life's purchases is put right in Redis before anybody is decided: once for each Redis
  /// that this process speaks to, since another one, or itself after a restart, may have lost its last writes.
  /// - Returns: which one it is, if it is another one.
  private func compareRecords(_ loaded: OwnedQueue.LoadedQueue) async throws -> String? {
    let remembersGrants = memory.owns(event: event, epoch: epoch, now: EventLoop.shared.now)
    let identity = try await Faults.point(.reserveCompare) { try await queue.reader.serverIdentity() }
    if memory.compared[event] == identity, firstOwned != generation { return nil }
    // What no owner has seen of this life is not forgotten.
    var hasForgotten = false
    if firstOwned != generation {
      hasForgotten = try await Faults.point(.reserveCompare) {
        try await !queue.reader.isCompared(event: event, identity: identity)
      }
    }
    try await mendRecords(hasForgotten: hasForgotten)
    if hasForgotten, !remembersGrants, loaded.tail > 0, undecidedUntil == 0 {
      undecidedUntil = EventLoop.shared.now + shownHoldsMilliseconds
      logger.notice(
        "holds may be forgotten, and are waited for", ["milliseconds": Int(shownHoldsMilliseconds)])
    }
    return identity
  }

  private func mendRecords(hasForgotten: Bool) async throws {
    let mended = try await LedgerComparison(
      queue: queue, purchases: purchases, seats: seats, lapsedSeconds: lapsedSeconds
    ).run(
      event: event, generation: generation, hasForgotten: hasForgotten)
    try mustBeSameRedis()
    if mended == 0 { return }
    recordsMended.increment(by: mended)
    logger.warning("Redis had forgotten what became of requests", ["requests": mended])
  }

  /// Gives those their seats again who had them of late, and whom Redis has back in line, if nobody else has them.
  private func grantAgain() async throws {
    let lost = memory.recentGrants(event: event, generation: generation, now: EventLoop.shared.now)
    var hasGranted = false
    for start in stride(from: 0, to: lost.count, by: Self.batchLimit) {
      let batch = Array(lost[start..<min(start + Self.batchLimit, lost.count)])
      let records = try await Faults.point(.reserveCompare) {
        try mustBeSameRedis()
        return try await queue.inspection.records(event: event, positions: batch.map(\.position))
      }
      // Who has no record has left the line only by a decision, and that is lost.
      let forgotten = zip(batch, records).filter { $1 == nil }.map(\.0)
      let plan = planner.grantAgain(forgotten)
      if plan.decisions.isEmpty { continue }
      logger.warning("holds that Redis had forgotten are there again", ["requests": plan.decisions.count])
      holdsRestored.increment(by: plan.decisions.count)
      try await write(plan)
      hasGranted = true
    }
    // What was declined of a hold that was not there before.
    if hasGranted { try await mendRecords(hasForgotten: false) }
  }

  /// Gives those their seats again who were shown to have had them, if nobody else has them; of two who had the same,
  /// to who had them last. They stand in line still, and the others of them stay there.
  private func giveBackShown() async throws {
    let shown = try await Faults.point(.reserveCompare) {
      try mustBeSameRedis()
      return try await queue.holds.shownHolds(event: event)
    }
    for start in stride(from: 0, to: shown.count, by: Self.batchLimit) {
      let batch = Array(shown[start..<min(start + Self.batchLimit, shown.count)])
      let entries = try await Faults.point(.reserveCompare) {
        try mustBeSameRedis()
        return try await queue.waiting.entries(event: event, of: batch)
      }
      let waiting = zip(batch, entries).compactMap { hold, entry in entry.map { (hold, $0) } }
      let arrivals = try await arrivals(waiting.map(\.1))
      let plan = planner.grantAgain(
        zip(waiting, arrivals).map { Decision($1, .granted(tickets: $0.0.tickets, amount: $0.0.amount)) })
      if !plan.decisions.isEmpty {
        logger.notice("holds that were shown are there again", ["requests": plan.decisions.count])
        holdsRestored.increment(by: plan.decisions.count)
        try await write(plan)
      }
      let back = Set(plan.decisions.map(\.position))
      try await Faults.point(.reserveCompare) {
        try await owned.settle(batch.map { ($0.position, isBack: back.contains($0.position)) })
      }
    }
    shownHolds = 0
  }

  /// Payments that were given up, and are authorised after all: nobody in line can have what is free now, so that who has
  /// paid for it gets it. One whose seats are somebody else's gets as good ones, where its buyer has said that these will do,
  /// and else is let go of.
  ///
  /// What they are for, and for how much, says PostgreSQL, without which nothing could be bought with them either.
  /// - Returns: whether more of them can be decided at once.
  private func decideLate() async throws -> Bool {
    guard let lateCheck else {
      if EventLoop.shared.now < lateUntil { return false }
      let waiting = try await lateAttempts()
      latePayments = waiting.count
      if waiting.isEmpty { return false }
      askOfLate(Array(waiting.keys))
      return false
    }
    guard lateCheckEnded else { return false }
    (self.lateCheck, lateCheckEnded) = (nil, false)
    guard let check = await lateCheck.value else {
      lateUntil = EventLoop.shared.now + Self.seatCheckMilliseconds
      return false
    }
    if check.generation != generation { return true }
    let known = check.known
    let waiting = try await lateAttempts()
    let records = try await lateRecords(known.map(\.position))
    var payments: [ReservePlanner.LatePayment] = []
    var decisions: [(position: Int, decision: OwnedQueue.LateDecision)] = []
    for ((position, late), record) in zip(known, records) {
      guard let attempt = waiting[position] else { continue }
      if late.state != .declined || late.attempt != attempt {
        decisions.append((position, .moved))
      } else if let record, record.state == .declinedForGood, !late.isTooLate,
        record.tickets.sorted() == late.tickets.sorted()
      {
        payments.append(
          .init(
            position: position, tickets: record.tickets, amount: late.amount, takesOthers: late.takesOthers))
      } else {
        decisions.append((position, .refused))
      }
    }
    // Of which PostgreSQL has lost what they were for.
    let lost = Set(check.positions).subtracting(known.map(\.position))
    decisions += lost.filter { waiting[$0] != nil }.map { ($0, .refused) }
    for (payment, outcome) in planner.decideLate(payments) {
      switch outcome {
      case .same: decisions.append((payment.position, .same))
      case .others(let tickets):
        decisions.append((payment.position, .others(tickets, attempt: waiting[payment.position] ?? 0)))
      case .refused: decisions.append((payment.position, .refused))
      }
    }
    let tickets = Dictionary(uniqueKeysWithValues: payments.map { ($0.position, $0.tickets) })
    try await settleLate(decisions, own: tickets)
    latePayments = max(0, waiting.count - decisions.count)
    return latePayments > 0
  }

  private func lateAttempts() async throws -> [Int: Int] {
    try await Faults.point(.reserveLate) {
      try mustBeSameRedis()
      return try await queue.latePayments.attempts(event: event)
    }
  }

  private func lateRecords(_ positions: [Int]) async throws -> [RequestRecord?] {
    var records: [RequestRecord?] = []
    for start in stride(from: 0, to: positions.count, by: Self.batchLimit) {
      let batch = Array(positions[start..<min(start + Self.batchLimit, positions.count)])
      records += try await Faults.point(.reserveLate) {
        try mustBeSameRedis()
        return try await queue.inspection.records(event: event, positions: batch)
      }
    }
    return records
  }

  private func askOfLate(_ positions: [Int]) {
    lateCheckEnded = false
    lateCheck = Task { @LoopActor [event, generation, purchases] in
      let known = try? await Faults.point(
        .reserveLate,
        { try await purchases.late(event: event, generation: generation, positions: positions) })
      lateCheckEnded = true
      signal.raise()
      return known.map { LateCheck(generation: generation, positions: positions, known: $0) }
    }
  }

  /// - Parameter own: what those have paid for who get the same seats.
  private func settleLate(
    _ decisions: [(position: Int, decision: OwnedQueue.LateDecision)], own: [Int: [Int]]
  ) async throws {
    var rest = decisions[...]
    while !rest.isEmpty {
      var count = 0, written = 0
      for (position, _) in rest where written < ConfirmationStream.ticketsFinishedAtOnce {
        count += 1
        written += own[position]?.count ?? 1
      }
      let batch = rest.prefix(count)
      rest = rest.dropFirst(count)
      let refused = try await Faults.point(.reserveLate) {
        try mustBeSameRedis()
        return try await owned.settleLate(Array(batch))
      }
      // Prices are changing: with the next map.
      guard let refused else { throw Reload() }
      let isRefused = Set(refused)
      var same = 0, others = 0
      for (position, decision) in batch {
        switch decision {
        case .same where isRefused.contains(position): planner.release(own[position] ?? [])
        case .others(let tickets, _) where isRefused.contains(position): planner.release(tickets)
        case .same: same += 1
        case .others: others += 1
        case .refused, .moved: break
        }
      }
      paidLate.increment(by: same + others)
      tooLate.increment(by: refused.count)
      logger.notice(
        "payments that came late are decided",
        ["same_seats": same, "other_seats": others, "let_go": refused.count])
    }
  }

  private func takeOver() async throws -> OwnedQueue.LoadedQueue {
    try await Faults.point(.reserveLoad) {
      try await owned.takeOver()
    }
  }

  /// Whether Redis has lost what it had said before, about this queue at least.
  private func isOlderCopy(_ loaded: OwnedQueue.LoadedQueue) async throws -> Bool {
    if loaded.state == "lost" { return true }
    let isKnown = memory.note(
      event: event, generation: loaded.generation, reach: loaded.tail + loaded.rejoined)
    let paid = try await Faults.point(.reserveSeats) {
      try await seats.lastPaidPosition(event: event, generation: loaded.generation)
    }
    if !isKnown || paid > loaded.tail { return true }
    let beginning = try await Faults.point(.reserveSeats) {
      try await seats.begin(event: event, generation: loaded.generation)
    }
    if beginning == .now { firstOwned = loaded.generation }
    return beginning == .tooLate
  }

  /// Makes room for a new life of the queue, which the calendar begins. What was sold stays sold; whoever was in line is
  /// told that the place is lost.
  private func remove(_ loaded: OwnedQueue.LoadedQueue) async throws {
    // What it says of ends is true, as far as it goes.
    await endNotes.noteAll(load: loadNumber)
    // Also where it is lost already: whoever said so may not have let go of all its seats.
    try await Faults.point(.reserveMarkLost) {
      while try await owned.markLost(generation: loaded.generation) {}
    }
    logger.error(
      "Redis came back with an older state of the queue: it begins anew", ["queue.tail": loaded.tail])
    try await Faults.point(.reserveMarkLost) {
      try await owned.remove(generation: loaded.generation, tail: loaded.tail)
    }
    lost.increment()
    memory.forget(event: event)
  }

  private func serve() async throws {
    while true {
      try Task.checkCancellation()
      let now = EventLoop.shared.now
      let interval = planner.map.counts.held > 0 ? Self.tickMilliseconds : Self.idleMilliseconds
      if signal.isRaised || now >= tickedAt + interval {
        signal.reset()
        try await tick()
      }
      try await checkSeats()
      if witness.mustLoadAnew { throw Reload() }
      // What is not ours to give is not given meanwhile. Many may be lost one after the other, and the line goes on.
      if isOutdated, EventLoop.shared.now >= loadedAt + Self.outdatedMilliseconds { throw Reload() }
      if state == "closed" {
        if published != counts { try await write() }
        if planner.map.counts.held == 0, try await archiveQueue() { return }
        await signal.wait(milliseconds: Self.tickMilliseconds)
        continue
      }
      if now >= undecidedUntil {
        if undecidedUntil > 0 {
          // What was shown until now.
          undecidedUntil = 0
          try await tick()
        }
        if shownHolds > 0, !isForReturning { try await giveBackShown() }
        if state == "open", !isSoldOut, try await advance() { continue }
        // Of a sale that is sold out nobody is read any more.
        if state == "open", latePayments > 0, isSoldOut || !planner.isAhead(of: tail),
          try await decideLate()
        {
          continue
        }
      }
      if published != counts { try await write(idle: isIdle) }
      await signal.wait(milliseconds: waitMilliseconds())
    }
  }

  private func waitMilliseconds() -> UInt64 {
    let interval = planner.map.counts.held > 0 ? Self.tickMilliseconds : Self.idleMilliseconds
    if pace.isLimited && (tail > planner.head || planner.isUnfinished) { return min(interval, 50) }
    return undecidedUntil > 0 ? min(interval, Self.tickMilliseconds) : interval
  }

  private var counts: Counts {
    Counts(
      head: planner.head, free: planner.map.counts.free, held: planner.map.counts.held,
      sold: planner.map.counts.sold)
  }

  /// Reads and decides one batch. - Returns: whether it is worth coming back at once.
  private func advance() async throws -> Bool {
    if planner.isSoldOut {
      try await write()
      return false
    }
    let allowed = pace.allowance(now: EventLoop.shared.now)
    if allowed == 0 { return false }
    let head = planner.head
    try await readWaiting()
    let next = try await Faults.point(.reserveRead) {
      try mustBeSameRedis()
      return try await queue.waiting.next(
        event: event, after: head, without: planner.waiting.keys, limit: Self.batchLimit)
    }
    tail = max(tail, next.tail)
    let plan = planner.plan(
      try await arrivals(next.entries), tail: next.isAll ? next.tail : nil, grants: allowed)
    if plan.isEmpty && planner.head == head {
      if next.isAll && !isIdle { try await write(idle: true, tail: next.tail) }
      return plan.goesOn
    }
    try await write(plan, tail: next.tail)
    if plan.decisions.isEmpty && plan.ends.isEmpty && !plan.goesOn && next.isAll {
      try await sleep(milliseconds: Self.passingMilliseconds)
    }
    return true
  }

  /// Reads those who come next in lines that wait, where free seats may satisfy them.
  private func readWaiting() async throws {
    if mustReadAlone {
      let alone = try await Faults.point(.reserveRead) {
        try mustBeSameRedis()
        return try await queue.waiting.alone(event: event)
      }
      mustReadAlone = false
      for arrival in alone where planner.alone[arrival.position] == nil { planner.add(alone: arrival) }
    }
    let lines = planner.unread.map { ($0.line, $0.after, min($0.atMost, Self.batchLimit)) }
    if lines.isEmpty { return }
    let entries = try await Faults.point(.reserveRead) {
      try mustBeSameRedis()
      return try await queue.waiting.entries(event: event, of: lines)
    }
    for (line, entries) in zip(lines, entries) { planner.add(try await arrivals(entries), to: line.0) }
  }

  private func arrivals(_ entries: [WaitingLines.Entry]) async throws -> [Arrival] {
    // Lines are made by whoever is the first in them.
    if entries.contains(where: { wishes[$0.line] == nil }) {
      wishes = try await Faults.point(.reserveRead) { try await queue.waiting.wishes(event: event) }
    }
    return entries.map { $0.arrival(wish: wishes[$0.line] ?? "") }
  }

  /// - Parameter tail: as it was seen; whoever came since has not been looked at.
  private func write(
    _ plan: ReservePlanner.Plan = ReservePlanner.Plan(), idle: Bool = false, tail: Int? = nil
  ) async throws {
    let granted = plan.granted
    let now = EventLoop.shared.now
    speed.record(granted, now: now)
    let soldOut = planner.isSoldOut && state == "open"
    let map = planner.map
    let snapshot = OwnedQueue.LineSnapshot(
      head: planner.head, tail: tail ?? self.tail, isSoldOut: soldOut, free: map.counts.free,
      held: map.counts.held, sold: map.counts.sold,
      grantedPerSecond: speed.perSecond(now: now), isIdle: idle)
    let answer = try await Faults.point(.reserveCommit) {
      try mustBeSameRedis()
      return try await owned.commit(snapshot: snapshot, plan: plan)
    }
    switch answer {
    // Prices are changing: with the next map.
    case .conflict(let tickets) where tickets.isEmpty:
      try await sleep(milliseconds: Self.passingMilliseconds)
      throw Reload()
    case .conflict(let tickets):
      foreignLocks.formUnion(tickets)
      logger.retrying("tickets are locked by a hold that is not known", ["tickets": tickets.count])
      throw Reload()
    case .written(let skipped):
      backoff = Self.firstBackoffMilliseconds
      pace.spend(granted)
      grants.increment(by: granted)
      decided.increment(by: plan.decisions.count)
      if !plan.decisions.isEmpty { batches.record(Double(plan.decisions.count)) }
      planner.settle(plan, skipped: Set(skipped))
      memory.granted(event: event, plan, skipped: Set(skipped), generation: generation, now: now)
    }
    isIdle = idle
    published = Counts(head: snapshot.head, free: snapshot.free, held: snapshot.held, sold: snapshot.sold)
    if soldOut {
      isSoldOut = true
      logger.info("sold out", ["seats.sold": map.counts.sold, "queue.head": planner.head])
    }
  }

  private func tick() async throws {
    var more = true
    while more {
      let tick = try await Faults.point(.reserveTick) {
        try mustBeSameRedis()
        return try await owned.tick(limit: Self.expiryLimit)
      }
      if !tick.expired.isEmpty {
        planner.release(tick.expired)
        if !withheldInUse.isDisjoint(with: tick.expired) { throw Reload() }
        memory.letGo(event: event, tick.expired)
      }
      for feedback in tick.feedback {
        switch feedback {
        case .released(let tickets):
          planner.release(tickets)
          if !withheldInUse.isDisjoint(with: tickets) { throw Reload() }
          memory.letGo(event: event, tickets)
        case .sold(let tickets):
          planner.sell(tickets)
          memory.letGo(event: event, tickets)
        case .kept: mustReadAlone = true
        case .left(let position): planner.leave(position)
        case .lost: isOutdated = true
        }
      }
      waiting.value = Double(tick.waiting)
      if state != tick.state { logger.info("event state", ["event.state": tick.state]) }
      if tick.tail > tail || tick.state != state { isIdle = isIdle && tick.tail <= planner.head }
      // An operator's change may have brought tickets, which those who ask for them must find.
      if tick.version != settingsVersion { mustCheckSeats = true }
      settingsVersion = tick.version
      state = tick.state
      tail = tick.tail
      let isKnown = memory.note(event: event, generation: generation, reach: tail + tick.rejoined)
      if state == "lost" || !isKnown { throw Reload() }
      endNotes.note(tick, generation: generation, load: loadNumber)
      pace.setRate(tick.rate)
      shownHolds = tick.shownHolds
      latePayments = tick.latePayments
      isForReturning = tick.isForReturning
      more = tick.hasMore
    }
    tickedAt = EventLoop.shared.now
    // One right after a load says little: it may have been woken for what fails next.
    if tickedAt >= loadedAt + Self.longestBackoffMilliseconds { backoff = Self.firstBackoffMilliseconds }
    logger.worksAgain("grant loop starts over")
  }

  /// Notices tickets that were added, claims that have ended, and locks that are gone.
  private func checkSeats() async throws {
    if seatCheckEnded || mustCheckSeats, let seatCheck { try await take(seatCheck) }
    let now = EventLoop.shared.now
    guard mustCheckSeats || now >= seatsCheckedAt + Self.seatCheckMilliseconds, seatCheck == nil else {
      return
    }
    seatsCheckedAt = now
    if !foreignLocks.isEmpty {
      let still = try await Faults.point(.reserveLocks) {
        try await queue.holds.lockedTickets(event: event, Array(foreignLocks))
      }
      if still.count < foreignLocks.count {
        foreignLocks = Set(still)
        throw Reload()
      }
    }
    // PostgreSQL may be away: the loop goes on with what it knows.
    let check = Task { @LoopActor [event, seats, orphanedClaims] in
      let seen = try? await Faults.point(
        .reserveSeats, { try await seats.check(event: event, claims: Array(orphanedClaims)) })
      seatCheckEnded = true
      signal.raise()
      return seen
    }
    seatCheck = check
    if mustCheckSeats {
      mustCheckSeats = false
      try await take(check)
    }
  }

  /// Loads anew if what was found differs from what the memory says.
  private func take(_ check: Task<SeatStore.Check?, Never>) async throws {
    let seen = await check.value
    (seatCheck, seatCheckEnded) = (nil, false)
    if let seen, seen.ticketVersion != seatVersion || seen.openClaims < seen.askedClaims { throw Reload() }
  }

  private func archiveQueue() async throws -> Bool {
    try await Faults.point(.reserveArchive) { try await archive.run(event: event, epoch: epoch) }
  }
}
