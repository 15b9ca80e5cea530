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
import Sale
import Testing

@testable import Archive
@testable import Ledger
@testable import Notifier
@testable import Queue
@testable import StoreCommon

/// A notifier of a test's own, over the shared stores.
@LoopActor
final class Poller {
  let service: Service
  let notifier: Notifier
  let watch: QueueWatch
  private let router: Router

  init() async throws {
    service = try await Service.shared()
    let seats = SeatStore(service.postgres)
    watch = QueueWatch(
      queue: service.queue, redis: try RedisConfiguration(url: service.redisURL),
      logger: Logger(label: "test"),
      lastPaid: { try await seats.lastPaidPosition(event: $0, generation: $1) },
      ends: { try await seats.ends(event: $0, generation: $1) })
    notifier = Notifier(
      watch: watch, past: PastRequests(service.postgres),
      labels: TicketLabels(seats: SeatStore(service.postgres)),
      ids: service.ids, authenticator: try service.makeAuthenticator())
    var router = Router()
    notifier.addRoutes(to: &router)
    self.router = router
  }

  func get(_ target: String, headers: HTTPResponse.Headers = []) async -> Service.Answer {
    Service.Answer(response: await router.respond(to: HTTPRequest(.get, target, headers: headers, body: [])))
  }

  func join(_ event: Int, _ user: String) async throws -> String {
    let answer = await service.call(
      .post, "/api/ticket/reserve", ["event_id": .integer(event), "quantity": 1], as: .user(user))
    return try #require(answer.json["request_id"]?.string, "\(answer.text)")
  }

  /// Whoever has the first place, it is decided like this, in Redis alone: a record without its user.
  func setFirst(_ event: Int, _ record: String, of user: String) async throws {
    try await set(1, event, record, of: user)
  }

  /// The same for another place, when all before it are decided.
  func set(_ position: Int, _ event: Int, _ record: String, of user: String) async throws {
    let keys = EventKeys(event), (key, field) = keys.record(position)
    _ = try await service.redis.command([
      "HSET", .text(key), .text(field), .text("\(record)|\(UserKey(user).text)"),
    ])
    _ = try await service.redis.command(["HSET", .text(keys.meta), "head", .integer(position)])
  }

  /// The answer of a poll that says so; one whose line is not listened to hears of changes within a second or two.
  func until(_ request: String, _ state: String) async throws -> Service.Answer {
    for _ in 0..<2_000 {
      let answer = await get("/api/request/\(request)")
      if answer.json["state"]?.string == state { return answer }
      try await sleep(milliseconds: 5)
    }
    return await get("/api/request/\(request)")
  }

  /// What an owner writes down about the event's first places.
  func decide(_ event: Int, head: Int, _ change: (inout ReservePlanner.Plan) -> Void) async throws {
    let queue = service.queue, epoch = 1_000_000
    _ = try await service.redis.command(["SET", .text(Partition(of: event).epoch), .integer(epoch)])
    var plan = ReservePlanner.Plan()
    change(&plan)
    let snapshot = OwnedQueue.LineSnapshot(
      head: head, tail: try #require(try await queue.reader.document(event: event)).tail, isSoldOut: false,
      free: 50,
      held: 1, sold: 1, grantedPerSecond: 0, isIdle: false)
    let load = try await queue.owned(event: event, epoch: epoch, load: 1).takeOver()
    #expect(load.isSplit)
    _ = try await queue.owned(event: event, epoch: epoch, load: 1).commit(snapshot: snapshot, plan: plan)
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
  @Test(
    "Who has bought is told so by PostgreSQL as long as nobody has compared the Redis that came back with it")
  func redisCameBack() async throws {
    let poller = try await Poller(), service = poller.service
    let event = try await service.makeEvent(opens: true)
    let first = try await poller.join(event, "bought"), second = try await poller.join(event, "waits")
    let third = try await poller.join(event, "left")
    let id = try #require(service.ids.decode(first))
    let claimed = try await PurchaseStore(service.postgres).claim([
      Sale.Confirmation(
        entryID: nil, event: event, generation: id.generation, position: id.position, attempt: 1,
        tickets: [1],
        amount: 2500, method: "pm_card_visa", user: "bought")
    ])
    #expect(claimed.first??.state == .paying)
    try await SeatStore(service.postgres).note(
      event: event, generation: id.generation, [.one(position: 3, state: .cancelled)])
    // Redis has them in line: it is an older copy, and names the life of a server that is no more.
    try await service.queue.comparison.noteCompared(event: event, identity: "before")
    #expect(await poller.get("/api/request/\(first)").json["state"] == "confirming")
    #expect(await poller.get("/api/request/\(second)").json["state"] == "queued")
    #expect(await poller.get("/api/request/\(third)").json["state"] == "cancelled")
    _ = try await service.postgres.query("UPDATE purchase SET state = 'sold' WHERE event_id = \(event)")
    #expect(await poller.get("/api/request/\(first)").json["state"] == "purchased")
    // From now on Redis is believed.
    try await service.queue.comparison.noteCompared(
      event: event, identity: try await service.queue.reader.serverIdentity())
    var state: JSON?
    for _ in 0..<1_000 where state != "queued" {
      try await sleep(milliseconds: 10)
      state = await poller.get("/api/request/\(first)").json["state"]
    }
    #expect(state == "queued")
  }

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

  @Test("One buyer has a few long polls, at however many events they wait")
  func limitOfOneBuyer() async throws {
    let poller = try await Poller()
    var waiting: [Task<Int, Never>] = [], requests: [String] = []
    let each = 4, events = Notifier.longPollsPerUser / each
    for _ in 0..<events {
      requests.append(try await poller.join(try await poller.service.makeEvent(opens: true), "everywhere"))
    }
    for request in requests {
      for _ in 0..<each {
        waiting.append(Task { @LoopActor in await poller.get("/api/request/\(request)?wait=25").status })
      }
    }
    let user = UserKey("everywhere").text
    #expect(await eventually { poller.notifier.longPollsByUser[user] == Notifier.longPollsPerUser })
    let event = try await poller.service.makeEvent(opens: true)
    let one = try await poller.join(event, "everywhere"), other = try await poller.join(event, "another")
    #expect(await poller.get("/api/request/\(one)?wait=25").json["state"] == "queued")
    #expect(
      poller.notifier.longPollsByUser[user] == Notifier.longPollsPerUser, "answered while the others wait")
    waiting.append(Task { @LoopActor in await poller.get("/api/request/\(other)?wait=25").status })
    #expect(await eventually { poller.waiting(other) == 1 })
    poller.notifier.stop()
    for task in waiting { #expect(await task.value == 200) }
    #expect(poller.notifier.longPollsByUser.isEmpty)
  }

  @Test(
    "Who answers the end of their line has the same place again, by either id, before the head and behind it",
    arguments: [0, 2])
  func answeredEnd(head: Int) async throws {
    let poller = try await Poller()
    let service = poller.service
    poller.watch.start()
    defer { poller.watch.stop() }
    let event = try await service.makeEvent(opens: true)
    func ask(_ user: String, _ wish: [(name: String, value: JSON)]) async -> Service.Answer {
      await service.call(
        .post, "/api/ticket/reserve", .object([("event_id", .integer(event))] + wish), as: .user(user))
    }
    /// Polls until the state is the one that is expected.
    func state(_ id: String, _ expected: String) async throws -> JSON {
      var answer = JSON.null
      for _ in 0..<2_000 {
        answer = await poller.get("/api/request/\(id)").json
        if answer["state"]?.string == expected { break }
        try await sleep(milliseconds: 5)
      }
      #expect(answer["state"]?.string == expected, "\(answer)")
      return answer
    }

    _ = try await poller.join(event, "before")
    let asked = await ask("answers", [("quantity", 3), ("adjacent", true)])
    let first = try #require(asked.json["request_id"]?.string)
    _ = try await state(first, "queued")
    let line = try #require(service.ids.decode(first)).line
    try await poller.decide(event, head: head) {
      $0.ends = [LineEnd(line: line, after: 0, refusal: .onlyLeft(2))]
    }
    let end = try await state(first, "rejected")
    #expect(end["reason"] == "only_n_left" && end["left"] == 2 && end["poll_after_ms"] == 0)
    #expect((50...60).contains(end["answer_within_seconds"]?.integer ?? 0), "\(end)")

    let answered = await ask("answers", [("quantity", 2)])
    #expect(answered.status == 200 && answered.json["position"] == 2, "\(answered.text)")
    let second = try #require(answered.json["request_id"]?.string)
    // It is not their turn yet where the line ended before the head had come to them.
    let ahead = head == 0 ? 1 : 0
    for id in [first, second] {
      for _ in 1...2 {
        let place = try await state(id, head == 0 ? "queued" : "standby")
        #expect(place["position"] == 2 && place["ahead"]?.integer == ahead, "\(place)")
        #expect(place["reason"] == nil && place["left"] == nil && place["answer_within_seconds"] == nil)
      }
    }
    #expect(answered.json["state"]?.string == (head == 0 ? "queued" : "standby"))
    #expect(answered.json["ahead"]?.integer == ahead)

    // A long poll by either hears of what becomes of it.
    let polls = [first, second].map { id in
      Task { @LoopActor in await poller.get("/api/request/\(id)?wait=25").json }
    }
    #expect(await eventually { poller.waiting(first) == 1 && poller.waiting(second) == 1 })
    let seats = Arrival(position: 2, line: Arrival.alone, user: "answers", seats: nil, method: nil)
    try await poller.decide(event, head: 2) {
      $0.decisions = [Decision(seats, .granted(tickets: [7, 8], amount: 18_000))]
    }
    for poll in polls {
      let held = await poll.value
      #expect(held["state"] == "reserved" && held["amount"] == 18_000 && held["position"] == 2, "\(held)")
    }
  }

  @Test("The end of a line may be answered once, by its own user, and by nothing that wants more")
  func whatAnswersAnEnd() async throws {
    let poller = try await Poller()
    let service = poller.service
    let event = try await service.makeEvent(opens: true)
    func ask(_ user: String, _ quantity: Int) async -> Service.Answer {
      await service.call(
        .post, "/api/ticket/reserve", ["event_id": .integer(event), "quantity": .integer(quantity)],
        as: .user(user))
    }
    var ids: [String] = []
    for user in ["less", "the same", "more"] {
      ids.append(try #require(await ask(user, 3).json["request_id"]?.string))
    }
    let line = try #require(service.ids.decode(ids[0])).line
    func end(after position: Int) async throws {
      try await poller.decide(event, head: 3) {
        $0.ends = [LineEnd(line: line, after: position, refusal: .onlyLeft(2))]
      }
    }
    try await end(after: 0)
    // A wish that is not smaller is a new one, at the back.
    #expect(await ask("the same", 3).json["position"] == 4)
    #expect(await ask("more", 4).json["position"] == 5)
    #expect(await ask("less", 2).json["position"] == 1)
    let refused = Arrival(position: 1, line: Arrival.alone, user: "less", seats: nil, method: nil)
    try await poller.decide(event, head: 3) { $0.decisions = [Decision(refused, .refused(.onlyLeft(1)))] }
    let told = try await Poller().get("/api/request/\(ids[0])").json
    #expect(told["state"] == "rejected" && told["left"] == 1, "\(told)")
    #expect(told["answer_within_seconds"] == nil, "it was answered once")
    #expect(await ask("less", 1).json["position"] == 6)
  }

  @Test("Whoever had a place before Redis gave it to somebody else sees nothing of theirs")
  func givenTwice() async throws {
    let poller = try await Poller()
    let service = poller.service
    let event = try await service.makeEvent(opens: true)
    let first = try await poller.join(event, "first")
    // What a replica that lagged knows of: an empty line.
    let keys = EventKeys(event)
    for command: [RedisArgument] in [
      ["HSET", .text(keys.meta), "tail", "0"], ["DEL", .text(keys.queue)],
    ] { _ = try await service.redis.command(command) }
    let second = try await poller.join(event, "second")
    #expect(first != second)
    try await poller.setFirst(event, "R|0|\((Time.now + 60) * 1000)|9000|1|", of: "second")

    func confirm(_ id: String, _ user: String) async -> Service.Answer {
      await service.call(
        .post, "/api/ticket/confirm", ["request_id": .string(id), "payment_method": "pm_card_visa"],
        as: .user(user))
    }
    // Twice: from what was read, and from what is remembered.
    for _ in 1...2 {
      #expect(await poller.get("/api/request/\(second)").json["state"] == "reserved")
      let answer = await poller.get("/api/request/\(first)")
      #expect(answer.json["state"] == "rejected" && answer.json["reason"] == "queue_lost", "\(answer.text)")
      #expect(answer.json["tickets"] == nil && answer.json["amount"] == nil)
    }
    #expect(await confirm(first, "first").code == "not_reserved")
    #expect(await service.call(.delete, "/api/request/\(first)", as: .user("first")).code == "ended")
    // Neither opens the other's request by naming it.
    for (id, user) in [(first, "second"), (second, "first")] {
      #expect(await confirm(id, user).code == "forbidden")
      #expect(await service.call(.delete, "/api/request/\(id)", as: .user(user)).code == "forbidden")
    }
    #expect(await confirm(second, "second").status == 202)
  }

  @Test("What is remembered of a Redis that is away takes nobody's place")
  func rememberedOwner() async throws {
    let poller = try await Poller()
    let service = poller.service
    let event = try await service.makeEvent(opens: true)
    let first = try await poller.join(event, "first")
    let keys = EventKeys(event), (key, field) = keys.record(1)
    let reserved = "R|0|\((Time.now + 60) * 1000)|9000|1|"
    try await poller.setFirst(event, reserved, of: "first")
    #expect(await poller.get("/api/request/\(first)").json["state"] == "reserved")
    // A copy that knows nothing of it, and of which this process has heard nothing.
    for command: [RedisArgument] in [
      ["HSET", .text(keys.meta), "tail", "0", "head", "0"], ["DEL", .text(keys.queue)],
      ["HDEL", .text(key), .text(field)],
    ] { _ = try await service.redis.command(command) }
    let second = try await poller.join(event, "second")
    #expect(await poller.get("/api/request/\(second)").json["reason"] == nil)
    try await poller.setFirst(event, reserved, of: "second")
    for _ in 1...2 { #expect(await poller.get("/api/request/\(second)").json["state"] == "reserved") }
    #expect(await poller.get("/api/request/\(first)").json["reason"] == "queue_lost")
    let lost = try await service.postgres.query("SELECT user_key FROM lost_place WHERE event_id = \(event)")
    #expect(try lost.map { try $0.string("user_key") } == [UserKey("first").text])
  }

  @Test("A server that stood still tells nobody what it knew before")
  func standstill() async throws {
    let poller = try await Poller()
    let event = try await poller.service.makeEvent(opens: true)
    let request = try await poller.join(event, "first")
    #expect(await poller.get("/api/request/\(request)").json["state"] == "queued")
    // Told to nobody, as if it had been told while this process could not listen.
    try await poller.setFirst(event, "R|0|\((Time.now + 60) * 1000)|9000|1|", of: "first")
    // The loop's thread, which is this one.
    usleep(2_100_000)
    try await sleep(milliseconds: 0)
    #expect(await poller.get("/api/request/\(request)").json["state"] == "reserved")
  }

  @Test(
    "Who shows what was held is told whether it is held, is being given back, or is lost; and pays for nothing else"
  )
  func shownHold() async throws {
    let poller = try await Poller(), service = poller.service
    let event = try await service.makeEvent(opens: true)
    let request = try await poller.join(event, "ann"), another = try await poller.join(event, "bob")
    let deadline = (Time.now + 600) * 1_000
    try await poller.setFirst(event, "R|0|\(deadline)|9000|1|", of: "ann")
    let hold = try #require(await poller.get("/api/request/\(request)").json["hold"]?.string)
    // A server that has just been started remembers nothing.
    func look(_ hold: String, _ request: String) async throws -> Service.Answer {
      try await Poller().get("/api/request/\(request)?hold=\(hold)")
    }
    func pay() async -> Service.Answer {
      await service.call(
        .post, "/api/ticket/confirm",
        ["request_id": .string(request), "payment_method": "pm_card_visa", "hold": .string(hold)],
        as: .user("ann"))
    }
    let held = try await look(hold, request)
    #expect(held.json["state"] == "reserved" && held.json["reason"] == nil, "\(held.text)")
    for wrong in ["x", "", String(hold.dropLast()), String(repeating: "A", count: 400)] {
      #expect(try await look(wrong, request).status == 400)
    }
    #expect(try await look(hold, another).status == 400)
    try await poller.setFirst(event, "R|0|\(deadline)|9000|2|", of: "ann")
    let others = try await look(hold, request)
    #expect(others.json["state"] == "reserved" && others.json["reason"] == "hold_lost", "\(others.text)")
    #expect(others.json["hold"]?.string != hold)
    var paid = await pay()
    #expect(paid.status == 409 && paid.code == "hold_lost", "\(paid.text)")
    // Redis has her back in line.
    let keys = EventKeys(event), (key, field) = keys.record(1)
    _ = try await service.redis.command(["HDEL", .text(key), .text(field)])
    try await poller.decide(event, head: 0) { _ in }
    _ = try await service.redis.command(["HSET", .text(keys.meta), "head", "0"])
    let returning = try await look(hold, request)
    #expect(returning.json["state"]?.string != "reserved" && returning.json["reason"] == "hold_returning")
    paid = await pay()
    #expect(paid.status == 503 && paid.response.header("Retry-After") != nil, "\(paid.text)")
    try await service.queue.owned(event: event, epoch: 1_000_000, load: 1).settle([(1, isBack: false)])
    #expect(try await look(hold, request).json["reason"] == "hold_lost")
    paid = await pay()
    #expect(paid.status == 409 && paid.code == "not_reserved", "\(paid.text)")
  }

  @Test("A place that was paid for is its buyer's, whomever Redis gives it to afterwards")
  func paidAndGivenTwice() async throws {
    let poller = try await Poller()
    let service = poller.service
    let event = try await service.makeEvent(opens: true)
    let first = try await poller.join(event, "first")
    let generation = try #require(service.ids.decode(first)).generation
    _ = try await service.postgres.query(
      """
      INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method)
      VALUES (\(event), \(generation), 1, 'first', 'sold', 1, '{7}', 9000, 'EUR', 'pm_card_visa')
      """)
    try await poller.setFirst(event, "X|1|0|9000|1|queue_lost", of: "second")
    let answer = await poller.get("/api/request/\(first)")
    #expect(answer.json["state"] == "purchased" && answer.json["tickets"]?[0]?["id"] == 7, "\(answer.text)")
  }

  @Test("A crowd that waits for a sale asks PostgreSQL once, about events that do not exist too")
  func withoutQueue() async throws {
    let poller = try await Poller()
    let draft = try await poller.service.makeEvent(Service.announced)
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
