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
  /// What its Content-Length says; 0 without one.
  private(set) var length = 0
  /// Whether the connection goes on behind the answer.
  private(set) var keepsAlive = true
  /// Whether nothing about it needs the parser's care: how long its body is, and what becomes of the connection, is as plain
  /// as can be.
  private var isPlain = true

  private static let space = UInt8(ascii: " ")
  private static let colon = UInt8(ascii: ":")
  private static let carriageReturn = UInt8(ascii: "\r")
  private static let lineFeed = UInt8(ascii: "\n")
  private static let tab = UInt8(ascii: "\t")
  private static let slash = UInt8(ascii: "/")

  init() {}

  /// - Throws: what makes it no request of HTTP/1.1 or 1.0.
  init(_ bytes: UnsafeBufferPointer<UInt8>, major: Int, minor: Int) throws(Fault) {
    self.bytes = bytes
    guard major == 1 else { throw .version }
    try readLine()
    guard try readFields(needsHost: minor > 0) == bytes.count else {
      throw .malformed("The headers have no end.")
    }
  }

  /// One that begins with these bytes, if all of it is there and it is one of HTTP/1.1 with nothing unusual about it. What is
  /// unusual, wrong or not whole is for the parser to look at.
  init?(plainAt bytes: UnsafeBufferPointer<UInt8>, limit: Int) {
    self.bytes = UnsafeBufferPointer(rebasing: bytes.prefix(limit))
    do throws(Fault) {
      try readLine()
      let end = try readFields(needsHost: true)
      guard isPlain, authority == nil, bytes[pathRange.lowerBound] == Self.slash,
        bytes[fields - 3] == UInt8(ascii: "1"), bytes[fields - 4] == UInt8(ascii: "."),
        bytes[fields - 5] == UInt8(ascii: "1")
      else { return nil }
      self.bytes = UnsafeBufferPointer(rebasing: bytes[..<end])
    } catch {
      return nil
    }
  }

  /// `nil` for one that this server does not know.
  var method: HTTPMethod? {
    let name = 0..<(pathRange.lowerBound - 1)
    return switch name.count {
    case 3 where matches(name, "GET"): .get
    case 3 where matches(name, "PUT"): .put
    case 4 where matches(name, "POST"): .post
    case 4 where matches(name, "HEAD"): .head
    case 5 where matches(name, "PATCH"): .patch
    case 6 where matches(name, "DELETE"): .delete
    case 7 where matches(name, "OPTIONS"): .options
    default: nil
    }
  }

  private func matches(_ range: Range<Int>, _ text: StaticString) -> Bool {
    guard let base = bytes.baseAddress, range.count == text.utf8CodeUnitCount, range.upperBound <= bytes.count
    else { return false }
    return memcmp(base + range.lowerBound, text.utf8Start, range.count) == 0
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
    var at = Bytes.endOfVisible(bytes, from: 0)
    let start = at + 1
    guard start < bytes.count, bytes[at] == Self.space else { throw lineFault }
    at = Bytes.endOfVisible(bytes, from: start)
    // ` HTTP/1.1`, whose numbers the parser has read, and the end of the line.
    guard at > start, at + 11 <= bytes.count, matches(at..<(at + 6), " HTTP/"),
      bytes[at + 9] == Self.carriageReturn, bytes[at + 10] == Self.lineFeed
    else { throw lineFault }
    let mark = memchr(bytes.baseAddress! + start, Int32(UInt8(ascii: "?")), at - start)
    let pathEnd = mark.map { UnsafeRawPointer($0) - UnsafeRawPointer(bytes.baseAddress!) } ?? at
    pathRange = start..<pathEnd
    queryRange = min(pathEnd + 1, at)..<at
    if bytes[start] != Self.slash { try readAbsolute() }
    fields = at + 11
  }

  /// What is wrong with a line that could not be read.
  private var lineFault: Fault {
    guard let end = lineEnd(from: 0), let first = bytes[..<end].firstIndex(of: Self.space) else {
      return .malformed("The request has no line that could be read.")
    }
    guard end - 9 > first, matches((end - 9)..<(end - 3), " HTTP/") else {
      return .malformed("The request's line is malformed.")
    }
    return .malformed("The request's target must be visible ASCII; anything else is percent-encoded.")
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

  /// - Returns: where the headers end, behind the empty line.
  private mutating func readFields(needsHost: Bool) throws(Fault) -> Int {
    var hosts = 0, lengths = 0, codings = 0
    var start = fields
    while start < bytes.count, bytes[start] != Self.carriageReturn {
      var colon = start
      while colon < bytes.count, Self.isToken(bytes[colon]) { colon += 1 }
      guard colon > start, colon < bytes.count, bytes[colon] == Self.colon else {
        throw .malformed("A header has a name of letters, digits and signs, and a colon right behind it.")
      }
      let end = Bytes.endOfText(bytes, from: colon + 1)
      guard end + 1 < bytes.count, bytes[end] == Self.carriageReturn, bytes[end + 1] == Self.lineFeed else {
        throw .malformed(
          end + 1 >= bytes.count ? "A header has no end." : "A header's value has a control character.")
      }
      let name = start..<colon
      switch name.count {
      case 4 where equal(name, "host"):
        hosts += 1
        guard trimmed((colon + 1)..<end).allSatisfy(Self.isHost) else {
          throw .malformed("The Host is malformed.")
        }
      case 14 where equal(name, "content-length"):
        lengths += 1
        if bytes[end - 1] == Self.tab { isPlain = false }
        readLength(trimmed((colon + 1)..<end))
      case 17 where equal(name, "transfer-encoding"):
        codings += 1
        isPlain = false
        guard codings > 1 || Self.equal(trimmed((colon + 1)..<end), "chunked") else { throw .coding }
      case 6 where equal(name, "expect"):
        isPlain = false
        expectsContinue = Self.equal(trimmed((colon + 1)..<end), "100-continue")
      case 7 where equal(name, "upgrade"): isPlain = false
      case 10 where equal(name, "connection"):
        // The parser has words of its own about a tab at the end of this value, and of a length.
        if bytes[end - 1] == Self.tab { isPlain = false }
        readConnection(trimmed((colon + 1)..<end))
      // Which it takes for the same as the one before.
      case 16 where equal(name, "proxy-connection"): isPlain = false
      default: break
      }
      start = end + 2
    }
    guard start + 1 < bytes.count, bytes[start + 1] == Self.lineFeed else {
      throw .malformed("The headers have no end.")
    }
    guard hosts == 1 || hosts == 0 && !needsHost else { throw .malformed("A request has one Host.") }
    // HTTP/1.0 knows no chunks, and whoever sends some through a proxy of that age may mean another body.
    guard lengths + codings <= 1, needsHost || codings == 0 else { throw .ambiguousBody }
    return start + 2
  }

  /// Up to nine digits, which no number is too large for.
  private mutating func readLength(_ value: UnsafeBufferPointer<UInt8>) {
    guard (1...9).contains(value.count), value.allSatisfy({ (48...57).contains($0) }) else {
      isPlain = false
      return
    }
    length = value.reduce(0) { $0 * 10 + Int($1 - 48) }
  }

  private mutating func readConnection(_ value: UnsafeBufferPointer<UInt8>) {
    if Self.equal(value, "keep-alive") { return }
    keepsAlive = false
    if !Self.equal(value, "close") { isPlain = false }
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

  /// Letters, digits and !#$%&'*+-.^_`|~, by a bit each.
  static func isToken(_ byte: UInt8) -> Bool {
    byte < 64
      ? UInt64(0x03FF_6CFA_0000_0000) >> UInt64(byte) & 1 == 1
      : byte < 128 && UInt64(0x57FF_FFFF_C7FF_FFFE) >> UInt64(byte - 64) & 1 == 1
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
