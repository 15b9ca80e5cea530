package import EventLoop
import Foundation

/// One line on standard error that is written over again and again on a terminal, and nothing elsewhere.
@LoopActor
package final class ProgressLine {
  private static let pauseMilliseconds: UInt64 = 100
  private let isTerminal = isatty(2) == 1
  private var lastShown: UInt64 = 0
  private var isShown = false

  package init() {}

  /// Shows `text`, unless another was shown a moment ago.
  package func show(_ text: @autoclosure () -> String) {
    guard isTerminal, EventLoop.shared.now >= lastShown + Self.pauseMilliseconds else { return }
    lastShown = EventLoop.shared.now
    isShown = true
    write("\r\u{1B}[K" + text(), to: 2)
  }

  package func clear() {
    if isShown { write("\r\u{1B}[K", to: 2) }
    isShown = false
  }
}
