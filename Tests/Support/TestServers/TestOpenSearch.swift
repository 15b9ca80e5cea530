import Foundation

/// An OpenSearch of the test's own. It takes some seconds to start and half a gigabyte of memory.
package final class TestOpenSearch: @unchecked Sendable {
  package let port = freePort()
  private let directory: String
  private var process: ServerProcess?

  /// The program that starts one, where there is one.
  private static let program: String? = {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
      "../../../..")
    let path = root.appendingPathComponent("shared/opensearch/start").standardized.path
    let hasJava = FileManager.default.isExecutableFile(atPath: "/usr/bin/java")
    return hasJava && FileManager.default.isExecutableFile(atPath: path) ? path : nil
  }()

  package init() throws {
    directory = try makeTestDirectory("opensearch")
    try start()
  }

  package var url: String { "http://127.0.0.1:\(port)" }

  package func start() throws {
    guard let program = Self.program else { preconditionFailure("there is no OpenSearch to start") }
    process = try ServerProcess([program, "\(directory)/data", "\(port)"], log: "\(directory)/log")
  }

  package func stop(_ signal: Int32 = SIGKILL) {
    process?.stop(signal)
    process = nil
  }

  deinit {
    stop()
    try? FileManager.default.removeItem(atPath: directory)
  }

  /// Whether tests can have one: the environment names one by `ONSALE_TEST_SEARCH_URL`, or one can be started.
  package static let isAvailable =
    ProcessInfo.processInfo.environment["ONSALE_TEST_SEARCH_URL"] != nil || program != nil

  /// One shared by the tests of this process. May need some seconds until it answers.
  package static let shared = SharedURL("ONSALE_TEST_SEARCH_URL") {
    let server = try TestOpenSearch()
    return (server.url, server)
  }
}
