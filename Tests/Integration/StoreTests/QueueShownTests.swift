import EventLoop
import Foundation
import Redis
import Sale
import Testing

@testable import Queue
@testable import StoreCommon

@LoopActor
@Suite("Holds that are shown", .timeLimit(.minutes(3)))
struct QueueShownTests {
  /// What was held for a place an hour before its end.
  private func hold(
    _ user: String, _ position: Int, _ tickets: [Int], generation: Int = 1, seconds: Int = 3_600
  ) -> ShownHold {
    ShownHold(
      position: position, userKey: UserKey(user).text, generation: generation,
      deadline: (Int(Date().timeIntervalSince1970) + seconds) * 1_000, amount: 100, tickets: tickets)
  }

  @Test("Who waits in line although seats were held for them shows that once, and is decided once")
  func shown() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let position = try await it.join("a")
    let receipt = hold("a", position, [1, 2])
    for _ in 0..<2 { #expect(try await it.queue.buyers.show(event: it.event, [receipt]) == [.awaited]) }
    #expect(try await it.tick().shownHolds == 1)
    let shown = try await it.queue.holds.shownHolds(event: it.event)
    #expect(shown.map(\.tickets) == [[1, 2]] && shown.map(\.position) == [position])
    let entry = try #require(try await it.queue.waiting.entries(event: it.event, of: shown)[0])
    #expect(entry.position == position && entry.user == "a")
    try await it.queue.owned(event: it.event, epoch: it.epoch, load: 0).settle([(position, isBack: false)])
    #expect(try await it.tick().shownHolds == 0)
    // It is told that they are lost, however often it is shown, and waits where it stood.
    #expect(try await it.queue.buyers.show(event: it.event, [receipt]) == [.lost])
    #expect(try await it.line == [position])
  }

  @Test("Of two who had the same seats the later one comes first")
  func order() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let first = try await it.join("a"), second = try await it.join("b")
    try await it.queue.buyers.show(
      event: it.event, [hold("a", first, [1], seconds: 60), hold("b", second, [1], seconds: 90)])
    #expect(try await it.queue.holds.shownHolds(event: it.event).map(\.position) == [second, first])
  }

  enum Lie: CaseIterable {
    case expired, cancelled, purchased, held, anothers, anothersPlace, anotherLife, unknown
  }

  @Test("Who has nothing to be given back gets nothing", arguments: Lie.allCases)
  func lie(_ lie: Lie) async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    var shown: ShownHold
    switch lie {
    case .expired: shown = hold("a", try await it.join("a"), [1], seconds: -1)
    case .cancelled:
      shown = hold("a", try await it.hold("a", [1]), [1])
      #expect(try await it.cancel("a", shown.position) == .ok)
    case .purchased:
      shown = hold("a", try await it.hold("a", [1]), [1])
      #expect(try await it.confirm("a", shown.position) == .ok)
      let taken = try #require(try await it.take().first)
      try await it.queue.confirmations.finish(event: it.event, [.init(taken, .purchased)])
    case .held: shown = hold("a", try await it.hold("a", [1]), [2])
    case .anothers:
      shown = hold("a", try await it.join("b"), [1])
    case .anothersPlace:
      try await it.join("a")
      shown = hold("a", try await it.join("b"), [1])
    case .anotherLife: shown = hold("a", try await it.join("a"), [1], generation: 0)
    case .unknown: shown = hold("a", 99, [1])
    }
    #expect(try await it.queue.buyers.show(event: it.event, [shown]) != [.awaited])
    #expect(try await it.tick().shownHolds == 0)
  }

  @Test("Of an earlier life only those count who came back with their place")
  func earlierLife() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    _ = try await it.hold("a", [1])
    try await it.lose(restoring: 60_000)
    #expect(
      try await it.queue.buyers.rejoin(
        event: it.event, generation: it.settings.generation, place: 1, user: "a",
        seats: RequestedSeats(quantity: 1), method: nil) != nil)
    #expect(
      try await it.queue.buyers.show(event: it.event, [hold("a", 1, [1]), hold("b", 1, [1])]) == [
        .awaited, .lost,
      ])
    try await it.endRestoring()
    _ = try await it.tick()
    // It stands in line now, and who shows only now comes too late.
    let shown = try await it.queue.holds.shownHolds(event: it.event)
    #expect(try await it.queue.waiting.entries(event: it.event, of: shown).compactMap { $0?.position } == [1])
  }

  @Test("As many holds are taken as a large hall can have, however many were shown before")
  func many() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    try await it.configure { $0.queueLimit = 100_000 }
    // More than any answer of one step has.
    let count = 10_100
    var holds: [ShownHold] = []
    for number in 1...count { holds.append(hold("u\(number)", try await it.join("u\(number)"), [number])) }
    let answers = try await it.queue.buyers.show(event: it.event, holds)
    #expect(answers.count == count && answers.allSatisfy { $0 == .awaited })
    #expect(try await it.queue.holds.hasShownHolds(event: it.event))
    let shown = try await it.queue.holds.shownHolds(event: it.event)
    #expect(Set(shown.map(\.position)) == Set(holds.map(\.position)) && shown.count == count)
  }

  @Test("Nobody pays for other seats than were shown to them")
  func otherSeats() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let position = try await it.hold("a", [1, 2])
    func confirm(_ tickets: [Int]) async throws -> BuyersLine.ConfirmAnswer {
      try await it.queue.buyers.confirm(
        event: it.event, generation: 1, position: position, user: "a", method: "pm_card_visa",
        tickets: tickets)
    }
    for others in [[1], [1, 3], [1, 2, 3], [12]] { #expect(try await confirm(others) == .holdLost) }
    #expect(try await it.state(position) == .reserved)
    #expect(try await confirm([2, 1]) == .ok)
    #expect(try await confirm([3]) == .ok)
  }
}
