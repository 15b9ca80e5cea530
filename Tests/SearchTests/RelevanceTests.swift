import EventLoop
import Search
import TestServers
import Testing

/// Whether people find the right concerts.
@Suite("Search relevance", .timeLimit(.minutes(10)))
@LoopActor
struct RelevanceTests {
  /// What somebody types, and words that every hit must have, in small letters.
  private static let queries: [(typed: String, has: [String])] = [
    ("beethovn carnegie", ["beethoven", "carnegie"]),
    ("dvorak", ["dvor"]),
    ("dvořák new world", ["dvor", "new world"]),
    ("mahler symphony 5", ["mahler", "symphony", "5"]),
    ("tchaikovski piano", ["tchaikovsky", "piano"]),
    ("brahms violin", ["brahms", "violin"]),
    ("bernstien", ["bernstein"]),
    ("avery fisher mozart", ["avery fisher", "mozart"]),
    ("philharmonic in the park", ["philharmonic", "park"]),
    ("schubert unfin", ["schubert", "unfinished"]),
  ]

  @Test("Every hit has what was looked for", arguments: Backend.available)
  func demo(backend: Backend) async throws {
    let index = try await backend.make()
    let concerts = try Concerts.demo()
    #expect(concerts.count == 300)
    try await index.apply(concerts)
    try await judge(index, concerts)
  }

  @Test(
    "Every hit has what was looked for, among 18,000",
    .enabled(if: Concerts.collection != nil, "the whole collection of concerts is not there"))
  func all() async throws {
    let index = try await Backend.postgresql.make()
    let concerts = try Concerts.all()
    try await index.apply(concerts)
    try await judge(index, concerts)
  }

  private func judge(_ index: any SearchIndex, _ concerts: [SearchDocument]) async throws {
    let byID = Dictionary(uniqueKeysWithValues: concerts.map { ($0.id, $0) })
    for (typed, words) in Self.queries {
      let page = try await index.search(SearchQuery(terms: typed, includeSoldOut: true))
      #expect(page.total > 0, "\(typed)")
      for hit in page.hits {
        guard let found = byID[hit.id] else { continue }
        let text = "\(found.name) \(found.location) \(found.description)".lowercased()
        for word in words { #expect(text.contains(word), "\(typed): \(found.name)") }
      }
    }
    let mahler = try await index.search(SearchQuery(terms: "mahler symphony 5", includeSoldOut: true)).hits
      .first
    let found = mahler.flatMap { byID[$0.id] }
    #expect(found?.name.contains("Mahler") == true)
    #expect(found?.description.lowercased().contains("symphony no. 5") == true)
  }

  @Test(
    "All backends find the same events in the same order",
    .enabled(if: Backend.available.count > 1, "there is only one backend to test"))
  func agreement() async throws {
    let concerts = try Concerts.demo()
    var answers: [[[Int]]] = []
    for backend in Backend.available {
      let index = try await backend.make()
      try await index.apply(concerts)
      var answer: [[Int]] = []
      for terms in Self.queries.map(\.typed) + ["new york", "hall", "s", "sym", "conducted by mahler", ""] {
        answer.append(try await index.find(terms))
      }
      answers.append(answer)
    }
    for answer in answers.dropFirst() { #expect(answer == answers[0]) }
  }
}
