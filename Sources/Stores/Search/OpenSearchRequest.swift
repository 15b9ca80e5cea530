import JSON
import Sale

/// Writes queries and documents down in OpenSearch's JSON.
enum OpenSearchRequest {
  /// - Parameter writtenAt: milliseconds since 1970, for a rebuild to know what came meanwhile.
  static func source(_ document: SearchDocument, writtenAt: Int) -> JSON {
    let words = document.texts
    let texts = words.map { JSON.string($0.joined(separator: " ")) }
    return [
      "id": .integer(document.id), "version": .integer(document.version), "name": .string(document.name),
      "location": .string(document.location), "date": .integer(document.listDate),
      "shown_date": .integer(document.date), "date_was": JSON(document.dateWas),
      "location_was": JSON(document.locationWas), "is_postponed": .bool(document.isPostponed),
      "local_date": .integer(document.localDate), "standing": .integer(document.standing),
      "time_zone": .string(document.zone.name), "onsale_at": JSON(document.onsaleAt),
      "currency": .string(document.currency), "min_price": .integer(document.minPrice),
      "max_price": .integer(document.maxPrice), "available": .integer(document.available),
      "held": .integer(document.held), "onsale_state": .string(document.onsaleState),
      "description": .string(document.description), "lowest_price": .integer(document.lowestPrice),
      "open_sections": .array(
        document.openSections.map { section in
          [
            "words": .string(SearchText.words(section.name).joined(separator: " ")),
            "price": .integer(section.price),
          ]
        }),
      "name_length": .integer(words[0].count), "name_words": texts[0],
      // Lists and copies of lists: the end of one text and the beginning of the next are no neighbours.
      "location_words": texts[1], "other_words": .array([texts[2], texts[3]]),
      "written_at": .integer(writtenAt),
    ]
  }

  /// One page, with one hit more where there is a next one. Matches are counted to one above `Limits.searchRanked`, and
  /// no more are ranked; by date and with words they are not counted at all.
  /// - Parameter phrases: words that must follow each other.
  /// - Parameter order: without words it is that of dates anyway.
  /// - Parameter timeoutMilliseconds: after which the cluster answers with what it has, and says so.
  static func search(
    _ query: SearchQuery, _ terms: [SearchTerm], phrases: [[String]], _ cursor: SearchCursor?,
    order: SearchCursor.Order, timeoutMilliseconds: Int
  ) -> JSON {
    let isRanked = !terms.isEmpty && order == .score
    var filter: [JSON] = []
    if !query.includeSoldOut {
      filter.append(
        ["bool": ["should": [["range": ["available": ["gt": 0]]], ["range": ["held": ["gt": 0]]]]]])
    }
    if let from = query.from { filter.append(["range": ["date": ["gte": .integer(from)]]]) }
    if let to = query.to { filter.append(["range": ["date": ["lte": .integer(to)]]]) }
    if let day = query.fromDay { filter.append(["range": ["local_date": ["gte": .integer(day)]]]) }
    if let day = query.toDay { filter.append(["range": ["local_date": ["lt": .integer(day + 86_400)]]]) }
    if let price = query.maxPrice {
      let field = query.includeSoldOut ? "min_price" : "lowest_price"
      let bound: JSON = ["lte": .integer(price)]
      filter.append(["range": .object([(field, bound)])])
    }
    if let currency = query.currency { filter.append(["term": ["currency": .string(currency)]]) }
    if let section = section(query) { filter.append(section) }
    for phrase in phrases {
      let words: JSON = ["query": .string(phrase.joined(separator: " ")), "analyzer": "whitespace"]
      filter.append(["match_phrase": ["all_words": words]])
    }
    for term in SearchText.terms(query.location, atMost: Limits.searchWords) {
      filter.append(any(term, "location_words"))
    }
    var bool: [(name: String, value: JSON)] = []
    var sort: [JSON] = [["standing": "asc"], ["date": "asc"], ["id": "asc"]]
    var after = (cursor.map { [$0.standing, $0.date, $0.id] } ?? []).map { JSON.integer($0) }
    if isRanked {
      bool = [("must", .array(terms.map(word))), ("should", .array(extras(terms)))]
      sort.insert(["_score": "desc"], at: 0)
      if let cursor { after.insert(.integer(cursor.score), at: 0) }
    } else {
      // Without scores the engine skips what comes later than the page.
      filter += terms.map { any($0, "all_words") }
    }
    bool.append(("filter", .array(filter)))
    var body: [(name: String, value: JSON)] = [
      ("size", .integer(query.limit + 1)),
      ("timeout", .string("\(timeoutMilliseconds)ms")),
      ("query", ["bool": .object(bool)]), ("sort", .array(sort)),
      ("track_total_hits", order == .date && !terms.isEmpty ? false : .integer(Limits.searchRanked + 1)),
    ]
    // Who has the first page by score gets all pages so, though a few more may match by now.
    if isRanked {
      body.append(
        ("terminate_after", .integer(cursor == nil ? Limits.searchRanked + 1 : 2 * Limits.searchRanked)))
    }
    if !after.isEmpty { body.append(("search_after", .array(after))) }
    return .object(body)
  }

  /// A section with tickets left, of that name and at that price.
  private static func section(_ query: SearchQuery) -> JSON? {
    let terms = SearchText.terms(query.section, atMost: Limits.searchWords)
    if terms.isEmpty { return nil }
    var filter = terms.map { any($0, "open_sections.words") }
    if let price = query.maxPrice {
      filter.append(["range": ["open_sections.price": ["lte": .integer(price)]]])
    }
    return ["nested": ["path": "open_sections", "query": ["bool": ["filter": .array(filter)]]]]
  }

  /// The best of what one word of the query scores.
  private static func word(_ term: SearchTerm) -> JSON {
    var whole = term
    whole.isPrefix = false
    var queries: [JSON] = []
    for (field, score) in [
      ("name_words", SearchScore.name), ("location_words", SearchScore.location),
      ("all_words", SearchScore.description),
    ] where !term.isOfName || field == "name_words" {
      queries.append(constant(any(whole, field), score.whole))
      if term.isPrefix { queries.append(constant(any(term, field), score.beginning)) }
    }
    return ["dis_max": ["queries": .array(queries)]]
  }

  private static func extras(_ terms: [SearchTerm]) -> [JSON] {
    guard !terms.isEmpty else { return [] }
    var extras = zip(terms, terms.dropFirst()).map { left, right in
      let both: JSON = [
        "all_of": [
          "ordered": true, "max_gaps": .integer(SearchScore.gaps),
          "intervals": [interval(left), interval(right)],
        ]
      ]
      return constant(["intervals": ["all_words": both]], SearchScore.neighbours)
    }
    var wholeName = terms.map { any($0, "name_words") }
    wholeName.append(["term": ["name_length": .integer(terms.count)]])
    extras.append(constant(["bool": ["filter": .array(wholeName)]], SearchScore.wholeName))
    return extras
  }

  private static func constant(_ filter: JSON, _ score: Int) -> JSON {
    ["constant_score": ["filter": filter, "boost": .integer(score)]]
  }

  /// Any of a term's alternatives in that field.
  private static func any(_ term: SearchTerm, _ field: String) -> JSON {
    let field = term.isOfName && field == "all_words" ? "name_words" : field
    if !term.isPrefix {
      return ["terms": .object([(field, .array(term.alternatives.map { .string($0) }))])]
    }
    let prefixes = term.alternatives.map { word -> JSON in ["prefix": .object([(field, .string(word))])] }
    return prefixes.count == 1 ? prefixes[0] : ["bool": ["should": .array(prefixes)]]
  }

  private static func interval(_ term: SearchTerm) -> JSON {
    let words = term.alternatives.map { word -> JSON in
      term.isPrefix
        ? ["prefix": ["prefix": .string(word)]]
        : ["match": ["query": .string(word), "analyzer": "whitespace"]]
    }
    return words.count == 1 ? words[0] : ["any_of": ["intervals": .array(words)]]
  }

  /// Whether each term is in the index (aggregation `t0`, `t1`, …), and the words near it (suggestion `t0`, …).
  static func spelling(_ terms: [SearchTerm]) -> JSON {
    var known: [(name: String, value: JSON)] = []
    var near: [(name: String, value: JSON)] = []
    for (index, term) in terms.enumerated() {
      known.append(("t\(index)", ["filter": any(term, "all_words")]))
      near.append(
        (
          "t\(index)",
          [
            "text": .string(term.alternatives.first ?? ""),
            "term": [
              "field": "all_words", "analyzer": "whitespace", "suggest_mode": "always", "max_edits": 2,
              "prefix_length": 0, "min_word_length": .integer(Spelling.shortestWord), "size": 30,
              "string_distance": "damerau_levenshtein", "max_inspections": 20,
            ],
          ]
        ))
    }
    // Not all events: only those that are counted.
    let counted: JSON = ["bool": ["should": .array(terms.map { any($0, "all_words") })]]
    return ["size": 0, "query": counted, "aggs": .object(known), "suggest": .object(near)]
  }
}
