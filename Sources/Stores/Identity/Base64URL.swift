/// URL-safe base64 without padding (RFC 4648, section 5).
///
/// libsodium's takes the same time whatever it reads, at some eighty instructions a character. What is read here is
/// known to whoever sent it, and every request has some.
enum Base64URL {
  private static let invalid: UInt8 = 0x80

  private static let values: [UInt8] = {
    var values = [UInt8](repeating: invalid, count: 256)
    for (value, character) in alphabet.enumerated() { values[Int(character)] = UInt8(value) }
    return values
  }()

  /// `nil` for anything but the one spelling that the bytes have.
  static func decode(_ text: UnsafeBufferPointer<UInt8>) -> [UInt8]? {
    // One character alone holds no byte.
    guard text.count % 4 != 1 else { return nil }
    var isValid = true
    let bytes = [UInt8](unsafeUninitializedCapacity: text.count * 3 / 4) { out, count in
      values.withUnsafeBufferPointer { values in
        var seen: UInt8 = 0
        var at = 0, end = 0
        func next() -> UInt32 {
          let value = values[Int(text[at])]
          seen |= value
          at += 1
          return UInt32(value)
        }
        while at + 4 <= text.count {
          let four = next() << 18 | next() << 12 | next() << 6 | next()
          out[end] = UInt8(truncatingIfNeeded: four >> 16)
          out[end + 1] = UInt8(truncatingIfNeeded: four >> 8)
          out[end + 2] = UInt8(truncatingIfNeeded: four)
          end += 3
        }
        var bits: UInt32 = 0
        var held: UInt32 = 0
        while at < text.count {
          bits = bits << 6 | next()
          held += 6
          guard held >= 8 else { continue }
          held -= 8
          out[end] = UInt8(truncatingIfNeeded: bits >> held)
          end += 1
        }
        count = end
        // Bits that are left over belong to no byte, and are zero in the one spelling.
        isValid = seen & invalid == 0 && bits & (1 << held - 1) == 0
      }
    }
    return isValid ? bytes : nil
  }

  static func decode(_ text: ArraySlice<UInt8>) -> [UInt8]? { text.withUnsafeBufferPointer { decode($0) } }

  private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

  /// For what its reader is to know: how long it takes depends on the bytes.
  static func encode(_ bytes: UnsafeBufferPointer<UInt8>) -> String {
    String(unsafeUninitializedCapacity: (bytes.count * 4 + 2) / 3) { out in
      alphabet.withUnsafeBufferPointer { alphabet in
        var end = 0
        var bits: UInt32 = 0
        var held: UInt32 = 0
        for byte in bytes {
          bits = bits << 8 | UInt32(byte)
          held += 8
          while held >= 6 {
            held -= 6
            out[end] = alphabet[Int(bits >> held & 0x3F)]
            end += 1
          }
        }
        if held > 0 {
          out[end] = alphabet[Int(bits << (6 - held) & 0x3F)]
          end += 1
        }
        return end
      }
    }
  }

  static func encode(_ bytes: [UInt8]) -> String { bytes.withUnsafeBufferPointer { encode($0) } }
}
