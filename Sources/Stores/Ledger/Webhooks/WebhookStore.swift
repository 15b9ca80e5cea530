package import EventLoop
package import Postgres
package import Sale
import StoreCommon

/// Endpoints of systems outside and what they are still to be told: an outbox, of which a message goes when it was taken.
///
/// A message is written in the transaction of what it tells. Whoever sends leases it, so that any number of processes may
/// send, and a message whose sender died is sent by another, as the same one.
@LoopActor
package final class WebhookStore {
  package nonisolated static let endpointLimit = 16
  /// Messages that wait for one endpoint, dead ones included; past it no more are written until a tenth of them is gone.
  package nonisolated static let messageLimit = 1_000_000
  /// Dead letters are kept for so long.
  package nonisolated static let deadDays = 30
  /// After a rotation the former secret signs, too, for so long.
  package nonisolated static let formerHours = 24
  /// For so long a message is its sender's.
  package nonisolated static let leaseSeconds = 30
  private static let rowsAtOnce = 10_000
  /// One worker counts an endpoint's messages and clears away what is too old, once in so long.
  private static let tidySeconds = 15
  /// Statements in one round of that, of `rowsAtOnce` each.
  private static let clearsAtOnce = 20
  /// A removed endpoint is forgotten after so long: a transaction that began before may still write for it.
  private static let forgetMinutes = 60

  private let postgres: PostgresClient
  private let listeners: WebhookListeners
  private let limit: Int

  /// - Parameter listeners: is told what `endpoints` finds.
  package init(
    _ postgres: PostgresClient, listeners: WebhookListeners = WebhookListeners(),
    messageLimit: Int = WebhookStore.messageLimit
  ) {
    self.postgres = postgres
    self.listeners = listeners
    limit = messageLimit
  }

  // MARK: Telling

  // These are statements for the transaction of what they tell; `event.state` is told by a trigger.

  /// `purchase.completed` of those of these purchases that are sold.
  /// - Parameter isNow: only of those that were sold by this very transaction.
  static func tellSold(_ events: [Int], _ generations: [Int], _ positions: [Int], isNow: Bool = true) -> SQL {
    write(soldRows(events, generations, positions, isNow: isNow))
  }

  private static func soldRows(
    _ events: [Int], _ generations: [Int], _ positions: [Int], isNow: Bool
  ) -> SQL {
    """
    SELECT 'purchase.completed' AS type, p.event_id, p.generation, p.position, 1 AS stage, 4 * p.try::bigint AS ordinal,
      1 AS id_stage, 2 * p.try::bigint AS id_ordinal, p.sold_at AS at,
      \(purchase(amount: "p.amount", reason: "NULL")) AS data, '' AS user_key, p.line, p.ordinal AS line_ordinal
    FROM unnest(\(events)::bigint[], \(generations)::int[], \(positions)::bigint[]) AS i (event, generation, position)
    JOIN purchase p ON p.event_id = i.event AND p.generation = i.generation AND p.position = i.position
      AND p.state = (SELECT 'sold') AND (NOT \(isNow)::boolean OR p.xmin = pg_current_xact_id()::xid)
    CROSS JOIN LATERAL (\(labels("p.event_id", "p.tickets"))) k
    """
  }

  /// `purchase.refunded` of a purchase, wholly or in part. This is what is told of every refund, wherever it was made.
  /// - Parameters:
  ///   - tickets: that are no good any more.
  ///   - amount: what was given back by this refund, in the currency's minor unit.
  ///   - ordinal: tells the refunds of one purchase apart, and grows.
  package static func tellRefund(
    of key: PurchaseKey, tickets: [Int], amount: Int, reason: String, ordinal: Int
  ) -> SQL {
    tellRefund(
      of: key, tickets: tickets, amount: amount, reason: reason, stage: 2, ordinal: "\(ordinal)::bigint",
      idOrdinal: "\(ordinal)::bigint")
  }

  /// The same of a sale that was taken back, since its authorisation had lapsed: behind that sale, and before the next
  /// attempt's.
  static func tellLapse(of key: PurchaseKey, tickets: [Int], reason: String) -> SQL {
    tellRefund(
      of: key, tickets: tickets, amount: 0, reason: reason, stage: 1, ordinal: "4 * p.try::bigint + 1",
      idOrdinal: "2 * p.try::bigint + 1")
  }

  private static func tellRefund(
    of key: PurchaseKey, tickets: [Int], amount: Int, reason: String, stage: Int, ordinal: SQL,
    idOrdinal: SQL
  ) -> SQL {
    write(
      """
      SELECT 'purchase.refunded' AS type, p.event_id, p.generation, p.position, \(stage)::int AS stage, \(ordinal) AS ordinal,
        \(stage)::int AS id_stage, \(idOrdinal) AS id_ordinal, now() AS at, \(purchase(amount: "\(amount)::bigint", reason: "\(reason)::text")) AS data, '' AS user_key, p.line,
        p.ordinal AS line_ordinal
      FROM purchase p CROSS JOIN LATERAL (\(labels("p.event_id", "\(tickets)::int[]"))) k
      WHERE p.event_id = \(key.event) AND p.generation = \(key.generation) AND p.position = \(key.position)
      """)
  }

  /// Writes a message down for each of these rows and each endpoint that hears of it. What is written already stays.
  ///
  /// A message's id is what receivers drop repetitions by. It is made of numbers of its own: those that say the order
  /// were others once, and what was told then is told again under the same id.
  private static func write(_ rows: SQL, to endpoints: SQL = hearing) -> SQL {
    """
    INSERT INTO webhook_message (event_id, generation, position, endpoint_id, stage, ordinal, id, type, at, data, user_key,
      line, line_ordinal)
    SELECT r.event_id, r.generation, r.position, w.id, r.stage, r.ordinal,
      md5(concat_ws('|', i.id, r.type, r.event_id, r.generation, r.position, r.id_stage, r.id_ordinal))::uuid, r.type, r.at, r.data,
      r.user_key, r.line, r.line_ordinal
    -- A step of its own: what is told is put together once for all endpoints.
    FROM (\(rows) OFFSET 0) r
    CROSS JOIN (SELECT id FROM installation WHERE is_alone) i
    LEFT JOIN event e ON e.id = r.event_id
    -- The first condition says nothing, and keeps the planner from reading the table whole in sessions that forbid it.
    JOIN webhook_endpoint w ON w.id > 0 AND \(endpoints)
    ON CONFLICT DO NOTHING
    """
  }

  private static let hearing: SQL = """
    NOT w.is_full AND w.removed_at IS NULL AND (w.types = '{}' OR r.type = ANY (w.types)) AND (w.events = '{}' OR r.event_id = ANY (w.events))
      AND (w.owner IS NULL OR w.owner = e.owner)
    """

  /// Tickets as buyers know them.
  private static func labels(_ event: SQL, _ tickets: SQL) -> SQL {
    """
    SELECT coalesce(json_agg(json_strip_nulls(json_build_object('id', t.id, 'section', s.name, 'block', t.block,
      'row', t.row, 'seat', t.seat, 'price', t.price)) ORDER BY t.id), '[]'::json) AS tickets
    FROM ticket t JOIN section s ON s.event_id = t.event_id AND s.id = t.section_id
    WHERE t.event_id = \(event) AND t.id = ANY (\(tickets))
    """
  }

  /// What is told of the purchase `p`.
  private static func purchase(amount: SQL, reason: SQL) -> SQL {
    """
    json_strip_nulls(json_build_object(
      'purchase_id', coalesce(p.id::text, concat_ws('-', p.event_id, p.generation, p.position)), 'user_id', p.user_id,
      'email', (SELECT u.email FROM users u WHERE u.id = p.user_id), 'tickets', k.tickets, 'amount', \(amount),
      'currency', p.currency, 'payment_id', p.payment_id, 'reason', \(reason),
      'other_seats', CASE WHEN p.instead_of IS NOT NULL THEN true END))
    """
  }

  /// `audit.violation`: within a day the same one is the same message.
  /// - Parameter data: JSON objects.
  package func tell(violations: [(event: Int, identity: String, data: String)]) async throws {
    if violations.isEmpty { return }
    _ = try await postgres.query(
      """
      SELECT tell_webhooks('audit.violation', i.event, 0, 0, 2,
        ('x' || left(md5(concat_ws('|', current_date, i.identity)), 15))::bit(60)::bigint, now(), i.data::json)
      FROM unnest(\(violations.map(\.event))::bigint[], \(violations.map(\.identity))::text[],
        \(violations.map(\.data))::text[]) AS i (event, identity, data)
      """)
  }

  /// Writes down what Redis told. Repeated, it changes nothing as long as the messages are there; of those that were taken
  /// since, the endpoint gets the same ones again.
  package func write(_ news: [WebhookNews]) async throws {
    if news.isEmpty { return }
    let tickets = news.map { "{" + $0.tickets.map(String.init).joined(separator: ",") + "}" }
    _ = try await postgres.query(
      Self.write(
        """
        SELECT i.type, i.event AS event_id, i.generation, i.position, i.stage,
          i.ordinal, i.id_stage, i.id_ordinal, to_timestamp(i.at / 1000.0) AS at, CASE WHEN i.position = 0 THEN json_build_object('name', n.name)
          ELSE json_strip_nulls(json_build_object('user_id', nullif(i.user_id, ''), 'tickets', k.tickets,
            'amount', i.amount, 'currency', n.currency, 'expires_at',
            to_char(to_timestamp(i.deadline / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'reason',
            nullif(i.reason, ''))) END AS data, i.user_key, i.line, i.line_ordinal
        FROM unnest(\(news.map(\.type.rawValue))::text[], \(news.map(\.stage))::int[], \(news.map(\.event))::bigint[],
          \(news.map(\.generation))::int[], \(news.map(\.position))::bigint[], \(news.map(\.ordinal))::bigint[],
          \(news.map(\.told.stage))::int[], \(news.map(\.told.ordinal))::bigint[],
          \(news.map(\.milliseconds))::bigint[], \(news.map(\.user))::text[], \(tickets)::text[],
          \(news.map(\.amount))::bigint[], \(news.map { $0.deadline.map { String($0) } })::bigint[],
          \(news.map(\.reason))::text[], \(news.map(\.userKey))::text[], \(news.map { $0.wish?.line ?? 0 })::int[],
          \(news.map { $0.wish?.ordinal ?? 0 })::bigint[])
          AS i (type, stage, event, generation, position, ordinal, id_stage, id_ordinal, at, user_id, tickets,
            amount, deadline, reason, user_key, line, line_ordinal)
        JOIN event n ON n.id = i.event
        CROSS JOIN LATERAL (\(Self.labels("i.event", "i.tickets::int[]"))) k
        """))
  }

  // MARK: Endpoints

  package func endpoints() async throws -> [WebhookEndpoint] {
    let rows = try await postgres.query(
      "SELECT \(unsafeSQL: WebhookEndpoint.columns) FROM webhook_endpoint WHERE removed_at IS NULL ORDER BY id LIMIT \(Self.endpointLimit)"
    )
    let endpoints = try rows.map { try WebhookEndpoint($0) }
    listeners.note(endpoints)
    return endpoints
  }

  /// - Throws: `StoreError` `conflict` where there are as many as there may be.
  package func add(
    url: String, types: Set<WebhookType>, events: [Int], owner: String?, secret: String, by who: String
  ) async throws -> Int {
    try await postgres.withTransaction { transaction in
      _ = try await transaction.query("LOCK TABLE webhook_endpoint IN SHARE ROW EXCLUSIVE MODE")
      let rows = try await transaction.query(
        """
        INSERT INTO webhook_endpoint (url, types, events, owner, secret, made_by)
        SELECT \(url), \(types.map(\.rawValue).sorted())::text[], \(events)::bigint[], \(owner)::text, \(secret), \(who)
        WHERE (SELECT count(*) FROM webhook_endpoint WHERE removed_at IS NULL) < \(Self.endpointLimit) RETURNING id
        """)
      guard let id = try rows.first?.int("id") else {
        throw StoreError(.conflict, "there are \(Self.endpointLimit) endpoints, and no more may be")
      }
      try await Self.note(who, "webhook added", id, transaction)
      return id
    }
  }

  /// Gives an endpoint another secret. The one before goes on to sign, too, for a day.
  package func rotate(_ endpoint: Int, to secret: String, by who: String) async throws {
    try await change(
      endpoint,
      """
      UPDATE webhook_endpoint SET former_secret = secret, secret = \(secret),
        former_until = now() + \(Self.formerHours) * interval '1 hour'
      WHERE id = \(endpoint) AND removed_at IS NULL RETURNING id
      """, "webhook secret rotated", by: who)
  }

  /// Takes an endpoint out. What waits for it is dropped, by whoever sends.
  package func remove(_ endpoint: Int, by who: String) async throws {
    try await change(
      endpoint,
      "UPDATE webhook_endpoint SET removed_at = now() WHERE id = \(endpoint) AND removed_at IS NULL RETURNING id",
      "webhook removed", by: who)
  }

  private func change(_ endpoint: Int, _ statement: SQL, _ action: String, by who: String) async throws {
    try await postgres.withTransaction { transaction in
      if try await transaction.query(statement).isEmpty {
        throw StoreError(.notFound, "there is no endpoint \(endpoint)")
      }
      try await Self.note(who, action, endpoint, transaction)
    }
  }

  private static func note(
    _ who: String, _ action: String, _ endpoint: Int, _ transaction: PostgresTransaction
  ) async throws {
    _ = try await transaction.query(
      "INSERT INTO audit_log (who, action, detail) VALUES (\(who), \(action), \("endpoint \(endpoint)"))")
  }

  // MARK: Sending

  /// Leases messages that are due to the caller; they become due again by themselves. One is not given out before those
  /// of the same request that come before it were taken, or have died.
  package func due(for endpoint: Int, limit: Int) async throws -> [WebhookMessage] {
    let rows = try await postgres.query(
      """
      WITH due AS MATERIALIZED (
        SELECT event_id, generation, position, endpoint_id, stage, ordinal FROM webhook_message
        WHERE endpoint_id = \(endpoint) AND dead_at IS NULL AND available_at <= now()
        ORDER BY available_at LIMIT \(limit) FOR UPDATE SKIP LOCKED
      ), looked_at AS (
        SELECT d.*, (SELECT max(m.available_at) FROM webhook_message m WHERE \(Self.comesBefore)) AS behind FROM due d
      )
      UPDATE webhook_message m SET attempts = m.attempts + CASE WHEN d.behind IS NULL THEN 1 ELSE 0 END,
        available_at = CASE WHEN d.behind IS NULL THEN now() + \(Self.leaseSeconds) * interval '1 s'
          ELSE greatest(d.behind, now()) + interval '1 s' END
      FROM looked_at d WHERE \(Self.isSame)
      RETURNING \(unsafeSQL: WebhookMessage.columns), d.behind IS NULL AS is_first
      """)
    return try rows.filter { try $0.bool("is_first") }.map { try WebhookMessage($0) }
  }

  /// `m` tells the same endpoint of the same request as `d`.
  private static let isOfSame: SQL = """
    m.event_id = d.event_id AND m.generation = d.generation AND m.position = d.position
      AND m.endpoint_id = d.endpoint_id
    """
  private static let isSame: SQL = "\(isOfSame) AND m.stage = d.stage AND m.ordinal = d.ordinal"
  private static let comesBefore: SQL = """
    \(isOfSame) AND (m.stage, m.ordinal) < (d.stage, d.ordinal) AND m.dead_at IS NULL
    """

  private static func these(_ messages: [WebhookMessage]) -> SQL {
    """
    unnest(\(messages.map(\.event))::bigint[], \(messages.map(\.generation))::int[],
      \(messages.map(\.position))::bigint[], \(messages.map(\.endpoint))::int[], \(messages.map(\.stage))::smallint[],
      \(messages.map(\.ordinal))::bigint[]) AS d (event_id, generation, position, endpoint_id, stage, ordinal)
    """
  }

  /// Gives messages back that have got one before them since they were leased.
  /// - Returns: the others.
  package func stillFirst(_ messages: [WebhookMessage]) async throws -> [WebhookMessage] {
    let rows = try await postgres.query(
      """
      UPDATE webhook_message l SET available_at = now(), attempts = greatest(l.attempts - 1, 0)
      FROM \(Self.these(messages))
      WHERE l.event_id = d.event_id AND l.generation = d.generation AND l.position = d.position
        AND l.endpoint_id = d.endpoint_id AND l.stage = d.stage AND l.ordinal = d.ordinal
        AND EXISTS (SELECT 1 FROM webhook_message m WHERE \(Self.comesBefore))
      RETURNING l.id::text AS id
      """)
    let behind = Set(try rows.map { try $0.string("id") })
    return messages.filter { !behind.contains($0.id) }
  }

  /// What became of a message that was sent and not taken.
  package struct Failure: Sendable {
    package let message: WebhookMessage
    package let problem: String
    package let pauseSeconds: Double
    /// It is not sent any more.
    package let isDead: Bool

    package init(message: WebhookMessage, problem: String, pauseSeconds: Double, isDead: Bool) {
      self.message = message
      self.problem = problem
      self.pauseSeconds = pauseSeconds
      self.isDead = isDead
    }
  }

  /// Notes what became of messages. Those behind one that was taken, or has died, are due at once.
  package func note(taken: [WebhookMessage], failed: [Failure]) async throws {
    let gone = taken + failed.filter(\.isDead).map(\.message)
    var statements: [SQL] = []
    if !taken.isEmpty {
      statements.append("DELETE FROM webhook_message m USING \(Self.these(taken)) WHERE \(Self.isSame)")
    }
    for failure in failed {
      statements.append(
        """
        UPDATE webhook_message m SET problem = \(failure.problem),
          available_at = now() + \(failure.pauseSeconds) * interval '1 s',
          dead_at = CASE WHEN \(failure.isDead) THEN now() END
        FROM \(Self.these([failure.message])) WHERE \(Self.isSame)
        """)
    }
    if !gone.isEmpty {
      statements.append(
        """
        UPDATE webhook_message m SET available_at = now() FROM \(Self.these(gone))
        WHERE \(Self.isOfSame) AND (m.stage, m.ordinal) > (d.stage, d.ordinal)
          AND m.available_at > now() AND m.dead_at IS NULL
        """)
    }
    if !statements.isEmpty { _ = try await postgres.transaction(statements) }
  }

  // MARK: Tidying

  /// Looks after endpoints that nobody has looked after for a while: gives up and forgets what is too old, counts what
  /// waits, so that it stays bounded, and clears away what is left of those that were removed. Of several callers each
  /// endpoint has one.
  package func tidy() async throws {
    let claimed = try await postgres.query(
      """
      UPDATE webhook_endpoint w SET counted_at = now() FROM (
        SELECT id FROM webhook_endpoint
        WHERE counted_at NOT BETWEEN now() - \(Self.tidySeconds) * interval '1 s' AND now() + \(Self.tidySeconds) * interval '1 s'
        ORDER BY id FOR UPDATE SKIP LOCKED
      ) d WHERE w.id = d.id RETURNING w.id, w.removed_at IS NOT NULL AS is_removed
      """)
    for row in claimed {
      let endpoint = try row.int("id")
      if try row.bool("is_removed") {
        try await clearAway(endpoint)
      } else {
        try await giveUp(endpoint)
        try await count(endpoint)
      }
    }
  }

  private func giveUp(_ endpoint: Int) async throws {
    _ = try await delete(
      "endpoint_id = \(endpoint) AND dead_at IS NOT NULL AND dead_at < now() - \(Self.deadDays) * interval '1 day'"
    )
    // Those that an endpoint that is away was not even tried for. What is leased is its sender's.
    _ = try await postgres.query(
      """
      UPDATE webhook_message SET dead_at = now(), problem = coalesce(problem, 'the endpoint was away')
      WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM webhook_message WHERE endpoint_id = \(endpoint) AND dead_at IS NULL AND available_at <= now()
          AND created_at < now() - \(WebhookRetry.seconds) * interval '1 s'
        LIMIT \(Self.rowsAtOnce) FOR UPDATE SKIP LOCKED))
      """)
  }

  /// Counts what waits for an endpoint, no further than it matters.
  package func count(_ endpoint: Int) async throws {
    _ = try await postgres.query(
      """
      UPDATE webhook_endpoint w SET waiting = n.waiting, dead = n.dead, oldest_at = n.oldest_at,
        is_full = n.waiting + n.dead >= CASE WHEN w.is_full THEN \(limit - limit / 10)::int ELSE \(limit)::int END
      FROM (SELECT
          (SELECT count(*) FROM (SELECT FROM webhook_message m WHERE m.endpoint_id = \(endpoint) AND m.dead_at IS NULL
            LIMIT \(limit)) c) AS waiting,
          (SELECT count(*) FROM (SELECT FROM webhook_message m WHERE m.endpoint_id = \(endpoint) AND m.dead_at IS NOT NULL
            LIMIT \(limit)) c) AS dead,
          (SELECT min(m.created_at) FROM webhook_message m WHERE m.endpoint_id = \(endpoint) AND m.dead_at IS NULL)
            AS oldest_at) n
      WHERE w.id = \(endpoint)
      """)
  }

  private func clearAway(_ endpoint: Int) async throws {
    for _ in 0..<Self.clearsAtOnce {
      let waiting = try await delete("endpoint_id = \(endpoint) AND dead_at IS NULL")
      let dead = try await delete("endpoint_id = \(endpoint) AND dead_at IS NOT NULL")
      if waiting + dead > 0 { continue }
      _ = try await postgres.query(
        """
        DELETE FROM webhook_endpoint
        WHERE id = \(endpoint) AND removed_at < now() - \(Self.forgetMinutes) * interval '1 minute'
        """)
      return
    }
  }

  /// - Returns: how many; some thousand at most.
  private func delete(_ condition: SQL) async throws -> Int {
    try await postgres.query(
      """
      WITH gone AS (DELETE FROM webhook_message WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM webhook_message WHERE \(condition) LIMIT \(Self.rowsAtOnce) FOR UPDATE SKIP LOCKED)) RETURNING 1)
      SELECT count(*) AS gone FROM gone
      """
    ).first?.int("gone") ?? 0
  }

  // MARK: By hand

  /// Dead letters, the latest first.
  package func deadLetters(of endpoint: Int?, limit: Int) async throws -> [WebhookMessage] {
    try await postgres.query(
      """
      SELECT \(unsafeSQL: WebhookMessage.columns) FROM webhook_message m
      WHERE m.dead_at IS NOT NULL AND (\(endpoint)::int IS NULL OR m.endpoint_id = \(endpoint)::int)
      ORDER BY m.dead_at DESC LIMIT \(limit)
      """
    ).map { try WebhookMessage($0) }
  }

  /// Lets dead letters be sent again, for another three days. - Returns: how many.
  /// - Parameter id: of one; `nil` for all.
  package func replay(_ endpoint: Int, id: String?) async throws -> Int {
    try await postgres.query(
      """
      UPDATE webhook_message SET dead_at = NULL, attempts = 0, created_at = now(), available_at = now()
      WHERE endpoint_id = \(endpoint) AND dead_at IS NOT NULL AND (\(id)::text IS NULL OR id::text = \(id)) RETURNING id
      """
    ).count
  }

  /// Drops dead letters. - Returns: how many.
  package func drop(_ endpoint: Int, id: String?) async throws -> Int {
    try await postgres.query(
      """
      DELETE FROM webhook_message
      WHERE endpoint_id = \(endpoint) AND dead_at IS NOT NULL AND (\(id)::text IS NULL OR id::text = \(id)) RETURNING id
      """
    ).count
  }

  /// Purchases that one statement of `resend` reads.
  private static let purchasesAtOnce = 1_000

  /// Tells one endpoint again of everything that is sold of an event, and was not given back, as the messages that it was
  /// told of it first.
  /// - Returns: of how many purchases.
  package func resend(to endpoint: Int, event: Int) async throws -> Int {
    try await count(endpoint)
    guard let known = try await endpoints().first(where: { $0.id == endpoint }) else {
      throw StoreError(.notFound, "there is no endpoint \(endpoint)")
    }
    if known.isFull {
      throw StoreError(
        .conflict, "as many messages wait for endpoint \(endpoint) as may: drop some, or have it take them")
    }
    var last = (generation: 0, position: 0), count = 0
    while true {
      let page = try await postgres.query(
        """
        SELECT generation, position FROM purchase
        WHERE event_id = \(event) AND (generation, position) > (\(last.generation)::int, \(last.position)::bigint)
          AND state = 'sold' AND cardinality(tickets) > 0
        ORDER BY generation, position LIMIT \(Self.purchasesAtOnce)
        """
      ).map { (generation: try $0.int("generation"), position: try $0.int("position")) }
      let rows = Self.soldRows(
        page.map { _ in event }, page.map(\.generation), page.map(\.position), isNow: false)
      _ = try await postgres.query(Self.write(rows, to: "w.id = \(endpoint)"))
      count += page.count
      guard page.count == Self.purchasesAtOnce, let end = page.last else { return count }
      last = end
    }
  }
}
