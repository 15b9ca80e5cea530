import EventLoop
import HTTPCommon
import HTTPServer
import Identity
import JSON
import Testing

@Suite("Names that nobody knows")
@LoopActor
struct UnknownNamesTests {
  /// Of every operation that takes a body or a query, as the document has it.
  private struct Operation {
    let method: HTTPMethod
    let target: String
    let body: JSON?
    let schema: JSON
    let items: [String]
  }

  private static func resolved(_ schema: JSON, _ document: JSON) -> JSON {
    guard let target = schema["$ref"]?.string else { return schema }
    return target.split(separator: "/").dropFirst().reduce(document) { $0[String($1)] ?? .null }
  }

  /// - Parameter event: whoever asks has it.
  private static func operations(event: Int) throws -> [Operation] {
    let document = try JSON(parsing: OpenAPIDocument.bytes)
    var operations: [Operation] = []
    for path in document["paths"]?.members ?? [] where path.name != "/api/payment/webhook" {
      for (name, operation) in path.value.members ?? [] {
        guard let method = HTTPMethod(rawValue: name.uppercased()) else { continue }
        let parameters = (path.value["parameters"]?.array ?? []) + (operation["parameters"]?.array ?? [])
        let items = parameters.map { resolved($0, document) }.filter { $0["in"] == "query" }
          .compactMap { $0["name"]?.string }
        let content = operation["requestBody"]?["content"]?["application/json"]
        let isPost = method == .post && path.name.hasPrefix("/api/admin/events/{id}/")
        guard content != nil || !items.isEmpty || isPost else { continue }
        // One that takes no body takes no member either.
        let empty: JSON? = content != nil || isPost ? .object([]) : .none
        var target = path.name
        target = target.replacing("{id}", with: "\(event)")
        for parameter in ["upload", "refund"] {
          target = target.replacing("{\(parameter)}", with: "1")
        }
        operations.append(
          Operation(
            method: method, target: target, body: content?["example"] ?? empty,
            schema: content.map { resolved($0["schema"] ?? .null, document) } ?? .null, items: items))
      }
    }
    return operations
  }

  @Test("Every body that the document describes takes no other members, and says so")
  func bodies() async throws {
    let service = try await Service.shared()
    let operations = try Self.operations(event: try await service.makeEvent()).filter { $0.body != nil }
    #expect(operations.count > 20)
    for operation in operations {
      let members = (operation.body?.members ?? []) + [("max_ammount", 1), ("adjecent", true)]
      let answer = await service.call(
        operation.method, operation.target, .object(members), as: .organizer)
      // Where there is no mail, or no session of here, nothing is looked at.
      if ["no_mail", "no_session"].contains(answer.code) { continue }
      #expect(answer.status == 400, "\(operation.target): \(answer.text)")
      for name in ["max_ammount", "adjecent"] {
        #expect(answer.text.contains("The field `\(name)` cannot be set here"), "\(operation.target)")
      }
      let pointers = (answer.json["errors"]?.array ?? []).compactMap { $0["pointer"]?.string }
      #expect(Set(pointers).isSuperset(of: ["#/max_ammount", "#/adjecent"]), "\(operation.target)")
      let alternatives = operation.schema["anyOf"]?.array ?? [operation.schema]
      for schema in alternatives where schema["type"] != nil {
        #expect(schema["additionalProperties"] == .bool(false), "\(operation.target)")
      }
    }
  }

  @Test("Every query that the document describes takes no other items, and says what may have been meant")
  func queries() async throws {
    let service = try await Service.shared()
    let operations = try Self.operations(event: try await service.makeEvent()).filter { !$0.items.isEmpty }
    #expect(operations.count > 5)
    for operation in operations {
      let item = operation.items[0]
      let target = operation.target.replacing(
        "{request_id}",
        with: service.ids.encode(RequestID(event: 1, generation: 1, position: 1, owner: "0123456789ab")))
      let answer = await service.call(
        operation.method, "\(target)?\(item)s=1", operation.body, as: .organizer)
      #expect(answer.status == 400, "\(target): \(answer.text)")
      #expect(
        answer.text.contains("`\(item)s` cannot be set here: did you mean `\(item)`?"), "\(answer.text)")
    }
  }

  @Test(
    "Whoever mistypes a name is told the right one",
    arguments: [
      ("max_ammount", "max_amount"), ("maxAmount", "max_amount"), ("adjecent", "adjacent"),
      ("quanttiy", "quantity"), ("quantit", "quantity"), ("ticketIds", "ticket_ids"),
      ("Payment-Method", "payment_method"), ("rejion", "rejoin"), ("qty", nil), ("", nil), ("💥", nil),
      (String(repeating: "max_amount", count: 1_000), nil), ("price", nil),
    ])
  func nearest(_ name: String, _ meant: String?) async throws {
    let service = try await Service.shared()
    let body: JSON = .object([
      ("event_id", .integer(1)), ("quantity", .integer(1)), (name: name, value: .integer(1)),
    ])
    let answer = await service.call(.post, "/api/ticket/reserve", body, as: .user("u"))
    #expect(answer.status == 400 && answer.code == "invalid_field", "\(answer.text)")
    #expect(answer.text.contains("did you mean") == (meant != nil), "\(answer.text)")
    if let meant { #expect(answer.text.contains("did you mean `\(meant)`?"), "\(answer.text)") }
    #expect(answer.response.body.count < 4_096)
  }
}
