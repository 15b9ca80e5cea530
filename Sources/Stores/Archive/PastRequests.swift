package import EventLoop
import Ledger
package import Postgres
package import Queue
package import Sale
import StoreCommon

/// Requests whose queue is not in Redis any more, answered from PostgreSQL: after a sale has ended, or when Redis
/// was lost.
@LoopActor
package final class PastRequests {
  private let postgres: PostgresClient
  private let purchases: PurchaseStore
  private let archive: ArchiveStore
  private let ended: EndedQueues
  private let counts: TicketCounts
  /// What is lost of each line, in memory: most of a crowd is answered from there.
  package let lostLines: LostLines

  package init(_ postgres: PostgresClient) {
    self.postgres = postgres
    lostLines = LostLines(postgres)
    purchases = PurchaseStore(postgres)
    archive = ArchiveStore(postgres)
    ended = EndedQueues(postgres, archive: archive)
    counts = TicketCounts(postgres)
  }

  /// Where a request of a line that has left Redis ended, as far as memory says.
  package func known(_ key: PurchaseKey, owner: String, wish: WishPlace?) -> RequestStatus? {
    ended.known(key, owner: owner, wish: wish) ?? lostLines.known(key, owner: owner, line: wish?.line)
  }

  /// Where a request ended. `nil` when nothing is known: it may have joined a moment ago.
  /// - Parameter owner: the key of the user who was given the place.
  /// - Parameter wish: its place among those who wish for the same, if that is known.
  package func status(
    _ key: PurchaseKey, owner: String, wish: WishPlace? = nil
  ) async throws -> RequestStatus? {
    if let status = known(key, owner: owner, wish: wish) { return status }
    if let status = try await lostLines.status(key, owner: owner, line: wish?.line) { return status }
    let answer = try await ended.find(key, wish: wish)
    if case .status(let status) = answer { return status }
    let payment = try await payment(key, owner: owner)
    guard case .record(let record, let document, let mark) = answer else {
      if let payment { return payment }
      return try await ending(key)
    }
    var status = payment
    if status == nil, let record {
      status =
        record.userKey == owner
        ? RequestStatus(position: key.position, document: document, record: record)
        : try await forfeit(key, owner: owner)
    }
    status = status ?? RequestStatus(position: key.position, wish: wish, document: document, mark: mark)
    if let status, status.isTerminal { ended.keep(status, key, owner: owner) }
    return status
  }

  /// Whether whoever had this place may take it up again. From memory, but for places that were paid for.
  package func lifeToReturn(
    _ key: PurchaseKey, owner: String, line: Int? = nil
  ) async throws -> LostLines.Return {
    let place = try await lostLines.place(key, owner: owner, line: line)
    guard case .paid(let generation) = place else { return place }
    // A payment that was under way when the line was lost may have been declined since.
    guard let found = try await purchases.find(key) else { return .countsNot }
    let isOver = found.progress.state == .declined || found.progress.state == .void
    return isOver && UserKey(found.user).text == owner ? .counts(generation: generation) : .countsNot
  }

  /// What PostgreSQL alone says; `nil` where no payment of this place has begun that counts.
  package func payment(_ key: PurchaseKey, owner: String) async throws -> RequestStatus? {
    guard let found = try await purchases.find(key) else { return nil }
    // Given out twice, and somebody else came to pay first: nothing else is ever bought under this key.
    if UserKey(found.user).text != owner { return .lostPlace }
    // A payment goes on without its queue, and its outcome is what counts.
    var status: RequestStatus
    switch found.progress.state {
    case .sold: status = RequestStatus(state: .purchased)
    case .paying: status = RequestStatus(state: .confirming)
    case .void where found.progress.reason == PurchaseStore.limitExceeded:
      return RequestStatus(state: .rejected, reason: found.progress.reason)
    case .declined, .void: return nil
    }
    status.tickets = found.tickets
    status.amount = found.progress.amount
    status.reason = found.note.isEmpty ? nil : found.note
    return status
  }

  /// Where the first owner of a place stands that Redis, having lost its last writes, gave to somebody else: what they
  /// paid for is theirs; otherwise the place is lost, and no purchase of theirs begins any more.
  package func forfeit(_ key: PurchaseKey, owner: String) async throws -> RequestStatus {
    try await purchases.forfeit(key, owner: owner)
    return try await payment(key, owner: owner) ?? .lostPlace
  }

  /// How the place ended if the queue was begun anew since, because Redis lost it, and nothing is or will be bought for
  /// this place. Both in one look: a purchase that is not there when the new life is can never begin.
  private func ending(_ key: PurchaseKey) async throws -> RequestStatus? {
    let rows = try await postgres.query(
      """
      SELECT coalesce(l.sold_out_since <= \(key.generation), false) OR EXISTS (SELECT 1 FROM line_end e
          WHERE e.event_id = \(key.event) AND e.generation = \(key.generation) AND e.line = 0 AND e.up_to >= \(key.position)) AS sold_out,
        (SELECT min(e.state) FROM request_end e WHERE e.event_id = \(key.event) AND e.generation = \(key.generation)
          AND e.bucket = \(key.position / PositionSet.width)
          AND get_bit(e.ended, \(key.position % PositionSet.width)) = 1) AS ended
      FROM queue_life l
      WHERE l.event_id = \(key.event) AND l.generation > \(key.generation)
        AND NOT EXISTS (SELECT 1 FROM purchase p WHERE p.event_id = \(key.event)
          AND p.generation = \(key.generation) AND p.position = \(key.position) AND p.state IN ('paying', 'sold'))
      """)
    // Whoever was told so is not told anything else now.
    guard let row = rows.first else { return nil }
    if let state = row["ended"].string?.first.flatMap(RequestRecord.State.init(rawValue:)) {
      return RequestStatus(ended: state)
    }
    return try row.bool("sold_out") ? RequestStatus(state: .soldOut) : .lostPlace
  }

  package func confirmAnswer(_ key: PurchaseKey, user: String) async throws -> BuyersLine.ConfirmAnswer {
    guard let found = try await purchases.find(key), found.user == user else { return .notReserved }
    return switch found.progress.state {
    case .sold, .paying: .ok
    case .declined, .void: .expired
    }
  }

  package func cancelAnswer(_ key: PurchaseKey, user: String) async throws -> BuyersLine.CancelAnswer {
    guard let found = try await purchases.find(key), found.user == user else { return .ended }
    return switch found.progress.state {
    case .sold: .purchased
    case .paying: .confirming
    case .declined, .void: .ended
    }
  }

  /// A payment that is under way, of whichever life of a queue.
  package struct Paying: Sendable {
    package let user: String
    package let key: PurchaseKey
    package let wish: WishPlace?
  }

  /// What these users are paying for just now; one look at all payments that are under way, which are few.
  package func paying(users: [String], limit: Int) async throws -> [Paying] {
    try await postgres.query(
      """
      SELECT user_id, event_id, generation, position, line, ordinal FROM purchase
      WHERE state = 'paying' AND user_id = ANY (\(users)::text[])
      ORDER BY updated_at DESC LIMIT \(limit)
      """
    ).map { row in
      Paying(
        user: try row.string("user_id"),
        key: PurchaseKey(
          event: try row.int("event_id"), generation: try row.int("generation"),
          position: try row.int("position")),
        wish: WishPlace(row))
    }
  }

  /// - Returns: `nil` for an unknown event.
  package func eventName(_ event: Int) async throws -> String? {
    try await postgres.query("SELECT name FROM event WHERE id = \(event)").first?.string("name")
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

    /// As `EventSettings.isUnannounced`.
    package let isUnannounced: Bool
    package let isCancelled: Bool

    /// As everybody is told.
    package var shownState: String { EventState.shown(state, isStopped: false, isCancelled: isCancelled) }
  }

  /// - Returns: `nil` for an unknown event.
  package func summary(event: Int) async throws -> Summary? {
    let rows = try await postgres.query(
      """
      SELECT e.state, e.version, e.message, extract(epoch FROM e.onsale_at)::bigint AS onsale_at,
        e.cancelled_at IS NOT NULL AS cancelled, \(unsafeSQL: EventSettings.isUnannouncedColumn)
      FROM event e WHERE e.id = \(event)
      """)
    guard let row = rows.first else { return nil }
    let state = try row.string("state")
    let isDraft = state == EventState.draft.rawValue
    let counted = try await counts.read(event: event, version: try row.int("version"), isDraft: isDraft)
    // A draft never had a line.
    let outcome = isDraft ? nil : try await archive.lastOutcome(event: event)
    return Summary(
      state: state, head: outcome?.head ?? 0, tail: outcome?.tail ?? 0, free: counted.total - counted.sold,
      sold: counted.sold, message: try row.string("message"), onsaleAt: row["onsale_at"].int,
      isUnannounced: try row.bool("is_unannounced"), isCancelled: try row.bool("cancelled"))
  }
}
