import Testing

@testable import Sale

@Suite("When messages to systems outside are sent again")
struct WebhookRetryTests {
  @Test("Pauses double from five seconds to three hours, and are spread over half of that")
  func pauses() {
    #expect([1, 2, 3, 4].map { WebhookRetry.pause(after: $0, random: 1) } == [5, 10, 20, 40])
    #expect(WebhookRetry.pause(after: 1, random: 0) == 2.5)
    #expect(WebhookRetry.pause(after: 40, random: 1) == 10_800)
    #expect(WebhookRetry.pause(after: .max, random: 0) == 5_400)
    #expect(WebhookRetry.pause(after: 0, random: 1) == 5)
  }

  @Test("In three days a message is sent some thirty times")
  func attempts() {
    var seconds = 0.0, attempts = 0
    while seconds < Double(WebhookRetry.seconds) {
      attempts += 1
      seconds += WebhookRetry.pause(after: attempts, random: 0.5)
    }
    #expect((20...60).contains(attempts))
  }

  @Test("An endpoint that takes nothing gets one message now and then, and all again once it takes one")
  func health() {
    var health = WebhookHealth()
    #expect(health.allowance(of: 16, now: 0) == 16)
    for _ in 0..<2 { health.note(hasTaken: false, hasRefused: true, now: 0, random: 1) }
    #expect(health.allowance(of: 16, now: 0) == 16)
    health.note(hasTaken: false, hasRefused: true, now: 0, random: 1)
    #expect(health.isAway)
    #expect([999, 1_000].map { health.allowance(of: 16, now: $0) } == [0, 1])
    for _ in 0..<20 { health.note(hasTaken: false, hasRefused: true, now: 0, random: 1) }
    #expect([59_999, 60_000].map { health.allowance(of: 16, now: $0) } == [0, 1])
    health.note(hasTaken: true, hasRefused: true, now: 0, random: 1)
    #expect(health.allowance(of: 16, now: 0) == 16)
  }

  @Test("One that asks for a rest gets it, up to an hour")
  func asked() {
    var health = WebhookHealth()
    health.note(hasTaken: true, hasRefused: true, askedSeconds: 30, now: 0, random: 1)
    #expect([29_999, 30_000].map { health.allowance(of: 16, now: $0) } == [0, 16])
    health.note(hasTaken: false, hasRefused: true, askedSeconds: .max, now: 0, random: 1)
    #expect([3_599_999, 3_600_000].map { health.allowance(of: 16, now: $0) } == [0, 16])
  }
}
