import EventLoop
import Ledger
import Metrics
import Payments
import Postgres
import Sale
import StoreCommon
import Testing

@testable import Archive
@testable import Queue
@testable import Worker

/// PostgreSQL comes back without its last commits, while Redis and the provider have all of it.
@Suite("A PostgreSQL that is older than before", .serialized)
@LoopActor
struct OlderDatabaseTests {
  @Test(
    "Tickets whose purchases it has lost are held back, the sale stops, and goes on when they are there again"
  )
  func stopsAndGoesOn() async throws {
    let sale = try await SaleFixture(tickets: 3)
    let first = try await sale.startWorker()
    let ann = try await sale.buy("ann")
    await first.stop()
    let lost = try await sale.losePurchases()
    try await sale.startWorker()
    try await sale.eventually("the sale stops") { try await sale.event().halt != nil }
    let stopped = try await sale.event()
    #expect(stopped.halt == SaleHalt(reason: .purchasesLost, tickets: [1]))
    #expect(stopped.state == "paused")
    try await sale.eventually("its line is paused") {
      try await sale.queue.reader.document(event: 42)?.state == "paused"
    }
    #expect(MetricsRegistry.shared.exposition().contains(#"onsale_purchases_missing{event="42"} 1"#))
    let bob = try await sale.join("bob")
    #expect(try await sale.status(bob)?.state == .queued, "nobody is served")

    try await sale.putBack(lost)
    try await sale.eventually("the sale goes on") { try await sale.event().halt == nil }
    #expect(try await sale.wait(for: .reserved, bob)?.tickets == [2])
    #expect(try await sale.status(ann)?.state == .purchased)
    #expect(!MetricsRegistry.shared.exposition().contains("onsale_purchases_missing{"))
    await sale.end()
  }

  @Test("An operator may sell on despite that: what is missing stays held back")
  func despite() async throws {
    let sale = try await SaleFixture(tickets: 3)
    let first = try await sale.startWorker()
    _ = try await sale.buy("ann")
    await first.stop()
    _ = try await sale.losePurchases()
    try await sale.startWorker()
    try await sale.eventually("the sale stops") { try await sale.event().halt != nil }
    let events = EventStore(sale.postgres)
    await #expect(throws: StoreError.self) {
      _ = try await events.move(event: 42, to: .open, from: [.paused, .open], by: "operator")
    }
    #expect(try await sale.event().halt != nil)
    let settings = try await events.move(
      event: 42, to: .open, from: [.paused, .open], despite: true, by: "operator")
    #expect(settings.state == "open")
    try await events.publish(settings, to: sale.queue)
    let bob = try await sale.join("bob", 2)
    #expect(try await sale.wait(for: .reserved, bob)?.tickets == [2, 3])
    let eve = try await sale.join("eve")
    try await sale.wait(for: .standby, eve)
    // A second worker loads anew: it finds the same missing, and leaves the operator's word alone.
    await sale.stopWorkers()
    try await sale.startWorker()
    try await sale.eventually("it was looked at") {
      MetricsRegistry.shared.exposition().contains("onsale_purchases_missing{")
    }
    #expect(try await sale.event().halt == nil)
    #expect(try await sale.soldTickets() == [])
    await sale.end()
  }

  @Test("A ticket whose purchase ended otherwise is for sale again, and nothing stops")
  func givenBack() async throws {
    let sale = try await SaleFixture(tickets: 1)
    let first = try await sale.startWorker()
    _ = try await sale.buy("ann")
    await first.stop()
    _ = try await sale.losePurchases()
    // In whatever state: the row is there.
    try await sale.putRow("ann", position: 1, state: "void")
    try await sale.startWorker()
    let bob = try await sale.buy("bob")
    #expect(try await sale.status(bob)?.tickets == [1])
    #expect(try await sale.event().halt == nil)
    await sale.end()
  }

  @Test("A purchase of which only an earlier, declined attempt is left is lost, too")
  func earlierAttempt() async throws {
    let sale = try await SaleFixture(tickets: 2)
    let first = try await sale.startWorker()
    let ann = try await sale.join("ann")
    try await sale.wait(for: .reserved, ann)
    #expect(try await sale.confirm(ann, "ann", "decline") == .ok)
    try await sale.wait(for: .declined, ann)
    #expect(try await sale.confirm(ann, "ann") == .ok)
    try await sale.wait(for: .purchased, ann)
    await first.stop()
    _ = try await sale.losePurchases()
    try await sale.putRow("ann", position: ann, state: "declined")
    try await sale.startWorker()
    try await sale.eventually("the sale stops") { try await sale.event().halt?.tickets == [1] }
    await sale.end()
  }

  @Test("What was sold in a life of the line that Redis has lost is held back, too")
  func earlierLife() async throws {
    let sale = try await SaleFixture(tickets: 2)
    let first = try await sale.startWorker()
    _ = try await sale.buy("ann")
    await first.stop()
    try await sale.loseRedis()
    let second = try await sale.startWorker()
    // The next owner notes what PostgreSQL says is sold.
    try await sale.eventually("a new life") {
      try await !sale.queue.comparison.soldTickets(event: 42).isEmpty
    }
    await second.stop()
    _ = try await sale.losePurchases()
    try await sale.startWorker()
    try await sale.eventually("the sale stops") { try await sale.event().halt?.tickets == [1] }
    await sale.end()
  }

  @Test("Another server, or a restored copy, is noticed while the workers go on")
  func noticed() async throws {
    let sale = try await SaleFixture(tickets: 2)
    try await sale.startWorker()
    _ = try await sale.buy("ann")
    try await sale.eventually("its books were compared once") {
      try await sale.queue.comparison.checkedDatabase().identity != nil
    }
    _ = try await sale.losePurchases()
    #expect(try await sale.event().halt == nil)
    try await sale.becomeOther()
    try await sale.eventually("the sale stops") { try await sale.event().halt?.tickets == [1] }
    await sale.end()
  }

  @Test("Redis has lost it, too: the provider's books say what was bought")
  func providerKnows() async throws {
    let sale = try await SaleFixture(tickets: 2)
    let first = try await sale.startWorker()
    _ = try await sale.buy("ann")
    await first.stop()
    _ = try await sale.losePurchases()
    try await sale.loseRedis()
    try await sale.startWorker()
    try await sale.eventually("the sale stops") { try await sale.event().halt?.tickets == [1] }
    #expect(Bitmap.contains(try await sale.queue.comparison.soldTickets(event: 42), 1))
    await sale.end()
  }

  @Test("Where both may be older nothing is sold until the provider's books say what was")
  func bothOlder() async throws {
    let sale = try await SaleFixture(tickets: 2)
    let first = try await sale.startWorker()
    let ann = try await sale.buy("ann")
    await first.stop()
    _ = try await sale.losePurchases()
    try await sale.becomeOther()
    try await sale.becomeOtherRedis(forgetting: ann, "ann", ticket: 1)
    let bob = try await sale.join("bob")
    var isAway = true
    var asked = 0
    sale.provider.onList = {
      asked += 1
      if isAway { throw PaymentError(code: .unavailable, message: "away") }
    }
    try await sale.startWorker()
    try await sale.eventually("the provider is asked, and asked again") { asked > 3 }
    #expect(try await sale.status(bob)?.state == .queued, "what is free is not known")
    #expect(MetricsRegistry.shared.exposition().contains("onsale_sale_awaits_books 1"))
    isAway = false
    try await sale.eventually("the sale stops") { try await sale.event().halt?.tickets == [1] }
    #expect(try await sale.status(bob)?.state == .queued)
    #expect(try await sale.soldTickets() == [])
    await sale.end()
  }

  @Test("A hold that an older Redis has of a ticket that somebody else bought since buys nothing")
  func holdOfSoldTicket() async throws {
    let sale = try await SaleFixture(tickets: 2)
    let first = try await sale.startWorker()
    let bob = try await sale.buy("bob")
    let ann = try await sale.join("ann")
    #expect(try await sale.wait(for: .reserved, ann)?.tickets == [2])
    await first.stop()
    _ = try await sale.losePurchases()
    try await sale.becomeOther()
    // Bob had bought what Ann had held, as the provider knows; the hold is back.
    try await sale.becomeOtherRedis(forgetting: bob, "bob", ticket: 1)
    for id in sale.provider.payments.keys { sale.provider.payments[id]?.purchase?.tickets = [2] }
    var isAway = true
    sale.provider.onList = { if isAway { throw PaymentError(code: .unavailable, message: "away") } }
    try await sale.startWorker()
    #expect(try await sale.confirm(ann, "ann") == .ok)
    try await sale.eventually("it is taken up") { try await sale.isUnderWay() }
    #expect(try await sale.purchase(ann) == nil, "no payment begins")
    isAway = false
    try await sale.eventually("the sale stops") { try await sale.event().halt?.tickets == [2] }
    try await sale.eventually("her payment ends") { try await !sale.isUnderWay() }
    #expect(try await sale.purchase(ann) == nil)
    #expect(try await sale.soldTickets() == [])
    await sale.end()
  }

  @Test("A Redis that was restarted beside the same PostgreSQL keeps nobody waiting for the provider")
  func restartedRedis() async throws {
    let sale = try await SaleFixture(tickets: 2)
    let first = try await sale.startWorker()
    let ann = try await sale.buy("ann")
    await first.stop()
    var asked = 0
    sale.provider.onList = {
      asked += 1
      throw PaymentError(code: .unavailable, message: "away")
    }
    let patience = Worker.Patience.withoutBooks
    try await sale.becomeOtherRedis()
    try await sale.startWorker(patience: patience)
    let bob = try await sale.buy("bob")
    #expect(try await sale.status(bob)?.tickets == [2])
    #expect(try await sale.status(ann)?.state == .purchased)
    try await sale.eventually("what Redis is now is noted") {
      let (redis, noted) = try await sale.queue.comparison.comparedStores()
      return noted?.redis == redis
    }
    #expect(asked == 0)
    await sale.end()
  }

  @Test("Settings that it has lost are written as the queue has them: a closed sale stays closed")
  func settings() async throws {
    let sale = try await SaleFixture(tickets: 2)
    let events = EventStore(sale.postgres)
    try await events.publish(
      try await events.setMessage(event: 42, "closing soon", by: "operator"), to: sale.queue)
    try await events.publish(try await events.move(event: 42, to: .paused, by: "operator"), to: sale.queue)
    _ = try await sale.postgres.query(
      "UPDATE event SET state = 'open', message = '', version = 1, generation = 0 WHERE id = 42")
    try await sale.startWorker()
    try await sale.eventually("it has caught up") { try await sale.event().state == "paused" }
    let event = try await sale.event()
    #expect(event.settings.message == "closing soon" && event.settings.version == 3)
    #expect(event.settings.generation == 1)
    await sale.end()
  }

  @Test("Numbers of owners that it has lost are not given out again")
  func epochs() async throws {
    let sale = try await SaleFixture(tickets: 1)
    let first = try await sale.startWorker()
    let partition = Partition(of: sale.event)
    try await sale.eventually("an owner") { try await sale.queue.leases.epoch(partition) == 1 }
    await first.stop()
    _ = try await sale.postgres.query("DELETE FROM partition")
    try await sale.startWorker()
    try await sale.eventually("the next owner") { try await sale.queue.leases.epoch(partition) > 1 }
    await sale.end()
  }

  @Test("An event that it does not know at all sells nothing, and tells nobody that it is sold out")
  func unknownEvent() async throws {
    let sale = try await SaleFixture(tickets: 1)
    _ = try await sale.postgres.query("DELETE FROM ticket")
    let ann = try await sale.join("ann")
    try await sale.startWorker()
    try await sale.eventually("it is noticed") {
      MetricsRegistry.shared.exposition().contains("onsale_purchases_missing{")
    }
    #expect(try await sale.status(ann)?.state == .queued)
    await sale.end()
  }

  @Test("A buyer who was told purchased stays so, when only the end of the payment is lost")
  func lostEnd() async throws {
    let sale = try await SaleFixture(tickets: 2)
    let first = try await sale.startWorker()
    let ann = try await sale.buy("ann")
    let told = try await sale.queue.reader.record(event: 42, position: ann)
    await first.stop()
    _ = try await sale.postgres.transaction([
      "UPDATE purchase SET state = 'paying', payment_id = NULL, sold_at = NULL, captured_at = NULL",
      "UPDATE ticket SET purchased = false, payment_id = NULL",
    ])
    try await sale.startWorker()
    let bob = try await sale.join("bob")
    #expect(try await sale.wait(for: .reserved, bob)?.tickets == [2], "what is claimed is nobody else's")
    #expect(try await sale.queue.reader.record(event: 42, position: ann) == told)
    #expect(try await sale.event().halt == nil)
    await sale.end()
  }

  @Test("A payment whose intent is lost on the way is carried out all the same")
  func lostIntent() async throws {
    let sale = try await SaleFixture(tickets: 1)
    var isFirst = true
    sale.provider.afterAuthorising = { _ in
      guard isFirst else { return }
      isFirst = false
      _ = try await sale.losePurchases()
    }
    try await sale.startWorker()
    let ann = try await sale.buy("ann")
    #expect(try await sale.status(ann)?.tickets == [1])
    #expect(try await sale.soldTickets() == [1])
    try await sale.eventually("it is captured, once") {
      sale.provider.payments.values.map(\.status) == [.succeeded]
    }
    await sale.end()
  }
}

extension SaleFixture {
  func event() async throws -> Event {
    try #require(try await EventStore(postgres).event(42))
  }

  /// Buys a ticket; the buyer is told so.
  func buy(_ user: String) async throws -> Int {
    let position = try await join(user, method: "pm_card_visa")
    try await wait(for: .purchased, position)
    return position
  }

  /// PostgreSQL as it was before any purchase.
  /// - Returns: the purchases that were there, for `putBack`.
  func losePurchases() async throws -> String {
    let rows = try await postgres.query(
      "SELECT coalesce(json_agg(p), '[]')::text AS lost FROM purchase p WHERE event_id = \(event)")
    _ = try await postgres.transaction([
      "DELETE FROM purchase WHERE event_id = \(event)", "DELETE FROM claim WHERE event_id = \(event)",
      "DELETE FROM outbox WHERE event_id = \(event)",
      "UPDATE ticket SET purchased = false, payment_id = NULL WHERE event_id = \(event)",
    ])
    return try #require(rows.first?["lost"].string)
  }

  func putBack(_ lost: String) async throws {
    _ = try await postgres.transaction([
      "INSERT INTO purchase SELECT * FROM json_populate_recordset(NULL::purchase, \(lost)::json)",
      """
      INSERT INTO claim SELECT event_id, k.id, generation, position FROM purchase
      CROSS JOIN LATERAL unnest(tickets) AS k (id)
      """,
      """
      UPDATE ticket t SET purchased = true, payment_id = p.payment_id FROM purchase p
      WHERE p.event_id = t.event_id AND t.id = ANY (p.tickets) AND p.state = 'sold'
      """,
    ])
  }

  /// A row of the first attempt to buy ticket 1, without a claim.
  func putRow(_ user: String, position: Int, state: String) async throws {
    _ = try await postgres.query(
      """
      INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method)
      VALUES (\(event), 1, \(position), \(user), \(state), 1, '{1}', 1000, 'EUR', 'pm_card_visa')
      """)
  }

  /// PostgreSQL looks like another server, as far as a test can make it.
  func becomeOther() async throws { try await postgres.script("VACUUM FULL purchase") }

  /// Whether a worker has taken the only payment of the stream.
  func isUnderWay() async throws -> Bool { try await deliveriesLeft() != nil }

  /// Ends the workers, and lets others be started.
  func stopWorkers() async {
    for worker in workers.reversed() { await worker.stop() }
    workers = []
  }
}

extension Worker.Patience {
  /// The book-keeper asks the provider for nothing while a test lasts.
  fileprivate static var withoutBooks: Worker.Patience {
    var patience = Worker.Patience()
    patience.booksMilliseconds = 3_600_000
    return patience
  }
}
