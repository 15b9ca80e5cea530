import EventLoop
import HTTPServer
import Identity
import JSON
import Postgres
import Redis
import Testing

@testable import Notifier
@testable import Queue
@testable import Sale

@LoopActor
@Suite("All that one has open", .timeLimit(.minutes(3)))
struct OwnRequestsTests {
  private let poller: Poller
  private let user: String

  init() async throws {
    poller = try await Poller()
    user = "own\(Int.random(in: 0...Int.max))"
  }

  private func own(_ user: String? = nil) async -> Service.Answer {
    let token = poller.service.token(user ?? self.user, .customer)
    return await poller.get("/api/me/requests", headers: [("Authorization", "Bearer \(token)")])
  }

  private static func member(_ answer: Service.Answer, _ name: String) -> [JSON?] {
    (answer.json["requests"]?.array ?? []).map { $0[name] }
  }

  @Test("Who has nothing open is told so, and not to ask again; nobody sees what is another's")
  func nothing() async throws {
    let event = try await poller.service.makeEvent(opens: true)
    _ = try await poller.join(event, "other of " + user)
    let answer = await own()
    #expect(answer.status == 200 && answer.json["requests"] == [] && answer.json["poll_after_ms"] == 0)
    #expect(answer.json["is_complete"] == true && answer.response.header("Cache-Control") == "no-store")
    #expect(await poller.get("/api/me/requests").status == 401)
  }

  @Test("Places at several events are told with their names, what runs out first before the others")
  func several() async throws {
    let service = poller.service
    let first = try await service.makeEvent(Service.event([("name", "First")]), opens: true)
    let second = try await service.makeEvent(Service.event([("name", "Second \"&<")]), opens: true)
    let over = try await service.makeEvent(opens: true)
    let waits = try await poller.join(first, user), held = try await poller.join(second, user)
    let ended = try await poller.join(over, user)
    #expect(
      await service.call(.delete, "/api/request/\(ended)", as: .user(user)).status == 200)
    let deadline = try await service.queue.reader.serverMilliseconds() + 400_000
    try await poller.setFirst(second, "R|0|\(deadline)|9000|3|", of: user)
    let answer = await own()
    #expect(Self.member(answer, "event_id") == [.integer(second), .integer(first)], "\(answer.text)")
    #expect(Self.member(answer, "event_name") == ["Second \"&<", "First"])
    #expect(Self.member(answer, "state") == ["reserved", "queued"])
    #expect(answer.json["is_complete"] == true)
    let pause = answer.json["poll_after_ms"]?.integer ?? 0
    #expect((5_000...15_000).contains(pause))
    let shown = try #require(answer.json["requests"]?.array?.first)
    #expect((390...400).contains(shown["expires_in_seconds"]?.integer ?? 0) && shown["hold"] != nil)
    // The ids are good for all that ids are good for, and name what the reserve calls named.
    for (told, id) in zip(Self.member(answer, "request_id"), [held, waits]) {
      #expect(told == .string(id))
      let polled = await poller.get("/api/request/\(id)")
      #expect(polled.json["position"] == 1)
    }
  }

  @Test("What ended with everybody in line is not told as open")
  func endedTogether() async throws {
    let event = try await poller.service.makeEvent(opens: true)
    _ = try await poller.join(event, user)
    #expect(Self.member(await own(), "state") == ["queued"])
    _ = try await poller.service.redis.command([
      "HSET", .text(EventKeys(event).meta), "sold_out", "1", "sold_out_up_to", "1", "head", "1",
    ])
    for _ in 0..<500 {
      if Self.member(await own(), "state").isEmpty { break }
      try await sleep(milliseconds: 20)
    }
    let answer = await own()
    #expect(answer.json["requests"] == [] && answer.json["poll_after_ms"] == 0, "\(answer.text)")
  }

  @Test("A payment whose line is lost is told from PostgreSQL")
  func paying() async throws {
    let service = poller.service
    let event = try await service.makeEvent(opens: true)
    let id = try await poller.join(event, user)
    let generation = try #require(try await service.queue.reader.document(event: event)).generation
    _ = try await service.postgres.query(
      """
      INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method)
      VALUES (\(event), \(generation), 1, \(user), 'paying', 1, ARRAY[1, 2], 18000, 'EUR', 'pm_card_visa')
      """)
    _ = try await service.redis.command(["SREM", .text(Partition(of: event).events), .integer(event)])
    _ = try await service.redis.command(["DEL", .text(EventKeys(event).meta)])
    let answer = await own()
    #expect(Self.member(answer, "state") == ["confirming"], "\(answer.text)")
    #expect(Self.member(answer, "amount") == [18000])
    let polled = await poller.get("/api/request/\(id)")
    #expect(polled.json["state"] == "confirming")
  }

  @Test("It costs two round trips to Redis however many events there are, and none for some seconds after")
  func cost() async throws {
    let service = poller.service
    for _ in 0..<3 { _ = try await poller.join(try await service.makeEvent(opens: true), user) }
    #expect(Self.member(await own(), "state").count == 3)
    func commands() async throws -> Int {
      let text = try await service.redis.command(["INFO", "commandstats"]).text ?? ""
      return text.split(separator: "\n").filter { $0.hasPrefix("cmdstat_fcall_ro") }.compactMap {
        $0.split(separator: "calls=").last?.split(separator: ",").first.flatMap { Int($0) }
      }.reduce(0, +)
    }
    let before = try await commands()
    for _ in 0..<20 { #expect(Self.member(await own(), "state").count == 3) }
    #expect(try await commands() == before)
  }
}
