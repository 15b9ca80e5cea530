package import EventLoop
import Logging
package import Postgres
import TestServers

/// Databases of the shared PostgreSQL.
@LoopActor
package enum TestDatabase {
  /// An empty one. - Returns: its URL.
  package static func make() async throws -> String {
    let server = try TestPostgres.shared.url()
    let name = "test_\(UInt64.random(in: 0...UInt64.max))"
    let client = try await connect(server, connections: 1)
    defer { client.close() }
    try await client.script("CREATE DATABASE \(name)")
    let end = server.lastIndex(of: "/") ?? server.endIndex
    return server[..<end] + "/" + name
  }

  /// A client that is ready.
  package static func connect(
    _ url: String, connections: Int, _ configure: (inout PostgresConfiguration) -> Void = { _ in }
  ) async throws -> PostgresClient {
    var configuration = try PostgresConfiguration(url: url, connections: connections)
    configure(&configuration)
    let client = PostgresClient(configuration, logger: Logger(label: "test"))
    client.start()
    try await client.waitUntilReady(milliseconds: 60_000)
    return client
  }
}
