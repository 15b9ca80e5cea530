import Foundation

/// A listening TCP socket.
struct Listener {
  /// Connections that the kernel holds until they are accepted; it may lower this to `net.core.somaxconn`.
  static let backlog: Int32 = 4096

  let descriptor: Int32
  let port: UInt16

  /// - Parameter isShared: listens with SO_REUSEPORT, so that several processes of one user share a port and the kernel
  ///   spreads connections over them.
  init(host: String, port: UInt16, isShared: Bool) throws(HTTPServerError) {
    var hints = addrinfo()
    hints.ai_flags = AI_PASSIVE
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    let status = getaddrinfo(host.isEmpty ? nil : host, String(port), &hints, &list)
    guard status == 0, let address = list else {
      throw HTTPServerError(
        code: .badAddress, message: "cannot listen at \(host): \(String(cString: gai_strerror(status)))")
    }
    defer { freeaddrinfo(list) }
    let kind = address.pointee.ai_socktype | Int32(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    let descriptor = socket(address.pointee.ai_family, kind, address.pointee.ai_protocol)
    var on: Int32 = 1
    var off: Int32 = 0
    let size = socklen_t(MemoryLayout<Int32>.size)
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, size)
    if isShared { setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &on, size) }
    if address.pointee.ai_family == AF_INET6 {
      setsockopt(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &off, size)
    }
    guard descriptor >= 0, bind(descriptor, address.pointee.ai_addr, address.pointee.ai_addrlen) == 0,
      listen(descriptor, Self.backlog) == 0
    else {
      let reason = String(cString: strerror(errno))
      if descriptor >= 0 { close(descriptor) }
      throw HTTPServerError(code: .cannotListen, message: "cannot listen at \(host):\(port): \(reason)")
    }
    self.descriptor = descriptor
    var bound = sockaddr_storage()
    var boundSize = socklen_t(MemoryLayout<sockaddr_storage>.size)
    self.port = withUnsafeMutableBytes(of: &bound) { bytes in
      guard let base = bytes.baseAddress else { return port }
      getsockname(descriptor, base.assumingMemoryBound(to: sockaddr.self), &boundSize)
      // The port is at the same place in the addresses of both families.
      return UInt16(bigEndian: bytes.load(fromByteOffset: 2, as: UInt16.self))
    }
  }
}
