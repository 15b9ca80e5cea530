import Foundation
import HTTPCommon
import Sale
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

  @Test("A date alone is the beginning of its day, and a time without an offset what a clock shows")
  func dates() {
    #expect(Time.parseDate("2026-05-01") == Time.parse("2026-05-01T00:00:00Z"))
    for text in ["2026-05-01T", "2026-05-01T00:00:00", "2026-05-01T00:00:00Z", "2026-02-30", ""] {
      #expect(Time.parseDate(text) == nil, "\(text)")
    }
    #expect(Time.parseWallClock("2026-05-01T19:30:00") == Time.parse("2026-05-01T19:30:00Z"))
    for text in [
      "2026-05-01", "2026-05-01T19:30:00Z", "2026-05-01T19:30:00+02:00", "2026-05-01T25:00:00", "",
    ] {
      #expect(Time.parseWallClock(text) == nil, "\(text)")
    }
  }

  @Test(
    "A moment is told on the clocks of a place, with how far they are from UTC",
    arguments: [
      // Carnegie Hall in winter and summer, across midnight, and around both changes of its clocks.
      ("America/New_York", "2032-12-09T01:15:00Z", "2032-12-08T20:15:00-05:00"),
      ("America/New_York", "2032-07-01T00:00:00Z", "2032-06-30T20:00:00-04:00"),
      ("America/New_York", "2032-03-14T06:59:59Z", "2032-03-14T01:59:59-05:00"),
      ("America/New_York", "2032-03-14T07:00:00Z", "2032-03-14T03:00:00-04:00"),
      ("America/New_York", "2032-11-07T05:30:00Z", "2032-11-07T01:30:00-04:00"),
      ("America/New_York", "2032-11-07T06:30:00Z", "2032-11-07T01:30:00-05:00"),
      ("Europe/Berlin", "2032-03-28T00:59:59Z", "2032-03-28T01:59:59+01:00"),
      ("Europe/Berlin", "2032-03-28T01:00:00Z", "2032-03-28T03:00:00+02:00"),
      ("Europe/Berlin", "2031-12-31T23:00:00Z", "2032-01-01T00:00:00+01:00"),
      ("Europe/London", "2032-01-15T19:30:00Z", "2032-01-15T19:30:00+00:00"),
      ("Europe/London", "2032-07-15T18:30:00Z", "2032-07-15T19:30:00+01:00"),
      // Where summer is in January, half an hour is put forward, quarters count, or the day is another.
      ("Australia/Sydney", "2032-01-01T08:30:00Z", "2032-01-01T19:30:00+11:00"),
      ("Australia/Lord_Howe", "2032-07-01T09:00:00Z", "2032-07-01T19:30:00+10:30"),
      ("Australia/Lord_Howe", "2032-01-01T08:30:00Z", "2032-01-01T19:30:00+11:00"),
      ("America/St_Johns", "2032-01-01T23:00:00Z", "2032-01-01T19:30:00-03:30"),
      ("Asia/Kolkata", "2032-05-01T14:00:00Z", "2032-05-01T19:30:00+05:30"),
      ("Asia/Kathmandu", "2032-05-01T13:45:00Z", "2032-05-01T19:30:00+05:45"),
      ("Asia/Tokyo", "2032-05-01T15:00:00Z", "2032-05-02T00:00:00+09:00"),
      ("Pacific/Kiritimati", "2032-05-01T10:00:00Z", "2032-05-02T00:00:00+14:00"),
      ("Pacific/Pago_Pago", "2032-05-01T10:59:00Z", "2032-04-30T23:59:00-11:00"),
      ("Pacific/Chatham", "2032-01-01T05:45:00Z", "2032-01-01T19:30:00+13:45"),
      ("America/Argentina/Buenos_Aires", "2032-05-01T22:30:00Z", "2032-05-01T19:30:00-03:00"),
      ("Europe/Kyiv", "2032-05-01T16:30:00Z", "2032-05-01T19:30:00+03:00"),
      ("UTC", "2032-05-01T19:30:00Z", "2032-05-01T19:30:00+00:00"),
      // Before there were zones clocks were apart by seconds, which no offset can say.
      ("Europe/Berlin", "1880-05-01T12:00:00Z", "1880-05-01T12:53:00+00:53"),
      ("America/New_York", "1880-05-01T12:00:00Z", "1880-05-01T07:03:00-04:57"),
    ])
  func zones(_ name: String, _ moment: String, _ local: String) throws {
    let zone = try #require(VenueZone(name))
    let seconds = try #require(Time.parse(moment))
    #expect(Time.text(seconds, in: zone) == local)
    #expect(Time.parse(local) == seconds, "and it is the same moment")
    #expect(zone.moments(of: try #require(Time.parseWallClock(String(local.prefix(19))))).contains(seconds))
  }

  @Test("People are told the venue's day and hour in a sentence")
  func sentences() throws {
    for (name, moment, sentence) in [
      ("America/New_York", "2032-12-09T01:15:00Z", "Wednesday, 8 December 2032, 20:15 (America/New_York)"),
      ("UTC", "1970-01-01T00:00:00Z", "Thursday, 1 January 1970, 00:00 (UTC)"),
      ("UTC", "1969-12-31T23:59:00Z", "Wednesday, 31 December 1969, 23:59 (UTC)"),
      ("Asia/Tokyo", "2031-12-31T15:00:00Z", "Thursday, 1 January 2032, 00:00 (Asia/Tokyo)"),
    ] {
      let zone = try #require(VenueZone(name)), seconds = try #require(Time.parse(moment))
      #expect(Time.sentence(seconds, in: zone) == sentence)
    }
  }

  @Test(
    "What is no zone of the database is none",
    arguments: [
      "", "Berlin", "europe/berlin", "Europe/Atlantis", "EST", "PST", "CET", "GMT+5", "+02:00", "UTC+2",
      "utc", "Local",
      "Europe/Berlin ", "../etc/passwd", "/etc/localtime", "Europe/../UTC",
      String(repeating: "a/", count: 200),
    ])
  func unknownZones(_ name: String) {
    #expect(VenueZone(name) == nil)
  }

  @Test("What clocks show when they are put forward is never, and when they are put back twice")
  func changes() throws {
    let zone = try #require(VenueZone("Europe/Berlin"))
    func moments(_ text: String) throws -> [String] {
      zone.moments(of: try #require(Time.parseWallClock(text))).map { Time.text($0, in: zone) }
    }
    #expect(try moments("2032-03-28T02:30:00") == [])
    #expect(try moments("2032-10-31T02:30:00") == ["2032-10-31T02:30:00+02:00", "2032-10-31T02:30:00+01:00"])
    #expect(try moments("2032-03-28T03:00:00") == ["2032-03-28T03:00:00+02:00"])
    #expect(try moments("2032-10-31T03:00:00") == ["2032-10-31T03:00:00+01:00"])
  }
}
