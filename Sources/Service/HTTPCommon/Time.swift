import Glibc
package import Sale

/// Times of the API: RFC 3339 to the second, in UTC unless it says otherwise.
package enum Time {
  /// Seconds since 1970, now.
  package static var now: Int { Glibc.time(nil) }

  /// `2026-05-01T19:30:00Z`.
  /// - Parameter seconds: since 1970.
  package static func text(_ seconds: Int) -> String {
    let date = CivilDate(unixSeconds: seconds)
    let rest = seconds - date.number * 86_400
    var text = ""
    text.reserveCapacity(20)
    append(date.year, 4, to: &text)
    text += "-"
    append(date.month, 2, to: &text)
    text += "-"
    append(date.day, 2, to: &text)
    text += "T"
    append(rest / 3_600, 2, to: &text)
    text += ":"
    append(rest / 60 % 60, 2, to: &text)
    text += ":"
    append(rest % 60, 2, to: &text)
    return text + "Z"
  }

  /// The same moment on the clocks of a place, with how far they are from UTC: `2026-05-01T21:30:00+02:00`.
  package static func text(_ seconds: Int, in zone: VenueZone) -> String {
    let offset = zone.offset(at: seconds)
    var text = text(seconds + offset)
    text.removeLast()
    text += offset < 0 ? "-" : "+"
    append(abs(offset) / 3_600, 2, to: &text)
    text += ":"
    append(abs(offset) / 60 % 60, 2, to: &text)
    return text
  }

  private static let weekdays = [
    "Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday",
  ]
  private static let months = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November",
    "December",
  ]

  /// For people: `Wednesday, 8 December 2032, 20:15 (America/New_York)`.
  package static func sentence(_ seconds: Int, in zone: VenueZone) -> String {
    let local = zone.wallClock(at: seconds)
    let date = CivilDate(unixSeconds: local)
    let weekday = weekdays[((date.number % 7) + 7) % 7]
    let hour = text(local).dropFirst("2032-12-08T".count).prefix("20:15".count)
    return "\(weekday), \(date.day) \(months[date.month - 1]) \(date.year), \(hour) (\(zone.name))"
  }

  /// Seconds since 1970 of an RFC 3339 time with any offset; a fraction of a second is cut off. `nil` for anything else.
  package static func parse(_ text: String) -> Int? {
    guard let (wallClock, offset) = parts(text), let offset else { return nil }
    return wallClock - offset
  }

  /// A date alone, as the beginning of it, counted as if it were in UTC: what a calendar on the wall says.
  package static func parseDate(_ text: String) -> Int? {
    text.utf8.count == dateBytes ? parts(text)?.wallClock : nil
  }

  /// A time without an offset, such as `2026-05-01T19:30:00`, counted as if it were in UTC: what a clock on the wall says.
  package static func parseWallClock(_ text: String) -> Int? {
    guard let (wallClock, offset) = parts(text), offset == nil, text.utf8.count > dateBytes else {
      return nil
    }
    return wallClock
  }

  private static let dateBytes = 10

  /// What a text says the clock shows, counted as if it were UTC, and how far before UTC it is, where it says that.
  private static func parts(_ text: String) -> (wallClock: Int, offset: Int?)? {
    var bytes = Array(text.utf8)[...]
    guard let year = number(4, &bytes), take("-", &bytes), let month = number(2, &bytes), take("-", &bytes),
      let day = number(2, &bytes), year >= 1, (1...12).contains(month),
      (1...CivilDate.days(inMonth: month, year: year)).contains(day)
    else { return nil }
    let midnight = CivilDate(year: year, month: month, day: day).number * 86_400
    if bytes.isEmpty { return (midnight, nil) }
    guard take("T", &bytes) || take("t", &bytes) || take(" ", &bytes), let hour = number(2, &bytes),
      take(":", &bytes), let minute = number(2, &bytes), take(":", &bytes), let second = number(2, &bytes),
      hour < 24, minute < 60, second <= 60
    else { return nil }
    if take(".", &bytes) {
      let digits = bytes.prefix { (48...57).contains($0) }
      guard (1...18).contains(digits.count) else { return nil }
      bytes = bytes.dropFirst(digits.count)
    }
    let wallClock = midnight + hour * 3_600 + minute * 60 + second
    if bytes.isEmpty { return (wallClock, nil) }
    var offset = 0
    if !take("Z", &bytes) && !take("z", &bytes) {
      let isWest = take("-", &bytes)
      guard isWest || take("+", &bytes), let hours = number(2, &bytes), take(":", &bytes),
        let minutes = number(2, &bytes), hours < 24, minutes < 60
      else { return nil }
      offset = (hours * 60 + minutes) * 60 * (isWest ? -1 : 1)
    }
    guard bytes.isEmpty else { return nil }
    return (wallClock, offset)
  }

  // MARK: Text

  private static func append(_ value: Int, _ width: Int, to text: inout String) {
    let digits = String(value)
    for _ in digits.count..<max(width, digits.count) { text += "0" }
    text += digits
  }

  private static func take(_ letter: Unicode.Scalar, _ bytes: inout ArraySlice<UInt8>) -> Bool {
    guard bytes.first == UInt8(ascii: letter) else { return false }
    bytes = bytes.dropFirst()
    return true
  }

  private static func number(_ digits: Int, _ bytes: inout ArraySlice<UInt8>) -> Int? {
    guard bytes.count >= digits else { return nil }
    var value = 0
    for byte in bytes.prefix(digits) {
      guard (48...57).contains(byte) else { return nil }
      value = value * 10 + Int(byte - 48)
    }
    bytes = bytes.dropFirst(digits)
    return value
  }
}
