/// Where somebody else's addresses may lead: to the internet, by TLS, and to blocks that the operator names.
///
/// A name is judged by where it leads at the moment of the connection, so that it may be anything when it is written down.
package struct AddressPolicy: Sendable {
  private static let longestURL = 2_000

  private let blocks: [NetworkBlock]

  package init(blocks: [NetworkBlock] = []) { self.blocks = blocks }

  /// Blocks of addresses between commas; `nil` where one cannot be read.
  package init?(blocks text: String) {
    let parts = text.split(separator: ",").map { $0.filter { $0 != " " } }
    let blocks = parts.compactMap { NetworkBlock($0) }
    guard blocks.count == parts.count else { return nil }
    self.init(blocks: blocks)
  }

  package func allows(_ address: NetworkAddress) -> Bool {
    address.isPublic || blocks.contains { $0.contains(address) }
  }

  /// Whether addresses on this machine may be without TLS.
  package var allowsPlain: Bool {
    [NetworkAddress("127.0.0.1"), NetworkAddress("::1")].contains { address in
      address.map(allows) ?? false
    }
  }

  /// What is wrong with a URL, as a predicate; `nil` if nothing is.
  package static func problem(with url: String, allowsPlain: Bool) -> String? {
    guard url.utf8.count <= longestURL, url.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
      return "must be visible ASCII without blanks, and at most \(longestURL) characters long"
    }
    if url.contains("#") || url.contains("\\") { return "may have no fragment and no backslash" }
    let isPlain = url.hasPrefix("http://")
    guard isPlain || url.hasPrefix("https://") else { return "must begin with https://" }
    let rest = url.drop { $0 != ":" }.dropFirst(3)
    let authority = String(rest.prefix { $0 != "/" && $0 != "?" })
    if authority.isEmpty { return "has no host" }
    if authority.contains("@") { return "may have no user and no password" }
    guard isPlain else { return nil }
    let host =
      authority.hasPrefix("[")
      ? String(authority.dropFirst().prefix { $0 != "]" }) : String(authority.prefix { $0 != ":" })
    let isHere = host == "localhost" || NetworkAddress(host)?.isLoopback == true
    return isHere && allowsPlain
      ? nil : "must begin with https://; http:// is for this machine, where its addresses are allowed"
  }
}
