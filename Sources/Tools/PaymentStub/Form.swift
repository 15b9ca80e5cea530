import HTTPServer

/// The fields of an `application/x-www-form-urlencoded` body, in order.
struct Form: Sendable {
  private static let maximumFields = 200
  private static let maximumMetadata = 50

  private(set) var fields: [(name: String, value: String)] = []

  init() {}

  init(_ body: [UInt8]) throws(StripeFailure) {
    for item in body.split(separator: UInt8(ascii: "&")) {
      let parts = item.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
      guard let name = Self.decode(parts[0]), let value = parts.count > 1 ? Self.decode(parts[1]) : "",
        fields.count < Self.maximumFields
      else { throw .invalid("The request's body is not a form, or has too many fields.") }
      fields.append((name, value))
    }
  }

  private static func decode(_ bytes: ArraySlice<UInt8>) -> String? {
    bytes.withUnsafeBufferPointer { PercentEncoding.decode($0, plusIsSpace: true) }
  }

  /// The last field of that name.
  subscript(name: String) -> String? { fields.last { $0.name == name }?.value }

  func integer(_ name: String) throws(StripeFailure) -> Int? {
    guard let text = self[name] else { return nil }
    guard let value = Int(text) else {
      throw .invalid("Invalid integer: \(text.prefix(40))", code: "parameter_invalid_integer", param: name)
    }
    return value
  }

  func bool(_ name: String) throws(StripeFailure) -> Bool {
    switch self[name] {
    case nil, "false"?: return false
    case "true"?: return true
    default: throw .invalid("Invalid boolean", param: name)
    }
  }

  /// The fields `metadata[name]`.
  func metadata() throws(StripeFailure) -> [String: String] {
    var metadata: [String: String] = [:]
    for (name, value) in fields where name.hasPrefix("metadata[") && name.hasSuffix("]") {
      let key = String(name.dropFirst(9).dropLast())
      guard !key.isEmpty, key.count <= 40, value.count <= 500, metadata.count < Self.maximumMetadata else {
        throw .invalid(
          "Metadata has at most 50 keys of 40 characters with values of 500 characters.", param: "metadata")
      }
      metadata[key] = value
    }
    return metadata
  }

  /// A number that is the same for the same request, whatever the order of its fields (FNV-1a).
  func fingerprint(_ path: String) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    func mix(_ text: String) {
      for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
      hash = (hash ^ 0xFF) &* 0x100_0000_01b3
    }
    mix(path)
    for (name, value) in fields.sorted(by: { ($0.name, $0.value) < ($1.name, $1.value) }) {
      mix(name)
      mix(value)
    }
    return hash
  }
}
