package import EventLoop
import Foundation

/// Whether this machine has a processor to spare, by how long its processors have been idle of late.
///
/// A machine is what the kernel counts: a container's limits are not seen. A processor that waits for a disk is not idle.
/// Where a kernel counts a processor's sleep only when it wakes, or never, there may seem to be less than there is.
@LoopActor
package final class SpareProcessor {
  /// Milliseconds since the machine started, and how many of them its processors were idle, all added up.
  typealias Reading = (up: UInt64, idle: UInt64)

  /// The kernel counts in hundredths of a second: a shorter time says little.
  private static let shortestMilliseconds: UInt64 = 250
  /// Over a longer time the present would not show.
  private static let longestMilliseconds: UInt64 = 3_000
  /// Idle processors that are one to spare: the share between would be taken up by a moment's work of the others.
  private static let enough = 0.5

  private let read: @LoopActor () -> Reading?
  private var last: Reading?
  private var isSpare = false

  /// - Parameter read: asks the kernel; `nil` if it does not say.
  init(read: @escaping @LoopActor () -> Reading?) { self.read = read }

  package convenience init() { self.init(read: { Self.kernel() }) }

  /// Whether there is one, as far as is known: known is what happened between two calls that are 250 ms to 3 s apart.
  /// Where the kernel never says, there always is.
  func isThere() -> Bool {
    guard let now = read() else { return last == nil || isSpare }
    if let last, last.up <= now.up, last.idle <= now.idle, now.up - last.up <= Self.longestMilliseconds {
      let past = now.up - last.up
      if past < Self.shortestMilliseconds { return isSpare }
      isSpare = Double(now.idle - last.idle) >= Self.enough * Double(past)
    } else {
      isSpare = false
    }
    last = now
    return isSpare
  }

  /// `/proc/uptime` (proc(5)): two numbers of seconds.
  static func kernel() -> Reading? {
    guard let text = try? String(contentsOfFile: "/proc/uptime", encoding: .utf8) else { return nil }
    let seconds = text.split(whereSeparator: \.isWhitespace).compactMap { Double($0) }
    guard seconds.count == 2, seconds.allSatisfy({ (0..<1e12).contains($0) }) else { return nil }
    return (UInt64(seconds[0] * 1_000), UInt64(seconds[1] * 1_000))
  }
}
