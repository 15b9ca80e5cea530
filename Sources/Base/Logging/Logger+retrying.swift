import Foundation
import Synchronization

/// The one place that bounds how much is logged by what tries again and again: an outage of an hour is some lines, however
/// many loops and requests meet it.
extension Logger {
  /// By the logger's label and the message, both of which are constants of the program.
  private static let repetitions = Mutex<[String: Repetition]>([:])
  /// How many of them are open, so that success costs next to nothing.
  private static let open = Atomic<Int>(0)

  /// Logs that something has failed and is tried again: the first time at once, then ever more rarely, with the number of
  /// times (`log.count`). Who loops shares the line with all others in the process who log the same.
  package func retrying(
    _ message: StaticString, level: Level = .warning, _ metadata: @autoclosure () -> Metadata = [:]
  ) {
    let count = Self.repetitions.withLock { all -> Int? in
      let wasOpen = all[key(message), default: Repetition()].isOpen
      let count = all[key(message), default: Repetition()].failed(now: Self.monotonic)
      if count != nil, !wasOpen { Self.open.add(1, ordering: .relaxed) }
      return count
    }
    guard let count else { return }
    log(level, message, count == 1 ? metadata() : metadata().merging(["log.count": count]) { $1 })
  }

  /// What `retrying` said of the same message is over, which is logged once.
  package func worksAgain(_ message: StaticString) {
    guard Self.open.load(ordering: .relaxed) > 0 else { return }
    let end = Self.repetitions.withLock { $0[key(message)]?.succeeded(now: Self.monotonic) }
    guard let end else { return }
    Self.open.subtract(1, ordering: .relaxed)
    log(
      .notice, "works again",
      ["log.problem": "\(message)", "log.failures": end.failures, "log.milliseconds": end.milliseconds])
  }

  private func key(_ message: StaticString) -> String { "\(label)\n\(message)" }

  private static var monotonic: UInt64 {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
  }
}
