import API
import Foundation
import Testing

@Suite("Times")
struct TimeTests {
  @Test(
    "A time is written as RFC 3339 in UTC",
    arguments: [
      (0, "1970-01-01T00:00:00Z"), (-1, "1969-12-31T23:59:59Z"), (951_782_400, "2000-02-29T00:00:00Z"),
      (4_102_444_799, "2099-12-31T23:59:59Z"), (-62_135_596_800, "0001-01-01T00:00:00Z"),
      (253_402_300_799, "9999-12-31T23:59:59Z"),
    ])
  func text(_ seconds: Int, _ text: String) {
    #expect(Time.text(seconds) == text)
    #expect(Time.parse(text) == seconds)
  }

  @Test("Every day of four centuries reads back")
  func days() {
    for day in stride(from: -100_000, to: 100_000, by: 1) {
      let seconds = day * 86_400 + 12_345
      #expect(Time.parse(Time.text(seconds)) == seconds)
    }
    let formatter = ISO8601DateFormatter()
    for day in stride(from: -40_000, to: 60_000, by: 97) {
      let seconds = day * 86_400 + 86_399
      #expect(Time.text(seconds) == formatter.string(from: Date(timeIntervalSince1970: Double(seconds))))
    }
  }

  @Test(
    "Offsets, fractions and small letters are understood",
    arguments: [
      ("2026-05-01T21:30:00+02:00", "2026-05-01T19:30:00Z"),
      ("2026-05-01T14:00:00-05:30", "2026-05-01T19:30:00Z"),
      ("2026-05-01t19:30:00.999z", "2026-05-01T19:30:00Z"), ("2026-05-01 19:30:00Z", "2026-05-01T19:30:00Z"),
      ("2026-12-31T23:30:00-01:00", "2027-01-01T00:30:00Z"), ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
    ])
  func variants(_ text: String, _ same: String) {
    #expect(Time.parse(text).map(Time.text) == same)
  }

  @Test(
    "What is no time is refused",
    arguments: [
      "", "tomorrow", "2026", "2026-05-01", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z",
      "2026-00-01T00:00:00Z",
      "2026-05-32T00:00:00Z", "2026-05-01T24:00:00Z", "2026-05-01T10:60:00Z", "2026-05-01T10:00:61Z",
      "2026-05-01T10:00:00", "2026-05-01T10:00:00+2", "2026-05-01T10:00:00+25:00", "2026-05-01T10:00:00.Z",
      "0000-01-01T00:00:00Z", "-2026-05-01T10:00:00Z", "2026-05-01T10:00:00Z ", "２０２６-05-01T10:00:00Z",
      "20260501T100000Z", "2026-05-01T10:00:00ZZ", "2026-5-1T10:00:00Z",
    ])
  func refused(_ text: String) {
    #expect(Time.parse(text) == nil)
  }

  @Test("A date alone is its midnight, where that is wanted")
  func dates() {
    #expect(Time.parse("2026-05-01", allowsDate: true) == Time.parse("2026-05-01T00:00:00Z"))
    #expect(Time.parse("2026-05-01T", allowsDate: true) == nil)
  }
}
