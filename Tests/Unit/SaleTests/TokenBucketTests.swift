import Sale
import Testing

@Suite("Limits that fill again")
struct TokenBucketTests {
  @Test("All at once, then one each interval, and after a while all again")
  func pace() {
    var buckets = TokenBuckets<String>(burst: 3, interval: 100, capacity: 10)
    func waits(_ now: Int) -> Int { buckets.wait("a", now: now) }
    for _ in 0..<3 {
      #expect(waits(1_000) == 0)
      buckets.take("a", now: 1_000)
    }
    #expect(waits(1_000) == 100 && waits(1_099) == 1 && waits(1_100) == 0)
    #expect(buckets.wait("b", now: 1_000) == 0)
    buckets.take("a", now: 1_100)
    #expect(waits(1_100) == 100)
    // Full again.
    for _ in 0..<3 {
      #expect(waits(5_000) == 0)
      buckets.take("a", now: 5_000)
    }
    #expect(waits(5_000) == 100)
    buckets.giveBack("a", now: 5_000)
    #expect(waits(5_000) == 0)
  }

  @Test("What is taken beyond the last makes nobody wait longer than for one")
  func empty() {
    var buckets = TokenBuckets<String>(burst: 2, interval: 100, capacity: 10)
    for _ in 0..<50 { buckets.take("a", now: 0) }
    #expect(buckets.wait("a", now: 0) == 100)
  }

  @Test("What was taken in the past counts as much as is left of it")
  func past() {
    var buckets = TokenBuckets<String>(burst: 2, interval: 100, capacity: 10)
    for _ in 0..<2 { buckets.take("a", now: 1_000, past: 150) }
    #expect(buckets.wait("a", now: 1_000) == 0)
    buckets.take("b", now: 1_000, past: 10_000)
    buckets.take("b", now: 1_000)
    #expect(buckets.wait("b", now: 1_000) == 0)
  }

  @Test("However many keys there are, few are kept; those of lately count")
  func bounded() {
    var buckets = TokenBuckets<Int>(burst: 1, interval: 1_000, capacity: 10)
    for key in 0..<1_000 { buckets.take(key, now: 1) }
    #expect((0..<1_000).count { buckets.wait($0, now: 1) > 0 } <= 20)
    #expect(buckets.wait(999, now: 1) == 1_000)
    // The same bucket in two generations is the younger one.
    buckets.take(7, now: 2_500)
    #expect(buckets.wait(7, now: 2_500) == 1_000)
  }
}

@Suite("Cards that may be refused")
struct DeclineLimitTests {
  private func limits(_ change: (inout DeclineLimits.Settings) -> Void) -> DeclineLimits {
    var settings = DeclineLimits.Settings()
    change(&settings)
    return DeclineLimits(settings)
  }

  @Test("Two or three refused cards are anybody's; who tries many waits, at every event, and others do not")
  func user() {
    var limits = DeclineLimits()
    for number in 1...DeclineLimits.Settings().perUser {
      #expect(limits.wait(user: "u", client: "c\(number)", event: 1, now: 0) == 0)
      limits.note(user: "u", client: "c\(number)", event: 1, now: 0)
    }
    let wait = limits.wait(user: "u", client: "c", event: 2, now: 0)
    #expect(wait > 0 && wait <= 3_600_000 / DeclineLimits.Settings().perUser)
    #expect(limits.wait(user: "v", client: "c1", event: 1, now: 0) == 0)
    #expect(limits.wait(user: "u", client: "c", event: 2, now: wait) == 0)
  }

  @Test("An address with many accounts waits, and one whose cards are nobody's address does not count")
  func client() {
    var limits = limits { $0.perClient = 20 }
    for number in 1...20 { limits.note(user: "u\(number)", client: "c", event: number, now: 0) }
    #expect(limits.wait(user: "new", client: "c", event: 99, now: 0) > 0)
    #expect(limits.wait(user: "new", client: "d", event: 99, now: 0) == 0)
    for number in 1...50 { limits.note(user: "u\(number)", client: nil, event: number, now: 0) }
    #expect(limits.wait(user: "new", client: "", event: 99, now: 0) == 0)
  }

  @Test("Where very many are refused, each account may try fewer there, and nobody is kept away")
  func event() {
    var limits = limits { $0.perEvent = 100 }
    for number in 1...100 { limits.note(user: "u\(number)", client: "c\(number)", event: 1, now: 0) }
    for _ in 0..<DeclineLimits.perUserWhenMany {
      #expect(limits.wait(user: "honest", client: "c", event: 1, now: 0) == 0)
      limits.note(user: "honest", client: "c", event: 1, now: 0)
    }
    #expect(limits.wait(user: "honest", client: "c", event: 1, now: 0) > 0)
    #expect(limits.wait(user: "honest", client: "c", event: 2, now: 0) == 0)
  }

  @Test("0 is no limit")
  func none() {
    var limits = limits { ($0.perUser, $0.perClient, $0.perEvent) = (0, 0, 0) }
    for _ in 0..<10_000 { limits.note(user: "u", client: "c", event: 1, now: 0) }
    #expect(limits.wait(user: "u", client: "c", event: 1, now: 0) == 0)
  }
}
