package import EventLoop
import Foundation

/// Whether this machine has a processor to spare, by how long its processors had nothing to do of late.
@LoopActor
package final class SpareProcessor {
  /// The kernel counts in hundredths of a second: what is shorter says little.
  private static let shortestMilliseconds: UInt64 = 250
  /// What was longer ago says nothing of now.
  private static let longestMilliseconds: UInt64 = 1_000
  /// Processors without work that count as one to spare: what is less, the others' next moment takes.
  private static let enough = 0.5

  private let idleMilliseconds: @LoopActor () -> UInt64?
  private var last: (at: UInt64, idle: UInt64)?
  private var isSpare = false

  /// - Parameter idleMilliseconds: how long this machine's processors have been idle, summed up, since whenever; `nil` if
  ///   nobody knows. A machine is what the kernel counts: limits of a container are not seen.
  package init(
    idleMilliseconds: @escaping @LoopActor () -> UInt64? = { SpareProcessor.kernelIdleMilliseconds() }
  ) {
    self.idleMilliseconds = idleMilliseconds
  }

  /// Whether there is one, as far as is known: not before it was asked twice within a second. Where nobody knows, always.
  ///
  /// - Parameter now: milliseconds of a clock that does not go back.
  func isThere(now: UInt64) -> Bool {
    if let last, now - last.at < Self.shortestMilliseconds { return isSpare }
    guard let idle = idleMilliseconds() else { return true }
    if let last, now - last.at <= Self.longestMilliseconds, idle >= last.idle {
      isSpare = Double(idle - last.idle) >= Self.enough * Double(now - last.at)
    } else {
      isSpare = false
    }
    last = (now, idle)
    return isSpare
  }

  /// From the first line of `/proc/stat`: `cpu user nice system idle …`, in ticks (proc(5)).
  static func kernelIdleMilliseconds() -> UInt64? {
    guard
      let text = try? String(contentsOfFile: "/proc/stat", encoding: .utf8),
      let fields = text.split(separator: "\n").first?.split(separator: " "), fields.count > 4,
      fields[0] == "cpu",
      let ticks = UInt64(fields[4])
    else { return nil }
    return ticks * 1_000 / UInt64(sysconf(Int32(_SC_CLK_TCK)))
  }
}
