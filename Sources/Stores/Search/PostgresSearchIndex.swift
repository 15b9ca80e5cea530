package import EventLoop
import JSON
import Logging
package import Postgres
import Sale

/// The index in PostgreSQL: text search over two small tables, with nothing to install but `pg_trgm`, which comes
/// with PostgreSQL.
///
/// Counts change many times a second during a sale and texts hardly ever. They share a row, so that a search needs
/// no join; an update of counts finds room on the row's page (`fillfactor`) and touches no index.
@LoopActor
package final class PostgresSearchIndex: SpellingSearch {
  package nonisolated let name = "postgresql"
  package var place: String { Self.table }

  /// Part of the tables' names: a version of this program that needs other tables makes them beside those of the one
  /// before, whose servers go on with theirs. The first two versions had no number.
  private nonisolated static let tableVersion = 5
  private nonisolated static let table = "search_document_v\(tableVersion)"
  private nonisolated static let wordTable = "search_word_v\(tableVersion)"
  private nonisolated static let similarWordsFunction = "search_similar_words_v\(tableVersion)"
  /// The same, for statements.
  nonisolated static let documents: SQL = "\(unsafeSQL: table)"
  private nonisolated static let words: SQL = "\(unsafeSQL: wordTable)"
  private nonisolated static let similarWords: SQL = "\(unsafeSQL: similarWordsFunction)"

  /// For connections that search: each statement is planned once, for whatever is looked for, which is the plan that
  /// bounds what a search costs (`PostgresSearchStatement`); one search takes one core.
  package nonisolated static let sessionSettings: [(name: String, value: String)] = [
    ("plan_cache_mode", "force_generic_plan"), ("max_parallel_workers_per_gather", "0"),
  ]

  /// Texts prepared by another version of this program are prepared anew when they are written.
  private static let textVersion = 4
  /// Documents in one statement.
  private static let batch = 500

  private let reader: PostgresClient
  private let writer: PostgresClient
  private let age: ReplicaAge?

  /// - Parameter reader: where searches go, such as a replica; the writer itself if `nil`.
  /// - Parameter age: how far the reader is behind; `nil` where it is the same server.
  package init(_ writer: PostgresClient, reader: PostgresClient? = nil, age: ReplicaAge? = nil) {
    self.writer = writer
    self.reader = reader ?? writer
    self.age = age
  }

  /// The tables, as idempotent statements for the owner of the schema. Two runs at once wait for each other.
  package nonisolated static let schema = """
    BEGIN;
    SELECT pg_advisory_xact_lock(\(0x7365_6172));
    CREATE EXTENSION IF NOT EXISTS pg_trgm;

    -- What filters look at comes first: columns behind the first text take longer to reach.
    CREATE TABLE IF NOT EXISTS \(table) (
      id bigint PRIMARY KEY,
      version bigint NOT NULL,
      date bigint NOT NULL,
      local_date bigint NOT NULL,
      standing int NOT NULL,
      min_price bigint NOT NULL,
      max_price bigint NOT NULL,
      lowest_price bigint NOT NULL,
      available int NOT NULL,
      held int NOT NULL,
      is_left boolean NOT NULL GENERATED ALWAYS AS (available > 0 OR held > 0) STORED,
      name_words int NOT NULL,
      text_hash bigint NOT NULL,
      written_at timestamptz NOT NULL DEFAULT now(),
      onsale_at bigint,
      shown_date bigint NOT NULL,
      date_was bigint,
      is_postponed boolean NOT NULL,
      words tsvector NOT NULL,
      name text NOT NULL,
      location text NOT NULL,
      description text NOT NULL,
      currency text NOT NULL,
      time_zone text NOT NULL,
      onsale_state text NOT NULL,
      location_was text,
      open_sections jsonb NOT NULL
    ) WITH (fillfactor = 70);
    COMMENT ON COLUMN \(table).date IS 'Unix seconds; later than all where it is not known';
    COMMENT ON COLUMN \(table).local_date IS 'what the venue''s clock shows, in seconds since 1970 as if it were UTC';
    COMMENT ON COLUMN \(table).standing IS '0 on sale, 1 going to be, 2 over';
    COMMENT ON COLUMN \(table).is_left IS 'of its own so that counts that change touch no index';
    COMMENT ON COLUMN \(table).lowest_price IS 'of what is left';
    COMMENT ON COLUMN \(table).words IS 'weight A: name, B: location, C: description and date';
    COMMENT ON COLUMN \(table).open_sections IS
      'those with tickets left: words of the name between blanks, price';
    CREATE INDEX IF NOT EXISTS \(table)_by_date ON \(table) (standing, date, id);
    CREATE INDEX IF NOT EXISTS \(table)_left_by_date ON \(table) (standing, date, id) WHERE is_left;
    CREATE INDEX IF NOT EXISTS \(table)_words ON \(table) USING gin (words) WITH (fastupdate = off);

    CREATE TABLE IF NOT EXISTS \(wordTable) (word text COLLATE "C" PRIMARY KEY);
    COMMENT ON TABLE \(wordTable) IS 'every word of the index, for correcting what was mistyped; never shrinks';
    CREATE INDEX IF NOT EXISTS \(wordTable)_trigrams ON \(wordTable) USING gin (word gin_trgm_ops);

    -- Loads the library: only a superuser may set parameters of one that is not.
    DO $$ BEGIN PERFORM similarity('', ''); END $$;
    CREATE OR REPLACE FUNCTION \(similarWordsFunction)(term text, most int) RETURNS SETOF text
    LANGUAGE sql STABLE ROWS 30 SET pg_trgm.similarity_threshold = 0.2 SET enable_seqscan = off AS
    'SELECT word FROM \(wordTable) WHERE word % term ORDER BY similarity(word, term) DESC, word LIMIT most';
    COMMIT;
    """

  /// Takes out the tables of versions before, for the owner of the schema: once no server of theirs runs any more.
  package nonisolated static let cleanup = """
    DO $$
    DECLARE found record;
    BEGIN
      FOR found IN
        SELECT oid::regclass AS name FROM pg_class
        WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace AND (
          relname IN ('search_text', 'search_document', 'search_word')
          OR substring(relname FROM '^search_(?:document|word)_v([0-9]{1,6})$')::int < \(tableVersion))
      LOOP EXECUTE format('DROP TABLE %s', found.name); END LOOP;
      FOR found IN
        SELECT oid::regprocedure AS name FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace AND (
          proname = 'search_similar_words'
          OR substring(proname FROM '^search_similar_words_v([0-9]{1,6})$')::int < \(tableVersion))
      LOOP EXECUTE format('DROP FUNCTION %s', found.name); END LOOP;
    END $$
    """

  /// Fails where the schema is missing: creating it is for the owner of the database.
  package func prepare() async throws {
    try await failing { _ = try await writer.query("SELECT 1 FROM \(Self.documents), \(Self.words) LIMIT 0") }
  }

  // MARK: Searching

  package func search(_ query: SearchQuery) async throws -> SearchPage {
    try await failing {
      // Before the search: what it finds is not older than this says.
      let age = try await age?.milliseconds() ?? 0
      var page = try await find(query)
      page.ageMilliseconds = age
      return page
    }
  }

  func page(
    _ query: SearchQuery, _ terms: [SearchTerm], _ cursor: SearchCursor?, isCorrected: Bool
  ) async throws -> SearchPage {
    // What is in quotation marks may be what was mistyped.
    let phrases = isCorrected ? [] : SearchText.phrases(query.terms, atMost: Limits.searchWords)
    let rows = try await reader.query(
      PostgresSearchStatement(query, terms, phrases: phrases, cursor).sql)
    guard let total = try rows.first?.int("total") else {
      throw SearchError(.unexpectedAnswer, "no count")
    }
    var hits: [SearchPresentation.Found] = []
    var last: SearchCursor?
    for row in rows.prefix(query.limit) {
      guard let id = row["id"].int else { break }
      let hit = SearchHit(
        id: id, name: try row.string("name"), location: try row.string("location"),
        date: try row.int("shown_date"),
        available: try row.int("available"), held: try row.int("held"), minPrice: try row.int("min_price"),
        maxPrice: try row.int("max_price"), currency: try row.string("currency"),
        onsaleState: try row.string("onsale_state"), version: try row.int("version"),
        timeZone: try row.string("time_zone"), onsaleAt: row["onsale_at"].int, dateWas: row["date_was"].int,
        locationWas: row["location_was"].string, isPostponed: try row.bool("is_postponed"))
      hits.append(.init(hit: hit, description: try row.string("description")))
      last = SearchCursor(
        isCorrected: isCorrected, order: .of(cursor, total: total), score: try row.int("score"),
        standing: try row.int("standing"), date: try row.int("date"), id: id)
    }
    return SearchPresentation.page(
      total: total, hits, nextCursor: rows.count > query.limit ? last?.text : nil, terms: terms,
      isCorrected: isCorrected)
  }

  /// `nil` where no other spelling is near.
  func corrected(_ terms: [SearchTerm], all: Bool) async throws -> [SearchTerm]? {
    let typed = terms.map(\.typed)
    let unfinished = terms.last?.isPrefix == true ? typed.last : nil
    let rows = try await reader.query(
      """
      SELECT t.number, s.word, false AS is_known
      FROM unnest(\(typed)::text[]) WITH ORDINALITY t(word, number), \(Self.similarWords)(t.word, 30) s(word)
      UNION ALL
      SELECT t.number, t.word, true FROM unnest(\(typed)::text[]) WITH ORDINALITY t(word, number)
      WHERE EXISTS (SELECT FROM \(Self.words) s WHERE s.word = t.word)
        OR t.word = \(unfinished)::text AND EXISTS (
          SELECT FROM \(Self.words) s WHERE s.word >= t.word AND s.word < t.word || chr(1114111))
      """)
    var candidates = [[String]](repeating: [], count: terms.count)
    var isKnown = [Bool](repeating: false, count: terms.count)
    for row in rows {
      let index = try row.int("number") - 1
      if try row.bool("is_known") {
        isKnown[index] = true
      } else {
        candidates[index].append(try row.string("word"))
      }
    }
    return Spelling.corrected(terms, isKnown: isKnown, candidates: candidates, all: all)
  }

  // MARK: Writing

  package func apply(_ documents: [SearchDocument]) async throws {
    try await failing { try await write(documents, force: false) }
  }

  private func write(_ documents: [SearchDocument], force: Bool) async throws {
    var newest: [Int: SearchDocument] = [:]
    for document in documents where document.version > newest[document.id]?.version ?? .min {
      newest[document.id] = document
    }
    // In the order of ids, so that writers that overlap wait for each other instead of locking each other out.
    let sorted = newest.values.sorted { $0.id < $1.id }
    for start in stride(from: 0, to: sorted.count, by: Self.batch) {
      try await write(batch: Array(sorted[start..<min(start + Self.batch, sorted.count)]), force: force)
    }
  }

  private func write(batch: [SearchDocument], force: Bool) async throws {
    var rest = batch
    if !force {
      let written = try await writer.query(Self.updateOfCounts(batch)).map { try $0.int("id") }
      let done = Set(written)
      rest = batch.filter { !done.contains($0.id) }
      if rest.isEmpty { return }
      let known = try await writer.query(
        "SELECT id, version FROM \(Self.documents) WHERE id = ANY(\(rest.map(\.id))::bigint[])")
      var versions: [Int: Int] = [:]
      for row in known { versions[try row.int("id")] = try row.int("version") }
      rest = rest.filter { $0.version > versions[$0.id] ?? .min }
      if rest.isEmpty { return }
    }
    var texts = PreparedTexts()
    for document in rest { texts.append(document) }
    _ = try await writer.transaction([
      Self.insertion(rest, texts, force: force),
      """
      INSERT INTO \(Self.words) SELECT unnest(\(texts.vocabulary.sorted())::text[]) ON CONFLICT DO NOTHING
      """,
    ])
  }

  /// What documents' texts look like in the index.
  private struct PreparedTexts {
    var names: [String] = []
    var locations: [String] = []
    var descriptions: [String] = []
    var dates: [String] = []
    var nameWords: [Int] = []
    var vocabulary: Set<String> = []

    mutating func append(_ document: SearchDocument) {
      let texts = document.texts
      names.append(texts[0].joined(separator: " "))
      locations.append(texts[1].joined(separator: " "))
      descriptions.append(texts[2].joined(separator: " "))
      dates.append(texts[3].joined(separator: " "))
      nameWords.append(texts[0].count)
      for word in texts[..<3].joined()
      where !word.allSatisfy(\.isNumber) && !Script.isPiece(word) && !Signs.isWord(word) {
        vocabulary.insert(word)
      }
      // Of dates only the months' names: a day is not mistyped for another.
      for word in texts[3] where !word.contains(where: \.isNumber) { vocabulary.insert(word) }
    }
  }

  private static func lowestPrices(_ documents: [SearchDocument]) -> [Int] { documents.map(\.lowestPrice) }

  private static func openSections(_ documents: [SearchDocument]) -> [String] {
    documents.map { document in
      JSON.array(
        document.openSections.map { section in
          let words = SearchText.words(section.name).joined(separator: " ")
          return [.string(" \(words) "), .integer(section.price)]
        }
      ).text
    }
  }

  /// For those whose text is as it was. Returns their ids.
  private static func updateOfCounts(_ documents: [SearchDocument]) -> SQL {
    """
    UPDATE \(Self.documents) d
    SET version = u.version, date = u.date, local_date = u.local_date, standing = u.standing,
      time_zone = u.time_zone, onsale_at = u.onsale_at, currency = u.currency, min_price = u.min_price,
      max_price = u.max_price, available = u.available, held = u.held, onsale_state = u.onsale_state,
      lowest_price = u.lowest_price, open_sections = u.open_sections::jsonb, written_at = now(),
      shown_date = u.shown_date, date_was = u.date_was, location_was = u.location_was, is_postponed = u.is_postponed
    FROM unnest(\(documents.map(\.id))::bigint[], \(documents.map(\.version))::bigint[],
      \(documents.map(\.listDate))::bigint[], \(documents.map(\.currency))::text[],
      \(documents.map(\.minPrice))::bigint[], \(documents.map(\.maxPrice))::bigint[],
      \(documents.map(\.available))::int[], \(documents.map(\.held))::int[],
      \(documents.map(\.onsaleState))::text[], \(lowestPrices(documents))::bigint[],
      \(openSections(documents))::text[], \(documents.map(hash))::bigint[],
      \(documents.map(\.localDate))::bigint[], \(documents.map(\.standing))::int[],
      \(documents.map(\.zone.name))::text[], \(documents.map { $0.onsaleAt.map(String.init) })::bigint[],
      \(documents.map(\.date))::bigint[], \(documents.map { $0.dateWas.map(String.init) })::bigint[],
      \(documents.map(\.locationWas))::text[], \(documents.map { $0.isPostponed ? 1 : 0 })::int[]::bool[])
      AS u(id, version, date, currency, min_price, max_price, available, held, onsale_state, lowest_price,
        open_sections, text_hash, local_date, standing, time_zone, onsale_at,
        shown_date, date_was, location_was, is_postponed)
    WHERE d.id = u.id AND d.version < u.version AND d.text_hash = u.text_hash
    RETURNING d.id
    """
  }

  /// - Parameter force: whether the same version is written again, for a rebuild.
  private static func insertion(_ documents: [SearchDocument], _ texts: PreparedTexts, force: Bool) -> SQL {
    """
    INSERT INTO \(Self.documents) AS d (id, version, date, min_price, max_price, lowest_price, available, held,
      name_words, text_hash, words, name, location, description, currency, onsale_state, open_sections,
      local_date, standing, time_zone, onsale_at, shown_date, date_was, location_was, is_postponed)
    SELECT u.id, u.version, u.date, u.min_price, u.max_price, u.lowest_price, u.available, u.held, u.name_words,
      u.text_hash,
      ts_delete(
        setweight(to_tsvector('simple', u.a), 'A') || \(gap)::tsvector
        || setweight(to_tsvector('simple', u.b), 'B') || \(gap)::tsvector
        || setweight(to_tsvector('simple', u.c), 'C') || \(gap)::tsvector
        || setweight(to_tsvector('simple', u.d), 'C'), '|'),
      u.name, u.location, u.description, u.currency, u.onsale_state, u.open_sections::jsonb,
      u.local_date, u.standing, u.time_zone, u.onsale_at, u.shown_date, u.date_was, u.location_was, u.is_postponed
    FROM unnest(\(documents.map(\.id))::bigint[], \(documents.map(\.version))::bigint[],
      \(documents.map(\.name))::text[], \(documents.map(\.location))::text[],
      \(documents.map(\.listDate))::bigint[], \(documents.map(\.currency))::text[],
      \(documents.map(\.minPrice))::bigint[], \(documents.map(\.maxPrice))::bigint[],
      \(documents.map(\.available))::int[], \(documents.map(\.held))::int[],
      \(documents.map(\.onsaleState))::text[], \(lowestPrices(documents))::bigint[],
      \(openSections(documents))::text[], \(documents.map(hash))::bigint[],
      \(documents.map(\.description))::text[], \(texts.names)::text[], \(texts.locations)::text[],
      \(texts.descriptions)::text[], \(texts.dates)::text[], \(texts.nameWords)::int[],
      \(documents.map(\.localDate))::bigint[], \(documents.map(\.standing))::int[],
      \(documents.map(\.zone.name))::text[], \(documents.map { $0.onsaleAt.map(String.init) })::bigint[],
      \(documents.map(\.date))::bigint[], \(documents.map { $0.dateWas.map(String.init) })::bigint[],
      \(documents.map(\.locationWas))::text[], \(documents.map { $0.isPostponed ? 1 : 0 })::int[]::bool[])
      AS u(id, version, name, location, date, currency, min_price, max_price, available, held, onsale_state,
        lowest_price, open_sections, text_hash, description, a, b, c, d, name_words, local_date, standing, time_zone, onsale_at,
        shown_date, date_was, location_was, is_postponed)
    ORDER BY u.id
    ON CONFLICT (id) DO UPDATE
    SET version = excluded.version, date = excluded.date, min_price = excluded.min_price,
      max_price = excluded.max_price, lowest_price = excluded.lowest_price, available = excluded.available,
      held = excluded.held, name_words = excluded.name_words, text_hash = excluded.text_hash,
      words = excluded.words, name = excluded.name, location = excluded.location,
      description = excluded.description, currency = excluded.currency, onsale_state = excluded.onsale_state,
      open_sections = excluded.open_sections, local_date = excluded.local_date, standing = excluded.standing,
      time_zone = excluded.time_zone, onsale_at = excluded.onsale_at, written_at = now(),
      shown_date = excluded.shown_date, date_was = excluded.date_was, location_was = excluded.location_was,
      is_postponed = excluded.is_postponed
    WHERE d.version < excluded.version OR \(force) AND d.version = excluded.version
    """
  }

  /// Keeps the end of one text and the beginning of the next from counting as neighbours: moves positions on, and
  /// is then taken out. No word looks like it.
  private static let gap = "'|':\(SearchScore.gaps + 2)"

  /// Of everything that is searched as text, and of how it is prepared. 64 bits of FNV-1a.
  private static func hash(_ document: SearchDocument) -> Int {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325 &+ UInt64(textVersion)
    let date = document.isPostponed ? "" : SearchDate.words(document.localDate).joined(separator: " ")
    for text in [document.name, document.location, document.description, date] {
      for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
      hash = (hash ^ 0xff) &* 0x100_0000_01b3
    }
    return Int(bitPattern: UInt(hash))
  }

  package func remove(_ ids: [Int]) async throws {
    try await failing {
      _ = try await writer.query("DELETE FROM \(Self.documents) WHERE id = ANY(\(ids.sorted())::bigint[])")
    }
  }

  package func indexedVersions(after id: Int, limit: Int) async throws -> [(id: Int, version: Int)] {
    try await failing {
      try await writer.query(
        "SELECT id, version FROM \(Self.documents) WHERE id > \(id) ORDER BY id LIMIT \(limit)"
      ).map { (try $0.int("id"), try $0.int("version")) }
    }
  }

  /// Writes every document again in place, and takes out those that are in no batch. Searches see the new
  /// state of one batch after the other; a write that comes meanwhile with a newer version is kept.
  package func rebuild(_ batch: @LoopActor () async throws -> [SearchDocument]?) async throws {
    let started = try await failing {
      try await writer.query("SELECT extract(epoch FROM clock_timestamp())::text AS now").first?.string("now")
    }
    var last = Int.min
    while let documents = try await batch() {
      guard let end = documents.map(\.id).max() else { continue }
      try await failing {
        try await write(documents, force: true)
        try await removeLeftovers(after: last, through: end, except: documents.map(\.id), olderThan: started)
      }
      last = end
    }
    try await failing {
      try await removeLeftovers(after: last, through: .max, except: [], olderThan: started)
    }
  }

  private func removeLeftovers(
    after first: Int, through last: Int, except ids: [Int], olderThan started: String?
  ) async throws {
    _ = try await writer.query(
      """
      DELETE FROM \(Self.documents)
      WHERE id > \(first) AND id <= \(last) AND NOT id = ANY(\(ids)::bigint[])
        AND written_at < to_timestamp(\(started)::double precision)
      """)
  }

  /// PostgreSQL's errors in the words of this module.
  private func failing<Value>(_ body: @LoopActor () async throws -> Value) async throws -> Value {
    do {
      return try await body()
    } catch let error as PostgresError {
      throw SearchError(error.code == .server ? .unexpectedAnswer : .unavailable, error.description)
    }
  }
}
