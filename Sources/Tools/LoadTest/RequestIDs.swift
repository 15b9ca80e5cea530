/// The buyers' request ids, side by side in one block: no string, and no allocation, for each.
struct RequestIDs {
  private let stride: Int
  private var bytes: [UInt8]

  /// - Parameter longest: bytes of the longest id that fits.
  init(count: Int, longest: Int) {
    stride = longest + 1
    bytes = Array(repeating: 0, count: count * stride)
  }

  func has(_ buyer: Int) -> Bool { bytes[buyer * stride] > 0 }

  /// False if it is too long, or not of characters that a URL takes as they are.
  mutating func set(_ id: [UInt8], _ buyer: Int) -> Bool {
    guard (1..<stride).contains(id.count), id.count < 256, id.allSatisfy(Self.isPlain) else { return false }
    bytes[buyer * stride] = UInt8(id.count)
    for (index, byte) in id.enumerated() { bytes[buyer * stride + 1 + index] = byte }
    return true
  }

  func id(_ buyer: Int) -> ArraySlice<UInt8> {
    let start = buyer * stride + 1
    return bytes[start..<start + Int(bytes[start - 1])]
  }

  private static func isPlain(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."),
      UInt8(ascii: "~"):
      true
    default: false
    }
  }
}
