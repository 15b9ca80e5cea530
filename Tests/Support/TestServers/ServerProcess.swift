import Foundation
import Synchronization

/// A child process that ends with its parent, whatever happens to that.
package final class ServerProcess: @unchecked Sendable {
  // Only the test that started it uses it, one step after the other.
  private let process: Process

  /// Starts `command`, as `user` where the tests run as root.
  /// - Parameter log: the file that its output is appended to; `nil` for nowhere.
  package init(_ command: [String], user: String? = nil, log: String? = nil) throws {
    process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/setpriv")
    var arguments: [String] = []
    if let user, getuid() == 0 {
      arguments += ["--reuid", user, "--regid", user, "--init-groups"]
    }
    process.arguments = arguments + ["--pdeathsig", "KILL", "--"] + command
    var output = FileHandle.nullDevice
    if let log {
      let descriptor = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
      guard descriptor >= 0 else { throw POSIXError(.EACCES) }
      output = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    }
    process.standardOutput = output
    process.standardError = output
    process.standardInput = FileHandle.nullDevice
    try Spawner.shared.run(process)
  }

  package func signal(_ signal: Int32) { kill(process.processIdentifier, signal) }

  /// Sends `signal` and waits for the end.
  package func stop(_ signal: Int32 = SIGKILL) {
    self.signal(signal)
    process.waitUntilExit()
  }

  package var exitStatus: Int32 {
    process.waitUntilExit()
    return process.terminationStatus
  }
}

/// Starts processes from a thread that never ends: a child that is to end with its parent ends with the thread that
/// started it.
private final class Spawner: @unchecked Sendable {
  static let shared = Spawner()

  // Protects the two below.
  private let condition = NSCondition()
  private var waiting: [Process] = []
  private var results: [ObjectIdentifier: Result<Void, any Error>] = [:]

  private init() {
    Thread.detachNewThread { [self] in
      while true {
        condition.lock()
        while waiting.isEmpty { condition.wait() }
        let process = waiting.removeFirst()
        condition.unlock()
        let result = Result { try process.run() }
        condition.lock()
        results[ObjectIdentifier(process)] = result
        condition.broadcast()
        condition.unlock()
      }
    }
  }

  func run(_ process: Process) throws {
    condition.lock()
    defer { condition.unlock() }
    waiting.append(process)
    condition.broadcast()
    while true {
      if let result = results.removeValue(forKey: ObjectIdentifier(process)) { return try result.get() }
      condition.wait()
    }
  }
}

/// Directories to be removed when the process ends: servers that all its tests share live that long.
private let directories = Mutex<[String]>([])
private let removal: Void = {
  atexit {
    for path in directories.withLock({ $0 }) { try? FileManager.default.removeItem(atPath: path) }
  }
}()

/// A directory of its own under the temporary one, which servers under other users may enter.
package func makeTestDirectory(_ name: String) throws -> String {
  let base = ProcessInfo.processInfo.environment["ONSALE_TEST_DIRECTORY"] ?? "/tmp"
  let path = "\(base)/\(name).\(UUID().uuidString.prefix(8))"
  try FileManager.default.createDirectory(
    atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o711])
  removal
  directories.withLock { $0.append(path) }
  return path
}

/// Ports given out in this process: a server takes its time to occupy the one it was told.
private let givenPorts = Mutex<Set<UInt16>>([])

/// A port that nobody listens on at the moment, and that no other test of this process was given.
package func freePort() -> Int {
  while true {
    // Below the ephemeral range, so that no outgoing connection takes it meanwhile.
    let port = UInt16.random(in: 10_000..<20_000)
    guard givenPorts.withLock({ $0.insert(port).inserted }) else { continue }
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let status = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    if status == 0 { return Int(port) }
  }
}
