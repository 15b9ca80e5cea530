import Onsale
import Postgres

/// Writes a query down as SQL: one statement that counts all matches and returns one page.
struct PostgresSearchStatement {
  /// Columns of a hit, `score` and `total`; one row more than the page has where there is a next one, and one
  /// row of NULLs beside `total` for an empty page.
  let sql: SQL

  /// - Parameter phrases: words that must follow each other.
  init(_ query: SearchQuery, _ terms: [SearchTerm], phrases: [[String]], _ cursor: SearchCursor?) {
    var conditions: [SQL] = []
    if !query.includeSoldOut { conditions.append("(d.available > 0 OR d.held > 0)") }
    if let from = query.from { conditions.append("d.date >= \(from)") }
    if let to = query.to { conditions.append("d.date <= \(to)") }
    if let price = query.maxPrice {
      conditions.append(
        query.includeSoldOut ? "d.min_price <= \(price)" : "d.lowest_price <= \(price)"
      )
    }
    if let section = Self.section(query) { conditions.append(section) }
    let place = SearchText.terms(query.location, atMost: Limits.searchWords)
    if !terms.isEmpty { conditions.append("d.words @@ \(Self.all(terms, ""))::tsquery") }
    if !place.isEmpty { conditions.append("d.words @@ \(Self.all(place, "B"))::tsquery") }

    for phrase in phrases {
      let words = phrase.map { "'\($0)'" }.joined(separator: " <-> ")
      conditions.append("d.words @@ \(words)::tsquery")
    }

    var after: SQL = ""
    if let cursor {
      after = """
        WHERE m.score < \(cursor.score)
          OR m.score = \(cursor.score) AND (m.date, m.id) > (\(cursor.date), \(cursor.id))
        """
    }
    sql = """
      WITH matches AS (
        SELECT d.id, d.date, \(Self.score(terms)) AS score
        FROM search_document d \(Self.joined(conditions))
      )
      SELECT total.total, p.score, d.id, d.name, d.location, d.date, d.currency, d.min_price, d.max_price,
        d.available, d.held, d.onsale_state, d.version, d.description
      FROM (SELECT count(*) AS total FROM matches) total
      LEFT JOIN (
        SELECT m.id, m.date, m.score FROM matches m \(after)
        ORDER BY m.score DESC, m.date, m.id LIMIT \(query.limit + 1)
      ) p ON true
      LEFT JOIN search_document d ON d.id = p.id
      ORDER BY p.score DESC, p.date, p.id
      """
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
    let suffix = (term.isPrefix ? "*" : "") + weight
    let words = term.alternatives.map { "'\($0)'" + (suffix.isEmpty ? "" : ":" + suffix) }
    return words.count == 1 ? words[0] : "(" + words.joined(separator: " | ") + ")"
  }
}
