import EventLoop
import HTTPServer
import Metrics
import Testing

@Suite("Answers that come later, and stopping")
@LoopActor
struct LaterTests {
  private func request(_ test: TestServer, _ path: String) async throws -> RawConnection {
    let connection = try RawConnection(port: test.port)
    await connection.send("GET \(path) HTTP/1.1\r\nHost: x\r\n\r\n")
    return connection
  }

  @Test(
    "A thousand requests wait at a time and are all answered",
    arguments: ["/wait", "/held"])
  func many(_ path: String) async throws {
    try await TestServer.with { test in
      var connections: [RawConnection] = []
      for _ in 0..<1000 { connections.append(try await request(test, path)) }
      #expect(await eventually { test.waitingCount == 1000 })
      test.release()
      for connection in connections { #expect(try await connection.response().body == "waited") }
    }
  }

  @Test(
    "Past the limit of answers under way a request is turned away, one answered at once is not",
    arguments: ["/wait", "/held"])
  func limit(_ path: String) async throws {
    try await TestServer.with {
      $0.laterLimit = 3
    } _: { test in
      var waiting: [RawConnection] = []
      for _ in 0..<3 { waiting.append(try await request(test, path)) }
      #expect(await eventually { test.waitingCount == 3 })
      let refused = try await request(test, path).response()
      #expect(refused.status == 503)
      #expect(refused.headers["retry-after"] == "1")
      #expect(try await request(test, "/now").response().status == 200)
      test.release()
      for connection in waiting { #expect(try await connection.response().status == 200) }
      let next = try await request(test, "/yield").response()
      #expect(next.status == 200)
    }
  }

  @Test(
    "A client that goes away while its answer is made leaves nothing behind",
    arguments: ["/wait", "/held"])
  func clientGone(_ path: String) async throws {
    try await TestServer.with { test in
      var connections: [RawConnection] = []
      for _ in 0..<50 { connections.append(try await request(test, path)) }
      #expect(await eventually { test.waitingCount == 50 })
      for connection in connections { connection.reset() }
      connections = []
      test.release()
      #expect(await eventually { test.waited == 50 && test.server.connectionCount == 0 })
      #expect(try await request(test, "/now").response().status == 200)
    }
  }

  @Test(
    "A stop lets answers under way finish, closes idle connections and takes no new ones",
    arguments: ["/wait", "/held"])
  func stopWhileBusy(_ path: String) async throws {
    try await TestServer.with { test in
      let busy = try await request(test, path)
      let idle = try await request(test, "/now")
      #expect(try await idle.response().status == 200)
      #expect(await eventually { test.waitingCount == 1 })
      let port = test.port
      let stopping = Task { @LoopActor in await test.server.stop() }
      #expect(await eventually { (try? RawConnection(port: port)) == nil })
      test.release()
      let response = try await busy.response()
      #expect(response.body == "waited")
      #expect(response.headers["connection"] == "close")
      await stopping.value
      #expect(await idle.isClosedByServer())
    }
  }

  @Test("A stop answers every connection that the kernel had accepted")
  func stopWhileAccepting() async throws {
    try await TestServer.with { test in
      // Without a turn of the loop in between, so that all of them are in the kernel's queue.
      var connections: [RawConnection] = []
      for _ in 0..<300 {
        let connection = try RawConnection(port: test.port)
        connection.sendNow("GET /now HTTP/1.1\r\nHost: x\r\n\r\n")
        connections.append(connection)
      }
      await test.server.stop()
      for connection in connections { #expect(try await connection.response().status == 200) }
    }
  }

  @Test("A stop waits for the first request of a connection that was just made")
  func stopBeforeFirstRequest() async throws {
    try await TestServer.with {
      $0.firstRequestMilliseconds = 60_000
      $0.stopMilliseconds = 60_000
    } _: { test in
      let new = try RawConnection(port: test.port)
      let port = test.port
      let stopping = Task { @LoopActor in await test.server.stop() }
      #expect(await eventually { (try? RawConnection(port: port)) == nil })
      await new.send("GET /now HTTP/1.1\r\nHost: x\r\n\r\n")
      #expect(try await new.response().status == 200)
      await stopping.value
    }
  }

  @Test("Past the stop's deadline a client is told to try again and the task is cancelled")
  func stopDeadline() async throws {
    try await TestServer.with {
      $0.stopMilliseconds = 50
    } _: { test in
      let busy = try await request(test, "/sleep")
      let waiting = try await request(test, "/wait")
      #expect(await eventually { test.waiting.count == 1 })
      await test.server.stop()
      #expect(try await busy.response().status == 503)
      #expect(try await waiting.response().status == 503)
      #expect(await eventually { test.cancelled == 1 })
    }
  }

  @Test("A request that arrives while the last answers are given up is turned away")
  func requestDuringClose() async throws {
    try await TestServer.with {
      $0.stopMilliseconds = 50
    } _: { test in
      let late = try await request(test, "/now")
      #expect(try await late.response().status == 200)
      test.onCancel = { late.sendNow("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n") }
      let busy = try await request(test, "/sleep")
      #expect(await eventually { test.sleeping == 1 })
      await test.server.stop()
      #expect(try await busy.response().status == 503)
      #expect(try await late.response().status == 503)
    }
  }

  @Test("Requests are counted by route, not by path")
  func metrics() async throws {
    try await TestServer.with { test in
      _ = try await request(test, "/item/one-of-many").response()
      _ = try await request(test, "/made-up-path").response()
      let unknown = try RawConnection(port: test.port)
      await unknown.send("BREW /now HTTP/1.1\r\nHost: x\r\n\r\n")
      #expect(try await unknown.response().status == 501)
      let text = MetricsRegistry.shared.exposition()
      #expect(text.contains(#"onsale_http_requests_total{method="GET",route="/item/{id}",status="200"}"#))
      #expect(text.contains(#"route="unmatched",status="404"}"#))
      #expect(text.contains(#"onsale_http_request_seconds_count{method="GET",route="/item/{id}"}"#))
      #expect(text.contains(#"onsale_http_requests_total{method="other",route="unmatched",status="501"}"#))
      #expect(!text.contains("made-up"))
    }
  }
}
