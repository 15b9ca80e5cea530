import EventLoop
import Postgres
import Sale
import StoreCommon

/// Refunds that failed: tried again by themselves, ever more rarely and a named number of times, where what was wrong may
/// pass; then dead letters, which people resume or close.
///
/// Each try is a refund of its own, planned anew under the purchase's lock: what was given back in another way meanwhile is
/// never given back once more.
extension RefundStore {
  /// So often a refund is tried again by itself.
  package nonisolated static let tryLimit = 5
  /// Each try comes so many times later than the one before: all in all about a day.
  private nonisolated static let retryFactor = 6.0

  /// Why a refund failed that was given back, and whose money came back.
  package nonisolated static let returned = "returned"

  /// The pause before the `tries`-th try.
  nonisolated func retrySeconds(_ tries: Int) -> Double {
    (1..<max(tries, 1)).reduce(firstRetrySeconds) { seconds, _ in seconds * Self.retryFactor }
  }

  /// The provider does not give it back. The tickets stay its buyer's.
  /// - Parameter mayPass: whether it is worth another try.
  /// - Returns: whether it is tried again.
  @discardableResult
  package func fail(_ refund: Refund, reason: String, mayPass: Bool = false) async throws -> Bool {
    let key = refund.key
    return try await postgres.withTransaction { transaction in
      // As everybody does it: first the purchase, then its refunds.
      _ = try await Self.lock(key, transaction)
      let failed = try await transaction.query(
        """
        UPDATE refund SET state = 'failed', reason = \(reason), ended_at = now(), available_at = NULL
        WHERE event_id = \(key.event) AND id = \(refund.id)::uuid AND state = 'requested' RETURNING id
        """)
      guard mayPass, !failed.isEmpty else { return false }
      return try await again(refund.id, of: key, transaction) != nil
    }
  }

  /// Writes down another try of one that failed, unless it was tried often enough, or nothing of it is left to give back.
  /// - Parameter who: has it tried at once, whatever was tried before; `nil` for nobody.
  /// - Returns: the id of the refund that tries it.
  func again(
    _ id: String, of key: PurchaseKey, by who: String? = nil, _ transaction: PostgresTransaction
  ) async throws -> String? {
    guard let purchase = try await Self.lock(key, transaction), try purchase.string("state") == "sold",
      let failed = try await transaction.query(
        """
        SELECT tickets, amount, releases, who, cancels, tries, reason FROM refund WHERE event_id = \(key.event)
          AND id = \(id)::uuid AND state = 'failed' AND retried_by IS NULL AND closed_by IS NULL FOR UPDATE
        """
      ).first
    else { return nil }
    let tries = who == nil ? try failed.int("tries") + 1 : 0
    guard tries <= Self.tryLimit else { return nil }
    let cameBack = failed["reason"].string == Self.returned
    guard
      let plan = RefundPlan(
        again: cameBack ? [] : failed["tickets"].ints ?? [], amount: try failed.int("amount"),
        of: try await Self.account(key, purchase, transaction))
    else { return nil }
    let pause = who == nil ? retrySeconds(tries) : 0
    let made = try await transaction.query(
      """
      INSERT INTO refund (id, event_id, generation, position, tickets, amount, releases, who, cancels, tries, available_at)
      -- Not random: one that PostgreSQL has lost is written again under the name that the provider knows.
      VALUES (md5(concat_ws('|', \(id)::text, \(tries)::int, \(who)::text))::uuid,
        \(key.event), \(key.generation), \(key.position), \(plan.tickets)::int[], \(plan.amount),
        \(try failed.bool("releases")), \(try who ?? failed.string("who")), \(try failed.bool("cancels")), \(tries),
        now() + \(pause) * interval '1 s') RETURNING id::text AS id
      """)
    guard let next = try made.first?.string("id") else { throw StoreError(.unexpectedAnswer, "refund") }
    _ = try await transaction.query(
      """
      UPDATE refund SET retried_by = \(next)::uuid WHERE event_id = \(key.event) AND id = \(id)::uuid
      """)
    return next
  }

  /// Notes which of the refunds that failed are tried again by those that are requested now: of the same tickets, or of
  /// money that came back.
  static func replaceFailed(
    _ key: PurchaseKey? = nil, event: Int = 0, _ transaction: PostgresTransaction
  ) async throws {
    _ = try await transaction.query(
      """
      UPDATE refund f SET retried_by = n.id FROM refund n
      WHERE f.event_id = \(key?.event ?? event) AND f.state = 'failed' AND f.retried_by IS NULL AND f.closed_by IS NULL
        AND (\(key?.generation)::int IS NULL
          OR (f.generation, f.position) = (\(key?.generation)::int, \(key?.position)::bigint))
        AND n.event_id = f.event_id AND n.generation = f.generation AND n.position = f.position
        AND n.state = 'requested' AND (n.tickets && f.tickets AND f.reason <> \(returned)
          OR n.tickets = '{}' AND (f.tickets = '{}' OR f.reason = \(returned)))
      """)
  }

  // MARK: Dead letters

  /// Refunds that failed, are tried by nobody, and that nobody has closed; oldest first, those behind the one named.
  /// - Parameter event: of which alone; `nil` for all.
  package func dead(event: Int? = nil, after last: Refund? = nil, limit: Int) async throws -> [Refund] {
    try await postgres.query(
      """
      SELECT \(unsafeSQL: Self.columns) FROM refund r JOIN purchase p ON \(unsafeSQL: Self.ofPurchase)
      WHERE r.state = 'failed' AND r.retried_by IS NULL AND r.closed_by IS NULL
        AND (\(event)::bigint IS NULL OR r.event_id = \(event)::bigint)
        AND (\(last?.id)::uuid IS NULL OR (r.event_id, r.created_at, r.id) > (
          SELECT l.event_id, l.created_at, l.id FROM refund l
          WHERE l.event_id = \(last?.key.event)::bigint AND l.id = \(last?.id)::uuid))
      ORDER BY r.event_id, r.created_at, r.id LIMIT \(limit)
      """
    ).map(Self.refund)
  }

  /// How many dead letters there are.
  package func deadCount() async throws -> Int {
    try await postgres.query(
      """
      SELECT count(*) AS dead FROM refund WHERE state = 'failed' AND retried_by IS NULL AND closed_by IS NULL
      """
    ).first?.int("dead") ?? 0
  }

  /// Has a dead letter tried again, at once.
  /// - Returns: the id of the refund that tries it; `nil` where there is no such dead letter, or nothing of it is left to
  ///   give back.
  package func resume(_ refund: Refund, by who: String) async throws -> String? {
    let key = refund.key
    return try await postgres.withTransaction { transaction in
      let next = try await again(refund.id, of: key, by: who, transaction)
      if next != nil {
        try await EventStore.note(
          who, "refund", event: key.event,
          detail: "\(key.generation)-\(key.position), \(refund.amount) tried again", transaction)
      }
      return next
    }
  }

  /// Nothing more comes of a dead letter: it was settled in another way, or is not owed.
  /// - Returns: whether there was one.
  package func close(_ refund: Refund, by who: String) async throws -> Bool {
    let key = refund.key
    return try await postgres.withTransaction { transaction in
      let closed = try await transaction.query(
        """
        UPDATE refund SET closed_by = \(who) WHERE event_id = \(key.event) AND id = \(refund.id)::uuid
          AND state = 'failed' AND retried_by IS NULL AND closed_by IS NULL RETURNING id
        """)
      if closed.isEmpty { return false }
      try await EventStore.note(
        who, "refund", event: key.event,
        detail: "\(key.generation)-\(key.position), \(refund.amount) closed", transaction)
      return true
    }
  }
}
