import Foundation
import HTTPCommon
import JSON
import Sale
import Testing

/// States have one list each, in Swift; the API's document and the page's modules say the same words.
@Suite("The words of states")
struct VocabularyTests {
  private static let requestStates = Set(RequestState.allCases.map(\.rawValue))
  private static let toldStates = Set(
    EventState.allCases.map(\.rawValue) + [EventState.stopped, EventState.cancelled])

  private func document() throws -> JSON { try JSON(parsing: OpenAPIDocument.bytes) }

  private func schema(_ name: String) throws -> Set<String>? {
    let words = try document()["components"]?["schemas"]?[name]?["enum"]?.array
    return words.map { Set($0.compactMap(\.string)) }
  }

  @Test("The API's document has exactly the states that there are")
  func states() throws {
    #expect(try schema("RequestState") == Self.requestStates)
    #expect(try schema("ToldState") == Self.toldStates)
    #expect(try schema("SaleState") == Self.toldStates.union(["sold_out"]))
  }

  @Test(
    "A list of states in the document is one of these, or a part of one, and never a list with a word of its own"
  )
  func listsElsewhere() throws {
    func check(_ value: JSON, at path: String) {
      if let words = value["enum"]?.array?.compactMap(\.string), words.contains("queued") {
        #expect(Set(words) == Self.requestStates, "\(path)")
      }
      if let words = value["enum"]?.array?.compactMap(\.string), words.contains("paused"),
        words.contains("draft")
      {
        #expect(Set(words).subtracting(["sold_out"]) == Self.toldStates, "\(path)")
      }
      for member in value.members ?? [] { check(member.value, at: "\(path)/\(member.name)") }
      for (index, element) in (value.array ?? []).enumerated() { check(element, at: "\(path)/\(index)") }
    }
    check(try document(), at: "")
  }

  @Test("Webhooks that the document describes are the ones that there are")
  func webhooks() throws {
    let described = try document()["webhooks"]?.members?.map(\.name)
    #expect(described.map(Set.init) == Set(WebhookType.allCases.map(\.rawValue)))
  }

  @Test("The page asks for no state that there is not")
  func page() throws {
    let assets = URL(filePath: #filePath).appending(path: "../../../../Sources/Service/Web/Assets")
      .standardized
    // Of lists in `My tickets`, and of the page's own views.
    let others: Set = ["succeeded", "lost", "mailed", "won", "warning_closed"]
    let known = Self.requestStates.union(Self.toldStates).union(others)
    var asked: Set<String> = []
    for name in try FileManager.default.contentsOfDirectory(atPath: assets.path).sorted()
    where name.hasSuffix(".js") {
      let text = try String(contentsOf: assets.appending(path: name), encoding: .utf8)
      for match in text.matches(of: /(?:[sS]tate|status) ?[!=]== ?"([a-z_]+)"/) {
        asked.insert(String(match.1))
      }
    }
    #expect(
      asked.isSuperset(of: ["queued", "reserved", "paused"]), "the pattern finds what the page asks for")
    #expect(asked.subtracting(known) == [])
  }
}
