import Testing

@testable import Sale

@Suite("Index versions")
struct IndexVersionTests {
  @Test("A version is ordered by event, then by the queue's life, then by its changes")
  func order() {
    let ascending = [
      IndexVersion(event: 1, generation: 0, queue: 70_000), IndexVersion(event: 1, generation: 1, queue: 0),
      IndexVersion(event: 1, generation: 1, queue: 1), IndexVersion(event: 1, generation: 2, queue: 0),
      IndexVersion(event: 1, generation: IndexVersion.afterQueue, queue: 0),
      IndexVersion(event: 2, generation: 0, queue: 0),
      IndexVersion(event: 1_000_000, generation: 7, queue: 9),
    ]
    #expect(ascending == ascending.sorted())
    #expect(Set(ascending.map(\.number)).count == ascending.count)
    for version in ascending { #expect(IndexVersion(number: version.number) == version) }
  }

  @Test("Numbers beyond what is kept stop growing instead of spilling over")
  func bounds() {
    let largest = IndexVersion(event: .max, generation: .max, queue: .max)
    #expect(largest.number == .max)
    #expect(IndexVersion(event: 1, generation: 1, queue: .max).generation == 1)
  }
}
