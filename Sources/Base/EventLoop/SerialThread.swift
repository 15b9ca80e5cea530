import Foundation
import Synchronization

/// A thread that runs what it is given, in order. Ends when it is released.
///
/// Not a dispatch queue's: that has threads of a pool, which this program is without.
package final class SerialThread: Sendable {
  private struct State {
    var jobs: [@Sendable () -> Void] = []
    var isStopped = false
  }

  /// Shared with the thread, which must not keep its owner alive.
  private final class Inbox: Sendable {
    let state = Mutex(State())
    let signal = DispatchSemaphore(value: 0)
  }

  private let inbox = Inbox()

  /// - Parameter niceness: from 0, the usual priority, to 19, the lowest.
  package init(name: String, niceness: Int32 = 0) {
    let inbox = inbox
    let thread = Thread {
      // By the kernel: `Thread` may not know yet where it runs, when it is quicker than its maker, and has no name then.
      try? name.write(toFile: "/proc/thread-self/comm", atomically: false, encoding: .utf8)
      if niceness > 0 {
        // Of this thread alone. Refused it changes nothing that matters to anybody's answer.
        _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, niceness)
      }
      while true {
        inbox.signal.wait()
        let (job, isStopped) = inbox.state.withLock { state in
          (state.jobs.isEmpty ? nil : state.jobs.removeFirst(), state.isStopped)
        }
        if let job { job() } else if isStopped { return }
      }
    }
    thread.start()
  }

  /// Runs `job` after all that was submitted before; the caller bounds how many wait.
  package func submit(_ job: @escaping @Sendable () -> Void) {
    inbox.state.withLock { $0.jobs.append(job) }
    inbox.signal.signal()
  }

  deinit {
    inbox.state.withLock { $0.isStopped = true }
    inbox.signal.signal()
  }
}
