package import Compression
package import EventLoop
package import Metrics

/// Answers searches from memory for half a second, asks the backend once for all who ask the same meanwhile, and
/// serves what it has, however old, when the backend fails or takes long.
@LoopActor
package final class CachedSearch {
  /// How much it keeps, and for how long.
  package struct Configuration: Sendable {
    /// For how long an answer counts as fresh, in milliseconds.
    package var freshMilliseconds: UInt64 = 500
    /// How old an answer may be when there is no better one, in milliseconds.
    package var staleMilliseconds: UInt64 = 3_600_000
    /// Answers kept; the oldest go first.
    package var capacity = 2_000
    /// Different searches at the backend at a time. Past it an old answer is served, or the search fails: a flood
    /// of searches then waits neither here nor at the backend, and leaves the rest of the process alone.
    package var concurrency = 64
    /// How long a search may take, in milliseconds, until its caller is told that it failed.
    package var deadlineMilliseconds: UInt64 = 2_000
    /// How long a caller waits for a new answer when there is an old one, in milliseconds.
    package var patienceMilliseconds: UInt64 = 500

    package init() {}
  }

  package struct Answer: Sendable {
    package let page: SearchPage
    /// `page` as the caller writes it down, once for all who get it.
    package let body: SharedBody
    /// Milliseconds since this was true, as far as the backend knows.
    package let ageMilliseconds: Int
    /// Whether the backend failed, so that this is older than the cache usually allows.
    package let isStale: Bool
  }

  private struct Entry {
    let page: SearchPage
    let body: SharedBody
    let storedAt: UInt64
  }

  private typealias Outcome = Result<Entry, any Error>

  /// One question to the backend, and who waits for it.
  @LoopActor
  private final class Flight {
    var waiting: [UnsafeContinuation<Outcome, Never>] = []
    let patience = LoopTimer()
    let deadline = LoopTimer()

    func answer(_ outcome: Outcome) {
      let waiting = waiting
      self.waiting = []
      for continuation in waiting { continuation.resume(returning: outcome) }
    }
  }

  private let index: any SearchIndex
  private let configuration: Configuration
  private let now: @LoopActor () -> UInt64
  private var entries: [SearchQuery: Entry] = [:]
  /// Keys in the order in which they were stored; a key stored again stands here twice, and counts at its last.
  private var order: [(query: SearchQuery, storedAt: UInt64)] = []
  private var oldest = 0
  private var flights: [SearchQuery: Flight] = [:]
  private let render: @LoopActor (SearchPage) -> [UInt8]
  /// When a search last failed, for those with an old answer.
  private var failedAt: UInt64?

  private let hits: Counter
  private let misses: Counter
  private let stale: Counter
  private let refused: Counter

  /// - Parameters:
  ///   - render: writes a page down.
  ///   - now: milliseconds on a clock that never goes back.
  package init(
    _ index: any SearchIndex, _ configuration: Configuration = Configuration(),
    metrics: MetricsRegistry = .shared, render: @escaping @LoopActor (SearchPage) -> [UInt8] = { _ in [] },
    now: @escaping @LoopActor () -> UInt64 = { EventLoop.shared.now }
  ) {
    self.index = index
    self.configuration = configuration
    self.render = render
    self.now = now
    let name = "onsale_search_total"
    let help = "Searches, by where their answer came from"
    hits = metrics.counter(name, help, labels: [("from", "cache")])
    misses = metrics.counter(name, help, labels: [("from", "backend")])
    stale = metrics.counter(name, help, labels: [("from", "stale_cache")])
    refused = metrics.counter(name, help, labels: [("from", "nowhere")])
  }

  /// The fresh answer in memory, or `nil`; never waits.
  package func cached(_ query: SearchQuery) -> Answer? {
    guard let entry = entries[query], sinceStored(entry) < configuration.freshMilliseconds else { return nil }
    hits.increment()
    return answer(entry, isStale: false)
  }

  /// For what can do without: waits no longer than a moment, and takes a part of all searches under way at most, so that
  /// whoever searches comes first.
  /// - Returns: `nil` where there is no answer by then; it is kept when it comes.
  package func search(_ query: SearchQuery, withinMilliseconds milliseconds: UInt64) async throws -> Answer? {
    if let answer = cached(query) { return answer }
    guard flights[query] != nil || flights.count < configuration.concurrency / Self.shareOfWhoCanDoWithout
    else {
      return nil
    }
    let first = First()
    Task { @LoopActor in
      do { first.end(.success(try await search(query))) } catch { first.end(.failure(error)) }
    }
    return try await first.value(withinMilliseconds: milliseconds)
  }

  private static let shareOfWhoCanDoWithout = 4

  /// An answer, or that it has not come in time.
  @LoopActor
  private final class First {
    private let timer = LoopTimer()
    private var outcome: Result<Answer?, any Error>?
    private var waiting: UnsafeContinuation<Answer?, any Error>?

    func end(_ outcome: Result<Answer?, any Error>) {
      guard self.outcome == nil else { return }
      self.outcome = outcome
      timer.cancel()
      waiting?.resume(with: outcome)
      waiting = nil
    }

    func value(withinMilliseconds milliseconds: UInt64) async throws -> Answer? {
      try await withUnsafeThrowingContinuation { continuation in
        if let outcome { return continuation.resume(with: outcome) }
        waiting = continuation
        timer.schedule(afterMilliseconds: milliseconds) { [weak self] in self?.end(.success(nil)) }
      }
    }
  }

  /// - Throws: `SearchError`, where the backend failed or took too long and nothing was kept.
  package func search(_ query: SearchQuery) async throws -> Answer {
    if let answer = cached(query) { return answer }
    let old = entries[query].flatMap { sinceStored($0) < configuration.staleMilliseconds ? $0 : nil }
    // It failed a moment ago: whoever can do with an old answer does not make it worse.
    if let old, let failedAt, now() - failedAt < configuration.freshMilliseconds {
      stale.increment()
      return answer(old, isStale: true)
    }
    do {
      let entry = try await ask(query)
      let isStale = entry.storedAt == old?.storedAt
      if isStale { stale.increment() }
      return answer(entry, isStale: isStale)
    } catch {
      guard let old else {
        refused.increment()
        throw error
      }
      stale.increment()
      return answer(old, isStale: true)
    }
  }

  private func answer(_ entry: Entry, isStale: Bool) -> Answer {
    Answer(
      page: entry.page, body: entry.body,
      ageMilliseconds: Int(sinceStored(entry)) + entry.page.ageMilliseconds,
      isStale: isStale)
  }

  private func sinceStored(_ entry: Entry) -> UInt64 {
    let now = now()
    return now > entry.storedAt ? now - entry.storedAt : 0
  }

  private func ask(_ query: SearchQuery) async throws -> Entry {
    let flight: Flight
    if let underway = flights[query] {
      flight = underway
    } else {
      guard flights.count < configuration.concurrency else {
        throw SearchError(.overloaded, "\(flights.count) searches are under way")
      }
      flight = Flight()
      flights[query] = flight
      misses.increment()
      start(flight, query)
    }
    return try await withUnsafeContinuation { flight.waiting.append($0) }.get()
  }

  private func start(_ flight: Flight, _ query: SearchQuery) {
    // Again and again, for those who come later; also below.
    let deadline = configuration.deadlineMilliseconds
    flight.deadline.schedule(afterMilliseconds: deadline, every: deadline) { [weak flight] in
      flight?.answer(.failure(SearchError(.unavailable, "the search took too long")))
    }
    if let old = entries[query], sinceStored(old) < configuration.staleMilliseconds {
      let patience = configuration.patienceMilliseconds
      flight.patience.schedule(afterMilliseconds: patience, every: patience) { [weak flight] in
        flight?.answer(.success(old))
      }
    }
    // Owned by this cache, and not by the caller who came first: the others want the answer even if that one
    // is cancelled. `concurrency` bounds how many there are, and the backend's own limit ends each.
    Task { @LoopActor in
      let outcome: Outcome
      do {
        outcome = .success(store(try await index.search(query), query))
        failedAt = nil
      } catch {
        failedAt = now()
        outcome = .failure(error)
      }
      flights[query] = nil
      flight.patience.cancel()
      flight.deadline.cancel()
      flight.answer(outcome)
    }
  }

  private func store(_ page: SearchPage, _ query: SearchQuery) -> Entry {
    let now = now()
    let entry = Entry(page: page, body: SharedBody(render(page)), storedAt: now)
    entries[query] = entry
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
    return entry
  }
}
