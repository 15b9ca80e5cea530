package import EventLoop
import Onsale
package import Postgres

/// Requests whose queue is not in Redis any more, answered from PostgreSQL: after a sale has ended, or when Redis
/// was lost.
@LoopActor
package final class PastRequests {
  private let postgres: PostgresClient
  private let purchases: PurchaseStore
  private let archive: ArchiveStore

  package init(_ postgres: PostgresClient) {
    self.postgres = postgres
    purchases = PurchaseStore(postgres)
    archive = ArchiveStore(postgres)
  }

  /// Where a request ended. `nil` when nothing is known: it may have joined a moment ago.
  package func status(_ key: PurchaseStore.Key) async throws -> RequestStatus? {
    if let found = try await purchases.find(key) {
      // A payment goes on without its queue, and its outcome is what counts.
      let state: RequestState? =
        switch found.standing.state {
        case .sold: .purchased
        case .paying: .confirming
        case .declined, .void: nil
        }
      if let state {
        var status = RequestStatus(state: state)
        status.tickets = found.tickets
        status.amount = found.standing.amount
        return status
      }
    }
    if let document = try await archive.outcome(event: key.event, generation: key.generation) {
      if let record = try await archive.record(
        event: key.event, generation: key.generation, position: key.position)
      {
        return RequestStatus(position: key.position, document: document, record: record)
      }
      return RequestStatus(position: key.position, document: document)
    }
    return try await isLost(key) ? RequestStatus(state: .rejected, reason: "queue_lost") : nil
  }

  /// Whether the queue was begun anew since, because Redis lost it, and nothing is or will be bought for this place.
  /// Both in one look: a purchase that is not there when the new life is can never begin.
  private func isLost(_ key: PurchaseStore.Key) async throws -> Bool {
    let rows = try await postgres.query(
      """
      SELECT 1 FROM queue_life l
      WHERE l.event_id = \(key.event) AND l.generation > \(key.generation)
        AND NOT EXISTS (SELECT 1 FROM purchase p WHERE p.event_id = \(key.event)
          AND p.generation = \(key.generation) AND p.position = \(key.position) AND p.state IN ('paying', 'sold'))
      """)
    return !rows.isEmpty
  }

  package func confirmAnswer(_ key: PurchaseStore.Key, user: String) async throws -> QueueStore.ConfirmAnswer
  {
    guard let found = try await purchases.find(key) else { return .notReserved }
    if found.user != user { return .forbidden }
    return switch found.standing.state {
    case .sold, .paying: .ok
    case .declined, .void: .expired
    }
  }

  package func cancelAnswer(_ key: PurchaseStore.Key, user: String) async throws -> QueueStore.CancelAnswer {
    guard let found = try await purchases.find(key) else { return .ended }
    if found.user != user { return .forbidden }
    return switch found.standing.state {
    case .sold: .purchased
    case .paying: .confirming
    case .declined, .void: .ended
    }
  }

  /// An event without a queue in Redis.
  package struct Summary: Sendable {
    package let state: String
    package let head: Int
    package let tail: Int
    package let free: Int
    package let sold: Int
    package let message: String
    /// Seconds since 1970; `nil` when it is opened by hand.
    package let onsaleAt: Int?
  }

  /// - Returns: `nil` for an unknown event.
  package func summary(event: Int) async throws -> Summary? {
    let rows = try await postgres.query(
      """
      SELECT e.state, e.message, extract(epoch FROM e.onsale_at)::bigint AS onsale_at,
        (SELECT count(*) FROM ticket t WHERE t.event_id = e.id AND NOT t.purchased) AS free,
        (SELECT count(*) FROM ticket t WHERE t.event_id = e.id AND t.purchased) AS sold
      FROM event e WHERE e.id = \(event)
      """)
    guard let row = rows.first else { return nil }
    let outcome = try await archive.lastOutcome(event: event)
    return Summary(
      state: try row.string("state"), head: outcome?.head ?? 0, tail: outcome?.tail ?? 0,
      free: try row.int("free"),
      sold: try row.int("sold"), message: try row.string("message"),
      onsaleAt: row["onsale_at"].int)
  }
}
