import EventLoop
import HTTPServer
import JSON
import Testing

@Suite("Routing, in process and on a live socket")
@LoopActor
struct RouterTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let request: String
    let status: Int
    var body: String?
    var allow: String?
    var location: String?
    var testDescription: String { request }
  }

  nonisolated static let cases: [Case] = [
    Case(request: "GET /", status: 200, body: "root"),
    Case(request: "GET /item/7", status: 200, body: "item 7"),
    Case(request: "GET /item/special", status: 200, body: "special"),
    Case(request: "GET /item/special/part/2", status: 200, body: "special|2|-"),
    Case(request: "GET /item/a%20b/part/%C3%A9?q=x+y%2B", status: 200, body: "a b|é|x y+"),
    Case(request: "GET /item/a%2Fb", status: 200, body: "item a/b"),
    Case(request: "GET /%69tem/7", status: 404), Case(request: "GET /item%2F7", status: 404),
    Case(request: "GET /%6eow", status: 404), Case(request: "GET /now%20", status: 404),
    Case(request: "GET /./now", status: 404), Case(request: "GET /item/7/%70art/1", status: 404),
    // It is the item of that name, not the page of its own.
    Case(request: "GET /item/s%70ecial", status: 200, body: "item special"),
    Case(request: "GET /item/7/part/1?q", status: 200, body: "7|1|"),
    Case(request: "GET /item/7/part/1?q=1&q=2", status: 200, body: "7|1|1"),
    Case(request: "GET /nothing", status: 404), Case(request: "GET /item/", status: 404),
    Case(request: "GET //", status: 404), Case(request: "GET /nothing/", status: 404),
    Case(request: "GET /item/7/", status: 308, location: "/item/7"),
    Case(request: "GET /item/7//", status: 308, location: "/item/7"),
    Case(request: "GET /item/a%20b/part/1/?q=x%2B&r", status: 308, location: "/item/a%20b/part/1?q=x%2B&r"),
    Case(request: "POST /echo/", status: 308, location: "/echo"),
    Case(request: "GET //item.example.com/", status: 404), Case(request: "GET /item/%zz/", status: 400),
    Case(request: "GET /page?utm_source=x%", status: 200, body: "page"),
    Case(request: "GET /page?%zz=%FF&a=%00", status: 200, body: "page"),
    Case(request: "GET /item/7/part", status: 404),
    Case(request: "DELETE /now", status: 405, allow: "GET, HEAD, OPTIONS"),
    Case(request: "GET /echo", status: 405, allow: "POST, OPTIONS"),
    Case(request: "OPTIONS /echo", status: 204, allow: "POST, OPTIONS"),
    Case(request: "GET /item/%zz", status: 400), Case(request: "GET /item/%", status: 400),
    Case(request: "GET /item/%4", status: 400), Case(request: "GET /item/%FF", status: 400),
    Case(request: "GET /item/%C3%28", status: 400), Case(request: "GET /item/%00", status: 400),
    Case(request: "GET /item/%ED%A0%80", status: 400), Case(request: "GET /now?a=%C0%AF", status: 400),
    Case(request: "GET /now?%zz=1", status: 400), Case(request: "GET /now?a=1&b=%", status: 400),
  ]

  @Test("In process", arguments: cases)
  func inProcess(_ expected: Case) async throws {
    let parts = expected.request.split(separator: " ").map(String.init)
    let method = try #require(HTTPMethod(rawValue: parts[0]))
    let response = await TestServer.routes().respond(to: HTTPRequest(method, parts[1]))
    #expect(response.status == expected.status)
    if let body = expected.body { #expect(String(decoding: response.body, as: UTF8.self) == body) }
    #expect(response.header("allow") == expected.allow)
    #expect(response.header("location") == expected.location)
    if response.status >= 400 { try expectProblem(response.body, response.status) }
  }

  @Test("On a live socket, all on one connection")
  func live() async throws {
    try await TestServer.with { test in
      let connection = try RawConnection(port: test.port)
      for expected in Self.cases {
        await connection.send("\(expected.request) HTTP/1.1\r\nHost: x\r\n\r\n")
        let response = try await connection.response()
        #expect(response.status == expected.status, "\(expected.request)")
        if let body = expected.body { #expect(response.body == body, "\(expected.request)") }
        #expect(response.headers["allow"] == expected.allow, "\(expected.request)")
        #expect(response.headers["location"] == expected.location, "\(expected.request)")
        if response.status >= 400 {
          #expect(response.headers["content-type"] == "application/problem+json")
          try expectProblem(Array(response.body.utf8), response.status)
        }
      }
    }
  }

  private func expectProblem(_ body: [UInt8], _ status: Int) throws {
    let problem = try JSON(parsing: body)
    #expect(problem["status"]?.integer == status)
    #expect(problem["type"]?.string == "about:blank")
    for member in ["title", "detail", "code"] { #expect(problem[member]?.string?.isEmpty == false) }
  }

  @Test("What no route answers may be answered in another form, and keeps its status where it is not")
  func refusals() async throws {
    var router = TestServer.routes()
    router.onRefusal = { request, refusal in
      request.header("Accept") == "text/html" ? .text(refusal.status, "a page for \(request.path)") : nil
    }
    let page = await router.respond(to: HTTPRequest(.get, "/nothing", headers: [("Accept", "text/html")]))
    #expect(page.status == 404 && String(decoding: page.body, as: UTF8.self) == "a page for /nothing")
    let problem = await router.respond(to: HTTPRequest(.get, "/nothing"))
    #expect(problem.status == 404)
    try expectProblem(problem.body, 404)
  }

  @Test("A problem that turns a client away says when to come back", arguments: [429, 503])
  func retryAfter(_ status: Int) {
    #expect(HTTPResponse.problem(status, code: "x", detail: "y").header("Retry-After") == "1")
    let own = HTTPResponse.problem(status, code: "x", detail: "y", headers: [("retry-after", "30")])
    #expect(own.headers.count { $0.name.lowercased() == "retry-after" } == 1)
  }

  @Test("A request in process has headers in any case, a body and a limit")
  func requestInProcess() async {
    let router = TestServer.routes()
    let request = HTTPRequest(.post, "/echo-later", headers: [("x-name", "Ada")], body: [1, 2])
    #expect(await router.respond(to: request).body == Array("Ada 2".utf8))
    let large = HTTPRequest(.post, "/echo", body: [UInt8](repeating: 0, count: 100_001))
    #expect(await router.respond(to: large).status == 413)
  }
}
