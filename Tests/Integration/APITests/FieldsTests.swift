import EventLoop
import HTTPCommon
import HTTPServer
import Testing

@Suite("Fields of a body")
struct FieldsTests {
  private func fields(_ text: String) throws(Problem) -> Fields { try Fields(text: Array(text.utf8)) }

  private func problem(_ body: () throws -> Void) -> Problem? {
    do { try body() } catch { return error as? Problem }
    return nil
  }

  @Test(
    "A body that is no JSON object is refused as a whole",
    arguments: [
      "", " ", "null", "[]", "7", "\"x\"", "{", "{\"a\":1}}", "{'a':1}", "{\"a\":1,\"a\":2}", "{\"a\":NaN}",
      "{\"a\":\"\\u0000\"}", "{\"a\":99999999999999999999}", "{\"a\":1e999}", "\u{feff}{}",
      String(repeating: "[", count: 10_000), "{\"a\":" + String(repeating: "{\"a\":", count: 5_000),
    ])
  func invalid(_ text: String) {
    let problem = problem { _ = try fields(text) }
    #expect(problem?.status == 400)
    #expect(problem?.code == "invalid_json")
  }

  @Test("Bytes that are not UTF-8 are refused")
  func badUTF8() {
    for bytes: [UInt8] in [
      [0xff], [0x7b, 0x22, 0xc3, 0x28, 0x22, 0x3a, 0x31, 0x7d],
      Array("{\"a\":\"".utf8) + [0xed, 0xa0, 0x80, 0x22, 0x7d],
    ] {
      #expect(self.problem { _ = try Fields(text: bytes) }?.code == "invalid_json")
    }
  }

  @Test("A value of another type is refused by its name, whatever was expected")
  func wrongTypes() throws {
    for value in ["\"x\"", "7", "1.5", "true", "[]", "{}", "[1]", "\"2026-05-01T00:00:00Z\""] {
      let fields = try fields("{\"field\":\(value)}")
      var refused: [Problem] = []
      func note(_ expected: Set<String>, _ body: () throws -> Void) {
        let problem = problem(body)
        #expect((problem == nil) == expected.contains(value), "\(value)")
        if let problem { refused.append(problem) }
      }
      note(["\"x\"", "\"2026-05-01T00:00:00Z\""]) { _ = try fields.string("field", max: 100) }
      note(["7"]) { _ = try fields.int("field", in: 0...100) }
      note(["true"]) { _ = try fields.optionalBool("field") }
      note(["[]", "[1]"]) { _ = try fields.optionalInts("field", in: 0...9, atMost: 9) }
      note(["\"2026-05-01T00:00:00Z\""]) { _ = try fields.time("field") }
      note(["[]"]) { _ = try fields.objects("field", atMost: 9) }
      note(["{}"]) { _ = try fields.optionalNumbers("field", in: 0...9, atMost: 9) }
      #expect(
        refused.allSatisfy { $0.status == 400 && $0.code == "invalid_field" && $0.detail.contains("`field") })
    }
  }

  @Test("What is missing, or null, is refused where it is required, and nothing where it is not")
  func missing() throws {
    for text in ["{}", "{\"field\":null}"] {
      let fields = try fields(text)
      #expect(
        problem { _ = try fields.string("field", max: 9) }?.detail.contains("`field` is required") == true)
      #expect(
        problem { _ = try fields.int("field", in: 0...9) }?.detail.contains("`field` is required") == true)
      #expect(problem { _ = try fields.time("field") } != nil)
      #expect(problem { _ = try fields.objects("field", atMost: 9) } != nil)
      #expect(try fields.optionalString("field", max: 9) == nil)
      #expect(try fields.optionalInt("field", in: 0...9) == nil)
      #expect(try fields.optionalBool("field") == nil)
      #expect(try fields.optionalInts("field", in: 0...9, atMost: 9) == nil)
      #expect(try fields.optionalTime("field") == nil)
      #expect(try fields.optionalObjects("field", atMost: 9) == nil)
      #expect(!fields.has("field"))
    }
  }

  @Test("Limits hold on both ends")
  func limits() throws {
    let fields = try fields(
      #"{"s":"éé","e":"","n":10,"l":[1,2,3],"big":9223372036854775807,"m":"a\nb","c":"\u0007","o":[{"p":-1}]}"#
    )
    #expect(try fields.string("s", max: 4) == "éé")
    #expect(problem { _ = try fields.string("s", max: 3) } != nil)
    #expect(problem { _ = try fields.string("e", max: 3) } != nil)
    #expect(try fields.optionalString("e", max: 3) == "")
    #expect(try fields.int("n", in: 10...10) == 10)
    #expect(problem { _ = try fields.int("n", in: 0...9) } != nil)
    #expect(problem { _ = try fields.int("n", in: 11...20) } != nil)
    #expect(try fields.int("big", in: 1...Int.max) == Int.max)
    #expect(try fields.optionalInts("l", in: 1...3, atMost: 3) == [1, 2, 3])
    #expect(problem { _ = try fields.optionalInts("l", in: 1...3, atMost: 2) } != nil)
    #expect(
      problem { _ = try fields.optionalInts("l", in: 1...2, atMost: 3) }?.detail.contains("`l[2]`") == true)
    #expect(problem { _ = try fields.string("m", max: 9) } != nil)
    #expect(try fields.string("m", max: 9, isMultiline: true) == "a\nb")
    #expect(problem { _ = try fields.string("c", max: 9, isMultiline: true) } != nil)
    let object = try fields.objects("o", atMost: 1)[0]
    #expect(problem { _ = try object.int("p", in: 0...9) }?.detail.contains("`o[0].p`") == true)
    #expect(problem { _ = try fields.objects("o", atMost: 0) } != nil)
  }

  @Test(
    "A body of another content type is 415, one of none is read",
    arguments: [
      ("application/json", true), ("application/json; charset=utf-8", true), ("APPLICATION/JSON", true),
      ("application/merge-patch+json", true), ("text/plain", false), ("application/xml", false),
      ("application/x-www-form-urlencoded", false), ("multipart/form-data; boundary=x", false),
      ("\u{0}", false),
    ])
  @LoopActor
  func contentTypes(_ type: String, _ isAccepted: Bool) throws {
    let request = HTTPRequest(.post, "/", headers: [("Content-Type", type)], body: Array("{}".utf8))
    if isAccepted {
      _ = try Fields(body: request, only: ["a"])
    } else {
      #expect(self.problem { _ = try Fields(body: request, only: ["a"]) }?.status == 415)
    }
    _ = try Fields(body: HTTPRequest(.post, "/", body: Array("{}".utf8)), only: ["a"])
  }
}
