import EventLoop
import Foundation
import Lifecycle
import Logging
import Testing

@Suite("Starting and stopping", .serialized, .timeLimit(.minutes(1)))
@LoopActor
struct LifecycleTests {
  struct Failure: Error {}

  /// What was called, in order.
  final class Calls {
    var list: [String] = []
  }

  final class Part: Service {
    let name: String
    private let calls: Calls
    private let onStart: @LoopActor () async throws -> Void
    private let onStop: @LoopActor () async -> Void

    init(
      _ name: String, _ calls: Calls, start: @escaping @LoopActor () async throws -> Void = {},
      stop: @escaping @LoopActor () async -> Void = {}
    ) {
      self.name = name
      self.calls = calls
      onStart = start
      onStop = stop
    }

    func start() async throws {
      calls.list.append("start \(name)")
      try await onStart()
    }

    func stop() async {
      calls.list.append("stop \(name)")
      await onStop()
    }
  }

  /// Lets `wait` return once `open` was called.
  final class Gate {
    private var waiting: UnsafeContinuation<Void, Never>?
    private var isOpen = false

    func wait() async {
      await withUnsafeContinuation { if isOpen { $0.resume() } else { waiting = $0 } }
    }

    func open() {
      isOpen = true
      waiting?.resume()
      waiting = nil
    }
  }

  let logger = Logger(label: "test")
  let calls = Calls()

  @Test("A signal stops what was started, in reverse order")
  func stop() async throws {
    let services = [
      Part("a", calls), Part("b", calls, start: { Task { @LoopActor in kill(getpid(), SIGTERM) } }),
    ]
    try await Lifecycle(services, logger: logger).run()
    #expect(calls.list == ["start a", "start b", "stop b", "stop a"])
  }

  @Test("A signal while services start cancels that, and stops those that had started")
  func signalDuringStart() async throws {
    let slow = Part("slow", calls) {
      kill(getpid(), SIGTERM)
      try await sleep(milliseconds: 600_000)
    }
    try await Lifecycle([Part("a", calls), slow, Part("never", calls)], logger: logger).run()
    #expect(calls.list == ["start a", "start slow", "stop slow", "stop a"])
  }

  @Test("A stop after a failed start has a deadline")
  func failedStart() async throws {
    let gate = Gate()
    let services = [
      Part("a", calls, stop: { await gate.wait() }), Part("b", calls, start: { throw Failure() }),
    ]
    let lifecycle = Lifecycle(services, logger: logger, drainMilliseconds: 50) { gate.open() }
    await #expect(throws: Failure.self) { try await lifecycle.run() }
    #expect(calls.list == ["start a", "start b", "stop b", "stop a"])
  }

  @Test(
    "A signal cuts the stop after a failed start short, as a second one cuts any", arguments: [true, false])
  func impatience(startFails: Bool) async throws {
    let gate = Gate()
    let hanging = Part(
      "hanging", calls,
      stop: {
        kill(getpid(), SIGINT)
        await gate.wait()
      })
    let last = Part("last", calls) {
      if startFails { throw Failure() }
      kill(getpid(), SIGTERM)
    }
    let lifecycle = Lifecycle([hanging, last], logger: logger, drainMilliseconds: 600_000) { gate.open() }
    if startFails {
      await #expect(throws: Failure.self) { try await lifecycle.run() }
    } else {
      try await lifecycle.run()
    }
    #expect(calls.list == ["start hanging", "start last", "stop last", "stop hanging"])
  }
}
