import Archive
import EventLoop
import HTTPServer
import Identity
import JSON
import Ledger
import Logging
import Postgres
import Sale
import StoreCommon
import Testing

@testable import Intake
@testable import Queue

@LoopActor
@Suite("Cards that were refused", .timeLimit(.minutes(3)))
struct DeclineTests {
  private let service: Service
  private let store: DeclineStore
  private let user = "tester-\(UInt64.random(in: 0...(.max)))"

  init() async throws {
    service = try await Service.shared()
    store = DeclineStore(service.postgres)
  }

  private func router(_ watch: DeclineWatch) throws -> Router {
    var router = Router()
    Intake(
      queue: service.queue, events: service.events,
      sections: SectionNames(seats: SeatStore(service.postgres)), past: PastRequests(service.postgres),
      declines: watch, authenticator: try service.makeAuthenticator(), ids: service.ids
    ).addRoutes(to: &router)
    return router
  }

  private func call(
    _ router: Router, _ path: String, _ body: JSON, as user: String, from client: String
  ) async -> Service.Answer {
    let headers = [
      ("Authorization", "Bearer \(service.token(user, .customer))"), ("X-Forwarded-For", client),
    ]
    let request = HTTPRequest(.post, path, headers: headers, body: body.serialized())
    return Service.Answer(response: await router.respond(to: request))
  }

  @Test("Every server knows of them; who has too many is told when the next may be tried, and holds stay")
  func refused() async throws {
    var settings = DeclineLimits.Settings()
    (settings.perUser, settings.perClient) = (3, 5)
    let names = ClientNames(secret: Service.secret)
    let watch = DeclineWatch(
      store, names: names, limits: DeclineLimits(settings), logger: Logger(label: "test"))
    let router = try router(watch)
    let event = try await service.makeEvent(opens: true)
    let wish: JSON = ["event_id": .integer(event), "quantity": 1]
    let place = await call(router, "/api/ticket/reserve", wish, as: user, from: "203.0.113.5").json
    let request = try #require(place["request_id"])
    func confirm(_ method: JSON, from client: String) async -> Service.Answer {
      let body: JSON = ["request_id": request, "payment_method": method]
      return await call(router, "/api/ticket/confirm", body, as: user, from: client)
    }
    func decline(_ user: String, _ count: Int, from client: String) async throws {
      let decline = DeclineStore.Decline(
        event: event, user: UserKey(user).text, client: names.name(of: client))
      try await store.add(Array(repeating: decline, count: count))
      // Twice: what is read again is not counted again.
      try await watch.look()
      try await watch.look()
    }
    try await decline(user, 2, from: "203.0.113.5")
    // Nothing is held yet, which is another matter.
    #expect(await confirm("pm_1", from: "203.0.113.5").code == "not_reserved")
    try await decline(user, 1, from: "203.0.113.5")
    let answer = await confirm("pm_1", from: "203.0.113.6")
    #expect(answer.status == 429 && answer.code == "too_many_declines", "\(answer.text)")
    let wait = try #require(answer.response.header("Retry-After").flatMap { Int($0) })
    #expect((1...1_200).contains(wait))
    // A card with the wish is one, too; without one the line is open to everybody.
    let paying: JSON = ["event_id": .integer(event), "quantity": 1, "payment_method": "pm_1"]
    #expect(
      await call(router, "/api/ticket/reserve", paying, as: user, from: "203.0.113.6").code
        == "too_many_declines")
    #expect(await call(router, "/api/ticket/reserve", wish, as: user, from: "203.0.113.5").status == 200)
    // The address, for whoever else is there.
    func reserve(from client: String) async -> Int {
      await call(router, "/api/ticket/reserve", paying, as: "other-" + user, from: client).status
    }
    try await decline("another-" + user, 2, from: "203.0.113.5")
    #expect(await reserve(from: "203.0.113.5") == 429)
    #expect(await reserve(from: "203.0.113.7") == 202)
    // A server that starts later knows of them from the beginning.
    let later = DeclineWatch(
      store, names: names, limits: DeclineLimits(settings), logger: Logger(label: "test"))
    try await later.look()
    let elsewhere = await call(
      try self.router(later), "/api/ticket/reserve", paying, as: user, from: "203.0.113.9")
    #expect(elsewhere.code == "too_many_declines")
  }

  @Test("A card that comes with the wish says where that comes from, to whichever worker tries it")
  func wish() async throws {
    let names = ClientNames(secret: Service.secret)
    let router = try router(DeclineWatch(store, names: names, logger: Logger(label: "test")))
    let event = try await service.makeEvent(opens: true)
    func reserve(_ user: String, from client: String, maxAmount: Int? = nil, key: String = "k") async
      -> Service.Answer
    {
      var wish: [(name: String, value: JSON)] = [
        ("event_id", .integer(event)), ("quantity", 1), ("payment_method", "pm_1"),
      ]
      if let maxAmount { wish.append(("max_amount", .integer(maxAmount))) }
      let request = HTTPRequest(
        .post, "/api/ticket/reserve",
        headers: [
          ("Authorization", "Bearer \(service.token(user, .customer))"), ("X-Forwarded-For", client),
          ("Idempotency-Key", key),
        ], body: JSON.object(wish).serialized())
      return Service.Answer(response: await router.respond(to: request))
    }
    let clients = ["198.51.100.1", "2001:db8:cc::"]
    for (user, client) in zip(["a", "b"], clients) {
      let first = await reserve(user, from: client, maxAmount: user == "a" ? 5_000 : nil)
      #expect(first.status == 202, "\(first.text)")
      // A phone that changes its network sends the same again.
      let again = await reserve(user, from: "203.0.113.44", maxAmount: user == "a" ? 5_000 : nil)
      #expect(again.status == 200 && again.json["request_id"] == first.json["request_id"], "\(again.text)")
      #expect(await reserve(user, from: client, maxAmount: 1).code == "idempotency_mismatch")
    }
    let arrivals = try await service.queue.waiting.next(event: event, after: 0, limit: 10).entries.map {
      $0.arrival(wish: "1a")
    }
    #expect(arrivals.map(\.client) == clients.map(names.name))
    #expect(arrivals.map(\.method) == ["pm_1", "pm_1"] && arrivals.map(\.maxAmount) == [5_000, nil])
    #expect(arrivals.allSatisfy { $0.seats == RequestedSeats(quantity: 1) })
  }

  @Test("Old ones are forgotten")
  func forgotten() async throws {
    _ = try await service.postgres.query(
      "INSERT INTO decline (event_id, user_key, client, at) VALUES (1, 'old', '', now() - interval '2 hours')"
    )
    while try await store.forget(olderThanSeconds: DeclineLimits.seconds, limit: 1) == 1 {}
    let left = try await service.postgres.query("SELECT count(*) AS n FROM decline WHERE user_key = 'old'")
    #expect(try left[0].int("n") == 0)
  }
}
