import EventLoop
import Foundation

/// The line and headers of an answer, put together in memory that is used for one after the other.
@LoopActor
struct AnswerHead {
  private(set) var bytes: [UInt8] = []
  /// The second that it is, and how answers begin in it, by status.
  private var second = -1
  private var beginnings: [(status: Int, bytes: [UInt8])] = []

  /// - Parameter connection: what is said of the connection; `nil` for nothing.
  mutating func begin(status: Int, connection: StaticString?) {
    bytes.removeAll(keepingCapacity: true)
    forgetOldDate()
    if let known = beginnings.first(where: { $0.status == status }) {
      bytes.append(contentsOf: known.bytes)
    } else {
      append("HTTP/1.1 ")
      append(status)
      bytes.append(UInt8(ascii: " "))
      append(HTTPResponse.reason(status))
      append("\r\nDate: ")
      bytes.append(contentsOf: Self.date(second))
      beginnings.append((status, bytes))
    }
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
    var isHeader = true
    for index in (end + 2)..<bytes.count {
      isHeader = isHeader && (bytes[index] >= 0x20 && bytes[index] != 0x7F || bytes[index] == 0x09)
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

  private mutating func forgetOldDate() {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME_COARSE, &now)
    guard now.tv_sec != second else { return }
    second = now.tv_sec
    beginnings.removeAll(keepingCapacity: true)
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
