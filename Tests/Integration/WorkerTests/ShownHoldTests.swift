import EventLoop
import Foundation
import Postgres
import Redis
import Sale
import Testing

@testable import Archive
@testable import Ledger
@testable import Queue
@testable import StoreCommon
@testable import Worker

/// Everything was restarted with a Redis that had lost its last seconds: nobody remembers holds but their buyers.
@Suite("Holds that only their buyers remember", .serialized)
@LoopActor
struct ShownHoldTests {
  /// Three with a seat each, of whom Redis has the last two back in line; the first one's has been given back since.
  private func loss() async throws -> (sale: SaleFixture, holds: [ShownHold]) {
    let sale = try await SaleFixture(tickets: 4)
    let first = try await sale.startWorker()
    var holds: [ShownHold] = []
    for user in ["ann", "bob", "cy"] {
      let position = try await sale.join(user)
      try await sale.wait(for: .reserved, position)
      let record = try #require(try await sale.queue.reader.record(event: sale.event, position: position))
      holds.append(
        ShownHold(
          position: position, userKey: record.userKey, generation: 1, deadline: record.deadline,
          amount: record.amount, tickets: record.tickets))
    }
    #expect(holds.map(\.tickets) == [[1], [2], [3]])
    await first.stop()
    #expect(
      try await sale.queue.buyers.cancel(event: sale.event, generation: 1, position: 1, user: "ann") == .ok)
    let keys = EventKeys(sale.event)
    for (user, hold) in zip(["bob", "cy"], holds.dropFirst()) {
      let (key, field) = keys.record(hold.position), userKey = UserKey(user).text
      for command: [RedisArgument] in [
        ["HDEL", .text(key), .text(field)], ["ZREM", .text(keys.holds), .integer(hold.position)],
        ["DEL", .text(keys.prefix + "l:\(hold.tickets[0])")],
        ["HSET", .text(keys.user(userKey)), .text(userKey), .text("\(hold.position).1")],
      ] { _ = try await sale.queue.redis.command(command) }
    }
    for command: [RedisArgument] in [
      ["DEL", .text(keys.line(1))], ["HSET", .text(keys.meta), "head", "1", "idle", "0"],
      ["XADD", .text(keys.line(1)), "2-2", "u", "bob"], ["XADD", .text(keys.line(1)), "3-3", "u", "cy"],
      ["SADD", .text(keys.prefix + "ka"), "1"],
    ] { _ = try await sale.queue.redis.command(command) }
    try await sale.queue.comparison.noteCompared(event: sale.event, identity: "another")
    return (sale, holds)
  }

  private func patience(_ milliseconds: Int) -> Worker.Patience {
    var patience = Worker.Patience()
    patience.shownHoldsMilliseconds = milliseconds
    return patience
  }

  @Test("They get exactly their seats again; who shows nothing is served in turn")
  func givenBack() async throws {
    let (sale, holds) = try await loss()
    #expect(try await sale.queue.buyers.show(event: sale.event, [holds[2]]) == [.awaited])
    try await sale.startWorker(patience: patience(0))
    #expect(try await sale.wait(for: .reserved, 3)?.tickets == [3])
    #expect(try await sale.wait(for: .reserved, 2)?.tickets.count == 1)
    #expect(try await sale.confirm(3, "cy") == .ok)
    #expect(try await sale.wait(for: .purchased, 3)?.tickets == [3])
    await sale.end()
  }

  @Test("Nobody is decided before they had the time to show what they had")
  func awaited() async throws {
    let (sale, holds) = try await loss()
    try await sale.startWorker(patience: patience(3_000))
    try await sale.eventually("the records are compared") {
      try await sale.queue.reader.isCompared(event: sale.event)
    }
    #expect(try await sale.status(2)?.state.isInLine == true)
    #expect(
      try await sale.queue.buyers.show(event: sale.event, Array(holds.dropFirst())) == [.awaited, .awaited])
    #expect(try await sale.wait(for: .reserved, 2)?.tickets == [2])
    #expect(try await sale.wait(for: .reserved, 3)?.tickets == [3])
    await sale.end()
  }

  @Test("Seats that are somebody else's by now are lost: their buyer waits first of all who want the same")
  func lost() async throws {
    let (sale, holds) = try await loss()
    // Sold since, whoever has them.
    _ = try await sale.postgres.query(
      "UPDATE ticket SET purchased = true, payment_id = 'p' WHERE event_id = \(sale.event) AND id IN (1, 2)")
    #expect(try await sale.queue.buyers.show(event: sale.event, [holds[1]]) == [.awaited])
    try await sale.startWorker(patience: patience(0))
    #expect(try await sale.wait(for: .reserved, 2)?.tickets == [3])
    #expect(try await sale.wait(for: .reserved, 3)?.tickets == [4])
    #expect(try await sale.queue.buyers.show(event: sale.event, [holds[1]]) == [.decided])
    await sale.end()
  }

  @Test("Who was cancelled, and noted so, does not come back with Redis", arguments: [nil, "R|0"])
  func notedEnd(record: String?) async throws {
    let sale = try await SaleFixture(tickets: 1)
    let first = try await sale.startWorker()
    let ann = try await sale.join("ann")
    try await sale.wait(for: .reserved, ann)
    let bob = try await sale.join("bob")
    #expect(
      try await sale.queue.buyers.cancel(event: sale.event, generation: 1, position: ann, user: "ann") == .ok)
    try await sale.wait(for: .reserved, bob)
    try await sale.eventually("the end is noted") {
      try await SeatStore(sale.postgres).ends(event: sale.event, generation: 1)[.cancelled]?.contains(ann)
        == true
    }
    await first.stop()
    // Redis has her as she was, and him in line behind her.
    let keys = EventKeys(sale.event), (key, _) = keys.record(ann)
    let deadline = Int(Date().timeIntervalSince1970 * 1_000) + 60_000
    var commands: [[RedisArgument]] = [
      ["DEL", .text(key), .text(keys.holds), .text(keys.prefix + "l:1"), .text(keys.line(1))],
      ["HSET", .text(keys.meta), "head", record == nil ? "0" : "1", "idle", "0"],
    ]
    for (user, position) in [("ann", ann), ("bob", bob)] {
      let userKey = UserKey(user).text
      let isHeld = user == "ann" && record != nil
      commands.append([
        "HSET", .text(keys.user(userKey)), .text(userKey), .text(isHeld ? "\(position)" : "\(position).1"),
      ])
      if isHeld {
        commands += [
          ["HSET", .text(key), "1", .text("\(record ?? "")|\(deadline)|1000|1||\(userKey)")],
          ["ZADD", .text(keys.holds), .integer(deadline), "1"],
          ["SET", .text(keys.prefix + "l:1"), "1", "PX", "60000"],
        ]
      } else {
        commands.append(["XADD", .text(keys.line(1)), .text("\(position)-\(position)"), "u", .text(user)])
      }
    }
    commands.append(["SADD", .text(keys.prefix + "ka"), "1"])
    for command in commands { _ = try await sale.queue.redis.command(command) }
    try await sale.queue.comparison.noteCompared(event: sale.event, identity: "another")
    try await sale.startWorker(patience: patience(0))
    try await sale.wait(for: .cancelled, ann)
    #expect(try await sale.wait(for: .reserved, bob)?.tickets == [1])
    await sale.end()
  }
}
