import EventLoop
import HTTPClient
import JSON
import Postgres
import Sale
import TestServers
import Testing

@testable import Search

/// What every backend must do, the same way.
@Suite("Search backends", .timeLimit(.minutes(5)))
@LoopActor
struct ConformanceTests {
  @Test(
    "OpenSearch is among the backends tested",
    .enabled(
      if: TestOpenSearch.isAvailable,
      "set ONSALE_TEST_SEARCH_URL to an OpenSearch to test that backend too; it is skipped now"))
  func openSearch() {
    #expect(SearchFixture.available.contains(.openSearch))
  }

  @Test(
    "Words are found in name, place and description, and rank in this order",
    arguments: SearchFixture.available)
  func fields(backend: SearchFixture) async throws {
    let index = try await backend.make()
    try await index.apply([
      document(1, "An evening", at: "Hall", "Songs by Mahler"),
      document(2, "An evening", at: "Mahler Hall", "Songs"),
      document(3, "Mahler and friends", at: "Hall", "Songs"),
      document(4, "Mahler", at: "Hall", "Songs"),
      document(5, "Brahms", at: "Hall", "Songs"),
    ])
    #expect(try await index.find("mahler") == [4, 3, 2, 1])
    #expect(try await index.find("mahler brahms") == [])
    #expect(try await index.find("the mahler") == [4, 3, 2, 1], "words that say nothing are not needed")
  }

  @Test("Without words everything is found, in the order of dates", arguments: SearchFixture.available)
  func everything(backend: SearchFixture) async throws {
    let index = try await backend.make()
    #expect(try await index.search(SearchQuery()) == SearchPage(total: 0, hits: [], nextCursor: nil))
    try await index.apply([document(1, date: 300), document(2, date: -5_000_000_000), document(3, date: 300)])
    #expect(try await index.find("") == [2, 1, 3])
    #expect(try await index.find("   ") == [2, 1, 3])
    let page = try await index.search(SearchQuery(limit: 1))
    #expect(page.total == 3)
    #expect(
      page.hits == [
        SearchHit(
          id: 2, name: "Event", location: "Hall", date: -5_000_000_000, available: 10, held: 0, minPrice: 100,
          maxPrice: 200, currency: "USD", onsaleState: "open", version: 1)
      ])
  }

  @Test(
    "The last word may be unfinished, unless a blank follows it or it is a number",
    arguments: SearchFixture.available)
  func prefixes(backend: SearchFixture) async throws {
    let index = try await backend.make()
    try await index.apply([
      document(1, "Beethoven: Symphony No. 5"), document(2, "Beethoven: Symphony No. 55"),
      document(3, "Beet harvest"),
    ])
    #expect(try await index.find("beet") == [3, 1, 2], "the whole word first")
    #expect(try await index.find("beethoven sym") == [1, 2])
    #expect(try await index.find("beet ") == [3])
    #expect(try await index.find("symphony 5") == [1])
    #expect(try await index.find("beethoven") == [1, 2])
  }

  @Test("Diacritics and case do not matter, on either side", arguments: SearchFixture.available)
  func diacritics(backend: SearchFixture) async throws {
    let index = try await backend.make()
    try await index.apply([
      document(1, "Antonín Dvořák: Rusalka"), document(2, "Dvorak evening"),
      document(3, "Lutosławski, Œuvres, Straße, Grieg på Bærum, Ιάνης Ξενάκης"),
      document(4, "Dvor\u{30C}a\u{301}k, decomposed"),
    ])
    #expect(try await index.find("dvorak") == [1, 2, 4])
    #expect(try await index.find("DVOŘÁK") == [1, 2, 4])
    #expect(try await index.find("Dvor\u{30C}a\u{301}k") == [1, 2, 4])
    for word in ["lutoslawski", "oeuvres", "strasse", "STRASSE", "baerum", "ξενακης", "Ξενάκης"] {
      #expect(try await index.find(word) == [3], "\(word)")
    }
  }

  @Test("Mistyped words are corrected where nothing else is found", arguments: SearchFixture.available)
  func typos(backend: SearchFixture) async throws {
    let index = try await backend.make()
    try await index.apply([
      document(1, "Beethoven", at: "Carnegie Hall"), document(2, "Tchaikovsky", at: "Avery Fisher Hall"),
      document(3, "Dvořák", at: "Carnegie Hall", "Mahler"), document(4, "Haydn", at: "Hayden Room"),
    ])
    for (typed, found) in [
      ("beethovn carnegie", [1]), ("beethovn carneg", [1]), ("bethoven", [1]), ("beehtoven", [1]),
      ("tchaikovski", [2]), ("chaikovsky avery", [2]), ("dvroak", [3]), ("dvorka", [3]), ("mahlr", [3]),
      ("carnegei", [1, 3]), ("bethove", [1]), ("xylophone", []), ("xyz", []), ("beethoven xqzxq", []),
    ] {
      #expect(try await index.find(typed) == found, "\(typed)")
    }
    let filtered = try await index.search(SearchQuery(terms: "beethovn", location: "avery"))
    #expect(filtered.hits.isEmpty)
    #expect(filtered.total == 0)
  }

  @Test(
    "Words that follow each other in the text rank above the same words apart",
    arguments: SearchFixture.available)
  func neighbours(backend: SearchFixture) async throws {
    let index = try await backend.make()
    try await index.apply([
      document(1, "Evening", "Symphony No. 1, Concerto No. 5"), document(2, "Evening", "Symphony No. 5"),
      document(3, "Evening", "Concerto No. 5 after the symphony"),
    ])
    #expect(try await index.find("symphony 5") == [2, 1, 3])
    // Neighbours are within one text, not across its end.
    try await index.apply([
      document(4, "Grieg", at: "Oslo", "Bergen"),
      document(5, "Oslo evening", at: "Grieg Hall", "Bergen", date: -1),
    ])
    #expect(try await index.find("grieg oslo") == [5, 4])
  }

  @Test("Words in quotation marks follow each other", arguments: SearchFixture.available)
  func phrases(backend: SearchFixture) async throws {
    let index = try await backend.make()
    try await index.apply([
      document(1, "Symphony from the New World"), document(2, "World premiere of a new symphony"),
      document(3, "New works of the old world"),
    ])
    #expect(try await index.find("new world") == [1, 2, 3])
    #expect(try await index.find("\"new world\"") == [1])
    #expect(try await index.find("symphony “the new world”") == [1])
    #expect(try await index.find("\"new world") == [1, 2, 3], "an open one is none yet")
    #expect(try await index.find("\"premiere of a\" symphony") == [2])
    #expect(try await index.find("\"world new\"").isEmpty)
  }

  @Test("Dates are found as people write them", arguments: SearchFixture.available)
  func dates(backend: SearchFixture) async throws {
    let index = try await backend.make()
    // 2031-12-07 19:30, 2031-12-08 01:00, which is the evening before in New York, and 2031-05-01 18:00, in UTC.
    var evening = document(2, "Mahler", date: 1_954_458_000)
    evening.zone = try #require(VenueZone("America/New_York"))
    try await index.apply([
      document(1, "Mahler 7", date: 1_954_438_200), evening, document(3, "Brahms", date: 1_935_424_800),
    ])
    for terms in ["7 december", "december 7", "dec 7th 2031", "7 Dec 2031", "2031-12-07"] {
      #expect(try await index.find(terms) == [1, 2], "\(terms)")
    }
    #expect(try await index.find("8 december 2031").isEmpty)
    #expect(try await index.find("december 2031") == [1, 2])
    #expect(try await index.find("mahler decem") == [1, 2])
    #expect(try await index.find("may 2031") == [3])
    #expect(try await index.find("mahler 7") == [1], "a number alone is no day")
    #expect(try await index.find("9 december").isEmpty, "and not corrected to another")
  }

  @Test("Dates are those of the venue's clock", arguments: SearchFixture.available)
  func localDates(backend: SearchFixture) async throws {
    let index = try await backend.make()
    // 2032-12-09 01:15 and 04:59:59 in UTC, which are the evening before in New York; midnight of the 9th there.
    var evening = document(1, "Mahler", date: 1_986_167_700), night = document(2, "Jazz", date: 1_986_181_199)
    var midnight = document(3, "Matinee", date: 1_986_181_200),
      utc = document(4, "Brahms", date: 1_986_167_700)
    let newYork = try #require(VenueZone("America/New_York"))
    (evening.zone, night.zone, midnight.zone) = (newYork, newYork, newYork)
    utc.onsaleAt = 1_900_000_000
    try await index.apply([evening, night, midnight, utc])
    #expect(try await index.find("8 december 2032") == [1, 2])
    #expect(try await index.find("9 december 2032") == [4, 3])
    let day = 1_986_163_200, dayBefore = day - 86_400
    func ids(_ from: Int?, _ to: Int?) async throws -> [Int] {
      try await index.search(SearchQuery(fromDay: from, toDay: to)).hits.map(\.id)
    }
    #expect(try await ids(dayBefore, dayBefore) == [1, 2])
    #expect(try await ids(day, day) == [4, 3])
    #expect(try await ids(nil, dayBefore) == [1, 2])
    #expect(try await ids(day, nil) == [4, 3])
    let hits = try await index.search(SearchQuery()).hits
    #expect(hits.map(\.timeZone) == ["America/New_York", "UTC", "America/New_York", "America/New_York"])
    #expect(hits.map(\.onsaleAt) == [nil, 1_900_000_000, nil, nil])
    // The place of an event turns out to be another.
    evening.zone = .utc
    evening.version = 2
    try await index.apply([evening])
    #expect(try await index.find("8 december 2032") == [2])
  }

  @Test(
    "Moved events are found by their new date, and those without one come last",
    arguments: SearchFixture.available)
  func moved(backend: SearchFixture) async throws {
    let index = try await backend.make()
    let may = 1_968_000_000, june = 1_970_600_000
    var documents = [1, 2, 3].map { document($0, "Mahler", date: may + $0) }
    documents[1].date = june
    documents[1].dateWas = may
    documents[1].locationWas = "Other Hall"
    documents[0].isPostponed = true
    try await index.apply(documents)
    for terms in ["", "mahler"] {
      #expect(try await index.find(terms) == [3, 2, 1], "\(terms)")
      var query = SearchQuery(terms: terms, limit: 1)
      var found: [SearchHit] = []
      repeat {
        let page = try await index.search(query)
        found += page.hits
        query.cursor = page.nextCursor.flatMap { SearchCursor($0) }
      } while query.cursor != nil
      #expect(found.map(\.id) == [3, 2, 1], "page by page: \(terms)")
      #expect(
        found.map(\.date) == [may + 3, june, may + 1], "what is shown is the date that it was to be on")
      #expect(found.map(\.isPostponed) == [false, false, true])
      #expect(
        found.map(\.dateWas) == [nil, may, nil] && found.map(\.locationWas) == [nil, "Other Hall", nil])
    }
    let ranges = [SearchQuery(from: may + 4), SearchQuery(to: may + 2), SearchQuery(fromDay: june - 86_400)]
    let expected = [[2, 1], [], [2, 1]]
    for (query, ids) in zip(ranges, expected) {
      #expect(try await index.search(query).hits.map(\.id) == ids, "\(query)")
    }
    // 12 May 2032, 11 June 2032.
    #expect(try await index.find("12 may 2032") == [3])
    #expect(try await index.find("11 june 2032") == [2])
    // A change of these alone is one of counts: the texts are as they were.
    documents[1].locationWas = nil
    documents[1].version = 2
    try await index.apply([documents[1]])
    #expect(try await index.search(SearchQuery()).hits.first { $0.id == 2 }?.locationWas == nil)
  }

  @Test(
    "What is on sale comes first, then what is going to be, then the rest", arguments: SearchFixture.available
  )
  func standing(backend: SearchFixture) async throws {
    let index = try await backend.make()
    var documents = (1...6).map { document($0, "Mahler", date: $0 * 100) }
    documents[0].onsaleState = "closed"
    documents[1].onsaleState = "draft"
    documents[2].available = 0
    documents[4].onsaleState = "paused"
    try await index.apply(documents)
    for terms in ["", "mahler"] {
      #expect(try await index.find(terms, includeSoldOut: true) == [4, 5, 6, 2, 1, 3], "\(terms)")
      var query = SearchQuery(terms: terms, includeSoldOut: true, limit: 1)
      var found: [Int] = []
      repeat {
        let page = try await index.search(query)
        found += page.hits.map(\.id)
        query.cursor = page.nextCursor.flatMap { SearchCursor($0) }
      } while query.cursor != nil
      #expect(found == [4, 5, 6, 2, 1, 3], "page by page: \(terms)")
    }
    documents[1].onsaleState = "open"
    documents[1].version = 2
    try await index.apply([documents[1]])
    #expect(try await index.find("") == [2, 4, 5, 6, 1])
  }

  @Test("A price is one in a currency", arguments: SearchFixture.available)
  func currencies(backend: SearchFixture) async throws {
    let index = try await backend.make()
    var yen = document(1, price: 8_800...9_900), dollars = document(2, price: 8_800...9_900)
    yen.currency = "JPY"
    dollars.date = 1
    try await index.apply([yen, dollars])
    func ids(_ query: SearchQuery) async throws -> [Int] { try await index.search(query).hits.map(\.id) }
    #expect(try await ids(SearchQuery(maxPrice: 10_000, currency: "USD")) == [2])
    #expect(try await ids(SearchQuery(maxPrice: 10_000, currency: "JPY")) == [1])
    #expect(try await ids(SearchQuery(currency: "EUR")) == [])
    #expect(try await ids(SearchQuery(maxPrice: 10_000)) == [1, 2], "in minor units of whichever")
  }

  @Test("Words inside texts without blanks are found, and nothing else", arguments: SearchFixture.available)
  func unspaced(backend: SearchFixture) async throws {
    let index = try await backend.make()
    try await index.apply([
      document(1, "東京フィルハーモニー交響楽団", at: "サントリーホール"),
      document(2, "วงดุริยางค์ซิมโฟนีกรุงเทพ", at: "ศูนย์วัฒนธรรมแห่งประเทศไทย"),
      document(3, "서울시립교향악단 정기연주회", at: "예술의전당"), document(4, "京都市交響楽団 第9番", at: "京都コンサートホール"),
      document(5, "中国国家交响乐团", at: "北京音乐厅"), document(6, "Tokyo Philharmonic", at: "Tokyo"),
      document(7, "ការប្រគំតន្ត្រី", at: "ភ្នំពេញ"),
    ])
    for (terms, found) in [
      ("東京", [1]), ("フィル", [1]), ("ハーモニー", [1]), ("交響楽団", [1, 4]), ("京", [1, 4, 5]), ("団", [1, 4]),
      ("東京フィルハーモニー交響楽団", [1]), ("ホール", [1, 4]), ("ﾌｨﾙ", [1]), ("東響", []), ("団楽", []), ("京東", []),
      ("東京 交響", [1]), ("京都 第9番", [4]), ("ซิมโฟนี", [2]), ("กรุงเทพ", [2]), ("วัฒนธรรม", [2]), ("เทพกรุง", []),
      ("교향악단", [3]), ("연주회", [3]), ("서울", [3]), ("音乐", [5]), ("交响乐团", [5]), ("ភ្នំពេញ", [7]), ("ប្រគំ", [7]),
      ("ポップ", []), ("\"東京フィル\"", [1]), ("\"交響楽団\"", [1, 4]),
    ] {
      #expect(try await index.find(terms).sorted() == found, "\(terms)")
    }
    #expect(try await index.search(SearchQuery(location: "コンサート")).hits.map(\.id) == [4])
    let hit = try await index.search(SearchQuery(terms: "フィルハー")).hits.first
    #expect(hit?.highlights == [.init(.name, ["東京", "フィルハー", "モニー交響楽団"])])
  }

  @Test("Signs find the name that consists of them, or nothing", arguments: SearchFixture.available)
  func signs(backend: SearchFixture) async throws {
    let index = try await backend.make()
    try await index.apply([
      document(1, "!!!", at: "Hall"), document(2, "I ♥ Huckabees: live", at: "Hall"),
      document(3, "Mahler", at: "Hall"),
      document(4, "Brahms & Mahler – a dialogue!", at: "Hall"), document(5, "P!nk", at: "Hall"),
    ])
    for (terms, found) in [
      ("!!!", [1]), ("!!", []), ("!", []), ("♥", [2]), ("☆", []), ("&", []), ("–", []), (" ,;  ", []),
      ("\"\"", []),
      ("%%%", []), ("🎻", []), ("\u{200b}", []), ("p!nk", [5]), ("mahler !!!", [3, 4]), ("i ♥ huck", [2]),
      ("\"brahms mahler\"", [4]),
    ] {
      #expect(try await index.find(terms).sorted() == found, "\(terms)")
    }
    #expect(try await index.search(SearchQuery(location: "!!!")).total == 0)
    #expect(try await index.search(SearchQuery(section: "???")).total == 0)
    #expect(
      try await index.search(SearchQuery(terms: "!!!")).hits.first?.highlights == [.init(.name, ["", "!!!"])])
  }

  @Test(
    "Letters with signs find the name that they make, and never everything",
    arguments: SearchFixture.available)
  func signedNames(backend: SearchFixture) async throws {
    let index = try await backend.make()
    let names = [
      "C++ live coding", "Concerto in C major", "C# for pianists", "Chamber music: Caldara, Corelli", "+44",
      "Opus 44 for cello", "$ign of the times", "Ignaz Holzbauer: signs", "AC/DC", "A dance with Dcera",
      "P!nk", "Pink noise and punk", "R&B night", "Roots, reggae & blues", "*NSYNC", "Ke$ha", "Kehaya",
      "Jazz+Blues", "M*A*S*H", "Mash", "Wham!", "U.S. Girls", "Uchida plays Satie", "The The",
      "Theatre of the absurd", "A", "\u{697D}\u{5718}", "\u{97F3}\u{697D}\u{4F1A}", "\u{6771}\u{4EAC}",
      "Die \u{C4}rzte", "QQ Music", "I \u{2665} NY",
    ]
    try await index.apply(names.enumerated().map { document($0.offset + 1, $0.element, at: "Hall") })
    for (terms, found) in [
      ("C++", ["C++ live coding"]), ("c++ live", ["C++ live coding"]), ("(C++)", ["C++ live coding"]),
      ("c+", ["C++ live coding"]), ("C#", ["C# for pianists"]), ("C", ["Concerto in C major"]),
      ("C--", ["Concerto in C major"]),
      ("+44", ["+44"]), ("44", ["Opus 44 for cello"]), ("$ign", ["$ign of the times"]),
      ("$i", ["$ign of the times"]),
      ("ign", ["$ign of the times", "Ignaz Holzbauer: signs"]), ("AC/DC", ["AC/DC"]), ("ac dc", ["AC/DC"]),
      ("P!nk", ["P!nk"]), ("p!n", ["P!nk"]), ("R&B", ["R&B night"]), ("*nsync", ["*NSYNC"]),
      ("nsync", ["*NSYNC"]),
      ("ke$ha", ["Ke$ha"]), ("Jazz+Blues", ["Jazz+Blues"]), ("blues jazz", ["Jazz+Blues"]),
      ("M*A*S*H", ["M*A*S*H"]), ("wham!", ["Wham!"]), ("wham", ["Wham!"]), ("Wham!!!", ["Wham!"]),
      ("U.S.", ["U.S. Girls"]), ("the", ["The The", "Theatre of the absurd", "$ign of the times"]),
      ("a", ["A", "A dance with Dcera"]), ("b", ["R&B night"]), ("x", []),
      ("\u{697D}", ["\u{697D}\u{5718}", "\u{97F3}\u{697D}\u{4F1A}"]),
      ("\u{4EAC}", ["\u{6771}\u{4EAC}"]), ("\u{6A02}", []), ("$20", []), ("20\u{20AC}", []), ("#", []),
      ("@", []),
      ("+", []), ("$", []), ("C++?!", ["C++ live coding"]), ("qq", ["QQ Music"]), ("+mahler", []),
      ("*mash*", ["Mash"]), ("#mash", ["Mash"]), ("\u{C4}", ["A", "A dance with Dcera"]), ("D++", []),
    ] as [(String, [String])] {
      let page = try await index.search(SearchQuery(terms: terms, limit: 50))
      #expect(page.hits.map(\.name).sorted() == found.sorted(), "\(terms)")
    }
    #expect(try await index.search(SearchQuery(location: "h")).total == 0)
    #expect(try await index.search(SearchQuery(location: "hall")).total == names.count)
    let shown = try await index.search(SearchQuery(terms: "c++")).hits.first?.highlights
    #expect(shown == [.init(.name, ["", "C++", " live coding"])])
  }

  @Test("Only sections with tickets left count", arguments: SearchFixture.available)
  func sections(backend: SearchFixture) async throws {
    let index = try await backend.make()
    try await index.apply([
      document(1, price: 1_000...9_000, open: [("Balcony, left", 3_000), ("Stalls", 9_000)]),
      document(2, price: 1_000...9_000, open: [("Balcony", 1_000)]),
      document(3, price: 1_000...9_000, available: 0, held: 2),
    ])
    func ids(_ query: SearchQuery) async throws -> [Int] { try await index.search(query).hits.map(\.id) }
    #expect(try await ids(SearchQuery(section: "balcony")) == [1, 2])
    #expect(try await ids(SearchQuery(section: "left balc")) == [1])
    #expect(try await ids(SearchQuery(section: "alcony")) == [])
    #expect(try await ids(SearchQuery(section: "stalls")) == [1])
    #expect(try await ids(SearchQuery(maxPrice: 2_000)) == [2, 3], "the cheapest that is left")
    #expect(try await ids(SearchQuery(maxPrice: 2_000, includeSoldOut: true)) == [1, 2, 3])
    #expect(try await ids(SearchQuery(maxPrice: 2_000, section: "balcony")) == [2])
    // The counts move on, and the sections with them.
    try await index.apply([
      document(1, price: 1_000...9_000, open: [("Stalls", 9_000)], version: 2),
      document(2, price: 1_000...9_000, available: 0, held: 1, version: 2),
    ])
    #expect(try await ids(SearchQuery(section: "balcony")) == [])
    #expect(try await ids(SearchQuery(section: "stalls")) == [1])
  }

  @Test("Hits show where the words are", arguments: SearchFixture.available)
  func highlights(backend: SearchFixture) async throws {
    let index = try await backend.make()
    try await index.apply([
      document(
        1, "Antonín Dvořák: Rusalka", at: "Carnegie Hall",
        "An opera in three acts, sung in Czech with titles in English. With Renée Fleming and others.")
    ])
    func highlights(_ terms: String) async throws -> [SearchHit.Highlight] {
      try await index.search(SearchQuery(terms: terms)).hits.first?.highlights ?? []
    }
    #expect(
      try await highlights("dvorak carneg") == [
        .init(.name, ["Antonín ", "Dvořák", ": Rusalka"]), .init(.location, ["", "Carnegie", " Hall"]),
      ])
    #expect(
      try await highlights("fleming rusalka") == [
        .init(.name, ["Antonín Dvořák: ", "Rusalka"]),
        .init(.description, ["…with titles in English. With Renée ", "Fleming", " and others."]),
      ])
    #expect(try await highlights("dvorka") == [.init(.name, ["Antonín ", "Dvořák", ": Rusalka"])])
    #expect(try await highlights("") == [])
  }

  @Test("What may have been meant is suggested", arguments: SearchFixture.available)
  func suggestions(backend: SearchFixture) async throws {
    let index = try await backend.make()
    try await index.apply([
      document(1, "Beethoven symphony", at: "Carnegie Hall"), document(2, "Beethoven sonata"),
      document(3, "Beethoven symphony"), document(4, "Dvořák"),
    ])
    func suggestions(_ terms: String) async throws -> [String] {
      try await index.search(SearchQuery(terms: terms)).suggestions
    }
    #expect(try await suggestions("beet") == ["beethoven"])
    #expect(try await suggestions("beethoven s") == ["beethoven symphony", "beethoven sonata"])
    #expect(try await suggestions("beethovn carnegie") == ["beethoven carnegie"])
    #expect(try await suggestions("dvor") == ["dvořák"])
    #expect(try await suggestions("beethoven ") == [])
    #expect(try await suggestions("xylophone") == [])
  }

  @Test("Filters narrow, each and together", arguments: SearchFixture.available)
  func filters(backend: SearchFixture) async throws {
    let index = try await backend.make()
    try await index.apply([
      document(1, "Mahler", at: "Carnegie Hall, Manhattan, NY", date: 100, price: 1_000...9_000),
      document(2, "Mahler", at: "Lincoln Center, Manhattan, NY", date: 200, price: 2_000...3_000),
      document(3, "Mahler", at: "Carnegie Hall, Pittsburgh, PA", date: 300, price: 500...500, available: 0),
      document(4, "Mahler", at: "Musikverein, Wien", date: 400, available: 0, held: 2),
    ])
    func ids(_ query: SearchQuery) async throws -> [Int] {
      let page = try await index.search(query)
      #expect(page.total == page.hits.count)
      return page.hits.map(\.id)
    }
    #expect(try await ids(SearchQuery()) == [1, 2, 4], "sold out ones are left out, held ones may come back")
    #expect(try await ids(SearchQuery(includeSoldOut: true)) == [1, 2, 4, 3], "and last")
    #expect(try await ids(SearchQuery(from: 200)) == [2, 4])
    #expect(try await ids(SearchQuery(to: 200)) == [1, 2])
    #expect(try await ids(SearchQuery(from: 101, to: 199)) == [])
    #expect(try await ids(SearchQuery(location: "manhattan")) == [1, 2])
    #expect(try await ids(SearchQuery(location: "Hall, Carneg")) == [1])
    #expect(try await ids(SearchQuery(location: "mahler")) == [], "only the place counts")
    #expect(try await ids(SearchQuery(maxPrice: 1_000)) == [1, 4])
    #expect(try await ids(SearchQuery(maxPrice: 999)) == [4])
    #expect(try await ids(SearchQuery(maxPrice: 999, currency: "USD")) == [4])
    #expect(try await ids(SearchQuery(maxPrice: 999, currency: "JPY")) == [])
    #expect(
      try await ids(
        SearchQuery(terms: "mahler", to: 300, location: "carnegie", maxPrice: 999, includeSoldOut: true)) == [
          3
        ])
  }

  @Test(
    "Pages show every event once, in order, also while others are indexed", arguments: SearchFixture.available
  )
  func pages(backend: SearchFixture) async throws {
    let index = try await backend.make()
    let documents = (1...60).map { id in
      document(id, id % 3 == 0 ? "Mahler" : "Songs", "mahler", date: id % 7)
    }
    try await index.apply(documents)
    for terms in ["", "mahler", "mahlr"] {
      let whole = try await index.find(terms)
      #expect(whole.count == 60)
      var seen: [Int] = []
      var query = SearchQuery(terms: terms, limit: 7)
      var pages = 0
      repeat {
        let page = try await index.search(query)
        #expect(page.total >= 60)
        seen += page.hits.map(\.id).filter { $0 <= 60 }
        query.cursor = page.nextCursor.flatMap { SearchCursor($0) }
        pages += 1
        // Each arrives somewhere in the order, before or behind where we are.
        try await index.apply([document(1_000 + pages, "Mahler", date: pages % 7, version: pages)])
      } while query.cursor != nil && pages < 100
      #expect(seen == whole, "\(terms)")
      try await index.remove((1...pages).map { 1_000 + $0 })
    }
  }

  @Test(
    "Where too many match to be ranked, they are listed by date, page by page, and counted no further",
    arguments: SearchFixture.available)
  func tooMany(backend: SearchFixture) async throws {
    let index = try await backend.make()
    let count = Limits.searchRanked + 50
    try await index.apply(
      (1...count).map { id in
        // The last of them would be first by score.
        document(
          id, id == count ? "Mahler" : "Songs", at: id % 2 == 0 ? "Wien" : "York", "mahler", date: id % 1_000)
      })
    let inOrder = (1...count).sorted { ($0 % 1_000, $0) < ($1 % 1_000, $1) }
    for terms in ["", "mahler", "mahl", "mahlr"] {
      var seen: [Int] = []
      var query = SearchQuery(terms: terms, limit: 100)
      for _ in 0..<5 {
        let page = try await index.search(query)
        #expect(page.total == Limits.searchRanked && !page.isTotalExact)
        seen += page.hits.map(\.id)
        query.cursor = page.nextCursor.flatMap { SearchCursor($0) }
      }
      #expect(seen == Array(inOrder.prefix(500)), "\(terms)")
    }
    // With a filter it is few enough to rank them.
    let first = try await index.search(SearchQuery(terms: "mahler", location: "wien", limit: 1))
    #expect(first.hits.map(\.id) == [count])
    #expect(first.total == count / 2 && first.isTotalExact)
    // Those that begin by score go on so, though more match by now.
    var query = SearchQuery(terms: "mahler", location: "wien", limit: 2)
    let page = try await index.search(query)
    query.cursor = page.nextCursor.flatMap { SearchCursor($0) }
    try await index.apply(
      (1...count).map { document(100_000 + $0, "Songs", at: "Wien", "mahler", date: 5_000) })
    let next = try await index.search(query)
    #expect(next.hits.map(\.id) == inOrder.filter { $0 % 2 == 0 && $0 != count }.prefix(3).suffix(2))
    #expect(!next.isTotalExact)
  }

  @Test("Pages go on behind a cursor, also behind the last hit", arguments: SearchFixture.available)
  func behindCursors(backend: SearchFixture) async throws {
    let index = try await backend.make()
    try await index.apply([document(1), document(2)])
    let last = try await index.search(SearchQuery(cursor: SearchCursor("e0.0.0.1")))
    #expect(last.hits.map(\.id) == [2])
    #expect(last.total == 2)
    #expect(last.nextCursor == nil)
    let behind = try await index.search(SearchQuery(cursor: SearchCursor("e0.0.0.2")))
    #expect(behind.hits.isEmpty && behind.total == 2)
  }

  @Test("Late writes lose", arguments: SearchFixture.available)
  func versions(backend: SearchFixture) async throws {
    let index = try await backend.make()
    try await index.apply([document(1, "First", version: 5)])
    try await index.apply([document(1, "Late", available: 1, version: 4)])
    try await index.apply([document(1, "Same", available: 1, version: 5)])
    #expect(try await index.search(SearchQuery()).hits.map(\.name) == ["First"])
    #expect(try await index.find("late") == [])
    // Only the counts move.
    try await index.apply([document(1, "First", available: 3, held: 4, version: 6)])
    let hit = try await index.search(SearchQuery(terms: "first")).hits.first
    #expect(hit?.available == 3 && hit?.held == 4)
    // The text moves too.
    try await index.apply([document(1, "Second", available: 2, version: 7), document(2, "Other")])
    #expect(try await index.find("first") == [])
    #expect(try await index.find("second") == [1])
    // The newest of one batch wins, wherever it stands.
    try await index.apply([
      document(1, "Ninth", version: 9), document(1, "Tenth", version: 10), document(1, "Eighth", version: 8),
    ])
    #expect(try await index.find("tenth") == [1])
    #expect(try await index.indexedVersions(after: 0, limit: 10).map(\.version) == [10, 1])
    try await index.apply([])
  }

  @Test("Removed events are not found any more", arguments: SearchFixture.available)
  func removing(backend: SearchFixture) async throws {
    let index = try await backend.make()
    try await index.apply([document(1, "Mahler"), document(2, "Mahler")])
    try await index.remove([1, 77])
    try await index.remove([])
    #expect(try await index.find("mahler") == [2])
    try await index.apply([document(1, "Mahler", version: 9)])
    #expect(try await index.find("mahler") == [1, 2])
  }

  @Test("The indexed versions are listed in pages", arguments: SearchFixture.available)
  func listing(backend: SearchFixture) async throws {
    let index = try await backend.make()
    try await index.apply((1...25).map { document($0 * 2, version: $0) })
    var all: [Int: Int] = [:]
    var last = 0
    while true {
      let page = try await index.indexedVersions(after: last, limit: 10)
      #expect(page.map(\.id) == page.map(\.id).sorted())
      for (id, version) in page { all[id] = version }
      guard let end = page.last?.id else { break }
      last = end
    }
    #expect(all == Dictionary(uniqueKeysWithValues: (1...25).map { ($0 * 2, $0) }))
  }

  @Test(
    "A rebuild replaces the index while it is searched, and takes out what is gone",
    arguments: SearchFixture.available)
  func rebuilding(backend: SearchFixture) async throws {
    let index = try await backend.make()
    try await index.apply((1...6).map { document($0, "Mahler", version: 5) })
    var batches = [
      [document(1, "Mahler", version: 5), document(2, "Brahms", version: 6)],
      [document(4, "Mahler", version: 5), document(5, "Mahler", version: 4)],
    ]
    try await index.rebuild {
      #expect(try await !index.find("mahler").isEmpty)
      // What comes meanwhile is newer than what the rebuild read.
      if batches.count == 1 { try await index.apply([document(4, "Bruckner", version: 8)]) }
      return batches.isEmpty ? nil : batches.removeFirst()
    }
    #expect(try await index.find("") == [1, 2, 4, 5])
    #expect(try await index.find("mahler") == [1, 5])
    #expect(try await index.find("brahms") == [2])
    #expect(try await index.find("bruckner") == [4])
    try await index.apply([document(3, "Mahler", version: 1)])
    #expect(try await index.find("mahler") == [1, 3, 5])
  }

  @Test("A rebuild that fails leaves what was there", arguments: SearchFixture.available)
  func failedRebuild(backend: SearchFixture) async throws {
    struct Failure: Error {}
    let index = try await backend.make()
    try await index.apply([document(1, "Mahler"), document(2, "Mahler")])
    var calls = 0
    await #expect(throws: Failure.self) {
      try await index.rebuild {
        calls += 1
        if calls == 2 { throw Failure() }
        return [document(1, "Mahler")]
      }
    }
    #expect(try await index.find("mahler") == [1, 2])
    try await index.rebuild { nil }
    #expect(try await index.find("mahler") == [])
  }

  @Test(
    "Everything is listed from an index of dates, and counting ends where it is known to be much"
  )
  func plan() async throws {
    let postgres = try await SearchFixture.database()
    try await postgres.script(PostgresSearchIndex.schema)
    try await PostgresSearchIndex(postgres).apply(
      (1...12_000).map { document($0, "Mahler", date: $0, available: $0 % 2) })
    _ = try await postgres.query("ANALYZE search_document_v5")
    let query = SearchQuery(from: 100)
    let statement = PostgresSearchStatement(query, [], phrases: [], SearchCursor("e0.0.1jk.1")).sql
    let plan = try await postgres.query("EXPLAIN (ANALYZE, TIMING off, COSTS off) \(statement)")
      .map { try $0.string("QUERY PLAN") }
    let text = plan.joined(separator: "\n")
    #expect(text.contains("using search_document_v5_left_by_date"), "\(text)")
    // No step reads more rows than are counted.
    let rows = plan.compactMap { $0.firstMatch(of: /actual rows=(\d+)/).flatMap { Int($0.1) } }
    #expect(rows.max() == Limits.searchRanked + 1, "\(text)")
  }

  @Test("A version's tables stand beside those of the one before, until they are cleaned up")
  func tables() async throws {
    let postgres = try await SearchFixture.database()
    let old = ["search_text", "search_document", "search_word", "search_document_v2", "search_word_v2"]
    for table in old { try await postgres.script("CREATE TABLE \(table) AS SELECT 1 AS id") }
    try await postgres.script(
      "CREATE FUNCTION search_similar_words(a text, b int) RETURNS int LANGUAGE sql AS 'SELECT 1'")
    try await postgres.script(
      "CREATE TABLE search_document_v999999 (id int); CREATE TABLE search_mine (id int)")
    for _ in 0..<2 { try await postgres.script(PostgresSearchIndex.schema) }
    let index = PostgresSearchIndex(postgres)
    try await index.prepare()
    try await index.apply([document(1, "Mahler")])
    for table in old {
      #expect(try await postgres.query("SELECT id FROM \(unsafeSQL: table)").count == 1, "\(table)")
    }
    for _ in 0..<2 { try await postgres.script(PostgresSearchIndex.cleanup) }
    let tables = try await postgres.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
      .map { try $0.string("tablename") }
    #expect(Set(tables).isDisjoint(with: old))
    #expect(Set(tables).isSuperset(of: ["search_document_v999999", "search_mine"]))
    #expect(try await index.find("mahler") == [1])
    #expect(try await index.find("mahlr") == [1])
  }

  @Test(
    "What operators set of an OpenSearch index stays when it is rebuilt",
    .enabled(if: TestOpenSearch.isAvailable))
  func operatorSettings() async throws {
    let index = try #require(try await SearchFixture.openSearch.make() as? OpenSearchIndex)
    let http = HTTPClient()
    let url = try TestOpenSearch.shared.url() + "/\(index.alias)/_settings?flat_settings=true"
    func call(_ method: String, _ body: JSON? = nil) async throws -> JSON {
      let request = HTTPClientRequest(
        method: method, url: url, headers: [("Content-Type", "application/json")],
        body: body?.serialized() ?? [],
        timeoutMilliseconds: 20_000)
      return try JSON(parsing: try await http.send(request).body)
    }
    func settingsAfterRebuild() async throws -> JSON? {
      var batches = [[document(1, "Mahler")]]
      try await index.rebuild { batches.popLast() }
      return try await call("GET").members?.first?.value["settings"]
    }
    let changed: JSON = ["index.auto_expand_replicas": "0-all", "index.refresh_interval": "300ms"]
    _ = try await call("PUT", changed)
    try await index.apply([document(1, "Mahler")])
    let settings = try await settingsAfterRebuild()
    for (name, value) in changed.members ?? [] { #expect(settings?[name] == value) }
    #expect(try await index.find("mahler") == [1])
    _ = try await call("PUT", ["index.refresh_interval": .null])
    #expect(try await settingsAfterRebuild()?["index.refresh_interval"] == "200ms")
    http.close()
  }

  @Test("Hostile words find nothing and break nothing", arguments: SearchFixture.available)
  func hostile(backend: SearchFixture) async throws {
    let index = try await backend.make()
    try await index.apply([document(1, "Mahler")])
    for terms in [
      "' & !:* <-> |", "\\", "\"}]}", "'); DROP TABLE search_document; --", "\u{0}zzzz", "mahler:A & !x", "💥",
      String(repeating: "xyz ", count: 500), String(repeating: "q", count: 5_000), "مهلر", "AND OR NOT",
      "*:*",
      "\u{301}\u{301}", "0x1f 1e5 -1 +7",
    ] {
      _ = try await index.search(SearchQuery(terms: terms, location: terms))
    }
    #expect(try await index.find("mahler' OR '1") == [])
    #expect(try await index.find("mahler'") == [1])
    try await index.apply([document(2, "0x1f 1e5 a1b2 3rd 10th C++ AC/DC O'Neill", version: 1)])
    for terms in ["0x1f", "1e5", "a1b2", "3rd", "10th", "c++", "ac/dc", "o'neill", "neill"] {
      #expect(try await index.find(terms) == [2], "\(terms)")
    }
  }
}
