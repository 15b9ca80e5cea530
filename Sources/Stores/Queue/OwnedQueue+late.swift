import EventLoop
import Redis
import Sale
import StoreCommon

/// The owner of the seats decides payments that were given up, and are authorised after all (`LatePayments`).
extension OwnedQueue {
  /// What becomes of a payment that came late.
  package enum LateDecision: Sendable, Equatable {
    /// The seats are its buyer's.
    case same
    /// These are, in their place, which will do: said of this attempt, and of no later one.
    case others([Int], attempt: Int)
    /// None are, and its buyer is told so.
    case refused
    /// PostgreSQL has gone on since: whoever did that tells of it.
    case moved

    fileprivate var text: String {
      switch self {
      case .same: "1"
      case .others(let tickets, let attempt): "t\(attempt):\(QueueStore.text(tickets))"
      case .refused: "0"
      case .moved: "m"
      }
    }
  }

  /// Decides payments that came late: whose seats are free gets them, and pays for them; the others are told so.
  /// - Returns: those who do not get any, be it that they have gone on since; `nil` while the owner's map is too old to say.
  package func settleLate(_ decisions: [(position: Int, decision: LateDecision)]) async throws -> [Int]? {
    let answer = try await store.call(
      "onsale_settle_late", event,
      [fence]
        + decisions.flatMap { [.integer($0.position), .text($0.decision.text)] })
    return answer[0].text == "conflict"
      ? nil : QueueStore.tickets(answer.count > 1 ? answer[1].text ?? "" : "")
  }
}
