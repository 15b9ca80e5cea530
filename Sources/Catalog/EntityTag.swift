/// Names the content of an answer, so that a client that has it already is not sent it again.
enum EntityTag {
  /// The same content has the same tag in every process.
  static func of(_ bytes: [UInt8]) -> String {
    // FNV-1a: quick, and an accidental collision of two versions of one page is out of reach.
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return "\"\(String(hash, radix: 36))\""
  }

  /// Whether a client that sent `header` as If-None-Match has the content.
  static func matches(_ header: String?, _ tag: String) -> Bool {
    guard let header else { return false }
    return header.split(separator: ",").contains { part in
      var part = part.drop { $0 == " " }
      if part.hasPrefix("W/") { part = part.dropFirst(2) }
      while part.last == " " { part.removeLast() }
      return part == tag || part == "*"
    }
  }
}
