import Foundation

/// A PostgreSQL of the test's own, to be killed and started again at will. Its superuser is `postgres`.
package final class TestPostgres: @unchecked Sendable {
  package let port = freePort()
  private let directory: String
  private let binaries: String
  private var process: ServerProcess?

  package init() throws {
    directory = try makeTestDirectory("postgres")
    let root = "/usr/lib/postgresql"
    let versions = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
    binaries = "\(root)/\(versions.compactMap(Int.init).max() ?? 15)/bin"
    if getuid() == 0 {
      let owner = ServerProcess.run(["chown", "postgres:", directory])
      precondition(owner == 0, "PostgreSQL's user must own its directory")
    }
    let made = try ServerProcess(
      ["\(binaries)/initdb", "-D", "\(directory)/data", "-A", "trust", "-U", "postgres", "--no-sync"],
      user: "postgres")
    precondition(made.exitStatus == 0, "initdb failed")
    try start()
  }

  package var url: String { "postgres://postgres@127.0.0.1:\(port)/postgres" }

  package func start() throws {
    process = try ServerProcess(
      [
        "\(binaries)/postgres", "-D", "\(directory)/data", "-p", "\(port)", "-c",
        "listen_addresses=127.0.0.1",
        "-c", "unix_socket_directories=", "-c", "max_connections=100", "-c", "fsync=off",
      ], user: "postgres", log: "\(directory)/log")
  }

  /// SIGINT is a fast shutdown, SIGQUIT an immediate one.
  package func stop(_ signal: Int32 = SIGQUIT) {
    process?.stop(signal)
    process = nil
  }

  deinit {
    stop()
    try? FileManager.default.removeItem(atPath: directory)
  }

  /// A PostgreSQL shared by the tests of this process: the one that the environment names, else one of our own.
  package static let shared = SharedURL("ONSALE_TEST_DATABASE_URL") {
    let postgres = try TestPostgres()
    return (postgres.url, postgres)
  }
}

extension ServerProcess {
  static func run(_ command: [String]) -> Int32 {
    (try? ServerProcess(command))?.exitStatus ?? -1
  }
}
