import EventLoop
import FaultInjection
import Ledger
import Lifecycle
import Logging
import Metrics
import Sale
import StoreCommon

/// Writes down which cards were refused, some together, beside the payments: none waits for it.
///
/// What limits people is no ledger: a worker that is killed loses what it noted within a fraction of a second.
@LoopActor
final class DeclineLog {
  private static let pauseMilliseconds: UInt64 = 250
  private static let batch = 1_000
  /// While PostgreSQL is away; further ones are not counted.
  private static let capacity = 10_000

  private let store: DeclineStore
  private let logger: Logger
  private var waiting: [DeclineStore.Decline] = []
  private var couldWrite = true
  private let counted = MetricsRegistry.shared.counter(
    "onsale_cards_refused_total", "Cards that the payment provider refused")

  init(_ store: DeclineStore, logger: Logger) {
    self.store = store
    self.logger = logger
  }

  func note(_ confirmation: Confirmation) {
    counted.increment()
    guard waiting.count < Self.capacity else { return }
    waiting.append(
      DeclineStore.Decline(
        event: confirmation.event, user: UserKey(confirmation.user).text, client: confirmation.client))
  }

  /// Runs until cancelled, and writes what is left then.
  func run() async {
    await repeatRounds("refused cards cannot be counted", pauseMilliseconds: Self.pauseMilliseconds, logger) {
      try await write()
    }
    // Not in the cancelled task, whose waits end at once. While PostgreSQL is away nobody waits for it here.
    guard couldWrite else { return }
    _ = try? await Task { @LoopActor in try await write() }.value
  }

  /// - Returns: whether there is more.
  private func write() async throws -> Bool {
    let group = Array(waiting.prefix(Self.batch))
    guard !group.isEmpty else { return false }
    couldWrite = false
    try await Faults.point(.confirmDeclined) { try await store.add(group) }
    couldWrite = true
    waiting.removeFirst(group.count)
    return !waiting.isEmpty
  }
}
