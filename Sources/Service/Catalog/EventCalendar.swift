import HTTPCommon
import Ledger
import Sale

/// An event for calendars (iCalendar, RFC 5545): on the clocks of its venue.
enum EventCalendar {
  /// Bytes of a line; a longer one goes on in the next.
  private static let lineBytes = 75

  /// - Parameters:
  ///   - url: of the event's page; its host names the event among those of other installations.
  ///   - now: seconds since 1970.
  static func text(_ event: Event, zone: VenueZone, url: String, now: Int) -> [UInt8] {
    let isAbsolute = url.contains("://")
    let host =
      isAbsolute ? url.split(separator: "/").dropFirst().first.map(String.init) ?? "onsale" : "onsale"
    let offset = zone.offset(at: event.date)
    // Whoever knows the zone takes its rules; this one is true at the moment that counts.
    let start =
      offset == 0 && zone == .utc
      ? "DTSTART:\(time(event.date))Z" : "DTSTART;TZID=\(zone.name):\(time(event.date + offset))"
    var lines = [
      "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Onsale//Onsale//EN", "CALSCALE:GREGORIAN",
      "METHOD:PUBLISH",
    ]
    if zone != .utc {
      lines += [
        "BEGIN:VTIMEZONE", "TZID:\(zone.name)", "BEGIN:STANDARD", "DTSTART:19700101T000000",
        "TZOFFSETFROM:\(Self.offset(offset))", "TZOFFSETTO:\(Self.offset(offset))", "END:STANDARD",
        "END:VTIMEZONE",
      ]
    }
    lines += [
      "BEGIN:VEVENT", "UID:event-\(event.id)@\(host)", "DTSTAMP:\(time(now))Z",
      "SEQUENCE:\(event.settings.version)",
      start, "SUMMARY:\(escaped(heading(event)))", "LOCATION:\(escaped(event.location))",
      "STATUS:\(event.settings.isCancelled ? "CANCELLED" : event.isPostponed ? "TENTATIVE" : "CONFIRMED")",
    ]
    let note =
      event.isPostponed
      ? "Postponed, new date to follow. What stands here is the date that it was to be on." : ""
    let text = [note, event.description].filter { !$0.isEmpty }.joined(separator: "\n\n")
    if !text.isEmpty { lines.append("DESCRIPTION:\(escaped(text))") }
    if isAbsolute { lines.append("URL:\(url)") }
    lines += ["END:VEVENT", "END:VCALENDAR"]
    return lines.flatMap { folded($0) }
  }

  /// Not every calendar shows what STATUS says.
  private static func heading(_ event: Event) -> String {
    if event.settings.isCancelled { return "Cancelled: \(event.name)" }
    return event.isPostponed ? "Postponed: \(event.name)" : event.name
  }

  /// `20320508T193000`.
  private static func time(_ seconds: Int) -> String {
    String(Time.text(seconds).filter { $0.isNumber || $0 == "T" })
  }

  /// `+0530`.
  private static func offset(_ seconds: Int) -> String {
    let minutes = abs(seconds) / 60
    func two(_ number: Int) -> String { (number < 10 ? "0" : "") + String(number) }
    return (seconds < 0 ? "-" : "+") + two(minutes / 60) + two(minutes % 60)
  }

  private static func escaped(_ text: String) -> String {
    var escaped = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\", ";", ",":
        escaped += "\\"
        escaped.unicodeScalars.append(scalar)
      case "\n": escaped += "\\n"
      case _ where scalar.value < 0x20 || scalar.value == 0x7f: continue
      default: escaped.unicodeScalars.append(scalar)
      }
    }
    return escaped
  }

  /// Between characters, so that every line is UTF-8 by itself.
  private static func folded(_ line: String) -> [UInt8] {
    var bytes: [UInt8] = [], length = 0
    for scalar in line.unicodeScalars {
      let piece = Array(String(scalar).utf8)
      if length + piece.count > lineBytes {
        bytes += Array("\r\n ".utf8)
        length = 1
      }
      bytes += piece
      length += piece.count
    }
    return bytes + Array("\r\n".utf8)
  }
}
