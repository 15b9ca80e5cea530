import EventLoop
import Indexer
import Metrics
import Postgres
import Queue
import Search
import TestServers
import Testing

@testable import Sale

@Suite("Indexer", .timeLimit(.minutes(5)))
@LoopActor
struct IndexerTests {
  @Test("Events are found once they are for the public, with their prices and places")
  func events() async throws {
    let stage = try await IndexerFixture()
    try await stage.startIndexer()
    let open = try await stage.makeEvent("Mahler", tickets: 30)
    let announced = try await stage.makeEvent("Mahler announced", opensAt: 4_000_000_000, isDraft: true)
    let secret = try await stage.makeEvent("Mahler secret", isDraft: true)
    try await stage.wait("both public ones", for: "mahler") { Set($0.map(\.id)) == [open, announced] }
    try await stage.wait("as they are", for: "mahler") { hits in
      hits.first { $0.id == open }
        .map { [$0.available, $0.held, $0.minPrice, $0.maxPrice, $0.date] } == [
          30, 0, 2_000, 5_000, 2_000_000_000,
        ]
        && hits.first { $0.id == announced }?.onsaleState == "draft"
    }
    try await stage.move(secret, to: .open)
    try await stage.wait("the opened one", for: "secret") { $0.map(\.id) == [secret] }
    try await stage.query(
      "UPDATE event SET name = 'Brahms', version = version + 1 WHERE id = \(open)")
    try await stage.wait("the new name", for: "brahms") { $0.map(\.id) == [open] }
    await stage.end()
  }

  @Test("Counts follow the queue, heard of or not", arguments: [true, false])
  func counts(listens: Bool) async throws {
    let stage = try await IndexerFixture()
    // Without listening the sweep finds it; with it, the sweep is too rare to.
    try await stage.startIndexer(listens: listens) { if listens { $0.sweepMilliseconds = 1_500 } }
    let event = try await stage.makeEvent("Mahler", tickets: 10)
    try await stage.wait("the event", for: "mahler") { $0.first?.available == 10 }
    for step in 1...3 {
      try await stage.publish(event, free: 10 - 2 * step, held: step, sold: step)
      try await stage.wait("step \(step)", for: "mahler") {
        $0.first?.available == 10 - 2 * step && $0.first?.held == step
      }
    }
    await stage.end()
  }

  @Test("Sections with tickets left follow the queue's seats, and PostgreSQL's where there is no queue")
  func sections() async throws {
    let stage = try await IndexerFixture()
    try await stage.startIndexer()
    let event = try await stage.makeEvent("Mahler", tickets: 10)
    func wait(_ what: Comment, sections: [String]) async throws {
      for section in ["A", "B"] {
        try await stage.wait(what, for: "mahler", section: section) {
          $0.isEmpty == !sections.contains(section)
        }
      }
    }
    try await wait("both", sections: ["A", "B"])
    // The last ticket is B's only one.
    var bitmap: [UInt8] = [0, 0]
    bitmap[1] = 0b0010_0000
    try await stage.publish(event, free: 9, held: 1, sold: 0, bitmap: bitmap)
    try await wait("B's is held", sections: ["A"])
    try await stage.publish(event, free: 10, held: 0, sold: 0)
    try await wait("B's is free again", sections: ["A", "B"])
    let draft = try await stage.makeEvent("Brahms", tickets: 10, opensAt: 4_000_000_000, isDraft: true)
    try await stage.wait("the draft", for: "brahms", section: "B") { $0.map(\.id) == [draft] }
    await stage.end()
  }

  @Test("A storm of changes is written rarely, and the last one is what stays")
  func coalescing() async throws {
    let stage = try await IndexerFixture()
    try await stage.startIndexer { $0.refreshMilliseconds = 200 }
    let event = try await stage.makeEvent("Mahler", tickets: 1_000)
    try await stage.wait("the event", for: "mahler") { $0.first?.available == 1_000 }
    let before = stage.index.written.count
    let started = EventLoop.shared.now
    for sold in 1...500 { try await stage.publish(event, free: 1_000 - sold, held: 0, sold: sold) }
    try await stage.wait("the last one", for: "mahler") { $0.first?.available == 500 }
    let elapsed = Int(EventLoop.shared.now - started)
    #expect(stage.index.written.count - before <= elapsed / 200 + 2)
    let versions = stage.index.written.map(\.version)
    #expect(versions == versions.sorted(), "never back")
    await stage.end()
  }

  @Test("When a sale is over and its queue has left Redis, what is sold is taken from PostgreSQL")
  func afterTheSale() async throws {
    let stage = try await IndexerFixture()
    try await stage.startIndexer()
    let event = try await stage.makeEvent("Mahler", tickets: 10)
    try await stage.publish(event, free: 0, held: 4, sold: 6)
    try await stage.wait("the sale", for: "mahler") { $0.first?.held == 4 }
    try await stage.query(
      "UPDATE ticket SET purchased = true, payment_id = 'pi' WHERE event_id = \(event) AND id <= 6")
    try await stage.move(event, to: .closed)
    try await stage.wait("closed", for: "mahler") { $0.first?.onsaleState == "closed" }
    try await stage.forgetQueue(event)
    try await stage.wait("without holds", for: "mahler") { $0.first?.available == 4 && $0.first?.held == 0 }
    await stage.end()
  }

  @Test("Changes of events are indexed while Redis is away, and its counts once it is back")
  func withoutRedis() async throws {
    let stage = try await IndexerFixture()
    try await stage.startIndexer()
    let event = try await stage.makeEvent("Mahler", tickets: 10)
    try await stage.publish(event, free: 3, held: 2, sold: 5)
    try await stage.wait("the counts", for: "mahler") { $0.first?.available == 3 }
    stage.redisServer.stop()
    try await stage.query("UPDATE event SET name = 'Brahms', version = version + 1 WHERE id = \(event)")
    try await stage.wait("the new name, with the last counts", for: "brahms") { $0.first?.available == 3 }
    try stage.redisServer.start()
    try await stage.publishWhenBack(event, free: 1, held: 0, sold: 9)
    try await stage.wait("the new counts", for: "brahms") { $0.first?.available == 1 }
    await stage.end()
  }

  @Test("While the index is away the lag grows, and everything is written once it is back")
  func withoutIndex() async throws {
    let stage = try await IndexerFixture()
    stage.index.isAway = true
    try await stage.startIndexer()
    var ids: Set<Int> = []
    for number in 1...45 {
      ids.insert(try await stage.makeEvent("Mahler \(number)", tickets: 2, opensAt: 9, isDraft: true))
    }
    let lag = stage.metrics.gauge("onsale_index_lag_seconds", "")
    for _ in 0..<1_000 where lag.value == 0 { try await sleep(milliseconds: 10) }
    #expect(lag.value > 0)
    #expect(stage.index.written.isEmpty)
    stage.index.isAway = false
    try await stage.wait("all of them", for: "mahler") { Set($0.map(\.id)) == ids }
    try await stage.waitUntilQuiet()
    #expect(lag.value == 0)
    #expect(stage.metrics.gauge("onsale_index_documents", "").value == 45)
    #expect(Set(stage.index.written.map(\.id)).count == stage.index.written.count, "each once")
    #expect(stage.index.preparations == 1)

    // Once more, now that it was well: it may come back empty, so it is made ready anew.
    stage.index.isAway = true
    let late = try await stage.makeEvent("Brahms", tickets: 2, opensAt: 9, isDraft: true)
    for _ in 0..<1_000 where lag.value == 0 { try await sleep(milliseconds: 10) }
    stage.index.isAway = false
    try await stage.wait("the late one", for: "brahms") { $0.map(\.id) == [late] }
    #expect(stage.index.preparations == 2)
    await stage.end()
  }

  @Test("What the index lost is found and written again, and what does not exist is taken out")
  func repair() async throws {
    let stage = try await IndexerFixture()
    try await stage.startIndexer()
    let first = try await stage.makeEvent("Mahler one")
    let second = try await stage.makeEvent("Mahler two")
    try await stage.wait("both", for: "mahler") { $0.count == 2 }
    try await stage.index.inner.remove([first])
    try await stage.index.inner.apply([
      SearchDocument(
        id: 999, name: "Mahler ghost", location: "", date: 0, description: "", currency: "EUR", minPrice: 0,
        maxPrice: 0, available: 1, held: 0, onsaleState: "open", version: 1)
    ])
    try await stage.wait("both again", for: "mahler") { Set($0.map(\.id)) == [first, second] }
    await stage.end()
  }

  @Test("Several indexers at once agree")
  func several() async throws {
    let stage = try await IndexerFixture()
    for _ in 0..<3 { try await stage.startIndexer() }
    let event = try await stage.makeEvent("Mahler", tickets: 100)
    for sold in 1...50 { try await stage.publish(event, free: 100 - sold, held: 0, sold: sold) }
    try await stage.wait("the last", for: "mahler") { $0.first?.available == 50 }
    await stage.end()
  }

  @Test("Several indexers write an event once in an interval between them, also one that takes over")
  func sharedInterval() async throws {
    let stage = try await IndexerFixture()
    // An hour: nothing here waits for it to pass.
    func startIndexer() async throws { try await stage.startIndexer { $0.refreshMilliseconds = 3_600_000 } }
    let deferrals = stage.metrics.counter("onsale_index_deferrals_total", "")
    // Whoever may not write has tried in vain more than once by then.
    func waitForClaims() async throws {
      let before = stage.index.claims
      for _ in 0..<1_500 where stage.index.claims < before + 10 { try await sleep(milliseconds: 20) }
      #expect(stage.index.claims >= before + 10)
    }
    // Made before: who saw it half made would have written that, and nothing else for an hour.
    let event = try await stage.makeEvent("Mahler", tickets: 100)
    for _ in 0..<2 { try await startIndexer() }
    try await stage.wait("the event", for: "mahler") { $0.first?.available == 100 }
    #expect(stage.index.written.count == 1)
    try await stage.publish(event, free: 90, held: 10, sold: 0)
    try await waitForClaims()
    #expect(stage.index.written.count == 1)

    await stage.stopIndexers()
    let before = deferrals.value
    try await startIndexer()
    try await waitForClaims()
    #expect(stage.index.written.count == 1)
    #expect(deferrals.value == before + 1, "one change waits, however often it is tried")
    try await stage.endRefreshInterval(event)
    try await stage.wait("the change", for: "mahler") { $0.first?.available == 90 }
    #expect(stage.index.written.count == 2)
    await stage.end()
  }

  @Test("An indexer that dies while it writes an event keeps the others from it for a moment only")
  func deadIndexer() async throws {
    let stage = try await IndexerFixture()
    try await stage.startIndexer()
    let event = try await stage.makeEvent("Mahler", tickets: 100)
    try await stage.wait("the event", for: "mahler") { $0.first?.available == 100 }
    try await stage.endRefreshInterval(event)
    let place = stage.index.inner.place
    func claim() async throws -> RefreshClaims.Claim {
      try await stage.queue.refreshes.claim(event: event, place: place, token: "dead", milliseconds: 300)
    }
    #expect(try await claim() == .granted)
    #expect(try await claim() == .taken(version: nil))
    try await stage.publish(event, free: 90, held: 10, sold: 0)
    try await stage.wait("the change", for: "mahler") { $0.first?.available == 90 }
    await stage.end()
  }

  @Test("A rebuild writes everything anew with the queues' counts")
  func rebuild() async throws {
    let stage = try await IndexerFixture()
    let event = try await stage.makeEvent("Mahler", tickets: 10)
    for number in 1...20 {
      _ = try await stage.makeEvent("Brahms \(number)", tickets: 2, opensAt: 9, isDraft: true)
    }
    _ = try await stage.makeEvent("Secret", isDraft: true)
    try await stage.publish(event, free: 3, held: 2, sold: 5)
    #expect(try await stage.makeIndexer().reindex() == 21)
    #expect(try await stage.find("mahler").map(\.available) == [3])
    #expect(try await stage.find("brahms").count == 20)
    #expect(try await stage.find("secret").isEmpty)
    stage.redisServer.stop()
    await #expect(throws: (any Error).self) { try await stage.makeIndexer().reindex() }
    #expect(try await stage.find("mahler").map(\.available) == [3], "the old index stays")
    await stage.end()
  }
}
