import Glibc

/// Times of the API: RFC 3339 in UTC, to the second.
package enum Time {
  /// Seconds since 1970, now.
  package static var now: Int { Glibc.time(nil) }

  /// `2026-05-01T19:30:00Z`.
  /// - Parameter seconds: since 1970.
  package static func text(_ seconds: Int) -> String {
    let day = Int((Double(seconds) / 86_400).rounded(.down))
    let (year, month, dayOfMonth) = civil(day)
    let rest = seconds - day * 86_400
    var text = ""
    text.reserveCapacity(20)
    append(year, 4, to: &text)
    text += "-"
    append(month, 2, to: &text)
    text += "-"
    append(dayOfMonth, 2, to: &text)
    text += "T"
    append(rest / 3_600, 2, to: &text)
    text += ":"
    append(rest / 60 % 60, 2, to: &text)
    text += ":"
    append(rest % 60, 2, to: &text)
    return text + "Z"
  }

  /// Seconds since 1970 of an RFC 3339 time with any offset; a fraction of a second is cut off. Also a date
  /// alone where `allowsDate`, which is its midnight in UTC. `nil` for anything else.
  package static func parse(_ text: String, allowsDate: Bool = false) -> Int? {
    var bytes = Array(text.utf8)[...]
    guard let year = number(4, &bytes), take("-", &bytes), let month = number(2, &bytes), take("-", &bytes),
      let day = number(2, &bytes), year >= 1, (1...12).contains(month),
      (1...days(month, year)).contains(day)
    else { return nil }
    let midnight = self.day(year, month, day) * 86_400
    if bytes.isEmpty { return allowsDate ? midnight : nil }
    guard take("T", &bytes) || take("t", &bytes) || take(" ", &bytes), let hour = number(2, &bytes),
      take(":", &bytes), let minute = number(2, &bytes), take(":", &bytes), let second = number(2, &bytes),
      hour < 24, minute < 60, second <= 60
    else { return nil }
    if take(".", &bytes) {
      let digits = bytes.prefix { (48...57).contains($0) }
      guard (1...18).contains(digits.count) else { return nil }
      bytes = bytes.dropFirst(digits.count)
    }
    var offset = 0
    if !take("Z", &bytes) && !take("z", &bytes) {
      let isWest = take("-", &bytes)
      guard isWest || take("+", &bytes), let hours = number(2, &bytes), take(":", &bytes),
        let minutes = number(2, &bytes), hours < 24, minutes < 60
      else { return nil }
      offset = (hours * 60 + minutes) * 60 * (isWest ? -1 : 1)
    }
    guard bytes.isEmpty else { return nil }
    return midnight + hour * 3_600 + minute * 60 + second - offset
  }

  // MARK: The Gregorian calendar
  //
  // Years are counted from March, so that the leap day comes last and months have a regular pattern of
  // lengths.

  private static func day(_ year: Int, _ month: Int, _ day: Int) -> Int {
    let year = month <= 2 ? year - 1 : year
    let era = year / 400
    let yearOfEra = year - era * 400
    let dayOfYear = (153 * ((month + 9) % 12) + 2) / 5 + day - 1
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    return era * 146_097 + dayOfEra - 719_468
  }

  private static func civil(_ day: Int) -> (year: Int, month: Int, day: Int) {
    let shifted = day + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    return (
      yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
    )
  }

  private static func days(_ month: Int, _ year: Int) -> Int {
    switch month {
    case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
    case 4, 6, 9, 11: 30
    default: 31
    }
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
