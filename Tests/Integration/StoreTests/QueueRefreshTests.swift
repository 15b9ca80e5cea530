import EventLoop
import Redis
import TestServers
import Testing

@testable import Queue

@LoopActor
@Suite("Who writes an event to the search index", .timeLimit(.minutes(3)))
struct QueueRefreshTests {
  @Test("One at a time for each place, and then not again for a while")
  func claims() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    func claim(_ place: String, _ token: String) async throws -> RefreshClaims.Claim {
      try await it.queue.refreshes.claim(event: it.event, place: place, token: token, milliseconds: 60_000)
    }
    #expect(try await claim("here", "a") == .granted)
    #expect(try await claim("here", "b") == .taken(version: nil))
    #expect(try await claim("there", "b") == .granted, "another index")
    #expect(try await end(it, "here", "a", version: 7))
    #expect(try await claim("here", "b") == .taken(version: 7))
    #expect(try await claim("there", "a") == .taken(version: nil))
  }

  @Test("A claim that ran out ends nobody else's")
  func lateEnd() async throws {
    let it = try await QueueFixture()
    defer { it.close() }
    let key = it.keys.refresh("here")
    #expect(
      try await it.queue.refreshes.claim(event: it.event, place: "here", token: "a", milliseconds: 60_000)
        == .granted)
    // What time does.
    _ = try await it.redis.command(["DEL", .text(key)])
    #expect(
      try await it.queue.refreshes.claim(event: it.event, place: "here", token: "b", milliseconds: 60_000)
        == .granted)
    #expect(try await !end(it, "here", "a", version: 7))
    #expect(try await end(it, "here", "b", version: 8), "it is still its own")
    #expect(try await it.redis.command(["GET", .text(key)]).text == "8")
    _ = try await it.redis.command(["DEL", .text(key)])
    #expect(try await end(it, "here", "a", version: 9), "nobody's: it was written a moment ago all the same")
    #expect(try await it.redis.command(["GET", .text(key)]).text == "9")
  }

  private func end(_ it: QueueFixture, _ place: String, _ token: String, version: Int) async throws -> Bool {
    try await it.queue.refreshes.end(
      event: it.event, place: place, token: token, version: version, milliseconds: 60_000)
  }
}
