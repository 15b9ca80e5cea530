/// A whole response.
///
/// The headers are kept as received and parsed when asked for: most callers never look at them.
package struct HTTPClientResponse: Sendable {
  package var status: Int
  package var body: [UInt8]
  /// Header lines as received, each ended by a line feed.
  private let lines: [UInt8]

  init(status: Int, lines: [UInt8], body: [UInt8]) {
    self.status = status
    self.lines = lines
    self.body = body
  }

  /// The first header of that name, in any case.
  package func header(_ name: String) -> String? {
    for line in lines.split(separator: UInt8(ascii: "\n")) {
      guard let colon = line.firstIndex(of: UInt8(ascii: ":")), colon - line.startIndex == name.utf8.count,
        zip(line, name.utf8).allSatisfy({ Self.lowercased($0) == Self.lowercased($1) })
      else { continue }
      return Self.text(line[(colon + 1)...])
    }
    return nil
  }

  private static func lowercased(_ byte: UInt8) -> UInt8 {
    byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z") ? byte | 0x20 : byte
  }

  private static func text(_ bytes: ArraySlice<UInt8>) -> String {
    let isSpace = { (byte: UInt8) in byte == 0x20 || byte == 0x09 || byte == 0x0D }
    let start = bytes.firstIndex { !isSpace($0) } ?? bytes.endIndex
    let end = bytes.lastIndex { !isSpace($0) }.map { $0 + 1 } ?? start
    return String(decoding: bytes[start..<max(start, end)], as: UTF8.self)
  }
}
