import EventLoop
import JSON
import Testing

@testable import HTTPServer

@Suite("What one client may take", .serialized)
@LoopActor
struct LimitTests {
  private static let now = "GET /now HTTP/1.1\r\nHost: x\r\n\r\n"
  private static let wait = "GET /wait HTTP/1.1\r\nHost: x\r\n"

  @Test(
    "A client with as many connections as it may have loses the one that is idle longest, not the new one")
  func idleOnes() async throws {
    try await TestServer.with {
      $0.perClientLimit = 5
    } _: { test in
      var connections: [RawConnection] = []
      for _ in 0..<6 {
        connections.append(try RawConnection(port: test.port))
        await connections[connections.count - 1].send(Self.now)
        #expect(try await connections[connections.count - 1].response().status == 200)
      }
      #expect(await connections[0].isClosedByServer())
      #expect(test.server.connectionCount == 5)
      for connection in connections[1...] {
        await connection.send(Self.now)
        #expect(try await connection.response().status == 200)
      }
      connections = []
      #expect(await eventually { test.server.connectionCount == 0 && test.server.clients.isEmpty })
    }
  }

  @Test("A client's own idle connections are found behind any number of others'")
  func idleBehindOthers() async throws {
    try await TestServer.with {
      $0.perClientLimit = 600
    } _: { test in
      // All of this machine's are one client: those of others are made up, and wait longer.
      var connections: [RawConnection] = []
      for _ in 0..<599 { connections.append(try RawConnection(port: test.port)) }
      try #require(await eventually { test.server.connectionCount == 599 })
      var others: [Client] = []
      for (number, peer) in test.server.peers.enumerated() where number < 598 {
        let other = Client(ClientAddress(high: 1, low: UInt64(number)))
        peer.client?.idle.remove(peer)
        peer.client = other
        other.count = 1
        other.idle.append(peer)
        test.server.clients[other.address] = other
        others.append(other)
      }
      let own = try #require(test.server.peers[598].client)
      own.count = 600
      let new = try RawConnection(port: test.port)
      await new.send(Self.now)
      #expect(try await new.response().status == 200)
      #expect(await connections[598].isClosedByServer(), "its own goes, not one of those that waited longer")
      #expect(test.server.connectionCount == 599)
    }
  }

  @Test("Where all of them wait for an answer, the new one's request is answered 429")
  func busyOnes() async throws {
    try await TestServer.with {
      $0.perClientLimit = 5
    } _: { test in
      var busy: [RawConnection] = []
      for count in 1...5 {
        busy.append(try RawConnection(port: test.port))
        await busy[count - 1].send(Self.wait + "\r\n")
        #expect(await eventually { test.waiting.count == count })
      }
      let sixth = try RawConnection(port: test.port)
      await sixth.send(Self.now)
      let refused = try await sixth.response()
      #expect(refused.status == 429 && refused.headers["retry-after"] != nil)
      #expect(try JSON(parsing: refused.body)["code"] == "too_many_connections")
      #expect(await sixth.rest() == [])
      test.release()
      for connection in busy { #expect(try await connection.response().status == 200) }
    }
  }

  @Test("A client's own connections that do not get on go before others of it")
  func slowOnes() async throws {
    try await TestServer.with {
      $0.perClientLimit = 5
    } _: { test in
      let slow = try RawConnection(port: test.port)
      await slow.send("GET /now HT")
      try #require(await eventually { test.server.peers.contains { $0.phase == .receivingHead } })
      var busy: [RawConnection] = []
      for count in 1...4 {
        busy.append(try RawConnection(port: test.port))
        await busy[count - 1].send(Self.wait + "\r\n")
        #expect(await eventually { test.waiting.count == count })
      }
      let first = try #require(test.server.receiving.first)
      first.progressAt = 0
      let sixth = try RawConnection(port: test.port)
      await sixth.send(Self.now)
      #expect(try await sixth.response().status == 200)
      #expect(try await slow.response().status == 503)
    }
  }

  @Test("Behind a trusted proxy the forwarded client counts, by its requests under way")
  func proxied() async throws {
    try await TestServer.with {
      $0.perClientLimit = 3
      $0.trustedProxies = [AddressRange("127.0.0.0/8")!]
    } _: { test in
      @LoopActor func request(_ client: String) async throws -> RawConnection {
        let connection = try RawConnection(port: test.port)
        await connection.send(Self.wait + "X-Forwarded-For: \(client)\r\n\r\n")
        return connection
      }
      var waiting: [RawConnection] = []
      for number in 0..<3 { waiting.append(try await request("2001:db8:0:a0\(number)::1")) }
      #expect(await eventually { test.waiting.count == 3 })
      // Of the same /56.
      #expect(try await request("2001:db8:0:aff::2").response().status == 429)
      waiting.append(try await request("2001:db8:0:b00::1"))
      waiting.append(try await request("192.0.2.1"))
      #expect(await eventually { test.waiting.count == 5 })
      test.release()
      for connection in waiting { #expect(try await connection.response().status == 200) }
      waiting = []
      #expect(await eventually { test.server.clients.isEmpty })
    }
  }

  @Test(
    "Behind a trusted proxy a client with more than half of its requests waits a moment, and nobody else does"
  )
  func slowed() async throws {
    try await TestServer.with {
      $0.perClientLimit = 4
      $0.trustedProxies = [AddressRange("127.0.0.0/8")!]
      $0.slowedMilliseconds = 3_600_000
      $0.stopMilliseconds = 100
    } _: { test in
      @LoopActor func request(_ client: String, _ path: String = "/wait") async throws -> RawConnection {
        let connection = try RawConnection(port: test.port)
        await connection.send("GET \(path) HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: \(client)\r\n\r\n")
        return connection
      }
      var waiting: [RawConnection] = []
      for count in 1...2 {
        waiting.append(try await request("192.0.2.1"))
        #expect(await eventually { test.waiting.count == count })
      }
      var slowed = [try await request("192.0.2.1"), try await request("192.0.2.1", "/at-once")]
      #expect(await eventually { test.server.laterCount == 4 })
      #expect(try await request("192.0.2.1").response().status == 429)
      // Whose client hangs up is forgotten at once.
      slowed.removeLast()
      #expect(await eventually { test.server.laterCount == 3 })
      slowed.append(try await request("192.0.2.1", "/at-once"))
      #expect(await eventually { test.server.laterCount == 4 })
      // What needs nobody's time is answered as ever, and so is everybody else.
      #expect(try await request("192.0.2.1", "/now").response().status == 200)
      #expect(try await request("192.0.2.2", "/at-once").response().body == "at once")
      #expect(test.waiting.count == 2 && test.server.laterCount == 4)
      test.release()
      for connection in waiting { #expect(try await connection.response().status == 200) }
      // Whoever waits like this when the server stops is told so.
      await test.server.stop()
      for connection in slowed { #expect(try await connection.response().status == 503) }
      #expect(await eventually { test.server.laterCount == 0 })
    }
    try await TestServer.with {
      $0.perClientLimit = 1
      $0.trustedProxies = [AddressRange("127.0.0.0/8")!]
      $0.slowedMilliseconds = 1
    } _: { test in
      let connection = try RawConnection(port: test.port)
      for _ in 0..<3 {
        await connection.send("GET /at-once HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(try await connection.response().body == "at once")
      }
    }
  }

  @Test("Who a client is, nobody but a trusted proxy says", arguments: [false, true])
  func forwarded(_ isTrusted: Bool) async throws {
    try await TestServer.with {
      if isTrusted { $0.trustedProxies = [AddressRange("127.0.0.1")!, AddressRange("10.0.0.0/8")!] }
    } _: { test in
      for (header, client) in [
        ("192.0.2.7", "192.0.2.7"), ("203.0.113.9, 192.0.2.7", "192.0.2.7"),
        ("203.0.113.9,192.0.2.7 ,10.1.2.3", "192.0.2.7"), ("192.0.2.7:4711", "192.0.2.7"),
        ("[2001:db8::7]:4711", "2001:db8::7"), ("2001:DB8::7", "2001:db8::7"), ("nobody", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("192.0.2.7, unknown, 10.0.0.1", "10.0.0.1"), ("::ffff:192.0.2.7", "192.0.2.7"),
        ("203.0.113.9\r\nX-Forwarded-For: 192.0.2.7", "192.0.2.7"),
      ] {
        let connection = try RawConnection(port: test.port)
        await connection.send("GET /address HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: \(header)\r\n\r\n")
        #expect(try await connection.response().body == (isTrusted ? client : "127.0.0.1"), "\(header)")
      }
    }
  }

  @Test(
    "Ranges of addresses",
    arguments: [
      ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"), ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
      ("0.0.0.0/0", "1.2.3.4", "::1"),
      ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"), ("::1", "::1", "127.0.0.1"),
      ("10.1.2.3/30", "10.1.2.1", "10.1.2.4"), ("fe80::/65", "fe80::1", "fe80::8000:0:0:1"),
    ])
  func ranges(_ range: String, _ inside: String, _ outside: String) throws {
    let range = try #require(AddressRange(range))
    #expect(range.contains(try #require(ClientAddress(inside))))
    #expect(!range.contains(try #require(ClientAddress(outside))))
  }

  @Test(
    "What is no range is none",
    arguments: [
      "", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/", "10.0.0.0/-1", "localhost", "10.0.0.0/8/8", "/8",
    ])
  func noRanges(_ text: String) {
    #expect(AddressRange(text) == nil)
  }

  @Test("A body that comes at a decent rate may take longer than one that trickles")
  func rate() async throws {
    try await TestServer.with {
      $0.bodySeconds = 1
      $0.bodyRate = 1_000
    } _: { test in
      let steady = try RawConnection(port: test.port), trickling = try RawConnection(port: test.port)
      let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
      await steady.send(head)
      await trickling.send(head)
      // Until the other one's time is over.
      var sent = 0
      while sent < 80_000, !test.server.peers.contains(where: { $0.phase == .lingering }) {
        sent += 400
        await trickling.send("a")
        await steady.send([UInt8](repeating: 0x61, count: 400))
        try await sleep(milliseconds: 10)
      }
      #expect(try await trickling.response().status == 408)
      await steady.send([UInt8](repeating: 0x61, count: 100_000 - sent))
      #expect(try await steady.response().status == 200)
    }
  }

  @Test("When the server is full, those that do not read their answers go first")
  func unread() async throws {
    try await TestServer.with {
      $0.connectionLimit = 64
    } _: { test in
      var deaf: [RawConnection] = []
      for index in 0..<60 {
        deaf.append(try RawConnection(port: test.port))
        await deaf[index].send(
          String(repeating: "GET /large HTTP/1.1\r\nHost: x\r\n\r\n", count: 8))
      }
      #expect(await eventually { test.server.peers.count { $0.phase == .sending } >= 50 })
      for peer in test.server.peers { peer.progressAt = 0 }
      for _ in 0..<30 {
        let connection = try RawConnection(port: test.port)
        await connection.send(Self.now)
        #expect(try await connection.response().status == 200)
      }
    }
  }

  @Test("When the server is full, those that do not get on go first, and are told so")
  func full() async throws {
    try await TestServer.with {
      $0.connectionLimit = 64
    } _: { test in
      var slow: [RawConnection] = []
      for index in 0..<20 {
        slow.append(try RawConnection(port: test.port))
        await slow[index].send(
          index % 2 == 0
            ? "GET /now HTTP/1.1\r\nX-A: b" : "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"
        )
      }
      #expect(await eventually { test.server.receiving.count == 20 })
      var idle: [RawConnection] = []
      for index in 0..<40 {
        idle.append(try RawConnection(port: test.port))
        await idle[index].send(Self.now)
        #expect(try await idle[index].response().status == 200)
      }
      for peer in test.server.peers where peer.phase != .idle { peer.progressAt = 0 }
      var new: [RawConnection] = []
      for _ in 0..<20 { new.append(try RawConnection(port: test.port)) }
      for connection in slow { #expect(try await connection.response().status == 503) }
      for connection in idle + new {
        await connection.send(Self.now)
        #expect(try await connection.response().status == 200)
      }
    }
  }

  @Test("When the server is full, the slowest of the slow goes, and nobody in their first seconds")
  func slowest() async throws {
    try await TestServer.with {
      $0.connectionLimit = 16
    } _: { test in
      let body = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n"
      var senders: [RawConnection] = []
      for count in 1...15 {
        senders.append(try RawConnection(port: test.port))
        await senders[count - 1].send(body)
        #expect(await eventually { test.server.receiving.count == count })
      }
      // In the order in which they came: the first brought much in ten seconds, the second little in eight, the third nothing
      // yet, but began two seconds ago.
      let now = EventLoop.shared.now
      let first = try #require(test.server.receiving.first), second = try #require(first.ofServer.after)
      let third = try #require(second.ofServer.after)
      try #require(now > 60_000 || now > HTTPServer.slowMilliseconds * 2)
      (first.progressAt, first.progress) = (now - HTTPServer.slowMilliseconds * 2, 15_000)
      (second.progressAt, second.progress) = (now - HTTPServer.slowMilliseconds, 100)
      (third.progressAt, third.progress) = (now - 1_000, 0)
      let new = try RawConnection(port: test.port)
      await new.send(Self.now)
      #expect(try await new.response().status == 200)
      #expect(try await senders[1].response().status == 503)
      for (index, sender) in senders.enumerated() where index != 1 {
        await sender.send([UInt8](repeating: 0x61, count: 90_000))
        #expect(try await sender.response().status == 200, "\(index)")
      }
    }
  }

  /// Fourteen who have sent a part of a request, three seconds ago.
  private func crowdThatBegan(_ test: TestServer) async throws -> [RawConnection] {
    var senders: [RawConnection] = []
    for count in 1...14 {
      senders.append(try RawConnection(port: test.port))
      await senders[count - 1].send("GET /now HTTP/1.1\r\nHost:")
      #expect(await eventually { test.server.receiving.count == count })
    }
    for peer in test.server.peers { peer.progressAt -= min(peer.progressAt, 3_000) }
    return senders
  }

  @Test("When the server is full, idle connections go before requests in their first seconds")
  func firstSeconds() async throws {
    try await TestServer.with {
      $0.connectionLimit = 16
    } _: { test in
      let idle = try RawConnection(port: test.port)
      await idle.send(Self.now)
      #expect(try await idle.response().status == 200)
      let senders = try await crowdThatBegan(test)
      let new = try RawConnection(port: test.port)
      await new.send(Self.now)
      #expect(try await new.response().status == 200)
      #expect(await idle.isClosedByServer())
      for sender in senders {
        await sender.send(" x\r\n\r\n")
        #expect(try await sender.response().status == 200)
      }
    }
  }

  @Test(
    "When the server is full, who came after a crowd that trickles does not go before it, slow as it is not yet"
  )
  func crowdThatTrickles() async throws {
    try await TestServer.with {
      $0.connectionLimit = 16
    } _: { test in
      let senders = try await crowdThatBegan(test)
      // A buyer who has been answered, and keeps the connection.
      let buyer = try RawConnection(port: test.port)
      await buyer.send(Self.now)
      #expect(try await buyer.response().status == 200)
      let new = try RawConnection(port: test.port)
      await new.send(Self.now)
      #expect(try await new.response().status == 200)
      #expect(try await senders[0].response().status == 503)
      await buyer.send(Self.now)
      #expect(try await buyer.response().status == 200)
    }
  }

  @Test("Answers tell browsers what they may do with them", arguments: [false, true])
  func protection(_ isSecure: Bool) async throws {
    try await TestServer.with {
      $0.isSecure = isSecure
    } _: { test in
      let connection = try RawConnection(port: test.port)
      for path in ["/api/now", "/nothing", "/page"] {
        await connection.send("GET \(path) HTTP/1.1\r\nHost: x\r\n\r\n")
        let headers = try await connection.response().headers
        #expect(headers["x-content-type-options"] == "nosniff")
        #expect(headers["referrer-policy"] == "no-referrer")
        #expect(headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'")
        #expect((headers["strict-transport-security"] != nil) == isSecure)
      }
      await connection.send("GET /own-policy HTTP/1.1\r\nHost: x\r\n\r\n")
      let own = try await connection.response().headers
      #expect(own["content-security-policy"] == "default-src 'self'")
      #expect((own["strict-transport-security"] != nil) == isSecure)
    }
  }
}
