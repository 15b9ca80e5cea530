package import EventLoop
import FaultInjection
package import Ledger
import Lifecycle
package import Logging
package import Metrics
package import Queue
package import Redis
package import Sale
package import Search

/// Keeps the search index like PostgreSQL and the queues in Redis.
///
/// It hears of the queues' changes, and of events' changes by looking every second, which also finds what it did
/// not hear. Several indexers share the work event by event, by claims in Redis; writes carry versions, so that one
/// that was interrupted does no harm. It goes on with what it has while Redis or PostgreSQL is away, and catches up
/// when the index was.
@LoopActor
package final class Indexer: Service {
  package struct Configuration: Sendable {
    /// From the beginning of one write of an event to that of the next, in milliseconds, however many indexers
    /// there are.
    package var refreshMilliseconds: UInt64 = 500
    /// How long an indexer may take to write an event before others think that it died, in milliseconds.
    package var claimMilliseconds: UInt64 = 2_000
    /// How often pending changes are looked at, in milliseconds.
    package var tickMilliseconds: UInt64 = 100
    /// How often events and queues are compared with what is indexed, in milliseconds.
    package var sweepMilliseconds: UInt64 = 1_000
    /// How often the index itself is read, to find what is missing in it, in milliseconds.
    package var checkMilliseconds: UInt64 = 30_000
    /// After a failed write, in milliseconds.
    package var retryMilliseconds: UInt64 = 1_000
    /// Events in one write.
    package var batch = 500
    /// Events whose tickets are counted in one statement.
    package var read = 50
    /// Queues that are read at a time.
    package var queues = 200
    /// Rows in one read of versions.
    package var page = 5_000

    package init() {}
  }

  package let name = "indexer"

  private let source: IndexSource
  private let queue: QueueStore
  private let index: any SearchIndex
  private let logger: Logger
  private let configuration: Configuration
  private var subscriber: RedisSubscriber?
  private var ledger = IndexLedger()
  private let openSections: OpenSections
  private var fingerprint: IndexSource.Fingerprint?
  private var runner: Task<Void, Never>?

  private var isPrepared = false
  private var sweepAt: UInt64 = 0
  private var checkAt: UInt64 = 0
  private var retryAt: UInt64 = 0
  private var progressAt: UInt64 = 0

  private let lag: Gauge
  private let documents: Gauge
  private let pending: Gauge
  private let writes: Counter
  private let deferrals: Counter
  private let failures: Counter

  /// - Parameters:
  ///   - redis: where to listen for changes; `nil` only sweeps.
  ///   - zone: of venues whose events name none.
  package init(
    source: IndexSource, queue: QueueStore, redis: RedisConfiguration?, index: any SearchIndex,
    zone: VenueZone = .utc, logger: Logger,
    configuration: Configuration = Configuration(), metrics: MetricsRegistry = .shared
  ) {
    self.source = source
    self.queue = queue
    self.index = index
    ledger.zone = zone
    self.logger = logger
    self.configuration = configuration
    openSections = OpenSections(source: source, queue: queue.reader, concurrency: configuration.queues)
    lag = metrics.gauge(
      "onsale_index_lag_seconds", "Age of the oldest change that is not in the search index")
    documents = metrics.gauge("onsale_index_documents", "Events in the search index")
    pending = metrics.gauge("onsale_index_pending", "Events whose changes are not in the search index")
    writes = metrics.counter("onsale_index_writes_total", "Documents written to the search index")
    deferrals = metrics.counter(
      "onsale_index_deferrals_total",
      "Changed events that waited because another indexer wrote them, or had a moment ago; each until it is written"
    )
    failures = metrics.counter("onsale_index_failures_total", "Failed reads and writes of the indexer")
    if let redis {
      subscriber = RedisSubscriber(
        redis, channels: Partition.all.map(\.changes), logger: logger,
        onSubscribed: { [weak self] in self?.sweepAt = 0 },
        onMessage: { [weak self] _, message in self?.hear(message) })
    }
  }

  /// Returns at once; the index may be away.
  package func start() async throws {
    subscriber?.start()
    // Owned by this service: `stop` cancels it and waits for its end.
    runner = Task { @LoopActor [weak self] in
      while !Task.isCancelled, let self {
        await self.turn()
        try? await sleep(milliseconds: self.configuration.tickMilliseconds)
      }
    }
  }

  /// Finishes the write that is under way.
  package func stop() async {
    subscriber?.close()
    runner?.cancel()
    await runner?.value
    runner = nil
  }

  private func hear(_ message: [UInt8]) {
    guard let change = QueueChange(message) else { return }
    ledger.learn(queue: change.event, change.document, now: EventLoop.shared.now)
  }

  private func turn() async {
    let now = EventLoop.shared.now
    if now >= sweepAt {
      sweepAt = now + configuration.sweepMilliseconds
      await attempt("events cannot be read") { try await self.readEvents() }
      await attempt("queues cannot be read") { try await self.readQueues() }
    }
    if now >= retryAt {
      let isWell = await attempt("the search index cannot be written") {
        try await self.check()
        // Bounded, so that what is read does not grow old meanwhile.
        for _ in 0..<10 {
          guard try await self.write() else { break }
          self.measure()
        }
      }
      if !isWell {
        retryAt = EventLoop.shared.now + configuration.retryMilliseconds
        // It may have come back empty.
        isPrepared = false
      }
    }
    measure()
  }

  private func measure() {
    lag.value = Double(ledger.lag(now: EventLoop.shared.now)) / 1_000
    pending.value = Double(ledger.pending.count)
    documents.value = Double(ledger.documents)
  }

  @discardableResult
  private func attempt(_ problem: StaticString, _ body: @LoopActor () async throws -> Void) async -> Bool {
    do {
      try await body()
      logger.worksAgain(problem)
      return true
    } catch {
      if Task.isCancelled { return false }
      failures.increment()
      logger.retrying(problem, ["error": "\(error)"])
      return false
    }
  }

  // MARK: Reading

  private func readEvents() async throws {
    let current = try await Faults.point(.indexChanged) { try await source.fingerprint() }
    if current == fingerprint { return }
    var all: [Int: IndexSource.EventVersion] = [:]
    var last = 0
    while true {
      let page = try await Faults.point(.indexEvents) {
        try await source.versions(after: last, limit: configuration.page)
      }
      for (id, event) in page { all[id] = event }
      guard page.count == configuration.page, let end = page.last?.id else { break }
      last = end
    }
    ledger.learn(events: all, now: EventLoop.shared.now)
    fingerprint = current
  }

  private func readQueues() async throws {
    do {
      var all: [Int: QueueDocument] = [:]
      for partition in Partition.all {
        let ids = try await Faults.point(.indexQueues) { try await queue.reader.liveEvents(partition) }
        for start in stride(from: 0, to: ids.count, by: configuration.queues) {
          // Owned here, and awaited below: the client sends them in one go.
          let reads = ids[start..<min(start + configuration.queues, ids.count)].map { id in
            (
              id,
              Task { @LoopActor in
                try await Faults.point(.indexDocument) { try await queue.reader.document(event: id) }
              }
            )
          }
          for (id, read) in reads { all[id] = try await read.value }
        }
      }
      ledger.learn(queues: all, now: EventLoop.shared.now)
      openSections.keep(where: ledger.hasQueue)
    } catch {
      ledger.loseQueues()
      throw error
    }
  }

  /// Reads what is in the index, first of all and then now and then.
  private func check() async throws {
    if !isPrepared {
      try await Faults.point(.indexPrepare) { try await index.prepare() }
      isPrepared = true
    }
    guard EventLoop.shared.now >= checkAt else { return }
    var all: [Int: Int] = [:]
    var last = Int.min
    while true {
      let page = try await Faults.point(.indexVersions) {
        try await index.indexedVersions(after: last, limit: configuration.page)
      }
      for (id, version) in page { all[id] = version }
      guard page.count == configuration.page, let end = page.last?.id else { break }
      last = end
    }
    // Before the first successful reading of events everything in the index would look as if it were gone.
    guard fingerprint != nil else { return }
    ledger.learn(indexed: all, now: EventLoop.shared.now)
    checkAt = EventLoop.shared.now + configuration.checkMilliseconds
  }

  // MARK: Writing

  /// Writes one batch of changes.
  /// - Returns: whether there may be more.
  private func write() async throws -> Bool {
    guard fingerprint != nil else { return false }
    var taken = ledger.take(limit: configuration.batch, now: EventLoop.shared.now)
    if taken.isEmpty || Task.isCancelled {
      ledger.putBack(taken)
      return false
    }
    let isFull = taken.count == configuration.batch
    let token = String(UInt64.random(in: 0...UInt64.max), radix: 36)
    await claim(&taken, token)
    // Not until here: whoever claims next does so later by the whole interval.
    let claimedAt = EventLoop.shared.now
    var facts: [Int: IndexSource.Facts] = [:]
    var problem: (any Error)?
    let unknown = ledger.withoutFacts(taken.keys)
    if !unknown.isEmpty {
      do {
        for start in stride(from: 0, to: unknown.count, by: configuration.read) {
          let some = Array(unknown[start..<min(start + configuration.read, unknown.count)])
          for fact in try await Faults.point(.indexRead, { try await source.facts(some) }) {
            facts[fact.id] = fact
          }
        }
      } catch {
        // The others' counts move on without PostgreSQL.
        problem = error
        ledger.putBack(taken.filter { unknown.contains($0.key) })
        for id in unknown { taken[id] = nil }
      }
    }
    let open = await openSections.read(ledger.withSeatsInQueue(taken.keys, facts))
    let batch = ledger.batch(taken.keys, facts, open: open)
    do {
      if !batch.documents.isEmpty {
        try await Faults.point(.indexWrite) { try await index.apply(batch.documents) }
      }
      if !batch.removed.isEmpty {
        try await Faults.point(.indexRemove) { try await index.remove(batch.removed) }
      }
    } catch {
      ledger.putBack(taken)
      await endClaims(taken.keys, token, since: claimedAt)
      throw error
    }
    ledger.settle(
      batch, facts, nextAt: claimedAt + configuration.refreshMilliseconds, now: EventLoop.shared.now)
    await endClaims(taken.keys, token, since: claimedAt, batch.documents)
    writes.increment(by: batch.documents.count)
    report()
    if let problem { throw problem }
    return isFull
  }

  /// Leaves those that this process may write now. Without Redis each process knows only when it wrote an event
  /// itself, and then nothing changes but what organizers do.
  private func claim(_ taken: inout [Int: UInt64], _ token: String) async {
    let milliseconds = configuration.claimMilliseconds
    let longest = max(
      QueueLeases.longestMilliseconds, 2 * Int(max(milliseconds, configuration.refreshMilliseconds)))
    let claims = await forEach(Array(taken.keys)) { [queue, place = index.place] id in
      try await Faults.point(.indexClaim) {
        try await queue.refreshes.claim(
          event: id, place: place, token: token, milliseconds: milliseconds, longest: longest)
      }
    }
    let until = EventLoop.shared.now + configuration.tickMilliseconds
    for (id, claim) in claims {
      guard case .taken(let version) = claim, let since = taken.removeValue(forKey: id) else { continue }
      if ledger.putBack(id, since: since, written: version, until: until) { deferrals.increment() }
    }
  }

  /// They were written, or may have been: nobody does so again until the interval is over.
  private func endClaims(
    _ ids: some Collection<Int>, _ token: String, since claimedAt: UInt64, _ documents: [SearchDocument] = []
  ) async {
    let versions = Dictionary(documents.map { ($0.id, $0.version) }, uniquingKeysWith: max)
    let nextAt = claimedAt + configuration.refreshMilliseconds
    let now = EventLoop.shared.now
    let milliseconds = nextAt > now ? nextAt - now : 1
    _ = await forEach(Array(ids)) { [queue, place = index.place] id in
      try await Faults.point(.indexWritten) {
        try await queue.refreshes.end(
          event: id, place: place, token: token, version: versions[id], milliseconds: milliseconds)
      }
    }
  }

  /// Asks Redis about many events at a time, a bounded number; those that it did not answer are left out.
  private func forEach<Answer: Sendable>(
    _ ids: [Int], _ body: @escaping @LoopActor (Int) async throws -> Answer
  ) async -> [Int: Answer] {
    var answers: [Int: Answer] = [:]
    for start in stride(from: 0, to: ids.count, by: configuration.queues) {
      // Owned here, and awaited below: the client sends them in one go.
      let calls = ids[start..<min(start + configuration.queues, ids.count)].map { id in
        (id, Task { @LoopActor in try? await body(id) })
      }
      for (id, call) in calls { answers[id] = await call.value }
    }
    return answers
  }

  private func report() {
    let now = EventLoop.shared.now
    guard ledger.pending.count >= 2 * configuration.batch, now >= progressAt else { return }
    progressAt = now + 5_000
    logger.info(
      "search index is catching up",
      ["search.documents": ledger.documents, "search.pending": ledger.pending.count])
  }

  /// Builds the index anew, while searches and, in other processes, writes go on. Not to be called on a
  /// started indexer: it is a command of its own.
  /// - Parameter onProgress: told now and then how many events are done, and how many there are.
  /// - Returns: how many documents were written.
  package func reindex(
    onProgress: @LoopActor (_ done: Int, _ of: Int) -> Void = { _, _ in }
  ) async throws -> Int {
    try await Faults.point(.indexPrepare) { try await index.prepare() }
    try await readEvents()
    // Without the queues' counts the new index would show tickets that are held as available.
    try await readQueues()
    var last = 0
    var written = 0
    var done = 0
    try await index.rebuild {
      let page = try await Faults.point(.indexEvents) {
        try await source.versions(after: last, limit: configuration.read)
      }
      guard let end = page.last?.id else { return nil }
      last = end
      let facts = try await Faults.point(.indexRead) { try await source.facts(page.map(\.id)) }
      let known = Dictionary(facts.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
      let open = await openSections.read(ledger.withSeatsInQueue(known.keys, known))
      let batch = facts.sorted { $0.id < $1.id }.compactMap { ledger.document($0, open: open[$0.id]) }
      written += batch.count
      done += page.count
      onProgress(min(done, ledger.events.count), ledger.events.count)
      return batch
    }
    logger.info("search index was rebuilt", ["search.documents": written])
    return written
  }
}
