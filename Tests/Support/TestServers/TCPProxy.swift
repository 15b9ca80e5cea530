import Foundation
import Synchronization

/// Stands between a client and a server on this machine, and cuts connections at a chosen moment.
package final class TCPProxy: Sendable {
  package enum Cut: Sendable {
    case never
    /// What contains this is not forwarded; both sides are cut.
    case before([UInt8])
    /// What contains this is forwarded, and the client is cut when the server has answered, which it never sees.
    case after([UInt8])
    /// What contains this is forwarded, and the client gets what the function makes of the answer, and is cut.
    case rewriting([UInt8], @Sendable ([UInt8]) -> [UInt8])
    /// Nothing is forwarded any more in either direction, and nothing is closed.
    case silence
  }

  package let port: Int
  private let target: Int
  private let listener: Int32
  private let cut = Mutex(Cut.never)
  private let descriptors = Mutex<[Int32]>([])
  private let accepted = Mutex(0)
  /// What the client gets of the server's next answer before it is cut; `nil` where it is not cut.
  private let lastAnswer = Mutex<(@Sendable ([UInt8]) -> [UInt8])?>(nil)

  package init(to target: Int) throws {
    self.target = target
    port = freePort()
    listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var one: Int32 = 1
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, 4)
    guard Self.withLoopback(port, { bind(listener, $0, $1) }) == 0, listen(listener, 64) == 0 else {
      throw POSIXError(.EADDRINUSE)
    }
    Thread.detachNewThread { [self] in accept() }
  }

  /// Connections that were made to it so far.
  package var connectionCount: Int { accepted.withLock { $0 } }

  package func set(_ cut: Cut) { self.cut.withLock { $0 = cut } }

  /// Ends every connection, and refuses new ones.
  package func close() {
    shutdown(listener, Int32(SHUT_RDWR))
    for descriptor in descriptors.withLock({ $0 }) { shutdown(descriptor, Int32(SHUT_RDWR)) }
  }

  private static func withLoopback(
    _ port: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) -> Int32 {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }

  private func accept() {
    while true {
      let client = Glibc.accept(listener, nil, nil)
      guard client >= 0 else { return }
      accepted.withLock { $0 += 1 }
      let server = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      guard Self.withLoopback(target, { connect(server, $0, $1) }) == 0 else {
        Glibc.close(client)
        Glibc.close(server)
        continue
      }
      descriptors.withLock { $0 += [client, server] }
      // The descriptors stay open until the test's process ends; there are few.
      Thread.detachNewThread { [self] in pump(client, server, isRequest: true) }
      Thread.detachNewThread { [self] in pump(server, client, isRequest: false) }
    }
  }

  private func pump(_ from: Int32, _ to: Int32, isRequest: Bool) {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = read(from, &buffer, buffer.count)
      guard count > 0 else { break }
      if !isRequest, let lastAnswer = lastAnswer.withLock({ $0 }) {
        let rest = lastAnswer(Array(buffer[..<count]))
        _ = write(to, rest, rest.count)
        break
      }
      switch cut.withLock({ $0 }) {
      case .silence: continue
      case .before(let pattern) where isRequest && buffer[..<count].contains(pattern):
        shutdown(from, Int32(SHUT_RDWR))
        shutdown(to, Int32(SHUT_RDWR))
        return
      case .after(let pattern) where isRequest && buffer[..<count].contains(pattern):
        lastAnswer.withLock { $0 = { _ in [] } }
      case .rewriting(let pattern, let change) where isRequest && buffer[..<count].contains(pattern):
        lastAnswer.withLock { $0 = change }
      case .never, .before, .after, .rewriting: break
      }
      guard write(to, buffer, count) == count else { break }
    }
    shutdown(from, Int32(SHUT_RDWR))
    shutdown(to, Int32(SHUT_RDWR))
  }
}
