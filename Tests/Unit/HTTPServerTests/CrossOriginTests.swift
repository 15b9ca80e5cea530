import EventLoop
import HTTPServer
import Testing

@Suite("Pages of other sites")
@LoopActor
struct CrossOriginTests {
  private static let shop = "https://shop.example.com"

  private func headers(
    _ request: String, origins: Set<String>, _ more: [String]
  ) async throws -> [String: String] {
    try await TestServer.with({ $0.crossOrigins = origins }) { test in
      let connection = try RawConnection(port: test.port)
      await connection.send("\(request) HTTP/1.1\r\nHost: x\r\n\(more.map { $0 + "\r\n" }.joined())\r\n")
      return try await connection.response().headers
    }
  }

  @Test(
    "Those that are named may call the API and read its answers, refusals too",
    arguments: ["/api/now", "/api/nothing"])
  func named(_ path: String) async throws {
    let headers = try await headers(
      "GET \(path)", origins: [Self.shop, "http://localhost:3000"], ["Origin: \(Self.shop)"])
    #expect(headers["access-control-allow-origin"] == Self.shop)
    #expect(headers["vary"] == "Origin")
    #expect(headers["access-control-expose-headers"]?.contains("Retry-After") == true)
    #expect(headers["access-control-allow-credentials"] == nil)
  }

  @Test("A browser that asks first is told what it may send")
  func preflight() async throws {
    let headers = try await headers(
      "OPTIONS /api/now", origins: [Self.shop],
      [
        "Origin: \(Self.shop)", "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: authorization,content-type,idempotency-key",
      ])
    #expect(headers["access-control-allow-origin"] == Self.shop)
    #expect(headers["access-control-allow-methods"]?.contains("GET") == true)
    for name in ["Authorization", "Content-Type", "Idempotency-Key"] {
      #expect(headers["access-control-allow-headers"]?.contains(name) == true)
    }
    #expect(headers["access-control-max-age"] == "86400")
  }

  @Test(
    "Nobody else is let in",
    arguments: [
      "https://shop.example.com.evil.com", "http://shop.example.com", "https://SHOP.example.com:443", "null",
      "https://shop",
    ])
  func others(_ origin: String) async throws {
    let headers = try await headers("GET /api/now", origins: [Self.shop], ["Origin: \(origin)"])
    #expect(headers["access-control-allow-origin"] == nil)
    #expect(headers["vary"] == "Origin", "a cache must not give this to the one that is let in")
  }

  @Test("Everybody may where everybody is named, and nobody where nobody is, and never to what is no API")
  func everybody() async throws {
    let origin = ["Origin: https://anywhere.example"]
    let open = try await headers("GET /api/now", origins: ["*"], origin)
    #expect(open["access-control-allow-origin"] == "*" && open["vary"] == nil)
    let closed = try await headers("GET /api/now", origins: [], origin)
    #expect(closed["access-control-allow-origin"] == nil && closed["vary"] == nil)
    let page = try await headers("GET /now", origins: ["*"], origin)
    #expect(page["access-control-allow-origin"] == nil)
  }
}
