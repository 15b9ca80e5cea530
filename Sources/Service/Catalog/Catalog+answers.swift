import Compression
import EventLoop
import HTTPCommon
import HTTPServer
import Search

/// How what is in memory is told to one who asks.
extension Catalog {
  static func immediate(_ answer: CachedSearch.Answer, _ accepted: String?) -> HTTPResponse? {
    .immediate(
      answer.body, tag: nil, known: nil, acceptEncoding: accepted,
      headers: headers(ageMilliseconds: UInt64(answer.ageMilliseconds)))
  }

  static func respond(_ answer: CachedSearch.Answer, _ accepted: String?) async -> HTTPResponse {
    await .shared(
      answer.body, tag: nil, known: nil, acceptEncoding: accepted,
      headers: headers(ageMilliseconds: UInt64(answer.ageMilliseconds)))
  }

  /// What a client has already, and how it takes what it has not.
  struct Wanted {
    let known: String?
    let acceptEncoding: String?

    @LoopActor
    init(_ request: HTTPRequest) {
      known = request.header("If-None-Match")
      acceptEncoding = request.header("Accept-Encoding")
    }
  }

  static func respond(
    _ answer: FreshCache<SeatQuery, SeatAnswer>.Answer, _ wanted: Wanted
  ) async -> HTTPResponse {
    var response = await respond(answer.value.body, answer.value.tag, wanted, age: age(answer.value))
    response.source = answer.value
    return response
  }

  static func immediate(
    _ answer: FreshCache<SeatQuery, SeatAnswer>.Answer, _ wanted: Wanted
  ) -> HTTPResponse? {
    var response = immediate(answer.value.body, answer.value.tag, wanted, age: age(answer.value))
    response?.source = answer.value
    return response
  }

  private static func age(_ answer: SeatAnswer) -> UInt64 {
    UInt64(max(0, Int(EventLoop.shared.now) - answer.asOf))
  }

  static func respond(
    _ body: SharedBody, _ tag: String, _ wanted: Wanted, age: UInt64
  ) async -> HTTPResponse {
    await .shared(
      body, tag: tag, known: wanted.known, acceptEncoding: wanted.acceptEncoding,
      headers: headers(ageMilliseconds: age))
  }

  static func immediate(
    _ body: SharedBody, _ tag: String, _ wanted: Wanted, age: UInt64
  ) -> HTTPResponse? {
    .immediate(
      body, tag: tag, known: wanted.known, acceptEncoding: wanted.acceptEncoding,
      headers: headers(ageMilliseconds: age))
  }

  /// Answers for one caller, to be asked for again after a second.
  private static func headers(ageMilliseconds age: UInt64) -> HTTPResponse.Headers {
    var headers: HTTPResponse.Headers = [("Cache-Control", "private, max-age=1")]
    if age >= 1_000 { headers.append(("Age", String(age / 1_000))) }
    return headers
  }
}
