/// Which of the lines about one kind of failure are written, where something tries again and again: the first at once,
/// then one for all that came since, ever more rarely, and one when it works again. Times are in nanoseconds of a clock
/// that nobody sets.
struct Repetition: Sendable {
  /// How long after the first line the second may come; each next one comes after twice as long.
  static let firstPause: UInt64 = 2_000_000_000
  static let longestPause: UInt64 = 300_000_000_000
  /// After so long without a failure, or the present pause if that is longer, the next one is the first of its kind.
  static let quiet: UInt64 = 10_000_000_000

  private var began: UInt64 = 0
  private var failedAt: UInt64 = 0
  private var saidAt: UInt64 = 0
  private var pause = Self.firstPause
  private var skipped = 0
  private var total = 0
  /// Whether there is a line of a failure without one of its end.
  private(set) var isOpen = false

  /// - Returns: how many failures a line now stands for; `nil` if there is to be none.
  mutating func failed(now: UInt64) -> Int? {
    if total == 0 || now >= failedAt + max(pause, Self.quiet) {
      self = Repetition()
      (began, failedAt, saidAt, total, isOpen) = (now, now, now, 1, true)
      return 1
    }
    failedAt = now
    total += 1
    skipped += 1
    guard now >= saidAt + pause else { return nil }
    pause = min(pause * 2, Self.longestPause)
    saidAt = now
    isOpen = true
    defer { skipped = 0 }
    return skipped
  }

  /// - Returns: what a line about the end says: how often it failed, and for how many milliseconds. `nil` if there is
  ///   to be none.
  mutating func succeeded(now: UInt64) -> (failures: Int, milliseconds: Int)? {
    guard isOpen else { return nil }
    isOpen = false
    return (total, Int((now - min(now, began)) / 1_000_000))
  }
}
