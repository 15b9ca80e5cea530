import Foundation

/// A Redis of the test's own, to be killed and started again at will.
package final class TestRedis: @unchecked Sendable {
  package let port = freePort()
  private let directory: String
  private let arguments: [String]
  private var process: ServerProcess?

  /// - Parameter arguments: further options of `redis-server`.
  package init(_ arguments: [String] = []) throws {
    directory = try makeTestDirectory("redis")
    self.arguments = arguments
    try start()
  }

  package var url: String { "redis://127.0.0.1:\(port)" }

  package func start() throws {
    process = try ServerProcess(
      [
        "redis-server", "--port", "\(port)", "--bind", "127.0.0.1", "--dir", directory, "--save", "",
        "--appendonly", "yes",
      ] + arguments, log: "\(directory)/log")
  }

  package func stop(_ signal: Int32 = SIGKILL) {
    process?.stop(signal)
    process = nil
  }

  /// Stops it, and makes it forget everything.
  package func stopAndForget() throws {
    stop()
    try? FileManager.default.removeItem(atPath: "\(directory)/appendonlydir")
  }

  /// Lets it hang, or go on.
  package func signal(_ signal: Int32) { process?.signal(signal) }

  deinit {
    stop()
    try? FileManager.default.removeItem(atPath: directory)
  }

  /// A Redis shared by the tests of this process: the one that the environment names, else one of our own.
  package static let shared = SharedURL("ONSALE_TEST_REDIS_URL") {
    let redis = try TestRedis()
    return (redis.url, redis)
  }
}

/// A server's URL from the environment, or of a server that is started when it is first asked for.
package final class SharedURL: @unchecked Sendable {
  private let lock = NSLock()
  private let variable: String
  private let start: () throws -> (String, AnyObject)
  private var own: (String, AnyObject)?

  init(_ variable: String, _ start: @escaping () throws -> (String, AnyObject)) {
    self.variable = variable
    self.start = start
  }

  package func url() throws -> String {
    if let url = ProcessInfo.processInfo.environment[variable] { return url }
    return try lock.withLock {
      if let own { return own.0 }
      let started = try start()
      own = started
      return started.0
    }
  }
}
