import Testing

@testable import LoadTest

@Suite("The timer wheel")
struct TimerWheelTests {
  @Test("Everyone comes due once, in order, and never early", arguments: [1, 2, 3])
  func order(seed: UInt64) {
    var random = SplitMix64(state: seed)
    var wheel = TimerWheel()
    var due: [Int: Int] = [:]
    for buyer in 0..<5_000 {
      // Up to five minutes: several turns of the wheel.
      let time = random.below(300_000)
      due[buyer] = time
      wheel.add(buyer, dueAt: time)
    }
    #expect(wheel.count == 5_000)
    var seen: [Int] = [], now = 0
    while wheel.count > 0 {
      now += random.below(3_000)
      wheel.advance(to: now) { buyer, dueAt in
        seen.append(buyer)
        #expect(due[buyer, default: .max] <= now, "early")
        #expect((0..<TimerWheel.resolution).contains(dueAt - due[buyer, default: .max]))
      }
    }
    #expect(Set(seen).count == 5_000)
    let times = seen.map { (due[$0, default: 0] + TimerWheel.resolution - 1) / TimerWheel.resolution }
    #expect(times == times.sorted())
  }

  @Test("What is due already comes with the next look")
  func past() {
    var wheel = TimerWheel()
    wheel.advance(to: 10_000) { _, _ in }
    wheel.add(1, dueAt: 5)
    var seen: [Int] = []
    wheel.advance(to: 10_000 + TimerWheel.resolution) { buyer, _ in seen.append(buyer) }
    #expect(seen == [1])
  }
}
