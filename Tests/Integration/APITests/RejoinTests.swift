import EventLoop
import Foundation
import HTTPCommon
import HTTPServer
import Identity
import JSON
import Logging
import Metrics
import Postgres
import Redis
import Testing

@testable import Archive
@testable import Intake
@testable import Ledger
@testable import Notifier
@testable import Queue
@testable import Sale

/// An event whose line is lost with Redis, behind a server that has just been started.
@LoopActor
private final class Loss {
  let service: Service
  let event: Int
  /// The life of its line that it begins with.
  let first: Int
  private let router: Router

  init() async throws {
    service = try await Service.shared()
    let logger = Logger(label: "test")
    let past = PastRequests(service.postgres), seats = SeatStore(service.postgres)
    let watch = QueueWatch(
      queue: service.queue, redis: try RedisConfiguration(url: service.redisURL), logger: logger)
    var router = Router()
    Notifier(
      watch: watch, past: past, labels: TicketLabels(seats: seats), ids: service.ids,
      authenticator: try service.makeAuthenticator()
    ).addRoutes(to: &router)
    Intake(
      queue: service.queue, events: service.events, sections: SectionNames(seats: seats), past: past,
      declines: DeclineWatch(
        DeclineStore(service.postgres), names: ClientNames(secret: Service.secret), logger: logger),
      authenticator: Authenticator(try TokenVerifier(secret: Service.secret)), ids: service.ids
    ).addRoutes(to: &router)
    self.router = router
    event = try await service.makeEvent(opens: true)
    first = try #require(try await service.queue.reader.document(event: event)).generation
    #expect(try await seats.begin(event: event, generation: first) != .tooLate)
  }

  func poll(_ request: String) async -> Service.Answer {
    Service.Answer(response: await router.respond(to: HTTPRequest(.get, "/api/request/\(request)")))
  }

  func reserve(_ user: String, rejoin: String? = nil, quantity: Int = 1) async -> Service.Answer {
    var body: [(name: String, value: JSON)] = [
      ("event_id", .integer(event)), ("quantity", .integer(quantity)),
    ]
    if let rejoin { body.append(("rejoin", .string(rejoin))) }
    let request = HTTPRequest(
      .post, "/api/ticket/reserve",
      headers: [("Authorization", "Bearer \(service.token(user, .customer))")],
      body: JSON.object(body).serialized())
    return Service.Answer(response: await router.respond(to: request))
  }

  func join(_ count: Int) async throws -> [String] {
    var ids: [String] = []
    for number in 1...count {
      ids.append(try #require(await reserve("user \(number)").json["request_id"]?.string))
    }
    return ids
  }

  /// Redis forgets the event.
  func lose() async throws {
    let partition = Partition(of: event), prefix = "\(partition.prefix)\(event):"
    let keys = try await service.redis.command(["KEYS", .text("\(prefix)*")]).array ?? []
    for key in keys { _ = try await service.redis.command(["DEL", .text(key.text ?? "")]) }
    for command: [RedisArgument] in [
      ["SREM", .text(partition.events), .integer(event)],
      ["HDEL", .text(partition.settings), .integer(event)],
    ] { _ = try await service.redis.command(command) }
  }

  /// What the workers do then: a new line, the second say, and then its owner.
  func replace(_ life: Int) async throws {
    let settings = try #require(try await service.events.settings(event: event))
    try await service.events.publish(settings, to: service.queue)
    #expect(try await service.queue.reader.document(event: event)?.generation == first + life - 1)
  }

  func begin(_ life: Int) async throws {
    #expect(
      try await SeatStore(service.postgres).begin(event: event, generation: first + life - 1) != .tooLate)
  }

  func note(_ ends: [RequestEnd]) async throws {
    try await SeatStore(service.postgres).note(event: event, generation: first, ends)
  }

  /// Runs `body` while nobody can read what PostgreSQL knows of requests.
  func withoutPostgres(_ body: @LoopActor () async throws -> Void) async throws {
    try await service.postgres.withTransaction { transaction in
      _ = try await transaction.query(
        """
        LOCK TABLE event, queue_life, queue_outcome, purchase, request_end, line_end, lost_place, request_archive
        IN ACCESS EXCLUSIVE MODE
        """)
      try await body()
    }
  }
}

/// Waits until a condition holds; the suite's time limit bounds it.
@LoopActor
private func eventually(_ condition: @LoopActor () async throws -> Bool) async throws {
  while try await !condition() { try await sleep(milliseconds: 5) }
}

@LoopActor
@Suite("A line that was lost", .timeLimit(.minutes(3)))
struct RejoinTests {
  @Test("Its crowd is answered, and comes back in its order, without a query for any of them")
  func crowd() async throws {
    let it = try await Loss()
    let ids = try await it.join(60)
    try await it.note([.one(position: 2, state: .expired), .one(position: 3, state: .cancelled)])
    _ = try await it.service.postgres.query(
      """
      INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method)
      VALUES (\(it.event), \(it.first), 1, 'user 1', 'sold', 1, '{7}', 9000, 'EUR', 'pm_card_visa')
      """)
    try await it.lose()
    try await it.replace(2)
    try await it.begin(2)
    #expect(await it.poll(ids[3]).json["reason"] == "queue_lost")
    #expect(await it.poll(ids[0]).json["state"] == "purchased")
    var back: [Int: String] = [:]
    try await it.withoutPostgres {
      for number in 4...60 {
        let told = await it.poll(ids[number - 1])
        #expect(told.json["state"] == "rejected" && told.json["reason"] == "queue_lost", "\(told.text)")
      }
      #expect(await it.poll(ids[1]).json["state"] == "expired")
      #expect(await it.poll(ids[2]).json["state"] == "cancelled")
      let returns = (4...60).shuffled().map { number in
        (number, Task { @LoopActor in await it.reserve("user \(number)", rejoin: ids[number - 1]) })
      }
      for (number, task) in returns {
        let answer = await task.value
        #expect(answer.status == 202 && answer.json["position"]?.integer == number, "\(answer.text)")
        back[number] = answer.json["request_id"]?.string
      }
      let again = await it.reserve("user 9", rejoin: ids[8])
      #expect(again.status == 200 && again.json["position"] == 9)
      #expect(await it.poll(back[60] ?? "").json["ahead"] == 59)
    }
    // Who had ended, or bought, comes behind those who were in line; it is not worth asking before.
    for number in 1...3 {
      let answer = await it.reserve("user \(number)", rejoin: ids[number - 1])
      #expect(answer.code == "queue_restoring", "\(answer.text)")
      let pause = try #require(answer.response.headers.first { $0.name == "Retry-After" }?.value)
      #expect((20...41).contains(Int(pause) ?? 0))
    }
    #expect(await it.reserve("user 5", rejoin: back[4] ?? "").status == 403)
  }

  @Test(
    "A sale that was closed when its line was lost ends with what PostgreSQL knows, and nothing more is bought"
  )
  func closed() async throws {
    let it = try await Loss(), postgres = it.service.postgres
    let ids = try await it.join(3)
    try await it.note([.one(position: 2, state: .cancelled)])
    _ = try await postgres.query(
      """
      INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method)
      VALUES (\(it.event), \(it.first), 1, 'user 1', 'sold', 1, '{7}', 9000, 'EUR', 'pm_card_visa')
      """)
    let closed = await it.service.call(.post, "/api/admin/events/\(it.event)/close", as: .organizer)
    #expect(closed.status == 200)
    let inTime = await it.poll(ids[2])
    #expect(inTime.json["state"] == "rejected" && inTime.json["reason"] == "closed")
    try await it.lose()
    // The server has that of Redis in memory for a moment.
    try await eventually { await it.poll(ids[1]).json["state"] == "cancelled" }
    for _ in 0..<2 {
      let told = await it.poll(ids[2])
      #expect(told.json["state"] == "rejected" && told.json["reason"] == "closed", "\(told.text)")
      #expect(await it.poll(ids[1]).json["state"] == "cancelled")
      #expect(await it.poll(ids[0]).json["state"] == "purchased")
    }
    // Should a payment turn up that had not begun, it does not begin any more.
    let late = try await PurchaseStore(postgres).claim([
      Sale.Confirmation(
        entryID: nil, event: it.event, generation: it.first, position: 3, attempt: 1, tickets: [1],
        amount: 9000, method: "pm_card_visa", user: "user 3")
    ])
    #expect(late == [nil])
    #expect(await it.reserve("user 3", rejoin: ids[2]).code == "closed")
    #expect(await it.service.call(.get, "/api/event/\(it.event)/queue").json["state"] == "closed")
    let outcomes = try await postgres.query("SELECT 1 FROM queue_outcome WHERE event_id = \(it.event)")
    #expect(outcomes.count == 1)
  }

  @Test("Ids of earlier lives come behind those who were in the last")
  func earlierLives() async throws {
    let it = try await Loss()
    let first = try await it.join(4)
    try await it.lose()
    try await it.replace(2)
    try await it.begin(2)
    #expect(await it.reserve("user 2", rejoin: first[1]).json["position"] == 2)
    try await it.service.redis.endRestoring(it.event)
    try await SeatStore(it.service.postgres).noteRestored(event: it.event, generation: it.first + 1)
    let second = try await it.join(1)
    try await it.lose()
    try await it.replace(3)
    try await it.begin(3)
    // What the server knew was of the life before: it looks again.
    for number in 2...4 {
      try await eventually {
        let answer = await it.reserve("user \(number)", rejoin: first[number - 1])
        #expect(answer.code == "queue_restoring", "\(answer.text)")
        return Int(answer.response.headers.first { $0.name == "Retry-After" }?.value ?? "") ?? 0 > 10
      }
    }
    #expect(await it.reserve("user 1", rejoin: second[0]).status == 202)
  }

  @Test("Until somebody owns the new line nothing is known, and its crowd is told so from memory")
  func before() async throws {
    let it = try await Loss()
    let ids = try await it.join(5)
    try await it.lose()
    let fromMemory = MetricsRegistry.shared.counter(
      "onsale_polls_from_memory_total", "Polls answered without asking anybody")
    // Not there at all, and then without an owner.
    for step in 1...2 {
      if step == 2 { try await it.replace(2) }
      // All but those who come when it is to be looked again.
      try await eventually {
        let before = fromMemory.value
        for id in ids {
          let answer = await it.poll(id)
          #expect(answer.status == 503, "\(step): \(answer.text)")
          let pause = answer.response.headers.first { $0.name == "Retry-After" }?.value
          #expect((2...7).contains(Int(pause ?? "") ?? 0))
        }
        return fromMemory.value >= before + ids.count
      }
    }
    let early = await it.reserve("user 3", rejoin: ids[2])
    let pause = early.response.headers.first { $0.name == "Retry-After" }?.value
    #expect(early.code == "queue_restoring" && pause == "2", "not when it is over")
    try await it.begin(2)
    try await eventually { await it.poll(ids[2]).json["reason"] == "queue_lost" }
    try await eventually { await it.reserve("user 3", rejoin: ids[2]).json["position"] == 3 }
  }
}

extension RedisClient {
  /// Ends the time for those who were in the line that was lost, as an owner does.
  fileprivate func endRestoring(_ event: Int) async throws {
    let keys = EventKeys(event)
    for command: [RedisArgument] in [
      ["DEL", .text(keys.restored)], ["HDEL", .text(keys.meta), "restoring_until"],
    ] { _ = try await self.command(command) }
  }
}
