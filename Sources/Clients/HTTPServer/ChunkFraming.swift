/// What stands between the pieces of a chunked body, looked at byte by byte as RFC 9112 has it: the lines of the chunks'
/// sizes with their extensions, and the trailers behind the last one.
///
/// The parser reads the sizes. Whatever it skips is looked at here: where it goes on behind a bare LF, a proxy in front may
/// have seen the end of a line, and another request behind it.
struct ChunkFraming {
  private enum State {
    case line
    /// In a trailer: where one begins, in its name, behind its colon.
    case trailer
    case name
    case value
    /// Behind CR.
    case lineEnd
  }

  /// Bytes that may follow each other without one of the body.
  private let limit: Int
  private var count = 0
  /// The head's last byte is still to come.
  private var state = State.lineEnd
  private var isTrailing = false
  /// Of the trailer under way, in lower case, as far as it may be a known one.
  private var name: [UInt8] = []

  init(limit: Int) { self.limit = limit }

  /// What says how a request is read, to whom it goes and who sends it is not said behind its body.
  private static let forbidden: Set<String> = [
    "authorization", "cache-control", "connection", "content-encoding", "content-length", "content-range",
    "content-type", "cookie", "expect", "forwarded", "host", "idempotency-key", "keep-alive", "max-forwards",
    "origin", "proxy-authorization", "proxy-connection", "range", "te", "trailer", "transfer-encoding",
    "upgrade",
    "via", "x-forwarded-for",
  ]
  private static let longestForbidden = 20

  /// The last chunk's line is over.
  mutating func startTrailers() {
    isTrailing = true
    state = .trailer
  }

  /// Some of the body has come.
  mutating func skipBody() { count = 0 }

  /// - Throws: what is wrong with it; the connection cannot be read on.
  mutating func take(_ bytes: UnsafeBufferPointer<UInt8>) throws(RequestHead.Fault) {
    count += bytes.count
    guard count <= limit else { throw .headers(limit) }
    for byte in bytes { try take(byte) }
  }

  private mutating func take(_ byte: UInt8) throws(RequestHead.Fault) {
    let carriageReturn = UInt8(ascii: "\r")
    switch state {
    case .lineEnd:
      guard byte == UInt8(ascii: "\n") else {
        throw .malformed("A line within the body has a CR that no LF follows.")
      }
      state = isTrailing ? .trailer : .line
    case .line, .value:
      if byte == carriageReturn {
        state = .lineEnd
      } else if byte < 0x20 && byte != UInt8(ascii: "\t") || byte == 0x7F {
        throw .malformed("A line within the body has a control character, or ends in LF alone.")
      }
    case .trailer where byte == carriageReturn: state = .lineEnd
    case .trailer, .name:
      if byte == UInt8(ascii: ":"), state == .name {
        guard !Self.forbidden.contains(String(decoding: name, as: UTF8.self)) else {
          throw .malformed("A header of this name cannot stand behind the body.")
        }
        state = .value
        return
      }
      guard RequestHead.isToken(byte) else {
        throw .malformed("A trailer has a name of letters, digits and signs, and a colon right behind it.")
      }
      if state == .trailer { name.removeAll(keepingCapacity: true) }
      state = .name
      if name.count <= Self.longestForbidden {
        name.append(byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z") ? byte | 0x20 : byte)
      }
    }
  }
}
