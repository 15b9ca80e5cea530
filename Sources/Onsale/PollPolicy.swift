/// When a client should ask again, and how long it may take: from its distance to the head and the pace.
///
/// Those far behind ask rarely, those near the head often. A jitter derived from the position spreads clients
/// that came in the same second, and is the same whichever process answers.
package struct PollPolicy: Sendable {
  /// Shortest and longest pause in milliseconds.
  package var shortest = 1_000
  package var longest = 30_000

  package init() {}

  /// Milliseconds until the client should ask again; 0 when there is nothing left to ask.
  /// - Parameters:
  ///   - ahead: how many are decided before it; 0 at the head.
  ///   - grantsPerSecond: recent pace of decisions; 0 when unknown or nothing moves.
  package func pollAfterMilliseconds(
    _ state: RequestState, position: Int, ahead: Int, grantsPerSecond: Double
  ) -> Int { shortest }

  /// A range of seconds until the request is decided; `nil` when nothing moves, so nothing can be said.
  package func eta(ahead: Int, grantsPerSecond: Double) -> ClosedRange<Int>? { nil }
}
