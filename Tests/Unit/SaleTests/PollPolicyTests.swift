import Sale
import Testing

@Suite("Poll policy")
struct PollPolicyTests {
  let policy = PollPolicy()

  private func pause(_ state: RequestState, position: Int = 1, ahead: Int = 0, pace: Double = 0) -> Int {
    policy.pollAfterMilliseconds(state, position: position, ahead: ahead, grantsPerSecond: pace)
  }

  @Test("There is nothing to ask after a terminal state")
  func terminal() {
    for state in RequestState.allCases {
      #expect((pause(state, ahead: 10, pace: 5) == 0) == state.isTerminal(hasHold: true), "\(state)")
    }
  }

  @Test("Pauses stay within their bounds, whatever the numbers are")
  func bounds() {
    for pace in [0, -1, 0.0001, 1, 50, 1e9, .infinity, .nan] {
      for ahead in [-5, 0, 1, 1_000, 1_000_000, Int.max] {
        for position in [0, 1, 17, 1_000_000, Int.max] {
          let pause = pause(.queued, position: position, ahead: ahead, pace: pace)
          #expect((500...36_000).contains(pause))
          if let eta = policy.eta(ahead: ahead, grantsPerSecond: pace) {
            #expect(eta.lowerBound >= 0 && eta.upperBound <= 86_400)
          }
        }
      }
    }
  }

  @Test(
    "What an operator says reaches everybody within ten seconds, and a million ask no more often than one server answers"
  )
  func crowd() {
    for pace in [0.0, 1, 5, 200, .nan] {
      for tail in 0..<500 {
        for waiting in [0, 1, 462, 20_000, 320_000] {
          let pause = policy.crowdPollAfterMilliseconds(waiting: waiting, tail: tail, grantsPerSecond: pace)
          #expect((500...9_600).contains(pause), "\(waiting) at \(pace): \(pause)")
        }
        let pause = policy.crowdPollAfterMilliseconds(waiting: 1_000_000, tail: tail, grantsPerSecond: 0)
        #expect((20_000...30_000).contains(pause))
      }
    }
  }

  @Test("Who waits for a sale to open asks again when it opens")
  func opening() {
    for (seconds, pause) in [
      (nil, 10_000), (Int.max, 10_000), (10, 10_000), (9, 9_000), (1, 1_000), (0, 1_000), (-5, 1_000),
      (Int.min / 1_000, 1_000),
    ] as [(Int?, Int)] {
      #expect(policy.pollAfterMilliseconds(opensInSeconds: seconds) == pause)
    }
  }

  @Test("Who is further behind asks less often, and a faster line is asked more often")
  func distance() {
    #expect(pause(.queued, ahead: 100, pace: 100) < pause(.queued, ahead: 10_000, pace: 100))
    #expect(pause(.queued, ahead: 10_000, pace: 1_000) < pause(.queued, ahead: 10_000, pace: 100))
    #expect(pause(.queued, ahead: 100) < pause(.queued, ahead: 10_000))
  }

  @Test("A line whose pace is not known is not asked to wait longer than deciding it may take")
  func unknownPace() {
    // 12,000 places took 5 s from the first join to the last sale; most of them have to hear of it within that.
    #expect((0..<12_000).allSatisfy { pause(.queued, position: $0, ahead: $0) <= 3_600 })
  }

  @Test("A line that stands still does not ask more often than one server answers")
  func standstill() {
    let perSecond = (0..<1_000_000).reduce(0.0) {
      $0 + 1_000 / Double(pause(.queued, position: $1, ahead: $1))
    }
    #expect(perSecond < 50_000)
  }

  @Test("The jitter is the same for the same position and spreads a crowd evenly")
  func jitter() {
    var buckets = [Int](repeating: 0, count: 8)
    for position in 1...80_000 {
      let value = pause(.queued, position: position, ahead: 1_000_000, pace: 1)
      #expect(value == pause(.queued, position: position, ahead: 1_000_000, pace: 1))
      buckets[min(7, max(0, (value - 24_000) * 8 / 12_001))] += 1
    }
    #expect(buckets.allSatisfy { (7_000...13_000).contains($0) }, "\(buckets)")
  }

  @Test("The expected time lies in the range that is told")
  func eta() {
    #expect(policy.eta(ahead: 1_000, grantsPerSecond: 0) == nil)
    #expect(policy.eta(ahead: 0, grantsPerSecond: 10) == 0...2)
    for (ahead, pace) in [(10, 1.0), (1_000, 20.0), (70_000, 300.0), (1_000_000, 250.0)] {
      let eta = policy.eta(ahead: ahead, grantsPerSecond: pace)
      #expect(eta?.contains(Int(Double(ahead) / pace)) == true)
    }
    #expect(policy.eta(ahead: 50, grantsPerSecond: 10) == 3...9)
    #expect(policy.eta(ahead: 1_000, grantsPerSecond: 20) == 30...80)
  }
}
