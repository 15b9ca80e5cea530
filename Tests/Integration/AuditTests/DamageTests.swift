import Audit
import EventLoop
import Foundation
import Ledger
import Payments
import Postgres
import Queue
import Redis
import Sale
import StoreCommon
import Testing

@Suite("Damage", .serialized)
@LoopActor
struct DamageTests {
  @Test(
    "Everything that is broken by hand is named, nothing else is, and what can be settled is",
    arguments: Damage.all)
  func damage(_ damage: Damage) async throws {
    let hall = try await AuditFixture()
    // An ordinary sale next to it, which must not be suspected.
    try await hall.sell("neighbour", [11, 12])
    _ = try await hall.hold("holder", [13])
    try await damage.corrupt(hall)

    let report = try await hall.audit()
    #expect(Set(report.findings.counts.keys) == damage.finds, "\(report.text)")
    #expect(report.isClean == damage.finds.allSatisfy { !$0.isViolation })
    let repaired = try await hall.audit(repairs: true)
    #expect(!repaired.repairs.isEmpty || damage.finds.allSatisfy { !$0.isViolation })
    if damage.isRepairable {
      // What the owner of the seat map does when it is taken from its partition: it reads everything anew.
      try await hall.publish()
      let after = try await hall.audit()
      #expect(after.isClean, "\(repaired.text)\(after.text)")
    }
    await hall.end()
  }

  @Test(
    "What is broken after a clean run is named by the next one, which looks only at what may have changed",
    arguments: Damage.all)
  func since(_ damage: Damage) async throws {
    let hall = try await AuditFixture()
    try await hall.sell("neighbour", [11, 12])
    _ = try await hall.hold("holder", [13])
    #expect(try await hall.audit().isClean)
    try await damage.corrupt(hall)
    let report = try await hall.audit(sinceLast: true)
    #expect(!report.looked.isWhole)
    #expect(Set(report.findings.counts.keys) == damage.finds, "\(report.text)")
    // A run that is not clean is nothing to begin from: what it found is found again.
    #expect(try await Set(hall.audit(sinceLast: true).findings.counts.keys) == damage.finds)
    await hall.end()
  }

  @Test("Every kind of damage has a test")
  func completeness() {
    // Those that depend on time or on another store have tests of their own.
    let elsewhere: Set<FindingKind> = [.indexEmpty, .indexBehind, .indexUnknown, .indexWentBack]
    let tested = Damage.all.reduce(into: elsewhere) { $0.formUnion($1.finds) }
    #expect(Set(FindingKind.allCases).subtracting(tested) == [])
  }

  @Test("A capture that PostgreSQL does not know is never voided or repeated by a repair")
  func repairIsSafe() async throws {
    let hall = try await AuditFixture()
    let sold = try await hall.sell("ann", [1])
    hall.provider.add(
      "pi_z", .succeeded, captured: AuditFixture.price, reference: "\(AuditFixture.event)-1-77-1")
    hall.provider.add("pi_other", .requiresCapture, reference: "somebody-else")
    _ = try await hall.audit(repairs: true)
    #expect(hall.provider.payments["pi_z"]?.status == .succeeded)
    #expect(hall.provider.payments["pi_other"]?.status == .requiresCapture, "not ours")
    #expect(hall.provider.payments[sold.payment]?.amountCaptured == AuditFixture.price)
    await hall.end()
  }

  @Test("A repair tells nobody of another's purchase")
  func keepsToItself() async throws {
    let hall = try await AuditFixture()
    let bob = UserKey("bob").text
    var places: [(position: Int, user: String, record: RequestRecord)] = []
    for (user, ticket, text) in [("ann", 1, "P|1|0|1000|2|"), ("eve", 3, "X|1|0|1000|3|queue_lost")] {
      let sold = try await hall.sell(user, [ticket])
      try await hall.setRecord(sold.position, "\(text)|\(bob)")
      places.append((sold.position, user, try #require(try await hall.record(sold.position))))
    }
    _ = try await hall.audit(repairs: true)
    for (position, user, record) in places {
      #expect(try await hall.record(position) == record)
      #expect(
        try await !hall.queue.repairs.repair(
          event: AuditFixture.event, position: position, expected: record.state, to: .purchased, attempt: 1,
          amount: 1000, tickets: [1], free: [], reason: "", user: user))
      #expect(try await hall.record(position) == record)
    }
    await hall.end()
  }

  @Test("A repair gives tickets of a lost payment back, and the buyer may ask again")
  func givesBack() async throws {
    let hall = try await AuditFixture()
    let position = try await hall.hold("ann", [1])
    try await hall.setRecord(position, "P|1|0|1000|1||\(UserKey("ann").text)")
    _ = try await hall.audit(repairs: true)
    #expect(try await hall.record(position)?.state == .expired)
    #expect(try await hall.queue.inspection.locks(event: AuditFixture.event, tickets: [1]) == [nil])
    let again = try await hall.join("ann")
    #expect(again > position)
    await hall.end()
  }
}

extension AuditFixture {
  /// PostgreSQL as it was before these tickets were sold.
  func losePurchase(_ tickets: [Int]) async throws {
    try await sql("DELETE FROM purchase WHERE tickets = \(tickets)::int[]")
    try await sql("DELETE FROM claim WHERE ticket_id = ANY (\(tickets)::int[])")
    try await sql("UPDATE ticket SET purchased = false, payment_id = NULL WHERE id = ANY (\(tickets)::int[])")
  }

  /// Acknowledges and deletes every entry of the confirmation stream, as if it had been dealt with.
  func loseEntries() async throws {
    let stream = "{p\(partition.number)}:c"
    for entry in try await queue.inspection.streamEntries(
      partition, deadLetters: false, after: nil, limit: 100)
    {
      try await redis("XACK", stream, "workers", entry.id)
      try await redis("XDEL", stream, entry.id)
    }
  }

  /// Puts every entry of the confirmation stream where one of an hour ago would be.
  func makeEntriesOld() async throws {
    let stream = "{p\(partition.number)}:c"
    let old = try await queue.inspection.streamEntries(partition, deadLetters: false, after: nil, limit: 100)
    let values = try await redis.command(["XRANGE", .text(stream), "-", "+"]).array ?? []
    try await redis("DEL", stream)
    for (entry, value) in zip(old, values) {
      let fields = (value.array?.last?.array ?? []).compactMap(\.text)
      let id = "\(entry.addedAt - 3_600_000)-0"
      _ = try await redis.command(["XADD", .text(stream), .text(id)] + fields.map { .text($0) })
    }
    try await redis("XGROUP", "CREATE", stream, "workers", "0")
  }

  struct Sold {
    let position: Int
    let payment: String
  }

  /// Writes a refund down that has ended. - Returns: its id.
  func noteRefund(
    _ position: Int, _ amount: Int, state: String, tickets: [Int] = [], provider: String? = nil
  ) async throws -> String {
    let id = UUID().uuidString.lowercased()
    try await sql(
      """
      INSERT INTO refund (event_id, id, generation, position, tickets, amount, state, releases, who, reason, provider_id,
        available_at, ended_at)
      VALUES (\(Self.event), \(id)::uuid, \(Self.generation), \(position), \(tickets)::int[], \(amount), \(state), true,
        'test', \(state == "failed" ? "no" : nil), \(provider), NULL, now())
      """)
    return id
  }

  /// Sells, and gives the first ticket back, everywhere but at the provider.
  func sellAndGiveBack(
    _ user: String, _ tickets: [Int], amount: Int = AuditFixture.price, provider: String
  ) async throws -> (Sold, String) {
    let sold = try await sell(user, tickets)
    let key = key(sold.position)
    let refunds = RefundStore(postgres)
    let refund = try await refunds.request(
      .init(key, tickets: [tickets[0]], releases: true), by: "test"
    ).refund
    try await sql("UPDATE refund SET amount = \(amount) WHERE id = \(refund.id)::uuid")
    let asked = try #require(try await refunds.find(event: Self.event, id: refund.id))
    _ = try await refunds.succeed(asked, providerID: provider)
    try await refunds.told([asked])
    let found = try #require(try await purchases.find(key))
    _ = try await queue.confirmations.giveBack(asked.tickets, of: key, found, owned: tickets.count - 1)
    try await publish()
    return (Sold(position: sold.position, payment: sold.payment), refund.id)
  }
}
