import JSON
import Testing

@Suite("JSON text")
struct JSONTests {
  @Test(
    "every kind of value comes back as it was written",
    arguments: [
      (.null, "null"), (true, "true"), (false, "false"), (0, "0"), (-1, "-1"),
      (.integer(.max), "9223372036854775807"), (.integer(.min), "-9223372036854775808"),
      (.number(0.1), "0.1"), (.number(-2.5e-300), "-2.5e-300"), (.number(3), "3.0"),
      ("", "\"\""), ("Zoë 🎻", "\"Zoë 🎻\""), ("\u{1}\n\"\\/\u{7f}", #""\u0001\n\"\\/"# + "\u{7f}\""),
      ([], "[]"), ([1, [], "a", nil], #"[1,[],"a",null]"#),
      ([:], "{}"), (["b": 1, "a": ["": [false]]], #"{"b":1,"a":{"":[false]}}"#),
    ] as [(JSON, String)])
  func roundTrip(value: JSON, text: String) throws {
    #expect(value.text == text)
    #expect(try JSON(parsing: text) == value)
  }

  @Test("members keep their order")
  func order() throws {
    let text = #"{"z":1,"a":2,"m":{"y":3,"b":4}}"#
    #expect(try JSON(parsing: text).text == text)
  }

  @Test("white space and escapes are read")
  func spelling() throws {
    let text = " {\t\"\\u0061\" :\r\n[ 1.0e2 , \"\\ud83c\\udfbb\\/\\b\" ] } "
    #expect(try JSON(parsing: text) == ["a": [.number(100), "🎻/\u{8}"]])
  }

  @Test("a number too small for a double is zero; one that is not finite is written as null")
  func edges() throws {
    #expect(try JSON(parsing: "1e-400") == .number(0))
    #expect(JSON.array([.number(.infinity), .number(.nan)]).text == "[null,null]")
  }

  @Test(
    "what is not JSON is refused, with its place",
    arguments: [
      "", " ", "{", "[1,]", "{\"a\":1,}", "{a:1}", "'a'", "01", "1.", ".5", "+1", "-", "NaN", "Infinity",
      "1 2", "tru", "\"a", "\"\n\"", "\"\\x\"", "\"\\ud800\"", "\"\\u0000\"", "// 1", "[1]\0", "1\0 2",
      "9223372036854775808", "-9223372036854775809", "1e400",
      #"{"a":1,"b":2,"a":3}"#, #"{"a":{"b":1,"b":1}}"#,
    ])
  func refused(text: String) {
    #expect(throws: JSONParseError.self) { try JSON(parsing: text) }
  }

  @Test("the place is a line and a column")
  func place() {
    let error = #expect(throws: JSONParseError.self) { try JSON(parsing: "{\n  \"a\": x\n}") }
    #expect(error?.description.hasSuffix("(line 2, column 8)") == true, "\(error?.description ?? "")")
  }

  @Test("the same name in two objects is no duplicate")
  func names() throws {
    let text = #"[{"a":1,"b":{"a":2}},{"a":3,"b":4}]"#
    #expect(try JSON(parsing: text).text == text)
  }

  @Test(
    "bytes that are not UTF-8 are refused, in a name too",
    arguments: [[0x80], [0xC0, 0x80], [0xED, 0xA0, 0x80]])
  func invalidUTF8(bytes: [UInt8]) {
    let text = [0x22] + bytes + [0x22]
    #expect(throws: JSONParseError.self) { try JSON(parsing: text) }
    #expect(throws: JSONParseError.self) { try JSON(parsing: [0x7B] + text + Array(":1}".utf8)) }
  }

  @Test(
    "control characters are escaped, and refused where they are not, wherever in a string",
    arguments: 0..<0x20)
  func controls(code: Int) throws {
    for offset in [0, 1, 7, 15, 16, 17, 31, 40] {
      let text =
        String(repeating: "x", count: offset) + String(UnicodeScalar(UInt8(code))) + "yyyyyyyyyyyyyyyyyyyy"
      let written = JSON.string(text).serialized()
      #expect(written.allSatisfy { $0 >= 0x20 })
      if code > 0 { #expect(try JSON(parsing: written) == .string(text)) }
      #expect(throws: JSONParseError.self) { try JSON(parsing: [0x22] + Array(text.utf8) + [0x22]) }
    }
  }

  @Test("an empty name counts as one")
  func emptyName() throws {
    #expect(try JSON(parsing: #"{"a":1,"":2}"#).text == #"{"a":1,"":2}"#)
    #expect(throws: JSONParseError.self) { try JSON(parsing: #"{"":1,"":2}"#) }
  }

  @Test("nesting has a limit")
  func depth() throws {
    func nested(_ depth: Int) -> String {
      String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
    }
    #expect(try JSON(parsing: nested(JSON.maximumDepth)).array != nil)
    #expect(throws: JSONParseError.self) { try JSON(parsing: nested(JSON.maximumDepth + 1)) }
    #expect(throws: JSONParseError.self) { try JSON(parsing: String(repeating: "[", count: 1_000_000)) }
  }

  @Test("a large text leaves nothing behind in the next")
  func large() throws {
    let many = JSON.array((0..<200_000).map { ["n": .integer($0), "text": .string("seat \($0)")] })
    #expect(try JSON(parsing: many.serialized()) == many)
    #expect(try JSON(parsing: JSON.object([("a", 1)]).serialized()) == ["a": 1])
  }
}
