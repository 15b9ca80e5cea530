package import Compression
import EventLoop
package import HTTPServer

extension HTTPResponse {
  /// An answer with a body that many get.
  /// - Parameters:
  ///   - tag: of the body as it is; `nil` for an answer without one.
  ///   - known: If-None-Match.
  ///   - acceptEncoding: what the client says it takes.
  @LoopActor
  package static func shared(
    _ body: SharedBody, tag: String?, known: String?, acceptEncoding: String?, headers: Headers = []
  ) async -> HTTPResponse {
    if let answer = immediate(body, tag: tag, known: known, acceptEncoding: acceptEncoding, headers: headers)
    {
      return answer
    }
    return made(await body.value(), tag: tag, headers)
  }

  /// The same, if it can be told at once.
  @LoopActor
  package static func immediate(
    _ body: SharedBody, tag: String?, known: String?, acceptEncoding: String?, headers: Headers = []
  ) -> HTTPResponse? {
    let coding = body.isWorthIt ? ContentCoding.chosen(acceptEncoding, among: [.gzip]) : .identity
    if let tag, EntityTag.matches(known, tag) {
      return HTTPResponse(status: 304, headers: headers + [vary, ("ETag", EntityTag.of(tag, in: coding))])
    }
    if coding == .identity { return made((body.bytes, false), tag: tag, headers) }
    return body.immediate().map { made($0, tag: tag, headers) }
  }

  private static let vary = (name: "Vary", value: "Accept-Encoding")

  private static func made(
    _ value: (bytes: [UInt8], isPacked: Bool), tag: String?, _ headers: Headers
  ) -> HTTPResponse {
    var headers = headers + [vary]
    let coding: ContentCoding = value.isPacked ? .gzip : .identity
    // Other bytes, another tag.
    if let tag { headers.append(("ETag", EntityTag.of(tag, in: coding))) }
    if value.isPacked { headers.append(("Content-Encoding", coding.rawValue)) }
    return .json(200, serialized: value.bytes, headers: headers)
  }
}
