package import EventLoop
package import Logging
package import Postgres
import StoreCommon

/// The database's schema, as steps that only go forward.
///
/// Every hot table leads with `event_id`, in its primary key too, so that it can be distributed by event.
@LoopActor
package struct Migrations {
  /// Serialises migrations of several processes on one database.
  private static let lockKey = 0x6f6e_7361

  /// The number of the last step.
  package nonisolated static var latest: Int { steps.count }

  /// What is done at once.
  enum Step: ExpressibleByStringLiteral, Sendable {
    /// Statements, in one transaction: nobody waits for one that is short.
    case script(String)
    /// An index of a table that sales write to and that is large by then, made while they do: in a script it would keep
    /// them waiting for as long as all of it is read. `text` is what follows ON.
    case index(name: String, on: String)

    init(stringLiteral text: String) { self = .script(text) }

    var text: String {
      switch self {
      case .script(let text): text
      case .index(let name, let text): "CREATE INDEX CONCURRENTLY \(name) ON \(text)"
      }
    }
  }

  let postgres: PostgresClient
  let logger: Logger
  /// Statements of the search backend, run after the last step; idempotent.
  let searchSchema: String

  private let patience: Patience

  package init(
    _ postgres: PostgresClient, searchSchema: String, patience: Patience = Patience(), logger: Logger
  ) {
    self.postgres = postgres
    self.patience = patience
    self.searchSchema = searchSchema
    self.logger = logger
  }

  /// How long a step waits for tables that somebody else uses, such as a dump. While it waits for one, whoever wants that
  /// table after it waits behind it, sales too: so never for long, and again after a pause.
  package struct Patience: Sendable {
    /// For each lock.
    package var lockMilliseconds = 500
    package var firstPauseMilliseconds: UInt64 = 1_000
    package var longestPauseMilliseconds: UInt64 = 10_000
    /// After so long a step is given up. Nothing of it was done then.
    package var seconds = Self.defaultSeconds

    package static let defaultSeconds = 600
    package static let allowedSeconds = 0...86_400

    package init() {}
  }

  /// Applies what is missing. Running it again, or from two processes at once, changes nothing.
  /// - Returns: how many steps were applied.
  /// - Throws: `StoreError` `conflict` if a table cannot be had; running it again goes on where it was.
  package func run() async throws -> Int {
    try await script(
      "the list of steps",
      """
      CREATE TABLE IF NOT EXISTS schema_step (id int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());
      """)
    var applied = 0
    for (index, step) in Self.steps.enumerated() {
      let id = index + 1
      guard try await apply(id, step) else { continue }
      applied += 1
      logger.info("schema step applied", ["schema.step": id])
    }
    if !searchSchema.isEmpty { try await script("the search schema", searchSchema) }
    return applied
  }

  /// Takes out what only versions before used.
  package func clean(_ cleanup: String) async throws { try await script("the cleanup", cleanup) }

  /// - Returns: whether it was this call that applied the step.
  private func apply(_ id: Int, _ step: Step) async throws -> Bool {
    if try await isApplied(id) { return false }
    if case .index(let name, _) = step { try await makeIndex(name, step.text) }
    do {
      // The step's number comes first: whoever was second to get the lock fails before doing anything.
      var text = "INSERT INTO schema_step (id) VALUES (\(id));\n"
      if case .script(let statements) = step { text += statements }
      try await script("step \(id)", text)
      return true
    } catch let error as PostgresError {
      guard error.isUniqueViolation, try await isApplied(id) else { throw error }
      return false
    }
  }

  /// Runs `text` as one transaction, as often as it takes to get the locks that it needs.
  private func script(_ name: String, _ text: String) async throws {
    var pause = patience.firstPauseMilliseconds, tries = 0
    let end = EventLoop.shared.now + UInt64(patience.seconds) * 1_000
    while true {
      do throws(PostgresError) {
        return try await postgres.script(
          "SELECT pg_advisory_xact_lock(\(Self.lockKey));\n\(text)",
          lockMilliseconds: patience.lockMilliseconds)
      } catch {
        guard error.isTransient else { throw error }
        tries += 1
        let holders = (try? await holders()) ?? ""
        if EventLoop.shared.now + pause > end {
          throw StoreError(
            .conflict,
            "\(name) did not get its tables within \(patience.seconds) s, in \(tries) tries: others use them"
              + (holders.isEmpty ? "" : ", such as \(holders)")
              + ". Nothing of it was done. Wait until they are through, or end them, and run it again.")
        }
        logger.notice(
          "waiting for tables that others use, without keeping these from them",
          ["schema.what": name, "schema.tries": tries, "schema.holders": holders])
      }
      try await sleep(milliseconds: pause)
      pause = min(pause * 2, patience.longestPauseMilliseconds)
    }
  }

  /// Makes an index beside those who write, and waits for transactions that are older, such as a dump. One that was left
  /// half made is made anew; one that another process makes is waited for.
  private func makeIndex(_ name: String, _ text: String) async throws {
    let end = EventLoop.shared.now + UInt64(patience.seconds) * 1_000
    while true {
      let state = try await state(ofIndex: name)
      if state == .made { return }
      let now = EventLoop.shared.now
      guard now < end else { throw Self.indexWaits(name, patience.seconds) }
      if state != .underWay {
        let statement = state == .half ? "DROP INDEX CONCURRENTLY IF EXISTS \(name)" : text
        do throws(PostgresError) {
          // Whoever waits for a lock of this kind keeps nobody waiting but others who change the schema.
          try await postgres.script(statement, lockMilliseconds: Int(end - now))
          continue
        } catch {
          // Another process was first, or somebody was in the way.
          guard error.isTransient || error.sqlState == Self.duplicateTable else { throw error }
        }
      }
      try await sleep(milliseconds: min(patience.firstPauseMilliseconds, 200))
    }
  }

  private static let duplicateTable = "42P07"

  private static func indexWaits(_ name: String, _ seconds: Int) -> StoreError {
    StoreError(
      .conflict,
      "the index \(name) was not made within \(seconds) s, as transactions are older than it. Wait until they are through, "
        + "or end them, and run it again.")
  }

  private enum IndexState { case missing, half, underWay, made }

  private func state(ofIndex name: String) async throws -> IndexState {
    let rows = try await postgres.query(
      """
      SELECT i.indisvalid AS valid,
        EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = c.oid) AS under_way
      FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
      WHERE c.relname = \(name) AND c.relnamespace = current_schema()::regnamespace
      """)
    guard let row = rows.first else { return .missing }
    if try row.bool("valid") { return .made }
    return try row.bool("under_way") ? .underWay : .half
  }

  /// Some of those who use tables of ours now, in words for a person.
  private func holders() async throws -> String {
    let rows = try await postgres.query(
      """
      SELECT l.pid, coalesce(nullif(a.application_name, ''), 'a session') AS name,
        string_agg(DISTINCT c.relname, ', ') AS tables
      FROM pg_locks l
      JOIN pg_class c ON c.oid = l.relation AND c.relkind IN ('r', 'p')
        AND c.relnamespace = current_schema()::regnamespace
      JOIN pg_stat_activity a ON a.pid = l.pid AND a.datname = current_database()
      WHERE l.granted AND l.pid <> pg_backend_pid()
      GROUP BY 1, 2 ORDER BY count(*) DESC, 1 LIMIT 3
      """)
    return try rows.map { row in
      "\(try row.string("name")) (process \(try row.int("pid")), on \(try row.string("tables")))"
    }.joined(separator: "; ")
  }

  private func isApplied(_ id: Int) async throws -> Bool {
    try await !postgres.query("SELECT 1 FROM schema_step WHERE id = \(id)").isEmpty
  }

  nonisolated static let steps: [Step] = [
    """
    CREATE TABLE event (
      id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
      name text NOT NULL,
      location text NOT NULL,
      date timestamptz NOT NULL,
      description text NOT NULL DEFAULT '',
      currency text NOT NULL,
      state text NOT NULL DEFAULT 'draft' CHECK (state IN ('draft', 'open', 'paused', 'closed')),
      onsale_at timestamptz,
      hold_seconds int NOT NULL DEFAULT 480 CHECK (hold_seconds > 0),
      per_user_limit int NOT NULL DEFAULT 4 CHECK (per_user_limit > 0),
      queue_limit int NOT NULL DEFAULT 1000000 CHECK (queue_limit > 0),
      rate int CHECK (rate >= 0),
      message text NOT NULL DEFAULT '',
      generation int NOT NULL DEFAULT 1,
      version bigint NOT NULL DEFAULT 1,
      created_at timestamptz NOT NULL DEFAULT now()
    );
    COMMENT ON COLUMN event.rate IS 'grants per second; null means as fast as possible';
    COMMENT ON COLUMN event.generation IS 'counts the lives of the event''s queue; positions are unique within one';

    CREATE TABLE section (
      event_id bigint NOT NULL REFERENCES event,
      id int NOT NULL,
      name text NOT NULL,
      price bigint NOT NULL CHECK (price >= 0),
      rank int NOT NULL,
      PRIMARY KEY (event_id, id),
      UNIQUE (event_id, name)
    );

    CREATE TABLE ticket (
      event_id bigint NOT NULL,
      id int NOT NULL CHECK (id > 0),
      section_id int NOT NULL,
      row text,
      seat text,
      rank int NOT NULL,
      price bigint NOT NULL CHECK (price >= 0),
      purchased boolean NOT NULL DEFAULT false,
      payment_id text,
      PRIMARY KEY (event_id, id),
      FOREIGN KEY (event_id, section_id) REFERENCES section,
      CHECK (purchased = (payment_id IS NOT NULL))
    ) WITH (fillfactor = 70);

    CREATE TABLE users (
      id text PRIMARY KEY,
      name text NOT NULL,
      email text NOT NULL UNIQUE,
      password text NOT NULL,
      created_at timestamptz NOT NULL DEFAULT now()
    );

    CREATE TABLE partition (id int PRIMARY KEY, epoch bigint NOT NULL DEFAULT 0);

    -- One row a request that reached payment. Parameters are frozen when it is inserted.
    CREATE TABLE purchase (
      event_id bigint NOT NULL,
      generation int NOT NULL,
      position bigint NOT NULL,
      user_id text NOT NULL,
      state text NOT NULL CHECK (state IN ('paying', 'sold', 'declined', 'void')),
      try int NOT NULL,
      tickets int[] NOT NULL,
      amount bigint NOT NULL,
      currency text NOT NULL,
      method text NOT NULL,
      payment_id text,
      reason text,
      created_at timestamptz NOT NULL DEFAULT now(),
      updated_at timestamptz NOT NULL DEFAULT now(),
      sold_at timestamptz,
      captured_at timestamptz,
      PRIMARY KEY (event_id, generation, position)
    ) WITH (fillfactor = 70);
    CREATE INDEX purchase_by_user ON purchase (user_id) WHERE state = 'sold';
    CREATE INDEX purchase_paying ON purchase (updated_at) WHERE state = 'paying';

    -- A ticket belongs to at most one live purchase: this key is what makes a second sale impossible.
    CREATE TABLE claim (
      event_id bigint NOT NULL,
      ticket_id int NOT NULL,
      generation int NOT NULL,
      position bigint NOT NULL,
      PRIMARY KEY (event_id, ticket_id),
      FOREIGN KEY (event_id, ticket_id) REFERENCES ticket
    );

    -- What must still happen at the provider after a commit. Read by state, never by "id greater than last".
    CREATE TABLE outbox (
      event_id bigint NOT NULL,
      generation int NOT NULL,
      position bigint NOT NULL,
      kind text NOT NULL CHECK (kind IN ('capture', 'cancel')),
      payment_id text NOT NULL,
      attempts int NOT NULL DEFAULT 0,
      available_at timestamptz NOT NULL,
      PRIMARY KEY (event_id, generation, position, kind, payment_id)
    );
    CREATE INDEX outbox_due ON outbox (available_at);

    CREATE TABLE audit_log (
      id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      at timestamptz NOT NULL DEFAULT now(),
      who text NOT NULL,
      event_id bigint,
      action text NOT NULL,
      detail text NOT NULL DEFAULT ''
    );
    """,
    """
    ALTER TABLE event ADD key text UNIQUE;
    COMMENT ON COLUMN event.key IS 'names the event at its source, so that importing it again changes nothing';
    CREATE INDEX event_due ON event (onsale_at) WHERE state = 'draft' AND onsale_at IS NOT NULL;
    CREATE INDEX event_alive ON event (id) WHERE state IN ('open', 'paused');
    CREATE INDEX audit_log_by_event ON audit_log (event_id, id);
    """,
    """
    -- How a queue ended, once it has left Redis. Written last: what it is made of is complete then.
    CREATE TABLE queue_outcome (
      event_id bigint NOT NULL,
      generation int NOT NULL,
      head bigint NOT NULL,
      tail bigint NOT NULL,
      sold_out_up_to bigint NOT NULL,
      closed_up_to bigint NOT NULL,
      free int NOT NULL,
      sold int NOT NULL,
      message text NOT NULL,
      archived_at timestamptz NOT NULL DEFAULT now(),
      PRIMARY KEY (event_id, generation)
    );

    -- Requests that were decided one by one, a hundred positions a row.
    CREATE TABLE request_archive (
      event_id bigint NOT NULL,
      generation int NOT NULL,
      bucket int NOT NULL,
      records text NOT NULL,
      PRIMARY KEY (event_id, generation, bucket)
    );
    COMMENT ON COLUMN request_archive.records IS 'lines of <position modulo 100>=<record>';
    """,
    """
    -- Checking it locked, and so wrote, each ticket once more. The statement that claims looks at the tickets itself.
    ALTER TABLE claim DROP CONSTRAINT claim_event_id_ticket_id_fkey;

    ALTER TABLE purchase ADD stalls int NOT NULL DEFAULT 0;
    COMMENT ON COLUMN purchase.stalls IS 'how often the payment was taken up again because it had not ended';
    """,
    """
    ALTER TABLE event ADD highest_per_user_limit int NOT NULL DEFAULT 0;
    COMMENT ON COLUMN event.highest_per_user_limit IS 'before per_user_limit was last changed: what was bought then may';
    """,
    """
    -- Apart from the event, whose row operators change: whoever claims locks the row here, and would keep them waiting.
    CREATE TABLE queue_life (event_id bigint PRIMARY KEY, generation int NOT NULL);
    COMMENT ON TABLE queue_life IS 'the life that an event''s queue has: of earlier ones no purchase begins any more';
    """,
    """
    ALTER TABLE queue_life ADD sold_out_since int;
    COMMENT ON COLUMN queue_life.sold_out_since IS 'everything was sold when this life ended, and each since';

    CREATE TABLE lost_place (
      event_id bigint NOT NULL,
      generation int NOT NULL,
      position bigint NOT NULL,
      user_key text NOT NULL,
      PRIMARY KEY (event_id, generation, position, user_key)
    );
    COMMENT ON TABLE lost_place IS 'who was told that Redis gave their place to somebody else: they buy nothing with it';
    """,
    """
    ALTER TABLE queue_outcome ADD line_marks text NOT NULL DEFAULT '';
    COMMENT ON COLUMN queue_outcome.line_marks IS 'lines of <number of a line>=<where it stood, and how it ended>';
    """,
    """
    ALTER TABLE event ADD halt text, ADD halt_tickets int[] NOT NULL DEFAULT '{}';
    COMMENT ON COLUMN event.halt IS 'why the sale was stopped by itself; its queue is paused meanwhile';
    COMMENT ON COLUMN event.halt_tickets IS 'that were sold once, and of whose sale nothing is known here';
    """,
    """
    -- What the limit per user is about: whoever claims locks the row, whatever Redis has lost, in whichever of its lives.
    CREATE TABLE buyer (
      event_id bigint NOT NULL,
      user_id text NOT NULL,
      tickets int NOT NULL,
      PRIMARY KEY (event_id, user_id)
    ) WITH (fillfactor = 70);
    COMMENT ON COLUMN buyer.tickets IS 'of purchases that are sold or under payment';

    -- Counted by triggers, so that the version before, which knows nothing of it and runs beside this one for a while, is
    -- counted, too. In order, as groups of two workers may have users in common.
    CREATE FUNCTION count_begun_purchases() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO buyer AS b (event_id, user_id, tickets)
      SELECT event_id, user_id, sum(cardinality(tickets)) FROM begun WHERE state IN ('paying', 'sold')
      GROUP BY event_id, user_id ORDER BY event_id, user_id
      ON CONFLICT (event_id, user_id) DO UPDATE SET tickets = b.tickets + excluded.tickets;
      RETURN NULL;
    END $$;
    CREATE TRIGGER purchase_begun AFTER INSERT ON purchase REFERENCING NEW TABLE AS begun
      FOR EACH STATEMENT EXECUTE FUNCTION count_begun_purchases();

    -- By row, as next to no update changes the number: that of a sale does not.
    CREATE FUNCTION count_changed_purchase() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
      change int := CASE WHEN TG_OP = 'UPDATE' AND NEW.state IN ('paying', 'sold') THEN cardinality(NEW.tickets) ELSE 0 END
        - CASE WHEN OLD.state IN ('paying', 'sold') THEN cardinality(OLD.tickets) ELSE 0 END;
    BEGIN
      INSERT INTO buyer AS b (event_id, user_id, tickets) VALUES (OLD.event_id, OLD.user_id, greatest(0, change))
      ON CONFLICT (event_id, user_id) DO UPDATE SET tickets = greatest(0, b.tickets + change);
      RETURN NULL;
    END $$;
    CREATE TRIGGER purchase_changed AFTER UPDATE ON purchase FOR EACH ROW
      WHEN ((OLD.state IN ('paying', 'sold')) <> (NEW.state IN ('paying', 'sold')) OR OLD.tickets <> NEW.tickets)
      EXECUTE FUNCTION count_changed_purchase();
    CREATE TRIGGER purchase_gone AFTER DELETE ON purchase FOR EACH ROW EXECUTE FUNCTION count_changed_purchase();

    -- Nobody writes purchases since the triggers were made: those of the sales under way alone are counted meanwhile.
    INSERT INTO buyer (event_id, user_id, tickets)
    SELECT e.id, p.user_id, p.tickets FROM event e CROSS JOIN LATERAL (
      SELECT user_id, sum(cardinality(tickets)) AS tickets FROM purchase
      WHERE event_id = e.id AND state IN ('paying', 'sold') GROUP BY user_id) p
    WHERE e.state IN ('open', 'paused');
    """,
    """
    -- Sales that are over keep nobody waiting. Who has a row by now was counted before the sale ended.
    INSERT INTO buyer (event_id, user_id, tickets)
    SELECT e.id, p.user_id, p.tickets FROM event e CROSS JOIN LATERAL (
      SELECT user_id, sum(cardinality(tickets)) AS tickets FROM purchase
      WHERE event_id = e.id AND state IN ('paying', 'sold') GROUP BY user_id) p
    WHERE e.state NOT IN ('open', 'paused')
    ON CONFLICT DO NOTHING;
    """,
    """
    ALTER TABLE queue_life ADD is_restored boolean NOT NULL DEFAULT true, ADD restored_from int;
    COMMENT ON COLUMN queue_life.is_restored IS 'the time for those who were in the line that was lost is over';
    COMMENT ON COLUMN queue_life.restored_from IS
      'the first of the lives whose places are taken up again in this one: if one is lost while it is restored, those '
      'of the one before still count';

    -- Requests that ended without a purchase, for when Redis is lost: a bit each. A row is rewritten when one of its
    -- positions ends, and so small enough for that, and large enough for a line of millions to have hundreds of them.
    CREATE TABLE request_end (
      event_id bigint NOT NULL,
      generation int NOT NULL,
      state text NOT NULL,
      bucket int NOT NULL,
      ended bit(8192) NOT NULL,
      PRIMARY KEY (event_id, generation, state, bucket)
    ) WITH (fillfactor = 50);
    COMMENT ON COLUMN request_end.state IS 'the letter of their records';
    COMMENT ON COLUMN request_end.ended IS 'bit i is position 8192 * bucket + i';

    CREATE TABLE line_end (
      event_id bigint NOT NULL,
      generation int NOT NULL,
      line int NOT NULL,
      after bigint NOT NULL,
      up_to bigint NOT NULL,
      reason text NOT NULL,
      left_over int NOT NULL,
      PRIMARY KEY (event_id, generation, line, after)
    );
    COMMENT ON TABLE line_end IS 'ends of lines for everyone in them, who have no record of their own';
    COMMENT ON COLUMN line_end.line IS 'the number of the wish''s line; 0 for all, who were told that everything is sold';
    """,
    """
    ALTER TABLE purchase ADD line int NOT NULL DEFAULT 0, ADD ordinal bigint NOT NULL DEFAULT 0;
    COMMENT ON COLUMN purchase.line IS
      'with ordinal what the request''s id says besides its place, so that it has one text; 0 where it does not';
    """,
    """
    CREATE TABLE session_end (
      id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      user_id text NOT NULL,
      session bigint,
      ended_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX session_end_by_age ON session_end (ended_at);
    COMMENT ON COLUMN session_end.session IS 'NULL ends all of the user''s that began by ended_at';
    """,
    """
    ALTER TABLE event ADD time_zone text;
    COMMENT ON COLUMN event.time_zone IS
      'of the venue, by its name in the IANA database; NULL for the zone that the installation is set to';
    """,
    """
    -- Made once: names this database's purchases at a provider whose account others use, too.
    CREATE TABLE installation (
      is_alone boolean PRIMARY KEY DEFAULT true CHECK (is_alone),
      id uuid NOT NULL DEFAULT gen_random_uuid(),
      made_at timestamptz NOT NULL DEFAULT now()
    );
    INSERT INTO installation DEFAULT VALUES;

    -- Without defaults: what the version before begins keeps the name that it has at the provider.
    ALTER TABLE purchase ADD id uuid, ADD tried_at timestamptz;
    COMMENT ON COLUMN purchase.id IS 'with the attempt, its name at the provider; null: event-generation-position';
    COMMENT ON COLUMN purchase.tried_at IS 'when this attempt to pay was begun';

    ALTER TABLE outbox ADD created_at timestamptz NOT NULL DEFAULT now(), DROP CONSTRAINT outbox_kind_check,
      ADD CONSTRAINT outbox_kind_check CHECK (kind IN ('capture', 'cancel', 'find'));
    COMMENT ON COLUMN outbox.payment_id IS 'of find the order''s reference: whatever is found of it is cancelled';
    """,
    """
    ALTER TABLE queue_life ADD closed_in int;
    COMMENT ON COLUMN queue_life.closed_in IS
      'the life that was lost when its sale was closed already: who waited in it was told so';
    """,
    """
    -- Of seats from a seating plan. Positions are in hundredths of the plan's unit.
    ALTER TABLE ticket ADD block text, ADD guid text, ADD run int, ADD place int, ADD x int, ADD y int;
    COMMENT ON COLUMN ticket.block IS 'which of several rows of the same label, where seats have the same label, too';
    COMMENT ON COLUMN ticket.run IS 'seats of a run whose places follow each other sit side by side';

    CREATE TABLE event_drawing (event_id bigint PRIMARY KEY, drawing text NOT NULL);
    COMMENT ON TABLE event_drawing IS 'what a seating plan shows beside the seats that are sold, as JSON';
    """,
    """
    ALTER TABLE event ADD owner text, ADD organizations text[] NOT NULL DEFAULT '{}', ADD sales_end_at timestamptz,
      ADD tickets_version int NOT NULL DEFAULT 0, ADD date_was timestamptz, ADD location_was text;
    COMMENT ON COLUMN event.owner IS 'the organizer who made it; null for every organizer''s';
    COMMENT ON COLUMN event.sales_end_at IS 'when the sale closes by itself; null for the event''s date';
    COMMENT ON COLUMN event.date_was IS 'what was announced first, if it is another date now';

    ALTER TABLE ticket ADD withheld text, ADD upload int;
    COMMENT ON COLUMN ticket.withheld IS 'not granted any more: blocked until it is released, or removed for good';

    CREATE TABLE upload (
      event_id bigint NOT NULL,
      id int NOT NULL,
      key text,
      digest text NOT NULL,
      who text NOT NULL,
      at timestamptz NOT NULL DEFAULT now(),
      tickets int NOT NULL,
      undone_at timestamptz,
      PRIMARY KEY (event_id, id)
    );
    CREATE UNIQUE INDEX upload_by_key ON upload (event_id, who, key) WHERE key IS NOT NULL;
    COMMENT ON TABLE upload IS 'tickets that were added to an event together';
    """,
    """
    -- Addresses are compared with their letters composed. Where two accounts look the same, the older keeps the address.
    DO $$ BEGIN
      IF current_setting('server_encoding') = 'UTF8' THEN
        UPDATE users SET email = normalize(email, NFC) WHERE email IS NOT NFC NORMALIZED
          AND NOT EXISTS (
            SELECT FROM users other WHERE other.email = normalize(users.email, NFC) OR other.id <> users.id
              AND other.email IS NOT NFC NORMALIZED AND normalize(other.email, NFC) = normalize(users.email, NFC)
              AND (other.created_at, other.id) < (users.created_at, users.id)
          );
      END IF;
    END $$;
    """,
    """
    -- What is given back: written down first, carried out by workers.
    CREATE TABLE refund (
      event_id bigint NOT NULL,
      id uuid NOT NULL DEFAULT gen_random_uuid(),
      generation int NOT NULL,
      position bigint NOT NULL,
      tickets int[] NOT NULL,
      amount bigint NOT NULL CHECK (amount >= 0),
      state text NOT NULL DEFAULT 'requested' CHECK (state IN ('requested', 'succeeded', 'failed')),
      releases boolean NOT NULL,
      reason text,
      provider_id text,
      who text NOT NULL,
      key text,
      digest text NOT NULL DEFAULT '',
      attempt int NOT NULL DEFAULT 1,
      attempted_at timestamptz NOT NULL DEFAULT now(),
      leases int NOT NULL DEFAULT 0,
      available_at timestamptz DEFAULT now(),
      created_at timestamptz NOT NULL DEFAULT now(),
      ended_at timestamptz,
      PRIMARY KEY (event_id, id)
    );
    CREATE INDEX refund_by_purchase ON refund (event_id, generation, position);
    CREATE INDEX refund_by_time ON refund (event_id, created_at, id);
    CREATE INDEX refund_due ON refund (available_at) WHERE available_at IS NOT NULL;
    CREATE UNIQUE INDEX refund_by_key ON refund (event_id, who, key) WHERE key IS NOT NULL;
    CREATE UNIQUE INDEX refund_by_provider ON refund (event_id, provider_id) WHERE provider_id IS NOT NULL;
    COMMENT ON COLUMN refund.releases IS 'its tickets are for sale again; else they are blocked';
    COMMENT ON COLUMN refund.attempt IS 'with the id its idempotency key at the provider, since attempted_at';
    COMMENT ON COLUMN refund.available_at IS 'when a worker looks after it next; NULL once nothing is left to do';

    -- Of what is given back the purchase has no tickets any more, so that they count for nobody's limit.
    ALTER TABLE purchase ADD charged bigint, ADD refunded bigint NOT NULL DEFAULT 0;
    COMMENT ON COLUMN purchase.charged IS 'what was taken for it, once its tickets are not those any more; else its amount';
    COMMENT ON COLUMN purchase.refunded IS 'what of it was given back';
    """,
    """
    -- The time of holds stands still while a sale does: Redis keeps it, and begins with this where it has lost a queue.
    ALTER TABLE event ADD stands_since timestamptz, ADD stood_ms bigint NOT NULL DEFAULT 0,
      ADD payments_stopped boolean NOT NULL DEFAULT false;
    COMMENT ON COLUMN event.stood_ms IS 'for how long the sale stood still before stands_since';
    COMMENT ON COLUMN event.payments_stopped IS 'while it is paused, and after that if it is closed: no payment starts';

    -- By a trigger, whoever pauses it: an operator, or a worker that stops it, or goes on by itself.
    CREATE FUNCTION keep_event_clock() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
      stood boolean := OLD.state = 'paused' OR OLD.state = 'open' AND OLD.halt IS NOT NULL;
      stands boolean := NEW.state = 'paused' OR NEW.state = 'open' AND NEW.halt IS NOT NULL;
    BEGIN
      IF stands AND NOT stood THEN
        NEW.stands_since := now();
      ELSIF stood AND NOT stands THEN
        NEW.stood_ms := OLD.stood_ms
          + greatest(0, extract(epoch FROM now() - coalesce(OLD.stands_since, now())) * 1000)::bigint;
        NEW.stands_since := NULL;
      END IF;
      RETURN NEW;
    END $$;
    CREATE TRIGGER event_clock BEFORE UPDATE OF state, halt ON event FOR EACH ROW EXECUTE FUNCTION keep_event_clock();
    UPDATE event SET stands_since = now() WHERE state = 'paused' OR state = 'open' AND halt IS NOT NULL;
    """,
    """
    ALTER TABLE event ADD cancelled_at timestamptz, ADD cancelled_by text, ADD cancel_reason text,
      ADD cancel_asked_at timestamptz, ADD cancel_ended_at timestamptz;
    COMMENT ON COLUMN event.cancelled_at IS 'it does not take place: whoever has bought gets their money back';
    COMMENT ON COLUMN event.cancel_asked_at IS 'when that was asked for last: what failed before is tried again';
    CREATE INDEX event_cancelling ON event (cancel_asked_at) WHERE cancelled_at IS NOT NULL AND cancel_ended_at IS NULL;
    ALTER TABLE refund ADD cancels boolean NOT NULL DEFAULT false;
    COMMENT ON COLUMN refund.cancels IS 'of an event that was cancelled';
    """,
    """
    -- Payments that something has happened to at the provider: asked for by workers, who learn the truth there.
    CREATE TABLE payment_news (
      payment_id text PRIMARY KEY,
      times bigint NOT NULL DEFAULT 1,
      leases int NOT NULL DEFAULT 0,
      available_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX payment_news_due ON payment_news (available_at);

    CREATE TABLE dispute (
      event_id bigint NOT NULL,
      id text NOT NULL,
      generation int NOT NULL,
      position bigint NOT NULL,
      payment_id text NOT NULL,
      amount bigint NOT NULL,
      reason text NOT NULL,
      status text NOT NULL,
      created_at timestamptz NOT NULL,
      PRIMARY KEY (event_id, id)
    );
    CREATE INDEX dispute_by_purchase ON dispute (event_id, generation, position);
    COMMENT ON TABLE dispute IS 'money that banks of buyers have taken back, or may, as the provider has it';
    """,
    """
    CREATE TABLE decline (
      id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      event_id bigint NOT NULL,
      user_key text NOT NULL,
      client text NOT NULL,
      at timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX decline_by_age ON decline (at);
    COMMENT ON TABLE decline IS 'cards that the payment provider refused within the last hour or so';
    COMMENT ON COLUMN decline.client IS 'where the buyer came from, by a name that is not the address; empty if not known';
    """,
    """
    -- Where systems outside are told of what happens.
    CREATE TABLE webhook_endpoint (
      id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      url text NOT NULL,
      types text[] NOT NULL DEFAULT '{}',
      events bigint[] NOT NULL DEFAULT '{}',
      owner text,
      secret text NOT NULL,
      former_secret text,
      former_until timestamptz,
      made_by text NOT NULL,
      made_at timestamptz NOT NULL DEFAULT now(),
      removed_at timestamptz,
      is_full boolean NOT NULL DEFAULT false,
      waiting int NOT NULL DEFAULT 0,
      dead int NOT NULL DEFAULT 0,
      oldest_at timestamptz,
      counted_at timestamptz NOT NULL DEFAULT '-infinity'
    ) WITH (fillfactor = 50);
    COMMENT ON COLUMN webhook_endpoint.types IS 'of messages; none for all';
    COMMENT ON COLUMN webhook_endpoint.events IS 'that it hears of; none for all';
    COMMENT ON COLUMN webhook_endpoint.owner IS 'of whose events it hears; null for everybody''s';
    COMMENT ON COLUMN webhook_endpoint.removed_at IS 'since when it hears no more; it goes when nothing is left of its messages';
    COMMENT ON COLUMN webhook_endpoint.is_full IS 'so many messages wait for it that no more are written';
    COMMENT ON COLUMN webhook_endpoint.counted_at IS 'when somebody began to count its messages last';

    -- What one endpoint is still to be told. A row goes when it was taken. Those of one request are told in the order of
    -- stage and ordinal.
    CREATE TABLE webhook_message (
      event_id bigint NOT NULL,
      generation int NOT NULL,
      position bigint NOT NULL,
      endpoint_id int NOT NULL,
      stage smallint NOT NULL,
      ordinal bigint NOT NULL,
      id uuid NOT NULL,
      type text NOT NULL,
      at timestamptz NOT NULL,
      data json NOT NULL,
      user_key text NOT NULL DEFAULT '',
      line int NOT NULL DEFAULT 0,
      line_ordinal bigint NOT NULL DEFAULT 0,
      attempts int NOT NULL DEFAULT 0,
      created_at timestamptz NOT NULL DEFAULT now(),
      available_at timestamptz NOT NULL DEFAULT now(),
      dead_at timestamptz,
      problem text,
      PRIMARY KEY (event_id, generation, position, endpoint_id, stage, ordinal)
    ) WITH (fillfactor = 70);
    CREATE INDEX webhook_message_due ON webhook_message (endpoint_id, available_at) WHERE dead_at IS NULL;
    CREATE INDEX webhook_message_old ON webhook_message (endpoint_id, created_at) WHERE dead_at IS NULL;
    CREATE INDEX webhook_message_dead ON webhook_message (endpoint_id, dead_at) WHERE dead_at IS NOT NULL;
    COMMENT ON COLUMN webhook_message.id IS 'the same for the same thing, however often it is written down and sent';
    COMMENT ON COLUMN webhook_message.user_key IS 'with line and line_ordinal what the request''s id says besides its place';

    -- Writes one message, in the transaction of what it tells. Many at once are written as this does it, by one statement: a
    -- call for each costs several times as much.
    CREATE FUNCTION tell_webhooks(
      of_type text, of_event bigint, of_generation int, of_position bigint, of_stage int, of_ordinal bigint, of_time timestamptz,
      of_data json, of_user_key text DEFAULT '', of_line int DEFAULT 0, of_line_ordinal bigint DEFAULT 0
    ) RETURNS void LANGUAGE sql AS $$
      INSERT INTO webhook_message (event_id, generation, position, endpoint_id, stage, ordinal, id, type, at, data, user_key,
        line, line_ordinal)
      SELECT of_event, of_generation, of_position, w.id, of_stage, of_ordinal,
        md5(concat_ws('|', (SELECT i.id FROM installation i WHERE i.is_alone), of_type, of_event, of_generation, of_position,
          of_stage, of_ordinal))::uuid, of_type, of_time, of_data, of_user_key, of_line, of_line_ordinal
      FROM webhook_endpoint w
      WHERE w.id > 0 AND NOT w.is_full AND w.removed_at IS NULL AND (w.types = '{}' OR of_type = ANY (w.types))
        AND (w.events = '{}' OR of_event = ANY (w.events))
        AND (w.owner IS NULL OR w.owner = (SELECT e.owner FROM event e WHERE e.id = of_event))
      ON CONFLICT DO NOTHING
    $$;

    -- The one word that everybody is told of how a sale stands.
    CREATE FUNCTION sale_word(state text, halt text, payments_stopped boolean, cancelled_at timestamptz) RETURNS text
    LANGUAGE sql IMMUTABLE AS $$
      SELECT CASE WHEN cancelled_at IS NOT NULL THEN 'cancelled'
        WHEN state = 'paused' OR state = 'open' AND halt IS NOT NULL
          THEN CASE WHEN payments_stopped THEN 'stopped' ELSE 'paused' END
        ELSE state END
    $$;

    -- Told in the order of the changes; each one is new, however often a sale pauses and goes on.
    CREATE FUNCTION tell_event_state() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
      before text := sale_word(OLD.state, OLD.halt, OLD.payments_stopped, OLD.cancelled_at);
      since text := sale_word(NEW.state, NEW.halt, NEW.payments_stopped, NEW.cancelled_at);
    BEGIN
      IF before <> since OR OLD.halt IS DISTINCT FROM NEW.halt THEN
        PERFORM tell_webhooks('event.state', NEW.id, 0, 0, 0, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
          clock_timestamp(), json_strip_nulls(json_build_object('name', NEW.name, 'state', since, 'state_before', before,
            'halt', NEW.halt, 'reason', CASE WHEN NEW.cancelled_at IS NOT NULL THEN NEW.cancel_reason END)));
      END IF;
      RETURN NULL;
    END $$;
    CREATE TRIGGER event_state_changed AFTER UPDATE ON event FOR EACH ROW
      WHEN (OLD.state IS DISTINCT FROM NEW.state OR OLD.halt IS DISTINCT FROM NEW.halt
        OR OLD.payments_stopped IS DISTINCT FROM NEW.payments_stopped OR OLD.cancelled_at IS DISTINCT FROM NEW.cancelled_at)
      EXECUTE FUNCTION tell_event_state();
    """,
    """
    -- Written by servers, sent by indexers. What is over stays for an hour, to be counted for its address.
    CREATE TABLE mail (
      id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      kind text NOT NULL CHECK (kind IN ('sign_up', 'reset')),
      email text NOT NULL,
      name text,
      password text,
      asked_at timestamptz NOT NULL DEFAULT now(),
      attempts int NOT NULL DEFAULT 0,
      available_at timestamptz NOT NULL DEFAULT now(),
      ended_at timestamptz,
      outcome text
    );
    CREATE INDEX mail_due ON mail (available_at) WHERE ended_at IS NULL;
    CREATE INDEX mail_over ON mail (ended_at) WHERE ended_at IS NOT NULL;
    CREATE INDEX mail_by_address ON mail (email, asked_at);
    COMMENT ON COLUMN mail.password IS 'of somebody who wants an account: its hash';
    COMMENT ON COLUMN mail.available_at IS 'when it is tried next';

    CREATE TABLE mail_token (
      hash text PRIMARY KEY,
      kind text NOT NULL,
      user_id text,
      email text NOT NULL,
      name text,
      password text,
      expires_at timestamptz NOT NULL
    );
    CREATE INDEX mail_token_by_age ON mail_token (expires_at);
    CREATE INDEX mail_token_by_user ON mail_token (user_id) WHERE user_id IS NOT NULL;
    CREATE INDEX mail_token_by_email ON mail_token (email);
    COMMENT ON TABLE mail_token IS 'what links in mails are good for; the links themselves are kept nowhere';
    """,
    """
    CREATE TABLE client_use (
      hour bigint NOT NULL,
      process text NOT NULL,
      client text NOT NULL,
      sign_ups int NOT NULL,
      sign_ins int NOT NULL,
      refusals int NOT NULL,
      PRIMARY KEY (hour, process, client)
    );
    COMMENT ON TABLE client_use IS 'what clients did with accounts, of each server those who did most; kept for 48 hours';
    COMMENT ON COLUMN client_use.client IS 'where they came from, by a name that is not the address';
    """,
    """
    CREATE INDEX session_end_by_user ON session_end (user_id, ended_at) WHERE session IS NULL;
    ALTER TABLE mail ADD mailbox text;
    CREATE INDEX mail_by_mailbox ON mail (mailbox, asked_at);
    DROP INDEX mail_by_address;
    COMMENT ON COLUMN mail.mailbox IS 'what mails are counted by: the address without what many providers leave out';
    """,
    """
    -- Whoever made an event over HTTP has it. What was made at the terminal was every organizer's: servers of before,
    -- which go on during the upgrade, are not to refuse them in the middle of a sale. Later it is of managers alone.
    UPDATE event e SET owner = l.who
    FROM (
      SELECT DISTINCT ON (event_id) event_id, who FROM audit_log WHERE action = 'create' ORDER BY event_id, id
    ) l
    WHERE l.event_id = e.id AND e.owner IS NULL AND l.who NOT LIKE 'cli:%';
    """,
    """
    -- What failed is tried again as another refund, with a name of its own at the provider, so that the two are never
    -- taken for each other.
    ALTER TABLE refund ADD tries int NOT NULL DEFAULT 0, ADD retried_by uuid, ADD closed_by text;
    COMMENT ON COLUMN refund.tries IS 'how often the same was tried before, without anybody asking for it';
    COMMENT ON COLUMN refund.retried_by IS 'the refund that tries it again';
    COMMENT ON COLUMN refund.closed_by IS 'who has decided that nothing more comes of this one, which failed';
    UPDATE refund f SET retried_by = (
      SELECT n.id FROM refund n WHERE n.event_id = f.event_id AND n.generation = f.generation AND n.position = f.position
        AND n.created_at > f.created_at ORDER BY n.created_at LIMIT 1)
    WHERE state = 'failed';
    CREATE INDEX refund_dead ON refund (event_id, created_at, id)
      WHERE state = 'failed' AND retried_by IS NULL AND closed_by IS NULL;
    """,
    """
    -- Where the walk through the books is that workers do all the time, and which of them goes on with it.
    CREATE TABLE book_walk (
      is_alone boolean PRIMARY KEY DEFAULT true CHECK (is_alone),
      worker text,
      leased_until timestamptz NOT NULL DEFAULT '-infinity',
      event_id bigint NOT NULL DEFAULT 0,
      generation int NOT NULL DEFAULT 0,
      position bigint NOT NULL DEFAULT 0,
      payment_id text,
      refund_id text
    ) WITH (fillfactor = 50);
    INSERT INTO book_walk DEFAULT VALUES;
    COMMENT ON COLUMN book_walk.payment_id IS 'the last payment of the provider that was looked at; NULL begins with the newest';
    """,
    """
    -- When the books were audited, what of, and since when. What is clean needs no second look until it changes.
    CREATE TABLE audit_run (
      id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      began_at timestamptz NOT NULL,
      ended_at timestamptz NOT NULL DEFAULT now(),
      is_whole boolean NOT NULL,
      is_clean boolean NOT NULL,
      events bigint NOT NULL,
      purchases bigint NOT NULL,
      payments bigint NOT NULL,
      newest_payment bigint NOT NULL,
      database text NOT NULL,
      oldest_xid bigint NOT NULL
    );
    COMMENT ON COLUMN audit_run.newest_payment IS 'when it was made, by the provider''s clock, in unix seconds';
    COMMENT ON COLUMN audit_run.oldest_xid IS 'every transaction below it had ended when the run began; without the wrap';

    CREATE TABLE audited_event (
      event_id bigint PRIMARY KEY,
      purchases bigint NOT NULL,
      tickets bigint NOT NULL,
      claims bigint NOT NULL
    );
    COMMENT ON TABLE audited_event IS 'how many rows an event had when it was clean: rows that are gone leave no other trace';
    """,
    """
    ALTER TABLE purchase ADD COLUMN lapsed_at timestamptz;
    COMMENT ON COLUMN purchase.lapsed_at IS 'when a sale was taken back since its authorisation was gone; it stays';
    """,
    """
    ALTER TABLE event ADD COLUMN postponed_at timestamptz;
    COMMENT ON COLUMN event.postponed_at IS 'when it was put off to a date that nobody knows yet; `date` is what it was to be';
    """,
    """
    -- Of an event whose sale has begun. Numbered by the beginning of its transaction: what changes the sale in the same one is
    -- told after it.
    CREATE FUNCTION tell_event_moved() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
      form text := 'YYYY-MM-DD"T"HH24:MI:SS"Z"';
    BEGIN
      PERFORM tell_webhooks('event.moved', NEW.id, 0, 0, 0, (extract(epoch FROM now()) * 1000000)::bigint, clock_timestamp(),
        json_build_object('name', NEW.name, 'date', to_char(NEW.date AT TIME ZONE 'UTC', form), 'location', NEW.location,
          'postponed', NEW.postponed_at IS NOT NULL, 'date_before', to_char(OLD.date AT TIME ZONE 'UTC', form),
          'location_before', OLD.location));
      RETURN NULL;
    END $$;
    CREATE TRIGGER event_moved AFTER UPDATE ON event FOR EACH ROW
      WHEN (NEW.generation > 0 AND (OLD.date IS DISTINCT FROM NEW.date OR OLD.location IS DISTINCT FROM NEW.location
        OR (OLD.postponed_at IS NULL) IS DISTINCT FROM (NEW.postponed_at IS NULL)))
      EXECUTE FUNCTION tell_event_moved();
    """,
    // Where it was made with its column, it is there.
    .index(name: "purchase_lapsed", on: "purchase (user_id) WHERE lapsed_at IS NOT NULL"),
    """
    -- Of which attempt it was said, so that a worker of the version before, which begins the next one without a word of it,
    -- does not carry it over.
    ALTER TABLE purchase ADD COLUMN other_seats text, ADD COLUMN other_seats_try int, ADD COLUMN instead_of int[];
    COMMENT ON COLUMN purchase.other_seats IS
      'whether others of the same section will do if the payment comes late: agreed, or n/a of seats that were chosen by name';
    COMMENT ON COLUMN purchase.other_seats_try IS 'with which attempt to pay the buyer said that';
    COMMENT ON COLUMN purchase.instead_of IS 'what was held, where tickets are others that its buyer agreed to';
    """,
  ]
}
