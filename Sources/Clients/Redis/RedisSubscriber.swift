package import EventLoop
package import Logging

/// Listens to channels on a connection of its own, and comes back by itself when that is lost.
///
/// Redis keeps nothing for those who are away: `onSubscribed` says, after each (re)subscription, that messages may
/// have been missed before this moment and none from now on.
@LoopActor
package final class RedisSubscriber {
  private static let tickMilliseconds: UInt64 = 500
  /// Ticks further apart than this mean that the process was stopped: what arrived meanwhile is read first.
  private static let pauseMilliseconds: UInt64 = 2000

  private let configuration: RedisConfiguration
  private let channels: [String]
  private let logger: Logger
  private let onSubscribed: @LoopActor () -> Void
  private let onMessage: @LoopActor (_ channel: String, _ message: [UInt8]) -> Void
  private var connection: RedisConnection?
  private var confirmed: Set<String> = []
  private var backoff = Backoff(firstMilliseconds: 50, limitMilliseconds: 2000)
  private let ticker = LoopTimer()
  private let reconnectTimer = LoopTimer()
  private var lastTick: UInt64 = 0
  /// When Redis was last heard of on this connection; `nil` before the subscription was sent.
  private var heardAt: UInt64?
  private var readySince: UInt64 = 0
  private var isClosed = false
  package private(set) var isReady = false

  package init(
    _ configuration: RedisConfiguration, channels: [String], logger: Logger,
    onSubscribed: @escaping @LoopActor () -> Void,
    onMessage: @escaping @LoopActor (_ channel: String, _ message: [UInt8]) -> Void
  ) {
    precondition(!channels.isEmpty, "a subscriber has channels")
    self.configuration = configuration
    self.channels = channels
    self.logger = logger.with(["redis.host": configuration.host, "redis.port": configuration.port])
    self.onSubscribed = onSubscribed
    self.onMessage = onMessage
  }

  package func start() {
    lastTick = EventLoop.shared.now
    ticker.schedule(afterMilliseconds: Self.tickMilliseconds, every: Self.tickMilliseconds) { [weak self] in
      self?.tick()
    }
    connect()
  }

  /// Nothing is reported afterwards.
  package func close() {
    guard !isClosed else { return }
    isClosed = true
    isReady = false
    ticker.cancel()
    reconnectTimer.cancel()
    let connection = connection
    self.connection = nil
    connection?.discard(RedisError(.connectionLost, "the subscriber is closed"))
  }

  private func connect() {
    weak var opened: RedisConnection?
    let connection = RedisConnection(
      configuration, onOpen: { [weak self] in if let opened { self?.opened(opened) } },
      onEnd: { [weak self] error in self?.ended(opened, error) })
    opened = connection
    confirmed = []
    heardAt = nil
    self.connection = connection
    connection.open()
  }

  private func opened(_ connection: RedisConnection) {
    // Owned by the connection: all it waits for fails when that ends.
    Task { @LoopActor in
      do throws(RedisError) {
        try await connection.greet()
      } catch {
        return connection.discard(error)
      }
      heardAt = EventLoop.shared.now
      connection.subscribe(channels) { [weak self, weak connection] channel, message in
        guard let self, let connection, connection === self.connection else { return }
        heard(channel, message)
      }
    }
  }

  private func heard(_ channel: String, _ message: [UInt8]?) {
    heardAt = EventLoop.shared.now
    if let message { return onMessage(channel, message) }
    confirmed.insert(channel)
    guard !isReady, confirmed.count == channels.count else { return }
    isReady = true
    readySince = EventLoop.shared.now
    logger.info("redis: subscribed", ["redis.channels": channels.count])
    logger.worksAgain("redis: subscription lost")
    onSubscribed()
  }

  private func ended(_ connection: RedisConnection?, _ error: RedisError) {
    guard !isClosed, connection === self.connection else { return }
    if isReady { backoff.ended(afterMilliseconds: EventLoop.shared.now - readySince) }
    logger.retrying("redis: subscription lost", ["error": "\(error)"])
    isReady = false
    self.connection = nil
    reconnectTimer.schedule(afterMilliseconds: backoff.next()) { [weak self] in self?.connect() }
  }

  private func tick() {
    let now = EventLoop.shared.now
    defer { lastTick = now }
    guard let connection, now <= lastTick + Self.pauseMilliseconds else { return }
    connection.checkDeadlines(now: now)
    guard let heardAt else { return }
    let silence = now - min(now, heardAt)
    if silence > configuration.timeoutMilliseconds {
      connection.discard(RedisError(.timeout, "the channel's connection is silent"))
    } else if isReady, silence > configuration.timeoutMilliseconds / 3 {
      // Subscribing again is the probe: hiredis 0.14 cannot match the answer to a PING on such a connection.
      connection.subscribe([channels[0]]) { [weak self, weak connection] channel, message in
        guard let self, let connection, connection === self.connection else { return }
        heard(channel, message)
      }
    }
  }
}
