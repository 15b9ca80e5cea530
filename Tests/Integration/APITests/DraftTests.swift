import EventLoop
import HTTPServer
import JSON
import Testing

@Suite("Drafts that are not announced", .serialized)
@LoopActor
struct DraftTests {
  @Test("Nobody but organizers can tell such a draft from an event that is not there, on any way")
  func hidden() async throws {
    let service = try await Service.shared()
    let draft = try await service.makeEvent(), absent = 900_000_000
    func expectSame(
      _ method: HTTPMethod, _ target: @Sendable (Int) -> String, _ body: (@Sendable (Int) -> JSON)? = nil
    ) async {
      // Twice: from the stores, and from memory.
      for _ in 0..<2 {
        for caller in [Service.Caller.nobody, .user("curious")] {
          let answer = await service.call(method, target(draft), body?(draft), as: caller)
          let none = await service.call(method, target(absent), body?(absent), as: caller)
          #expect(
            answer.status == none.status && answer.text == none.text, "\(target(draft)): \(answer.text)")
          #expect([401, 404].contains(answer.status))
        }
      }
    }
    // Organizers look first, so that the draft is in every memory.
    for path in ["/api/event/\(draft)", "/api/event/\(draft)/tickets", "/api/event/\(draft)/queue"] {
      let answer = await service.call(.get, path, as: .organizer)
      #expect(answer.status == 200, "\(path): \(answer.text)")
    }
    let queue = await service.call(.get, "/api/event/\(draft)/queue", as: .organizer)
    #expect(queue.response.header("Cache-Control") == "no-store" && queue.json["state"] == "draft")
    await expectSame(.get, { "/api/event/\($0)" })
    await expectSame(.get, { "/api/event/\($0)/tickets" })
    await expectSame(.get, { "/api/event/\($0)/tickets?section=Stalls" })
    await expectSame(.get, { "/api/event/\($0)/tickets?section=None" })
    await expectSame(.get, { "/api/event/\($0)/queue" })
    await expectSame(
      .post, { _ in "/api/ticket/reserve" }, { ["event_id": .integer($0), "quantity": 1] })
    for section in ["Stalls", "None"] {
      await expectSame(
        .post, { _ in "/api/ticket/reserve" },
        { ["event_id": .integer($0), "quantity": 1, "section": .string(section)] })
    }
    await expectSame(
      .post, { _ in "/api/ticket/reserve" }, { ["event_id": .integer($0), "ticket_ids": [1]] })
    let organizer = await service.call(
      .post, "/api/ticket/reserve", ["event_id": .integer(draft), "quantity": 1], as: .organizer)
    #expect(organizer.status == 409 && organizer.code == "not_open")
  }

  @Test("A draft whose sale has a time is announced, and shown to everybody")
  func announced() async throws {
    let service = try await Service.shared()
    let draft = try await service.makeEvent(Service.announced)
    #expect(await service.call(.get, "/api/event/\(draft)", as: .user("fan")).status == 200)
    #expect(await service.call(.get, "/api/event/\(draft)/tickets", as: .user("fan")).status == 200)
    let queue = await service.call(.get, "/api/event/\(draft)/queue")
    #expect(queue.status == 200 && queue.response.header("Cache-Control")?.contains("public") == true)
    let answer = await service.call(
      .post, "/api/ticket/reserve", ["event_id": .integer(draft), "quantity": 1], as: .user("fan"))
    #expect(answer.status == 409 && answer.code == "not_open")
  }
}
