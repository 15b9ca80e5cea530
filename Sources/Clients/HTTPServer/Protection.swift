/// Headers with which an answer protects whoever gets it.
struct Protection: Sendable {
  /// Of what brings no policy of its own: nothing in it is for a browser to run, show or load.
  private static let policy = "default-src 'none'; frame-ancestors 'none'"
  /// A year.
  private static let onlyHTTPS = "max-age=31536000"
  static let policyName = "Content-Security-Policy"

  /// As they are sent, each with the end of the line before it.
  let ofData: [UInt8]
  let ofPages: [UInt8]

  /// - Parameter isSecure: whether clients come by HTTPS, and are to come by nothing else.
  init(isSecure: Bool) {
    let always: HTTPResponse.Headers = isSecure ? [("Strict-Transport-Security", Self.onlyHTTPS)] : []
    ofPages = SharedHeaders(always).lines
    ofData =
      SharedHeaders(
        always + [
          (Self.policyName, Self.policy), ("X-Content-Type-Options", "nosniff"),
          // An address may name a request, which is its buyer's secret.
          ("Referrer-Policy", "no-referrer"),
        ]
      ).lines
  }
}
