/// Which pages of other sites may call the API from a browser (CORS). Tokens go in a header, so nothing is sent along that a
/// browser keeps, and no credentials need be allowed.
struct CrossOrigin: Sendable {
  /// Such as `https://tickets.example.com`; `*` is every one.
  let origins: Set<String>

  private static let prefix = "/api/"
  /// What a browser must ask about before it sends it.
  private static let requestHeaders = "Authorization, Content-Type, Idempotency-Key, If-None-Match"
  /// What a script of another site gets to see besides the body.
  private static let answerHeaders = "Age, Date, ETag, Location, Retry-After"
  /// Seconds for which a browser need not ask again.
  private static let lifetime = "86400"

  /// What is added to an answer.
  /// - Parameters:
  ///   - origin: the request's header.
  ///   - preflight: the methods that the path takes, where a browser asks about them before it sends the request itself.
  func headers(path: String, origin: String?, preflight: String?) -> HTTPResponse.Headers {
    guard !origins.isEmpty, path.hasPrefix(Self.prefix) else { return [] }
    let isEverybody = origins.contains("*")
    // Caches must not tell one site what was answered to another.
    var headers: HTTPResponse.Headers = isEverybody ? [] : [("Vary", "Origin")]
    guard let origin, isEverybody || origins.contains(origin) else { return headers }
    headers.append(("Access-Control-Allow-Origin", isEverybody ? "*" : origin))
    if let preflight {
      headers += [
        ("Access-Control-Allow-Methods", preflight), ("Access-Control-Allow-Headers", Self.requestHeaders),
        ("Access-Control-Max-Age", Self.lifetime),
      ]
    } else {
      headers.append(("Access-Control-Expose-Headers", Self.answerHeaders))
    }
    return headers
  }
}
