package import EventLoop
package import HTTPServer

/// The buyer's page: one document for all its URLs, and the files it needs, out of the executable.
///
/// Files live under a path that names the version of all of them together, so they may be cached for good, and a
/// page never mixes files of two versions, even while two versions of the server run side by side.
@LoopActor
package struct Web {
  /// URLs of the page; its script decides what each shows.
  private static let pages = ["/tickets", "/account"]

  /// Nothing from elsewhere but the payment provider's form, where there is one; nothing inline. `data:` images are for what
  /// the script draws.
  static func contentSecurityPolicy(_ payment: PaymentEntry) -> String {
    let (scripts, frames, connections) = payment.sources
    func list(_ name: String, _ sources: [String]) -> String { ([name] + sources).joined(separator: " ") }
    return
      ([
        "default-src 'none'", list("script-src 'self'", scripts), "style-src 'self'",
        list("connect-src 'self'", connections), "img-src 'self' data:", "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
      ] + (frames.isEmpty ? [] : [list("frame-src", frames)])).joined(separator: "; ")
  }

  private static func protection(_ payment: PaymentEntry) -> HTTPResponse.Headers {
    let frames = payment.sources.frames.filter { !$0.contains("*") }
    let wallets = frames.isEmpty ? "" : "self " + frames.map { "\"\($0)\"" }.joined(separator: " ")
    return [
      ("Content-Security-Policy", contentSecurityPolicy(payment)),
      ("X-Content-Type-Options", "nosniff"),
      // A queue URL is a secret of its buyer; it must not travel to other sites.
      ("Referrer-Policy", "no-referrer"),
      ("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(\(wallets)), usb=()"),
      // Wallets open windows of their own.
      ("Cross-Origin-Opener-Policy", frames.isEmpty ? "same-origin" : "same-origin-allow-popups"),
      ("Cross-Origin-Resource-Policy", "same-origin"),
    ]
  }

  private static let oneYear = "public, max-age=31536000, immutable"
  /// Pages of events that are kept ready to be sent.
  private static let pagesKept = 500

  private let protection: HTTPResponse.Headers
  private let version: String
  private let page: Page
  private let document: Asset
  /// What people are shown where nothing is, by status.
  private let refusals: [Int: Asset]
  private let files: [String: Asset]
  private let described = Described(capacity: Web.pagesKept)
  private let listed = Listed()

  /// An event, for machines that read the page of it, and for people without JavaScript.
  package struct Description: Equatable, Sendable {
    let name: String
    /// JSON-LD.
    let json: [UInt8]
    /// Sentences about it, most important first.
    let facts: [String]
    /// iCalendar.
    let calendar: [UInt8]
    let calendarPath: String

    package init(name: String, json: [UInt8], facts: [String], calendar: [UInt8], calendarPath: String) {
      self.name = name
      self.json = json
      self.facts = facts
      self.calendar = calendar
      self.calendarPath = calendarPath
    }
  }

  /// What is known of the event that an address names.
  package enum Answer: Sendable {
    case event(Description)
    /// There is none, as far as the public knows.
    case nothing
    /// Cannot be told now.
    case unknown
  }

  /// A page of the list of events, for people without JavaScript, and for what follows links.
  package struct Listing: Equatable, Sendable {
    package struct Entry: Equatable, Sendable {
      let name: String
      let path: String
      let facts: [String]

      package init(name: String, path: String, facts: [String]) {
        self.name = name
        self.path = path
        self.facts = facts
      }
    }

    let entries: [Entry]
    let summary: String
    let asked: [String: String]
    let nextPath: String?
    let isContinued: Bool

    /// - Parameters:
    ///   - summary: how many there are, or why none is shown.
    ///   - asked: what stands in the fields of the form, by their names.
    ///   - nextPath: of the page behind this one.
    ///   - isContinued: whether this one is behind another.
    package init(
      entries: [Entry], summary: String, asked: [String: String], nextPath: String?, isContinued: Bool
    ) {
      self.entries = entries
      self.summary = summary
      self.asked = asked
      self.nextPath = nextPath
      self.isContinued = isContinued
    }
  }

  private let describe: @LoopActor (Int) async -> Answer
  private let list: @LoopActor (HTTPRequest) async -> Listing?
  private let isRequest: @Sendable (String) -> Bool

  /// - Parameters:
  ///   - payment: how buyers say what they pay with.
  ///   - sendsMail: whether who forgot their password is sent a link.
  ///   - honoursLate: whether payments that come late may buy their seats still.
  ///   - isRequest: whether a place in line may have this id.
  ///   - list: the events that the first page shows to those who do not run it; `nil` where that is not known.
  ///   - describe: what the page of an event says of it, where that is known and public.
  package init(
    payment: PaymentEntry = .testCards, sendsMail: Bool = false, honoursLate: Bool = false,
    isRequest: @escaping @Sendable (String) -> Bool = { _ in true },
    list: @escaping @LoopActor (HTTPRequest) async -> Listing? = { _ in nil },
    describe: @escaping @LoopActor (Int) async -> Answer = { _ in .unknown }
  ) {
    self.describe = describe
    self.list = list
    self.isRequest = isRequest
    protection = Self.protection(payment)
    version = String(
      EntityTag.of(Asset.others.flatMap { Array($0.name.utf8) + $0.body }).dropFirst().dropLast())
    let page = Page(version: version, payment: payment, sendsMail: sendsMail, honoursLate: honoursLate)
    self.page = page
    document = page.document
    refusals = Dictionary(uniqueKeysWithValues: Page.refusals.map { ($0, page.refusing($0)) })
    files = Dictionary(uniqueKeysWithValues: Asset.others.map { ($0.name, $0) })
  }

  package func addRoutes(to router: inout Router) {
    let document = document
    let nothing = refusals[404] ?? document
    for pattern in Self.pages {
      router.on(.get, pattern, ignoresQuery: true) { [self] request in
        // Always asked for again, which costs a 304: it is what names the version of everything else.
        .now(answer(request, document, cache: "no-cache"))
      }
    }
    router.on(.get, "/", ignoresQuery: true) { [self] request in
      .later {
        guard let listing = await list(request) else { return answer(request, document, cache: "no-cache") }
        return answer(request, listed.page(of: listing, page.listing), cache: "no-cache")
      }
    }
    router.on(.get, "/queue/{request_id}", ignoresQuery: true) { [self] request in
      let isThere = isRequest(request.parameters["request_id"] ?? "")
      return .now(
        answer(request, isThere ? document : nothing, status: isThere ? 200 : 404, cache: "no-cache"))
    }
    addWellKnown(to: &router)
    router.on(.get, "/event/{id}", ignoresQuery: true) { [self] request in
      .later {
        switch await Self.event(request, describe) {
        case .event(let event):
          answer(request, described.page(of: event, page.describing), cache: "no-cache")
        case .unknown: answer(request, document, cache: "no-cache")
        case .nothing: answer(request, nothing, status: 404, cache: "no-cache")
        }
      }
    }
    router.on(.get, "/event/{id}/event.ics", ignoresQuery: true) { [self] request in
      .later {
        switch await Self.event(request, describe) {
        case .event(let event):
          answer(request, Asset(name: "event.ics", body: event.calendar, packing: nil), cache: "no-cache")
        case .unknown: .problem(503, code: "unavailable", detail: "The event cannot be read right now.")
        case .nothing: answer(request, nothing, status: 404, cache: "no-cache")
        }
      }
    }
    let files = files
    let version = version
    router.on(.get, "/assets/{version}/{file}", ignoresQuery: true) { [self] request in
      guard let file = files[request.parameters["file"] ?? ""] else {
        return .now(.problem(404, code: "not_found", detail: "There is no such file."))
      }
      // A page of another version gets what there is, but must not keep it under that version's name.
      let isCurrent = request.parameters["version"] == version
      return .now(answer(request, file, cache: isCurrent ? Self.oneYear : "no-cache"))
    }
    router.onRefusal = { [self] request, refusal in
      guard let page = refusals[refusal.status], Self.isOfPerson(request, refusal) else { return nil }
      var told = answer(request, page, status: refusal.status, cache: "no-cache")
      for name in ["Allow", "Retry-After"] {
        if let value = refusal.header(name) { told.headers.append((name, value)) }
      }
      if Page.passing.contains(refusal.status) {
        // No sooner than was asked for.
        let asked = refusal.header("Retry-After").flatMap { Int($0) } ?? 0
        let longer = max(0, asked - Self.refreshSeconds.lowerBound)
        told.headers.append(("Refresh", String(Int.random(in: Self.refreshSeconds) + longer)))
      }
      return told
    }
  }

  /// What browsers and crawlers ask every server for.
  private func addWellKnown(to router: inout Router) {
    let icon = files["icon.svg"]
    router.on(.get, "/favicon.ico", ignoresQuery: true) { [self] request in
      guard let icon else { return .now(.problem(404, code: "not_found", detail: "There is no icon.")) }
      return .now(answer(request, icon, cache: Self.oneDay))
    }
    // What belongs to one buyer, and the API, is nothing to be found.
    let rules =
      "User-agent: *\n" + ["/api/", "/queue/", "/tickets", "/account"].map { "Disallow: \($0)\n" }.joined()
    router.on(.get, "/robots.txt", ignoresQuery: true) { _ in
      .now(.text(200, rules, type: "text/plain; charset=utf-8", headers: [("Cache-Control", Self.oneDay)]))
    }
  }

  private static let oneDay = "public, max-age=86400"

  private static func event(
    _ request: HTTPRequest, _ describe: @LoopActor (Int) async -> Answer
  ) async -> Answer {
    // One address for each: not `+7`, not `007`.
    guard let text = request.parameters["id"], let event = Int(text), event > 0, String(event) == text else {
      return .nothing
    }
    return await describe(event)
  }

  /// Whether somebody looks at it in a browser: scripts and programs ask for something else than a page, or for the API.
  private static func isOfPerson(_ request: HTTPRequest, _ refusal: HTTPResponse) -> Bool {
    if request.path.hasPrefix("/api/") || request.path.isEmpty { return false }
    // The headers stand behind an address that is not read to its end: where only people go.
    if refusal.status == 414 { return placesOfPeople.contains(firstSegment(request.path)) }
    return request.header("Accept")?.contains("text/html") == true
  }

  private static let placesOfPeople = Set((pages + ["/", "/event", "/queue"]).map(firstSegment))

  private nonisolated static func firstSegment(_ path: String) -> String {
    path.split(separator: "/").first.map(String.init) ?? ""
  }

  /// After how long a page that says that the server is busy asks again: not all of them at once.
  private static let refreshSeconds = 5...12

  private func answer(
    _ request: HTTPRequest, _ asset: Asset, status: Int = 200, cache: String
  ) -> HTTPResponse {
    let coding = ContentCoding.chosen(request.header("Accept-Encoding"), among: asset.codings)
    var headers = protection
    headers.append(("Content-Type", asset.contentType))
    headers.append(("Cache-Control", cache))
    headers.append(("ETag", EntityTag.of(asset.entityTag, in: coding)))
    headers.append(("Vary", "Accept-Encoding"))
    if status == 200, EntityTag.matches(request.header("If-None-Match"), asset.entityTag) {
      return HTTPResponse(status: 304, headers: headers)
    }
    if coding != .identity { headers.append(("Content-Encoding", coding.rawValue)) }
    return HTTPResponse(status: status, headers: headers, body: asset.body(in: coding))
  }

  /// The first page as it was last made: most who come ask for nothing in particular.
  @LoopActor
  private final class Listed {
    private var last: (listing: Listing, asset: Asset)?

    func page(of listing: Listing, _ make: (Listing) -> Asset) -> Asset {
      if let last, last.listing == listing { return last.asset }
      let asset = make(listing)
      if listing.asked.isEmpty { last = (listing, asset) }
      return asset
    }
  }

  /// Pages of events, made and compressed once for each state of them.
  @LoopActor
  private final class Described {
    private let capacity: Int
    private var pages: [String: (event: Description, asset: Asset)] = [:]

    init(capacity: Int) { self.capacity = capacity }

    func page(of event: Description, _ make: (Description) -> Asset) -> Asset {
      let key = event.calendarPath
      if let known = pages[key], known.event == event { return known.asset }
      // Any one: which of so many pages somebody asks for next is anybody's guess.
      if pages.count >= capacity, pages[key] == nil { pages.remove(at: pages.startIndex) }
      let asset = make(event)
      pages[key] = (event, asset)
      return asset
    }
  }
}
