import EventLoop
import Foundation
import Logging
import TestServers
import Testing

@testable import Redis

@LoopActor
@Suite("The Redis subscriber", .timeLimit(.minutes(3)))
struct RedisSubscriberTests {
  @Test("Messages of all channels arrive, in order, as bytes; after a restart it subscribes anew")
  func subscription() async throws {
    let logger = Logger(label: "test")
    let redis = try TestRedis()
    let configuration = try RedisConfiguration(url: redis.url)
    let (events, sink) = AsyncStream<String>.makeStream()
    let subscriber = RedisSubscriber(
      configuration, channels: ["one", "two"], logger: logger, onSubscribed: { sink.yield("subscribed") },
      onMessage: { channel, message in sink.yield("\(channel) \(message)") })
    subscriber.start()
    defer { subscriber.close() }
    var iterator = events.makeAsyncIterator()
    #expect(await iterator.next() == "subscribed")
    #expect(subscriber.isReady)

    let client = RedisClient(configuration, logger: logger)
    client.start()
    try await client.waitUntilReady(milliseconds: 60_000)
    defer { client.close() }
    _ = try await client.command(["PUBLISH", "one", .bytes([0, 255, 13, 10])])
    _ = try await client.command(["PUBLISH", "two", ""])
    _ = try await client.command(["PUBLISH", "three", "unheard"])
    #expect(await iterator.next() == "one [0, 255, 13, 10]")
    #expect(await iterator.next() == "two []")

    redis.stop()
    try redis.start()
    #expect(await iterator.next() == "subscribed")
    try await client.waitUntilReady(milliseconds: 60_000)
    _ = try await client.command(["PUBLISH", "one", "x"])
    #expect(await iterator.next() == "one [120]")
  }

  @Test("A connection that died silently is noticed and made anew")
  func silence() async throws {
    let redis = try TestRedis()
    var configuration = try RedisConfiguration(url: redis.url)
    configuration.timeoutMilliseconds = 600
    let (events, sink) = AsyncStream<String>.makeStream()
    let subscriber = RedisSubscriber(
      configuration, channels: ["c"], logger: Logger(label: "test"),
      onSubscribed: { sink.yield("subscribed") },
      onMessage: { _, _ in })
    subscriber.start()
    defer { subscriber.close() }
    var iterator = events.makeAsyncIterator()
    #expect(await iterator.next() == "subscribed")
    redis.signal(SIGSTOP)
    while subscriber.isReady { try await sleep(milliseconds: 10) }
    redis.signal(SIGCONT)
    #expect(await iterator.next() == "subscribed")
  }

  @Test("A quiet channel stays subscribed")
  func probing() async throws {
    var configuration = try RedisConfiguration(url: TestRedis.shared.url())
    configuration.timeoutMilliseconds = 3000
    var subscriptions = 0
    let subscriber = RedisSubscriber(
      configuration, channels: ["test:quiet", "test:quieter"], logger: Logger(label: "test"),
      onSubscribed: { subscriptions += 1 }, onMessage: { _, _ in })
    subscriber.start()
    defer { subscriber.close() }
    while !subscriber.isReady { try await sleep(milliseconds: 10) }
    // Longer than the silence that ends a connection: only its own probes keep it.
    try await sleep(milliseconds: 4500)
    #expect(subscriptions == 1)
    #expect(subscriber.isReady)
  }
}
