/// When a client should ask again, and how long it may take: from its distance to the head and the pace.
///
/// Those far behind ask rarely, those near the head often. A jitter derived from the position spreads clients
/// that came in the same second; it is the same whichever process answers, so nobody's pause jumps around.
package struct PollPolicy: Sendable {
  /// Shortest pause of someone in line, in milliseconds.
  package var shortest = 1_000
  /// Longest pause, in milliseconds. Also bounds how long news such as "sold out" take to reach everyone.
  package var longest = 30_000
  /// Pause while a payment is under way, in milliseconds.
  package var confirming = 1_000
  /// Pause of someone whose state changes by their own act or at a known deadline, in milliseconds.
  package var settled = 5_000
  /// Pause while an event has no queue, in milliseconds.
  package var withoutQueue = 10_000
  /// How many are ahead for each second of pause where no pace is known: when somebody has just joined, a sale has
  /// just opened, or nothing moves.
  ///
  /// Tens of thousands of places a second can be decided, so a long pause here could outlast the whole sale, and
  /// buyers would hear late of tickets that are held for them. The polls of a line that stands still, and is
  /// as long as can be, stay within what one server answers from memory: with `longest`, a million waiting
  /// ask 40,000 times a second.
  package var aheadPerSecond = 4_000
  /// Longest pause of the crowd, who ask for what is the same for everybody: an operator's message, how far the line is.
  /// In milliseconds; above that, as many as `crowdPerSecond` asks for.
  package var crowdLongest = 8_000
  /// How many of the crowd may ask in a second: what one server answers from memory.
  package var crowdPerSecond = 40_000
  /// The jitter shortens or lengthens a pause by up to this share, in percent.
  package var jitterPercent = 20

  package init() {}

  /// Milliseconds until the client should ask again; 0 when there is nothing left to ask.
  ///
  /// A quarter of the expected wait, so that the pauses shrink as the head comes near, and a pace that picks up
  /// does not make anyone late.
  /// - Parameters:
  ///   - ahead: how many are decided before it; 0 at the head.
  ///   - grantsPerSecond: recent pace of decisions; 0 when unknown or nothing moves.
  package func pollAfterMilliseconds(
    _ state: RequestState, position: Int, ahead: Int, grantsPerSecond: Double
  ) -> Int {
    switch state {
    case .purchased, .expired, .soldOut, .cancelled, .rejected: return 0
    case .confirming, .actionRequired: return jittered(confirming, position)
    case .reserved, .declined: return jittered(settled, position)
    case .lobby, .queued, .standby: break
    }
    let pace = Self.isMoving(grantsPerSecond) ? grantsPerSecond : Double(aheadPerSecond) / 4
    let pause = Double(max(0, ahead)) / pace * 250
    // Who waits for what others hold hears of it by a long poll, if it may be soon.
    let least = state == .standby ? settled : shortest
    return jittered(Int(min(max(pause, Double(least)), Double(longest))), position)
  }

  /// Milliseconds until the crowd should ask again for what is the same for everybody.
  /// - Parameter waiting: how many are in line.
  package func crowdPollAfterMilliseconds(waiting: Int, tail: Int, grantsPerSecond: Double) -> Int {
    let most = min(longest, max(crowdLongest, max(0, waiting) / (crowdPerSecond / 1_000)))
    let pause = pollAfterMilliseconds(
      .queued, position: tail, ahead: waiting, grantsPerSecond: grantsPerSecond)
    return min(pause, jittered(most, tail))
  }

  /// Milliseconds until an event without a queue is worth asking for again: when it opens, so that those who
  /// wait for that are not late.
  /// - Parameter opensInSeconds: may be past; `nil` when it is not known or the sale is over.
  package func pollAfterMilliseconds(opensInSeconds: Int?) -> Int {
    guard let opensInSeconds, opensInSeconds < withoutQueue / 1_000 else { return withoutQueue }
    return max(opensInSeconds * 1_000, shortest)
  }

  /// A range of seconds until the request is decided; `nil` when nothing moves, so nothing can be said.
  ///
  /// The pace of a sale is uneven: the range is wider than it would be by chance, and whole steps of its size
  /// keep it from flickering.
  package func eta(ahead: Int, grantsPerSecond: Double) -> ClosedRange<Int>? {
    guard Self.isMoving(grantsPerSecond) else { return nil }
    let expected = Double(max(0, ahead)) / grantsPerSecond
    // A day says "very long"; more digits would be a lie.
    let longest = 86_400.0
    let low = Int(min(expected * 0.7, longest))
    let high = Int(min(expected * 1.5 + 2, longest))
    let step = high < 60 ? 1 : high < 600 ? 10 : 60
    return low / step * step...(high + step - 1) / step * step
  }

  /// Slower than one grant in a quarter of an hour says nothing about the next one.
  private static func isMoving(_ grantsPerSecond: Double) -> Bool {
    grantsPerSecond.isFinite && grantsPerSecond > 1.0 / 900
  }

  /// `pause` times a factor that depends on the position only, never below half of `shortest`.
  private func jittered(_ pause: Int, _ position: Int) -> Int {
    // The product's upper bits are well mixed, also for neighbouring positions.
    let mixed = UInt64(truncatingIfNeeded: position) &* 0x9e37_79b9_7f4a_7c15
    let share = (Int(mixed >> 48) * (2 * jitterPercent + 1)) >> 16
    return max(pause * (100 - jitterPercent + share) / 100, shortest / 2)
  }
}
