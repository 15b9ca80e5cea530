/// Looks at eight bytes at a time.
enum Bytes {
  private static let ones: UInt64 = 0x0101_0101_0101_0101
  private static let high = ones << 7

  /// The highest bit of some byte is set where one of the eight is zero.
  @inline(__always)
  private static func zero(_ eight: UInt64) -> UInt64 { (eight &- ones) & ~eight }

  @inline(__always)
  private static func are(_ eight: UInt64, _ byte: UInt8) -> UInt64 { zero(eight ^ (ones &* UInt64(byte))) }

  @inline(__always)
  private static func load(_ text: UnsafeBufferPointer<UInt8>, _ at: Int) -> UInt64 {
    UnsafeRawPointer(text.baseAddress! + at).loadUnaligned(as: UInt64.self)
  }

  /// Whether one of the bytes is `first` or `second`, or none of ASCII.
  static func contain(
    _ first: UInt8, or second: UInt8? = nil, _ text: UnsafeBufferPointer<UInt8>
  ) -> Bool {
    let second = second ?? first
    var at = 0
    while at + 8 <= text.count {
      let eight = load(text, at)
      if (eight | are(eight, first) | are(eight, second)) & high != 0 { return true }
      at += 8
    }
    while at < text.count {
      if text[at] == first || text[at] == second || text[at] >= 0x80 { return true }
      at += 1
    }
    return false
  }

  /// Where, from `start` on, the first byte is that is no visible character of ASCII; all of them where there is none.
  static func endOfVisible(_ text: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
    var at = start
    while at + 8 <= text.count {
      let eight = load(text, at)
      // A byte below 0x21 borrows from its highest bit.
      if (eight | (eight &- ones &* 0x21) & ~eight | are(eight, 0x7F)) & high != 0 { break }
      at += 8
    }
    while at < text.count, text[at] > 0x20 && text[at] < 0x7F { at += 1 }
    return at
  }

  /// The same of the first control character but for tabs.
  static func endOfText(_ text: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
    var at = start
    while at + 8 <= text.count {
      let eight = load(text, at)
      if ((eight &- ones &* 0x20) & ~eight | are(eight, 0x7F)) & high != 0 { break }
      at += 8
    }
    while at < text.count, text[at] >= 0x20 && text[at] != 0x7F || text[at] == 0x09 { at += 1 }
    return at
  }
}
