/// Bitmaps as Redis keeps them: bit i, most significant first.
enum Bitmap {
  static func contains(_ bitmap: [UInt8], _ bit: Int) -> Bool {
    let byte = bit >> 3
    return byte < bitmap.count && bitmap[byte] & (0x80 >> UInt8(bit & 7)) != 0
  }

  /// How many bits are set in the ranges.
  static func count(_ bitmap: [UInt8], in ranges: [ClosedRange<Int>]) -> Int {
    var count = 0
    for range in ranges {
      var bit = range.lowerBound
      while bit <= range.upperBound {
        if bit & 7 == 0, bit + 7 <= range.upperBound {
          let byte = bit >> 3
          if byte >= bitmap.count { break }
          count += bitmap[byte].nonzeroBitCount
          bit += 8
        } else {
          if contains(bitmap, bit) { count += 1 }
          bit += 1
        }
      }
    }
    return count
  }
}

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
