import CSodium

/// The few primitives of libsodium that this module uses, over byte arrays.
enum Sodium {
  /// libsodium must be initialised once before anything else; thread-safe by being a static.
  private static let isReady: Bool = sodium_init() >= 0

  private static func start() {
    precondition(isReady, "libsodium refused to initialise: no source of randomness")
  }

  /// BLAKE2b of `bytes`, keyed by at most 64 bytes.
  static func hash(_ bytes: [UInt8], key: [UInt8] = [], length: Int) -> [UInt8] {
    start()
    var out = [UInt8](repeating: 0, count: length)
    _ = crypto_generichash(&out, length, bytes, UInt64(bytes.count), key, key.count)
    return out
  }

  /// A key of 32 bytes for one purpose, from which neither the secret nor another purpose's key follows.
  static func subkey(of secret: String, label: String) -> [UInt8] {
    hash(Array(label.utf8), key: hash(Array(secret.utf8), length: 32), length: 32)
  }

  /// Whether `bytes` end in the keyed hash of what comes before, found in a time that does not depend on where they
  /// differ.
  static func endsInHash(_ bytes: [UInt8], key: [UInt8], length: Int) -> Bool {
    start()
    return bytes.withUnsafeBufferPointer { bytes in
      guard let first = bytes.baseAddress, bytes.count >= length else { return false }
      let count = bytes.count - length
      return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: length) { hash in
        guard let hash = hash.baseAddress else { return false }
        _ = crypto_generichash(hash, length, first, UInt64(count), key, key.count)
        return sodium_memcmp(hash, first + count, length) == 0
      }
    }
  }

  /// Found in a time that does not depend on where they differ.
  static func areEqual(_ a: [UInt8], _ b: [UInt8]) -> Bool {
    start()
    return a.count == b.count && sodium_memcmp(a, b, a.count) == 0
  }

  /// A key of HMAC-SHA256, with the part of the work done that is the same for every message.
  struct HMACKey: Sendable {
    static let length = 32
    private let prepared: crypto_auth_hmacsha256_state

    init(_ key: [UInt8]) {
      Sodium.start()
      var state = crypto_auth_hmacsha256_state()
      crypto_auth_hmacsha256_init(&state, key, key.count)
      prepared = state
    }

    func mac(_ message: ArraySlice<UInt8>) -> [UInt8] {
      var state = prepared
      message.withUnsafeBufferPointer { message in
        _ = crypto_auth_hmacsha256_update(&state, message.baseAddress, UInt64(message.count))
      }
      var out = [UInt8](repeating: 0, count: Self.length)
      crypto_auth_hmacsha256_final(&state, &out)
      return out
    }
  }

  /// Equality in a time that does not depend on where they differ.
  static func equal(_ a: [UInt8], _ b: [UInt8]) -> Bool {
    a.count == b.count && sodium_memcmp(a, b, a.count) == 0
  }

  static func randomBytes(_ count: Int) -> [UInt8] {
    start()
    var out = [UInt8](repeating: 0, count: count)
    randombytes_buf(&out, count)
    return out
  }

  /// Two small digits a byte.
  static func hex(_ bytes: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef".utf8)
    return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
  }

  /// URL-safe base64 without padding.
  static func base64(_ bytes: [UInt8]) -> String {
    let size = sodium_base64_encoded_len(bytes.count, sodium_base64_VARIANT_URLSAFE_NO_PADDING)
    return String(unsafeUninitializedCapacity: size) { out in
      out.withMemoryRebound(to: CChar.self) {
        _ = sodium_bin2base64(
          $0.baseAddress!, size, bytes, bytes.count, sodium_base64_VARIANT_URLSAFE_NO_PADDING)
      }
      // Without the zero at its end.
      return size - 1
    }
  }
}
