import EventLoop
import Foundation
import Payments
import Postgres
import Redis
import Sale
import Testing

@testable import Ledger
@testable import Queue
@testable import StoreCommon
@testable import Worker

@Suite("Records that Redis came back with", .serialized)
@LoopActor
struct LedgerComparisonTests {
  struct Row: Sendable, CustomTestStringConvertible {
    let purchase: PurchaseProgress.State
    /// State, try and tickets, of the buyer or, with an `!`, of somebody else; empty where there is none.
    let record: String
    let repair: QueueRepairs.Repair?
    /// Whether it was sold once, and taken back since its money could not be taken.
    var hasLapsed = false
    var testDescription: String { "\(purchase), \(record.isEmpty ? "no record" : record)" }
  }

  /// A purchase of tickets 7 and 8 by Ann, its second attempt.
  nonisolated static let table: [Row] = [
    Row(purchase: .sold, record: "", repair: .purchased),
    Row(purchase: .sold, record: "R 0 7,8", repair: .purchased),
    Row(purchase: .sold, record: "R 0 1,2", repair: .purchased),
    Row(purchase: .sold, record: "D 1 7,8", repair: .purchased),
    Row(purchase: .sold, record: "C 2 7,8", repair: .purchased),
    Row(purchase: .sold, record: "X 0 7,8", repair: .purchased),
    Row(purchase: .sold, record: "L 0 7,8", repair: .purchased),
    Row(purchase: .sold, record: "P 2 1,2", repair: .purchased),
    Row(purchase: .sold, record: "P 2 8,7", repair: nil),
    Row(purchase: .sold, record: "!R 0 7,8", repair: nil),
    Row(purchase: .paying, record: "", repair: .confirming),
    Row(purchase: .paying, record: "R 0 7,8", repair: .confirming),
    Row(purchase: .paying, record: "C 1 7,8", repair: .confirming),
    Row(purchase: .paying, record: "C 2 1,2", repair: .confirming),
    Row(purchase: .paying, record: "C 2 7,8", repair: nil),
    Row(purchase: .paying, record: "C 3 7,8", repair: nil),
    Row(purchase: .paying, record: "!C 1 7,8", repair: nil),
    Row(purchase: .declined, record: "", repair: nil),
    Row(purchase: .declined, record: "R 1 7,8", repair: .declined),
    Row(purchase: .declined, record: "C 2 7,8", repair: .declined),
    Row(purchase: .declined, record: "C 3 7,8", repair: nil),
    Row(purchase: .declined, record: "D 2 7,8", repair: nil),
    Row(purchase: .declined, record: "R 0 1,2", repair: nil),
    Row(purchase: .declined, record: "X 0 7,8", repair: nil),
    Row(purchase: .void, record: "", repair: nil),
    Row(purchase: .void, record: "C 2 7,8", repair: .expired),
    Row(purchase: .void, record: "C 3 7,8", repair: nil),
    Row(purchase: .void, record: "R 0 7,8", repair: nil),
    Row(purchase: .declined, record: "P 2 7,8", repair: nil),
    Row(purchase: .declined, record: "P 2 7,8", repair: .declined, hasLapsed: true),
    Row(purchase: .declined, record: "P 1 7,8", repair: .declined, hasLapsed: true),
    Row(purchase: .declined, record: "P 3 7,8", repair: nil, hasLapsed: true),
    Row(purchase: .declined, record: "!P 2 7,8", repair: nil, hasLapsed: true),
    Row(purchase: .declined, record: "D 2 7,8", repair: nil, hasLapsed: true),
    Row(purchase: .void, record: "P 2 7,8", repair: .expired, hasLapsed: true),
    Row(purchase: .void, record: "X 2 7,8", repair: nil, hasLapsed: true),
    Row(purchase: .sold, record: "P 2 7,8", repair: nil, hasLapsed: true),
  ]

  @Test(
    "A record becomes what PostgreSQL says, unless it is right, later, or somebody else's", arguments: table)
  func repair(row: Row) {
    let purchase = PurchaseStore.Frozen(
      position: 5, user: "ann", state: row.purchase, attempt: 2, tickets: [7, 8], amount: 2000,
      method: "pm_card_visa", reason: "", hasLapsed: row.hasLapsed)
    var record: RequestRecord?
    let parts = row.record.split(separator: " ")
    if parts.count == 3 {
      let isForeign = parts[0].hasPrefix("!"), key = UserKey(isForeign ? "bob" : "ann").text
      record = RequestRecord("\(parts[0].suffix(1))|\(parts[1])|0|2000|\(parts[2])||\(key)")
      #expect(record != nil)
    }
    #expect(LedgerComparison.repair(purchase, record) == row.repair)
  }

  /// Ann, who has bought ticket 1 or is about to, and what Redis has of her afterwards.
  private func setBack(_ sale: SaleFixture, _ position: Int, to record: String?) async throws {
    let keys = EventKeys(sale.event), (key, field) = keys.record(position)
    let user = UserKey("ann").text
    let deadline = Int(Date().timeIntervalSince1970 * 1000) + 60_000
    var commands: [[RedisArgument]] = []
    let place: String
    if let record {
      commands.append([
        "HSET", .text(key), .text(field), .text("\(record)|\(deadline)|1000|1||\(user)"),
      ])
      commands.append(["SET", .text(keys.prefix + "l:1"), .integer(position), "PX", "60000"])
      let score = record.hasPrefix("C") ? "+inf" : String(deadline)
      commands.append(["ZADD", .text(keys.holds), .text(score), .integer(position)])
      place = String(position)
    } else {
      commands += [
        ["HDEL", .text(key), .text(field)], ["ZREM", .text(keys.holds), .integer(position)],
        ["DEL", .text(keys.prefix + "l:1"), .text(keys.line(1))],
        ["HSET", .text(keys.meta), "head", .integer(position - 1), "idle", "0"],
        ["XADD", .text(keys.line(1)), .text("\(position)-1"), "u", "ann"],
        ["SADD", .text(keys.prefix + "ka"), "1"],
      ]
      place = "\(position).1"
    }
    commands.append(["HSET", .text(keys.prefix + "u:" + user.prefix(2)), .text(user), .text(place)])
    for command in commands { _ = try await sale.queue.redis.command(command) }
  }

  @Test(
    "A second worker finds a purchase that Redis has forgotten: it is there again, once, and counts for the limit",
    arguments: ["R|0", "C|1", nil])
  func forgottenPurchase(record: String?) async throws {
    let sale = try await SaleFixture(tickets: 2, perUserLimit: 1)
    let first = try await sale.startWorker()
    let ann = try await sale.join("ann", method: "pm_card_visa")
    try await sale.wait(for: .purchased, ann)
    try await sale.eventually("the capture") { sale.provider.payments.values.map(\.status) == [.succeeded] }
    await first.stop()
    try await setBack(sale, ann, to: record)
    try await sale.startWorker()
    #expect(try await sale.wait(for: .purchased, ann)?.tickets == [1])
    let again = try await sale.queue.buyers.enqueue(
      event: sale.event, user: "ann", seats: RequestedSeats(quantity: 1), method: nil)
    #expect(again == .limitExceeded(owned: 1, limit: 1))
    // Her ticket is hers, and the other one is to be had.
    let bob = try await sale.join("bob")
    #expect(try await sale.wait(for: .reserved, bob)?.tickets == [2])
    #expect(try await sale.soldTickets() == [1])
    #expect(sale.provider.payments.values.map(\.amountCaptured) == [1000])
    await sale.end()
  }

  @Test(
    "Who is told of a sale that was taken back is asked again, or told that it came to nothing",
    arguments: [true, false])
  func forgottenLapse(asks: Bool) async throws {
    let sale = try await SaleFixture(tickets: 2)
    let first = try await sale.startWorker()
    let ann = try await sale.join("ann", method: "pm_card_visa")
    try await sale.wait(for: .purchased, ann)
    try await sale.eventually("the capture") { sale.provider.payments.values.map(\.status) == [.succeeded] }
    await first.stop()
    _ = try await sale.postgres.query("UPDATE purchase SET captured_at = NULL")
    let key = PurchaseKey(event: sale.event, generation: 1, position: ann)
    let payment = try #require(try await sale.purchase(ann)?.progress.paymentID)
    #expect(try await sale.purchases.lapse(key, paymentID: payment, asks: asks)?.isOpen == asks)
    #expect(try await sale.status(ann)?.state == .purchased)
    try await sale.startWorker()
    #expect(try await sale.wait(for: asks ? .declined : .expired, ann)?.reason == "authorisation_lapsed")
    let bob = try await sale.join("bob")
    #expect(try await sale.wait(for: .reserved, bob)?.tickets == [asks ? 2 : 1])
    #expect(try await sale.queue.comparison.soldTickets(event: sale.event).allSatisfy { $0 == 0 })
    if asks {
      #expect(try await sale.confirm(ann, "ann", "pm_2") == .ok)
      #expect(try await sale.wait(for: .purchased, ann)?.tickets == [1])
    }
    await sale.end()
  }

  @Test(
    "A payment that had begun when Redis forgot it goes on to its end, and is charged once",
    arguments: ["R|0", nil])
  func forgottenPayment(record: String?) async throws {
    let sale = try await SaleFixture(tickets: 1)
    let first = try await sale.startWorker()
    let ann = try await sale.join("ann")
    try await sale.wait(for: .reserved, ann)
    await first.stop()
    let claimed = try await sale.purchases.claim([
      Sale.Confirmation(
        entryID: nil, event: sale.event, generation: 1, position: ann, attempt: 1, tickets: [1], amount: 1000,
        method: "pm_card_visa", user: "ann")
    ])
    #expect(claimed.first??.state == .paying)
    try await setBack(sale, ann, to: record)
    try await sale.startWorker()
    #expect(try await sale.wait(for: .purchased, ann)?.tickets == [1])
    #expect(try await sale.soldTickets() == [1])
    try await sale.eventually("the capture") { sale.provider.payments.values.map(\.status) == [.succeeded] }
    #expect(sale.provider.payments.values.map(\.amountCaptured) == [1000])
    await sale.end()
  }

  @Test("A hold that had ended, and whose seat was bought since, does not come back with Redis")
  func forgottenEnd() async throws {
    let sale = try await SaleFixture(tickets: 1)
    let first = try await sale.startWorker()
    let ann = try await sale.join("ann")
    try await sale.wait(for: .reserved, ann)
    #expect(
      try await sale.queue.buyers.cancel(event: sale.event, generation: 1, position: ann, user: "ann") == .ok)
    let bob = try await sale.join("bob", method: "pm_card_visa")
    try await sale.wait(for: .purchased, bob)
    await first.stop()
    try await setBack(sale, ann, to: "R|0")
    try await sale.startWorker()
    try await sale.wait(for: .expired, ann)
    let keys = EventKeys(sale.event)
    #expect(try await sale.queue.redis.command(["GETBIT", .text(keys.prefix + "b"), "1"]).integer == 1)
    #expect(try await sale.status(bob)?.tickets == [1])
    #expect(try await sale.soldTickets() == [1])
    await sale.end()
  }

  @Test("Seats that were promised in place of those that were bought are free again")
  func promisedInstead() async throws {
    let sale = try await SaleFixture(tickets: 2, perUserLimit: 1)
    let first = try await sale.startWorker()
    let ann = try await sale.join("ann", method: "pm_card_visa")
    try await sale.wait(for: .purchased, ann)
    await first.stop()
    // Redis came back, forgot the purchase, and has her pay for ticket 2: a lock without an end.
    let keys = EventKeys(sale.event), (key, field) = keys.record(ann)
    for command: [RedisArgument] in [
      ["HSET", .text(key), .text(field), .text("C|1|0|1000|2||\(UserKey("ann").text)")],
      ["SET", .text(keys.prefix + "l:2"), .integer(ann)], ["ZADD", .text(keys.holds), "+inf", .integer(ann)],
    ] { _ = try await sale.queue.redis.command(command) }
    try await sale.startWorker()
    #expect(try await sale.wait(for: .purchased, ann)?.tickets == [1])
    let bob = try await sale.join("bob")
    #expect(try await sale.wait(for: .reserved, bob)?.tickets == [2])
    await sale.end()
  }
}

@Suite("What was granted of late")
struct RecentGrantsTests {
  private func plan(_ grants: [(position: Int, ticket: Int)]) -> ReservePlanner.Plan {
    var plan = ReservePlanner.Plan()
    plan.decisions = grants.map { position, ticket in
      Decision(
        Arrival(
          position: position, ordinal: position, line: 1, user: "user\(position)",
          seats: RequestedSeats(quantity: 1), method: nil), .granted(tickets: [ticket], amount: 1000))
    }
    return plan
  }

  private func positions(_ grants: inout RecentGrants, _ now: UInt64, generation: Int = 1) -> [Int] {
    grants.take(generation: generation, now: now).map(\.position)
  }

  @Test("It is given back in its order, for a minute, in the same life of the line")
  func order() {
    var grants = RecentGrants()
    grants.add(plan([(5, 1), (3, 2), (9, 3)]), skipped: [9], generation: 1, now: 1_000)
    grants.add(plan([(4, 4)]), skipped: [], generation: 1, now: 2_000)
    #expect(positions(&grants, 61_000) == [5, 3, 4])
    #expect(positions(&grants, 61_001) == [4])
    #expect(positions(&grants, 61_001, generation: 2) == [])
    grants.add(plan([(1, 1)]), skipped: [], generation: 2, now: 61_002)
    #expect(positions(&grants, 61_003, generation: 2) == [1])
  }

  @Test("Seats that were let go are not given back to who had them, but to who got them next")
  func ends() {
    var grants = RecentGrants()
    grants.add(plan([(1, 1), (2, 2)]), skipped: [], generation: 1, now: 1_000)
    grants.end([1])
    grants.add(plan([(7, 1)]), skipped: [], generation: 1, now: 1_001)
    #expect(positions(&grants, 1_002) == [2, 7])
    grants.end([2])
    #expect(positions(&grants, 1_002) == [7])
    // Nobody heard that they were let go, and they were granted again all the same.
    grants.add(plan([(8, 1)]), skipped: [], generation: 1, now: 1_002)
    #expect(positions(&grants, 1_002) == [8])
  }

  @Test("More than a limit is not kept")
  func limit() {
    var grants = RecentGrants()
    for number in 1...40_001 {
      grants.add(plan([(number, number)]), skipped: [], generation: 1, now: 1_000)
    }
    let kept = positions(&grants, 1_000)
    #expect(kept == Array(20_002...40_001))
  }
}
