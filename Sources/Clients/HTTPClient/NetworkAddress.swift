import Foundation

/// An IPv4 or IPv6 address.
package struct NetworkAddress: Hashable, Sendable, CustomStringConvertible {
  /// 4 or 16, the highest first. What IPv6 only wraps, an IPv4 address, is that address.
  package let bytes: [UInt8]

  package init(_ bytes: [UInt8]) {
    let mapped: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]
    let translated: [UInt8] = [0, 0x64, 0xFF, 0x9B, 0, 0, 0, 0, 0, 0, 0, 0]
    let wraps = bytes.count == 16 && (bytes.starts(with: mapped) || bytes.starts(with: translated))
    self.bytes = wraps ? Array(bytes[12...]) : bytes
  }

  /// `nil` for what is not an address in numbers.
  package init?(_ text: String) {
    var four = in_addr(), six = in6_addr()
    if inet_pton(AF_INET, text, &four) == 1 {
      self.init(withUnsafeBytes(of: four) { Array($0) })
    } else if inet_pton(AF_INET6, text, &six) == 1 {
      self.init(withUnsafeBytes(of: six) { Array($0) })
    } else {
      return nil
    }
  }

  /// `nil` for one of another family.
  init?(_ address: UnsafePointer<sockaddr>) {
    switch Int32(address.pointee.sa_family) {
    case AF_INET:
      self.init(
        address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
          withUnsafeBytes(of: $0.pointee.sin_addr) { Array($0) }
        })
    case AF_INET6:
      self.init(
        address.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) {
          withUnsafeBytes(of: $0.pointee.sin6_addr) { Array($0) }
        })
    default: return nil
    }
  }

  package var description: String {
    var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
    inet_ntop(bytes.count == 4 ? AF_INET : AF_INET6, bytes, &text, socklen_t(text.count))
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  package var isLoopback: Bool {
    bytes.count == 4 ? bytes[0] == 127 : bytes == [UInt8](repeating: 0, count: 15) + [1]
  }

  /// Whether it is one of the internet's, and not of this machine, of a private network, or of no use at all.
  package var isPublic: Bool {
    if bytes.count == 4 { return !Self.reserved.contains { $0.contains(self) } }
    return Self.global.contains(self) && !Self.reserved.contains { $0.contains(self) }
  }

  /// What IANA's registries of special addresses have, as blocks.
  private static let reserved = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "224.0.0.0/3", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
  ].compactMap { NetworkBlock($0) }
  /// All that is given out of IPv6.
  private static let global = NetworkBlock(
    NetworkAddress([0x20] + [UInt8](repeating: 0, count: 15)), prefix: 3)
}

/// A block of addresses, such as `10.0.0.0/8`.
package struct NetworkBlock: Hashable, Sendable {
  private let first: NetworkAddress
  private let prefix: Int

  init(_ first: NetworkAddress, prefix: Int) {
    self.first = first
    self.prefix = prefix
  }

  /// `nil` for what is neither an address nor one with the length of its prefix.
  package init?(_ text: String) {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    guard let address = NetworkAddress(parts[0]) else { return nil }
    let most = address.bytes.count * 8
    guard let prefix = parts.count == 1 ? most : Int(parts[1]), (0...most).contains(prefix) else {
      return nil
    }
    self.init(address, prefix: prefix)
  }

  package func contains(_ address: NetworkAddress) -> Bool {
    guard address.bytes.count == first.bytes.count else { return false }
    let whole = prefix / 8, rest = prefix % 8
    guard address.bytes.prefix(whole) == first.bytes.prefix(whole) else { return false }
    if rest == 0 { return true }
    let mask = UInt8.max << (8 - UInt8(rest))
    return address.bytes[whole] & mask == first.bytes[whole] & mask
  }
}
