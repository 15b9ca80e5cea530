import Sale

/// What is shown beside the facts of hits: where the query's words are in them, and what else might be asked. Made
/// from the hits' texts, so that it is the same whatever backend found them.
enum SearchPresentation {
  /// Characters of an excerpt, and of it before the first match.
  private static let excerpt = (length: 160, before: 40)
  /// Bytes of a description that are looked through.
  private static let searchedBytes = 4_000
  private static let suggestions = 5

  /// A hit with the text that is not shown whole.
  struct Found {
    var hit: SearchHit
    let description: String
  }

  /// - Parameters:
  ///   - total: of the matches, as far as they were counted: at least to one above `Limits.searchRanked`.
  ///   - terms: as they were searched for.
  ///   - isCorrected: whether they are not as they were typed.
  static func page(
    total: Int, _ found: [Found], nextCursor: String?, terms: [SearchTerm], isCorrected: Bool
  ) -> SearchPage {
    var page = SearchPage(
      total: min(total, Limits.searchRanked), isTotalExact: total <= Limits.searchRanked, hits: [],
      nextCursor: nextCursor)
    let suggests =
      (isCorrected || terms.last?.isPrefix == true) && !terms.contains { Script.isPiece($0.typed) }
    var counts: [String: Int] = [:]
    for each in found {
      var hit = each.hit
      if !terms.isEmpty {
        let description = String(each.description.utf8.prefix(searchedBytes)) ?? each.description
        let texts = [hit.name, hit.location, description]
        let matches = texts.map { Self.matches(in: $0, terms) }
        hit.highlights = highlights(texts, matches)
        if suggests, let suggestion = suggestion(texts, matches, terms) {
          counts[suggestion, default: 0] += 1
        }
      }
      page.hits.append(hit)
    }
    let typed = terms.map(\.typed).joined(separator: " ")
    page.suggestions = counts.filter { $0.key != typed }
      .sorted { ($1.value, $0.key) < ($0.value, $1.key) }.prefix(suggestions).map(\.key)
    return page
  }

  private struct Match {
    let range: Range<String.Index>
    let term: Int
  }

  private static func matches(in text: String, _ terms: [SearchTerm]) -> [Match] {
    SearchText.places(text).compactMap { place in
      terms.firstIndex { $0.matches(place.word) }.map { Match(range: place.range, term: $0) }
    }
  }

  // MARK: Highlights

  private static func highlights(_ texts: [String], _ matches: [[Match]]) -> [SearchHit.Highlight] {
    var found: [SearchHit.Highlight] = []
    if !matches[0].isEmpty {
      found.append(.init(.name, pieces(texts[0], matches[0], texts[0].startIndex..<texts[0].endIndex)))
    }
    if !matches[1].isEmpty {
      found.append(.init(.location, pieces(texts[1], matches[1], texts[1].startIndex..<texts[1].endIndex)))
    }
    // What the name and the place do not show already is what the description is quoted for.
    let shown = Set((matches[0] + matches[1]).map(\.term))
    if let first = matches[2].first(where: { !shown.contains($0.term) }) {
      found.append(.init(.description, excerpt(texts[2], matches[2], around: first.range)))
    }
    return found
  }

  private static func pieces(_ text: String, _ matches: [Match], _ shown: Range<String.Index>) -> [String] {
    var pieces: [String] = []
    var index = shown.lowerBound
    for match in matches where match.range.upperBound > index && match.range.upperBound <= shown.upperBound {
      if match.range.lowerBound <= index, !pieces.isEmpty {
        // Pairs of letters overlap.
        pieces[pieces.count - 1] += text[index..<match.range.upperBound]
      } else if match.range.lowerBound >= index {
        pieces += [String(text[index..<match.range.lowerBound]), String(text[match.range])]
      } else {
        continue
      }
      index = match.range.upperBound
    }
    if index < shown.upperBound { pieces.append(String(text[index..<shown.upperBound])) }
    return pieces
  }

  private static func excerpt(_ text: String, _ matches: [Match], around first: Range<String.Index>)
    -> [String]
  {
    var start =
      text.index(first.lowerBound, offsetBy: -excerpt.before, limitedBy: text.startIndex) ?? text.startIndex
    if start > text.startIndex {
      // At the beginning of a word.
      let blank = text[start..<first.lowerBound].firstIndex(of: " ")
      start = blank.map { text.index(after: $0) } ?? first.lowerBound
    }
    var end = text.index(start, offsetBy: excerpt.length, limitedBy: text.endIndex) ?? text.endIndex
    if end < text.endIndex {
      end = max(text[start..<end].lastIndex(of: " ") ?? end, first.upperBound)
    }
    var pieces = pieces(text, matches, start..<end)
    if start > text.startIndex { pieces[0] = "…" + pieces[0] }
    if end < text.endIndex {
      if pieces.count % 2 == 0 { pieces.append("…") } else { pieces[pieces.count - 1] += "…" }
    }
    return pieces
  }

  // MARK: Suggestions

  /// The query with the words of this hit in place of those that were unfinished or mistyped.
  private static func suggestion(_ texts: [String], _ matches: [[Match]], _ terms: [SearchTerm]) -> String? {
    var words: [String] = []
    for (index, term) in terms.enumerated() {
      if term.alternatives == [term.typed], !term.isPrefix {
        words.append(term.typed)
        continue
      }
      var word: String?
      for (text, found) in zip(texts, matches) {
        if let match = found.first(where: { $0.term == index }) {
          word = text[match.range].lowercased()
          break
        }
      }
      // A date is nowhere in the texts, and one word may stand for two of the query.
      words.append(word ?? term.typed)
    }
    let suggestion = words.joined(separator: " ")
    return suggestion.isEmpty ? nil : suggestion
  }
}
