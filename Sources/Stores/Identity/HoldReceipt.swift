/// What was held for a request, as its buyer was told: they show it when nobody else remembers.
package struct HoldReceipt: Hashable, Sendable {
  /// The life of the queue in which it was granted.
  package let generation: Int
  /// In milliseconds since 1970 on Redis's clock.
  package let deadline: Int
  /// In minor units.
  package let amount: Int
  package let tickets: [Int]

  package init(generation: Int, deadline: Int, amount: Int, tickets: [Int]) {
    self.generation = generation
    self.deadline = deadline
    self.amount = amount
    self.tickets = tickets
  }
}

/// Signs what buyers are told of their holds, and reads what they show: opaque, URL-safe, impossible to make up without
/// the secret, and of no use for another request.
///
/// A receipt is `generation ‖ deadline ‖ amount ‖ tickets ‖ MAC`. The MAC covers event, position and owner of the
/// request, too, which its id says.
package struct HoldReceiptCoder: Sendable {
  private static let macLength = 16
  private static let headLength = 4 + 8 + 8
  private static let ticketLength = 4
  private static let mostTickets = 50
  /// Characters of the longest one.
  package static let textLimit = (headLength + mostTickets * ticketLength + macLength + 2) / 3 * 4

  private let keys: SigningKeys

  /// - Parameters:
  ///   - secret: the installation's secret; receipts get a key of their own, derived from it.
  ///   - former: secrets that it has replaced.
  package init(secret: String, former: [String] = []) {
    keys = SigningKeys(secret: secret, former: former, label: "onsale held for 1", macLength: Self.macLength)
  }

  package func encode(_ receipt: HoldReceipt, of id: RequestID) -> String {
    precondition(receipt.tickets.count <= Self.mostTickets, "a request has few tickets")
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Self.headLength + receipt.tickets.count * Self.ticketLength + Self.macLength)
    bytes.append(bigEndian: UInt64(UInt32(truncatingIfNeeded: receipt.generation)), 4)
    bytes.append(bigEndian: UInt64(max(0, receipt.deadline)), 8)
    bytes.append(bigEndian: UInt64(max(0, receipt.amount)), 8)
    for ticket in receipt.tickets { bytes.append(bigEndian: UInt64(ticket), Self.ticketLength) }
    bytes += keys.mac(Self.signed(bytes[...], id))
    return Base64URL.encode(bytes)
  }

  /// `nil` for anything that `encode` did not write for this place, with the same secret or a former one, in this or an
  /// earlier life of its queue.
  package func decode(_ text: String, of id: RequestID) -> HoldReceipt? {
    var text = text
    guard text.utf8.count <= Self.textLimit, let bytes = text.withUTF8({ Base64URL.decode($0) }),
      bytes.count >= Self.headLength + Self.macLength,
      (bytes.count - Self.headLength - Self.macLength) % Self.ticketLength == 0
    else { return nil }
    let end = bytes.count - Self.macLength
    guard keys.haveSigned(Self.signed(bytes[..<end], id) + bytes[end...]) else { return nil }
    return HoldReceipt(
      generation: Self.number(bytes[0..<4]), deadline: Self.number(bytes[4..<12]),
      amount: Self.number(bytes[12..<Self.headLength]),
      tickets: stride(from: Self.headLength, to: end, by: Self.ticketLength).map {
        Self.number(bytes[$0..<$0 + Self.ticketLength])
      })
  }

  private static func signed(_ content: ArraySlice<UInt8>, _ id: RequestID) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.append(bigEndian: UInt64(id.event), 8)
    bytes.append(bigEndian: UInt64(id.position), 8)
    return bytes + id.owner.utf8 + content
  }

  private static func number(_ bytes: ArraySlice<UInt8>) -> Int {
    Int(truncatingIfNeeded: bytes.reduce(UInt64(0)) { $0 << 8 | UInt64($1) })
  }
}
