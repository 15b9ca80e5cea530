import EventLoop
import Postgres
import Redis
import Sale
import Testing

@testable import Ledger
@testable import Queue
@testable import StoreCommon

/// What would take long at once is done in steps.
@LoopActor
@Suite("Large events", .timeLimit(.minutes(3)))
struct LargeEventTests {
  @Test("Which tickets are taken is read in slices, and their edges are nobody's")
  func slices() async throws {
    let database = try await DatabaseFixture()
    defer { database.close() }
    let event = try await database.makeEvent(tickets: 45_000)
    let sold = [1, 19_999, 20_000, 20_001, 40_000, 40_001, 45_000], claimed = [2, 20_002, 44_999]
    _ = try await database.postgres.query(
      "UPDATE ticket SET purchased = true, payment_id = 'p' WHERE event_id = \(event) AND id = ANY (\(sold)::int[])"
    )
    _ = try await database.postgres.query(
      """
      INSERT INTO claim (event_id, ticket_id, generation, position)
      SELECT \(event)::bigint, id, 1, id FROM unnest(\(claimed)::int[]) AS id
      """)
    let bitmap = try await EventStore(database.postgres).unavailableTickets(event: event)
    #expect((0...50_000).filter { Bitmap.contains(bitmap, $0) } == (sold + claimed).sorted())
    // Those of another event are not among them.
    let other = try await database.makeEvent(tickets: 1)
    #expect(try await EventStore(database.postgres).unavailableTickets(event: other) == [])

    let inventory = try await SeatStore(database.postgres).inventory(event: event)
    #expect(inventory.tickets.map(\.id) == Array(1...45_000))
    #expect(inventory.sold == sold && inventory.claimed == claimed && inventory.version == 45_000)
    #expect(inventory.sections.map(\.name) == ["Floor"])
  }

  @Test("What one person has bought is read in steps, each purchase with its own tickets, latest first")
  func purchases() async throws {
    let database = try await DatabaseFixture()
    defer { database.close() }
    let event = try await database.makeEvent(tickets: 200)
    _ = try await database.postgres.query(
      """
      INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method, sold_at)
      SELECT \(event)::bigint, 1, n, 'ann', 'sold', 1, ARRAY[2 * n, 2 * n - 1], 200, 'EUR', 'm',
        to_timestamp(1000 + n / 2)
      FROM generate_series(1, 90) AS n
      """)
    let bought = try await UserStore(database.postgres).purchases(of: "ann", limit: 85)
    // Of two that were sold in the same second, the one with the lower position.
    let expected = (1...90).sorted { ($1 / 2, $0) < ($0 / 2, $1) }.prefix(85)
    #expect(bought.map(\.key.position) == Array(expected))
    #expect(bought.map { $0.tickets.map(\.id) } == expected.map { [2 * $0 - 1, 2 * $0] })
    #expect(try await UserStore(database.postgres).purchases(of: "bob", limit: 85).isEmpty)
  }

  @Test("A line that is lost ends at once, and lets go of its seats in steps")
  func markLostInSteps() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await holds(250, it)
    #expect(try await it.owned.markLost(generation: 1))
    #expect(try await it.queue.reader.document(event: it.event) == nil)
    let refused = await #expect(throws: StoreError.self) { try await it.enqueue("late") }
    #expect(refused?.code == .noQueue)
    // Of another life nothing is let go.
    #expect(try await !it.owned.markLost(generation: 2))
    #expect(try await locks(250, it) == 150)
    #expect(try await it.owned.markLost(generation: 1))
    #expect(try await !it.owned.markLost(generation: 1))
    #expect(try await locks(250, it) == 0)
    #expect(try await !it.owned.markLost(generation: 1))
    try await it.owned.remove(generation: 1, tail: 250)
    #expect(try await it.redis.command(["EXISTS", .text(it.keys.meta)]).integer == 0)
  }

  @Test("An owner of the version before, which asks once, leaves no lock behind either")
  func markLostAtOnce() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await holds(250, it)
    try await it.owned.markLost(generation: 1)
    try await it.owned.remove(generation: 1, tail: 250)
    #expect(try await locks(250, it) == 0)
    #expect(try await it.redis.command(["KEYS", .text(it.keys.prefix + "*")]).array == [])
  }

  @Test(
    "Many holds that end together, and many seats that come back, are taken in steps until there are no more")
  func tickInSteps() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.setHold(milliseconds: 1)
    for number in 1...60 { try await it.join("party \(number)", quantity: 4) }
    // Sixty holds of twenty seats each.
    try await it.commit((1...60).map { it.grant("party \($0)", $0, Array(($0 * 20)..<($0 * 20 + 20))) })
    var expired: [Int] = []
    try await eventually {
      expired += try await it.owned.tick(limit: 1_000).expired
      return !expired.isEmpty
    }
    var calls = 1, hasMore = true
    while hasMore {
      let tick = try await it.owned.tick(limit: 1_000)
      expired += tick.expired
      hasMore = tick.hasMore
      calls += 1
    }
    #expect(expired.sorted() == Array(20..<1_220) && calls >= 2)
    for position in [1, 50, 51, 60] { #expect(try await it.state(position) == .expired) }

    let news: [RedisArgument] = (1...1_500).map { .text("r\($0),\($0 + 1),\($0 + 2),\($0 + 3),\($0 + 4)") }
    _ = try await it.redis.command(["RPUSH", .text(it.keys.prefix + "f")] + news)
    var taken = 0, steps: [Int] = []
    repeat {
      let tick = try await it.owned.tick(limit: 1_000)
      taken += tick.feedback.count
      steps.append(tick.feedback.count)
      hasMore = tick.hasMore
    } while hasMore
    #expect(taken == 1_500 && steps[0] == 400, "\(steps)")
    #expect(try await it.redis.command(["EXISTS", .text(it.keys.prefix + "f")]).integer == 0)
  }

  @Test("The ends of payments of many seats are told in steps, each payment's at once")
  func finishInSteps() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    for number in 1...60 { try await it.join("party \(number)", quantity: 4) }
    // Sixty payments of twenty seats each.
    try await it.commit(
      (1...60).map { it.grant("party \($0)", $0, Array(($0 * 20)..<($0 * 20 + 20)), method: "m") })
    let taken = try await it.queue.confirmations.take(it.partition, worker: "w", limit: 100)
    #expect(taken.count == 60)
    _ = try await it.redis.command(["CONFIG", "RESETSTAT"])
    try await it.queue.confirmations.finish(event: it.event, taken.map { .init($0, .purchased) })
    let stats = try await it.redis.command(["INFO", "commandstats"]).text ?? ""
    #expect(stats.contains("cmdstat_fcall:calls=3,"), "\(stats)")
    for position in 1...60 { #expect(try await it.state(position) == .purchased) }
    #expect(try await it.redis.command(["XLEN", .text(it.partition.confirmations)]).integer == 0)
  }

  private func holds(_ count: Int, _ it: QueueFixture) async throws {
    for number in 1...count { try await it.join("holder \(number)") }
    try await it.commit(
      (1...count).map { it.grant("holder \($0)", $0, [$0], method: $0 % 2 == 0 ? "m" : nil) })
  }

  private func locks(_ count: Int, _ it: QueueFixture) async throws -> Int {
    try await it.queue.holds.lockedTickets(event: it.event, Array(1...count)).count
  }
}
