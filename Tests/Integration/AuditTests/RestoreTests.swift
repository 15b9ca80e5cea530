import Audit
import EventLoop
import Ledger
import Payments
import Postgres
import Sale
import StoreCommon
import Testing

@testable import Queue

@Suite("Purchases that PostgreSQL has lost", .serialized)
@LoopActor
struct RestoreTests {
  @Test("A repair writes them back as they were, and their buyers are told nothing else")
  func writtenBack() async throws {
    let hall = try await AuditFixture()
    let sold = try await hall.sell("ann", [1, 2])
    let before = try #require(try await hall.purchases.find(hall.key(sold.position)))
    let record = try await hall.record(sold.position)
    try await hall.losePurchase([1, 2])
    let report = try await hall.audit(repairs: true)
    #expect(report.repairs.filter { !$0.isDone } == [], "\(report.text)")
    let after = try #require(try await hall.purchases.find(hall.key(sold.position)))
    #expect(after.user == "ann" && after.tickets == [1, 2])
    #expect(after.progress.state == .sold && after.progress.amount == before.progress.amount)
    #expect(after.progress.paymentID == sold.payment && after.progress.attempt == before.progress.attempt)
    #expect(try await hall.record(sold.position) == record)
    try await hall.publish()
    #expect(try await hall.audit().isClean)
    await hall.end()
  }

  @Test("Money that was only reserved is taken with it")
  func captured() async throws {
    let hall = try await AuditFixture()
    let sold = try await hall.sell("ann", [1])
    try await hall.losePurchase([1])
    hall.provider.payments[sold.payment]?.status = .requiresCapture
    hall.provider.payments[sold.payment]?.amountCaptured = 0
    _ = try await hall.audit(repairs: true)
    #expect(hall.provider.payments[sold.payment]?.status == .succeeded)
    #expect(try await hall.purchases.dueOutbox(limit: 10).isEmpty)
    #expect(try await hall.purchases.find(hall.key(sold.position))?.progress.state == .sold)
    await hall.end()
  }

  @Test("Whoever has paid is never told that the hold expired, whatever cannot be written back")
  func neverTold() async throws {
    let hall = try await AuditFixture()
    // Made by a version that said nothing about its purchases.
    let silent = try await hall.sell("ann", [1])
    hall.provider.payments[silent.payment]?.purchase = nil
    // Sold to somebody else since.
    let late = try await hall.sell("bob", [2])
    try await hall.losePurchase([1])
    try await hall.losePurchase([2])
    try await hall.sql("INSERT INTO claim VALUES (\(AuditFixture.event), 2, 1, 999)")
    let told = [try await hall.record(silent.position), try await hall.record(late.position)]
    #expect(told.map { $0?.state } == [.purchased, .purchased])
    // As long as a claim of another is there, which the same repair takes away at its end.
    let first = try await hall.audit(repairs: true)
    #expect([try await hall.record(silent.position), try await hall.record(late.position)] == told)
    #expect(first.repairs.contains { !$0.isDone && $0.what.contains("does not say whose it is") })
    #expect(first.repairs.contains { !$0.isDone && $0.what.contains("somebody else's") })
    _ = try await hall.audit(repairs: true)
    #expect(try await hall.purchases.find(hall.key(late.position))?.progress.state == .sold)
    #expect(try await hall.record(silent.position) == told[0])
    await hall.end()
  }

  @Test("What was given back is not written back, and its tickets are for sale again")
  func givenBack() async throws {
    let hall = try await AuditFixture()
    let sold = try await hall.sell("ann", [1])
    try await hall.losePurchase([1])
    hall.provider.giveBack(sold.payment, AuditFixture.price)
    _ = try await hall.audit(repairs: true)
    #expect(try await hall.purchases.find(hall.key(sold.position)) == nil)
    #expect(try await hall.record(sold.position)?.state == .expired)
    #expect(try await !Bitmap.contains(hall.queue.comparison.soldTickets(event: AuditFixture.event), 1))
    await hall.end()
  }

  @Test("An attempt that was declined before does not stand in the way")
  func earlierAttempt() async throws {
    let hall = try await AuditFixture()
    let sold = try await hall.sell("ann", [1])
    try await hall.losePurchase([1])
    // As of before the second attempt.
    hall.provider.payments[sold.payment]?.reference = "\(AuditFixture.event)-1-\(sold.position)-2"
    try await hall.setRecord(sold.position, "P|2|0|1000|1||\(UserKey("ann").text)")
    try await hall.sql(
      """
      INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method)
      VALUES (\(AuditFixture.event), 1, \(sold.position), 'ann', 'declined', 1, '{1}', 1000, 'EUR', 'x')
      """)
    _ = try await hall.audit(repairs: true)
    let after = try #require(try await hall.purchases.find(hall.key(sold.position)))
    #expect(after.progress.state == .sold && after.progress.attempt == 2)
    await hall.end()
  }

  @Test(
    "A late sale is written back: its payment is of the attempt that was given up, as PostgreSQL has it still",
    arguments: [true, false])
  func late(isCaptured: Bool) async throws {
    let hall = try await AuditFixture()
    let sold = try await hall.sell("ann", [1])
    try await hall.losePurchase([1])
    if !isCaptured {
      hall.provider.payments[sold.payment]?.status = .requiresCapture
      hall.provider.payments[sold.payment]?.amountCaptured = 0
    }
    try await hall.setRecord(sold.position, "P|2|0|1000|1||\(UserKey("ann").text)")
    try await hall.sql(
      """
      INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method,
        payment_id, reason) VALUES (\(AuditFixture.event), 1, \(sold.position), 'ann', 'declined', 1, '{1}', 1000, 'EUR', 'x',
        \(sold.payment), 'processing_timeout')
      """)
    _ = try await hall.audit(repairs: true)
    let after = try #require(try await hall.purchases.find(hall.key(sold.position)))
    #expect(after.progress.state == .sold && after.progress.attempt == 2 && after.tickets == [1])
    #expect(after.progress.paymentID == sold.payment)
    #expect(hall.provider.payments[sold.payment]?.status == .succeeded)
    try await hall.publish()
    #expect(try await hall.audit().isClean)
    await hall.end()
  }

  @Test("A late sale of other seats is written back with these; what was told is no such sale moves nobody")
  func lateWithOtherSeats() async throws {
    let hall = try await AuditFixture()
    let sold = try await hall.sell("ann", [1])
    let other = try await hall.sell("bob", [3])
    try await hall.losePurchase([1])
    // The payment names the seats that it was for; the attempt after next has others in their place.
    try await hall.setRecord(sold.position, "P|3|0|1000|2|other_seats|\(UserKey("ann").text)")
    try await hall.sql(
      """
      INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method,
        payment_id, reason) VALUES (\(AuditFixture.event), 1, \(sold.position), 'ann', 'declined', 1, '{1}', 1000, 'EUR', 'x',
        \(sold.payment), 'processing_timeout')
      """)
    try await hall.losePurchase([3])
    // Fewer than were paid for: whatever that is, it is no such sale.
    try await hall.setRecord(other.position, "P|3|0|1000|4,5|other_seats|\(UserKey("bob").text)")
    try await hall.sql(
      """
      INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method,
        payment_id, reason) VALUES (\(AuditFixture.event), 1, \(other.position), 'bob', 'declined', 1, '{3}', 1000, 'EUR', 'x',
        \(other.payment), 'processing_timeout')
      """)
    _ = try await hall.audit(repairs: true)
    let after = try #require(try await hall.purchases.find(hall.key(sold.position)))
    #expect(after.progress.state == .sold && after.progress.attempt == 3 && after.tickets == [2])
    #expect(after.note == "other_seats" && after.progress.paymentID == sold.payment)
    #expect(try await hall.purchases.find(hall.key(other.position))?.progress.state == .declined)
    await hall.end()
  }

  @Test("What was given up and taken, and nobody was told of, stays for a person; so does what was let go of")
  func lateUntold() async throws {
    let hall = try await AuditFixture()
    var sales: [(position: Int, payment: String)] = []
    for (user, ticket, record, reason) in [
      ("ann", 1, "d|1|0|1000|1|processing_timeout|", "processing_timeout"),
      ("bob", 2, "P|2|0|1000|2||", "too_late"),
    ] {
      let sold = try await hall.sell(user, [ticket])
      try await hall.losePurchase([ticket])
      try await hall.setRecord(sold.position, record + UserKey(user).text)
      try await hall.sql(
        """
        INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method,
          payment_id, reason) VALUES (\(AuditFixture.event), 1, \(sold.position), \(user), 'declined', 1, \([ticket])::int[], 1000,
          'EUR', 'x', \(sold.payment), \(reason))
        """)
      sales.append(sold)
    }
    _ = try await hall.audit(repairs: true)
    for sold in sales {
      #expect(try await hall.purchases.find(hall.key(sold.position))?.progress.state == .declined)
      #expect(hall.provider.payments[sold.payment]?.status == .succeeded)
    }
    await hall.end()
  }

  @Test("What was given up is not taken because a later attempt had bought it, whose money was given back")
  func lateAndGivenBack() async throws {
    let hall = try await AuditFixture()
    let sold = try await hall.sell("ann", [1])
    try await hall.losePurchase([1])
    let first = try #require(hall.provider.payments[sold.payment])
    var second = first
    second.id = "pi_second"
    second.reference = first.reference.map { String($0.dropLast()) + "2" }
    hall.provider.payments["pi_second"] = second
    hall.provider.giveBack("pi_second", AuditFixture.price)
    hall.provider.payments[sold.payment]?.status = .requiresCapture
    hall.provider.payments[sold.payment]?.amountCaptured = 0
    try await hall.setRecord(sold.position, "P|2|0|1000|1||\(UserKey("ann").text)")
    _ = try await hall.audit(repairs: true)
    #expect(hall.provider.payments[sold.payment]?.status != .succeeded)
    #expect(try await hall.purchases.find(hall.key(sold.position))?.progress.state != .sold)
    await hall.end()
  }

  @Test("What cost nothing is written back for those who are registered here")
  func free() async throws {
    let hall = try await AuditFixture()
    try await hall.sql("UPDATE ticket SET price = 0 WHERE id IN (1, 2)")
    try await hall.sql("DELETE FROM users")
    try await hall.sql("INSERT INTO users VALUES ('ann', 'Ann', 'ann@example.org', 'x')")
    var positions: [Int] = []
    for (user, ticket) in [("ann", 1), ("stranger", 2)] {
      let sold = try await hall.sell(user, [ticket])
      hall.provider.payments[sold.payment] = nil
      try await hall.setRecord(sold.position, "P|1|0|0|\(ticket)||\(UserKey(user).text)")
      try await hall.losePurchase([ticket])
      positions.append(sold.position)
    }
    let report = try await hall.audit(repairs: true)
    #expect(try await hall.purchases.find(hall.key(positions[0]))?.user == "ann")
    #expect(report.repairs.contains { !$0.isDone && $0.what.contains("only the key of its user") })
    await hall.end()
  }

  @Test("A ticket stays held back while somebody has paid for something that nobody knows")
  func staysHeldBack() async throws {
    let hall = try await AuditFixture()
    let sold = try await hall.sell("ann", [1])
    hall.provider.payments[sold.payment]?.purchase = nil
    try await hall.losePurchase([1])
    try await hall.redis("HDEL", "\(hall.prefix)r:\(sold.position / 100)", "\(sold.position % 100)")
    _ = try await hall.audit(repairs: true)
    #expect(try await Bitmap.contains(hall.queue.comparison.soldTickets(event: AuditFixture.event), 1))
    await hall.end()
  }

  @Test("Fencing numbers that PostgreSQL has lost are brought up to what Redis accepts")
  func epochs() async throws {
    let hall = try await AuditFixture()
    try await hall.redis("SET", "{p\(hall.partition.number)}:epoch", "7")
    _ = try await hall.audit(repairs: true)
    #expect(try await AuditStore(hall.postgres).epochs()[hall.partition.number] == 7)
    await hall.end()
  }
}
