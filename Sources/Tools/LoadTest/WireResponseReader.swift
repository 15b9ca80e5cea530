/// Finds the parts of an HTTP/1.1 response in the bytes read so far.
struct WireResponseReader {
  enum Look: Equatable {
    case incomplete
    case malformed
    case whole(status: Int, retryAfter: Int?, body: Range<Int>, closes: Bool)
  }

  private var head: (status: Int, retryAfter: Int?, bodyStart: Int, length: Int, closes: Bool)?

  /// - Parameter bytes: all bytes of the response so far.
  mutating func look(at bytes: [UInt8]) -> Look {
    if head == nil {
      guard let end = Self.endOfHead(bytes) else { return bytes.count > 64 << 10 ? .malformed : .incomplete }
      guard parse(bytes, end) else { return .malformed }
    }
    guard let head else { return .malformed }
    if bytes.count < head.bodyStart + head.length { return .incomplete }
    return .whole(
      status: head.status, retryAfter: head.retryAfter, body: head.bodyStart..<head.bodyStart + head.length,
      closes: head.closes)
  }

  private static func endOfHead(_ bytes: [UInt8]) -> Int? {
    bytes.withUnsafeBufferPointer { bytes in
      var index = 3
      while index < bytes.count {
        if bytes[index] == 10, bytes[index - 1] == 13, bytes[index - 2] == 10, bytes[index - 3] == 13 {
          return index + 1
        }
        // The byte four on ends the head only if this one is one of its four.
        index += bytes[index] == 13 || bytes[index] == 10 ? 1 : 4
      }
      return nil
    }
  }

  private mutating func parse(_ bytes: [UInt8], _ end: Int) -> Bool {
    guard end > 12, bytes[0..<7].elementsEqual("HTTP/1.".utf8), let status = Self.number(bytes, 9, 12) else {
      return false
    }
    var length = status == 204 || status == 304 ? 0 : -1
    var retryAfter: Int?
    var closes = bytes[7] == UInt8(ascii: "0")
    var start = 0
    for index in 0..<end where bytes[index] == 10 {
      let line = start..<index - 1
      start = index + 1
      // Only three headers matter, and their first letters tell most others apart.
      switch bytes[line.lowerBound] | 0x20 {
      case UInt8(ascii: "c"):
        if let value = Self.value(bytes, line, "content-length:") {
          guard let number = Self.number(bytes, value.lowerBound, value.upperBound) else { return false }
          length = number
        } else if let value = Self.value(bytes, line, "connection:") {
          closes = value.count == 5 && bytes[value.lowerBound] | 0x20 == UInt8(ascii: "c")
        }
      case UInt8(ascii: "r"):
        if let value = Self.value(bytes, line, "retry-after:") {
          retryAfter = Self.number(bytes, value.lowerBound, value.upperBound)
        }
      default: break
      }
    }
    guard length >= 0 else { return false }
    head = (status, retryAfter, end, length, closes)
    return true
  }

  private static func value(_ bytes: [UInt8], _ line: Range<Int>, _ name: StaticString) -> Range<Int>? {
    guard line.count > name.utf8CodeUnitCount else { return nil }
    for index in 0..<name.utf8CodeUnitCount {
      let byte = bytes[line.lowerBound + index]
      let lower = byte >= 65 && byte <= 90 ? byte | 0x20 : byte
      if lower != name.utf8Start[index] { return nil }
    }
    var start = line.lowerBound + name.utf8CodeUnitCount
    while start < line.upperBound, bytes[start] == 32 { start += 1 }
    return start..<line.upperBound
  }

  private static func number(_ bytes: [UInt8], _ start: Int, _ end: Int) -> Int? {
    guard start < end, end - start <= 9 else { return nil }
    var number = 0
    for index in start..<end {
      guard bytes[index] >= 48, bytes[index] <= 57 else { return nil }
      number = number * 10 + Int(bytes[index] - 48)
    }
    return number
  }
}
