import EventLoop

/// When the provider may be asked next: no more often than its rate, not while it wants to be left alone, and those who
/// have something to ask in turns. Kinds take turns before events do: what is sold is taken in time, however many events
/// are paid for, a large sale does not keep a small one waiting, nor those whose buyers are at their banks anybody. What is
/// urgent goes first, and has every second turn while others wait.
@LoopActor
final class RequestPace {
  /// So many requests may follow each other at once after a pause.
  private static let burstMilliseconds = 200.0

  private let intervalMilliseconds: Double
  private var nextAt = 0.0
  private var pausedUntil: UInt64 = 0
  private var waiting: [Turn: ArraySlice<CheckedContinuation<Void, Never>>] = [:]
  /// Who waits of each kind, each once, in the order of their turns; and the kinds in theirs.
  private var turns: [Kind: [Turn]] = [:]
  private var kinds: [Kind] = []
  private var wasUrgent = false
  private var isServing = false

  private enum Kind { case making, ending, asking, urgent }

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
    /// The same, of what something has happened to.
    case urgent
  }

  private static func kind(_ turn: Turn) -> Kind {
    switch turn {
    case .making: .making
    case .ending: .ending
    case .asking: .asking
    case .urgent: .urgent
    }
  }

  /// Returns when it is one's turn.
  func turn(_ turn: Turn) async {
    if intervalMilliseconds == 0, kinds.isEmpty, EventLoop.shared.now >= pausedUntil { return }
    await withCheckedContinuation { continuation in
      if waiting[turn] == nil { enqueue(turn) }
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

  private func enqueue(_ turn: Turn) {
    let kind = Self.kind(turn)
    turns[kind, default: []].append(turn)
    if !kinds.contains(kind) { kinds.append(kind) }
  }

  /// Takes whoever's turn it is out of the order.
  private func takeNext() -> Turn? {
    let others = kinds.firstIndex { $0 != .urgent }
    let urgent = kinds.firstIndex(of: .urgent)
    guard let index = wasUrgent ? others ?? urgent : urgent ?? others else { return nil }
    let kind = kinds.remove(at: index)
    wasUrgent = kind == .urgent
    var own = turns.removeValue(forKey: kind) ?? []
    let turn = own.isEmpty ? nil : own.removeFirst()
    if !own.isEmpty {
      turns[kind] = own
      kinds.append(kind)
    }
    return turn
  }

  private func serve() async {
    while !kinds.isEmpty {
      let now = EventLoop.shared.now
      let due = max(pausedUntil, intervalMilliseconds > 0 ? UInt64(max(0, nextAt)) : 0)
      if due > now {
        // Whoever is cancelled meanwhile has its turn all the same: the pause is not theirs to end.
        try? await sleep(milliseconds: due - now)
        continue
      }
      guard let turn = takeNext() else { break }
      var own = waiting.removeValue(forKey: turn) ?? []
      let next = own.popFirst()
      if !own.isEmpty {
        waiting[turn] = own
        enqueue(turn)
      }
      nextAt = max(nextAt, Double(now) - Self.burstMilliseconds) + intervalMilliseconds
      next?.resume()
    }
    isServing = false
  }
}
