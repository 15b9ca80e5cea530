import EventLoop
import Foundation
import JSON
import Testing

@testable import HTTPServer

@Suite("Hostile clients", .serialized)
@LoopActor
struct HostileTests {
  /// Others are served, whatever one client does.
  private func expectService(_ test: TestServer) async throws {
    let connection = try RawConnection(port: test.port)
    await connection.send("GET /now HTTP/1.1\r\nHost: x\r\n\r\n")
    #expect(try await connection.response().status == 200)
  }

  @Test("A body announced too large is refused, and the connection lives on")
  func announcedTooLarge() async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      await connection.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n")
      await connection.send([UInt8](repeating: 0x61, count: 100_001))
      let response = try await connection.response()
      #expect(response.status == 413)
      #expect(try JSON(parsing: response.body)["code"] == "body_too_large")
      await connection.send("GET /now HTTP/1.1\r\nHost: x\r\n\r\n")
      #expect(try await connection.response().status == 200)
    }
  }

  @Test("A huge body is refused before it is sent")
  func hugeBody() async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      await connection.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
      #expect(try await connection.response().status == 413)
      try await expectService(test)
    }
  }

  @Test("Who may not send a large body is told so before it is sent, and who may sends it")
  func refusedBeforehand() async throws {
    try await TestServer.with { test in
      let stranger = try RawConnection(port: test.port)
      await stranger.send("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n")
      #expect(try await stranger.response().status == 401)
      let known = try RawConnection(port: test.port)
      await known.send(
        "POST /upload HTTP/1.1\r\nHost: x\r\nX-Pass: 1\r\nContent-Length: 2000000\r\n\r\n")
      await known.send([UInt8](repeating: 0x61, count: 2_000_000))
      #expect(try await known.response().body == "2000000")
    }
  }

  @Test("All large bodies together are bounded, and small ones go through meanwhile")
  func largeBodies() async throws {
    try await TestServer.with {
      $0.largeBodies = 100_000
    } _: { test in
      @LoopActor func begin() async throws -> RawConnection {
        let connection = try RawConnection(port: test.port)
        await connection.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n")
        await connection.send([UInt8](repeating: 0x61, count: 80_000))
        return connection
      }
      let rest = [UInt8](repeating: 0x61, count: 10_000)
      let first = try await begin()
      #expect(await eventually { test.server.largeBodyBytes > 70_000 })
      let second = try await begin()
      await second.send(rest)
      let refused = try await second.response()
      #expect(refused.status == 503)
      #expect(try JSON(parsing: refused.body)["code"] == "overloaded")
      let small = try RawConnection(port: test.port)
      await small.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
      #expect(try await small.response().body == "hello")
      await first.send(rest)
      #expect(try await first.response().status == 200)
      #expect(await eventually { test.server.largeBodyBytes == 0 })
      let gone = try await begin()
      #expect(await eventually { test.server.largeBodyBytes > 70_000 })
      gone.reset()
      #expect(await eventually { test.server.largeBodyBytes == 0 })
    }
  }

  @Test("Clients that ask for the same large body and do not read it have it in memory once")
  func slowReaders() async throws {
    func resident() throws -> Int {
      let pages = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8).split(separator: " ")
      return (Int(pages[1]) ?? 0) * Int(sysconf(Int32(_SC_PAGESIZE)))
    }
    try await TestServer.with { test in
      let before = try resident()
      var connections: [RawConnection] = []
      for _ in 0..<20 {
        let connection = try RawConnection(port: test.port)
        await connection.send("GET /shared HTTP/1.1\r\nHost: x\r\n\r\n")
        connections.append(connection)
      }
      #expect(await eventually { test.server.peers.count { $0.phase == .sending } == 20 })
      // A copy for each would be 400 MB.
      #expect(try resident() - before < 100_000_000)
      for connection in connections.prefix(2) {
        let response = try await connection.response()
        #expect(response.body.utf8.count == 20_000_000)
        #expect(response.body.utf8.allSatisfy { $0 == 0x62 })
      }
    }
  }

  @Test("A chunked body that never ends is cut off")
  func endlessChunks() async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      await connection.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
      let chunk = Array("10000\r\n".utf8) + [UInt8](repeating: 0x61, count: 65536) + Array("\r\n".utf8)
      var chunks = 0
      while chunks < 200, await connection.send(chunk) { chunks += 1 }
      #expect(chunks < 200)
      try await expectService(test)
    }
  }

  @Test("A body a little too large in chunks is 413")
  func chunksTooLarge() async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      await connection.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
      let chunk = Array("10000\r\n".utf8) + [UInt8](repeating: 0x61, count: 65536) + Array("\r\n".utf8)
      await connection.send(chunk + chunk + Array("0\r\n\r\n".utf8))
      #expect(try await connection.response().status == 413)
    }
  }

  @Test("Headers beyond the limit are 431")
  func largeHeaders() async throws {
    try await TestServer.with { test in
      for size in [9_000, 20_000, 200_000] {
        let connection = try RawConnection(port: test.port)
        let filler = String(repeating: "a", count: size)
        await connection.send("GET /now HTTP/1.1\r\nHost: x\r\nX-Filler: \(filler)\r\n\r\n")
        // Far beyond the limit the connection may be cut before all was sent.
        if let response = try? await connection.response() { #expect(response.status == 431) }
        try await expectService(test)
      }
    }
  }

  @Test(
    "A request that is not HTTP is refused or cut off",
    arguments: [
      "\r\n\r\n\r\n\r\n", "GET\r\n\r\n", "GET /now\r\n\r\n", "GET /now HTTP/9.9\r\nHost: x\r\n\r\n",
      "\u{16}\u{03}\u{01}\u{02}\u{00}\u{01}\u{00}\u{01}\u{FC}\u{03}\u{03}\r\n\r\n",
      "GET /now HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
      "BREW /now HTTP/1.1\r\nHost: x\r\n\r\n", "GET /now HTTP/1.1\r\n no-colon\r\n\r\n",
      "GET /now HTTP/1.1\r\n\r\n",
    ])
  func malformed(_ request: String) async throws {
    try await TestServer.with {
      $0.headerSeconds = 1; $0.idleSeconds = 1; $0.bodySeconds = 1
    } _: { test in
      let connection = try RawConnection(port: test.port)
      await connection.send(request)
      if let response = try? await connection.response() {
        #expect(response.status >= 400 && response.status != 500, "\(request)")
      }
      try await expectService(test)
      #expect(await connection.isClosedByServer())
    }
  }

  @Test("A request hidden in a body of GET is not taken for one")
  func smuggling() async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      let hidden = "GET /item/hidden HTTP/1.1\r\nHost: x\r\n\r\n"
      await connection.send(
        "GET /now HTTP/1.1\r\nHost: x\r\nContent-Length: \(hidden.utf8.count)\r\n\r\n\(hidden)"
          + "GET /item/seen HTTP/1.1\r\nHost: x\r\n\r\n")
      #expect(try await connection.response().body == "{\"ok\":true}")
      #expect(try await connection.response().body == "item seen")
    }
  }

  @Test(
    "A body whose end is said twice is refused with its connection",
    arguments: [
      "Content-Length: 5\r\nTransfer-Encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 5",
      "Content-Length: 5\r\nContent-Length: 100", "Content-Length: 5\r\nContent-Length: 5",
      "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    ], ["GET", "POST"])
  func ambiguousBody(_ headers: String, _ method: String) async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      await connection.send(
        "\(method) /echo HTTP/1.1\r\nHost: x\r\n\(headers)\r\n\r\n0\r\n\r\n"
          + "GET /item/hidden HTTP/1.1\r\nHost: x\r\n\r\n")
      let response = try await connection.response()
      #expect(response.status == 400)
      #expect(try JSON(parsing: response.body)["code"] == "ambiguous_body")
      await #expect(throws: RawConnection.Failure.self) { try await connection.response() }
    }
  }

  @Test("Slow headers and slow bodies are cut off however little they send, and others are served")
  func slowClients() async throws {
    try await TestServer.with {
      $0.headerSeconds = 1; $0.bodySeconds = 1
    } _: { test in
      let silent = try RawConnection(port: test.port)
      let slowHeaders = try RawConnection(port: test.port)
      let slowBody = try RawConnection(port: test.port)
      await slowHeaders.send("GET /now HTTP/1.1\r\nHost: x\r\n")
      await slowBody.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
      var drips = 0
      while drips < 1000, await slowHeaders.send("X-A: b\r\n"), await slowBody.send("a") {
        try await sleep(milliseconds: 20)
        drips += 1
      }
      #expect(drips < 1000)
      try await expectService(test)
      #expect(await silent.isClosedByServer())
      #expect(await slowBody.isClosedByServer())
    }
  }

  @Test("An idle connection is closed after its time")
  func idleTimeout() async throws {
    try await TestServer.with {
      $0.idleSeconds = 1
    } _: { test in
      let connection = try RawConnection(port: test.port)
      await connection.send("GET /now HTTP/1.1\r\nHost: x\r\n\r\n")
      #expect(try await connection.response().status == 200)
      #expect(await connection.isClosedByServer())
      #expect(await eventually { test.server.connectionCount == 0 })
    }
  }

  @Test("10,000 idle connections stay within the limit, and a buyer is still served")
  func idleConnections() async throws {
    var files = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &files)
    files.rlim_cur = files.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &files)
    // Both ends are in this process.
    let limit = min(4_000, Int(files.rlim_max) / 5)
    let count = min(10_000, Int(files.rlim_max) - limit - 1_500)
    try await TestServer.with {
      $0.connectionLimit = limit
    } _: { test in
      var connections: [RawConnection] = []
      for _ in 0..<count {
        connections.append(try RawConnection(port: test.port))
        if connections.count % 50 == 0 { try await sleep(milliseconds: 1) }
        #expect(test.server.connectionCount <= limit)
      }
      try await expectService(test)
      #expect(await eventually { test.server.connectionCount <= limit - limit / 16 })
      // No more are closed than are needed.
      #expect(test.server.connectionCount >= limit - limit / 8)
      // The newest are the last to be closed.
      await connections[count - 1].send("GET /now HTTP/1.1\r\nHost: x\r\n\r\n")
      #expect(try await connections[count - 1].response().status == 200)
      print("idle connections: \(count) opened, \(test.server.connectionCount) kept, limit \(limit)")
      connections = []
      #expect(await eventually { test.server.connectionCount == 0 })
    }
  }

  @Test("When nearly all connections wait for an answer, new ones are still served")
  func nearlyAllBusy() async throws {
    try await TestServer.with {
      $0.connectionLimit = 64
    } _: { test in
      var busy: [RawConnection] = []
      for count in 1...61 {
        busy.append(try RawConnection(port: test.port))
        await busy[count - 1].send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        try #require(await eventually { test.waiting.count == count })
      }
      // The last place is for whoever comes next; the two others are idle for a while, one after the other.
      for _ in 0..<5 { try await expectService(test) }
      let kept = try RawConnection(port: test.port)
      await kept.send("GET /now HTTP/1.1\r\nHost: x\r\n\r\n")
      #expect(try await kept.response().status == 200)
      let new = try RawConnection(port: test.port)
      #expect(await eventually { test.server.connectionCount == 63 })
      await new.send("GET /now HTTP/1.1\r\nHost: x\r\n\r\n")
      #expect(try await new.response().status == 200)
      test.release()
      for connection in busy { #expect(try await connection.response().body == "waited") }
    }
  }

  @Test("The connections that have been idle longest make room, whether they had a request or not")
  func longestIdle() async throws {
    try await TestServer.with {
      $0.connectionLimit = 64
    } _: { test in
      var kept: [RawConnection] = []
      for index in 0..<30 {
        kept.append(try RawConnection(port: test.port))
        await kept[index].send("GET /now HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(try await kept[index].response().status == 200)
      }
      var new: [RawConnection] = []
      for count in 1...40 {
        new.append(try RawConnection(port: test.port))
        #expect(await eventually { test.server.connectionCount == min(60, 30 + count) })
      }
      for connection in kept[..<10] { #expect(await connection.isClosedByServer()) }
      for connection in kept[10...] + new {
        await connection.send("GET /now HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(try await connection.response().status == 200)
      }
    }
  }

  @Test("Random bytes neither stop the server nor stay")
  func randomBytes() async throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("random bytes: seed \(seed)")
    var random = SplitMix(state: seed)
    try await TestServer.with {
      $0.headerSeconds = 1; $0.bodySeconds = 1; $0.idleSeconds = 1
    } _: { test in
      let valid = Array(
        "POST /echo?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n".utf8)
      for _ in 0..<300 {
        var bytes = valid
        for _ in 0..<Int.random(in: 1...8, using: &random) {
          bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
        }
        let connection = try RawConnection(port: test.port)
        await connection.send(Array(bytes.prefix(Int.random(in: 1...bytes.count, using: &random))))
      }
      try await expectService(test)
      #expect(await eventually { test.server.connectionCount == 0 })
    }
  }
}

/// Reproducible random numbers.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
