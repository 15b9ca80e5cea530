import Glibc

/// A request's line and headers: slices of the bytes that they came in, nothing of which is copied.
///
/// The parser has found where they end, and what it lets pass beyond RFC 9112 is refused here: whatever a proxy in front
/// could read in another way.
struct RequestHead {
  /// What is wrong with a request, and what its client is told.
  struct Fault: Error, Equatable {
    let status: Int
    let code: String
    let detail: String

    static func malformed(_ detail: String) -> Fault {
      Fault(status: 400, code: "bad_request", detail: detail)
    }
    static let ambiguousBody = Fault(
      status: 400, code: "ambiguous_body",
      detail: "A request has one Content-Length or one Transfer-Encoding.")
    static let version = Fault(
      status: 505, code: "http_version", detail: "This server speaks HTTP/1.1 and 1.0.")
    static let method = Fault(status: 501, code: "not_implemented", detail: "This method is not known here.")
    static let overloaded = Fault(
      status: 503, code: "overloaded",
      detail: "The server is full, and this request was slow to come. Please try again.")
    static let coding = Fault(
      status: 501, code: "transfer_encoding", detail: "The only Transfer-Encoding known here is chunked.")
    static func headers(_ limit: Int) -> Fault {
      Fault(
        status: 431, code: "headers_too_large",
        detail: "The request's line and headers may have at most \(limit) bytes.")
    }
    static func target(_ limit: Int) -> Fault {
      Fault(
        status: 414, code: "target_too_long",
        detail: "The request's line and headers may have at most \(limit) bytes, and its path alone has more."
      )
    }
  }

  /// All of it, with the empty line at its end. The owner of the memory moves it.
  private(set) var bytes = UnsafeBufferPointer<UInt8>(start: nil, count: 0)
  private var pathRange = 0..<0
  private var queryRange = 0..<0
  /// Where a target in absolute form says whom it is for.
  private var authority: Range<Int>?
  private var fields = 0
  private(set) var expectsContinue = false

  private static let space = UInt8(ascii: " ")
  private static let colon = UInt8(ascii: ":")
  private static let carriageReturn = UInt8(ascii: "\r")
  private static let lineFeed = UInt8(ascii: "\n")
  private static let slash = UInt8(ascii: "/")

  init() {}

  /// - Throws: what makes it no request of HTTP/1.1 or 1.0.
  init(_ bytes: UnsafeBufferPointer<UInt8>, major: Int, minor: Int) throws(Fault) {
    self.bytes = bytes
    guard major == 1 else { throw .version }
    try readLine()
    try readFields(needsHost: minor > 0)
  }

  /// As much as can be told from one that did not come whole, or cannot be read: its path, and its headers as far as they
  /// stand in lines.
  init(begunBy bytes: UnsafeBufferPointer<UInt8>) {
    self.bytes = bytes
    fields = bytes.count
    guard let space = bytes.firstIndex(of: Self.space) else { return }
    let line = lineEnd(from: 0)
    let target = bytes[(space + 1)..<max(space + 1, line ?? bytes.count)]
    pathRange =
      target.startIndex..<(target.firstIndex { $0 == UInt8(ascii: "?") || $0 <= 0x20 } ?? target.endIndex)
    if let line { fields = line + 2 }
  }

  /// The same bytes, elsewhere.
  mutating func move(to start: UnsafeMutablePointer<UInt8>?) {
    bytes = UnsafeBufferPointer(start: start, count: bytes.count)
  }

  var path: UnsafeBufferPointer<UInt8> { slice(pathRange) }
  /// What follows the first question mark.
  var query: UnsafeBufferPointer<UInt8> { slice(queryRange) }

  private func slice(_ range: Range<Int>) -> UnsafeBufferPointer<UInt8> {
    UnsafeBufferPointer(rebasing: bytes[range])
  }

  /// `METHOD target HTTP/1.x`, with one space between each.
  private mutating func readLine() throws(Fault) {
    guard let end = lineEnd(from: 0), let first = bytes[..<end].firstIndex(of: Self.space) else {
      throw .malformed("The request has no line that could be read.")
    }
    // `HTTP/1.1`, whose numbers the parser has read.
    let last = end - 9
    guard last > first, bytes[last] == Self.space,
      bytes[(last + 1)..<(last + 6)].elementsEqual("HTTP/".utf8)
    else { throw .malformed("The request's line is malformed.") }
    let target = (first + 1)..<last
    guard !target.isEmpty, bytes[target].allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
      throw .malformed("The request's target must be visible ASCII; anything else is percent-encoded.")
    }
    let pathEnd = bytes[target].firstIndex(of: UInt8(ascii: "?")) ?? last
    pathRange = target.lowerBound..<pathEnd
    queryRange = min(pathEnd + 1, last)..<last
    if bytes[target.lowerBound] != Self.slash { try readAbsolute() }
    fields = end + 2
  }

  /// `http://host/path`, as clients of a proxy write it: whom it names goes before the Host.
  private mutating func readAbsolute() throws(Fault) {
    let start = pathRange.lowerBound
    let scheme: Int
    if equal(start..<min(start + 7, pathRange.upperBound), "http://") {
      scheme = 7
    } else if equal(start..<min(start + 8, pathRange.upperBound), "https://") {
      scheme = 8
    } else {
      // `*`, which no route has.
      return
    }
    let path = bytes[(start + scheme)..<pathRange.upperBound].firstIndex(of: Self.slash)
    let authority = (start + scheme)..<(path ?? pathRange.upperBound)
    guard !authority.isEmpty, bytes[authority.lowerBound] != Self.colon,
      bytes[authority].allSatisfy(Self.isHost)
    else {
      throw .malformed("The target names a host, and no user.")
    }
    self.authority = authority
    // Without a path it is the root: the last of the scheme's slashes stands for it.
    pathRange = path.map { $0..<pathRange.upperBound } ?? (start + scheme - 1)..<(start + scheme)
  }

  private mutating func readFields(needsHost: Bool) throws(Fault) {
    var hosts = 0, lengths = 0, codings = 0
    var start = fields
    while start < bytes.count - 2 {
      guard let end = lineEnd(from: start) else { throw .malformed("A header has no end.") }
      let name = start..<(bytes[start..<end].firstIndex(of: Self.colon) ?? start)
      guard !name.isEmpty, bytes[name].allSatisfy(Self.isToken) else {
        throw .malformed("A header has a name of letters, digits and signs, and a colon right behind it.")
      }
      let value = trimmed((name.upperBound + 1)..<end)
      guard value.allSatisfy({ $0 >= 0x20 && $0 != 0x7F || $0 == 0x09 }) else {
        throw .malformed("A header's value has a control character.")
      }
      switch name.count {
      case 4 where equal(name, "host"):
        hosts += 1
        guard value.allSatisfy(Self.isHost) else { throw .malformed("The Host is malformed.") }
      case 14 where equal(name, "content-length"): lengths += 1
      case 17 where equal(name, "transfer-encoding"):
        codings += 1
        guard codings > 1 || Self.equal(value, "chunked") else { throw .coding }
      case 6 where equal(name, "expect"): expectsContinue = Self.equal(value, "100-continue")
      default: break
      }
      start = end + 2
    }
    guard start == bytes.count - 2, lineEnd(from: start) == start else {
      throw .malformed("The headers have no end.")
    }
    guard hosts == 1 || hosts == 0 && !needsHost else { throw .malformed("A request has one Host.") }
    // HTTP/1.0 knows no chunks, and whoever sends some through a proxy of that age may mean another body.
    guard lengths + codings <= 1, needsHost || codings == 0 else { throw .ambiguousBody }
  }

  /// Where the line ends that begins at `start`; `nil` if that is not by CR and LF.
  private func lineEnd(from start: Int) -> Int? {
    guard let base = bytes.baseAddress,
      let found = memchr(base + start, Int32(Self.lineFeed), bytes.count - start)
    else { return nil }
    let end = UnsafeRawPointer(found) - UnsafeRawPointer(base) - 1
    return end >= start && bytes[end] == Self.carriageReturn ? end : nil
  }

  /// The value of the first header of that name; without blanks at its ends.
  func field(_ name: String) -> UnsafeBufferPointer<UInt8>? {
    var found: UnsafeBufferPointer<UInt8>?
    eachField(name) { value in
      found = value
      return false
    }
    return found
  }

  /// Calls `use` with each header of that name, in order, until it says `false`.
  func eachField(_ name: String, _ use: (UnsafeBufferPointer<UInt8>) -> Bool) {
    var name = name
    name.withUTF8 { name in
      if let authority, Self.equal(name, "host") {
        _ = use(slice(authority))
        return
      }
      var start = fields
      while start < bytes.count - 2, let end = lineEnd(from: start) {
        let colon = start + name.count
        if colon < end, bytes[colon] == Self.colon, Self.equal(slice(start..<colon), name) {
          guard use(trimmed((colon + 1)..<end)) else { return }
        }
        start = end + 2
      }
    }
  }

  private func trimmed(_ range: Range<Int>) -> UnsafeBufferPointer<UInt8> {
    var range = range
    while !range.isEmpty, Self.isBlank(bytes[range.lowerBound]) {
      range = (range.lowerBound + 1)..<range.upperBound
    }
    while !range.isEmpty, Self.isBlank(bytes[range.upperBound - 1]) {
      range = range.lowerBound..<(range.upperBound - 1)
    }
    return slice(range)
  }

  private func equal(_ range: Range<Int>, _ text: StaticString) -> Bool { Self.equal(slice(range), text) }

  private static func equal(_ bytes: UnsafeBufferPointer<UInt8>, _ text: StaticString) -> Bool {
    equal(bytes, UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  /// Whatever the case of ASCII's letters.
  private static func equal(_ first: UnsafeBufferPointer<UInt8>, _ second: UnsafeBufferPointer<UInt8>) -> Bool
  {
    guard first.count == second.count else { return false }
    for index in first.indices where lower(first[index]) != lower(second[index]) { return false }
    return true
  }

  private static func lower(_ byte: UInt8) -> UInt8 {
    byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z") ? byte | 0x20 : byte
  }

  private static func isBlank(_ byte: UInt8) -> Bool { byte == space || byte == UInt8(ascii: "\t") }

  static func isToken(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."),
      UInt8(ascii: "!"), UInt8(ascii: "#")...UInt8(ascii: "'"), UInt8(ascii: "*"), UInt8(ascii: "+"),
      UInt8(ascii: "^"), UInt8(ascii: "`"), UInt8(ascii: "|"), UInt8(ascii: "~"):
      true
    default: false
    }
  }

  private static func isHost(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."),
      UInt8(ascii: ":"), UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: "~"), UInt8(ascii: "!"),
      UInt8(ascii: "$")...UInt8(ascii: "+"), UInt8(ascii: ";"), UInt8(ascii: "="):
      true
    default: false
    }
  }
}
