package import EventLoop
package import Logging

@LoopActor
package final class RedisSubscriber {
  package init(
    _ configuration: RedisConfiguration, channels: [String], logger: Logger,
    onSubscribed: @escaping @LoopActor () -> Void,
    onMessage: @escaping @LoopActor (_ channel: String, _ message: [UInt8]) -> Void
  ) {}
  package func start() {}
  package func close() {}
  package var isReady: Bool { false }
}
