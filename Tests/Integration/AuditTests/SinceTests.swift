import Audit
import EventLoop
import Ledger
import Payments
import Postgres
import Testing

/// That each kind of damage is found so stands in `DamageTests`.
@Suite("An audit since the last one", .serialized)
@LoopActor
struct SinceTests {
  /// Another event, long over, with one purchase.
  private func addClosedEvent(_ hall: AuditFixture) async throws {
    try await hall.sql(
      """
      INSERT INTO event (id, name, location, date, currency, state, per_user_limit)
      VALUES (7, 'Past', 'There', now() - interval '1 year', 'EUR', 'closed', 4)
      """)
    try await hall.sql("INSERT INTO section (event_id, id, name, price, rank) VALUES (7, 1, 'A', 1000, 1)")
    try await hall.sql(
      """
      INSERT INTO ticket (event_id, id, section_id, rank, price, purchased, payment_id)
      VALUES (7, 1, 1, 1, 1000, true, 'pi_past')
      """)
    try await hall.sql(
      """
      INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method,
        payment_id, captured_at) VALUES (7, 1, 1, 'ann', 'sold', 1, '{1}', 1000, 'EUR', 'x', 'pi_past', now())
      """)
    try await hall.sql("INSERT INTO claim VALUES (7, 1, 1, 1)")
    hall.provider.add("pi_past", .succeeded, captured: 1000, reference: "7-1-1-1")
    hall.index.events.append(IndexedEvent(id: 7, version: 1))
    // Time goes on at the provider, by more than a day.
    hall.provider.makeOld()
  }

  @Test(
    "What has not changed is not read again, in PostgreSQL or at the provider; whoever asks for all gets all")
  func unchanged() async throws {
    let hall = try await AuditFixture()
    try await addClosedEvent(hall)
    try await hall.sell("ann", [1])
    var report = try await hall.audit(sinceLast: true)
    #expect(report.isClean && report.looked.isWhole, "\(report.text)")
    #expect(report.looked.reason == "no run was clean before")
    #expect(report.looked.events == 2 && report.looked.purchases == 2 && report.looked.payments == 2)
    report = try await hall.audit(sinceLast: true)
    #expect(report.isClean && !report.looked.isWhole, "\(report.text)")
    #expect(report.looked.events == 1 && report.looked.purchases == 1, "the one that is on sale")
    #expect(report.looked.counted == 20 + 1 + 2 + 2)
    report = try await hall.audit()
    #expect(report.looked.isWhole && report.looked.events == 2)
    await hall.end()
  }

  @Test("A row that changes, is deleted, or is given back long after is looked at, with its old payment")
  func changes() async throws {
    let hall = try await AuditFixture()
    try await addClosedEvent(hall)
    #expect(try await hall.audit(sinceLast: true).isClean)
    for statement: SQL in [
      "UPDATE purchase SET amount = 900 WHERE event_id = 7",
      "UPDATE ticket SET price = 900 WHERE event_id = 7",
      "DELETE FROM claim WHERE event_id = 7",
    ] {
      _ = try await hall.postgres.query(statement)
      let report = try await hall.audit(sinceLast: true)
      #expect(!report.isClean && !report.looked.isWhole && report.looked.events == 2, "\(report.text)")
    }
    try await hall.sql("UPDATE purchase SET amount = 1000 WHERE event_id = 7")
    try await hall.sql("UPDATE ticket SET price = 1000 WHERE event_id = 7")
    try await hall.sql("INSERT INTO claim VALUES (7, 1, 1, 1)")
    var report = try await hall.audit(sinceLast: true)
    #expect(report.isClean && !report.looked.isWhole, "\(report.text)")
    // Nothing is written here, and something is given back there.
    hall.provider.giveBack("pi_past", 300)
    report = try await hall.audit(sinceLast: true)
    #expect(report.findings.counts == [.refundedOtherwise: 1], "\(report.text)")
    await hall.end()
  }

  @Test("After a whole run that found something the next one is whole, until one was clean")
  func findingsOfWhole() async throws {
    let hall = try await AuditFixture()
    try await addClosedEvent(hall)
    #expect(try await hall.audit(sinceLast: true).isClean)
    // At the provider, of old, of a purchase that has another payment: nothing since tells of it.
    hall.provider.add("pi_twice", .succeeded, captured: 1000, reference: "7-1-1-1")
    hall.provider.makeOld()
    #expect(try await !hall.audit().isClean)
    let report = try await hall.audit(sinceLast: true)
    #expect(!report.isClean && report.looked.isWhole, "\(report.text)")
    #expect(report.looked.reason == "the last whole run had findings")
    hall.provider.payments["pi_twice"] = nil
    #expect(try await hall.audit().isClean)
    #expect(try await !hall.audit(sinceLast: true).looked.isWhole)
    await hall.end()
  }

  @Test("What a transaction writes that began before a clean run and commits after it is looked at")
  func longTransaction() async throws {
    let hall = try await AuditFixture()
    try await addClosedEvent(hall)
    #expect(try await hall.audit(sinceLast: true).isClean)
    let report = try await hall.postgres.withTransaction { transaction in
      _ = try await transaction.query("UPDATE ticket SET price = 900 WHERE event_id = 7")
      // Others go on meanwhile, and get later numbers.
      for _ in 0..<3 { try await hall.sql("UPDATE event SET description = 'x' WHERE id = 42") }
      return try await hall.audit(sinceLast: true)
    }
    #expect(report.isClean && !report.looked.isWhole, "\(report.text)")
    #expect(try await hall.audit(sinceLast: true).findings.counts == [.wrongPrice: 1])
    await hall.end()
  }

  @Test("Another database is looked at whole, and so is one whose numbers have gone too far")
  func otherDatabase() async throws {
    let hall = try await AuditFixture()
    #expect(try await hall.audit(sinceLast: true).isClean)
    try await hall.sql("UPDATE audit_run SET database = 'the primary that was'")
    var report = try await hall.audit(sinceLast: true)
    #expect(report.looked.isWhole && report.looked.reason.contains("PostgreSQL"))
    #expect(try await !hall.audit(sinceLast: true).looked.isWhole)
    // As if more transactions had been than rows can tell apart; or a copy from before the run had come back.
    for change: SQL in ["oldest_xid - 1100000000", "oldest_xid + 1000"] {
      _ = try await hall.postgres.query("UPDATE audit_run SET oldest_xid = \(change)")
      report = try await hall.audit(sinceLast: true)
      #expect(report.looked.isWhole && report.isClean)
      try await hall.sql("DELETE FROM audit_run WHERE is_clean")
      #expect(try await hall.audit(sinceLast: true).isClean)
    }
    await hall.end()
  }

  @Test("Workers use the audit's words")
  func words() {
    for kind in BookStore.Finding.Kind.allCases {
      #expect(FindingKind(rawValue: kind.rawValue)?.isViolation == true)
    }
  }
}
