import Foundation

/// Where requests go, and how they are written.
struct WireEndpoint {
  let host: String
  let port: Int
  let family: Int32
  let address: [UInt8]
  private let hostHeader: [UInt8]
  private let prefix: String

  /// - Parameter url: `http://host[:port][/prefix]`.
  /// - Returns: `nil` for anything else, or for a name that cannot be resolved.
  init?(_ url: String) {
    guard url.hasPrefix("http://") else { return nil }
    let rest = url.dropFirst("http://".count)
    let authority = rest.prefix { $0 != "/" }
    var path = String(rest.dropFirst(authority.count))
    while path.hasSuffix("/") { path.removeLast() }
    prefix = path
    if authority.hasPrefix("["), let end = authority.firstIndex(of: "]") {
      host = String(authority[authority.index(after: authority.startIndex)..<end])
      port = Int(authority[end...].dropFirst(2)) ?? 80
    } else {
      let parts = authority.split(separator: ":", omittingEmptySubsequences: false)
      guard parts.count <= 2, let name = parts.first, !name.isEmpty else { return nil }
      host = String(name)
      port = parts.count == 2 ? Int(parts[1]) ?? 0 : 80
    }
    guard (1...65_535).contains(port) else { return nil }
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var found: UnsafeMutablePointer<addrinfo>?
    guard getaddrinfo(host, String(port), &hints, &found) == 0, let found else { return nil }
    defer { freeaddrinfo(found) }
    family = found.pointee.ai_family
    address = Array(
      UnsafeRawBufferPointer(start: found.pointee.ai_addr, count: Int(found.pointee.ai_addrlen)))
    hostHeader = Array(" HTTP/1.1\r\nHost: \(authority)\r\n".utf8)
  }

  func bytes(of request: BuyerRequest) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(
      256 + request.path.utf8.count + (request.token?.utf8.count ?? 0) + request.body.utf8.count)
    bytes += request.method.utf8
    bytes.append(UInt8(ascii: " "))
    bytes += prefix.utf8
    bytes += request.path.utf8
    bytes += hostHeader
    if let token = request.token {
      bytes += "Authorization: Bearer ".utf8
      bytes += token.utf8
      bytes += "\r\n".utf8
    }
    if !request.body.isEmpty {
      bytes += "Content-Type: application/json\r\nContent-Length: \(request.body.utf8.count)\r\n".utf8
    }
    bytes += "\r\n".utf8
    bytes += request.body.utf8
    return bytes
  }
}
