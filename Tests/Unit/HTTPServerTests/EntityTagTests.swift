import HTTPServer
import Testing

@Suite("Entity tags and codings")
struct EntityTagTests {
  @Test(
    "A tag is known again whatever a proxy on the way has made of it",
    arguments: [
      "\"abc\"", "W/\"abc\"", "\"abc-gzip\"", "W/\"abc-gzip\"", "\"abc;gzip\"", "\"abc--gzip\"", "\"abc-br\"",
      "\"abc:zstd\"",
      "\"abc+deflate\"", "*", "\"x\", \"abc-gzip\"", "\"x\" ,\tW/\"abc\" ",
    ])
  func known(_ header: String) {
    for tag in ["\"abc\"", "\"abc-gzip\"", "\"abc-br\""] { #expect(EntityTag.matches(header, tag)) }
  }

  @Test(
    "Another tag is not",
    arguments: [
      "\"abd\"", "abc", "\"abc", "\"ab\"", "\"abcgzip\"", "\"abc-gzi\"", "\"abc-gzip-x\"", "\"\"", "", "W/",
      "\"-gzip\"", ",",
    ])
  func unknown(_ header: String) {
    #expect(!EntityTag.matches(header, "\"abc\""))
  }

  @Test("Lists count up to a length that nobody needs, and what is behind it costs nothing")
  func longLists() {
    func tags(_ count: Int) -> String { (0..<count).map { "\"x\($0)\"" }.joined(separator: ", ") }
    #expect(EntityTag.matches(tags(63) + ", \"abc\"", "\"abc\""))
    #expect(!EntityTag.matches(tags(64) + ", \"abc\"", "\"abc\""))
    #expect(!EntityTag.matches(tags(1_000) + ", *", "\"abc\""))
    #expect(EntityTag.matches("\"abc\", " + tags(1_000), "\"abc\""))
    #expect(EntityTag.matches(",,,, ,\"abc\"", "\"abc\""))
    let codings = (0..<1_000).map { "c\($0);q=0.5" }.joined(separator: ",")
    #expect(ContentCoding.chosen("gzip," + codings, among: [.brotli, .gzip]) == .gzip)
    #expect(ContentCoding.chosen(codings + ",gzip", among: [.brotli, .gzip]) == .identity)
  }

  @Test("The same content in another coding has a tag of its own")
  func codings() {
    let tag = EntityTag.of([1, 2, 3])
    #expect(EntityTag.of(tag, in: .identity) == tag)
    #expect(Set(ContentCoding.allCases.map { EntityTag.of(tag, in: $0) }).count == 3)
    #expect(EntityTag.of([1, 2, 4]) != tag)
  }

  @Test(
    "A client gets the coding that it wants most",
    arguments: [
      (nil, .identity), ("", .identity), ("gzip, deflate, br, zstd", .brotli), ("gzip, deflate", .gzip),
      ("br", .brotli),
      ("identity", .identity), ("*", .brotli), ("br;q=0, *", .gzip), ("gzip;q=1.0, br;q=0.5", .gzip),
      ("br;q=0.5, gzip;q=0.5", .brotli), ("GZIP", .gzip), ("x-gzip", .gzip), ("gzip;q=0", .identity),
      ("br;q=0,gzip;q=0,*;q=0", .identity), ("zstd", .identity), (";;,,;q=", .identity),
      ("br;q=abc", .identity),
    ] as [(String?, ContentCoding)])
  func chosen(_ header: String?, _ coding: ContentCoding) {
    #expect(ContentCoding.chosen(header, among: [.brotli, .gzip]) == coding)
    #expect(ContentCoding.chosen(header, among: []) == .identity)
  }
}
