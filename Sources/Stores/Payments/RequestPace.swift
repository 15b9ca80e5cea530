import EventLoop

/// When the provider may be asked next: no more often than its rate, not while it wants to be left alone, and those who
/// have something to ask in turns: a large sale does not keep a small one waiting, nor those whose buyers are at their banks
/// anybody, and what is sold is taken in time.
@LoopActor
final class RequestPace {
  /// So many requests may follow each other at once after a pause.
  private static let burstMilliseconds = 200.0

  private let intervalMilliseconds: Double
  private var nextAt = 0.0
  private var pausedUntil: UInt64 = 0
  private var waiting: [Turn: ArraySlice<CheckedContinuation<Void, Never>>] = [:]
  /// Who waits, each once, in the order of their turns.
  private var turns: [Turn] = []
  private var isServing = false

  /// - Parameter perSecond: 0 for no limit.
  init(perSecond: Int) {
    intervalMilliseconds = perSecond > 0 ? 1_000 / Double(perSecond) : 0
  }

  /// Whose turn it may be.
  enum Turn: Hashable {
    /// Payments of an event are made.
    case making(Int)
    /// Payments are taken, or let go of.
    case ending
    /// What has become of them is asked.
    case asking
  }

  /// Returns when it is one's turn.
  func turn(_ turn: Turn) async {
    if intervalMilliseconds == 0, turns.isEmpty, EventLoop.shared.now >= pausedUntil { return }
    await withCheckedContinuation { continuation in
      if waiting[turn] == nil { turns.append(turn) }
      waiting[turn, default: []].append(continuation)
      if !isServing {
        isServing = true
        // Ends when nobody waits.
        Task { @LoopActor in await serve() }
      }
    }
  }

  /// Nothing is asked for so long.
  func pause(milliseconds: Int) {
    pausedUntil = max(pausedUntil, EventLoop.shared.now + UInt64(max(0, milliseconds)))
  }

  private func serve() async {
    while let turn = turns.first {
      let now = EventLoop.shared.now
      let due = max(pausedUntil, intervalMilliseconds > 0 ? UInt64(max(0, nextAt)) : 0)
      if due > now {
        // Whoever is cancelled meanwhile has its turn all the same: the pause is not theirs to end.
        try? await sleep(milliseconds: due - now)
        continue
      }
      turns.removeFirst()
      var own = waiting.removeValue(forKey: turn) ?? []
      let next = own.popFirst()
      if !own.isEmpty {
        waiting[turn] = own
        turns.append(turn)
      }
      nextAt = max(nextAt, Double(now) - Self.burstMilliseconds) + intervalMilliseconds
      next?.resume()
    }
    isServing = false
  }
}
