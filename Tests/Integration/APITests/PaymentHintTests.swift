import EventLoop
import Foundation
import HTTPServer
import Identity
import JSON
import Logging
import Postgres
import Redis
import Testing

@testable import Queue
@testable import Sale

@LoopActor
@Suite("What the payment provider says of a payment", .timeLimit(.minutes(2)))
struct PaymentHintTests {
  /// A message of the provider, as it signs them.
  private func tell(_ type: String, _ object: JSON, to service: Service) async -> Int {
    let body: JSON = ["type": .string(type), "data": ["object": object]]
    let bytes = body.serialized()
    let signature = WebhookSignature.header(
      bytes, secret: Service.webhookSecret, at: Int(Date().timeIntervalSince1970))
    return await service.call(
      .post, "/api/payment/webhook", bytes: bytes, headers: [("Stripe-Signature", signature)]
    ).status
  }

  @Test(
    "Whatever has happened to a payment under way, whoever has it is told at once",
    arguments: ["payment_intent.canceled", "payment_intent.succeeded", "payment_intent.payment_failed"])
  func hint(type: String) async throws {
    let service = try await Service.shared()
    let partition = Partition(of: 900_001)
    let heard = AsyncStream.makeStream(of: String.self)
    let subscriber = RedisSubscriber(
      try RedisConfiguration(url: service.redisURL), channels: [partition.confirmWakes],
      logger: Logger(label: "test"), onSubscribed: { heard.continuation.yield("subscribed") },
      onMessage: { _, message in heard.continuation.yield(String(decoding: message, as: UTF8.self)) })
    subscriber.start()
    defer { subscriber.close() }
    var words = heard.stream.makeAsyncIterator()
    #expect(await words.next() == "subscribed")
    let id = "pi_\(UUID().uuidString)"
    let metadata: JSON = ["onsale_event": "900001", "onsale_generation": "1", "onsale_position": "7"]
    #expect(await tell(type, ["id": .string(id), "metadata": metadata], to: service) == 200)
    #expect(await words.next() == "900001-1-7")
    // One that was cancelled may have been sold: that is looked into, too.
    let news = try await service.postgres.query("SELECT 1 FROM payment_news WHERE payment_id = \(id)")
    #expect(news.isEmpty == (type != "payment_intent.canceled"))
  }
}
