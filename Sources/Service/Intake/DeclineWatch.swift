package import EventLoop
import FaultInjection
import HTTPCommon
import HTTPServer
package import Identity
package import Ledger
import Lifecycle
package import Logging
import Metrics
package import Sale
import StoreCommon

/// Knows within a second or two which cards were refused at any server, so that who tests cards is told to wait, from
/// memory: nothing is asked for where buyers pay. While PostgreSQL is away what is known stays.
@LoopActor
package final class DeclineWatch {
  private static let milliseconds: UInt64 = 1_000
  private static let pageSize = 10_000
  /// Numbers are given out before they are committed: so many of the last are read once more.
  private static let overlap = 1_000
  private static let tidyMilliseconds: UInt64 = 600_000

  private let store: DeclineStore
  private let names: ClientNames
  private let logger: Logger
  private var limits: DeclineLimits
  private var last = 0
  /// Numbers up to `last` that were counted, of those that are read once more.
  private var counted: Set<Int> = []
  private var tidiedAt: UInt64 = 0
  private var task: Task<Void, Never>?
  private let refused = MetricsRegistry.shared.counter(
    "onsale_card_tries_refused_total", "Payments that were not begun, as too many cards were refused before")

  package init(
    _ store: DeclineStore, names: ClientNames, limits: DeclineLimits = DeclineLimits(), logger: Logger
  ) {
    self.store = store
    self.names = names
    self.limits = limits
    self.logger = logger
  }

  package func start() async {
    try? await look()
    task = Task {
      await repeatRounds(
        "refused cards cannot be read", pauseMilliseconds: Self.milliseconds, pausesFirst: true, logger
      ) {
        try await look()
        return false
      }
    }
  }

  package func stop() async {
    task?.cancel()
    await task?.value
  }

  /// Reads what is new.
  package func look() async throws {
    var from = max(0, last - Self.overlap)
    while true {
      let page = try await Faults.point(.intakeDeclines) {
        try await store.declines(after: from, limit: Self.pageSize)
      }
      let now = Self.now
      for known in page where counted.insert(known.number).inserted {
        let decline = known.decline
        let client = decline.client.isEmpty ? nil : decline.client
        limits.note(user: decline.user, client: client, event: decline.event, now: now, past: known.age)
      }
      if let number = page.last?.number { (from, last) = (number, max(last, number)) }
      if page.count < Self.pageSize { break }
    }
    if counted.count > 2 * Self.overlap { counted = counted.filter { $0 > last - Self.overlap } }
    if EventLoop.shared.now >= tidiedAt + Self.tidyMilliseconds {
      tidiedAt = EventLoop.shared.now
      var count = Self.pageSize
      while count == Self.pageSize {
        count = try await Faults.point(.intakeDeclines) {
          try await store.forget(olderThanSeconds: DeclineLimits.seconds, limit: Self.pageSize)
        }
      }
    }
  }

  /// Where a request comes from, as it is written down.
  func name(of request: HTTPRequest) -> String { names.name(of: request.client) }

  /// - Throws: 429 `too_many_declines` while the next card must not be tried yet.
  func check(user: String, client: String, event: Int) throws(Problem) {
    let wait = limits.wait(user: UserKey(user).text, client: client, event: event, now: Self.now)
    guard wait > 0 else { return }
    refused.increment()
    throw Problem(
      429, "too_many_declines",
      "Too many cards were refused lately. What is held stays held until its time is over.",
      retryAfter: (wait + 999) / 1_000)
  }

  private static var now: Int { Int(EventLoop.shared.now) }
}
