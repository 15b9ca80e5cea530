import Archive
import EventLoop
import Indexer
import Ledger
import Logging
import Metrics
import Postgres
import Queue
import Redis
import Sale
import Search
import TestDatabases
import TestServers
import Testing

/// A database, a Redis and an index of the test's own, with indexers in this process.
@LoopActor
final class IndexerFixture {
  let events: EventStore
  let queue: QueueStore
  let index: SwitchedIndex
  let metrics = MetricsRegistry()
  let redisServer: TestRedis
  private let database: LeasedDatabase
  private let postgres: PostgresClient
  private let redis: RedisClient
  private let configuration: RedisConfiguration
  private var indexers: [Indexer] = []

  init() async throws {
    let logger = Logger(label: "test")
    database = try await LeasedDatabase.take(searchSchema: PostgresSearchIndex.schema)
    postgres = try await TestDatabase.connect(database.url, connections: 4)
    events = EventStore(postgres)
    index = SwitchedIndex(PostgresSearchIndex(postgres))
    redisServer = try TestRedis()
    configuration = try RedisConfiguration(url: redisServer.url)
    redis = RedisClient(configuration, logger: logger, prepare: QueueStore.prepare)
    redis.start()
    try await redis.waitUntilReady(milliseconds: 10_000)
    queue = QueueStore(redis)
    // Whoever publishes counts must own the partition.
    for partition in Partition.all { _ = try await queue.leases.own(partition, epoch: 1) }
  }

  /// - Parameter listens: whether it hears of the queues' changes, or must find them.
  func makeIndexer(
    listens: Bool = true, _ change: (inout Indexer.Configuration) -> Void = { _ in }
  ) -> Indexer {
    var configuration = Indexer.Configuration()
    configuration.tickMilliseconds = 20
    configuration.sweepMilliseconds = 100
    configuration.checkMilliseconds = 200
    configuration.retryMilliseconds = 50
    configuration.batch = 20
    configuration.read = 7
    configuration.page = 10
    change(&configuration)
    return Indexer(
      source: IndexSource(postgres), queue: queue, redis: listens ? self.configuration : nil, index: index,
      logger: Logger(label: "test"), configuration: configuration, metrics: metrics)
  }

  func startIndexer(
    listens: Bool = true, _ change: (inout Indexer.Configuration) -> Void = { _ in }
  ) async throws {
    let indexer = makeIndexer(listens: listens, change)
    try await indexer.start()
    indexers.append(indexer)
  }

  func end() async {
    await stopIndexers()
    redis.close()
    postgres.close()
    database.giveBack()
  }

  /// A new event of one section with `tickets` places, open unless it is to be a draft.
  func makeEvent(_ name: String, tickets: Int = 10, opensAt: Int? = nil, isDraft: Bool = false) async throws
    -> Int
  {
    var draft = EventDraft(
      name: name, location: "Hall", date: 2_000_000_000, currency: "EUR",
      sections: [
        SectionDraft(name: "A", price: 5_000, capacity: tickets - 1),
        SectionDraft(name: "B", price: 2_000, capacity: 1),
      ])
    draft.onsaleAt = opensAt
    let id = try await events.create(draft, by: "test").id
    if !isDraft { try await move(id, to: .open) }
    return id
  }

  func move(_ event: Int, to state: EventState) async throws {
    let settings = try await events.move(event: event, to: state, by: "test")
    try await events.publish(settings, to: queue)
  }

  /// What the owner of the seats says.
  func publish(_ event: Int, free: Int, held: Int, sold: Int, bitmap: [UInt8] = []) async throws {
    try await queue.owned(event: event, epoch: 1).publishMap(
      bitmap: bitmap, free: free, held: held, sold: sold, reopened: false)
  }

  /// Once Redis answers again.
  func publishWhenBack(_ event: Int, free: Int, held: Int, sold: Int) async throws {
    for attempt in 1... {
      do { return try await publish(event, free: free, held: held, sold: sold) } catch let error as RedisError
      {
        if attempt == 500 { throw error }
        try await sleep(milliseconds: 20)
      }
    }
  }

  /// Takes the event's queue out of Redis, as it is when its outcome is archived.
  func forgetQueue(_ event: Int) async throws {
    let prefix = "{p\(Partition(of: event).number)}:"
    _ = try await redis.command(["DEL", .text("\(prefix)\(event):m")])
    _ = try await redis.command(["SREM", .text("\(prefix)events"), .integer(event)])
  }

  /// What time does: anybody may write the event again.
  func endRefreshInterval(_ event: Int) async throws {
    _ = try await redis.command([
      "DEL", .text("{p\(Partition(of: event).number)}:\(event):s:\(index.inner.place)"),
    ])
  }

  /// Ends the indexers that were started so far.
  func stopIndexers() async {
    for indexer in indexers { await indexer.stop() }
    indexers = []
  }

  func query(_ sql: SQL) async throws { _ = try await postgres.query(sql) }

  func find(_ terms: String, section: String = "") async throws -> [SearchHit] {
    let query = SearchQuery(terms: terms, section: section, includeSoldOut: true, limit: 100)
    return try await index.inner.search(query).hits
  }

  /// Waits until a search finds what is expected.
  func wait(
    _ what: Comment, for terms: String, section: String = "",
    sourceLocation: SourceLocation = #_sourceLocation, until isRight: ([SearchHit]) -> Bool
  ) async throws {
    var last: [SearchHit] = []
    for _ in 0..<1_500 {
      last = try await find(terms, section: section)
      if isRight(last) { return }
      try await sleep(milliseconds: 20)
    }
    Issue.record("\(what): found \(last)", sourceLocation: sourceLocation)
  }

  /// Waits until the indexer has nothing left to write.
  func waitUntilQuiet() async throws {
    let pending = metrics.gauge("onsale_index_pending", "")
    for _ in 0..<1_500 where pending.value > 0 { try await sleep(milliseconds: 20) }
  }
}

/// An index that can be away, and counts what is asked of it.
@LoopActor
final class SwitchedIndex: SearchIndex {
  nonisolated let name = "switched"
  let inner: any SearchIndex
  var isAway = false
  private(set) var written: [SearchDocument] = []
  private(set) var preparations = 0
  /// How often somebody wanted to write.
  private(set) var claims = 0

  init(_ inner: any SearchIndex) { self.inner = inner }

  var place: String {
    claims += 1
    return inner.place
  }

  private func check() throws { if isAway { throw SearchError(.unavailable, "switched off") } }

  func prepare() async throws {
    try check()
    try await inner.prepare()
    preparations += 1
  }

  func search(_ query: SearchQuery) async throws -> SearchPage {
    try check()
    return try await inner.search(query)
  }

  func apply(_ documents: [SearchDocument]) async throws {
    try check()
    try await inner.apply(documents)
    written += documents
  }

  func remove(_ ids: [Int]) async throws {
    try check()
    try await inner.remove(ids)
  }

  func indexedVersions(after id: Int, limit: Int) async throws -> [(id: Int, version: Int)] {
    try check()
    return try await inner.indexedVersions(after: id, limit: limit)
  }

  func rebuild(_ batch: @LoopActor () async throws -> [SearchDocument]?) async throws {
    try check()
    try await inner.rebuild(batch)
  }
}
