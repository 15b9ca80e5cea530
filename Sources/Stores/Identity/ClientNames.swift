/// What a client is called where it is written down: enough to find it in a proxy's log, and not its address.
///
/// Of IPv4 the /24 and a keyed hash that tells its addresses apart, such as `203.0.113.0/24#9f31c2d4e5`; of IPv6 the /56,
/// which counts as one client anyway.
package struct ClientNames: Sendable {
  private static let hashLength = 16, shownBytes = 5

  private let key: [UInt8]

  /// - Parameter secret: the installation's; with another one clients are called otherwise.
  package init(secret: String) { key = Sodium.subkey(of: secret, label: "onsale client 1") }

  /// - Parameter client: as a request has it: an address of IPv4, or the first of a /56.
  package func name(of client: String) -> String {
    if client.utf8.contains(UInt8(ascii: ":")) { return client + "/56" }
    let hash = Sodium.hash(Array(client.utf8), key: key, length: Self.hashLength).prefix(Self.shownBytes)
    let network = client.utf8.lastIndex(of: UInt8(ascii: ".")).map { String(client[..<$0]) } ?? "0.0.0"
    return network + ".0/24#" + Sodium.hex(hash)
  }
}
