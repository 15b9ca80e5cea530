/// Encodes fields as `application/x-www-form-urlencoded`.
enum FormEncoding {
  static func encode(_ fields: [(name: String, value: String)]) -> [UInt8] {
    var out: [UInt8] = []
    out.reserveCapacity(1024)
    for field in fields {
      if !out.isEmpty { out.append(UInt8(ascii: "&")) }
      append(field.name, to: &out)
      out.append(UInt8(ascii: "="))
      append(field.value, to: &out)
    }
    return out
  }

  /// Percent-encodes all but the characters that a URL never gives a meaning to.
  static func escape(_ text: String) -> String {
    var out: [UInt8] = []
    append(text, to: &out)
    return String(decoding: out, as: UTF8.self)
  }

  private static func append(_ text: String, to out: inout [UInt8]) {
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."),
        UInt8(ascii: "~"):
        out.append(byte)
      default:
        out.append(UInt8(ascii: "%"))
        out.append(digit(byte >> 4))
        out.append(digit(byte & 15))
      }
    }
  }

  private static func digit(_ value: UInt8) -> UInt8 {
    value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "A") + value - 10
  }
}
