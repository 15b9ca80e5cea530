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

  @Test("Every hit has what was looked for", arguments: SearchFixture.available)
  func demo(backend: SearchFixture) async throws {
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
    let index = try await SearchFixture.postgresql.make()
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

  /// What must be reached, on average over the judged queries.
  private static let floors = (recall: 0.95, reciprocalRank: 0.85)

  @Test("The judgements are what stands in the concerts, and enough")
  func judgements() throws {
    let judgements = try Judgement.all()
    #expect(judgements.count >= 100)
    let keys = try Concerts.demoKeys()
    let texts = try Concerts.demo().map(Judgement.Text.init)
    for judgement in judgements {
      let right = zip(keys, texts).filter { judgement.isRight($0.1) }.map(\.0)
      #expect(Set(right) == judgement.keys, "\(judgement.typed)")
    }
  }

  @Test("Judged queries find the right concerts, and first", arguments: SearchFixture.available)
  func judged(backend: SearchFixture) async throws {
    try await judge(backend, try Concerts.demo(), "300 concerts")
  }

  @Test(
    "Judged queries find the right concerts among 18,000",
    .enabled(if: Concerts.collection != nil, "the whole collection of concerts is not there"),
    arguments: SearchFixture.available)
  func judgedAll(backend: SearchFixture) async throws {
    try await judge(backend, try Concerts.all(), "the whole collection")
  }

  private func judge(_ backend: SearchFixture, _ concerts: [SearchDocument], _ what: String) async throws {
    let index = try await backend.make()
    try await index.apply(concerts)
    let texts = concerts.map { (id: $0.id, text: Judgement.Text($0)) }
    var quality = Quality()
    for judgement in try Judgement.all() {
      let right = Set(texts.filter { judgement.isRight($0.text) }.map(\.id))
      // Only the demo's concerts have all that was judged.
      if right.isEmpty { continue }
      let page = try await index.search(
        SearchQuery(terms: judgement.typed, includeSoldOut: true, limit: 10))
      quality.add(judgement.typed, found: page.hits.map(\.id), right: right)
    }
    print("relevance of \(backend) on \(what): \(quality.text)")
    for typed in quality.imperfect { print("  not all right: \(typed)") }
    #expect(quality.recall >= Self.floors.recall)
    #expect(quality.reciprocalRank >= Self.floors.reciprocalRank)
  }

  @Test(
    "All backends find the same events in the same order",
    .enabled(if: SearchFixture.available.count > 1, "there is only one backend to test"))
  func agreement() async throws {
    let concerts = try Concerts.demo()
    var answers: [[[Int]]] = []
    for backend in SearchFixture.available {
      let index = try await backend.make()
      try await index.apply(concerts)
      var answer: [[Int]] = []
      let typed = try Judgement.all().map(\.typed)
      for terms in Self.queries.map(\.typed) + typed + [
        "new york", "hall", "s", "sym", "conducted by mahler", "",
      ] {
        answer.append(try await index.find(terms))
      }
      answers.append(answer)
    }
    for answer in answers.dropFirst() { #expect(answer == answers[0]) }
  }
}
