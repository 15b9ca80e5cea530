import Testing

@testable import LoadTest

@Suite("Latencies")
struct LatenciesTests {
  @Test("Percentiles are exact to a few per cent", arguments: [1, 7])
  func percentiles(seed: UInt64) {
    var random = SplitMix64(state: seed)
    var latencies = Latencies()
    var all: [Int] = []
    for _ in 0..<20_000 {
      let value = 1 << random.below(24) + random.below(1_000)
      all.append(value)
      latencies.record(microseconds: value)
    }
    all.sort()
    for share in [0.01, 0.5, 0.9, 0.99, 0.999, 1] {
      let exact = all[max(0, Int((share * 20_000).rounded(.up)) - 1)]
      let told = latencies.percentile(share)
      #expect(told >= exact && Double(told) <= Double(exact) * 1.04 + 1, "\(share): \(told) for \(exact)")
    }
    #expect(latencies.largest == all.last)
  }

  @Test("Without any, everything is 0")
  func empty() {
    #expect(Latencies().percentile(0.5) == 0)
  }
}
