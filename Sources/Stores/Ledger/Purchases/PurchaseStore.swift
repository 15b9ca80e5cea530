package import EventLoop
package import Postgres
package import Sale
import StoreCommon

/// Purchases in PostgreSQL: the only truth about what is sold. Every method handles a whole group of requests
/// in one transaction of a fixed number of statements, and may be repeated after an unknown outcome.
@LoopActor
package final class PurchaseStore {
  /// Sets up the sessions that settle purchases.
  package static func configure(_ configuration: inout PostgresConfiguration) {
    configuration.sessionSettings = sessionSettings
    configuration.preparedMilliseconds = planMilliseconds
  }

  /// For how long a plan is used. Making those of one transaction costs PostgreSQL as much as some ten purchases, which
  /// is much where several workers share a sale and each commits small groups. One that was made when a table was empty
  /// does little harm in so short a time.
  private nonisolated static let planMilliseconds: UInt64 = 1_000

  /// What those sessions are set to.
  ///
  /// Every statement here reaches a few rows of large tables by their primary keys. The planner cannot know how
  /// many rows an array brings, and a plan that hashes all tickets of an event for each purchase is a thousand
  /// times slower than the nested loop that these settings leave. Statements write `(SELECT 'paying')` where they
  /// could write `'paying'`: the planner would see an index of all payments under way, believe that it is empty, as
  /// it is between sales, and walk it once for every purchase of the group.
  ///
  /// Index scans are off, so that indexes are read by bitmaps, which need a condition: an analysis in the midst of
  /// a first sale counts the rows that are committed, next to none, and a planner that believes that a table has
  /// one row walks the whole of its index in place of looking up the group's keys.
  private nonisolated static let sessionSettings = [
    (name: "enable_hashjoin", value: "off"), (name: "enable_mergejoin", value: "off"),
    (name: "enable_seqscan", value: "off"), (name: "enable_indexscan", value: "off"),
    (name: "enable_indexonlyscan", value: "off"), (name: "plan_cache_mode", value: "force_generic_plan"),
  ]

  /// How long a worker is trusted to finish by itself what it has begun.
  package struct Patience: Sendable {
    /// Until a capture becomes the outbox worker's, in seconds; it doubles with every attempt.
    package var captureSeconds: Double = 20
    /// Until a payment that was begun and not ended is taken up again, in seconds.
    package var stalledSeconds: Double = 60

    package init() {}
  }

  let postgres: PostgresClient
  private let patience: Patience
  private let listeners: WebhookListeners
  private var knownInstallation: String?

  /// - Parameter listeners: what is known of who is told of purchases; who knows nothing looks each time.
  package init(
    _ postgres: PostgresClient, patience: Patience = Patience(),
    listeners: WebhookListeners = WebhookListeners()
  ) {
    self.postgres = postgres
    self.patience = patience
    self.listeners = listeners
  }

  private nonisolated static let freePrefix = "free-"

  /// What stands for the payment of tickets that cost nothing: no provider ever sees it.
  package nonisolated static func freePaymentID(_ reference: String) -> String { freePrefix + reference }
  package nonisolated static func isFree(_ paymentID: String) -> Bool { paymentID.hasPrefix(freePrefix) }

  /// Why a purchase is void whose authorisation was gone before its money was taken.
  package nonisolated static let authorisationLapsed = "authorisation_lapsed"

  /// Why a purchase is void whose user would have had more tickets than one person may buy.
  package nonisolated static let limitExceeded = "limit_exceeded"

  /// Inserts the payment intents and claims their tickets.
  ///
  /// A request that has an intent keeps it, unless that was declined and this is a later attempt. A ticket
  /// that another live purchase claimed stays there: the answer then has `ownsItsTickets` false.
  /// Of a life of the queue that has ended (`SeatStore.begin`), and of a place whose owner was told that it is lost
  /// (`PastRequests.forfeit`), no purchase begins, and no further attempt.
  ///
  /// One with which its user would have more tickets, sold or under payment, than one person may buy of the event ends
  /// here, void for `limitExceeded`: `buyer` counts them, whatever Redis knows, and its rows are locked until the commit.
  /// What was begun before stays.
  /// - Returns: the progress after the call, in order; `nil` where nothing was bought before and nothing can be now:
  ///   the event is unknown, or its queue or the place was lost.
  package func claim(_ group: [Confirmation]) async throws -> [PurchaseProgress?] {
    // What is updated is counted before what is inserted: in one transaction the two would lock users in two orders.
    let order =
      group.indices.filter { group[$0].attempt == 1 } + group.indices.filter { group[$0].attempt != 1 }
    let first = group.count { $0.attempt == 1 }
    var results = [PurchaseProgress?](repeating: nil, count: group.count)
    for part in [order[..<first], order[first...]] where !part.isEmpty {
      for (index, progress) in zip(part, try await claim(atOnce: part.map { group[$0] })) {
        results[index] = progress
      }
    }
    return results
  }

  private func claim(atOnce group: [Confirmation]) async throws -> [PurchaseProgress?] {
    let installation = try await installation()
    let events = group.map(\.event), generations = group.map(\.generation), positions = group.map(\.position)
    let attempts = group.map(\.attempt)
    let tickets = group.map { "{" + $0.tickets.map(String.init).joined(separator: ",") + "}" }
    let results = try await postgres.transaction([
      // So that neither changes between the look and the commit. A statement of its own: the next one sees what was
      // committed while this one waited.
      "SELECT FROM queue_life WHERE event_id = ANY (\(events)::bigint[]) ORDER BY event_id FOR SHARE",
      """
      INSERT INTO purchase
        (event_id, generation, position, user_id, state, try, tickets, amount, currency, method, line, ordinal, id, tried_at,
        other_seats, other_seats_try)
      SELECT event, generation, position, user_id, 'paying', try, tickets, amount, currency, method, line, ordinal, id, now(),
        others, CASE WHEN others IS NOT NULL THEN try END
      FROM (
      SELECT DISTINCT ON (i.event, i.generation, i.position) i.event, i.generation, i.position, i.user_id,
        i.try, i.tickets::int[] AS tickets, i.amount, e.currency, i.method, i.line, i.ordinal, i.others,
        -- Not random: an intent that PostgreSQL has lost is written again under the name that the provider knows.
        md5(concat_ws('|', \(installation)::text, i.event, i.generation, i.position, i.user_id))::uuid AS id
      FROM unnest(\(events)::bigint[], \(generations)::int[], \(positions)::bigint[], \(group.map(\.user))::text[],
        \(attempts)::int[], \(tickets)::text[], \(group.map(\.amount))::bigint[], \(group.map(\.method))::text[],
        \(group.map { UserKey($0.user).text })::text[], \(group.map { $0.wish?.line ?? 0 })::int[],
        \(group.map { $0.wish?.ordinal ?? 0 })::bigint[], \(group.map { $0.otherSeats.column })::text[])
        AS i (event, generation, position, user_id, try, tickets, amount, method, user_key, line, ordinal, others)
      JOIN event e ON e.id = i.event
      -- Of an event that was cancelled, and all of which was given back, nothing is sold any more.
      WHERE e.cancel_ended_at IS NULL
        AND NOT EXISTS (SELECT 1 FROM queue_life l WHERE l.event_id = i.event AND l.generation > i.generation)
        AND NOT EXISTS (SELECT 1 FROM lost_place l WHERE l.event_id = i.event AND l.generation = i.generation
          AND l.position = i.position AND l.user_key = i.user_key)
      ORDER BY i.event, i.generation, i.position, i.try DESC
      ) AS i
      -- As `settle` does it: groups of two workers may have users in common, in two lives of a line, and must not wait for
      -- each other.
      ORDER BY event, user_id, generation, position
      ON CONFLICT (event_id, generation, position) DO UPDATE
      SET stalls = 0, try = excluded.try, method = excluded.method, state = 'paying', payment_id = NULL, reason = NULL,
        id = coalesce(purchase.id, excluded.id), tried_at = now(), updated_at = now(), other_seats = excluded.other_seats,
        -- Whoever pays once more was shown what they have by now.
        other_seats_try = excluded.other_seats_try, instead_of = NULL
      WHERE purchase.state = 'declined' AND purchase.try < excluded.try AND purchase.user_id = excluded.user_id
      """,
      endOverLimit(events, generations, positions, attempts, users: group.map(\.user)),
      """
      INSERT INTO claim (event_id, ticket_id, generation, position)
      SELECT s.event_id, t.id, s.generation, s.position
      FROM (
        SELECT p.event_id, p.generation, p.position, k.id
        FROM unnest(\(events)::bigint[], \(generations)::int[], \(positions)::bigint[], \(attempts)::int[])
          AS i (event, generation, position, try)
        JOIN purchase p ON p.event_id = i.event AND p.generation = i.generation AND p.position = i.position
          AND p.try = i.try AND p.state = (SELECT 'paying')
        CROSS JOIN LATERAL unnest(p.tickets) AS k (id)
        -- A step of its own: tickets are then found by their whole key, one by one. Before tables are analysed, in
        -- the first sale, the planner would read all tickets of the event for each purchase.
        OFFSET 0
      ) s
      -- In place of a foreign key, whose check locks and so writes every ticket once more. Tickets stay for good.
      JOIN ticket t ON t.event_id = s.event_id AND t.id = s.id AND NOT t.purchased
      ORDER BY 1, 2
      ON CONFLICT DO NOTHING
      """,
      readProgress(events, generations, positions),
    ])
    return try decode(results.last ?? [], count: group.count)
  }

  /// Ends what this transaction has begun over the limit per user. Of several that one user begins at once those behind
  /// end, be it that one of them alone would fit. A limit that was lowered is not that of who held tickets before.
  ///
  /// As next to nobody is over a limit, one look at each user's count is all that it does for most, by its whole key, which
  /// `LIMIT` keeps so. Events are looked up in the same way: joined, the planner would walk them, which is so dear by its
  /// reckoning that it compiles the statement first.
  func endOverLimit(
    _ events: [Int], _ generations: [Int], _ positions: [Int], _ attempts: [Int], users: [String]
  ) -> SQL {
    """
    UPDATE purchase p SET state = 'void', reason = \(Self.limitExceeded), updated_at = now()
    FROM (
      SELECT n.event_id, n.generation, n.position, n.user_limit, n.user_tickets - coalesce(sum(n.own) OVER (
        PARTITION BY n.event_id, n.user_id ORDER BY n.generation, n.position
        ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING), 0) AS user_tickets
      FROM (
        -- A request may be in the group twice. What was begun before this transaction stays.
        SELECT DISTINCT p.event_id, p.generation, p.position, p.user_id, cardinality(p.tickets) AS own, s.user_tickets,
          (SELECT greatest(e.per_user_limit, e.highest_per_user_limit) FROM event e WHERE e.id = s.event LIMIT 1)
            AS user_limit
        FROM (
          SELECT i.event, i.generation, i.position, i.try, i.user_id, (SELECT b.tickets FROM buyer b
            WHERE b.event_id = i.event AND b.user_id = i.user_id LIMIT 1) AS user_tickets
          FROM unnest(\(events)::bigint[], \(generations)::int[], \(positions)::bigint[], \(attempts)::int[],
            \(users)::text[]) AS i (event, generation, position, try, user_id)
          OFFSET 0
        ) s
        JOIN purchase p ON p.event_id = s.event AND p.generation = s.generation AND p.position = s.position
          AND p.try = s.try AND p.user_id = s.user_id AND p.state = (SELECT 'paying')
          AND p.xmin = pg_current_xact_id()::xid
        WHERE s.user_tickets > (SELECT min(greatest(per_user_limit, highest_per_user_limit)) FROM event
          WHERE id = ANY (\(events)::bigint[]))
      ) n
    ) o
    WHERE p.event_id = o.event_id AND p.generation = o.generation AND p.position = o.position
      AND o.user_tickets > o.user_limit
    """
  }

  /// Of a purchase all of whose tickets were given back, and of one with some left.
  package nonisolated static let refunded = "refunded"
  package nonisolated static let partlyRefunded = "partly_refunded"

  /// Why a purchase came to nothing, and of one that is sold what its buyer is told besides; of the table `purchase`.
  static let toldReason: SQL = """
    CASE WHEN purchase.state <> 'sold' THEN purchase.reason
      WHEN purchase.charged IS NULL AND purchase.refunded = 0
        THEN CASE WHEN purchase.instead_of IS NOT NULL THEN \(PurchaseProgress.others) END
      WHEN cardinality(purchase.tickets) = 0 THEN \(refunded) ELSE \(partlyRefunded) END
    """

  /// The purchase of one request, or `nil` if it never reached payment.
  package func find(_ key: PurchaseKey) async throws -> Purchase? {
    let rows = try await postgres.query(
      """
      SELECT state, try, amount, currency, method, payment_id, reason, user_id, false AS owns,
        charged IS NOT NULL OR refunded > 0 AS given_back, \(Self.names)
      FROM purchase p
      WHERE event_id = \(key.event) AND generation = \(key.generation) AND position = \(key.position)
      """)
    guard let row = rows.first else { return nil }
    let progress = try Self.progress(row)
    return Purchase(
      progress: progress, user: try row.string("user_id"), tickets: progress.tickets,
      note: try row.bool("given_back")
        ? (progress.tickets.isEmpty ? Self.refunded : Self.partlyRefunded) : progress.note)
  }

  /// How an attempt to pay ended at the provider.
  package struct Settlement: Sendable {
    package enum Outcome: String, Sendable { case sold, declined, void }
    package let key: PurchaseKey
    /// Whose payment it is: rows are locked in the order of users.
    package let user: String
    package let attempt: Int
    package let outcome: Outcome
    package let paymentID: String?
    package let reason: String
    /// Of an attempt that ended without it being known what the provider made of it, if anything: whatever is found under
    /// this name is cancelled.
    package let looseReference: String?

    package init(
      key: PurchaseKey, user: String = "", attempt: Int, outcome: Outcome, paymentID: String?, reason: String,
      looseReference: String? = nil
    ) {
      self.looseReference = looseReference
      self.key = key
      self.user = user
      self.attempt = attempt
      self.outcome = outcome
      self.paymentID = paymentID
      self.reason = reason
    }
  }

  /// Commits the outcomes: tickets become purchased and their capture is noted in the outbox, or the claims are
  /// released. A purchase that has moved on from this attempt is left as it is.
  /// - Returns: the progress after the call, in order.
  package func settle(_ group: [Settlement]) async throws -> [PurchaseProgress?] {
    let order = group.indices.sorted { group[$0].key < group[$1].key }
    let sorted = try await settle(sorted: order.map { group[$0] })
    var results = [PurchaseProgress?](repeating: nil, count: group.count)
    for (index, progress) in zip(order, sorted) { results[index] = progress }
    return results
  }

  private func settle(sorted group: [Settlement]) async throws -> [PurchaseProgress?] {
    let events = group.map(\.key.event), generations = group.map(\.key.generation)
    let positions = group.map(\.key.position)
    var statements: [SQL] = [
      """
      UPDATE purchase p
      SET state = i.outcome, payment_id = i.payment_id, reason = i.reason, updated_at = now(),
        sold_at = CASE WHEN i.outcome = 'sold' THEN now() END
      -- As `claim` inserts: groups of two workers may have rows in common, or users in two lives of a line, whose counts are
      -- locked with them, and must not wait for each other.
      FROM (SELECT * FROM unnest(\(events)::bigint[], \(generations)::int[], \(positions)::bigint[],
        \(group.map(\.attempt))::int[], \(group.map(\.outcome.rawValue))::text[], \(group.map(\.paymentID))::text[],
        \(group.map(\.reason))::text[], \(group.map(\.user))::text[])
        AS i (event, generation, position, try, outcome, payment_id, reason, user_id)
        ORDER BY event, user_id, generation, position) i
      WHERE p.event_id = i.event AND p.generation = i.generation AND p.position = i.position AND p.try = i.try
        AND p.state = (SELECT 'paying')
        -- Nothing is sold that is not claimed, whatever the caller believes.
        AND (i.outcome <> 'sold' OR \(Self.ownsItsTickets))
      """,
      """
      UPDATE ticket t
      SET purchased = true, payment_id = s.payment_id
      FROM (
        SELECT p.event_id, p.payment_id, k.id
        FROM unnest(\(events)::bigint[], \(generations)::int[], \(positions)::bigint[])
          AS i (event, generation, position)
        JOIN purchase p ON p.event_id = i.event AND p.generation = i.generation AND p.position = i.position
          AND p.state = (SELECT 'sold')
        CROSS JOIN LATERAL unnest(p.tickets) AS k (id)
        -- Keeps this a step of its own: tickets are then found by their whole key, one by one.
        OFFSET 0
      ) s
      WHERE t.event_id = s.event_id AND t.id = s.id AND NOT t.purchased
      """,
      // Due later: the worker captures right after this commit, and the outbox worker only what that left behind.
      """
      INSERT INTO outbox (event_id, generation, position, kind, payment_id, available_at)
      SELECT p.event_id, p.generation, p.position, 'capture', p.payment_id, now() + \(patience.captureSeconds) * interval '1 s'
      FROM unnest(\(events)::bigint[], \(generations)::int[], \(positions)::bigint[])
        AS i (event, generation, position)
      JOIN purchase p ON p.event_id = i.event AND p.generation = i.generation AND p.position = i.position
        AND p.state = (SELECT 'sold') AND p.captured_at IS NULL
      ON CONFLICT DO NOTHING
      """,
    ]
    if listeners.mayListen(to: .purchaseCompleted), group.contains(where: { $0.outcome == .sold }) {
      statements.append(WebhookStore.tellSold(events, generations, positions))
    }
    let authorised = group.filter { $0.outcome == .sold && $0.paymentID != nil }
    if !authorised.isEmpty {
      // An authorisation that sold nothing is voided, whoever dies now. That of an attempt under way is not settled.
      statements.append(
        """
        INSERT INTO outbox (event_id, generation, position, kind, payment_id, available_at)
        SELECT i.event, i.generation, i.position, 'cancel', i.payment_id, now()
        FROM unnest(\(authorised.map(\.key.event))::bigint[], \(authorised.map(\.key.generation))::int[],
          \(authorised.map(\.key.position))::bigint[], \(authorised.map(\.attempt))::int[],
          \(authorised.map(\.paymentID))::text[]) AS i (event, generation, position, try, payment_id)
        LEFT JOIN purchase p ON p.event_id = i.event AND p.generation = i.generation AND p.position = i.position
        -- Without a row PostgreSQL has lost the intent, which is written again before anything else is decided.
        WHERE p.state IS NOT NULL AND NOT (p.state = (SELECT 'sold') AND p.payment_id = i.payment_id)
          AND NOT (p.state = (SELECT 'paying') AND p.try = i.try)
        ON CONFLICT DO NOTHING
        """)
    }
    let loose = group.filter { $0.outcome != .sold }.flatMap { item in
      [(item, OutboxEntry.Kind.cancel, item.paymentID), (item, .find, item.looseReference)].compactMap {
        item, kind, id in
        id.map { (item: item, kind: kind, id: $0) }
      }
    }
    if !loose.isEmpty {
      // Of what was refused, or given up, nothing stays open at the provider. That of an attempt under way is not settled.
      statements.append(
        """
        INSERT INTO outbox (event_id, generation, position, kind, payment_id, available_at)
        SELECT i.event, i.generation, i.position, i.kind, i.payment_id, now()
        FROM unnest(\(loose.map(\.item.key.event))::bigint[], \(loose.map(\.item.key.generation))::int[],
          \(loose.map(\.item.key.position))::bigint[], \(loose.map(\.item.attempt))::int[],
          \(loose.map(\.kind.rawValue))::text[], \(loose.map(\.id))::text[])
          AS i (event, generation, position, try, kind, payment_id)
        JOIN purchase p ON p.event_id = i.event AND p.generation = i.generation AND p.position = i.position
        WHERE NOT (p.state = (SELECT 'sold') AND p.payment_id = i.payment_id)
          AND NOT (p.state = (SELECT 'paying') AND p.try = i.try)
        ON CONFLICT DO NOTHING
        """)
    }
    if group.contains(where: { $0.outcome != .sold }) {
      statements.append(
        """
        DELETE FROM claim c
        USING (
          SELECT p.event_id, p.generation, p.position, k.id
          FROM unnest(\(events)::bigint[], \(generations)::int[], \(positions)::bigint[])
            AS i (event, generation, position)
          JOIN purchase p ON p.event_id = i.event AND p.generation = i.generation AND p.position = i.position
            AND p.state IN ('declined', 'void')
          CROSS JOIN LATERAL unnest(p.tickets) AS k (id)
          OFFSET 0
        ) s
        WHERE c.event_id = s.event_id AND c.ticket_id = s.id AND c.generation = s.generation
          AND c.position = s.position
        """)
    }
    statements.append(readProgress(events, generations, positions))
    return try decode(try await postgres.transaction(statements).last ?? [], count: group.count)
  }

  /// Whether every ticket of the purchase `p` is claimed for it.
  ///
  /// One claim by its whole key at a time, which `LIMIT` keeps so. Asked for all of them together, the planner reads each
  /// claim of the event until the table is analysed, and so in every first sale.
  private static let ownsItsTickets: SQL = """
    cardinality(p.tickets) = (SELECT count(DISTINCT k.id) FROM unnest(p.tickets) AS k (id)
      WHERE (SELECT true FROM claim c WHERE c.event_id = p.event_id AND c.ticket_id = k.id
        AND c.generation = p.generation AND c.position = p.position LIMIT 1))
    """

  private static let names: SQL = """
    p.id::text AS id, extract(epoch FROM now() - coalesce(p.tried_at, p.created_at))::bigint AS tried_seconds,
    p.tickets, CASE WHEN p.other_seats_try = p.try THEN p.other_seats END AS other_seats,
    p.instead_of IS NOT NULL AS has_others
    """

  private func readProgress(_ events: [Int], _ generations: [Int], _ positions: [Int]) -> SQL {
    """
    SELECT i.n, p.state, p.user_id, p.try, p.amount, p.currency, p.method, p.payment_id, p.reason, \(Self.names),
      \(Self.ownsItsTickets) AS owns
    FROM unnest(\(events)::bigint[], \(generations)::int[], \(positions)::bigint[])
      WITH ORDINALITY AS i (event, generation, position, n)
    JOIN purchase p ON p.event_id = i.event AND p.generation = i.generation AND p.position = i.position
    """
  }

  private func decode(_ rows: [PostgresRow], count: Int) throws -> [PurchaseProgress?] {
    var results = [PurchaseProgress?](repeating: nil, count: count)
    for row in rows {
      results[try row.int("n") - 1] = try Self.progress(row)
    }
    return results
  }

  private static func progress(_ row: PostgresRow) throws -> PurchaseProgress {
    guard let state = PurchaseProgress.State(rawValue: try row.string("state")) else {
      throw StoreError(.unexpectedAnswer, "purchase.state")
    }
    return PurchaseProgress(
      state: state, attempt: try row.int("try"), amount: try row.int("amount"),
      currency: try row.string("currency"), method: try row.string("method"),
      paymentID: row["payment_id"].string,
      reason: row["reason"].string ?? "", ownsItsTickets: try row.bool("owns"),
      user: try row.string("user_id"), id: row["id"].string, triedSeconds: try row.int("tried_seconds"),
      tickets: row["tickets"].ints ?? [], otherSeats: OtherSeats(column: row["other_seats"].string),
      hasOtherSeats: try row.bool("has_others"))
  }

  /// Notes something that is to be done at the provider; once, however often it is said.
  package func add(_ entry: OutboxEntry) async throws { _ = try await addIfMissing(entry) }

  /// The same. - Returns: whether it was not noted before.
  package func addIfMissing(_ entry: OutboxEntry) async throws -> Bool {
    try await !postgres.query(
      """
      INSERT INTO outbox (event_id, generation, position, kind, payment_id, available_at)
      VALUES (\(entry.key.event), \(entry.key.generation), \(entry.key.position), \(entry.kind.rawValue),
        \(entry.paymentID), now())
      ON CONFLICT DO NOTHING RETURNING kind
      """
    ).isEmpty
  }

  /// Notes entries that were done, and forgets them.
  package func done(_ entries: [OutboxEntry]) async throws {
    let events = entries.map(\.key.event), generations = entries.map(\.key.generation)
    let positions = entries.map(\.key.position), kinds = entries.map(\.kind.rawValue)
    let payments = entries.map(\.paymentID)
    _ = try await postgres.transaction([
      """
      UPDATE purchase p SET captured_at = now()
      FROM unnest(\(events)::bigint[], \(generations)::int[], \(positions)::bigint[], \(kinds)::text[],
        \(payments)::text[]) AS i (event, generation, position, kind, payment_id)
      WHERE i.kind = 'capture' AND p.state = (SELECT 'sold') AND p.event_id = i.event AND p.generation = i.generation
        AND p.position = i.position AND p.payment_id = i.payment_id
      """,
      """
      DELETE FROM outbox o
      USING unnest(\(events)::bigint[], \(generations)::int[], \(positions)::bigint[], \(kinds)::text[],
        \(payments)::text[]) AS i (event, generation, position, kind, payment_id)
      WHERE o.event_id = i.event AND o.generation = i.generation AND o.position = i.position AND o.kind = i.kind
        AND o.payment_id = i.payment_id
      """,
    ])
  }

  /// Leases due entries to this caller: they become due again by themselves, later with every attempt.
  package func dueOutbox(limit: Int) async throws -> [OutboxEntry] {
    // Later than any is put off: PostgreSQL's clock has gone back since.
    let longest = patience.captureSeconds * 32
    _ = try await postgres.query(
      "UPDATE outbox SET available_at = now() WHERE available_at > now() + \(longest) * interval '1 s'")
    let rows = try await postgres.query(
      """
      UPDATE outbox o
      SET attempts = attempts + 1, available_at = now() + \(patience.captureSeconds) * interval '1 s' * 2 ^ least(o.attempts, 4)
      FROM (SELECT event_id, generation, position, kind, payment_id FROM outbox WHERE available_at <= now()
        ORDER BY available_at LIMIT \(limit) FOR UPDATE SKIP LOCKED) d
      WHERE o.event_id = d.event_id AND o.generation = d.generation AND o.position = d.position
        AND o.kind = d.kind AND o.payment_id = d.payment_id
      RETURNING o.event_id, o.generation, o.position, o.kind, o.payment_id, o.attempts,
        extract(epoch FROM now() - o.created_at)::bigint AS age
      """)
    return try rows.map { row in
      OutboxEntry(
        key: PurchaseKey(
          event: try row.int("event_id"), generation: try row.int("generation"),
          position: try row.int("position")),
        kind: OutboxEntry.Kind(rawValue: try row.string("kind")) ?? .cancel,
        paymentID: try row.string("payment_id"),
        attempts: try row.int("attempts"), ageSeconds: try row.int("age"))
    }
  }

  /// The name of this database's purchases at a provider whose account others use, too. It never changes.
  package func installation() async throws -> String {
    if let knownInstallation { return knownInstallation }
    let rows = try await postgres.query("SELECT id::text AS id FROM installation")
    guard let row = rows.first else { throw StoreError(.unexpectedAnswer, "installation") }
    let id = try row.string("id")
    knownInstallation = id
    return id
  }

  /// Notes which payment an attempt has at the provider, so that from now on it is asked for, and not made again.
  package func note(payment id: String, of key: PurchaseKey, attempt: Int) async throws {
    _ = try await postgres.query(
      """
      UPDATE purchase SET payment_id = \(id), updated_at = now()
      WHERE event_id = \(key.event) AND generation = \(key.generation) AND position = \(key.position)
        AND try = \(attempt) AND state = 'paying' AND payment_id IS DISTINCT FROM \(id)
      """)
  }

  /// A sale that was taken back.
  package struct Lapse: Sendable, Equatable {
    /// Whether its buyer may pay otherwise, with all of its tickets; else the purchase has ended.
    package let isOpen: Bool
    /// Those of its tickets that are nobody's since.
    package let free: [Int]
  }

  /// Takes a sale back whose money can never be taken: its authorisation was gone before. Repeated, it answers the same; what
  /// has ended stays so.
  /// - Parameter asks: whether its buyer may pay otherwise, if all of what was sold can still be had.
  /// - Returns: `nil` if there is no such sale, its money was taken after all, or is being given back.
  package func lapse(_ key: PurchaseKey, paymentID: String, asks: Bool) async throws -> Lapse? {
    try await postgres.withTransaction { transaction in
      let rows = try await transaction.query(
        """
        -- Of what was taken and given back in part nobody is asked for the rest: that was paid.
        UPDATE purchase SET reason = \(Self.authorisationLapsed), sold_at = NULL, updated_at = now(),
          lapsed_at = coalesce(lapsed_at, now()),
          state = CASE WHEN \(asks)::boolean AND state <> 'void' AND charged IS NULL AND refunded = 0 THEN 'declined' ELSE 'void' END
        WHERE event_id = \(key.event) AND generation = \(key.generation) AND position = \(key.position)
          AND payment_id = \(paymentID) AND captured_at IS NULL
          AND (state = 'sold' OR state IN ('declined', 'void') AND reason = \(Self.authorisationLapsed))
          -- Where it is being given back, it was let go of for that; where a part was, its buyer is to know of that first.
          AND NOT EXISTS (\(Self.givingBack(key)))
        RETURNING tickets, state
        """)
      guard let row = rows.first else { return nil }
      let tickets = row["tickets"].ints ?? []
      // Nothing was taken, so that nothing is given back: its tickets are no good any more.
      _ = try await transaction.query(
        WebhookStore.tellLapse(of: key, tickets: tickets, reason: Self.authorisationLapsed))
      _ = try await transaction.query(
        """
        UPDATE ticket SET purchased = false, payment_id = NULL
        WHERE event_id = \(key.event) AND id = ANY (\(tickets)::int[]) AND payment_id = \(paymentID)
        """)
      _ = try await transaction.query(
        """
        DELETE FROM claim WHERE event_id = \(key.event) AND ticket_id = ANY (\(tickets)::int[])
          AND generation = \(key.generation) AND position = \(key.position)
        """)
      let free = try await transaction.query(
        """
        SELECT t.id, t.withheld IS NULL AS is_offered FROM ticket t
        WHERE t.event_id = \(key.event) AND t.id = ANY (\(tickets)::int[]) AND NOT t.purchased
          AND NOT EXISTS (SELECT 1 FROM claim c WHERE c.event_id = t.event_id AND c.ticket_id = t.id)
        """)
      let ids = try free.map { try $0.int("id") }
      if try row.string("state") == "void" { return Lapse(isOpen: false, free: ids) }
      if try free.count(where: { try $0.bool("is_offered") }) == Set(tickets).count {
        return Lapse(isOpen: true, free: ids)
      }
      _ = try await transaction.query(
        """
        UPDATE purchase SET state = 'void'
        WHERE event_id = \(key.event) AND generation = \(key.generation) AND position = \(key.position)
        """)
      return Lapse(isOpen: false, free: ids)
    }
  }

  /// Whether a refund of the purchase is under way, or not everybody knows of one yet.
  package func isBeingGivenBack(_ key: PurchaseKey) async throws -> Bool {
    try await !postgres.query(Self.givingBack(key)).isEmpty
  }

  private static func givingBack(_ key: PurchaseKey) -> SQL {
    """
    SELECT 1 AS one FROM refund WHERE event_id = \(key.event) AND generation = \(key.generation)
      AND position = \(key.position) AND (state = 'requested' OR state = 'succeeded' AND available_at IS NOT NULL) LIMIT 1
    """
  }

  /// Payments that are taken up this often without an end are left to the audit: they may be what kills workers.
  nonisolated static let stallLimit = 10

  /// Takes back that these were taken up once: they wait for somebody who is away, and whoever has them says so.
  package func excuse(_ keys: [PurchaseKey]) async throws {
    if keys.isEmpty { return }
    _ = try await postgres.query(
      """
      UPDATE purchase p SET stalls = greatest(p.stalls - 1, 0)
      FROM unnest(\(keys.map(\.event))::bigint[], \(keys.map(\.generation))::int[],
        \(keys.map(\.position))::bigint[]) AS i (event, generation, position)
      WHERE p.event_id = i.event AND p.generation = i.generation AND p.position = i.position
        AND p.state = (SELECT 'paying')
      """)
  }

  /// Says that these are under way, and wait: nobody takes them up as stalled.
  package func touch(_ keys: [PurchaseKey]) async throws {
    if keys.isEmpty { return }
    _ = try await postgres.query(
      """
      UPDATE purchase p SET updated_at = now()
      FROM unnest(\(keys.map(\.event))::bigint[], \(keys.map(\.generation))::int[],
        \(keys.map(\.position))::bigint[]) AS i (event, generation, position)
      WHERE p.event_id = i.event AND p.generation = i.generation AND p.position = i.position
        AND p.state = (SELECT 'paying')
      """)
  }

  /// Leases payments that were begun and not ended for a minute, whatever became of their entry in Redis.
  package func stalledPayments(limit: Int) async throws -> [Confirmation] {
    // Begun later than now: PostgreSQL's clock has gone back since. These count from here.
    _ = try await postgres.query(
      """
      UPDATE purchase SET updated_at = now()
      WHERE state = 'paying' AND updated_at > now() + \(patience.stalledSeconds) * interval '1 s'
      """)
    let rows = try await postgres.query(
      """
      UPDATE purchase p SET updated_at = now(), stalls = p.stalls + 1
      FROM (SELECT event_id, generation, position FROM purchase
        WHERE state = 'paying' AND updated_at < now() - \(patience.stalledSeconds) * interval '1 s' AND stalls < \(Self.stallLimit)
        ORDER BY updated_at LIMIT \(limit) FOR UPDATE SKIP LOCKED) d
      WHERE p.event_id = d.event_id AND p.generation = d.generation AND p.position = d.position
      RETURNING p.event_id, p.generation, p.position, p.try, p.tickets, p.amount, p.method, p.user_id,
        p.line, p.ordinal
      """)
    return try rows.map { row in
      Confirmation(
        entryID: nil, event: try row.int("event_id"), generation: try row.int("generation"),
        position: try row.int("position"), attempt: try row.int("try"), tickets: row["tickets"].ints ?? [],
        amount: try row.int("amount"), method: try row.string("method"), user: try row.string("user_id"),
        wish: WishPlace(row))
    }
  }
}

extension WishPlace {
  /// - Parameter row: with the columns `line` and `ordinal` of a purchase.
  package init?(_ row: PostgresRow) {
    guard let line = row["line"].int, let ordinal = row["ordinal"].int, line > 0, ordinal > 0 else {
      return nil
    }
    self.init(line: line, ordinal: ordinal)
  }
}

extension OtherSeats {
  /// As a purchase has it.
  init(column: String?) { self = column.flatMap(OtherSeats.init(rawValue:)) ?? .notAgreed }

  var column: String? { self == .notAgreed ? nil : rawValue }
}
