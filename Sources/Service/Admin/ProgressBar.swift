import EventLoop
import Foundation

/// How far something is: a bar on a terminal, a line every few seconds elsewhere. On standard error.
@LoopActor
final class ProgressBar {
  private static let width = 30
  /// Milliseconds between two looks.
  private static let pause: (terminal: UInt64, elsewhere: UInt64) = (100, 5_000)

  private let unit: String
  private let isTerminal = isatty(2) == 1
  private var nextAt: UInt64 = 0
  private var isShown = false

  /// - Parameter unit: what is counted, in the plural.
  init(_ unit: String) { self.unit = unit }

  func show(_ done: Int, of all: Int) {
    guard EventLoop.shared.now >= nextAt else { return }
    nextAt = EventLoop.shared.now + (isTerminal ? Self.pause.terminal : Self.pause.elsewhere)
    let text = Self.text(done, of: all, unit)
    write(isTerminal ? "\r\u{1B}[K" + text : text + "\n")
    isShown = isTerminal
  }

  func clear() {
    if isShown { write("\r\u{1B}[K") }
    isShown = false
  }

  static func text(_ done: Int, of all: Int, _ unit: String) -> String {
    let share = all > 0 ? Double(min(done, all)) / Double(all) : 1
    let full = Int(share * Double(width))
    let bar = String(repeating: "█", count: full) + String(repeating: "░", count: width - full)
    return "\(bar) \(Int(share * 100)) %, \(done) of \(all) \(unit)"
  }

  private func write(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }
}
