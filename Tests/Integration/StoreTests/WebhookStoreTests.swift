import EventLoop
import Postgres
import Redis
import Sale
import Testing

@testable import Ledger
@testable import Queue
@testable import StoreCommon

@LoopActor
@Suite("What systems outside are told", .timeLimit(.minutes(3)))
struct WebhookStoreTests {
  /// A database with one endpoint for an event of its own.
  @LoopActor
  final class Outside {
    let it: DatabaseFixture
    let store: WebhookStore
    let event: Int
    let endpoint: Int

    init(types: Set<WebhookType> = [], limit: Int = WebhookStore.messageLimit) async throws {
      it = try await DatabaseFixture()
      event = try await it.makeEvent(tickets: 20)
      store = WebhookStore(it.postgres, messageLimit: limit)
      endpoint = try await store.add(
        url: "https://shop.example/", types: types, events: [event], owner: nil, secret: "whsec_", by: "test")
    }

    func close() async throws {
      try await store.remove(endpoint, by: "test")
      it.close()
    }

    func sell(
      _ position: Int, _ tickets: [Int], _ purchases: PurchaseStore? = nil, attempt: Int = 1
    ) async throws {
      let purchases = purchases ?? PurchaseStore(it.postgres)
      let confirmation = Sale.Confirmation(
        entryID: nil, event: event, generation: 1, position: position, attempt: attempt, tickets: tickets,
        amount: 100 * tickets.count, method: "pm_card_visa", user: "user \(position)")
      _ = try await purchases.claim([confirmation])
      _ = try await purchases.settle([
        PurchaseStore.Settlement(
          key: .init(confirmation), user: confirmation.user, attempt: attempt, outcome: .sold,
          paymentID: "pi_\(position)",
          reason: "")
      ])
    }

    func key(_ position: Int) -> PurchaseKey { .init(event: event, generation: 1, position: position) }

    func hold(_ type: WebhookType, _ position: Int, _ id: String, attempt: Int = 0) -> WebhookNews {
      WebhookNews(
        id: id, partition: Partition(of: event), type: type, event: event, generation: 1, position: position,
        userKey: UserKey("user \(position)").text, user: "user \(position)", tickets: [1, 2], amount: 200,
        deadline: 1_900_000_000_000, wish: nil, reason: type == .holdExpired ? "expired" : "",
        attempt: attempt)
    }

    /// As they were counted last.
    func counts() async throws -> WebhookEndpoint {
      try #require(try await store.endpoints().first { $0.id == endpoint })
    }

    func due(_ limit: Int = 100) async throws -> [WebhookMessage] {
      try await store.due(for: endpoint, limit: limit)
    }
    func waiting() async throws -> Int {
      try await it.count("webhook_message WHERE endpoint_id = \(endpoint)")
    }
  }

  @Test("A sale is told once, by its own transaction, with its tickets as buyers know them")
  func sale() async throws {
    let outside = try await Outside()
    try await outside.sell(7, [3, 4])
    // Repeated after an unknown outcome, it is not told again.
    let message = try #require(try await outside.due().first)
    try await outside.store.note(taken: [message], failed: [])
    try await outside.sell(7, [3, 4])
    #expect(try await outside.waiting() == 0)
    #expect(message.type == "purchase.completed")
    #expect(message.position == 7)
    let ticket = #"{"id":3,"section":"Floor","price":100}"#
    #expect(message.data.contains(#""tickets":["# + ticket), "\(message.data)")
    #expect(message.data.contains(#""amount":200,"currency":"EUR","payment_id":"pi_7""#), "\(message.data)")
    // The books as they were written back after a loss: the same message.
    _ = try await outside.store.resend(to: outside.endpoint, event: outside.event)
    #expect(try await outside.due().map(\.id) == [message.id])
    try await outside.close()
  }

  @Test("Who has other seats than were held is told of as such, and nobody else")
  func otherSeats() async throws {
    let outside = try await Outside()
    try await outside.sell(1, [1])
    try await outside.sell(2, [2])
    try await outside.store.note(taken: try await outside.due(), failed: [])
    _ = try await outside.it.postgres.query(
      "UPDATE purchase SET instead_of = '{9}' WHERE event_id = \(outside.event) AND position = 2")
    _ = try await outside.store.resend(to: outside.endpoint, event: outside.event)
    let told = try await outside.due().map { ($0.position, $0.data.contains(#""other_seats":true"#)) }
    #expect(Dictionary(uniqueKeysWithValues: told) == [1: false, 2: true])
    try await outside.close()
  }

  @Test("Where nobody listens, and a process knows that, nothing is asked or written")
  func nobody() async throws {
    let outside = try await Outside()
    let listeners = WebhookListeners()
    listeners.note([])
    try await outside.sell(1, [1], PurchaseStore(outside.it.postgres, listeners: listeners))
    #expect(try await outside.waiting() == 0)
    // Who knows of one, or has not looked for long, does.
    _ = try await WebhookStore(outside.it.postgres, listeners: listeners).endpoints()
    try await outside.sell(2, [2], PurchaseStore(outside.it.postgres, listeners: listeners))
    try await outside.sell(3, [3])
    #expect(try await outside.waiting() == 2)
    try await outside.close()
  }

  @Test("Messages of one request go out one after the other, in their order, however they were written down")
  func order() async throws {
    let outside = try await Outside()
    try await outside.sell(1, [1, 2])
    try await outside.sell(2, [3])
    _ = try await outside.it.postgres.query(
      WebhookStore.tellRefund(of: outside.key(1), tickets: [1], amount: 100, reason: "asked", ordinal: 1))
    try await outside.store.write([outside.hold(.holdGranted, 1, "1800000000000-0")])
    let first = try await outside.due()
    #expect(Set(first.map { "\($0.position) \($0.type)" }) == ["1 hold.granted", "2 purchase.completed"])
    #expect(try await outside.due().isEmpty)
    var types: [String] = []
    var next = first.filter { $0.position == 1 }
    while !next.isEmpty {
      types += next.map(\.type)
      try await outside.store.note(taken: next, failed: [])
      next = try await outside.due()
    }
    #expect(types == ["hold.granted", "purchase.completed", "purchase.refunded"])
    try await outside.close()
  }

  @Test("What came before it after it was leased is sent before it")
  func stillFirst() async throws {
    let outside = try await Outside()
    try await outside.sell(1, [1, 2])
    try await outside.sell(2, [3])
    let leased = try await outside.due()
    #expect(leased.count == 2)
    try await outside.store.write([outside.hold(.holdGranted, 1, "1800000000000-0")])
    #expect(try await outside.store.stillFirst(leased).map(\.position) == [2])
    #expect(try await outside.due().map(\.type) == ["hold.granted"])
    try await outside.close()
  }

  @Test("One that was refused comes again later, dies after three days, and what is behind it goes on")
  func failures() async throws {
    let outside = try await Outside()
    try await outside.sell(1, [1, 2])
    _ = try await outside.it.postgres.query(
      WebhookStore.tellRefund(of: outside.key(1), tickets: [1], amount: 100, reason: "asked", ordinal: 1))
    let message = try #require(try await outside.due().first)
    func fail(isDead: Bool, pause: Double) async throws {
      try await outside.store.note(
        taken: [], failed: [.init(message: message, problem: "HTTP 500", pauseSeconds: pause, isDead: isDead)]
      )
    }
    try await fail(isDead: false, pause: 100)
    #expect(try await outside.due().isEmpty)
    try await fail(isDead: false, pause: 0)
    let again = try #require(try await outside.due().first)
    #expect(again.id == message.id && again.attempts == 2 && again.problem == "HTTP 500")
    try await fail(isDead: true, pause: 0)
    #expect(try await outside.due().map(\.type) == ["purchase.refunded"])
    #expect(try await outside.store.deadLetters(of: outside.endpoint, limit: 9).map(\.id) == [message.id])
    #expect(try await outside.store.replay(outside.endpoint, id: message.id) == 1)
    #expect(try await outside.due().map(\.id) == [message.id])
    try await fail(isDead: true, pause: 0)
    #expect(try await outside.store.drop(outside.endpoint, id: nil) == 1)
    try await outside.close()
  }

  @Test("What an endpoint that is away was not tried for is too old after three days, too")
  func old() async throws {
    let outside = try await Outside()
    try await outside.sell(1, [1])
    try await outside.sell(2, [2])
    _ = try await outside.it.postgres.query(
      """
      UPDATE webhook_message SET created_at = now() - interval '73 hours'
      WHERE endpoint_id = \(outside.endpoint) AND position = 1
      """)
    try await outside.store.tidy()
    let counted = try await outside.counts()
    #expect(counted.waiting == 1 && counted.dead == 1)
    // Whoever comes next has nothing to do for a while.
    try await outside.sell(3, [3])
    try await outside.store.tidy()
    #expect(try await outside.counts().waiting == 1)
    try await outside.store.count(outside.endpoint)
    #expect(try await outside.counts().waiting == 2)
    #expect(try await outside.store.deadLetters(of: outside.endpoint, limit: 9).map(\.position) == [1])
    try await outside.close()
  }

  @Test("So many messages may wait, and no more are written until some are gone")
  func full() async throws {
    let outside = try await Outside(limit: 2)
    for position in 1...2 { try await outside.sell(position, [position]) }
    try await outside.store.tidy()
    try await outside.sell(3, [3])
    #expect(try await outside.waiting() == 2)
    try await outside.store.note(taken: try await outside.due(1), failed: [])
    try await outside.store.count(outside.endpoint)
    try await outside.sell(4, [4])
    #expect(try await outside.waiting() == 2)
    // What was left out is told again by hand, once there is room.
    await #expect(throws: StoreError.self) {
      _ = try await outside.store.resend(to: outside.endpoint, event: outside.event)
    }
    try await outside.store.note(taken: try await outside.due(), failed: [])
    _ = try await outside.it.postgres.query(
      "UPDATE webhook_message SET available_at = now() WHERE endpoint_id = \(outside.endpoint)")
    try await outside.store.note(taken: try await outside.due(), failed: [])
    #expect(try await outside.store.resend(to: outside.endpoint, event: outside.event) == 4)
    #expect(try await outside.waiting() == 4)
    try await outside.close()
  }

  @Test("What was given back as a whole is not told again as sold")
  func resend() async throws {
    let outside = try await Outside()
    try await outside.sell(1, [1])
    try await outside.sell(2, [2])
    _ = try await outside.it.postgres.query(
      "DELETE FROM webhook_message WHERE endpoint_id = \(outside.endpoint)")
    let refunds = RefundStore(outside.it.postgres)
    let refund = try await refunds.request(.init(outside.key(1), releases: true), by: "test").refund
    #expect(try await refunds.succeed(refund, providerID: "re_1"))
    #expect(try await outside.due().map(\.type) == ["purchase.refunded"])
    #expect(try await outside.store.resend(to: outside.endpoint, event: outside.event) == 1)
    #expect(try await outside.due().map { "\($0.position) \($0.type)" } == ["2 purchase.completed"])
    try await outside.close()
  }

  @Test("The word for a sale's state is the one that everybody is told: also stopped, and cancelled")
  func states() async throws {
    let outside = try await Outside(types: [.eventState])
    let events = EventStore(outside.it.postgres)
    _ = try await events.move(event: outside.event, to: .paused, by: "test")
    _ = try await events.move(event: outside.event, to: .paused, stops: true, by: "test")
    _ = try await events.move(event: outside.event, to: .paused, stops: true, by: "test")
    _ = try await events.move(event: outside.event, to: .open, by: "test")
    _ = try await events.halt(
      event: outside.event, SaleHalt(reason: .purchasesLost, tickets: []), version: 0, generation: 1)
    _ = try await events.liftHalt(event: outside.event)
    _ = try await events.cancel(event: outside.event, reason: "ill", by: "test")
    var told: [String] = []
    while let message = try await outside.due().first {
      let state = try #require(message.data.split(separator: "\"state\":\"", maxSplits: 1).last)
      told.append(String(state.prefix { $0 != "\"" }) + (message.data.contains("ill") ? ", ill" : ""))
      try await outside.store.note(taken: [message], failed: [])
    }
    #expect(told == ["paused", "stopped", "open", "paused", "open", "cancelled, ill"])
    try await outside.close()
  }

  @Test("An endpoint hears of the types that it asks for, and is dropped with what waits for it")
  func types() async throws {
    let outside = try await Outside(types: [.holdExpired, .eventState])
    try await outside.sell(1, [1])
    try await outside.store.write([
      outside.hold(.holdGranted, 2, "1800000000000-0"), outside.hold(.holdExpired, 2, "1800000000001-0"),
    ])
    _ = try await EventStore(outside.it.postgres).move(event: outside.event, to: .paused, by: "test")
    let messages = try await outside.due()
    #expect(Set(messages.map(\.type)) == ["hold.expired", "event.state"])
    let state = try #require(messages.first { $0.type == "event.state" })
    #expect(state.data.contains(#""state":"paused","state_before":"open""#), "\(state.data)")
    try await outside.close()
    let after = try await Outside()
    #expect(try await !after.store.endpoints().map(\.id).contains(outside.endpoint))
    try await after.store.tidy()
    #expect(try await after.it.count("webhook_message WHERE endpoint_id = \(outside.endpoint)") == 0)
    // Who began before it was removed may write for it still.
    #expect(try await after.it.count("webhook_endpoint WHERE id = \(outside.endpoint)") == 1)
    _ = try await after.it.postgres.query(
      "UPDATE webhook_endpoint SET removed_at = now() - interval '2 hours', counted_at = '-infinity' WHERE id = \(outside.endpoint)"
    )
    try await after.store.tidy()
    #expect(try await after.it.count("webhook_endpoint WHERE id = \(outside.endpoint)") == 0)
    try await after.close()
  }

  @Test("A sale whose authorisation lapsed is taken back in words")
  func lapse() async throws {
    let outside = try await Outside()
    try await outside.sell(1, [1, 2])
    for _ in 0..<2 {
      _ = try await PurchaseStore(outside.it.postgres).lapse(outside.key(1), paymentID: "pi_1", asks: true)
    }
    // Behind the sale.
    let sale = try await outside.due()
    #expect(sale.map(\.type) == ["purchase.completed"] && sale[0].ordinal == 4)
    try await outside.store.note(taken: sale, failed: [])
    let messages = try await outside.due()
    #expect(messages.map(\.type) == ["purchase.refunded"] && messages[0].ordinal == 5)
    #expect(messages[0].data.contains(#""amount":0"#) && messages[0].data.contains("authorisation_lapsed"))
    try await outside.close()
  }

  @Test(
    "Messages of one request come in the order of its attempts to pay, however late they were written down")
  func attempts() async throws {
    let outside = try await Outside()
    let purchases = PurchaseStore(outside.it.postgres)
    try await outside.sell(1, [1, 2])
    #expect(try await purchases.lapse(outside.key(1), paymentID: "pi_1", asks: true)?.isOpen == true)
    try await outside.sell(1, [1, 2], attempt: 2)
    try await outside.store.write([
      outside.hold(.holdGranted, 1, "1800000000009-0", attempt: 1),
      outside.hold(.holdGranted, 1, "1800000000000-0"),
    ])
    var types: [String] = []
    while let message = try await outside.due().first {
      types.append(message.type)
      try await outside.store.note(taken: [message], failed: [])
    }
    #expect(
      types == [
        "hold.granted", "purchase.completed", "purchase.refunded", "hold.granted", "purchase.completed",
      ])
    try await outside.close()
  }

  @Test("A message has the id that it had in the version before, whatever its order is by now")
  func identity() async throws {
    let outside = try await Outside()
    // Receivers drop repetitions by it.
    func id(_ type: String, _ numbers: String) async throws -> String? {
      try await outside.it.postgres.query(
        "SELECT md5(concat_ws('|', id, \(type)::text, \(outside.event)::bigint, 1, 1, \(numbers)::text))::uuid::text AS id FROM installation"
      ).first?["id"].string
    }
    try await outside.sell(1, [1, 2])
    var messages = try await outside.due()
    #expect(messages.map(\.id) == [try await id("purchase.completed", "1|2")])
    try await outside.store.note(taken: messages, failed: [])
    _ = try await PurchaseStore(outside.it.postgres).lapse(outside.key(1), paymentID: "pi_1", asks: true)
    messages = try await outside.due()
    #expect(messages.map(\.id) == [try await id("purchase.refunded", "1|3")])
    try await outside.store.note(taken: messages, failed: [])
    try await outside.store.write([outside.hold(.holdExpired, 1, "1800000000009-3", attempt: 1)])
    messages = try await outside.due()
    #expect(messages.map(\.id) == [try await id("hold.expired", "0|180000000000900003")])
    try await outside.close()
  }

  @Test("A rotated secret signs beside the new one")
  func rotation() async throws {
    let outside = try await Outside()
    try await outside.store.rotate(outside.endpoint, to: "whsec_2", by: "test")
    let endpoint = try #require(try await outside.store.endpoints().first { $0.id == outside.endpoint })
    #expect(endpoint.secrets == ["whsec_2", "whsec_"])
    try await outside.close()
  }
}

@LoopActor
@Suite("What Redis tells systems outside", .timeLimit(.minutes(3)))
struct WebhookNewsTests {
  @Test("Holds, their ends and an empty hall are told where somebody listens, and nothing where nobody does")
  func news() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let (queue, event) = (it.queue, it.event)
    func grant(_ user: String, _ tickets: [Int], isLast: Bool = false) async throws -> Int {
      let place = try #require(try await it.ask(user))
      let entries = try await queue.waiting.next(
        event: event, after: place.position - 1, without: [], limit: 10
      )
      .entries
      var plan = ReservePlanner.Plan()
      let wishes = try await queue.waiting.wishes(event: event)
      let arrival = entries[0].arrival(wish: wishes[entries[0].line] ?? "")
      plan.decisions = [Decision(arrival, .granted(tickets: tickets, amount: 100))]
      _ = try await queue.owned(event: event, epoch: it.epoch).commit(
        snapshot: .init(
          head: place.position, tail: place.position, isSoldOut: isLast, free: 0, held: 1, sold: 0,
          grantedPerSecond: 0,
          isIdle: false), plan: plan)
      return place.position
    }
    _ = try await grant("nobody hears", [1])
    try await queue.news.listen(true)
    try await queue.news.listen(true)
    #expect(try await queue.news.oldest(Partition.all).isEmpty)
    // A sale that has stood still for an hour: the hold ends by everybody's clock, not by that of the event.
    _ = try await it.redis.command(["HSET", .text(EventKeys(event).meta), "stood", "3600000"])
    let held = try await grant("mina", [2, 3])
    let left = try await grant("otto", [4], isLast: true)
    _ = try await queue.buyers.cancel(event: event, generation: 1, position: left, user: "otto")
    let news = try await queue.news.oldest(Partition.all)
    #expect(news.map(\.type) == [.holdGranted, .holdGranted, .eventSoldOut, .holdExpired])
    #expect(
      news[0].position == held && news[0].user == "mina" && news[0].tickets == [2, 3]
        && news[0].deadline ?? 0 > news[0].milliseconds)
    #expect(
      news[3].position == left && news[3].reason == "cancelled" && news[3].userKey == UserKey("otto").text)
    #expect(news.map(\.ordinal) == news.map(\.ordinal).sorted())
    try await queue.news.forget(news)
    #expect(try await queue.news.oldest(Partition.all).isEmpty)
    try await queue.news.listen(false)
    _ = try await queue.buyers.cancel(event: event, generation: 1, position: held, user: "mina")
    #expect(try await queue.news.oldest(Partition.all).isEmpty)
    #expect(try await it.redis.command(["EXISTS", .text(it.partition.told)]).integer == 0)
  }
}
