import EventLoop
import Metrics
import Search
import Testing

/// A backend that answers when it is told to.
@LoopActor
private final class ScriptedIndex: SearchIndex {
  let name = "scripted"
  let place = "scripted"
  var searches = 0
  var isBroken = false
  /// While set, searches wait.
  var isHeld = false
  var ageMilliseconds = 0

  func prepare() async throws {}
  func apply(_ documents: [SearchDocument]) async throws {}
  func remove(_ ids: [Int]) async throws {}
  func indexedVersions(after id: Int, limit: Int) async throws -> [(id: Int, version: Int)] { [] }
  func rebuild(_ batch: @LoopActor () async throws -> [SearchDocument]?) async throws {}

  func search(_ query: SearchQuery) async throws -> SearchPage {
    searches += 1
    let number = searches
    while isHeld { try await sleep(milliseconds: 1) }
    if isBroken { throw SearchError(.unavailable, "broken") }
    return SearchPage(total: number, hits: [], nextCursor: nil, ageMilliseconds: ageMilliseconds)
  }
}

@Suite("Cached search", .timeLimit(.minutes(1)))
@LoopActor
struct CachedSearchTests {
  private let index = ScriptedIndex()
  private final class Clock { var now: UInt64 = 1_000 }
  private let clock = Clock()

  private func make(_ change: (inout CachedSearch.Configuration) -> Void = { _ in }) -> CachedSearch {
    var configuration = CachedSearch.Configuration()
    change(&configuration)
    let clock = clock
    return CachedSearch(index, configuration, metrics: MetricsRegistry(), now: { clock.now })
  }

  @Test("An answer is kept for half a second")
  func fresh() async throws {
    let search = make()
    let query = SearchQuery(terms: "mahler")
    #expect(search.cached(query) == nil)
    #expect(try await search.search(query).page.total == 1)
    clock.now += 499
    let kept = try await search.search(query)
    #expect(kept.page.total == 1 && kept.ageMilliseconds == 499 && !kept.isStale)
    #expect(search.cached(query)?.page.total == 1)
    clock.now += 1
    #expect(search.cached(query) == nil)
    #expect(try await search.search(query).page.total == 2)
    #expect(try await search.search(SearchQuery(terms: "brahms")).page.total == 3)
  }

  @Test("Everybody who asks the same meanwhile gets the answer of one search")
  func singleFlight() async throws {
    let search = make()
    index.isHeld = true
    let askers = (0..<50).map { _ in
      Task { @LoopActor in try await search.search(SearchQuery(terms: "mahler")).page.total }
    }
    while index.searches == 0 { try await sleep(milliseconds: 1) }
    index.isHeld = false
    for asker in askers { #expect(try await asker.value == 1) }
    #expect(index.searches == 1)
  }

  @Test("When the backend fails, the old answer is served with its age, and nothing is made up")
  func stale() async throws {
    let search = make { $0.staleMilliseconds = 60_000 }
    let query = SearchQuery(terms: "mahler")
    _ = try await search.search(query)
    index.isBroken = true
    clock.now += 30_000
    let old = try await search.search(query)
    #expect(old.page.total == 1 && old.ageMilliseconds == 30_000 && old.isStale)
    await #expect(throws: SearchError.self) { try await search.search(SearchQuery(terms: "brahms")) }
    clock.now += 30_000
    await #expect(throws: SearchError.self) { try await search.search(query) }
    index.isBroken = false
    #expect(try await !search.search(query).isStale)
  }

  @Test("No more answers are kept, and no more searches run at a time, than configured")
  func bounds() async throws {
    let search = make {
      $0.capacity = 10
      $0.concurrency = 2
    }
    for number in 0..<100 { _ = try await search.search(SearchQuery(terms: "\(number)")) }
    let kept = (0..<100).filter { search.cached(SearchQuery(terms: "\($0)")) != nil }
    #expect(kept == Array(90..<100))

    index.isHeld = true
    let before = index.searches
    async let first = search.search(SearchQuery(terms: "a"))
    async let second = search.search(SearchQuery(terms: "b"))
    while index.searches < before + 2 { try await sleep(milliseconds: 1) }
    await #expect(throws: SearchError.self) { try await search.search(SearchQuery(terms: "c")) }
    index.isHeld = false
    _ = try await (first, second)
  }

  @Test("Who waits too long is told so, or gets the old answer")
  func deadlines() async throws {
    let search = make {
      $0.deadlineMilliseconds = 30
      $0.patienceMilliseconds = 10
    }
    let query = SearchQuery(terms: "mahler")
    _ = try await search.search(query)
    index.isHeld = true
    clock.now += 2_000
    // One after the other, while the same question is under way all the time.
    for _ in 0..<3 {
      let old = try await search.search(query)
      #expect(old.page.total == 1 && old.ageMilliseconds == 2_000 && old.isStale)
      await #expect(throws: SearchError.self) { try await search.search(SearchQuery(terms: "brahms")) }
    }
    #expect(index.searches == 3)
    index.isHeld = false
    while search.cached(query) == nil { try await sleep(milliseconds: 1) }
    #expect(try await search.search(SearchQuery(terms: "brahms")).page.total == 3)
  }

  @Test("The age of a backend that is behind is added")
  func age() async throws {
    let search = make()
    index.ageMilliseconds = 5_000
    #expect(try await search.search(SearchQuery(terms: "mahler")).ageMilliseconds == 5_000)
    clock.now += 400
    #expect(search.cached(SearchQuery(terms: "mahler"))?.ageMilliseconds == 5_400)
  }
}
