package import EventLoop
package import Logging

@LoopActor
package final class RedisClient {
  package init(
    _ configuration: RedisConfiguration, logger: Logger,
    prepare: @escaping @LoopActor (RedisClient) async throws -> Void = { _ in }
  ) {}
  package func start() {}
  package func close() {}
  package var isReady: Bool { false }
  package func waitUntilReady(milliseconds: UInt64) async throws(RedisError) {}
  package func command(_ arguments: [RedisArgument]) async throws(RedisError) -> RedisValue {
    throw RedisError(.unavailable, "")
  }
  package func call(
    _ function: String, keys: [String], _ arguments: [RedisArgument]
  ) async throws(RedisError) -> RedisValue {
    throw RedisError(.unavailable, "")
  }
}
