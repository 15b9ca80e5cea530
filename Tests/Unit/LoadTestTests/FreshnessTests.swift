import Testing

@testable import LoadTest

@Suite("Freshness")
struct FreshnessTests {
  @Test("A change counts from the last look without it to the first answer that shows it or a later one")
  func measuring() {
    var freshness = Freshness()
    freshness.queue(version: 5, at: 0)
    freshness.saw(.search, version: 5, at: 500)
    #expect(freshness[.search].latencies.count == 0, "what was there before tells nothing")
    freshness.queue(version: 5, at: 1_000)
    freshness.queue(version: 7, at: 2_000)
    freshness.queue(version: 8, at: 3_000)
    #expect(freshness.unseen(.search) == 2 && freshness.unseen(.page) == 3)
    freshness.saw(.search, version: 6, at: 4_000)
    #expect(freshness.unseen(.search) == 2)
    freshness.saw(.search, version: 9, at: 5_000)
    #expect(freshness.unseen(.search) == 0)
    // Version 7 since 1,000, version 8 since 2,000.
    #expect(freshness[.search].latencies.count == 2)
    #expect(freshness[.search].latencies.largest == 4_000)
    freshness.failed(.page, "503")
    #expect(freshness[.page].errors == 1 && freshness[.page].latencies.count == 0)
    #expect(freshness[.page].failures == ["503": 1])
  }

  @Test("Answers without a new event are too early until it was there, and failures from then on")
  func missing() {
    var freshness = Freshness()
    for _ in 0..<3 { freshness.missed(.search) }
    #expect(freshness[.search].tooEarly == 3 && freshness[.search].errors == 0)
    freshness.saw(.search, version: 1, at: 0)
    freshness.missed(.search)
    #expect(freshness[.search].tooEarly == 3 && freshness[.search].errors == 1)
  }

  @Test("An answer that is older than one before is counted")
  func goingBack() {
    var freshness = Freshness()
    for version in [3, 4, 4, 2, 5] { freshness.saw(.page, version: version, at: 0) }
    #expect(freshness[.page].wentBack == 1)
  }
}
