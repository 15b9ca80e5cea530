import Dispatch
import Foundation
import Synchronization

/// A TCP server that answers each connection with fixed bytes, for what no HTTP server would do.
final class ScriptedServer: Sendable {
  enum Step: Sendable {
    /// Waits for the end of a request's headers.
    case readRequest
    case send(String)
    /// Keeps the connection open and says nothing.
    case hang
    case close
  }

  private let listener: Int32
  let port: UInt16
  private let seen = Mutex(0)
  private let open = Mutex<[Int32]>([])

  /// Connections accepted.
  var connections: Int { seen.withLock { $0 } }

  /// - Parameter script: what the connection of that number does, from 0.
  init(_ script: @escaping @Sendable (Int) -> [Step]) {
    listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = in_addr_t(INADDR_LOOPBACK).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let listener = listener
    withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listener, $0, size)
        listen(listener, 64)
        getsockname(listener, $0, &size)
      }
    }
    port = UInt16(bigEndian: address.sin_port)
    DispatchQueue(label: "scripted-server").async { [weak self] in
      while true {
        let connection = accept(listener, nil, nil)
        guard connection >= 0, let self else { break }
        let number = seen.withLock { seen in
          seen += 1
          return seen - 1
        }
        open.withLock { $0.append(connection) }
        let steps = script(number)
        DispatchQueue.global().async { Self.run(steps, connection) }
      }
    }
  }

  deinit {
    shutdown(listener, Int32(SHUT_RDWR))
    close(listener)
    for descriptor in open.withLock({ $0 }) { shutdown(descriptor, Int32(SHUT_RDWR)) }
  }

  private static func run(_ steps: [Step], _ connection: Int32) {
    for step in steps {
      switch step {
      case .readRequest:
        var received: [UInt8] = []
        var byte: UInt8 = 0
        while !received.suffix(4).elementsEqual("\r\n\r\n".utf8), recv(connection, &byte, 1, 0) == 1 {
          received.append(byte)
        }
      case .send(let text):
        _ = Array(text.utf8).withUnsafeBytes {
          Foundation.send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
        }
      case .hang: return
      case .close: shutdown(connection, Int32(SHUT_RDWR))
      }
    }
  }
}
