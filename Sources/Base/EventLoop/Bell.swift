/// Wakes one waiting task, and remembers a ring that nobody waited for.
@LoopActor
package final class Bell {
  private let timer = LoopTimer()
  private var continuation: UnsafeContinuation<Void, Never>?
  package private(set) var wasRung = false

  package init() {}

  package func ring() {
    wasRung = true
    wakeUp()
  }

  /// Forgets rings so far. Call it before looking at what a ring announces, so that none is lost.
  package func reset() { wasRung = false }

  /// Returns at a ring since the last `reset`, after the time, or when the task is cancelled.
  package func wait(milliseconds: UInt64) async {
    if wasRung || Task.isCancelled { return }
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
