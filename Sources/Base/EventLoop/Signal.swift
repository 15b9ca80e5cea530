/// Wakes one waiting task, and remembers being raised while nobody waited.
@LoopActor
package final class Signal {
  private let timer = LoopTimer()
  private var continuation: UnsafeContinuation<Void, Never>?
  package private(set) var isRaised = false

  package init() {}

  package func raise() {
    isRaised = true
    wakeUp()
  }

  /// Forgets that it was raised. Call it before looking at what it announces, so that nothing is lost.
  package func reset() { isRaised = false }

  /// Returns once it was raised since the last `reset`, after the time, or when the task is cancelled.
  package func wait(milliseconds: UInt64) async {
    if isRaised || Task.isCancelled { return }
    await withTaskCancellationHandler {
      await withUnsafeContinuation { continuation in
        // Cancellation may have come between the check above and here.
        if Task.isCancelled { return continuation.resume() }
        self.continuation = continuation
        timer.schedule(afterMilliseconds: milliseconds) { [weak self] in self?.wakeUp() }
      }
    } onCancel: {
      Task { @LoopActor in self.wakeUp() }
    }
  }

  private func wakeUp() {
    timer.cancel()
    continuation?.resume()
    continuation = nil
  }
}
