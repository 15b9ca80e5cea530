/// Suspends for a time on the loop's clock.
/// - Throws: `CancellationError`, at once, if the task is cancelled before or meanwhile.
@LoopActor
package func sleep(milliseconds: UInt64) async throws(CancellationError) {
  if Task.isCancelled { throw CancellationError() }
  let sleeper = Sleeper()
  let cancelled = await withTaskCancellationHandler {
    await sleeper.wait(milliseconds: milliseconds)
  } onCancel: {
    Task { @LoopActor in sleeper.finish(cancelled: true) }
  }
  if cancelled { throw CancellationError() }
}

@LoopActor
private final class Sleeper {
  private let timer = LoopTimer()
  private var continuation: UnsafeContinuation<Bool, Never>?
  private var outcome: Bool?

  func wait(milliseconds: UInt64) async -> Bool {
    await withUnsafeContinuation { continuation in
      if let outcome { return continuation.resume(returning: outcome) }
      self.continuation = continuation
      timer.schedule(afterMilliseconds: milliseconds) { [weak self] in self?.finish(cancelled: false) }
    }
  }

  func finish(cancelled: Bool) {
    guard outcome == nil else { return }
    outcome = cancelled
    timer.cancel()
    continuation?.resume(returning: cancelled)
    continuation = nil
  }
}
