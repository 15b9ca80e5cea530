package import EventLoop
import FaultInjection
package import HTTPClient
package import Identity
package import Ledger
import Lifecycle
package import Logging
import Metrics
package import Queue
import Sale

/// Tells systems outside what has happened: reads the outbox in PostgreSQL, after it has written there what Redis tells.
///
/// Any number of processes may do this. Each endpoint is served by itself: one that is away, or slow, keeps no other one
/// waiting.
@LoopActor
package final class WebhookSender: Service {
  private static let lookMilliseconds: UInt64 = 1_000
  private static let newsMilliseconds: UInt64 = 250
  private static let tidyMilliseconds: UInt64 = 5_000
  /// Redis goes on to keep news for so long after the last endpoint for them is gone: another process may know of a new one.
  private static let deafMilliseconds: UInt64 = 60_000
  /// What is under way when a worker stops may take so long.
  private static let stopMilliseconds: UInt64 = 1_500

  package let name = "webhooks"
  private let store: WebhookStore
  private let queue: QueueNews
  private let client: HTTPClient
  private let format: WebhookFormat
  private let allowsPlain: Bool
  private let logger: Logger
  private var running: [Task<Void, Never>] = []
  private var endpoints: [Int: EndpointSender] = [:]
  private var isStopping = false
  /// When news were last wanted, or might be as far as this process knew.
  private var heardAt: UInt64
  private var isListening = false
  /// Redis may keep news that nobody wants any more, be it since before this process began.
  private var mustEnd = true

  /// - Parameters:
  ///   - client: connects to no address that endpoints may not have.
  ///   - ids: writes the ids of requests; without it messages name none.
  ///   - allowsPlain: whether endpoints on this machine may be without TLS.
  package init(
    store: WebhookStore, queue: QueueNews, client: HTTPClient, ids: RequestIDCoder?, allowsPlain: Bool,
    logger: Logger
  ) {
    self.store = store
    self.queue = queue
    self.client = client
    format = WebhookFormat(ids: ids)
    self.allowsPlain = allowsPlain
    self.logger = logger
    heardAt = EventLoop.shared.now
  }

  /// Bytes of an answer, which nobody looks at.
  private static let longestAnswer = 64 << 10

  /// How endpoints are reached: no redirects, no proxies, no addresses but those that are allowed, little time.
  package static func clientConfiguration(_ policy: AddressPolicy) -> HTTPClientConfiguration {
    var configuration = HTTPClientConfiguration()
    configuration.connectionsPerHost = EndpointSender.batch
    configuration.maximumResponseBody = longestAnswer
    configuration.connectsTo = { policy.allows($0) }
    return configuration
  }

  package func start() async throws {
    running = [
      Task { @LoopActor in
        await every(Self.lookMilliseconds, "webhook endpoints could not be read") { try await look() }
      },
      Task { @LoopActor in
        await every(Self.newsMilliseconds, "news for webhooks could not be written") { try await hear() }
      },
      Task { @LoopActor in
        await every(Self.tidyMilliseconds, "webhooks could not be tidied") { try await tidy() }
      },
    ]
  }

  package func stop() async {
    isStopping = true
    for task in running { task.cancel() }
    for endpoint in endpoints.values { endpoint.stop() }
    let end = EventLoop.shared.now + Self.stopMilliseconds
    while endpoints.values.contains(where: \.isBusy), EventLoop.shared.now < end {
      try? await sleep(milliseconds: 20)
    }
    // What is cut off is sent again, by whoever leases it next.
    client.close()
    for task in running { await task.value }
    for endpoint in endpoints.values { await endpoint.end() }
  }

  private func every(
    _ milliseconds: UInt64, _ problem: StaticString, _ body: @LoopActor () async throws -> Void
  ) async {
    await repeatRounds(problem, pauseMilliseconds: milliseconds, logger) {
      try await body()
      return false
    }
  }

  private func look() async throws {
    let known = try await Faults.point(.webhookEndpoints) { try await store.endpoints() }
    let now = EventLoop.shared.now
    for endpoint in known {
      if let sender = endpoints[endpoint.id] {
        sender.endpoint = endpoint
      } else if !isStopping {
        let sender = EndpointSender(
          endpoint, store: store, client: client, format: format, allowsPlain: allowsPlain, logger: logger
        ) { [unowned self] events in await hearFirst(events) }
        endpoints[endpoint.id] = sender
        sender.start()
      }
    }
    let ids = Set(known.map(\.id))
    for (id, sender) in endpoints where !ids.contains(id) {
      sender.stop()
      endpoints[id] = nil
      forget(id)
    }
    let wantsNews = known.contains { endpoint in
      endpoint.types.isEmpty || endpoint.types.contains { $0.comesFromTheLine }
    }
    if wantsNews {
      heardAt = now
      (isListening, mustEnd) = (true, true)
      // Each time: a Redis that came back empty does not know.
      try await Faults.point(.webhookNews) { try await queue.listen(true) }
    } else if mustEnd, now >= heardAt + Self.deafMilliseconds {
      try await Faults.point(.webhookNews) { try await queue.listen(false) }
      (isListening, mustEnd) = (false, false)
    }
  }

  /// Writes down what Redis tells.
  private func hear() async throws {
    guard isListening else { return }
    try await hear(Partition.all)
  }

  private func hear(_ partitions: some Collection<Partition>) async throws {
    while true {
      let news = try await Faults.point(.webhookNews) { try await queue.oldest(partitions) }
      if news.isEmpty { return }
      try await Faults.point(.webhookNews) { try await store.write(news) }
      try await Faults.point(.webhookNews) { try await queue.forget(news) }
      // What has come since is for the next time.
      let byPartition = Dictionary(grouping: news, by: \.partition)
      if !byPartition.values.contains(where: { $0.count >= QueueNews.atOnce }) { return }
    }
  }

  /// What Redis has told of these events is written down, as far as Redis answers.
  private func hearFirst(_ events: Set<Int>) async {
    guard isListening else { return }
    do { try await hear(Set(events.map { Partition(of: $0) })) } catch {
      logger.retrying("news for webhooks could not be written", ["error": "\(error)"])
    }
  }

  // MARK: Figures

  private static let gauges = [
    ("onsale_webhooks_waiting", "Messages that wait for an endpoint"),
    ("onsale_webhooks_dead", "Dead letters of an endpoint"),
    ("onsale_webhooks_age_seconds", "Age of the oldest message that waits for an endpoint"),
  ]

  private func tidy() async throws {
    try await Faults.point(.webhookTidy) { try await store.tidy() }
    for endpoint in endpoints.values.map(\.endpoint) {
      let values = [endpoint.waiting, endpoint.dead, endpoint.ageSeconds]
      for ((name, help), value) in zip(Self.gauges, values) {
        MetricsRegistry.shared.gauge(name, help, labels: [("endpoint", String(endpoint.id))]).value =
          Double(value)
      }
      if endpoint.isFull {
        logger.retrying(
          "an endpoint has as many messages as may wait: no more are written", level: .error,
          ["webhook.endpoint": endpoint.id])
      }
    }
    if endpoints.isEmpty { return }
    let lost = try await Faults.point(.webhookTidy) { try await queue.lost() }
    MetricsRegistry.shared.gauge(
      "onsale_webhooks_news_lost", "News of holds that found no room in Redis, since it has its data"
    ).value = Double(lost)
  }

  private func forget(_ endpoint: Int) {
    for (name, _) in Self.gauges {
      MetricsRegistry.shared.remove(name, labels: [("endpoint", String(endpoint))])
    }
  }
}
