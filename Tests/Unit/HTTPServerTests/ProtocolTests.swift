import EventLoop
import Foundation
import JSON
import Testing

@testable import HTTPServer

@Suite("HTTP/1.1 on a live socket")
@LoopActor
struct ProtocolTests {
  @Test("A connection is kept for the next request")
  func keepAlive() async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      for path in ["/now", "/yield", "/at-once", "/now"] {
        await connection.send("GET \(path) HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(try await connection.response().status == 200)
      }
      #expect(test.server.connectionCount == 1)
      await connection.send("GET /now HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
      #expect(try await connection.response().status == 200)
      #expect(await connection.isClosedByServer())
    }
  }

  @Test("Pipelined requests are answered in their order, also when an earlier one takes longer")
  func pipelining() async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      let paths = ["/yield", "/now", "/item/1", "/at-once", "/item/2", "/yield"]
      await connection.send(paths.map { "GET \($0) HTTP/1.1\r\nHost: x\r\n\r\n" }.joined())
      var bodies: [String] = []
      for _ in paths { bodies.append(try await connection.response().body) }
      #expect(bodies == ["yielded", "{\"ok\":true}", "item 1", "at once", "item 2", "yielded"])
    }
  }

  @Test("However many requests come in one go, all are answered, and others get their turn between them")
  func manyAtOnce() async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      let paths = (0..<200).map { "/item/\($0)" }
      await connection.send(
        paths.map { "GET \($0) HTTP/1.1\r\nHost: x\r\n\r\n" }.joined()
          + "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
      for number in 0..<200 { #expect(try await connection.response().body == "item \(number)") }
      #expect(try await connection.response().status == 200)
    }
  }

  @Test("An answered request leaves nothing with its connection")
  func nothingIsKept() async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      await connection.send(
        "GET /item/1?" + String(repeating: "a&", count: 900) + " HTTP/1.1\r\nHost: x\r\n\r\n")
      _ = try await connection.response()
      let exchange = try #require(test.server.peers.first).exchange
      #expect(await eventually { exchange.peer == nil })
      #expect(exchange.queryItems.isEmpty && exchange.values.isEmpty && exchange.answer == nil)
      #expect(exchange.body.isEmpty && exchange.refusal == nil)
    }
  }

  @Test("HEAD has the headers of GET and no body")
  func head() async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      await connection.send("HEAD /item/special HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
      let head = try await connection.response(toHead: true)
      #expect(head.status == 200)
      #expect(head.headers["content-length"] == "7")
      #expect(try await connection.response().body == "root")
    }
  }

  @Test("A body that comes byte by byte is put together")
  func splitBody() async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      for byte in "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nhello world".utf8 {
        await connection.send([byte])
      }
      #expect(try await connection.response().body == "hello world")
    }
  }

  @Test("A chunked body is put together")
  func chunkedBody() async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      await connection.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
      await connection.send("lo\r\n6\r\n world\r\n0\r\n\r\n")
      #expect(try await connection.response().body == "hello world")
      await connection.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
      #expect(try await connection.response().body == "root")
    }
  }

  @Test("A client that waits for 100 Continue gets it, or the refusal")
  func expectContinue() async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      await connection.send(
        "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
      #expect(try await connection.response().status == 100)
      await connection.send("ok")
      #expect(try await connection.response().body == "ok")
      await connection.send(
        "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 999999\r\n\r\n")
      #expect(try await connection.response().status == 413)
    }
  }

  @Test("Headers can be read in an answer that comes later, and the body is there")
  func laterReadsHeaders() async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      await connection.send(
        "POST /echo-later HTTP/1.1\r\nHost: x\r\nx-NAME: Ada\r\nContent-Length: 3\r\n\r\nabc")
      #expect(try await connection.response().body == "Ada 3")
    }
  }

  @Test("A large answer arrives whole")
  func largeAnswer() async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      await connection.send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
      #expect(try await connection.response().body.utf8.count == 3_000_000)
    }
  }

  @Test("An answer that hangs up closes the connection without a byte")
  func hangUp() async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      await connection.send("GET /hang-up HTTP/1.1\r\nHost: x\r\n\r\n")
      await #expect(throws: RawConnection.Failure.self) { try await connection.response() }
    }
  }

  @Test("The client's address is known")
  func clientAddress() async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      await connection.send("GET /address HTTP/1.1\r\nHost: x\r\n\r\n")
      #expect(try await connection.response().body == "127.0.0.1")
    }
  }

  @Test("Two servers share a port")
  func sharedPort() async throws {
    try await TestServer.with { first in
      let port = first.port
      try await TestServer.with {
        $0.port = port
      } _: { second in
        #expect(second.port == port)
        for _ in 0..<20 {
          let connection = try RawConnection(port: port)
          await connection.send("GET /now HTTP/1.1\r\nHost: x\r\n\r\n")
          #expect(try await connection.response().status == 200)
        }
      }
    }
  }

  @Test("A host that is not ours cannot be listened at")
  func badAddress() async throws {
    await #expect(throws: HTTPServerError.self) {
      try await TestServer.with {
        $0.host = "198.51.100.7"
      } _: { _ in
      }
    }
  }

  @Test(
    "A request that comes in one piece is answered as it is when its first byte comes alone, be it ordinary or not",
    arguments: [
      "GET /now HTTP/1.1\r\nHost: x\r\n\r\n", "HEAD /now HTTP/1.1\r\nHost: x\r\n\r\n",
      "GET /held-at-once HTTP/1.1\r\nHost: x\r\n\r\n", "GET /at-once HTTP/1.1\r\nHost: x\r\n\r\n",
      "GET /item/a?q=%20+b&q HTTP/1.1\r\nhOST:\tx \r\n\r\n", "GET /item/%zz HTTP/1.1\r\nHost: x\r\n\r\n",
      "GET /now HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
      "GET /now HTTP/1.1\r\nHost: x\r\nConnection: Keep-Alive\r\n\r\n",
      "GET /now HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, close\r\n\r\n",
      "GET /now HTTP/1.1\r\nHost: x\r\nConnection: close\t\r\n\r\n",
      "GET /now HTTP/1.1\r\nHost: x\r\nProxy-Connection: close\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\t\r\n\r\nabcde",
      "GET /now HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
      "GET /now HTTP/1.0\r\nHost: x\r\n\r\n", "GET /now HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
      "GET /now HTTP/2.0\r\nHost: x\r\n\r\n", "GET /now HTTP/1.1\r\n\r\n", "GET /now\r\n\r\n",
      "GET /now HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "GET * HTTP/1.1\r\nHost: x\r\n\r\n",
      "GET http://x/now HTTP/1.1\r\nHost: x\r\n\r\n", "get /now HTTP/1.1\r\nHost: x\r\n\r\n",
      "BREW /now HTTP/1.1\r\nHost: x\r\n\r\n", "GET /now HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
      "GET /now HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
      "GET /now HTTP/1.1\r\nHost: x\r\nA: \u{1}\r\n\r\n",
      "GET /now HTTP/1.1\r\nHost: x\r\nA: 0123456789\u{7f}\r\n\r\n",
      "GET /now HTTP/1.1\r\nHost: x\r\nA: a long value with \u{e9}\u{e9}\u{e9}\u{e9} and\ta tab in it\r\n\r\n",
      "GET /now HTTP/1.1\nHost: x\n\n", "GET  /now HTTP/1.1\r\nHost: x\r\n\r\n",
      "GET /n w HTTP/1.1\r\nHost: x\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde",
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 005\r\n\r\nabcde",
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "POST /echo HTTP/1.1\r\nHost: x\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nabcde",
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nabcde",
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nabcde",
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde",
      "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde",
      "PUT /now HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde",
      "OPTIONS /now HTTP/1.1\r\nHost: x\r\n\r\n",
    ])
  func inOnePiece(_ request: String) async throws {
    let next = "GET /item/next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    try await TestServer.with { test in
      @LoopActor func answers(_ pieces: [String]) async throws -> String {
        let connection = try RawConnection(port: test.port)
        for piece in pieces {
          await connection.send(piece)
          // The server has read one before the next comes.
          try await sleep(milliseconds: 20)
        }
        let text = String(decoding: await connection.rest() ?? [], as: UTF8.self)
        return text.split(separator: "\r\n", omittingEmptySubsequences: false)
          .filter { !$0.hasPrefix("Date: ") }.joined(separator: "\n")
      }
      let whole = try await answers([request + next])
      #expect(whole.hasPrefix("HTTP/1.1 "))
      #expect(try await answers([String(request.prefix(1)), request.dropFirst() + next]) == whole)
    }
  }
}
