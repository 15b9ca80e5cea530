import EventLoop
import HTTPCommon
import HTTPServer
import JSON
import Sale
import Testing

@testable import Catalog

@Suite("While servers are away")
@LoopActor
struct OutageTests {
  @Test(
    "Without PostgreSQL and Redis every call is a 503 with Retry-After; the process is alive and not ready"
  )
  func nothingThere() async throws {
    let service = try Service(databaseURL: "postgres://127.0.0.1:1/x", redisURL: "redis://127.0.0.1:1")
    // Never started: like a server that has been away for long.
    for target in ["/api/event/1", "/api/event/1/tickets", "/api/search", "/api/me/tickets"] {
      let answer = await service.call(.get, target, as: .user("u"))
      #expect(answer.status == 503, "\(target): \(answer.text)")
      #expect(answer.response.header("Retry-After") != nil)
    }
    #expect(await service.call(.post, "/api/admin/events/1/open", as: .organizer).status == 503)
    #expect(await service.call(.get, "/healthz").status == 200)
    let ready = await service.call(.get, "/readyz")
    #expect(ready.status == 503 && ready.code == "not_ready", "\(ready.text)")
    #expect(!ready.text.contains("postgres") && !ready.text.contains("redis"), "\(ready.text)")
    let told = await service.operatorRouter.respond(to: HTTPRequest(.get, "/readyz"))
    #expect(told.status == 503 && String(decoding: told.body, as: UTF8.self).contains("postgres, redis"))
  }

  private struct Away: Error {}

  /// What the cache asks, as it is at the moment.
  @LoopActor
  private final class Source {
    var isAway = false
    var isSlow = false
    var loads = 0
    var value: Int? = 1
  }

  @Test("A value is asked for once by all who come at a time, and kept for its moment")
  func singleFlight() async throws {
    let source = Source()
    let cache = FreshCache<Int, Int>(freshMilliseconds: 60_000, capacity: 4) { key, _ in
      source.loads += 1
      try await sleep(milliseconds: 5)
      return key * 10
    }
    let tasks = (0..<50).map { _ in Task { @LoopActor in try await cache.answer(7)?.value } }
    for task in tasks { #expect(try await task.value == 70) }
    #expect(source.loads == 1)
    #expect(cache.immediate(7)?.value == 70)
    for key in 0..<20 { _ = try await cache.answer(key) }
    #expect(source.loads <= 21)
  }

  @Test("The old value is served while the source fails, and a new one as soon as it is back")
  func stale() async throws {
    let source = Source()
    let cache = FreshCache<Int, Int>(freshMilliseconds: 0, capacity: 4) { _, _ in
      source.loads += 1
      if source.isAway { throw Away() }
      return source.loads
    }
    #expect(try await cache.answer(1)?.value == 1)
    source.isAway = true
    #expect(try await cache.answer(1)?.value == 1)
    await #expect(throws: Away.self) { try await cache.answer(2) }
    source.isAway = false
    #expect(try await cache.answer(1)?.value == 4)
    #expect(try await cache.answer(2)?.value == 5)
  }

  @Test("Nobody waits long for a slow source when there is an old value")
  func slow() async throws {
    let source = Source()
    let cache = FreshCache<Int, Int>(freshMilliseconds: 0, patienceMilliseconds: 10, capacity: 4) { _, _ in
      if source.isSlow { try await sleep(milliseconds: 200) }
      return source.isSlow ? 2 : 1
    }
    #expect(try await cache.answer(1)?.value == 1)
    source.isSlow = true
    #expect(try await cache.answer(1)?.value == 1)
    try await sleep(milliseconds: 20)
    #expect(try await cache.answer(1)?.value == 1)
  }

  @Test("What is not there is not kept")
  func nothing() async throws {
    let source = Source()
    source.value = nil
    let cache = FreshCache<Int, Int>(capacity: 4) { _, _ in source.value }
    #expect(try await cache.answer(1) == nil)
    source.value = 5
    #expect(try await cache.answer(1)?.value == 5)
  }

  @Test("Bits are counted in ranges as one by one")
  func bitmaps() {
    let bitmap: [UInt8] = [0b1010_0001, 0xff, 0, 0b0001_1000]
    for first in 0...40 {
      for last in first...45 {
        let slow = (first...last).count { Bitmap.contains(bitmap, $0) }
        #expect(Bitmap.count(bitmap, in: [first...last]) == slow)
      }
    }
  }
}
