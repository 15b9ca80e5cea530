import Postgres
import Sale

/// Writes a query down as SQL: one statement that counts the matches and returns one page.
///
/// What it costs is bounded however much matches: only so many rows are counted and ranked
/// (`Limits.searchRanked`), and where there are more, the page is read from an index in the order of standing and dates.
struct PostgresSearchStatement {
  /// Columns of a hit, `score` and `total`; one row more than the page has where there is a next one, and one
  /// row of NULLs beside `total` for an empty page. `total` is above `Limits.searchRanked` where more match.
  let sql: SQL

  /// - Parameter phrases: words that must follow each other.
  init(_ query: SearchQuery, _ terms: [SearchTerm], phrases: [[String]], _ cursor: SearchCursor?) {
    let filters = Self.filters(query)
    let texts = Self.texts(query, terms, phrases)
    let isByDate = texts.isEmpty || cursor?.order == .date
    sql = """
      WITH \(isByDate
        ? Self.byDate(filters, texts, cursor, limit: query.limit + 1)
        : Self.byScore(filters, texts, Self.score(terms), cursor, limit: query.limit + 1))
      SELECT total.total, p.score, d.id, d.name, d.location, d.date, d.shown_date, d.date_was, d.location_was,
        d.is_postponed, d.standing, d.time_zone, d.onsale_at, d.currency,
        d.min_price, d.max_price, d.available, d.held, d.onsale_state, d.version, d.description
      FROM total LEFT JOIN page p ON true LEFT JOIN \(Self.table) d ON d.id = p.id
      ORDER BY p.score DESC, p.standing, p.date, p.id
      """
  }

  private static let table = PostgresSearchIndex.documents
  private static let most: SQL = "\(unsafeSQL: "\(Limits.searchRanked)")"

  /// Straight from an index in the order of dates. Where words are looked for, it is known already that too many
  /// rows have them.
  private static func byDate(_ filters: [SQL], _ texts: [String], _ cursor: SearchCursor?, limit: Int) -> SQL
  {
    var after: [SQL] = []
    if let cursor {
      after.append(
        "(d.standing, d.date, d.id) > (\(cursor.standing), \(cursor.date), \(cursor.id))")
    }
    let total: SQL =
      texts.isEmpty
      ? "SELECT count(*) AS total FROM (SELECT FROM \(table) d \(joined(filters)) LIMIT \(most) + 1) counted"
      : "SELECT \(most) + 1 AS total"
    return """
      total AS (\(total)),
      page AS (
        SELECT d.id, d.standing, d.date, 0 AS score FROM \(table) d \(joined(filters + texts.map(looked) + after))
        ORDER BY d.standing, d.date, d.id LIMIT \(limit)
      )
      """
  }

  /// All that match, by score; where those are too many, by date.
  private static func byScore(
    _ filters: [SQL], _ texts: [String], _ score: SQL, _ cursor: SearchCursor?, limit: Int
  ) -> SQL {
    let matching = joined(filters + texts.map { "d.words @@ \($0)::tsquery" })
    // Ranked as they are read: going back to some thousand rows takes longer than ranking those in vain that are too
    // many.
    func matches(atMost limit: SQL) -> SQL {
      """
      matches AS MATERIALIZED (
        SELECT d.id, d.standing, d.date, \(score) AS score FROM \(table) d \(matching) LIMIT \(limit)
      )
      """
    }
    // Who has the first page by score gets all pages so, though a few more may match by now.
    if let cursor {
      return """
        \(matches(atMost: "2 * \(most)")),
        total AS (SELECT least(count(*), \(most) + 1) AS total FROM matches),
        page AS (
          SELECT m.id, m.standing, m.date, m.score FROM matches m
          WHERE m.score < \(cursor.score)
            OR m.score = \(cursor.score)
              AND (m.standing, m.date, m.id) > (\(cursor.standing), \(cursor.date), \(cursor.id))
          ORDER BY m.score DESC, m.standing, m.date, m.id LIMIT \(limit)
        )
        """
    }
    return """
      \(matches(atMost: "\(most) + 1")),
      total AS (SELECT count(*) AS total FROM matches),
      page AS (
        (
          SELECT m.id, m.standing, m.date, m.score FROM matches m WHERE (SELECT total FROM total) <= \(most)
          ORDER BY m.score DESC, m.standing, m.date, m.id LIMIT \(limit)
        ) UNION ALL (
          SELECT d.id, d.standing, d.date, 0 FROM \(table) d
          \(joined(filters + texts.map(looked) + ["(SELECT total FROM total) > \(most)"]))
          ORDER BY d.standing, d.date, d.id LIMIT \(limit)
        )
      )
      """
  }

  /// The same as `@@`, which no index of words serves: rows come in the order of dates then, and where many rows have
  /// the words, the first page is found soon.
  private static func looked(_ words: String) -> SQL { "ts_match_vq(d.words, \(words)::tsquery)" }

  private static func filters(_ query: SearchQuery) -> [SQL] {
    var filters: [SQL] = []
    if !query.includeSoldOut { filters.append("d.is_left") }
    if let from = query.from { filters.append("d.date >= \(from)") }
    if let to = query.to { filters.append("d.date <= \(to)") }
    if let day = query.fromDay { filters.append("d.local_date >= \(day)") }
    if let day = query.toDay { filters.append("d.local_date < \(day + 86_400)") }
    if let price = query.maxPrice {
      filters.append(query.includeSoldOut ? "d.min_price <= \(price)" : "d.lowest_price <= \(price)")
    }
    if let currency = query.currency { filters.append("d.currency = \(currency)") }
    if let section = section(query) { filters.append(section) }
    return filters
  }

  /// What must be in an event's texts, each in the syntax of `tsquery`.
  private static func texts(_ query: SearchQuery, _ terms: [SearchTerm], _ phrases: [[String]]) -> [String] {
    var texts: [String] = []
    if !terms.isEmpty { texts.append(all(terms, "")) }
    let place = SearchText.terms(query.location, atMost: Limits.searchWords)
    if !place.isEmpty { texts.append(all(place, "B")) }
    for phrase in phrases { texts.append(phrase.map { "'\($0)'" }.joined(separator: " <-> ")) }
    return texts
  }

  /// A section with tickets left, of that name and at that price. Names are kept as words between blanks.
  private static func section(_ query: SearchQuery) -> SQL? {
    let terms = SearchText.terms(query.section, atMost: Limits.searchWords)
    if terms.isEmpty { return nil }
    // Words consist of letters and digits: nothing in them is a wildcard.
    var patterns: [String] = []
    for term in terms { patterns += term.alternatives.map { "% \($0)\(term.isPrefix ? "" : " ")%" } }
    return """
      EXISTS (
        SELECT FROM jsonb_array_elements(d.open_sections) s
        WHERE s ->> 0 LIKE ALL (\(patterns)::text[]) AND (s ->> 1)::bigint <= \(query.maxPrice ?? .max)
      )
      """
  }

  private static func joined(_ conditions: [SQL]) -> SQL {
    guard var all = conditions.first else { return "" }
    for condition in conditions.dropFirst() { all = "\(all) AND \(condition)" }
    return "WHERE \(all)"
  }

  /// `SearchScore` as an expression over `d.words`.
  private static func score(_ terms: [SearchTerm]) -> SQL {
    if terms.isEmpty { return "0" }
    var sum: SQL = "0"
    for term in terms {
      var cases: SQL = ""
      for (weight, score) in [("A", SearchScore.name), ("B", SearchScore.location)] {
        cases = "\(cases) WHEN d.words @@ \(one(term, weight))::tsquery THEN \(points(term, weight, score))"
      }
      sum = "\(sum) + CASE \(cases) ELSE \(points(term, "", SearchScore.description)) END"
    }
    for (left, right) in zip(terms, terms.dropFirst()) {
      let near = (1...SearchScore.gaps + 1).map { "(\(one(left, "")) <\($0)> \(one(right, "")))" }
      sum = """
        \(sum) + CASE WHEN d.words @@ \(near.joined(separator: " | "))::tsquery
          THEN \(unsafeSQL: "\(SearchScore.neighbours)") ELSE 0 END
        """
    }
    return """
      \(sum) + CASE WHEN d.name_words = \(terms.count) AND d.words @@ \(all(terms, "A"))::tsquery
        THEN \(unsafeSQL: "\(SearchScore.wholeName)") ELSE 0 END
      """
  }

  /// What a term is worth where it is known to be there. Asked only then: most rows of a search match in one place.
  private static func points(_ term: SearchTerm, _ weight: String, _ score: (whole: Int, beginning: Int))
    -> SQL
  {
    guard term.isPrefix else { return "\(unsafeSQL: "\(score.whole)")" }
    var whole = term
    whole.isPrefix = false
    return """
      CASE WHEN d.words @@ \(one(whole, weight))::tsquery THEN \(unsafeSQL: "\(score.whole)")
        ELSE \(unsafeSQL: "\(score.beginning)") END
      """
  }

  private static func all(_ terms: [SearchTerm], _ weight: String) -> String {
    terms.map { one($0, weight) }.joined(separator: " & ")
  }

  /// In the syntax of `tsquery`. Words consist of letters and digits, so quoting them is enough.
  private static func one(_ term: SearchTerm, _ weight: String) -> String {
    let suffix = (term.isPrefix ? "*" : "") + (weight.isEmpty && term.isOfName ? "A" : weight)
    let words = term.alternatives.map { "'\($0)'" + (suffix.isEmpty ? "" : ":" + suffix) }
    return words.count == 1 ? words[0] : "(" + words.joined(separator: " | ") + ")"
  }
}
