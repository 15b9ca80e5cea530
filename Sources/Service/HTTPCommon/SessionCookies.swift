package import EventLoop
package import HTTPServer

/// The cookies in which a browser keeps a session where no script can read it.
///
/// They are taken only from a request with the header `header`, which another site's page cannot send without being
/// allowed to, and are `SameSite=Strict` besides: so no other site acts in the user's name.
@LoopActor
package struct SessionCookies {
  /// Any value will do.
  package nonisolated static let header = "X-Onsale-Page"
  private static let accessName = "onsale_access"
  private static let refreshName = "onsale_refresh"
  private static let accessPath = "/api"
  /// Sent to where sessions are begun, renewed and ended, and to nobody else.
  private static let refreshPath = "/api/sessions"
  private static let deviceName = "onsale_device"
  private static let deviceSeconds = 365 * 86_400

  private let isSecure: Bool

  /// - Parameter isSecure: whether browsers come by HTTPS; they then send the cookies by nothing else.
  package init(isSecure: Bool) { self.isSecure = isSecure }

  /// The access token of the request's session.
  package func accessToken(_ request: HTTPRequest) -> String? { value(Self.accessName, request) }
  package func refreshToken(_ request: HTTPRequest) -> String? { value(Self.refreshName, request) }
  /// Of a session that began in this browser, be it over by now.
  package func deviceToken(_ request: HTTPRequest) -> String? { value(Self.deviceName, request) }

  /// Whether a page of this site says that it asks.
  package func isOfPage(_ request: HTTPRequest) -> Bool { request.header(Self.header) != nil }

  private func value(_ name: String, _ request: HTTPRequest) -> String? {
    guard request.header(Self.header) != nil, let header = request.header("Cookie") else { return nil }
    // Where the browser says who asks, it must be this site itself.
    if let site = request.header("Sec-Fetch-Site"), site != "same-origin" { return nil }
    let name = prefix + name
    for pair in header.split(separator: ";") {
      let pair = pair.drop { $0 == " " }
      if pair.hasPrefix(name), pair.dropFirst(name.count).first == "=" {
        return String(pair.dropFirst(name.count + 1))
      }
    }
    return nil
  }

  /// - Parameters:
  ///   - access: seconds that the access token lives.
  ///   - refresh: the same of the refresh token.
  package func keep(
    access: (token: String, seconds: Int), refresh: (token: String, seconds: Int)
  ) -> HTTPResponse.Headers {
    [
      cookie(Self.accessName, access.token, Self.accessPath, access.seconds),
      cookie(Self.refreshName, refresh.token, Self.refreshPath, refresh.seconds),
    ]
  }

  /// Stays when the session ends: whose device it is is known from then on.
  package func keepDevice(_ token: String) -> HTTPResponse.Headers {
    [cookie(Self.deviceName, token, Self.refreshPath, Self.deviceSeconds)]
  }

  package var clear: HTTPResponse.Headers { keep(access: ("", 0), refresh: ("", 0)) }

  private var prefix: String { isSecure ? "__Secure-" : "" }

  private func cookie(
    _ name: String, _ value: String, _ path: String, _ seconds: Int
  ) -> (name: String, value: String) {
    let secure = isSecure ? "; Secure" : ""
    return (
      "Set-Cookie",
      "\(prefix)\(name)=\(value); Path=\(path); Max-Age=\(seconds); HttpOnly; SameSite=Strict\(secure)"
    )
  }
}
