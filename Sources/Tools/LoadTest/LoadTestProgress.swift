import Audit
import EventLoop
import Foundation

/// Tells how far a rush is: a bar on a terminal, a line every few seconds elsewhere.
@LoopActor
final class LoadTestProgress {
  private static let barWidth = 30
  private static let secondsBetweenLines = 5.0

  private let options: LoadTestOptions
  private let isTerminal = isatty(2) == 1
  private let line = ProgressLine()
  private var nextAt = 0.0
  private var last = (seconds: 0.0, requests: 0)

  init(_ options: LoadTestOptions) { self.options = options }

  func show(_ crowd: VirtualBuyers, _ seconds: Double) {
    guard seconds >= nextAt else { return }
    nextAt = seconds + (isTerminal ? 0.2 : Self.secondsBetweenLines)
    let requests = crowd.figures.sent.values.reduce(0, +)
    let speed = seconds > last.seconds ? Double(requests - last.requests) / (seconds - last.seconds) : 0
    last = (seconds, requests)
    let ended = options.buyers - crowd.unfinished
    var text = "\(Int(seconds)) s: \(crowd.figures.accepted) joined, \(ended) of \(options.buyers) ended, "
    text += "\(crowd.figures.outcomes[.purchased] ?? 0) purchased, \(Int(speed)) requests/s"
    let refused = crowd.figures.errors.values.reduce(0, +)
    if refused > 0 { text += ", \(refused) refused or failed" }
    if isTerminal {
      let full = Self.barWidth * ended / max(1, options.buyers)
      let bar = String(repeating: "█", count: full) + String(repeating: "░", count: Self.barWidth - full)
      line.show(bar + " " + text)
    } else {
      write("rush: \(text)\n", to: 2)
    }
  }

  func end() { line.clear() }
}
