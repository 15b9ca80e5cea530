package import EventLoop
package import Logging

@LoopActor
package final class PostgresClient {
  package init(_ configuration: PostgresConfiguration, logger: Logger) {}
  package func start() {}
  package func close() {}
  package var isReady: Bool { false }
  package func waitUntilReady(milliseconds: UInt64) async throws(PostgresError) {}
  package func query(_ sql: SQL) async throws(PostgresError) -> [PostgresRow] {
    throw PostgresError(.unavailable, "")
  }
  package func transaction(_ statements: [SQL]) async throws(PostgresError) -> [[PostgresRow]] {
    throw PostgresError(.unavailable, "")
  }
  package func withTransaction<Result>(
    _ body: @LoopActor (PostgresTransaction) async throws -> Result
  ) async throws -> Result {
    throw PostgresError(.unavailable, "")
  }
  package func script(_ text: String) async throws(PostgresError) {}
}

@LoopActor
package final class PostgresTransaction {
  package func query(_ sql: SQL) async throws(PostgresError) -> [PostgresRow] {
    throw PostgresError(.unavailable, "")
  }
}
