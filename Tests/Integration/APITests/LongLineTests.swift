import HTTPCommon
import Testing

@testable import Admin

@Suite("Tables with lines of any length", .serialized)
struct LongLineTests {
  /// A walk for each value or byte of such a line takes minutes; one walk takes a fraction of this.
  private static let bytes = 400_000, most = Duration.seconds(20)

  private func repeated(_ text: String, bytes: Int = bytes) -> [UInt8] {
    Array(String(repeating: text, count: bytes / text.utf8.count).utf8)
  }

  private func refusal(_ bytes: [UInt8]) -> String {
    do throws(Problem) {
      _ = try CSVText.read(bytes)
      return ""
    } catch { return error.detail }
  }

  @Test("A line of quoted values, of marks behind blanks, or that is left open takes time by its length")
  func marks() throws {
    let head = "a,b\n"
    for line in [
      repeated("\"\","), repeated(" ") + [UInt8(ascii: "x")] + repeated("\""), repeated("\"x\",\" \","),
      repeated("\"x\n"), repeated("\"\"\"\n"), repeated("\"", bytes: 2) + repeated("x\n\""),
    ] {
      let text = head + String(decoding: line, as: UTF8.self)
      let time = try ContinuousClock().measure { _ = try CSVRecords(text) }
      #expect(time < Self.most, "\(text.prefix(20)): \(time)")
    }
  }

  @Test("What is no UTF-8 is found in a long line in time by its length, and told by line and column")
  func brokenBytes() {
    for end in ["\n", "\r\n", "\r"] {
      let text = "section,capacity\(end)Hall,"
      var bytes = Array(text.utf8) + repeated("Se\u{E1}n ") + [0xFC]
      bytes += Array("\(end)x,\(end)".utf8) + [0xFC]
      var said = ""
      let time = ContinuousClock().measure { said = refusal(bytes) }
      #expect(time < Self.most, "\(time)")
      #expect(said.contains("in lines 2, 4; in line 2 it is column 2"), "\(end.debugDescription): \(said)")
    }
  }

  @Test(
    "Cut characters, stray bytes and line ends of all kinds are counted right",
    arguments: [
      ("a;b\r\r\nc;\u{E4}d", nil, nil),
      ("a;b", [0xE2, 0x82], "line 1; in line 1 it is column 2"),
      ("a;b\r\nc;d;", [0xC3, 0x3B], "line 2; in line 2 it is column 3"),
      ("\n\n\r\r\n", [0xED, 0xA0, 0x80, 0x0A, 0xC0], "lines 5, 6; in line 5 it is column 1"),
    ] as [(String, [UInt8]?, String?)])
  func places(_ start: String, _ rest: [UInt8]?, _ place: String?) {
    let said = refusal(Array(start.utf8) + (rest ?? []))
    #expect(place.map { said.contains("in \($0). In Excel") } ?? said.isEmpty, "\(said)")
  }

  @Test("More than ten broken lines are counted")
  func many() {
    let said = refusal(Array(repeating: [0xFF, 0x0D] as [UInt8], count: 13).flatMap { $0 })
    let places = "in lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 3 more; in line 1 it is column 1."
    #expect(said.contains(places), "\(said)")
  }

  @Test("A table whose lines end by a carriage return alone has its separator and its open lines told")
  func carriageReturns() throws {
    let table = try CSVRecords("sep=;\ra;b\r1,2;x\r\"3;y\r4;z\r")
    #expect(table.records.map(\.values) == [["a", "b"], ["1,2", "x"], ["4", "z"]])
    #expect(table.records.map(\.number) == [2, 3, 5] && table.openLines == [4])
    #expect(try CSVRecords("a;b\r1,2,3;4\r").records.map(\.values) == [["a", "b"], ["1,2,3", "4"]])
  }
}
