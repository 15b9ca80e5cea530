import EventLoop
import Foundation
import HTTPClient
import HTTPServer
import Logging
import Testing

@Suite("The HTTP client")
@LoopActor
struct HTTPClientTests {
  private nonisolated static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Name: a\r\n\r\nok"

  private func client(_ change: (inout HTTPClientConfiguration) -> Void = { _ in }) -> HTTPClient {
    var configuration = HTTPClientConfiguration()
    change(&configuration)
    return HTTPClient(configuration)
  }

  private func failure(_ client: HTTPClient, _ request: HTTPClientRequest) async -> HTTPClientError? {
    do {
      _ = try await client.send(request)
      return nil
    } catch {
      return error as? HTTPClientError
    }
  }

  private func withServer(
    _ router: Router, _ body: @LoopActor (_ url: String) async throws -> Void
  ) async throws {
    var configuration = HTTPServerConfiguration(port: 0)
    configuration.connectionLimit = 5_000
    let server = HTTPServer(configuration, router: router, logger: Logger(label: "test"))
    try await server.start()
    do { try await body("http://127.0.0.1:\(server.port)") } catch {
      await server.stop()
      throw error
    }
    await server.stop()
  }

  @Test(
    "Method, headers and body arrive, and the response comes back",
    arguments: [
      "GET", "POST", "PUT", "PATCH", "DELETE",
    ])
  func exchange(_ method: String) async throws {
    var router = Router()
    for known in [HTTPMethod.get, .post, .put, .patch, .delete] {
      router.on(known, "/thing") { request in
        .now(
          HTTPResponse(
            status: 201,
            headers: [
              ("X-Seen", request.header("X-Name") ?? "-"), ("X-Type", request.header("Content-Type") ?? "-"),
              ("X-Method", request.method.rawValue),
            ], body: request.body))
      }
    }
    try await withServer(router) { url in
      let client = client()
      for body in [[], Array("hello".utf8)] {
        let response = try await client.send(
          HTTPClientRequest(method: method, url: url + "/thing", headers: [("X-Name", "Ada")], body: body))
        #expect(response.status == 201)
        #expect(response.body == body)
        #expect(response.header("x-seen") == "Ada")
        #expect(response.header("X-Type") == "-")
        #expect(response.header("X-Method") == method)
        #expect(response.header("missing") == nil)
      }
      client.close()
    }
  }

  @Test("HEAD and 204 have no body, and a handle used for them serves other methods after")
  func noBody() async throws {
    var router = Router()
    router.on(.get, "/x") { _ in .now(.text(200, "text")) }
    router.on(.delete, "/x") { _ in .now(HTTPResponse(status: 204)) }
    try await withServer(router) { url in
      let client = client { $0.connectionsPerHost = 1 }
      for _ in 0..<3 {
        let head = try await client.send(HTTPClientRequest(method: "HEAD", url: url + "/x"))
        #expect(head.status == 200 && head.body.isEmpty)
        let get = try await client.send(HTTPClientRequest(url: url + "/x"))
        #expect(get.body == Array("text".utf8))
        let delete = try await client.send(HTTPClientRequest(method: "DELETE", url: url + "/x"))
        #expect(delete.status == 204)
      }
      client.close()
    }
  }

  @Test("One connection serves requests one after the other")
  func keepAlive() async throws {
    let answers = (0..<20).flatMap { _ in [ScriptedServer.Step.readRequest, .send(Self.ok)] }
    let server = ScriptedServer { _ in answers + [.hang] }
    let client = client()
    for _ in 0..<20 {
      let response = try await client.send(HTTPClientRequest(url: "http://127.0.0.1:\(server.port)/"))
      #expect(response.body == Array("ok".utf8))
    }
    #expect(server.connections == 1)
    client.close()
  }

  @Test("A kept connection that the server closed meanwhile is replaced")
  func staleConnection() async throws {
    let server = ScriptedServer { _ in [.readRequest, .send(Self.ok), .close] }
    let client = client()
    for _ in 0..<5 {
      #expect(try await client.send(HTTPClientRequest(url: "http://127.0.0.1:\(server.port)/")).status == 200)
    }
    #expect(server.connections == 5)
    client.close()
  }

  @Test("No more requests are under way to one origin than it may have connections")
  func connectionLimit() async throws {
    let load = Load()
    var router = Router()
    router.on(.get, "/") { _ in
      .later {
        load.enter()
        try? await sleep(milliseconds: 2)
        load.leave()
        return .text(200, "ok")
      }
    }
    try await withServer(router) { url in
      let client = client { $0.connectionsPerHost = 3 }
      await withTaskGroup(of: Int.self) { group in
        for _ in 0..<100 {
          group.addTask { (try? await client.send(HTTPClientRequest(url: url)))?.status ?? 0 }
        }
        for await status in group { #expect(status == 200) }
      }
      #expect(load.most == 3)
      client.close()
    }
  }

  @LoopActor
  private final class Load {
    private var now = 0
    private(set) var most = 0

    func enter() {
      now += 1
      most = max(most, now)
    }

    func leave() { now -= 1 }
  }

  @Test("A thousand requests at once are all answered")
  func many() async throws {
    var router = Router()
    router.on(.get, "/{n}") { request in .now(.text(200, request.parameters["n"] ?? "")) }
    try await withServer(router) { url in
      let client = client()
      let right = await withTaskGroup(of: Bool.self) { group in
        for number in 0..<1000 {
          group.addTask {
            let response = try? await client.send(HTTPClientRequest(url: "\(url)/\(number)"))
            return response?.body == Array(String(number).utf8)
          }
        }
        var right = 0
        for await isRight in group where isRight { right += 1 }
        return right
      }
      #expect(right == 1000)
      client.close()
    }
  }

  @Test("A server that does not answer is a timeout, and its outcome is unknown")
  func timeout() async {
    let server = ScriptedServer { _ in [.readRequest, .hang] }
    let client = client()
    let error = await failure(
      client, HTTPClientRequest(url: "http://127.0.0.1:\(server.port)/", timeoutMilliseconds: 1_000))
    #expect(error?.code == .timeout)
    #expect(error?.nothingWasSent == false)
    client.close()
  }

  @Test("A request that waits too long for a connection was not sent")
  func waitTimeout() async throws {
    let server = ScriptedServer { _ in [.readRequest, .hang] }
    let client = client { $0.connectionsPerHost = 1 }
    let url = "http://127.0.0.1:\(server.port)/"
    async let first = failure(client, HTTPClientRequest(url: url, timeoutMilliseconds: 5_000))
    // Child tasks start in any order: only what was accepted has the connection.
    while server.connections == 0 { try await Task.sleep(for: .milliseconds(1)) }
    let waited = await failure(client, HTTPClientRequest(url: url, timeoutMilliseconds: 50))
    #expect(waited?.code == .timeout)
    #expect(waited?.nothingWasSent == true)
    client.close()
    #expect(await first?.code == .closed)
  }

  @Test("Nobody listening means that nothing was sent")
  func refused() async {
    let port = ScriptedServer { _ in [] }.port
    let client = client()
    let error = await failure(
      client, HTTPClientRequest(method: "POST", url: "http://127.0.0.1:\(port)/", body: [1]))
    #expect(error?.code == .connectFailed)
    #expect(error?.nothingWasSent == true)
    client.close()
  }

  @Test(
    "A connection lost before the whole response leaves the outcome unknown",
    arguments: [
      [ScriptedServer.Step.readRequest, .close],
      [.readRequest, .send("HTTP/1.1 200 OK\r\nContent-"), .close],
      [.readRequest, .send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), .close],
      [.readRequest, .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"), .close],
      [.readRequest, .send("this is not HTTP\r\n\r\n"), .close],
    ])
  func lost(_ steps: [ScriptedServer.Step]) async {
    let server = ScriptedServer { _ in steps }
    let client = client()
    let error = await failure(
      client, HTTPClientRequest(method: "POST", url: "http://127.0.0.1:\(server.port)/", body: [1]))
    #expect(error?.code == .connectionLost)
    #expect(error?.nothingWasSent == false)
    client.close()
  }

  @Test("A response's body beyond the limit is refused")
  func tooLarge() async {
    let server = ScriptedServer { _ in
      [.readRequest, .send("HTTP/1.1 200 OK\r\n\r\n" + String(repeating: "a", count: 100_000)), .close]
    }
    let client = client { $0.maximumResponseBody = 1000 }
    #expect(
      await failure(client, HTTPClientRequest(url: "http://127.0.0.1:\(server.port)/"))?.code == .tooLarge)
    client.close()
  }

  @Test(
    "What is not an http URL is refused before anything is sent",
    arguments: [
      "", "localhost", "file:///etc/passwd", "ftp://127.0.0.1/", "http://127.0.0.1:99999999/", "http://",
      "http://127.0.0.1/a\r\nX: y",
    ])
  func invalidURL(_ url: String) async {
    let client = client()
    let error = await failure(client, HTTPClientRequest(url: url))
    #expect(error?.code == .invalidURL)
    #expect(error?.nothingWasSent == true)
    client.close()
  }

  @Test("A header cannot smuggle in another")
  func headerInjection() async {
    let client = client()
    let request = HTTPClientRequest(url: "http://127.0.0.1:9/", headers: [("X-A", "b\r\nX-C: d")])
    #expect(await failure(client, request)?.code == .invalidHeader)
    client.close()
  }

  @Test("A cancelled task stops waiting at once, and its place is free again")
  func cancellation() async throws {
    let server = ScriptedServer { number in
      number == 0 ? [.readRequest, .hang] : [.readRequest, .send(Self.ok), .hang]
    }
    let client = client { $0.connectionsPerHost = 1 }
    let url = "http://127.0.0.1:\(server.port)/"
    let first = Task { @LoopActor in try await client.send(HTTPClientRequest(url: url)) }
    while server.connections == 0 { try await sleep(milliseconds: 1) }
    let waiting = Task { @LoopActor in try await client.send(HTTPClientRequest(url: url)) }
    let cancelledWhileWaiting = Task { @LoopActor in try await client.send(HTTPClientRequest(url: url)) }
    await Task.yield()
    cancelledWhileWaiting.cancel()
    await #expect(throws: CancellationError.self) { try await cancelledWhileWaiting.value }
    first.cancel()
    await #expect(throws: CancellationError.self) { try await first.value }
    #expect(try await waiting.value.status == 200)
    client.close()
  }

  @Test("Past its capacity the client refuses, and once closed too")
  func capacity() async {
    let server = ScriptedServer { _ in [.readRequest, .hang] }
    let client = client { $0.capacity = 1 }
    let request = HTTPClientRequest(url: "http://127.0.0.1:\(server.port)/")
    async let first = failure(client, request)
    while server.connections == 0 { await Task.yield() }
    #expect(await failure(client, request)?.code == .overloaded)
    client.close()
    #expect(await first?.code == .closed)
    #expect(await failure(client, request)?.code == .closed)
  }
}
