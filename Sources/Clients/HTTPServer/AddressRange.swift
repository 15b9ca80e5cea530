/// Addresses that share their first bits, such as `10.0.0.0/8`, `2001:db8::/32` or `127.0.0.1`.
package struct AddressRange: Sendable, Equatable {
  private let first: ClientAddress
  /// Of the 128 bits of an address of IPv6, of which one of IPv4 is a part.
  private let bits: Int

  package init?(_ text: some StringProtocol) {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    guard let address = ClientAddress(parts[0]) else { return nil }
    let width = address.isIPv4 ? 32 : 128
    var length = width
    if parts.count > 1 {
      guard parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = Int(parts[1]),
        number <= width
      else { return nil }
      length = number
    }
    bits = 128 - width + length
    first = address.prefix(bits)
  }

  func contains(_ address: ClientAddress) -> Bool { address.prefix(bits) == first }
}

extension ClientAddress {
  /// The same with all but the first bits zero.
  func prefix(_ bits: Int) -> ClientAddress {
    func mask(_ bits: Int) -> UInt64 { bits <= 0 ? 0 : bits >= 64 ? .max : ~(UInt64.max >> UInt64(bits)) }
    return ClientAddress(high: high & mask(bits), low: low & mask(bits - 64))
  }

  /// Who asks, where proxies that are trusted say so: each adds the address that it was asked from at the end.
  /// - Parameters:
  ///   - header: of X-Forwarded-For, all of them in order.
  ///   - proxies: who is believed; anybody could have written what stands before the first other address from the right.
  func forwarded(by header: String, proxies: [AddressRange]) -> ClientAddress {
    var client = self
    for part in header.split(separator: ",").reversed() {
      guard proxies.contains(where: { $0.contains(client) }), let next = ClientAddress(forwarded: part) else {
        break
      }
      client = next
    }
    return client
  }

  /// With the port that some proxies write behind it.
  private init?(forwarded part: Substring) {
    let text = part.filter { $0 != " " && $0 != "\t" }
    if let address = ClientAddress(text) {
      self = address
    } else if text.hasPrefix("["), let end = text.firstIndex(of: "]"),
      let address = ClientAddress(text[text.index(after: text.startIndex)..<end])
    {
      self = address
    } else if let colon = text.firstIndex(of: ":"), let address = ClientAddress(text[..<colon]) {
      self = address
    } else {
      return nil
    }
  }
}
