import CLibUV
import Glibc

/// How long turns of the loop took: from the end of its wait for sockets to the beginning of the next one. Nobody else is
/// served meanwhile.
///
/// Costs two looks at the monotonic clock a turn. The processor's clock is a system call, and so is asked once for all
/// turns that together took `proofNanoseconds`.
package struct LoopTurns: Sendable {
  /// Upper bounds in seconds.
  package static let bounds: [Double] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1]
  private static let proofNanoseconds: UInt64 = 2_000_000

  /// Turns that took no longer than each bound and longer than the one before; longer ones are in `count` alone.
  package private(set) var counts = [Int](repeating: 0, count: bounds.count)
  package private(set) var count = 0
  private var nanoseconds: UInt64 = 0
  private var longest: UInt64 = 0
  private var longestOfProcessor: UInt64 = 0
  private var beganAt: UInt64 = 0
  /// What the turns have taken together since `processorAt` was read.
  private var unproved: UInt64 = 0
  private var processorAt: UInt64 = 0

  init() {}

  package var seconds: Double { Double(nanoseconds) / 1e9 }
  package var longestSeconds: Double { Double(longest) / 1e9 }
  /// The longest of what turns took of the processor, within `proofNanoseconds`: what is more in `longestSeconds` the
  /// thread was waiting for a processor, or for a disk.
  package var longestProcessorSeconds: Double { Double(longestOfProcessor) / 1e9 }

  /// What comes first after the wait begins the turn.
  mutating func begin() {
    if beganAt == 0 { beganAt = uv_hrtime() }
  }

  mutating func end() {
    // Nothing was waited for yet.
    if beganAt == 0 { return }
    let took = uv_hrtime() - beganAt
    beganAt = 0
    let seconds = Double(took) / 1e9
    if let bucket = Self.bounds.firstIndex(where: { seconds <= $0 }) { counts[bucket] += 1 }
    count += 1
    nanoseconds += took
    longest = max(longest, took)
    unproved += took
    guard unproved >= Self.proofNanoseconds else { return }
    let processor = Self.processorNanoseconds
    longestOfProcessor = max(longestOfProcessor, min(took, processor - processorAt))
    processorAt = processor
    unproved = 0
  }

  private static var processorNanoseconds: UInt64 {
    var now = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)
    return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
  }
}
