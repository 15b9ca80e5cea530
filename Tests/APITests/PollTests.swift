import API
import EventLoop
import HTTPServer
import JSON
import Logging
import Metrics
import Postgres
import Redis
import Store
import Testing

@testable import Notifier

/// A notifier of a test's own, over the shared stores.
@LoopActor
private final class Poller {
  let service: Service
  let notifier: Notifier
  private let router: Router

  init() async throws {
    service = try await Service.shared()
    let watch = QueueWatch(
      queue: service.queue, redis: try RedisConfiguration(url: service.redisURL),
      logger: Logger(label: "test"))
    notifier = Notifier(
      watch: watch, past: PastRequests(service.postgres),
      labels: TicketLabels(seats: SeatStore(service.postgres)),
      ids: service.ids)
    var router = Router()
    notifier.addRoutes(to: &router)
    self.router = router
  }

  func get(_ target: String) async -> Service.Answer {
    Service.Answer(response: await router.respond(to: HTTPRequest(.get, target)))
  }

  func join(_ event: Int, _ user: String) async throws -> String {
    let answer = await service.call(
      .post, "/api/ticket/reserve", ["event_id": .integer(event), "quantity": 1], as: .user(user))
    return try #require(answer.json["request_id"]?.string, "\(answer.text)")
  }

  func waiting(_ request: String) -> Int { notifier.longPollsByRequest[request] ?? 0 }
}

/// Waits until a condition on the loop holds, for at most 20 s.
@LoopActor
private func eventually(_ condition: @LoopActor () -> Bool) async -> Bool {
  for _ in 0..<4_000 where !condition() { try? await sleep(milliseconds: 5) }
  return condition()
}

@Suite("Polls")
@LoopActor
struct PollTests {
  @Test("Who is far from the head is answered at once, since nothing can change while they would wait")
  func farFromTheHead() async throws {
    let poller = try await Poller()
    let event = try await poller.service.makeEvent(opens: true)
    var last = ""
    for number in 0...201 { last = try await poller.join(event, "far \(number)") }
    #expect(await poller.get("/api/request/\(last)").json["ahead"] == 201)
    let fromMemory = MetricsRegistry.shared.counter(
      "onsale_polls_from_memory_total", "Polls answered without asking anybody")
    let before = fromMemory.value
    let answer = await poller.get("/api/request/\(last)?wait=25&state=queued")
    #expect(answer.json["state"] == "queued" && answer.json["poll_after_ms"]?.integer ?? 0 > 0)
    #expect(fromMemory.value == before + 1)
  }

  @Test("A place has a few long polls, and all places together leave connections to others")
  func limits() async throws {
    let poller = try await Poller()
    let event = try await poller.service.makeEvent(opens: true)
    let first = try await poller.join(event, "limits 1"), second = try await poller.join(event, "limits 2")
    let waiting = (0..<4).map { _ in
      Task { @LoopActor in await poller.get("/api/request/\(first)?wait=25").status }
    }
    #expect(await eventually { poller.waiting(first) == 4 })
    #expect(await poller.get("/api/request/\(first)?wait=25").json["state"] == "queued")
    #expect(poller.waiting(first) == 4, "answered while the others wait")

    poller.notifier.longPollLimit = 4
    #expect(await poller.get("/api/request/\(second)?wait=25").json["state"] == "queued")
    #expect(poller.waiting(first) == 4, "answered while the others wait")
    poller.notifier.stop()
    for task in waiting { #expect(await task.value == 200) }
  }

  @Test("A crowd that waits for a sale asks PostgreSQL once, about events that do not exist too")
  func withoutQueue() async throws {
    let poller = try await Poller()
    let draft = try await poller.service.makeEvent()
    let before = await poller.get("/api/event/\(draft)/queue")
    #expect(before.json["state"] == "draft" && before.json["available"] == 52, "\(before.text)")
    #expect(await poller.get("/api/event/999999/queue").status == 404)
    // Nobody can read the tables meanwhile, so that only memory can answer.
    try await poller.service.postgres.withTransaction { transaction in
      _ = try await transaction.query("LOCK TABLE event, ticket IN ACCESS EXCLUSIVE MODE")
      for _ in 0..<20 {
        let answer = await poller.get("/api/event/\(draft)/queue")
        #expect(answer.text == before.text)
        #expect(await poller.get("/api/event/999999/queue").status == 404)
      }
    }
  }

  @Test("Who waits for a sale is told to come back when it opens")
  func opening() async throws {
    let poller = try await Poller()
    for (seconds, pauses) in [(4, 1_000...4_000), (3_600, 10_000...10_000), (-60, 1_000...1_000)] {
      let event = try await poller.service.makeEvent(
        Service.event([("onsale_at", .string(Time.text(Time.now + seconds)))]))
      let pause = await poller.get("/api/event/\(event)/queue").json["poll_after_ms"]?.integer ?? 0
      #expect(pauses.contains(pause), "\(seconds) s: \(pause)")
    }
  }

  @Test("A sale that was opened a moment ago does not look sold out while its seats are being counted")
  func uncounted() async throws {
    let poller = try await Poller()
    let event = try await poller.service.makeEvent(opens: true)
    _ = try await poller.join(event, "uncounted")
    let answer = await poller.get("/api/event/\(event)/queue")
    #expect(answer.json["state"] == "open" && answer.json["available"] == 52 && answer.json["tail"] == 1)
    #expect(await poller.get("/api/event/\(event)/queue").text == answer.text)
  }
}
