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
  /// Ends the process at once.
  let giveUp: @LoopActor () -> Void

  package init(
    _ services: [any Service], logger: Logger, drainMilliseconds: UInt64 = defaultDrainMilliseconds,
    giveUp: @escaping @LoopActor () -> Void = { exit(75) }
  ) {
    self.services = services
    self.logger = logger
    self.drainMilliseconds = drainMilliseconds
    self.giveUp = giveUp
  }

  /// Starts all services in order, waits for SIGTERM or SIGINT, and stops them in reverse order. A signal that
  /// comes while they start cancels that, and those already started are stopped.
  ///
  /// A second signal, or a drain longer than its deadline, ends the process with status 75 at once: what was
  /// under way is finished by another process.
  /// - Throws: what a service threw at start, after those already started were stopped.
  package func run() async throws {
    // Owned by this call, which waits for it.
    let starting = Task { @LoopActor in await start() }
    let end = End(milliseconds: drainMilliseconds, logger: logger, giveUp: giveUp) { starting.cancel() }
    let (started, failure) = await starting.value
    let wasTold = end.hasBegun
    if failure == nil, !wasTold {
      logger.info("ready", ["services": services.map(\.name).joined(separator: ",")])
      await end.signalled()
    }
    end.begin()
    for service in services[..<started].reversed() {
      await service.stop()
      logger.debug("service stopped", ["service.name": service.name])
    }
    end.isOver()
    if let failure, !wasTold { throw failure }
    logger.info("stopped")
  }

  /// - Returns: how many services were started, and why not all of them.
  private func start() async -> (started: Int, failure: (any Error)?) {
    var started = 0
    do {
      for service in services {
        try Task.checkCancellation()
        // Counted first, so that what a failing start already opened is let go of too.
        started += 1
        try await service.start()
        logger.debug("service started", ["service.name": service.name])
      }
      return (started, nil)
    } catch {
      return (started, error)
    }
  }
}

/// The end of a process, which a signal or a failing start begins, and a deadline or another signal cuts short.
@LoopActor
private final class End {
  private(set) var hasBegun = false
  private let milliseconds: UInt64
  private let logger: Logger
  private let giveUp: @LoopActor () -> Void
  private let onSignal: @LoopActor () -> Void
  private let deadline = LoopTimer()
  private var watchers: [SignalWatcher] = []
  private var waiter: UnsafeContinuation<Void, Never>?

  /// - Parameter onSignal: called at the first signal, if that begins the end.
  init(
    milliseconds: UInt64, logger: Logger, giveUp: @escaping @LoopActor () -> Void,
    onSignal: @escaping @LoopActor () -> Void
  ) {
    self.milliseconds = milliseconds
    self.logger = logger
    self.giveUp = giveUp
    self.onSignal = onSignal
    watchers = [SIGTERM, SIGINT].map { signal in
      SignalWatcher(signal) { [weak self] in self?.receive(signal) }
    }
  }

  private func receive(_ signal: Int32) {
    if hasBegun { return giveUp() }
    logger.info("draining", ["signal": signal])
    begin()
    onSignal()
    waiter?.resume()
    waiter = nil
  }

  /// Returns at the first signal.
  func signalled() async {
    await withUnsafeContinuation { continuation in
      if hasBegun { continuation.resume() } else { waiter = continuation }
    }
  }

  /// From here on there is a deadline. Nothing more happens where the end has begun already.
  func begin() {
    guard !hasBegun else { return }
    hasBegun = true
    deadline.schedule(afterMilliseconds: milliseconds) { [logger, giveUp] in
      logger.error("drain deadline exceeded")
      giveUp()
    }
  }

  /// Lets the process go on.
  func isOver() {
    deadline.cancel()
    watchers = []
  }
}
