package import EventLoop
import Foundation
package import Logging

/// Something a process runs: started in order, stopped in reverse.
@LoopActor
package protocol Service: AnyObject {
  /// Names the service in logs.
  var name: String { get }
  /// Returns once the service is ready for those that start after it.
  func start() async throws
  /// Finishes what is under way and lets go of everything. Called once, also after a failed start of a
  /// later service. Has until the drain deadline.
  func stop() async
}

/// Runs services until the process is told to end.
@LoopActor
package struct Lifecycle {
  /// How long all services together may take to stop after SIGTERM, in milliseconds.
  package static let defaultDrainMilliseconds: UInt64 = 10_000

  let services: [any Service]
  let logger: Logger
  let drainMilliseconds: UInt64

  package init(
    _ services: [any Service], logger: Logger, drainMilliseconds: UInt64 = defaultDrainMilliseconds
  ) {
    self.services = services
    self.logger = logger
    self.drainMilliseconds = drainMilliseconds
  }

  /// Starts all services in order, waits for SIGTERM or SIGINT, and stops them in reverse order.
  ///
  /// A second signal, or a drain longer than its deadline, ends the process with status 75 at once: what was
  /// under way is finished by another process.
  /// - Throws: what a service threw at start, after those already started were stopped.
  package func run() async throws {
    let (signals, continuation) = AsyncStream<Int32>.makeStream(bufferingPolicy: .bufferingNewest(2))
    let watchers = [SIGTERM, SIGINT].map { signal in
      SignalWatcher(signal) { continuation.yield(signal) }
    }
    defer { withExtendedLifetime(watchers) {} }

    var started: [any Service] = []
    do {
      for service in services {
        // Listed first, so that what a failing start already opened is let go of too.
        started.append(service)
        try await service.start()
        logger.debug("service started", ["service.name": service.name])
      }
    } catch {
      await stop(started)
      throw error
    }
    logger.info("ready", ["services": services.map(\.name).joined(separator: ",")])

    var iterator = signals.makeAsyncIterator()
    let first = await iterator.next()
    logger.info("draining", ["signal": first ?? 0])
    let deadline = LoopTimer()
    deadline.schedule(afterMilliseconds: drainMilliseconds) { [logger] in
      logger.error("drain deadline exceeded")
      exit(75)
    }
    let impatient = [SIGTERM, SIGINT].map { signal in SignalWatcher(signal) { exit(75) } }
    await stop(started)
    deadline.cancel()
    withExtendedLifetime(impatient) {}
    logger.info("stopped")
  }

  private func stop(_ started: [any Service]) async {
    for service in started.reversed() {
      await service.stop()
      logger.debug("service stopped", ["service.name": service.name])
    }
  }
}
