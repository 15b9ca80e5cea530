import EventLoop
import Foundation

/// The line and headers of an answer, put together in memory that is used for one after the other.
@LoopActor
struct AnswerHead {
  private(set) var bytes: [UInt8] = []
  /// Made anew when the second has changed.
  private var date: [UInt8] = []
  private var dateAt = -1

  /// - Parameter connection: what is said of the connection; `nil` for nothing.
  mutating func begin(status: Int, connection: StaticString?) {
    bytes.removeAll(keepingCapacity: true)
    append("HTTP/1.1 ")
    append(status)
    bytes.append(UInt8(ascii: " "))
    append(HTTPResponse.reason(status))
    append("\r\nDate: ")
    updateDate()
    bytes.append(contentsOf: date)
    if let connection {
      append("\r\nConnection: ")
      append(connection)
    }
  }

  /// - Returns: whether it is a header; what is none is left out.
  mutating func add(_ name: String, _ value: String) -> Bool {
    let end = bytes.count
    append("\r\n")
    append(name)
    append(": ")
    append(value)
    let isHeader = bytes.withUnsafeBufferPointer { bytes in
      bytes[(end + 2)...].allSatisfy { $0 >= 0x20 && $0 != 0x7F || $0 == 0x09 }
    }
    if !isHeader { bytes.removeSubrange(end...) }
    return isHeader
  }

  mutating func add(_ lines: [UInt8]) { bytes.append(contentsOf: lines) }

  /// - Parameter length: of the body; `nil` for an answer that has none.
  mutating func end(length: Int?) {
    if let length {
      append("\r\nContent-Length: ")
      append(length)
    }
    append("\r\n\r\n")
  }

  private mutating func append(_ text: StaticString) {
    bytes.append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  private mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }

  private mutating func append(_ number: Int) {
    if number >= 10 { append(number / 10) }
    bytes.append(UInt8(ascii: "0") + UInt8(number % 10))
  }

  private mutating func updateDate() {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME_COARSE, &now)
    guard now.tv_sec != dateAt else { return }
    dateAt = now.tv_sec
    date = Self.date(now.tv_sec)
  }

  private static let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
  private static let months = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
  ]

  /// As RFC 9110 writes it: `Tue, 15 Nov 1994 08:12:31 GMT`.
  static func date(_ seconds: Int) -> [UInt8] {
    var seconds = seconds, parts = tm()
    gmtime_r(&seconds, &parts)
    func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
    return Array(
      ("\(days[Int(parts.tm_wday)]), \(two(parts.tm_mday)) \(months[Int(parts.tm_mon)]) \(parts.tm_year + 1900) "
        + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) GMT").utf8)
  }
}
