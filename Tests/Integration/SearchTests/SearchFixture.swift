import EventLoop
import HTTPClient
import Logging
import Postgres
import Search
import TestDatabases
import TestServers
import Testing

/// What the conformance suite runs against.
enum SearchFixture: String, CaseIterable, Sendable, CustomTestStringConvertible {
  case postgresql, openSearch

  static let available = allCases.filter { $0 == .postgresql || TestOpenSearch.isAvailable }

  var testDescription: String { rawValue }

  /// An empty index of the test's own.
  @LoopActor
  func make() async throws -> any SearchIndex {
    let name = "search_\(UInt32.random(in: .min ... .max))"
    let logger = Logger(label: "test")
    switch self {
    case .postgresql:
      let postgres = try await Self.database()
      try await postgres.script(PostgresSearchIndex.schema)
      let index = PostgresSearchIndex(postgres)
      try await index.prepare()
      return index
    case .openSearch:
      let http = HTTPClient()
      let index = OpenSearchIndex(
        http, urls: [try TestOpenSearch.shared.url()], prefix: name, logger: logger)
      for attempt in 1... {
        do {
          try await index.prepare()
          break
        } catch let error as SearchError where error.code == .unavailable && attempt < 300 {
          // It is still starting.
          try await sleep(milliseconds: 200)
        }
      }
      return index
    }
  }

  @LoopActor
  static func database() async throws -> PostgresClient {
    try await TestDatabase.connect(try await TestDatabase.make(), connections: 3) {
      $0.sessionSettings = PostgresSearchIndex.sessionSettings
    }
  }
}

/// A document with what a test cares for.
func document(
  _ id: Int, _ name: String = "Event", at location: String = "Hall", _ description: String = "",
  date: Int = 0,
  price: ClosedRange<Int> = 100...200, currency: String = "USD", available: Int = 10, held: Int = 0,
  open: [(name: String, price: Int)] = [], version: Int = 1
) -> SearchDocument {
  SearchDocument(
    id: id, name: name, location: location, date: date, description: description, currency: currency,
    minPrice: price.lowerBound, maxPrice: price.upperBound, available: available, held: held,
    openSections: open.map { .init(name: $0.name, price: $0.price) }, onsaleState: "open", version: version)
}

extension SearchIndex {
  /// Ids that are found, in order.
  @LoopActor
  func find(_ terms: String, includeSoldOut: Bool = false) async throws -> [Int] {
    try await search(SearchQuery(terms: terms, includeSoldOut: includeSoldOut, limit: 100)).hits.map(\.id)
  }
}
