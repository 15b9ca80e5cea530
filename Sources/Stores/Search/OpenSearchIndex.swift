package import EventLoop
import Glibc
package import HTTPClient
import JSON
package import Logging
import Sale

/// The index in OpenSearch or Elasticsearch, over its REST API.
///
/// Everybody uses an alias; the index behind it is replaced by a rebuild. Words come prepared by `SearchText`,
/// so the analysers of the cluster, and its scores, play no part: hits are the same as PostgreSQL's.
@LoopActor
package final class OpenSearchIndex: SpellingSearch {
  package nonisolated let name = "opensearch"
  package var place: String { cluster.map { "\(alias)@\($0)" } ?? alias }

  /// Documents in one bulk request.
  private static let batch = 500
  /// Part of the alias: another version of the mapping is another index, filled by the indexer.
  private static let mappingVersion = 6
  /// How long a search may take inside the cluster, in milliseconds; the call itself may take a little longer.
  private static let searchMilliseconds = 1_500
  /// How soon searches see what was written. Rarely enough that segments are not all tiny, often enough that a
  /// change is seen well within two seconds.
  private static let refreshInterval = "200ms"
  /// How long a rebuild may take, in milliseconds; what an older one left behind is removed.
  private static let rebuildLasts = 86_400_000

  private let client: OpenSearchClient
  private let logger: Logger
  /// Under which everybody finds the index in use.
  package let alias: String
  /// The cluster's own name for itself, the same at whichever of its nodes.
  private var cluster: String?
  /// The index that a rebuild fills; it gets every other write too.
  private var rebuilding: String?

  /// - Parameters:
  ///   - urls: of the cluster's nodes.
  ///   - prefix: of every name in the cluster.
  package init(_ http: HTTPClient, urls: [String], prefix: String = "onsale-events", logger: Logger) {
    client = OpenSearchClient(http, urls: urls, logger: logger)
    self.logger = logger
    alias = "\(prefix)-v\(Self.mappingVersion)"
  }

  package func prepare() async throws {
    // Where that is not for us to see, two clusters share the writes of an event.
    cluster = try await client.call("GET", "/", accepting: [401, 403]).body["cluster_uuid"]?.string
    _ = try await client.call("PUT", "/_index_template/\(alias)", Self.template(alias))
    let exists = try await client.call("GET", "/_alias/\(alias)", accepting: [404])
    if exists.status != 404 {
      // Of a rebuild that was killed while it held up writers, and then nobody could write any more.
      _ = try await client.call("PUT", "/\(alias)/_settings", ["index.blocks.write": .null])
      return
    }
    let created = try await client.call(
      "PUT", "/\(alias)-0", ["aliases": .object([(name: alias, value: .object([]))])], accepting: [400])
    if !created.isSuccess, created.errorType != "resource_already_exists_exception" {
      throw SearchError(.unexpectedAnswer, "creating the index: \(created.errorType ?? "")")
    }
  }

  private static func template(_ alias: String) -> JSON {
    // Ends of a prefix are indexed, so that unfinished words cost as little as whole ones.
    func words(_ more: [(name: String, value: JSON)] = []) -> JSON {
      let prefixes: JSON = ["min_chars": 1, "max_chars": 10]
      return .object(
        [("type", "text"), ("analyzer", "whitespace"), ("norms", false), ("index_prefixes", prefixes)] + more)
    }
    // Copied when it is indexed instead of being sent twice: a search reads the whole document of each hit.
    let copied: [(name: String, value: JSON)] = [("copy_to", "all_words")]
    let stored: JSON = ["type": "keyword", "index": false, "doc_values": false]
    return [
      "index_patterns": [.string("\(alias)-*")],
      "template": [
        "settings": [
          // Events are few and small: one shard answers, and each node of a small cluster has a copy of it.
          "index.number_of_shards": 1, "index.auto_expand_replicas": "0-2",
          "index.refresh_interval": .string(refreshInterval),
        ],
        "mappings": [
          "dynamic": false,
          "properties": [
            "id": ["type": "long"], "version": ["type": "long"], "date": ["type": "long"],
            "local_date": ["type": "long"], "standing": ["type": "byte"], "time_zone": stored,
            "onsale_at": ["type": "long", "index": false], "shown_date": ["type": "long", "index": false],
            "date_was": ["type": "long", "index": false], "location_was": stored,
            "is_postponed": ["type": "boolean", "index": false],
            "min_price": ["type": "long"], "max_price": ["type": "long"], "available": ["type": "integer"],
            "held": ["type": "integer"], "name_length": ["type": "integer"], "name": stored,
            "location": stored, "currency": ["type": "keyword"], "onsale_state": stored,
            "name_words": words(copied),
            "location_words": words(copied),
            "other_words": ["type": "text", "index": false, "copy_to": "all_words"], "all_words": words(),
            "description": ["type": "text", "index": false],
            "lowest_price": ["type": "long"], "written_at": ["type": "long"],
            "open_sections": [
              "type": "nested", "properties": ["words": words(), "price": ["type": "long"]],
            ],
          ],
        ],
      ],
    ]
  }

  // MARK: Searching

  package func search(_ query: SearchQuery) async throws -> SearchPage { try await find(query) }

  /// Whichever node is asked reads its own copy, if it has one: one that says nothing keeps only those waiting who ask it,
  /// and not whoever asks another that takes it for well.
  private var searchPath: String { "/\(alias)/_search?preference=_local" }

  func page(
    _ query: SearchQuery, _ terms: [SearchTerm], _ cursor: SearchCursor?, isCorrected: Bool
  ) async throws -> SearchPage {
    // What is in quotation marks may be what was mistyped.
    let phrases = isCorrected ? [] : SearchText.phrases(query.terms, atMost: Limits.searchWords)
    func ask(_ order: SearchCursor.Order) async throws -> (total: Int, hits: [JSON]) {
      let answer = try await client.call(
        "POST", searchPath,
        OpenSearchRequest.search(
          query, terms, phrases: phrases, cursor, order: order, timeoutMilliseconds: Self.searchMilliseconds))
      if answer.body["timed_out"]?.bool == true {
        throw SearchError(.unavailable, "the search took too long")
      }
      guard let hits = answer.body["hits"]?["hits"]?.array else {
        throw SearchError(.unexpectedAnswer, "a search without hits")
      }
      // Without a number there are more than are counted.
      return (answer.body["hits"]?["total"]?["value"]?.integer ?? Limits.searchRanked + 1, hits)
    }
    var (total, found) = try await ask(cursor?.order ?? .score)
    let order = SearchCursor.Order.of(cursor, total: total)
    let isRanked = order == .score && !terms.isEmpty
    if cursor == nil, order == .date, !terms.isEmpty { found = try await ask(.date).hits }
    var hits: [SearchPresentation.Found] = []
    var last: SearchCursor?
    for item in found.prefix(query.limit) {
      guard let source = item["_source"], let id = source["id"]?.integer, let date = source["date"]?.integer
      else { throw SearchError(.unexpectedAnswer, "a hit without its source") }
      let hit = SearchHit(
        id: id, name: source["name"]?.string ?? "", location: source["location"]?.string ?? "",
        date: source["shown_date"]?.integer ?? date,
        available: source["available"]?.integer ?? 0, held: source["held"]?.integer ?? 0,
        minPrice: source["min_price"]?.integer ?? 0, maxPrice: source["max_price"]?.integer ?? 0,
        currency: source["currency"]?.string ?? "", onsaleState: source["onsale_state"]?.string ?? "",
        version: source["version"]?.integer ?? 0,
        timeZone: source["time_zone"]?.string ?? VenueZone.utc.name, onsaleAt: source["onsale_at"]?.integer,
        dateWas: source["date_was"]?.integer, locationWas: source["location_was"]?.string,
        isPostponed: source["is_postponed"]?.bool ?? false)
      hits.append(.init(hit: hit, description: source["description"]?.string ?? ""))
      let score = isRanked ? Int(item["sort"]?[0]?.double ?? 0) : 0
      last = SearchCursor(
        isCorrected: isCorrected, order: order, score: score,
        standing: source["standing"]?.integer ?? 0, date: date, id: id)
    }
    return SearchPresentation.page(
      total: total, hits, nextCursor: found.count > query.limit ? last?.text : nil, terms: terms,
      isCorrected: isCorrected)
  }

  /// The terms with near words in place of those that the index does not have. Where it has them all, and `all`
  /// is set, near words beside each of them. `nil` where nothing is near.
  func corrected(_ terms: [SearchTerm], all: Bool) async throws -> [SearchTerm]? {
    let answer = try await client.call("POST", searchPath, OpenSearchRequest.spelling(terms))
    let isKnown = terms.indices.map { index in
      (answer.body["aggregations"]?["t\(index)"]?["doc_count"]?.integer ?? 0) > 0
    }
    let candidates = terms.indices.map { index in
      (answer.body["suggest"]?["t\(index)"]?[0]?["options"]?.array ?? []).compactMap { $0["text"]?.string }
    }
    return Spelling.corrected(terms, isKnown: isKnown, candidates: candidates, all: all)
  }

  // MARK: Writing

  package func apply(_ documents: [SearchDocument]) async throws {
    for start in stride(from: 0, to: documents.count, by: Self.batch) {
      let batch = documents[start..<min(start + Self.batch, documents.count)]
      try await write(batch, to: alias)
      if let rebuilding { try await write(batch, to: rebuilding) }
    }
  }

  private func write(_ documents: ArraySlice<SearchDocument>, to index: String) async throws {
    var lines: [JSON] = []
    for document in documents {
      lines.append([
        "index": [
          "_id": .string(String(document.id)), "version": .integer(document.version),
          "version_type": "external",
        ]
      ])
      lines.append(OpenSearchRequest.source(document, writtenAt: Self.milliseconds()))
    }
    try await bulk(lines, to: index)
  }

  package func remove(_ ids: [Int]) async throws {
    for start in stride(from: 0, to: ids.count, by: Self.batch) {
      let lines = ids[start..<min(start + Self.batch, ids.count)].map { id -> JSON in
        ["delete": ["_id": .string(String(id))]]
      }
      try await bulk(lines, to: alias)
      if let rebuilding { try await bulk(lines, to: rebuilding) }
    }
  }

  /// To the alias: returns once searches find what was written. A write that is too late, or a delete of what is
  /// not there, counts as done.
  private func bulk(_ lines: [JSON], to index: String) async throws {
    // An index that is being built does not refresh by itself.
    let parameters = index == alias ? "?refresh=wait_for&require_alias=true" : ""
    let answer = try await client.bulk("/\(index)/_bulk\(parameters)", lines)
    guard answer.body["errors"]?.bool == true else { return }
    for item in answer.body["items"]?.array ?? [] {
      guard let result = item.members?.first?.value, let status = result["status"]?.integer else { continue }
      if (200..<300).contains(status) || status == 409 || status == 404 && result["error"] == nil { continue }
      let type = result["error"]?["type"]?.string ?? ""
      // 403: a rebuild holds up writers for a moment.
      throw SearchError(
        status == 429 || status == 403 || status >= 502 ? .unavailable : .unexpectedAnswer,
        "\(status) \(type)")
    }
  }

  package func indexedVersions(after id: Int, limit: Int) async throws -> [(id: Int, version: Int)] {
    try await versions(in: alias, after: id, limit: limit).map { ($0.id, $0.version) }
  }

  private typealias IndexedVersion = (id: Int, version: Int, writtenAt: Int)

  private func versions(in index: String, after id: Int, limit: Int) async throws -> [IndexedVersion] {
    let answer = try await client.call(
      "POST", "/\(index)/_search",
      [
        "size": .integer(min(limit, 10_000)), "query": ["range": ["id": ["gt": .integer(id)]]],
        "sort": [["id": "asc"]], "track_total_hits": false,
        // Columns: the documents themselves need not be read.
        "_source": false, "docvalue_fields": ["id", "version", "written_at"],
      ])
    return (answer.body["hits"]?["hits"]?.array ?? []).compactMap { hit in
      guard let fields = hit["fields"], let id = fields["id"]?[0]?.integer,
        let version = fields["version"]?[0]?.integer
      else { return nil }
      return (id, version, fields["written_at"]?[0]?.integer ?? 0)
    }
  }

  // MARK: Rebuild

  /// Fills a new index and swaps the alias to it, atomically. What other processes write meanwhile goes to the old
  /// one and is copied before the swap; for the last of it writers are held up for a moment, so that nothing that
  /// searches have seen is ever taken back.
  package func rebuild(_ batch: @LoopActor () async throws -> [SearchDocument]?) async throws {
    if rebuilding != nil { throw SearchError(.overloaded, "a rebuild is under way") }
    let started = Self.milliseconds()
    let index = "\(alias)-\(started)"
    rebuilding = index
    defer { rebuilding = nil }
    try await removeLeftovers(before: started - Self.rebuildLasts)
    // Refreshing while it is filled would only make small segments, for nobody to read.
    _ = try await client.call("PUT", "/\(index)", ["settings": ["index.refresh_interval": "-1"]])
    let old = try await current()
    do {
      while let documents = try await batch() {
        for start in stride(from: 0, to: documents.count, by: Self.batch) {
          try await write(documents[start..<min(start + Self.batch, documents.count)], to: index)
        }
      }
      _ = try await client.call("PUT", "/\(index)/_settings", try await operatorSettings())
      // Most of it first, while writers go on, so that they are held up for the rest only.
      try await copyChanges(to: index, since: started)
      for old in old { try await block(old, true) }
      try await copyChanges(to: index, since: started)
      var actions: [JSON] = [["add": ["index": .string(index), "alias": .string(alias)]]]
      for old in old { actions.append(["remove": ["index": .string(old), "alias": .string(alias)]]) }
      _ = try await client.call("POST", "/_aliases", ["actions": .array(actions)])
      logger.info("search index swapped", ["search.index": index])
      for old in old { _ = try await client.call("DELETE", "/\(old)", accepting: [404]) }
    } catch {
      if try await !current().contains(index) {
        for old in old { try? await block(old, false) }
        _ = try? await client.call("DELETE", "/\(index)", accepting: [404])
      }
      throw error
    }
  }

  private func block(_ index: String, _ isBlocked: Bool) async throws {
    _ = try await client.call(
      "PUT", "/\(index)/_settings", ["index.blocks.write": isBlocked ? true : .null], accepting: [404])
  }

  /// Copies from the index in use what is newer there than in `index`, and what came to be while that was filled.
  private func copyChanges(to index: String, since started: Int) async throws {
    for name in [alias, index] { _ = try await client.call("POST", "/\(name)/_refresh") }
    var last = Int.min
    while true {
      let page = try await versions(in: alias, after: last, limit: Self.pageOfVersions)
      guard let end = page.last?.id else { return }
      let copied = try await versions(in: index, after: last, through: end)
      let newer = page.filter { standing in
        copied[standing.id].map { $0 < standing.version } ?? (standing.writtenAt >= started)
      }
      for start in stride(from: 0, to: newer.count, by: Self.batch) {
        let ids = newer[start..<min(start + Self.batch, newer.count)].map { JSON.string(String($0.id)) }
        _ = try await client.call(
          "POST", "/_reindex?refresh=true",
          [
            "conflicts": "proceed",
            "source": ["index": .string(alias), "query": ["ids": ["values": .array(ids)]]],
            "dest": ["index": .string(index), "version_type": "external"],
          ])
      }
      last = end
    }
  }

  private static let pageOfVersions = 5_000

  private func versions(in index: String, after first: Int, through end: Int) async throws -> [Int: Int] {
    var found: [Int: Int] = [:]
    var last = first
    while last < end {
      let page = try await versions(in: index, after: last, limit: Self.pageOfVersions)
      for standing in page { found[standing.id] = standing.version }
      guard let id = page.last?.id else { break }
      last = id
    }
    return found
  }

  /// What operators may have changed of the index in use, for the one that takes its place.
  private func operatorSettings() async throws -> JSON {
    let answer = try await client.call("GET", "/\(alias)/_settings?flat_settings=true", accepting: [404])
    let settings = answer.body.members?.first?.value["settings"]
    let names = ["index.refresh_interval", "index.auto_expand_replicas", "index.number_of_replicas"]
    var kept = names.compactMap { name in settings?[name].map { (name: name, value: $0) } }
    // The new index has one of its own while it is filled, which must not stay.
    if settings?[names[0]] == nil { kept.append((names[0], .string(Self.refreshInterval))) }
    return .object(kept)
  }

  /// The indices behind the alias: one.
  private func current() async throws -> [String] {
    let answer = try await client.call("GET", "/_alias/\(alias)", accepting: [404])
    return answer.status == 404 ? [] : (answer.body.members ?? []).map(\.name)
  }

  /// Removes what rebuilds left that did not end.
  private func removeLeftovers(before limit: Int) async throws {
    let used = try await current()
    let answer = try await client.call("GET", "/\(alias)-*/_alias", accepting: [404])
    for (index, _) in answer.body.members ?? [] where index.hasPrefix(alias + "-") && !used.contains(index) {
      guard let created = Int(index.dropFirst(alias.count + 1)), created < limit else { continue }
      _ = try await client.call("DELETE", "/\(index)", accepting: [404])
    }
  }

  /// Milliseconds since 1970, for names only.
  private static func milliseconds() -> Int {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return now.tv_sec * 1_000 + now.tv_nsec / 1_000_000
  }
}
