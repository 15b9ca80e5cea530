import JSON
import Testing

@testable import LoadTest

@Suite("The load generator's own HTTP")
struct WireTests {
  private static let response =
    "HTTP/1.1 503 Service Unavailable\r\nDate: x\r\nRETRY-AFTER: 7\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"

  @Test("A response is found whole wherever the reads end")
  func pieces() {
    let bytes = Array(Self.response.utf8)
    for cut in 1..<bytes.count {
      var reader = WireResponseReader()
      #expect(reader.look(at: Array(bytes[..<cut])) == .incomplete)
      #expect(
        reader.look(at: bytes)
          == .whole(status: 503, retryAfter: 7, body: bytes.count - 5..<bytes.count, closes: true))
    }
  }

  @Test(
    "What is no response is refused",
    arguments: [
      "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 abc\r\nContent-Length: 1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ])
  func malformed(text: String) {
    var reader = WireResponseReader()
    #expect(reader.look(at: Array(text.utf8)) == .malformed)
  }

  @Test("A request is written with its host, token and length")
  func request() throws {
    let endpoint = try #require(WireEndpoint("http://127.0.0.1:8080/base/"))
    let bytes = endpoint.bytes(of: BuyerRequest(method: "POST", path: "/a?b", token: "t", body: "{}"))
    #expect(
      String(decoding: bytes, as: UTF8.self)
        == "POST /base/a?b HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAuthorization: Bearer t\r\n"
        + "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
    #expect(WireEndpoint("https://127.0.0.1") == nil)
    #expect(WireEndpoint("http://127.0.0.1:0") == nil)
  }

  @Test("An answer is read as the contract writes it")
  func answer() {
    let text = """
      {"request_id":"abc","event_id":7,"state":"reserved","position":5,"ahead":0,
       "tickets":[{"id":3,"section":"A"},4],"amount":2000,"currency":"EUR",
       "expires_at":"2024-02-29T12:00:01Z","poll_after_ms":250}
      """
    let answer = Answer(status: 200, retryAfterSeconds: nil, body: Array(text.utf8))
    #expect(answer.requestID == Array("abc".utf8))
    #expect(answer.tickets == [3, 4])
    #expect(answer.expiresAt == 1_709_208_001_000)
    #expect(answer.pollAfterMilliseconds == 250)
    #expect(answer.amount == 2_000)
    #expect(Answer(status: 500, retryAfterSeconds: 1, body: []).retryAfterSeconds == 1)
  }
}
