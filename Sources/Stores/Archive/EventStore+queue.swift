import Ledger
import Postgres
package import Queue
package import Sale

/// From PostgreSQL to Redis.
///
/// A queue in Redis is created with a generation of its own, taken from PostgreSQL before and used for one
/// creation only, so that a position never means two requests: the queue of an event that lost its Redis
/// begins a new life, and ids of the old one say so. PostgreSQL's generation is therefore never below that of
/// the queue, and may be above it when two processes came to create the same queue at once.
extension EventStore {
  /// Brings an event's queue in line with its settings, and creates the queue of a sale that has one.
  /// - Parameter settings: what a change returned.
  package func publish(_ settings: EventSettings, to queue: QueueStore) async throws {
    if try await queue.settings.configure(settings, create: false) != nil { return }
    // A draft has no queue yet, and a closed sale has none any more.
    guard settings.state == EventState.open.rawValue || settings.state == EventState.paused.rawValue,
      let fresh = try await takeGeneration(settings)
    else { return }
    var restoreMilliseconds = 0
    if fresh.generation > 1 {
      // Redis lost the queue and, with it, what counts against the limit per user.
      try await rememberOwned(event: fresh.id, in: queue)
      if try await isLost(event: fresh.id) { restoreMilliseconds = rejoinSeconds * 1_000 }
    }
    try await queue.settings.configure(fresh, create: true, restoreMilliseconds: restoreMilliseconds)
  }

  /// Whether the line's last life, as far as any owner began it, did not come to its end.
  private func isLost(event: Int) async throws -> Bool {
    try await !postgres.query(
      """
      SELECT 1 FROM queue_life l WHERE l.event_id = \(event) AND NOT EXISTS (
        SELECT 1 FROM queue_outcome o WHERE o.event_id = l.event_id AND o.generation >= l.generation)
      """
    ).isEmpty
  }

  /// Buyers that are read at once: some milliseconds of the loop.
  private static let buyersAtOnce = 2_000

  private func rememberOwned(event: Int, in queue: QueueStore) async throws {
    var last = ""
    while true {
      let rows = try await postgres.query(
        """
        SELECT user_id, tickets FROM buyer WHERE event_id = \(event) AND user_id > \(last) AND tickets > 0
        ORDER BY user_id LIMIT \(Self.buyersAtOnce)
        """)
      try await queue.settings.remember(
        event: event, owned: rows.map { (try $0.string("user_id"), try $0.int("tickets")) })
      guard rows.count == Self.buyersAtOnce, let end = try rows.last?.string("user_id") else { return }
      last = end
    }
  }

  /// - Returns: the settings with a generation that nobody else has; `nil` if the event changed meanwhile, so
  ///   that whoever changed it publishes it, or the next reconciliation.
  private func takeGeneration(_ settings: EventSettings) async throws -> EventSettings? {
    try await postgres.query(
      """
      UPDATE event e SET generation = e.generation + 1
      WHERE e.id = \(settings.id) AND e.version = \(settings.version)
        AND e.generation = \(settings.generation)
      RETURNING \(unsafeSQL: EventSettings.columns)
      """
    ).first.map { try EventSettings($0) }
  }

  /// Compares all sales under way with their queues, and brings those in line that are not: after a crash
  /// between both writes, or when Redis lost its data. Safe to be called by several processes at once.
  /// - Returns: the events that were brought in line.
  package func reconcile(with queue: QueueStore) async throws -> [Int] {
    var queues: [Int: Int] = [:]
    for partition in Partition.all {
      queues.merge(try await queue.settings.versions(partition)) { $1 }
    }
    // PostgreSQL is read after Redis: a queue that is created in between then looks missing only if its event
    // was opened in between too, and taking a generation for it does no harm.
    let alive = try await postgres.query(
      "SELECT id, version FROM event WHERE state IN ('open', 'paused')")
    var behind: [Int] = []
    for row in alive {
      let id = try row.int("id"), version = try row.int("version")
      if let published = queues.removeValue(forKey: id), published >= version { continue }
      behind.append(id)
    }
    // What is left is closed in PostgreSQL and still has a queue, which may not know it.
    behind += try await unaware(queues)
    for id in behind {
      guard let settings = try await settings(event: id) else { continue }
      try await publish(settings, to: queue)
    }
    return behind
  }

  private func unaware(_ queues: [Int: Int]) async throws -> [Int] {
    if queues.isEmpty { return [] }
    let rows = try await postgres.query(
      "SELECT id, version FROM event WHERE id = ANY (\(queues.keys.sorted())::bigint[])")
    var ids: [Int] = []
    for row in rows {
      let id = try row.int("id")
      if let published = queues[id], try published < row.int("version") { ids.append(id) }
    }
    return ids
  }

  /// Writes an event's settings as its queue has them, where PostgreSQL came back with an older version of them: a sale
  /// that everybody was told is closed does not open again.
  /// - Returns: whether they were older.
  package func catchUp(event: Int, with facts: QueueFacts, version: Int) async throws -> Bool {
    let document = facts.document
    guard let state = EventState(rawValue: document.state), state != .draft else { return false }
    let rows = try await postgres.query(
      """
      WITH caught_up AS (
        UPDATE event SET version = greatest(version, \(version)), generation = greatest(generation, \(document.generation)),
          state = CASE WHEN version < \(version) THEN \(state.rawValue) ELSE state END,
          queue_limit = CASE WHEN version < \(version) THEN \(facts.queueLimit) ELSE queue_limit END,
          per_user_limit = CASE WHEN version < \(version) THEN \(facts.perUserLimit) ELSE per_user_limit END,
          hold_seconds = CASE WHEN version < \(version) THEN \(facts.holdMilliseconds / 1_000) ELSE hold_seconds END,
          rate = CASE WHEN version < \(version) THEN \(facts.rate) ELSE rate END,
          message = CASE WHEN version < \(version) THEN \(document.message) ELSE message END,
          payments_stopped = CASE WHEN version < \(version) THEN \(document.isStopped) ELSE payments_stopped END
        WHERE id = \(event) AND (version < \(version) OR generation < \(document.generation))
        RETURNING id
      ), noted AS (
        INSERT INTO audit_log (who, event_id, action, detail)
        SELECT \(Self.watchman), id, 'settings restored', 'as Redis has them, version ' || \(version)::bigint FROM caught_up
      )
      SELECT id FROM caught_up
      """)
    return !rows.isEmpty
  }
}
