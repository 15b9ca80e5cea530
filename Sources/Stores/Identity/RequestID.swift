/// What a request's public id says: which place in which queue, and whose.
package struct RequestID: Hashable, Sendable {
  package let event: Int
  /// Which life of the event's queue; a position is unique within one.
  package let generation: Int
  package let position: Int
  /// The key of the user who was given the place. Redis may lose its last writes and give a position out again: the
  /// id of its first owner does not open the second one's request.
  package let owner: String
  /// The number of the line of those who wish for the same, and how many came to it before and with this one; both 0
  /// where they were not known when the id was written.
  package let line: Int
  package let ordinal: Int

  /// - Parameters:
  ///   - owner: `ownerLength` ASCII characters.
  ///   - line: 16 bits.
  ///   - ordinal: 32 bits.
  package init(
    event: Int, generation: Int, position: Int, owner: String, line: Int = 0, ordinal: Int = 0
  ) {
    self.event = event
    self.generation = generation
    self.position = position
    self.owner = owner
    self.line = line
    self.ordinal = ordinal
  }
}

/// Writes and reads request ids: opaque, URL-safe, and impossible to make up without the secret.
///
/// An id is `version ‖ event ‖ generation ‖ position ‖ owner ‖ MAC`, 49 bytes in 66 characters, and one that knows its line
/// has `line ‖ ordinal` before the MAC: 55 bytes in 74. The MAC covers all before it. Every id has exactly one spelling.
package struct RequestIDCoder: Sendable {
  private static let version: UInt8 = 2, versionWithLine: UInt8 = 3
  package static let ownerLength = 12
  private static let macLength = 16
  private static let ownerOffset = 1 + 8 + 4 + 8
  private static let lineOffset = ownerOffset + ownerLength
  private static let lineLength = 2 + 4
  private static let length = lineOffset + macLength
  /// Characters of an id, without and with its line.
  package static let textLength = 66, textLengthWithLine = 74

  private let keys: SigningKeys
  /// Signs what is held for requests.
  package let holds: HoldReceiptCoder

  /// - Parameters:
  ///   - secret: the installation's secret; ids get a key of their own, derived from it.
  ///   - former: secrets that `secret` has replaced, for as long as a queue has places that were given out under them.
  package init(secret: String, former: [String] = []) {
    keys = SigningKeys(
      secret: secret, former: former, label: "onsale request id 1", macLength: Self.macLength)
    holds = HoldReceiptCoder(secret: secret, former: former)
  }

  package func encode(_ id: RequestID) -> String {
    precondition(id.event >= 0 && id.position >= 0, "ids and positions are not negative")
    precondition(id.owner.utf8.count == Self.ownerLength, "keys of users have one length")
    precondition(id.line >= 0 && id.line <= UInt16.max && id.ordinal >= 0, "lines are few")
    var bytes: [UInt8] = [id.line > 0 ? Self.versionWithLine : Self.version]
    bytes.reserveCapacity(Self.length + Self.lineLength)
    bytes.append(bigEndian: UInt64(id.event), 8)
    bytes.append(bigEndian: UInt64(UInt32(truncatingIfNeeded: id.generation)), 4)
    bytes.append(bigEndian: UInt64(id.position), 8)
    bytes += id.owner.utf8
    if id.line > 0 {
      bytes.append(bigEndian: UInt64(id.line), 2)
      bytes.append(bigEndian: UInt64(UInt32(clamping: id.ordinal)), 4)
    }
    bytes += keys.mac(bytes)
    return Base64URL.encode(bytes)
  }

  /// `nil` for anything that `encode` did not write with the same secret or a former one.
  package func decode(_ text: String) -> RequestID? {
    var text = text
    let hasLine = text.utf8.count == Self.textLengthWithLine
    guard hasLine || text.utf8.count == Self.textLength, let bytes = text.withUTF8({ Base64URL.decode($0) }),
      keys.haveSigned(bytes),
      bytes[0] == (hasLine ? Self.versionWithLine : Self.version)
    else { return nil }
    return bytes.withUnsafeBytes { bytes in
      let event = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 1, as: UInt64.self))
      let generation = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 9, as: UInt32.self))
      let position = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 13, as: UInt64.self))
      var line = 0, ordinal = 0
      if hasLine {
        line = Int(UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: Self.lineOffset, as: UInt16.self)))
        ordinal = Int(
          UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: Self.lineOffset + 2, as: UInt32.self)))
      }
      return RequestID(
        event: Int(truncatingIfNeeded: event), generation: Int(generation),
        position: Int(truncatingIfNeeded: position),
        owner: String(
          decoding: bytes[Self.ownerOffset..<Self.ownerOffset + Self.ownerLength], as: UTF8.self),
        line: line, ordinal: ordinal)
    }
  }
}
