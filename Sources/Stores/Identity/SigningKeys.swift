/// The keys with which texts for one purpose are signed, derived from the installation's secrets.
struct SigningKeys: Sendable {
  private let key: [UInt8]
  /// Those of secrets that were replaced: what was signed with them is still read.
  private let former: [[UInt8]]
  private let macLength: Int

  /// - Parameters:
  ///   - former: secrets that `secret` has replaced.
  ///   - label: names the purpose; no other one has these keys.
  init(secret: String, former: [String], label: String, macLength: Int) {
    key = Sodium.subkey(of: secret, label: label)
    self.former = former.map { Sodium.subkey(of: $0, label: label) }
    self.macLength = macLength
  }

  func mac(_ bytes: [UInt8]) -> [UInt8] { Sodium.hash(bytes, key: key, length: macLength) }

  /// Whether `bytes` end in the MAC of what comes before, by one of the keys.
  func haveSigned(_ bytes: [UInt8]) -> Bool {
    Sodium.endsInHash(bytes, key: key, length: macLength)
      || former.contains { Sodium.endsInHash(bytes, key: $0, length: macLength) }
  }
}

extension [UInt8] {
  /// The last `count` bytes of a number, the highest first.
  mutating func append(bigEndian value: UInt64, _ count: Int) {
    for shift in stride(from: (count - 1) * 8, through: 0, by: -8) {
      append(UInt8(truncatingIfNeeded: value >> UInt64(shift)))
    }
  }
}
