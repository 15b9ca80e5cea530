import EventLoop
import Foundation
import Testing

@LoopActor
@Suite("Turns of the loop", .timeLimit(.minutes(1)))
struct LoopTurnTests {
  @Test("A turn that takes long is counted, with how much of it the processor took")
  func longTurn() async {
    await EventLoop.shared.nextTurn()
    let before = EventLoop.shared.turns
    // The loop's thread, which is this one: asleep, so that nothing of it is the processor's.
    usleep(300_000)
    await EventLoop.shared.nextTurn()
    let after = EventLoop.shared.turns
    #expect(after.longestSeconds >= 0.3)
    #expect(after.count > before.count && after.seconds >= before.seconds + 0.3)
    func beyond(_ bound: Double, _ turns: LoopTurns) -> Int {
      turns.count - zip(LoopTurns.bounds, turns.counts).reduce(0) { $0 + ($1.0 <= bound ? $1.1 : 0) }
    }
    #expect(beyond(0.25, after) == beyond(0.25, before) + 1)
    let began = clock()
    while clock() - began < CLOCKS_PER_SEC / 5 {}
    await EventLoop.shared.nextTurn()
    #expect(EventLoop.shared.turns.longestProcessorSeconds >= 0.15)
  }

  @Test("Many jobs at once are run over several turns, in order, and a timer has its turn between them")
  func manyJobs() async {
    var ran: [Int] = []
    var ranWhenTimerFired: Int?
    let timer = LoopTimer()
    timer.schedule(afterMilliseconds: 1) { ranWhenTimerFired = ran.count }
    let jobs = (0..<1_000).map { number in
      Task { @LoopActor in
        usleep(200)
        ran.append(number)
      }
    }
    for job in jobs { await job.value }
    #expect(ran == Array(0..<1_000))
    // All together take 0.2 s, and the timer was due after a millisecond.
    #expect((ranWhenTimerFired ?? 1_000) < 1_000)
  }

  @Test("What takes long runs beside the loop, one thing after the other, and what it throws is thrown")
  func sideThread() async throws {
    struct Refused: Error {}
    let loop = pthread_self()
    let (first, second) = (
      Task { @LoopActor in try await SideThread.shared.run { pthread_self() } },
      Task { @LoopActor in try await SideThread.shared.run { pthread_self() } }
    )
    #expect(try await first.value != loop)
    #expect(try await second.value != loop)
    await #expect(throws: Refused.self) { try await SideThread.shared.run { throw Refused() } }
  }
}

@Suite("Recent values")
struct RecentValuesTests {
  @Test("What was asked for last stays, and there are never more than the capacity")
  func bounded() {
    var values = RecentValues<Int, Int>(capacity: 100)
    for number in 0..<10_000 {
      values.set(number, for: number)
      // Asked for all the time.
      #expect(values.value(of: 0) == 0)
      #expect(values.count <= 100)
    }
    #expect(values.value(of: 9_999) == 9_999)
    #expect(values.value(of: 1) == nil)
    values.set(7, for: 9_999)
    #expect(values.value(of: 9_999) == 7)
    values.remove(9_999)
    #expect(values.value(of: 9_999) == nil && values.value(of: 0) == 0)
    values.removeAll()
    #expect(values.count == 0)
  }
}
