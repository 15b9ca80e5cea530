package import EventLoop
package import Metrics

/// Answers searches from memory for a second, asks the backend once for all who ask the same meanwhile, and
/// serves what it has, however old, when the backend fails.
@LoopActor
package final class CachedSearch {
  /// How much it keeps, and for how long.
  package struct Configuration: Sendable {
    /// For how long an answer counts as fresh, in milliseconds.
    package var freshMilliseconds: UInt64 = 1_000
    /// How old an answer may be when there is no better one, in milliseconds.
    package var staleMilliseconds: UInt64 = 3_600_000
    /// Answers kept; the oldest go first.
    package var capacity = 2_000
    /// Different searches at the backend at a time. Past it an old answer is served, or the search fails.
    package var concurrency = 64

    package init() {}
  }

  package struct Answer: Sendable {
    package let page: SearchPage
    /// Milliseconds since the backend answered this.
    package let ageMilliseconds: Int
    /// Whether the backend failed, so that this is older than the cache usually allows.
    package let isStale: Bool
  }

  private struct Entry {
    let page: SearchPage
    let storedAt: UInt64
  }

  private typealias Outcome = Result<SearchPage, any Error>

  private let index: any SearchIndex
  private let configuration: Configuration
  private let now: @LoopActor () -> UInt64
  private var entries: [SearchQuery: Entry] = [:]
  /// Keys in the order in which they were stored; a key stored again stands here twice, and counts at its last.
  private var order: [(query: SearchQuery, storedAt: UInt64)] = []
  private var oldest = 0
  private var waiting: [SearchQuery: [UnsafeContinuation<Outcome, Never>]] = [:]

  private let hits: Counter
  private let misses: Counter
  private let stale: Counter

  /// - Parameter now: milliseconds on a clock that never goes back.
  package init(
    _ index: any SearchIndex, _ configuration: Configuration = Configuration(),
    metrics: MetricsRegistry = .shared, now: @escaping @LoopActor () -> UInt64 = { EventLoop.shared.now }
  ) {
    self.index = index
    self.configuration = configuration
    self.now = now
    let name = "onsale_search_total"
    let help = "Searches, by where their answer came from"
    hits = metrics.counter(name, help, labels: [("from", "cache")])
    misses = metrics.counter(name, help, labels: [("from", "backend")])
    stale = metrics.counter(name, help, labels: [("from", "stale_cache")])
  }

  /// The fresh answer in memory, or `nil`; never waits.
  package func cached(_ query: SearchQuery) -> Answer? {
    guard let entry = entries[query], age(entry) < configuration.freshMilliseconds else { return nil }
    hits.increment()
    return Answer(page: entry.page, ageMilliseconds: Int(age(entry)), isStale: false)
  }

  /// - Throws: `SearchError`, where the backend failed and nothing was kept.
  package func search(_ query: SearchQuery) async throws -> Answer {
    if let answer = cached(query) { return answer }
    do {
      return Answer(page: try await ask(query), ageMilliseconds: 0, isStale: false)
    } catch {
      guard let entry = entries[query], age(entry) < configuration.staleMilliseconds else { throw error }
      stale.increment()
      return Answer(page: entry.page, ageMilliseconds: Int(age(entry)), isStale: true)
    }
  }

  private func age(_ entry: Entry) -> UInt64 {
    let now = now()
    return now > entry.storedAt ? now - entry.storedAt : 0
  }

  private func ask(_ query: SearchQuery) async throws -> SearchPage {
    if waiting[query] == nil {
      guard waiting.count < configuration.concurrency else {
        throw SearchError(.overloaded, "\(waiting.count) searches are under way")
      }
      waiting[query] = []
      misses.increment()
      // Owned by this cache, and not by the caller who came first: the others want the answer even if that one
      // is cancelled. `concurrency` bounds how many there are.
      Task { @LoopActor in await run(query) }
    }
    return try await withUnsafeContinuation { waiting[query, default: []].append($0) }.get()
  }

  private func run(_ query: SearchQuery) async {
    let outcome: Outcome
    do {
      outcome = .success(try await index.search(query))
    } catch {
      outcome = .failure(error)
    }
    if case .success(let page) = outcome { store(page, query) }
    for continuation in waiting.removeValue(forKey: query) ?? [] { continuation.resume(returning: outcome) }
  }

  private func store(_ page: SearchPage, _ query: SearchQuery) {
    let now = now()
    entries[query] = Entry(page: page, storedAt: now)
    order.append((query, now))
    while entries.count > configuration.capacity || order.count - oldest > 2 * configuration.capacity {
      let candidate = order[oldest]
      oldest += 1
      if entries[candidate.query]?.storedAt == candidate.storedAt { entries[candidate.query] = nil }
    }
    // Let go of what was passed, once it is worth the copy.
    if oldest > configuration.capacity {
      order.removeFirst(oldest)
      oldest = 0
    }
  }
}
