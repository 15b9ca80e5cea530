import Glibc

/// The address that a connection comes from. IPv4 is a part of IPv6 here, as in the kernel.
struct ClientAddress: Hashable, Sendable, CustomStringConvertible {
  /// The first and the second eight bytes.
  let high: UInt64
  let low: UInt64

  static let nobody = ClientAddress(high: 0, low: 0)
  private static let mapped: UInt64 = 0xFFFF_0000_0000

  init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// Nobody's, where the kernel tells none.
  init(_ storage: sockaddr_storage) {
    self = withUnsafeBytes(of: storage) { bytes in
      switch Int32(storage.ss_family) {
      case AF_INET:
        let address = bytes.load(as: sockaddr_in.self).sin_addr.s_addr
        return ClientAddress(high: 0, low: Self.mapped | UInt64(UInt32(bigEndian: address)))
      case AF_INET6:
        // The address is at the eighth byte.
        return ClientAddress(
          high: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)),
          low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self)))
      default: return .nobody
      }
    }
  }

  /// As people and proxies write it.
  init?(_ text: some StringProtocol) {
    var four = in_addr(), six = in6_addr()
    let text = String(text)
    if inet_pton(AF_INET, text, &four) == 1 {
      self.init(high: 0, low: Self.mapped | UInt64(UInt32(bigEndian: four.s_addr)))
    } else if inet_pton(AF_INET6, text, &six) == 1 {
      self = withUnsafeBytes(of: &six) { bytes in
        ClientAddress(
          high: UInt64(bigEndian: bytes.load(as: UInt64.self)),
          low: UInt64(bigEndian: bytes.load(fromByteOffset: 8, as: UInt64.self)))
      }
    } else {
      return nil
    }
  }

  var isIPv4: Bool { high == 0 && low >> 32 == Self.mapped >> 32 }

  var description: String {
    var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
    if isIPv4 {
      var address = in_addr(s_addr: UInt32(truncatingIfNeeded: low).bigEndian)
      inet_ntop(AF_INET, &address, &text, socklen_t(text.count))
    } else {
      var words = (high.bigEndian, low.bigEndian)
      inet_ntop(AF_INET6, &words, &text, socklen_t(text.count))
    }
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// Who is one client: an address of IPv4, or what one customer gets of IPv6, a /56.
  var client: ClientAddress { isIPv4 ? self : ClientAddress(high: high & ~0xFF, low: 0) }
}
