import EventLoop
import Testing

@Suite("Queues and waits")
struct ValueTests {
  struct Seeded: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return state
    }
  }

  @Test("A queue gives back what it was given, in order, whatever the mix of both", arguments: 1...5)
  func fifo(seed: UInt64) {
    var random = Seeded(state: seed)
    var queue = Fifo<Int>(), model: [Int] = [], next = 0
    for _ in 0..<20_000 {
      // Leans one way, then the other, so that it grows, wraps around and runs empty.
      if UInt64.random(in: 0..<10, using: &random) < (next / 500 % 2 == 0 ? 6 : 4) {
        queue.append(next)
        model.append(next)
        next += 1
      } else {
        #expect(queue.first == model.first)
        #expect(queue.popFirst() == (model.isEmpty ? nil : model.removeFirst()))
        if queue.isEmpty { next += 1 }
      }
      #expect(queue.count == model.count)
    }
  }

  @Test("Waits double up to the limit, each between half of it and all, and begin anew after what lasted")
  func backoff() {
    var random = Seeded(state: 7)
    var backoff = Backoff(firstMilliseconds: 50, limitMilliseconds: 2000)
    for full: UInt64 in [50, 100, 200, 400, 800, 1600, 2000, 2000] {
      #expect((full / 2...full).contains(backoff.next(using: &random)))
    }
    for _ in 0..<100 { #expect((1000...2000).contains(backoff.next(using: &random))) }
    backoff.ended(afterMilliseconds: Backoff.provenMilliseconds - 1)
    #expect((1000...2000).contains(backoff.next(using: &random)))
    backoff.ended(afterMilliseconds: Backoff.provenMilliseconds)
    #expect((25...50).contains(backoff.next(using: &random)))
  }
}
