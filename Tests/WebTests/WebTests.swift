import EventLoop
import HTTPServer
import Testing

@testable import Web

@LoopActor
@Suite("The page's files")
struct WebTests {
  let router: Router

  init() {
    var router = Router()
    Web().addRoutes(to: &router)
    self.router = router
  }

  func get(_ path: String, headers: HTTPResponse.Headers = []) async -> HTTPResponse {
    await router.respond(to: HTTPRequest(.get, path, headers: headers))
  }

  func text(_ response: HTTPResponse) -> String { String(decoding: response.body, as: UTF8.self) }

  /// What stands between two texts, each time.
  func all(in text: String, after start: String, before end: Character) -> [String] {
    text.components(startingAfter: start).map { String($0.prefix { $0 != end }) }
  }

  @Test(
    "Every URL of the page is the same document",
    arguments: ["/", "/event/12", "/queue/v1.abc-_", "/tickets", "/account"])
  func document(path: String) async {
    let response = await get(path)
    #expect(response.status == 200)
    #expect(response.header("Content-Type") == "text/html; charset=utf-8")
    #expect(response.header("Cache-Control") == "no-cache")
    #expect(response.body == (await get("/")).body)
  }

  @Test("The page of an event says what it is, as data that nothing can break out of")
  func description() async {
    var router = Router()
    Web(describe: { event in
      guard event == 7 else { return nil }
      return Web.Description(
        name: "Bach & <b>Sons</b>", json: Array(#"{"name":"</script><script>alert(1)</script>"}"#.utf8))
    }).addRoutes(to: &router)
    let page = text(await router.respond(to: HTTPRequest(.get, "/event/7")))
    #expect(page.contains("<title>Bach &amp; &lt;b&gt;Sons&lt;/b&gt; · Onsale</title>"))
    #expect(
      all(in: page, after: "<script type=\"application/ld+json\">", before: "<") == [
        #"{"name":"\u003c/script\u003e\u003cscript\u003ealert(1)\u003c/script\u003e"}"#
      ])
    #expect(page.components(startingAfter: "<script").count == 2)
    let tag = await router.respond(to: HTTPRequest(.get, "/event/7")).header("ETag") ?? ""
    #expect(
      await router.respond(to: HTTPRequest(.get, "/event/7", headers: [("If-None-Match", tag)])).status == 304
    )
    #expect(await router.respond(to: HTTPRequest(.get, "/event/8")).body == (await get("/")).body)
    #expect(await router.respond(to: HTTPRequest(.get, "/event/x")).body == (await get("/")).body)
  }

  @Test(
    "A name breaks out of nothing either where Unicode joins its characters to others",
    arguments: ["\u{0600}", "\u{06DD}", "\u{110BD}", "\u{0301}", "\u{200D}", "\u{FE0F}", "\u{E0061}"])
  func joined(scalar: String) async {
    let evil =
      "\(scalar)<\(scalar)meta http-equiv=refresh content='0;url=//example.org'>\(scalar)</\(scalar)script>"
    var router = Router()
    Web(describe: { _ in
      Web.Description(name: evil, json: Array("{\"name\":\"\(evil)\"}".utf8))
    }).addRoutes(to: &router)
    let page = await router.respond(to: HTTPRequest(.get, "/event/7")).body
    let plain = await get("/").body
    let marks = [UInt8(ascii: "<"), UInt8(ascii: ">")]
    // One element more than the page without an event, and nothing of the name's.
    for mark in marks { #expect(page.count { $0 == mark } == plain.count { $0 == mark } + 2) }
  }

  @Test("The policy allows nothing from elsewhere and nothing inline")
  func policy() async {
    let page = await get("/")
    let policy = page.header("Content-Security-Policy") ?? ""
    #expect(policy.hasPrefix("default-src 'none'"))
    #expect(!policy.contains("unsafe") && !policy.contains("http"))
    #expect(page.header("X-Content-Type-Options") == "nosniff")
    #expect(page.header("Referrer-Policy") == "no-referrer")
    #expect(page.header("Permissions-Policy") != nil)
    // Whatever would need an exception is not there.
    let html = text(page)
    for inline in ["<style", " style=", "javascript:", " onclick=", "<script>"] {
      #expect(!html.contains(inline))
    }
  }

  @Test("Everything that the page and its modules name is served, and may be kept for good")
  func references() async {
    let named = all(in: text(await get("/")), after: "\"/assets/", before: "\"").map { "/assets/" + $0 }
    #expect(named.count == 3)
    var unread = named
    var read: Set<String> = []
    while let path = unread.popLast() {
      guard read.insert(path).inserted else { continue }
      let response = await get(path)
      #expect(response.status == 200, "\(path)")
      #expect(response.header("Cache-Control")?.contains("immutable") == true, "\(path)")
      #expect(response.header("Content-Security-Policy") != nil)
      let directory = path.prefix(through: path.lastIndex(of: "/")!)
      unread += all(in: text(response), after: " from \"./", before: "\"").map { directory + $0 }
    }
    // And nothing is served that nobody asks for.
    #expect(read.count == Asset.others.count)
  }

  @Test(
    "Types are named as browsers demand them",
    arguments: [
      ("app.js", "text/javascript; charset=utf-8"), ("style.css", "text/css; charset=utf-8"),
      ("icon.svg", "image/svg+xml"),
    ])
  func types(name: String, type: String) async {
    #expect(await get("/assets/0/\(name)").header("Content-Type") == type)
  }

  @Test("A known entity tag is answered 304 without a body, any other with the whole")
  func notModified() async {
    let tag = await get("/").header("ETag") ?? ""
    #expect(tag.hasPrefix("\"") && tag.count > 10)
    for known in [tag, "\"other\", \(tag)", "W/\(tag)", "*"] {
      let response = await get("/tickets", headers: [("If-None-Match", known)])
      #expect(response.status == 304)
      #expect(response.body.isEmpty)
      #expect(response.header("ETag") == tag)
    }
    for unknown in ["\"other\"", "", String(tag.dropLast())] {
      #expect(await get("/", headers: [("If-None-Match", unknown)]).status == 200)
    }
  }

  @Test("A page of another version gets what there is, but may not keep it under that name")
  func otherVersion() async {
    let response = await get("/assets/0123456789abcdef/app.js")
    #expect(response.status == 200)
    #expect(response.header("Cache-Control") == "no-cache")
  }

  @Test("Files that are not there are not found", arguments: ["/assets/0/none.js", "/assets/0/..%2Fapp.js"])
  func missing(path: String) async {
    #expect(await get(path).status == 404)
  }

  @Test("A tag changes with every byte")
  func tags() {
    let one = Asset(name: "a.js", body: [1, 2, 3]), other = Asset(name: "a.js", body: [1, 2, 4])
    #expect(one.entityTag != other.entityTag)
    #expect(one.entityTag == Asset(name: "b.js", body: [1, 2, 3]).entityTag)
  }
}

extension String {
  /// The rest of the text after each place where `mark` stands.
  fileprivate func components(startingAfter mark: String) -> [Substring] {
    var found: [Substring] = []
    var rest = self[...]
    while let range = rest.firstRange(of: mark) {
      rest = rest[range.upperBound...]
      found.append(rest)
    }
    return found
  }
}
