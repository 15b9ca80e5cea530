import EventLoop
import HTTPCommon
import HTTPServer
import JSON
import Testing

@Suite("The OpenAPI document")
@LoopActor
struct OpenAPITests {
  private static let methods = ["get", "post", "put", "delete", "patch", "head", "options"]

  private func document() throws -> JSON { try JSON(parsing: OpenAPIDocument.bytes) }

  @Test("It names exactly the routes that are served")
  func routes() throws {
    let service = try Service(databaseURL: "postgres://127.0.0.1:1/x", redisURL: "redis://127.0.0.1:1")
    let served = Set(service.router.patterns.map { "\($0.method.rawValue.lowercased()) \($0.pattern)" })
    var described: Set<String> = []
    for path in try document()["paths"]?.members ?? [] {
      for member in path.value.members ?? [] where Self.methods.contains(member.name) {
        described.insert("\(member.name) \(path.name)")
      }
    }
    #expect(served.subtracting(described) == [], "served and not described")
    #expect(described.subtracting(served) == [], "described and not served")
  }

  @Test("Every reference leads somewhere, and every operation has a name, answers and says who may call it")
  func isSound() throws {
    let document = try document()
    #expect(document["openapi"] == "3.1.0")
    func check(_ value: JSON) {
      for member in value.members ?? [] {
        if member.name == "$ref", let target = member.value.string {
          let path = target.split(separator: "/").dropFirst().map(String.init)
          #expect(path.reduce(document) { $0?[$1] } != nil, "\(target)")
        }
        check(member.value)
      }
      for element in value.array ?? [] { check(element) }
    }
    check(document)
    var names: Set<String> = []
    for path in document["paths"]?.members ?? [] {
      for member in path.value.members ?? [] where Self.methods.contains(member.name) {
        let name = member.value["operationId"]?.string
        #expect(name.map { names.insert($0).inserted } == true, "\(member.name) \(path.name)")
        #expect(member.value["responses"]?.members?.isEmpty == false)
        #expect(member.value["security"]?.array != nil)
      }
    }
  }

  @Test("It is served")
  func served() async throws {
    let service = try Service(databaseURL: "postgres://127.0.0.1:1/x", redisURL: "redis://127.0.0.1:1")
    let answer = await service.call(.get, "/openapi.json")
    #expect(answer.status == 200)
    #expect(answer.response.header("Content-Type") == "application/json")
    #expect(answer.response.body == OpenAPIDocument.bytes)
  }
}
