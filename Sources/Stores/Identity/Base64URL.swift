/// URL-safe base64 without padding (RFC 4648, section 5).
///
/// libsodium's takes the same time whatever it reads, at some eighty instructions a character. What is read here is
/// known to whoever sent it, and every request has some.
enum Base64URL {
  private static let invalid: UInt8 = 0x80

  private static let values: [UInt8] = {
    var values = [UInt8](repeating: invalid, count: 256)
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for (value, character) in alphabet.utf8.enumerated() { values[Int(character)] = UInt8(value) }
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
        var bits: UInt32 = 0
        var held: UInt32 = 0
        for character in text {
          let value = values[Int(character)]
          seen |= value
          bits = bits << 6 | UInt32(value & 0x3F)
          held += 6
          guard held >= 8 else { continue }
          held -= 8
          out[count] = UInt8(truncatingIfNeeded: bits >> held)
          count += 1
        }
        // Bits that are left over belong to no byte, and are zero in the one spelling.
        isValid = seen & invalid == 0 && bits & (1 << held - 1) == 0
      }
    }
    return isValid ? bytes : nil
  }

  static func decode(_ text: ArraySlice<UInt8>) -> [UInt8]? { text.withUnsafeBufferPointer { decode($0) } }
}
