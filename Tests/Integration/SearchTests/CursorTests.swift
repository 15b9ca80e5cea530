import Testing

@testable import Search

@Suite("Cursors of searches")
struct CursorTests {
  /// A generator whose seed is printed where a case fails.
  struct Random: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      var mixed = state
      mixed = (mixed ^ (mixed >> 33)) &* 0xff51_afd7_ed55_8ccd
      return mixed ^ (mixed >> 33)
    }
  }

  @Test("Every cursor is read back as it was")
  func roundTrip() {
    var random = Random(state: .random(in: 0...(.max)))
    let seed = random.state
    for _ in 0..<2_000 {
      let cursor = SearchCursor(
        isCorrected: .random(using: &random), order: .random(using: &random) ? .score : .date,
        score: .random(in: 0...Int(Int32.max), using: &random), standing: .random(in: 0...2, using: &random),
        date: .random(in: -62_167_219_200...253_402_300_799, using: &random),
        id: .random(in: 1...Int.max, using: &random))
      #expect(SearchCursor(cursor.text) == cursor, "seed \(seed)")
    }
  }

  @Test(
    "What is not the very text of a cursor is none",
    arguments: [
      "", "x", "e", "e1.0.2", "e1.0.2.3.4", "e%00", "e...", "ezzzzzzzzzzzzzzzzzzzz.0.1.1", "' OR 1=1 --",
      "e+1.0.2.3",
      "e01.0.2.3", "eA.0.2.3", "e1.0.2.3 ", " e1.0.2.3", "e1.0.2.0", "e1.0.2.-3", "e-1.0.2.3",
      "e1.0.zzzzzzzzzz.3",
      "e1.0.-0.3", "e1.3.2.3", "e1.-1.2.3", "e1.00.2.3", "e1.0.2.3\u{301}", "e\u{0600}1.0.2.3", "１.0.2.3",
      "a1.2.3",
      "a1.0.2.3", "ezzzzzzz.0.1.1", "e1.0.2.3.", "e1.0.2.3\u{0}",
    ])
  func strange(_ text: String) {
    #expect(SearchCursor(text) == nil)
  }

  @Test("Bytes at random, and cursors with some of them changed, are a cursor only as it would be written")
  func fuzz() {
    var random = Random(state: .random(in: 0...(.max)))
    let seed = random.state
    for _ in 0..<20_000 {
      var bytes = Array("e\(String(Int.random(in: 0...99_999, using: &random), radix: 36)).1.zk0000.7f".utf8)
      for _ in 0..<Int.random(in: 0...6, using: &random) {
        let place = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0...2, using: &random) {
        case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
        case 1: bytes.insert(UInt8.random(in: 0...127, using: &random), at: place)
        default: bytes[place] = bytes.randomElement(using: &random) ?? 0
        }
      }
      let text = String(decoding: bytes, as: UTF8.self)
      if let cursor = SearchCursor(text) { #expect(cursor.text == text, "seed \(seed)") }
    }
  }
}
