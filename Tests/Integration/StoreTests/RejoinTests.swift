import EventLoop
import Postgres
import Redis
import Sale
import Testing

@testable import Archive
@testable import Ledger
@testable import Queue
@testable import StoreCommon

@LoopActor
@Suite("Coming back to a line that was lost", .timeLimit(.minutes(3)))
struct RejoinTests {
  func comeBack(
    _ it: QueueFixture, _ user: String, at place: Int, quantity: Int = 1, generation: Int = 2
  ) async throws -> BuyersLine.EnqueueAnswer? {
    let answer = try await it.queue.buyers.rejoin(
      event: it.event, generation: generation, place: place, user: user,
      seats: RequestedSeats(quantity: quantity), method: nil)
    guard case .inLine(let place, let head, let isNew) = answer else { return answer }
    #expect(place.wish == WishPlace(line: place.wish?.line ?? 0, ordinal: place.position))
    return .inLine(
      BuyersLine.Place(position: place.position, generation: place.generation), head: head, isNew: isNew)
  }

  func place(_ position: Int, isNew: Bool = true) -> BuyersLine.EnqueueAnswer {
    .inLine(BuyersLine.Place(position: position, generation: 2), head: 0, isNew: isNew)
  }

  @Test("A crowd that comes back at once, in any order, stands in its old one")
  func crowd() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.configure { $0.queueLimit = 100_000 }
    try await it.lose(restoring: 60_000)
    let calls = { try await it.redis.command(["INFO", "commandstats"]).text ?? "" }
    let before = try await calls()
    let places = Array(1...3_000).shuffled()
    let tasks = places.map { place in Task { try await comeBack(it, "user \(place)", at: place) } }
    for (place, task) in zip(places, tasks) { #expect(try await task.value == self.place(place)) }
    func count(_ text: String) -> Int {
      let line = text.split(separator: "\n").first { $0.hasPrefix("cmdstat_fcall:") } ?? ""
      return line.firstMatch(of: /calls=(\d+)/).flatMap { Int($0.output.1) } ?? 0
    }
    let used = count(try await calls()) - count(before)
    #expect(used < 200, "as many as come at once share a call, and \(used) were made")
    #expect(try await it.document().tail == 3_000)
    #expect(try await it.tick().rejoined == 3_000)
    try await it.endRestoring()
    while try await it.tick().hasMore {}
    #expect(try await it.line == Array(1...3_000))
    #expect(try await it.join("new") == 3_001)
  }

  @Test("Each of those who come back at once is told what concerns them")
  func answers() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.configure { $0.queueLimit = 3 }
    try await it.lose(restoring: 60_000)
    #expect(try await comeBack(it, "greedy", at: 9, quantity: 5) == .limitExceeded(owned: 0, limit: 4))
    let ann = Task { try await comeBack(it, "ann", at: 7) }
    let twin = Task { try await comeBack(it, "twin", at: 7) }
    let again = Task { try await comeBack(it, "ann", at: 7) }
    let bob = Task { try await comeBack(it, "bob", at: 2) }
    #expect(try await ann.value == place(7))
    #expect(try await again.value == place(7, isNew: false))
    #expect(try await bob.value == place(2))
    // Given out twice: the first to come back has it, and the other one comes as somebody new.
    #expect(try await twin.value == nil)
    #expect(try await it.cancel("bob", 2, generation: 2) == .ok)
    #expect(try await comeBack(it, "bob", at: 2) == nil, "given up since")
    #expect(try await comeBack(it, "eve", at: 3) == place(3))
    #expect(try await comeBack(it, "joe", at: 4) == place(4))
    #expect(try await comeBack(it, "late", at: 5) == .queueFull)
    // Another life than was looked at.
    #expect(try await comeBack(it, "late", at: 5, generation: 1) == .restoring(milliseconds: 1_500))
    try await it.endRestoring()
    #expect(try await comeBack(it, "late", at: 5) == nil)
    _ = try await it.tick()
    #expect(try await it.line == [3, 4, 7])
    try await it.configure { $0.state = "closed" }
    #expect(try await comeBack(it, "late", at: 5) == nil)
  }

  @Test("The line stays open to those who were in it while they come, and no longer than its longest")
  func window() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.lose(restoring: 80_000)
    func until() async throws -> Int {
      try await Int(it.redis.command(["HGET", .text(it.keys.meta), "restoring_until"]).text ?? "") ?? 0
    }
    func set(_ field: String, _ value: Int) async throws {
      _ = try await it.redis.command(["HSET", .text(it.keys.meta), .text(field), .integer(value)])
    }
    let end = try await until()
    let longest = try await it.redis.command(["HGET", .text(it.keys.meta), "restoring_longest"]).text
    #expect(longest == "\(end + 14 * 80_000)")
    #expect(try await comeBack(it, "ann", at: 1) == place(1))
    #expect(try await until() == end, "so long in any case")
    // As if it were over in ten seconds: a quarter of its shortest more, with whoever comes.
    try await set("restoring_until", end - 70_000)
    #expect(try await comeBack(it, "bob", at: 2) == place(2))
    let later = try await until()
    #expect(later >= end - 60_000 && later < end)
    #expect(try await comeBack(it, "bob", at: 2) == place(2, isNew: false))
    #expect(try await until() == later, "nobody new came")
    try await set("restoring_longest", later + 1)
    var last = 2
    for _ in 1...2 {
      try await eventually {
        last += 1
        #expect(try await comeBack(it, "user \(last)", at: last) == place(last))
        return try await until() == later + 1
      }
    }
    #expect(RejoinWindow(shortestMilliseconds: 600_000).longestMilliseconds == 1_800_000)
    #expect(RejoinWindow(shortestMilliseconds: 0).longestMilliseconds == 0)
  }

  @Test("Ends without a purchase wait for the owner, who hears of each until it says that it is noted")
  func ends() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    for (position, user) in zip(1..., ["ann", "bob", "joe", "eve", "tim", "pam", "sue"]) {
      #expect(try await it.join(user) == position)
    }
    try await it.commit([
      it.grant("ann", 1, [1]), it.grant("bob", 2, [2]),
      it.decide("joe", 3, .refused(Refusal(reason: "seats_taken"))),
      it.decide("eve", 4, .refused(Refusal(reason: "seats_taken"))), it.grant("tim", 5, [5]),
    ])
    func ends(noted: Int = 0, limit: Int = 100) async throws -> OwnedQueue.Ends {
      try await it.owned.ends(noted: noted, limit: limit)
    }
    #expect(try await it.cancel("pam", 6) == .ok)
    #expect(try await it.cancel("tim", 5) == .ok)
    let tick = try await it.tick()
    #expect(tick.waitingEnds == 4 && !tick.isForReturning)
    let first = try await ends(limit: 3)
    #expect(
      first.ends == [
        .one(position: 3, state: .rejected), .one(position: 4, state: .rejected),
        .one(position: 6, state: .cancelled),
      ])
    #expect(first.generation == 1 && first.count == 3)
    #expect(try await ends(limit: 3).ends == first.ends, "not noted yet")
    #expect(try await ends(noted: 3).ends == [.one(position: 5, state: .cancelled)])
    #expect(try await ends(noted: 1).count == 0)

    // A hold that ends, one whose card was declined before, and what PostgreSQL gave to somebody else. A purchase is none.
    for (position, user) in [(7, "sue")] { try await it.commit([it.grant(user, position, [7])]) }
    for (position, user, outcome) in [
      (1, "ann", ConfirmationStream.Ending.Outcome.purchased), (2, "bob", .declined), (7, "sue", .lost),
    ] {
      #expect(try await it.confirm(user, position) == .ok)
      let confirmation = try #require(try await it.take().first)
      try await it.queue.confirmations.finish(
        event: it.event, [ConfirmationStream.Ending(confirmation, outcome)])
    }
    #expect(try await ends().ends == [.one(position: 7, state: .expired)])
    _ = try await ends(noted: 1)
    _ = try await it.redis.command(["ZADD", .text(it.keys.holds), "1", "2"])
    _ = try await it.tick()
    #expect(try await ends().ends == [.one(position: 2, state: .declinedForGood)])
    _ = try await ends(noted: 1)
    // Everyone who wishes for the same at once, and then everyone.
    let max = try #require(try await it.ask("max"))
    let line = try #require(max.wish?.line)
    try await it.commit(
      ends: [LineEnd(line: line, after: 7, refusal: Refusal(reason: "section_sold_out"))], head: 7)
    let together = RequestEnd.line(line, after: 7, upTo: 8, reason: "section_sold_out", left: 0)
    #expect(try await ends().ends == [together])
    try await it.commit([], head: 8, soldOut: true)
    #expect(try await ends(noted: 1).ends == [.all(upTo: 8)])
    let error = await #expect(throws: StoreError.self) {
      try await it.queue.owned(event: it.event, epoch: it.epoch - 1).ends(noted: 1, limit: 10)
    }
    #expect(error?.code == .staleEpoch)
    #expect(try await ends().count == 1)
  }
}

@LoopActor
@Suite("What is known of lines that were lost", .timeLimit(.minutes(3)))
struct LostLinesTests {
  typealias Key = PurchaseKey

  func owner(_ position: Int) -> String { UserKey("user \(position)").text }

  func key(_ event: Int, _ generation: Int, _ position: Int) -> Key {
    Key(event: event, generation: generation, position: position)
  }

  func wish(_ line: Int, _ ordinal: Int) -> WishPlace { WishPlace(line: line, ordinal: ordinal) }

  func buy(_ it: DatabaseFixture, _ event: Int, _ generation: Int, _ position: Int, _ state: String)
    async throws
  {
    _ = try await it.postgres.query(
      """
      INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method)
      VALUES (\(event), \(generation), \(position), \("user \(position)"), \(state), 1, '{1}', 100, 'EUR', 'm')
      """)
  }

  @Test("Only places that were in line or held count, and all others are told how they ended")
  func placesKept() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let seats = SeatStore(it.postgres), past = PastRequests(it.postgres)
    let event = try await it.makeEvent(tickets: 9)
    #expect(try await seats.begin(event: event, generation: 1) != .tooLate)
    let ends: [(Int, RequestRecord.State, RequestState)] = [
      (20, .cancelled, .cancelled), (8_191, .expired, .expired), (8_192, .declinedForGood, .declined),
      (50_000, .rejected, .rejected), (50_001, .soldOut, .soldOut), (50_002, .cancelled, .cancelled),
    ]
    // Those of one wish ended together, in two steps, of whom the second has said more since.
    let soldOut = RequestEnd.line(3, after: 100, upTo: 110, reason: "section_sold_out", left: 0)
    let notTogether = try #require(RequestEnd("=3/200/209/1795983623000/2/only_n_left"))
    #expect(notTogether == .line(3, after: 200, upTo: 209, reason: "only_n_left", left: 2))
    for _ in 1...2 {
      try await seats.note(
        event: event, generation: 1,
        ends.map { .one(position: $0.0, state: $0.1) } + [.all(upTo: 9), .all(upTo: 4), soldOut, notTogether])
    }
    try await buy(it, event, 1, 31, "sold")
    try await buy(it, event, 1, 32, "paying")
    try await buy(it, event, 1, 33, "declined")
    _ = try await it.postgres.query(
      "INSERT INTO lost_place (event_id, generation, position, user_key) VALUES (\(event), 1, 40, \(owner(40)))"
    )
    #expect(try await past.lifeToReturn(key(event, 1, 10), owner: owner(10)) == .notLost)
    #expect(try await seats.begin(event: event, generation: 2) != .tooLate)
    // Nothing is noted any more: those who are told what is known here are not told anything else.
    try await seats.note(event: event, generation: 1, [.one(position: 60, state: .expired), .all(upTo: 70)])

    let lines = PastRequests(it.postgres)
    func returns(_ generation: Int, _ position: Int) async throws -> LostLines.Return {
      try await lines.lifeToReturn(key(event, generation, position), owner: owner(position))
    }
    for position in [10, 33, 41, 60, 8_190, 8_193, 49_999, 9_000_000] {
      #expect(try await returns(1, position) == .counts(generation: 2))
      #expect(try await lines.status(key(event, 1, position), owner: owner(position))?.isLostPlace == true)
    }
    for (position, _, state) in ends {
      #expect(try await returns(1, position) == .countsNot)
      #expect(try await lines.status(key(event, 1, position), owner: owner(position))?.state == state)
      #expect(past.lostLines.known(key(event, 1, position), owner: owner(position)) == nil)
    }
    for (position, line, reason, left) in [
      (101, 3, "section_sold_out", nil), (110, 3, "section_sold_out", nil), (209, 3, "only_n_left", 2),
      (111, 3, "queue_lost", nil), (200, 3, "queue_lost", nil), (210, 3, "queue_lost", nil),
      (101, 4, "queue_lost", nil),
    ] as [(Int, Int, String, Int?)] {
      let told = try await lines.status(
        key(event, 1, position), owner: owner(position), wish: wish(line, position))
      #expect(told?.reason == reason && told?.left == left, "\(position)")
      let counts = try await lines.lifeToReturn(key(event, 1, position), owner: owner(position), line: line)
      #expect((counts == .counts(generation: 2)) == (reason == "queue_lost"), "\(position)")
    }
    #expect(try await returns(1, 9) == .countsNot)
    #expect(try await lines.status(key(event, 1, 9), owner: owner(9))?.state == .soldOut)
    #expect(try await returns(1, 31) == .countsNot)
    #expect(try await lines.status(key(event, 1, 31), owner: owner(31))?.state == .purchased)
    #expect(try await returns(1, 40) == .countsNot)
    #expect(try await lines.lifeToReturn(key(event, 1, 40), owner: owner(1)) == .counts(generation: 2))
    #expect(try await lines.status(key(event, 1, 40), owner: owner(40))?.isLostPlace == true)
    // Its payment goes on without the line, and when it is declined the place is one that was lost.
    #expect(try await returns(1, 32) == .countsNot)
    #expect(try await lines.status(key(event, 1, 32), owner: owner(32))?.state == .confirming)
    _ = try await it.postgres.query(
      "UPDATE purchase SET state = 'declined' WHERE event_id = \(event) AND position = 32")
    #expect(try await returns(1, 32) == .counts(generation: 2))
    #expect(try await lines.status(key(event, 1, 32), owner: owner(32))?.isLostPlace == true)
    #expect(try await returns(2, 10) == .notLost)
  }

  @Test("Places of the last life count, and of those before if it was lost while it took them up")
  func lives() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let seats = SeatStore(it.postgres)
    let event = try await it.makeEvent(tickets: 9)
    func returns(_ generation: Int, _ position: Int) async throws -> LostLines.Return {
      try await PastRequests(it.postgres).lifeToReturn(
        key(event, generation, position), owner: owner(position))
    }
    #expect(try await seats.begin(event: event, generation: 1) != .tooLate)
    try await seats.note(event: event, generation: 1, [.one(position: 5, state: .expired)])
    // A life that nobody began.
    #expect(try await seats.begin(event: event, generation: 3) != .tooLate)
    #expect(try await returns(1, 7) == .counts(generation: 3))
    #expect(try await returns(2, 7) == .counts(generation: 3))
    // Lost while it is restored: whoever was not back yet comes back to the next, and who ended is gone.
    try await seats.note(event: event, generation: 3, [.one(position: 6, state: .cancelled)])
    #expect(try await seats.begin(event: event, generation: 4) != .tooLate)
    for life in [1, 3] {
      #expect(try await returns(life, 7) == .counts(generation: 4))
      #expect(try await returns(life, 6) == .countsNot)
    }
    #expect(try await returns(1, 5) == .countsNot)
    // Restored, and lost: only its own places count.
    try await seats.noteRestored(event: event, generation: 3)
    #expect(try await returns(1, 7) == .counts(generation: 4))
    try await seats.noteRestored(event: event, generation: 4)
    #expect(try await returns(3, 7) == .countsNot, "their time is over")
    #expect(try await seats.begin(event: event, generation: 5) != .tooLate)
    #expect(try await returns(4, 7) == .counts(generation: 5))
    for life in [1, 3] { #expect(try await returns(life, 7) == .countsNot) }
    #expect(try await PastRequests(it.postgres).status(key(event, 1, 5), owner: owner(5))?.state == .expired)
    // So long ago that it is not remembered: looked up one by one, and the same.
    for life in 6...20 { #expect(try await seats.begin(event: event, generation: life) != .tooLate) }
    for life in 6...20 { try await seats.noteRestored(event: event, generation: life) }
    #expect(try await seats.begin(event: event, generation: 21) != .tooLate)
    let past = PastRequests(it.postgres)
    #expect(try await past.status(key(event, 1, 5), owner: owner(5))?.state == .expired)
    #expect(try await past.status(key(event, 1, 7), owner: owner(7))?.isLostPlace == true)
    #expect(past.lostLines.known(key(event, 1, 5), owner: owner(5)) == nil)
    #expect(try await past.lifeToReturn(key(event, 1, 7), owner: owner(7)) == .countsNot)
  }

  @Test("A million ends of a line take a hundred kilobytes, and are read in batches")
  func size() async throws {
    let it = try await DatabaseFixture()
    defer { it.close() }
    let seats = SeatStore(it.postgres)
    let event = try await it.makeEvent(tickets: 1)
    #expect(try await seats.begin(event: event, generation: 1) != .tooLate)
    // As 1,000 statements of 2,000 would leave it.
    _ = try await it.postgres.query(
      """
      INSERT INTO request_end (event_id, generation, state, bucket, ended)
      SELECT \(event)::bigint, 1, 'X', b, ~0::bit(8192) FROM generate_series(0, 999) b
      """)
    try await buyMany(it, event, 12_000)
    #expect(try await seats.begin(event: event, generation: 2) != .tooLate)
    let past = PastRequests(it.postgres)
    #expect(try await past.lifeToReturn(key(event, 1, 8_191_999), owner: owner(1)) == .countsNot)
    #expect(try await past.lifeToReturn(key(event, 1, 8_192_000), owner: owner(1)) == .counts(generation: 2))
    for position in [9_000_001, 9_012_000] {
      #expect(try await past.lifeToReturn(key(event, 1, position), owner: owner(1)) == .countsNot)
    }
    #expect(try await past.lifeToReturn(key(event, 1, 9_012_001), owner: owner(1)) == .counts(generation: 2))
  }

  private func buyMany(_ it: DatabaseFixture, _ event: Int, _ count: Int) async throws {
    _ = try await it.postgres.query(
      """
      INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method)
      SELECT \(event)::bigint, 1, 9000000 + n, 'user ' || n, 'sold', 1, '{1}', 100, 'EUR', 'm'
      FROM generate_series(1, \(count)::int) n
      """)
  }
}
