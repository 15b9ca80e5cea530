import EventLoop
import Sale

/// How both backends search: the words as they were typed, and only if they find nothing, as they may have been meant.
/// A cursor remembers which of both its pages are of.
@LoopActor
protocol SpellingSearch: SearchIndex {
  func page(
    _ query: SearchQuery, _ terms: [SearchTerm], _ cursor: SearchCursor?, isCorrected: Bool
  ) async throws -> SearchPage
  /// The words that the index has, nearest to these; `nil` if there are none.
  func corrected(_ terms: [SearchTerm], all: Bool) async throws -> [SearchTerm]?
}

extension SpellingSearch {
  func find(_ query: SearchQuery) async throws -> SearchPage {
    let cursor = query.cursor
    let terms = SearchText.terms(query.terms, atMost: Limits.searchWords)
    let asked = [query.terms, query.location, query.section].filter { !SearchText.isBlank($0) }
    // Somebody looks for something that has no word in it: it is nowhere, and not everywhere.
    if asked.contains(where: { SearchText.terms($0, atMost: 1).isEmpty }) {
      return SearchPage(total: 0, hits: [], nextCursor: nil)
    }
    if cursor?.isCorrected != true {
      let page = try await page(query, terms, cursor, isCorrected: false)
      if page.total > 0 || terms.isEmpty { return page }
    }
    guard let corrected = try await corrected(terms, all: !query.hasFilters) else {
      return SearchPage(total: 0, hits: [], nextCursor: nil)
    }
    return try await page(query, corrected, cursor, isCorrected: true)
  }
}
