package import EventLoop
package import HTTPServer

/// The buyer's page: one document for all its URLs, and the files it needs, out of the executable.
///
/// Files live under a path that names the version of all of them together, so they may be cached for good, and a
/// page never mixes files of two versions, even while two versions of the server run side by side.
@LoopActor
package struct Web {
  /// URLs of the page; its script decides what each shows.
  private static let pages = ["/", "/queue/{request_id}", "/tickets", "/account"]

  /// Nothing from elsewhere, nothing inline, no frames. `data:` images are for what the script draws.
  static let contentSecurityPolicy = [
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'",
    "img-src 'self' data:", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
  ].joined(separator: "; ")

  private static let protection: HTTPResponse.Headers = [
    ("Content-Security-Policy", contentSecurityPolicy),
    ("X-Content-Type-Options", "nosniff"),
    // A queue URL is a secret of its buyer; it must not travel to other sites.
    ("Referrer-Policy", "no-referrer"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
  ]

  private static let oneYear = "public, max-age=31536000, immutable"

  private let version: String
  private let page: Asset
  private let files: [String: Asset]

  /// An event, for machines that read the page of it.
  package struct Description: Sendable {
    let name: String
    /// JSON-LD.
    let json: [UInt8]

    package init(name: String, json: [UInt8]) {
      self.name = name
      self.json = json
    }
  }

  private let describe: @LoopActor (Int) async -> Description?

  /// - Parameter describe: what the page of an event says of it, where that is known and public.
  package init(describe: @escaping @LoopActor (Int) async -> Description? = { _ in nil }) {
    self.describe = describe
    var digest = Asset.Digest()
    for asset in Asset.others {
      digest.add(Array(asset.name.utf8))
      digest.add(asset.body)
    }
    version = digest.text
    page = .page(version: version)
    files = Dictionary(uniqueKeysWithValues: Asset.others.map { ($0.name, $0) })
  }

  package func addRoutes(to router: inout Router) {
    let page = page
    for pattern in Self.pages {
      router.on(.get, pattern) { request in
        // Always asked for again, which costs a 304: it is what names the version of everything else.
        .now(Self.answer(request, page, cache: "no-cache"))
      }
    }
    router.on(.get, "/event/{id}") { [describe] request in
      .later {
        // What is no number is no event; the script says so.
        guard let event = request.parameters["id"].flatMap({ Int($0) }), let described = await describe(event)
        else { return Self.answer(request, page, cache: "no-cache") }
        return Self.answer(request, page.describing(described), cache: "no-cache")
      }
    }
    let files = files
    let version = version
    router.on(.get, "/assets/{version}/{file}") { request in
      guard let file = files[request.parameters["file"] ?? ""] else {
        return .now(.problem(404, code: "not_found", detail: "There is no such file."))
      }
      // A page of another version gets what there is, but must not keep it under that version's name.
      let isCurrent = request.parameters["version"] == version
      return .now(Self.answer(request, file, cache: isCurrent ? Self.oneYear : "no-cache"))
    }
  }

  private static func answer(_ request: HTTPRequest, _ asset: Asset, cache: String) -> HTTPResponse {
    var headers = protection
    headers.append(("Content-Type", asset.contentType))
    headers.append(("Cache-Control", cache))
    headers.append(("ETag", asset.entityTag))
    if matches(request.header("If-None-Match"), asset.entityTag) {
      return HTTPResponse(status: 304, headers: headers)
    }
    return HTTPResponse(status: 200, headers: headers, body: asset.body)
  }

  /// Whether a list of tags names this one. Weak tags match too: for GET that is enough.
  private static func matches(_ header: String?, _ tag: String) -> Bool {
    guard let header else { return false }
    return header.split(separator: ",").contains { part in
      var candidate = part.drop { $0 == " " }
      while candidate.last == " " { candidate.removeLast() }
      if candidate.hasPrefix("W/") { candidate = candidate.dropFirst(2) }
      return candidate == tag || candidate == "*"
    }
  }
}
