import EventLoop
import FaultInjection
import Foundation
import HTTPClient
import Identity
import Ledger
import Lifecycle
import Logging
import Metrics
import Sale

/// Sends one endpoint its messages: a batch at a time, those of a batch at once.
@LoopActor
final class EndpointSender {
  /// Connections to one endpoint from this process, and messages under way.
  static let batch = 16
  /// For an answer.
  private static let timeoutMilliseconds = 10_000
  /// Of a lease, after which a message is not sent any more: it may be another's soon.
  private static let freshMilliseconds = UInt64(WebhookStore.leaseSeconds) * 500
  private static let idleMilliseconds: UInt64 = 500

  var endpoint: WebhookEndpoint
  /// Whether messages are under way.
  private(set) var isBusy = false
  private let store: WebhookStore
  private let client: HTTPClient
  private let format: WebhookFormat
  private let allowsPlain: Bool
  private let logger: Logger
  /// Has what Redis told of these events written down.
  private let hear: @LoopActor (Set<Int>) async -> Void
  private var health = WebhookHealth()
  private var isStopping = false
  private var task: Task<Void, Never>?

  init(
    _ endpoint: WebhookEndpoint, store: WebhookStore, client: HTTPClient, format: WebhookFormat,
    allowsPlain: Bool, logger: Logger, hear: @escaping @LoopActor (Set<Int>) async -> Void
  ) {
    self.endpoint = endpoint
    self.store = store
    self.client = client
    self.format = format
    self.allowsPlain = allowsPlain
    self.logger = logger.with(["webhook.endpoint": endpoint.id])
    self.hear = hear
  }

  func start() { task = Task { @LoopActor in await run() } }

  /// Takes no more; what is under way ends by itself.
  func stop() { isStopping = true }

  func end() async {
    task?.cancel()
    await task?.value
  }

  private func run() async {
    await repeatRounds(
      "messages could not be read or noted", pauseMilliseconds: Self.idleMilliseconds, logger
    ) {
      if isStopping { throw CancellationError() }
      defer { isBusy = false }
      return try await round()
    }
  }

  /// - Returns: whether there is more to send at once.
  private func round() async throws -> Bool {
    let allowance = health.allowance(of: Self.batch, now: EventLoop.shared.now)
    if allowance == 0 { return false }
    let leasedAt = EventLoop.shared.now
    isBusy = true
    let leased = try await Faults.point(.webhookDue) {
      try await store.due(for: endpoint.id, limit: allowance)
    }
    if leased.isEmpty { return false }
    let messages = try await first(of: leased)
    let sending = messages.map { message in Task { @LoopActor in await send(message, leasedAt: leasedAt) } }
    var taken: [WebhookMessage] = [], failed: [WebhookStore.Failure] = []
    var askedSeconds: Int?
    for (message, task) in zip(messages, sending) {
      switch await task.value {
      case .taken: taken.append(message)
      case .failed(let problem, let asked):
        failed.append(failure(message, problem))
        askedSeconds = max(askedSeconds ?? 0, asked ?? 0)
      case .left: break
      }
    }
    health.note(
      hasTaken: !taken.isEmpty, hasRefused: !failed.isEmpty, askedSeconds: askedSeconds,
      now: EventLoop.shared.now, random: .random(in: 0...1))
    if failed.isEmpty { logger.worksAgain("an endpoint does not take messages") }
    count("delivered", taken.count)
    count("failed", failed.count)
    count("died", failed.count(where: \.isDead))
    try await Faults.point(.webhookSent) { try await store.note(taken: taken, failed: failed) }
    return leased.count == allowance
  }

  /// A purchase is committed after its hold was told to Redis, which may be written down later: it waits for that.
  private func first(of leased: [WebhookMessage]) async throws -> [WebhookMessage] {
    guard endpoint.hears(.holdGranted) || endpoint.hears(.holdExpired) else { return leased }
    let events = leased.filter {
      WebhookType(rawValue: $0.type)?.comesFromTheLine == false && $0.position > 0
    }
    .map(\.event)
    if events.isEmpty { return leased }
    await hear(Set(events))
    return try await Faults.point(.webhookDue) { try await store.stillFirst(leased) }
  }

  private func failure(_ message: WebhookMessage, _ problem: String) -> WebhookStore.Failure {
    let isDead = message.ageSeconds >= WebhookRetry.seconds
    let said: StaticString = "an endpoint does not take messages"
    logger.retrying(said, ["webhook.id": message.id, "webhook.attempts": message.attempts, "error": problem])
    if isDead { logger.error("a message is a dead letter", ["webhook.id": message.id, "error": problem]) }
    return WebhookStore.Failure(
      message: message, problem: problem,
      pauseSeconds: WebhookRetry.pause(after: message.attempts, random: .random(in: 0...1)), isDead: isDead)
  }

  private enum Outcome {
    case taken
    case failed(String, askedSeconds: Int?)
    /// Not sent: the lease was too old, or the process ends.
    case left
  }

  private func send(_ message: WebhookMessage, leasedAt: UInt64) async -> Outcome {
    if EventLoop.shared.now > leasedAt + Self.freshMilliseconds { return .left }
    if AddressPolicy.problem(with: endpoint.url, allowsPlain: allowsPlain) != nil {
      return .failed("the address is not allowed", askedSeconds: nil)
    }
    do {
      let body = try format.body(message)
      let secrets = endpoint.secrets.compactMap { WebhookSecret($0) }
      let headers = format.headers(message, body, secrets: secrets, now: WallClock.milliseconds / 1_000)
      let request = HTTPClientRequest(
        method: "POST", url: endpoint.url, headers: headers, body: body,
        timeoutMilliseconds: Self.timeoutMilliseconds)
      let response = try await Faults.point(.webhookSend) { try await client.send(request) }
      if (200..<300).contains(response.status) { return .taken }
      let asked =
        [429, 503].contains(response.status) ? response.header("Retry-After").flatMap { Int($0) } : nil
      return .failed("HTTP \(response.status)", askedSeconds: asked)
    } catch let error as HTTPClientError where error.code == .closed {
      return .left
    } catch is CancellationError {
      return .left
    } catch {
      return .failed("\(error)", askedSeconds: nil)
    }
  }

  private func count(_ outcome: String, _ number: Int) {
    if number == 0 { return }
    MetricsRegistry.shared.counter(
      "onsale_webhooks_total", "Messages to systems outside",
      labels: [("endpoint", String(endpoint.id)), ("outcome", outcome)]
    ).increment(by: number)
  }
}
