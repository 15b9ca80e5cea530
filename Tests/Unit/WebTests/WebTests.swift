import EventLoop
import Foundation
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

  private static let bach = Web.Description(
    name: "Bach & <b>Sons</b>, \"live\" <\u{338}img src=x>",
    json: Array(#"{"name":"</script><script>alert(1)</script>"}"#.utf8),
    facts: ["Monday, 1 May", "Hall <A>"],
    calendar: Array("BEGIN:VCALENDAR".utf8), calendarPath: "/event/7/event.ics")

  private func described() -> Router {
    var router = Router()
    Web(describe: { event in
      switch event {
      case 7: .event(Self.bach)
      case 6:
        .event(
          Web.Description(name: "x", json: [], facts: ["x"], calendar: [], calendarPath: "/event/6/event.ics")
        )
      case 8: .nothing
      default: .unknown
      }
    }).addRoutes(to: &router)
    return router
  }

  @Test("The page of an event says what it is, as data that nothing can break out of, and as text")
  func description() async {
    let router = described()
    let page = text(await router.respond(to: HTTPRequest(.get, "/event/7")))
    // A mark behind a sign makes one character of both for Swift, and not for a browser.
    let name = "Bach &amp; &lt;b&gt;Sons&lt;/b&gt;, \"live\" &lt;\u{338}img src=x&gt;"
    #expect(page.utf8.firstRange(of: "<title>\(name) · Onsale</title>".utf8) != nil)
    #expect(
      all(in: page, after: "<script type=\"application/ld+json\">", before: "<") == [
        #"{"name":"\u003c/script\u003e\u003cscript\u003ealert(1)\u003c/script\u003e"}"#
      ])
    #expect(page.components(startingAfter: "<script").count == 2)
    let plain = all(in: page, after: "<div class=\"plain\">", before: "\0").first ?? ""
    for fact in [
      "<h1>\(name)</h1>", "<p>Monday, 1 May</p>", "<p>Hall &lt;A&gt;</p>", "/event/7/event.ics", "JavaScript",
    ] {
      #expect(plain.utf8.firstRange(of: fact.utf8) != nil, "\(fact)")
    }
    let tag = await router.respond(to: HTTPRequest(.get, "/event/7")).header("ETag") ?? ""
    #expect(
      await router.respond(to: HTTPRequest(.get, "/event/7", headers: [("If-None-Match", tag)])).status == 304
    )
    #expect(await router.respond(to: HTTPRequest(.get, "/event/9")).body == (await get("/")).body)
    let calendar = await router.respond(to: HTTPRequest(.get, "/event/7/event.ics"))
    #expect(text(calendar) == "BEGIN:VCALENDAR")
    #expect(calendar.header("Content-Type") == "text/calendar; charset=utf-8")
  }

  @Test(
    "An event that there is not is a page, and not found",
    arguments: ["8", "x", "0", "-1", "99999999999999999999"])
  func noEvent(_ id: String) async {
    for path in ["/event/\(id)", "/event/\(id)/event.ics"] {
      let response = await described().respond(to: HTTPRequest(.get, path))
      #expect(response.status == 404, "\(path)")
      #expect(response.header("Content-Type") == "text/html; charset=utf-8")
      #expect(text(response).contains("data-status=\"404\""))
      #expect(text(response).contains("There is no such page"))
    }
    #expect(await described().respond(to: HTTPRequest(.get, "/event/9/event.ics")).status == 503)
  }

  @Test("People get a page where nothing is, and programs a problem")
  func nothing() async {
    let accept = "text/html,application/xhtml+xml,*/*;q=0.8"
    for (path, status) in [("/nope", 404), ("/event/%zz", 400), ("/admin/", 404), ("/event/7/x", 404)] {
      for method in [HTTPMethod.get, .head] {
        let page = await router.respond(to: HTTPRequest(method, path, headers: [("Accept", accept)]))
        #expect(page.status == status && page.header("Content-Type") == "text/html; charset=utf-8", "\(path)")
        #expect(page.header("Content-Security-Policy") != nil)
      }
      for headers in [[], [("Accept", "*/*")], [("Accept", "application/json")]] as [HTTPResponse.Headers] {
        let problem = await get(path, headers: headers)
        #expect(
          problem.status == status && problem.header("Content-Type") == "application/problem+json", "\(path)")
      }
    }
    let api = await get("/api/nope", headers: [("Accept", accept)])
    #expect(api.status == 404 && api.header("Content-Type") == "application/problem+json")
    let post = await router.respond(to: HTTPRequest(.post, "/nope", headers: [("Accept", accept)]))
    #expect(post.status == 404 && post.header("Content-Type") == "text/html; charset=utf-8")
    let sent = await router.respond(to: HTTPRequest(.post, "/nope"))
    #expect(sent.header("Content-Type") == "application/problem+json")
  }

  @Test("What others hang on to an address does no harm, and a slash at its end leads to it")
  func addresses() async {
    for path in ["/?utm_source=x%", "/event/9?utm=%FF&%zz", "/tickets?a=%00"] {
      #expect(await get(path).status == 200, "\(path)")
    }
    let moved = await get("/event/9/?utm_source=x%25")
    #expect(moved.status == 308 && moved.header("Location") == "/event/9?utm_source=x%25")
  }

  @Test("Everything is sent compressed to whoever can read that, and is the same")
  func compressed() async throws {
    let version = all(in: text(await get("/")), after: "\"/assets/", before: "/").first ?? ""
    for path in ["/", "/event/7", "/assets/\(version)/bundle.js", "/assets/\(version)/style.css"] {
      let router = described()
      func answer(_ accepted: String?) async -> HTTPResponse {
        await router.respond(
          to: HTTPRequest(.get, path, headers: accepted.map { [("Accept-Encoding", $0)] } ?? []))
      }
      let plain = await answer(nil)
      #expect(plain.header("Content-Encoding") == nil && plain.header("Vary") == "Accept-Encoding")
      var tags: Set<String> = []
      for (accepted, coding, share) in [("gzip, deflate, br, zstd", "br", 0.5), ("gzip", "gzip", 0.55)] {
        let packed = await answer(accepted)
        #expect(packed.status == 200 && packed.header("Content-Encoding") == coding, "\(path)")
        #expect(
          Double(packed.body.count) < Double(plain.body.count) * share,
          "\(path) \(coding) \(packed.body.count)")
        let tag = packed.header("ETag") ?? ""
        tags.insert(tag)
        for known in [tag, plain.header("ETag") ?? "", "W/\(tag)"] {
          let again = await router.respond(
            to: HTTPRequest(.get, path, headers: [("Accept-Encoding", accepted), ("If-None-Match", known)]))
          #expect(again.status == 304 && again.body.isEmpty && again.header("Content-Encoding") == nil)
        }
        if coding == "gzip" { #expect(try unpacked(packed.body) == plain.body) }
      }
      #expect(tags.count == 2 && !tags.contains(plain.header("ETag") ?? ""))
    }
  }

  /// By a program that others wrote.
  private func unpacked(_ bytes: [UInt8]) throws -> [UInt8] {
    let file = FileManager.default.temporaryDirectory.appending(
      path: "onsale-\(UInt64.random(in: .min ... .max)).gz")
    try Data(bytes).write(to: file)
    defer { try? FileManager.default.removeItem(at: file) }
    let process = Process(), pipe = Pipe()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/gzip")
    process.arguments = ["-dc", file.path]
    process.standardOutput = pipe
    try process.run()
    let unpacked = [UInt8](pipe.fileHandleForReading.readDataToEndOfFile())
    process.waitUntilExit()
    return unpacked
  }

  @Test("Comments are left out of what browsers get, and nothing else")
  func plain() throws {
    let source = """
      // Why.
      /** One line. */
      /**
       * Many lines: "// not code".
       */
      const a = "// code", b = `/* code */`;

        const c = 1 / 2; // stays

      """
    #expect(PlainSource.of(source) == "const a = \"// code\", b = `/* code */`;\nconst c = 1 / 2; // stays\n")
    let style = String(decoding: PackageResources.style_css, as: UTF8.self)
    for (name, text) in Asset.modules.merging(["style.css": style], uniquingKeysWith: { $1 }) {
      #expect(PlainSource.faults(text).isEmpty, "\(name) has code that cannot be told from comments")
    }
    #expect(PlainSource.faults("a = `one\ntwo`;") == [1, 2])
    #expect(PlainSource.faults("/* a */ b") == [1] && PlainSource.faults("b /* a\n*/") == [1])
  }

  @Test("What is imported later finds in the first file what that has, and brings the rest")
  func later() {
    let files = Bundle.of(
      "a.js", later: ["l.js"],
      [
        "a.js": "import { one } from \"./b.js\";\nimport(\"./l.js\");\n", "b.js": "export const one = 1;\n",
        "l.js": "import { one } from \"./b.js\";\nimport { two } from \"./m.js\";\nexport function go() {}\n",
        "m.js": "import { one } from \"./b.js\";\nexport const two = one;\n",
      ])
    #expect(files.map(\.name) == ["bundle.js", "l.js"])
    #expect(files[0].text.contains("import(\"./l.js\");") && files[0].text.hasSuffix("export { $b, $a };\n"))
    #expect(
      files[1].text == """
        import { $b, $a } from "./bundle.js";
        const $m = (() => {
        const { one } = $b;
        const two = one;

        return { two };
        })();
        const $l = (() => {
        const { one } = $b;
        const { two } = $m;
        function go() {}

        return { go };
        })();
        export const { go } = $l;

        """)
  }

  @Test("Modules in one file see what they import, and nothing else of each other")
  func bundle() {
    let text = Bundle.of(
      "a.js",
      [
        "a.js":
          "import { one, two as zwei } from \"./b.js\";\nimport {\n  Three,\n} from \"./c.js\";\nconst x = 1;\nexport function go() {}\n",
        "b.js":
          "import { Three } from \"./c.js\";\nconst x = 2;\nexport const one = x;\nexport async function two() {}\n",
        "c.js": "export class Three extends Object {}\n", "d.js": "not needed",
      ])
    #expect(
      text == """
        const $c = (() => {
        class Three extends Object {}

        return { Three };
        })();
        const $b = (() => {
        const { Three } = $c;
        const x = 2;
        const one = x;
        async function two() {}

        return { one, two };
        })();
        const $a = (() => {
        const { one, two: zwei } = $b;
        const {   Three, } = $c;
        const x = 1;
        function go() {}

        return { go };
        })();

        """)
  }

  @Test(
    "A name breaks out of nothing either where Unicode joins its characters to others",
    arguments: ["\u{0600}", "\u{06DD}", "\u{110BD}", "\u{0301}", "\u{200D}", "\u{FE0F}", "\u{E0061}"])
  func joined(scalar: String) async {
    let evil =
      "\(scalar)<\(scalar)meta http-equiv=refresh content='0;url=//example.org'>\(scalar)</\(scalar)script>"
    var router = Router()
    Web(describe: { _ in
      .event(
        Web.Description(
          name: evil, json: Array("{\"name\":\"\(evil)\"}".utf8), facts: [evil], calendar: [],
          calendarPath: "/event/7/event.ics"))
    }).addRoutes(to: &router)
    let page = await router.respond(to: HTTPRequest(.get, "/event/7")).body
    let marks = [UInt8(ascii: "<"), UInt8(ascii: ">")]
    // As many as around a harmless name, and none of this one's.
    let harmless = await described().respond(to: HTTPRequest(.get, "/event/6")).body
    for mark in marks { #expect(page.count { $0 == mark } == harmless.count { $0 == mark }) }
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

  private func policy(_ payment: PaymentEntry) async -> (policy: String, page: HTTPResponse) {
    var router = Router()
    Web(payment: payment).addRoutes(to: &router)
    let page = await router.respond(to: HTTPRequest(.get, "/"))
    return (page.header("Content-Security-Policy") ?? "", page)
  }

  @Test("With the provider's form its sources are allowed, and nothing else")
  func formPolicy() async {
    let plain = await policy(.testCards).policy
    #expect(await policy(.nothing).policy == plain)
    #expect(
      plain
        == "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        + "form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
    let real = await policy(
      PaymentEntry(url: "https://api.stripe.com", publishableKey: "pk_test_1", isLive: false))
    #expect(
      real.policy
        == "default-src 'none'; script-src 'self' https://js.stripe.com https://*.js.stripe.com; style-src 'self'; "
        + "connect-src 'self' https://api.stripe.com; img-src 'self' data:; form-action 'self'; base-uri 'none'; "
        + "frame-ancestors 'none'; frame-src https://js.stripe.com https://*.js.stripe.com https://hooks.stripe.com"
    )
    #expect(
      text(real.page).contains(
        #"<html lang="en" data-payment-key="pk_test_1" data-payment-script="https://js.stripe.com/v3/">"#))
    #expect(
      real.page.header("Permissions-Policy")?.contains(#"payment=(self "https://js.stripe.com""#) == true)
    let stub = await policy(
      PaymentEntry(url: "http://127.0.0.1:8081/", publishableKey: "pk_test_1", isLive: false))
    #expect(stub.policy.contains("script-src 'self' http://127.0.0.1:8081;"))
    #expect(stub.policy.hasSuffix("frame-src http://127.0.0.1:8081"))
    #expect(text(stub.page).contains(#"data-payment-script="http://127.0.0.1:8081/stub/stripe.js""#))
  }

  @Test("Test cards are offered with the stub alone")
  func entries() {
    #expect(PaymentEntry(url: "http://127.0.0.1:8081", publishableKey: nil, isLive: false) == .testCards)
    #expect(
      PaymentEntry(url: "http://proxy.internal", publishableKey: "pk_live_1", isLive: true)
        == .form(script: "https://js.stripe.com/v3/", key: "pk_live_1"))
    #expect(PaymentEntry(url: "https://api.stripe.com", publishableKey: nil, isLive: false) == .nothing)
    #expect(PaymentEntry(url: "http://proxy.internal", publishableKey: nil, isLive: true) == .nothing)
    #expect(PaymentEntry(url: "", publishableKey: nil, isLive: false) == .nothing)
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
      for word in [" from \"./", "import(\"./"] {
        unread += all(in: text(response), after: word, before: "\"").map { directory + $0 }
      }
    }
    // And nothing is served that nobody asks for.
    #expect(read.count == Asset.others.count)
  }

  @Test(
    "Types are named as browsers demand them",
    arguments: [
      ("bundle.js", "text/javascript; charset=utf-8"), ("style.css", "text/css; charset=utf-8"),
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
    let response = await get("/assets/0123456789abcdef/bundle.js")
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
