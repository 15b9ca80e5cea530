import Sale
import Testing

@Suite("What both stores were when they were compared")
struct ComparedStoresTests {
  private let noted = ComparedStores(redis: "r0", database: "7/1/5/9", started: "10.5")

  private func isCertain(
    _ redis: String, _ database: String = "7/1/5/9", _ started: String = "10.5", noted: ComparedStores?,
    remembered: ComparedStores? = nil
  ) -> Bool {
    ComparedStores(redis: redis, database: database, started: started)
      .isCertain(noted: noted, remembered: remembered)
  }

  @Test("One of them that is what it was vouches for the other")
  func one() {
    #expect(isCertain("r0", noted: noted))
    #expect(isCertain("r1", noted: noted), "PostgreSQL has not been started since")
    #expect(isCertain("r0", "7/2/5/9", "11", noted: noted), "Redis has not")
  }

  @Test("Of two that are others than they were nothing is certain")
  func both() {
    #expect(!isCertain("r1", "7/2/5/9", noted: noted))
    #expect(!isCertain("r1", "7/1/5/9", "11", noted: noted), "a copy of its files has its name")
    #expect(!isCertain("r1", noted: nil))
  }

  @Test("PostgreSQL that was compared vouches for itself, whatever Redis has lost; Redis does not")
  func remembered() {
    #expect(isCertain("r1", noted: nil, remembered: noted))
    #expect(!isCertain("r0", "7/2/5/9", noted: nil, remembered: noted), "it was flushed")
    let older = ComparedStores(redis: "r", database: "6/1/5/9", started: "1")
    #expect(isCertain("r1", noted: older, remembered: noted))
  }

  @Test("It is read as it was written, and nothing else is")
  func encoding() {
    #expect(ComparedStores(encoded: noted.encoded) == noted)
    for text in ["", "a", "a b", "a  b", " a b"] { #expect(ComparedStores(encoded: text) == nil) }
  }
}
