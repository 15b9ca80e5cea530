import EventLoop
import JSON
import Testing

@testable import HTTPServer

@Suite("Every request gets an answer")
@LoopActor
struct RefusalTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let request: String
    let status: Int
    let code: String
    var testDescription: String { request.debugDescription }
  }

  nonisolated static let refused: [Case] = {
    func fields(_ lines: String, _ status: Int = 400, _ code: String = "bad_request") -> Case {
      Case(request: "GET /now HTTP/1.1\r\n\(lines)\r\n\r\n", status: status, code: code)
    }
    func line(_ line: String, _ status: Int = 400, _ code: String = "bad_request") -> Case {
      Case(request: "\(line)\r\nHost: x\r\n\r\n", status: status, code: code)
    }
    return [
      fields("Host: x\r\nHost: x"), fields("Host: x\r\nhost: y"), fields("X-A: b"), fields("Host: a b"),
      fields("Host: a,b"), fields("Host: a/b"), fields("Host: x\r\nX-A : b"), fields("Host : x"),
      fields("Host: x\r\n: b"), fields("Host: x\r\n b"), fields("Host: x\r\nX-A: b\r\n c"),
      fields("Host: x\r\nX-A: b\r\n\tc"), fields(" Host: x"), fields("Host: x\r\nX-A: b\rc"),
      fields("Host: x\r\nX-A: b\nX-B: c"), fields("Host: x\nX-A: b"), fields("Host: x\r\nX-A: b\u{0}c"),
      fields("Host: x\r\nX-A: \u{1B}c"), fields("Host: x\r\nX-A\u{0}: c"), fields("Host: x\r\nX A: c"),
      fields("Host: x\r\nX(A): c"), fields("Host: x\r\nX-A"), fields("Host: x\r\nX-Ä: c"),
      fields("Host: x\r\nTransfer-Encoding: gzip", 501, "transfer_encoding"),
      fields("Host: x\r\nTransfer-Encoding: gzip, chunked", 501, "transfer_encoding"),
      fields("Host: x\r\nTransfer-Encoding: xchunked", 501, "transfer_encoding"),
      fields("Host: x\r\nTransfer-Encoding: identity", 501, "transfer_encoding"),
      fields("Host: x\r\nTransfer-Encoding:", 501, "transfer_encoding"),
      fields("Host: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked", 400, "ambiguous_body"),
      fields("Host: x\r\nContent-Length: 1\r\nContent-Length: 1", 400, "ambiguous_body"),
      fields("Host: x\r\nContent-Length: +1"), fields("Host: x\r\nContent-Length: -1"),
      fields("Host: x\r\nContent-Length: 1, 1"), fields("Host: x\r\nContent-Length: 0x1"),
      fields("Host: x\r\nContent-Length: 99999999999999999999"), fields("Host: x\r\nContent-Length:"),
      line("GET /now  HTTP/1.1"), line("GET  /now HTTP/1.1"), line("GET /n ow HTTP/1.1"),
      line("GET /now\t HTTP/1.1"), line("GET /n\u{1}ow HTTP/1.1"), line("GET /é HTTP/1.1"),
      line("GET /now HTTP/1.1 "), line("GET now HTTP/1.1"), line("GET"), line("GET /now HTTQ/1.1"),
      line("GET /now Http/1.1"),
      line("GET /now", 505, "http_version"), line("GET /now HTTP/2.0", 505, "http_version"),
      line("GET /now HTTP/0.9", 505, "http_version"),
      line("BREW /now HTTP/1.1", 501, "not_implemented"), line("TRACE /now HTTP/1.1", 501, "not_implemented"),
      line("CONNECT now:80 HTTP/1.1", 501, "not_implemented"), line("G(T /now HTTP/1.1"),
      line("PRI * HTTP/2.0", 501, "not_implemented"), line("\u{16}\u{03}\u{01}"),
    ]
  }()

  @Test(
    "What RFC 9112 does not let through is refused once, as a problem, and the connection ends",
    arguments: refused)
  func refused(_ expected: Case) async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      await connection.send(expected.request + "GET /item/hidden HTTP/1.1\r\nHost: x\r\n\r\n")
      let response = try await connection.response()
      #expect(response.status == expected.status)
      #expect(response.headers["content-type"] == "application/problem+json")
      #expect(response.headers["connection"] == "close")
      #expect(try JSON(parsing: response.body)["code"]?.string == expected.code)
      #expect(await connection.rest() == [], "nothing follows, and no reset")
    }
  }

  @Test(
    "Chunks end as they should, wherever they are cut, or are refused",
    arguments: [
      "5\r\nhelloXX0\r\n\r\n", "5\r\nhello\rX0\r\n\r\n", "5\r\nhello\n\n0\r\n\r\n", "5\rXhello\r\n0\r\n\r\n",
      "5\r\nhello\r\n0\r\n\rX", "5\r\nhello\r\n0\r\n\n", "5\r\nhello\r\n0\rX\r\n", "5\nhello\r\n0\r\n\r\n",
      "5\r\nhelloX", "x\r\n", "5;a\rb\r\nhello\r\n0\r\n\r\n", "fffffffffffffffff\r\n",
      // LF alone, or what else steers, in an extension.
      "5;a\nb\r\nhello\r\n0\r\n\r\n", "5;a=\"b\n\"\r\nhello\r\n0\r\n\r\n", "5;\n\r\nhello\r\n0\r\n\r\n",
      "5;a\u{0}\r\nhello\r\n0\r\n\r\n", "5;a\u{7F}\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0;a\nb\r\n\r\n",
      // Trailers that are none.
      "5\r\nhello\r\n0\r\nA: b\n\r\n", "5\r\nhello\r\n0\r\nA: b\nB: c\r\n\r\n",
      "5\r\nhello\r\n0\r\nA : b\r\n\r\n",
      "5\r\nhello\r\n0\r\n A: b\r\n\r\n", "5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n",
      "5\r\nhello\r\n0\r\n: b\r\n\r\n",
      "5\r\nhello\r\n0\r\nA\r\n\r\n", "5\r\nhello\r\n0\r\nA: b\rc\r\n\r\n",
      "5\r\nhello\r\n0\r\nA: \u{1}\r\n\r\n",
      "5\r\nhello\r\n0\r\nA: b\r\n\n",
      // Those that would be believed if they were headers.
      "0\r\nContent-Length: 5\r\n\r\n", "0\r\nTransfer-Encoding: chunked\r\n\r\n", "0\r\nhost: y\r\n\r\n",
      "0\r\nAUTHORIZATION: Bearer x\r\n\r\n", "0\r\nA: b\r\nCookie: a=b\r\n\r\n",
      "0\r\nX-Forwarded-For: ::1\r\n\r\n",
      "0\r\nConnection: close\r\n\r\n", "0\r\nIdempotency-Key: x\r\n\r\n",
    ], [false, true])
  func chunks(_ body: String, _ inBytes: Bool) async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      await connection.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
      let rest = body + "GET /item/hidden HTTP/1.1\r\nHost: x\r\n\r\n"
      if inBytes {
        for byte in rest.utf8 { await connection.send([byte]) }
      } else {
        await connection.send(rest)
      }
      #expect(try await connection.response().status == 400)
      #expect(await connection.rest() == [])
    }
  }

  @Test(
    "Extensions and trailers that RFC 9112 has are read over, wherever they are cut",
    arguments: [
      "5\r\nhello\r\n0\r\n\r\n", "5;a\r\nhello\r\n0;b\r\n\r\n", "5;a=b;c=\"d e\\\"\"\r\nhello\r\n0\r\n\r\n",
      "5 ;\ta\r\nhello\r\n0\r\n\r\n", "005\r\nhello\r\n00\r\n\r\n", "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
      "5\r\nhello\r\n0\r\nA: b\r\n\r\n", "5\r\nhello\r\n0\r\nA:b\r\nX-Sum:\t\u{e9}\r\nE:\r\n\r\n",
      "5\r\nhello\r\n0\r\nContent-Lengthy: 7\r\nHosts: y\r\n\r\n",
    ], [false, true])
  func lawfulChunks(_ body: String, _ inBytes: Bool) async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      for number in 0..<2 {
        await connection.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        let rest = body + "GET /item/\(number) HTTP/1.1\r\nHost: x\r\n\r\n"
        if inBytes {
          for byte in rest.utf8 { await connection.send([byte]) }
        } else {
          await connection.send(rest)
        }
        #expect(try await connection.response().body == "hello")
        #expect(try await connection.response().body == "item \(number)")
      }
    }
  }

  @Test("What stands between the pieces of a body is bounded", arguments: ["extension", "trailers"])
  func longFraming(_ what: String) async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      await connection.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
      let much = String(repeating: "a", count: 9_000)
      await connection.send(
        what == "extension" ? "5;\(much)" : "0\r\n" + String(repeating: "A: b\r\n", count: 1_500))
      #expect(try await connection.response().status == 431)
    }
  }

  @Test("What is turned away before its route is asked may be told in another form, too")
  func told() async throws {
    try await TestServer.with(
      { $0.laterLimit = 1 },
      onRefusal: { request, refusal in
        .text(
          refusal.status, "\(request.path.prefix(8)) \(request.header("Accept") ?? "-") \(refusal.status)")
      }
    ) { test in
      let long = String(repeating: "a", count: 20_000)
      for (request, told) in [
        ("GET /now?\(long) HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n", "/now - 414"),
        (
          "GET /now HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nCookie: \(long)\r\n\r\n", "/now text/html 431"
        ),
        ("GET /now HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nno header\r\n\r\n", "/now text/html 400"),
        ("GET /now HTTP/1.1\r\nAccept: text/html\r\n\r\n", "/now text/html 400"),
        ("BREW /now HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n", " - 501"),
        ("\u{16}\u{03}\r\n\r\n", " - 400"),
        ("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n", "/echo - 413"),
      ] {
        let connection = try RawConnection(port: test.port)
        await connection.send(request)
        let response = try await connection.response()
        #expect(response.body == told, "\(request.prefix(60))")
      }
      let first = try RawConnection(port: test.port), second = try RawConnection(port: test.port)
      await first.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
      while test.waiting.isEmpty { await Task.yield() }
      await second.send("GET /wait HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n")
      let response = try await second.response()
      #expect(response.status == 503 && response.body == "/wait text/html 503")
    }
  }

  @Test("A target in absolute form is served, by whom it names, and not by what is in front of that")
  func absolute() async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      for (target, body) in [
        ("http://tickets.example.com/item/a?q=1", "item a"), ("HTTPS://[2001:db8::1]:8443/item/b", "item b"),
        ("http://x", "root"), ("http://x/", "root"), ("http://x/item/a/part/b?q=/c", "a|b|/c"),
      ] {
        await connection.send("GET \(target) HTTP/1.1\r\nHost: other\r\n\r\n")
        let response = try await connection.response()
        #expect(response.status == 200 && response.body == body, "\(target)")
      }
      await connection.send("GET http://x?q=1 HTTP/1.1\r\nHost: x\r\n\r\n")
      #expect(try await connection.response().status == 200)
      for target in [
        "http://user@x/now", "http://user:word@x/now", "http:///now", "http://:80/now", "http://a,b/now",
      ] {
        let one = try RawConnection(port: test.port)
        await one.send("GET \(target) HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(try await one.response().status == 400, "\(target)")
        #expect(await one.rest() == [])
      }
    }
    let text = Array("GET http://named.example:81/a?b HTTP/1.1\r\nHost: other\r\nX: y\r\n\r\n".utf8)
    try text.withUnsafeBufferPointer { bytes in
      let head = try RequestHead(bytes, major: 1, minor: 1)
      func words(_ bytes: UnsafeBufferPointer<UInt8>?) -> String? {
        bytes.map { String(decoding: $0, as: UTF8.self) }
      }
      #expect(words(head.path) == "/a" && words(head.query) == "b")
      #expect(words(head.field("Host")) == "named.example:81", "the target goes before the Host")
      #expect(words(head.field("X")) == "y")
    }
  }

  @Test(
    "Whatever a request has many of, it is answered, up to the limit of its bytes and beyond",
    arguments: [
      "query items", "empty query items", "headers", "cookies", "segments", "bytes of a path", "escapes",
    ])
  func many(_ what: String) async throws {
    func request(_ count: Int) -> String {
      func times(_ text: String) -> String { String(repeating: text, count: count) }
      switch what {
      case "query items": return "GET /now?\(times("a=b&")) HTTP/1.1\r\nHost: x\r\n\r\n"
      case "empty query items": return "GET /now?\(times("&")) HTTP/1.1\r\nHost: x\r\n\r\n"
      case "headers": return "GET /now HTTP/1.1\r\nHost: x\r\n\(times("A: b\r\n"))\r\n"
      case "cookies": return "GET /now HTTP/1.1\r\nHost: x\r\nCookie: \(times("a=b; "))c=d\r\n\r\n"
      case "segments": return "GET /now\(times("/a")) HTTP/1.1\r\nHost: x\r\n\r\n"
      case "escapes": return "GET /item/\(times("%41")) HTTP/1.1\r\nHost: x\r\n\r\n"
      default: return "GET /item/\(times("a")) HTTP/1.1\r\nHost: x\r\n\r\n"
      }
    }
    let limit = HTTPServerConfiguration().headerLimit
    try await TestServer.with { test in
      var statuses: Set<Int> = []
      let each = request(2).utf8.count - request(1).utf8.count
      let most = (limit - request(0).utf8.count) / each
      for count in [
        0, 1, 100, 250, 260, 500, 1_000, 1_600, most - 1, most, most + 1, most + 2, 2 * most, 40 * most,
      ] {
        let connection = try RawConnection(port: test.port)
        let request = request(count)
        await connection.send(request)
        let response = try await connection.response()
        let isTooLong = request.utf8.count > limit
        #expect([414, 431].contains(response.status) == isTooLong, "\(count): \(response.status)")
        #expect(response.status < 500)
        if isTooLong { #expect(response.headers["content-type"] == "application/problem+json") }
        statuses.insert(response.status)
      }
      let expected: Set<Int> =
        switch what {
        case "headers", "cookies": [200, 431]
        // What just fits alone is too much with the Host behind it.
        case "segments", "bytes of a path", "escapes": [200, 404, 414, 431]
        default: [200, 414, 431]
        }
      #expect(statuses == expected)
    }
  }

  @Test("A head that comes byte by byte is as good as any", arguments: ["", "\r\n", "\r\n\r\n"])
  func splitHead(_ before: String) async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      for _ in 0..<2 {
        for byte in "\(before)GET /item/a?b=c HTTP/1.1\r\nHost: x\r\nX-A:\t b \r\n\r\n".utf8 {
          await connection.send([byte])
        }
        #expect(try await connection.response().body == "item a")
      }
    }
  }

  @Test("Who begins a request and does not end it is told so when its time is over")
  func timeout() async throws {
    try await TestServer.with {
      $0.headerSeconds = 3; $0.bodySeconds = 3
    } _: { test in
      var connections: [RawConnection] = []
      for request in [
        "G", "GET /now HTTP/1.1\r\nHost: x\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhell",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhell",
      ] {
        let connection = try RawConnection(port: test.port)
        // On a connection that was used before, too.
        await connection.send("GET /now HTTP/1.1\r\nHost: x\r\n\r\n" + request)
        #expect(try await connection.response().status == 200)
        connections.append(connection)
      }
      for connection in connections {
        let response = try await connection.response()
        #expect(response.status == 408)
        #expect(try JSON(parsing: response.body)["code"] == "request_timeout")
        #expect(await connection.rest() == [])
      }
    }
  }

  @Test(
    "Who ends in the middle of a request is told so",
    arguments: ["GET /now HT", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhell"])
  func cut(_ request: String) async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      await connection.send(request)
      connection.endSending()
      #expect(try await connection.response().status == 400)
      #expect(await connection.rest() == [])
    }
  }

  @Test("HTTP/1.0 is answered, and its connection kept when it asks for that", arguments: [false, true])
  func old(_ keepsAlive: Bool) async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      await connection.send("GET /now HTTP/1.0\r\n\(keepsAlive ? "Connection: keep-alive\r\n" : "")\r\n")
      let response = try await connection.response()
      #expect(response.status == 200)
      #expect(response.headers["connection"] == (keepsAlive ? "keep-alive" : "close"))
      if keepsAlive {
        await connection.send("GET /item/2 HTTP/1.0\r\n\r\n")
        #expect(try await connection.response().body == "item 2")
      }
      #expect(await connection.rest() == [])
    }
  }

  @Test("A client that asks for another protocol is answered in this one")
  func upgrade() async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      for _ in 0..<2 {
        await connection.send(
          "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            + "HTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 2\r\n\r\nok")
        #expect(try await connection.response().body == "ok")
      }
    }
  }

  @Test("A refusal does not wait for the body, and the connection goes on behind it")
  func early() async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      await connection.send("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
      #expect(try await connection.response().status == 401)
      await connection.send([UInt8](repeating: 0x61, count: 100_000))
      await connection.send("GET /now HTTP/1.1\r\nHost: x\r\n\r\n")
      #expect(try await connection.response().status == 200)
      await connection.send("POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe")
      #expect(try await connection.response().status == 404)
      await connection.send("llo\r\n0\r\n\r\nGET /now HTTP/1.1\r\nHost: x\r\n\r\n")
      #expect(try await connection.response().status == 200)
    }
  }

  @Test("Requests that come before the answer wait their turn, however many, and are bounded")
  func pipelinedBehindLater() async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      let more = (0..<1_000).map { "GET /item/\($0) HTTP/1.1\r\nHost: x\r\n\r\n" }.joined()
      await connection.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" + more)
      #expect(await eventually { test.waiting.count == 1 })
      #expect(test.server.peers.allSatisfy { $0.kept.count < 20_000 })
      test.release()
      #expect(try await connection.response().body == "waited")
      for number in 0..<1_000 { #expect(try await connection.response().body == "item \(number)") }
    }
  }

  @Test("A client that has said all it wanted to say still gets its answer")
  func halfClosed() async throws {
    try await TestServer.with { test in
      for path in ["/now", "/wait", "/large"] {
        let connection = try RawConnection(port: test.port)
        await connection.send("GET \(path) HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.endSending()
        if path == "/wait" {
          #expect(await eventually { test.waiting.count == 1 })
          test.release()
        }
        #expect(try await connection.response().status == 200)
      }
    }
  }
}
