import EventLoop
import HTTPServer
import JSON
import Testing

@Suite("Organizers' calls on what there is not")
@LoopActor
struct SelectionTests {
  private nonisolated static let row = #"no tickets in the section "Stalls", row "Q""#

  @Test(
    "Tickets that there are not are told, all of them, and nothing is done for those that there are",
    arguments: [
      (["ticket_ids": [1, 2, 990, 991]], [#""990", "991""#]),
      (["section": "Balcony"], [#""Balcony""#, #""Stalls""#]),
      (["section": "Stalls", "row": "Q"], [row]), (["section": "Stalls", "row": "Q", "seats": ["1"]], [row]),
      (["section": "Stalls", "row": "A", "seats": ["1", "77", "3", "0"]], [#"row "A": "0", "77""#]),
      (["section": "Stalls", "seats": ["12", "99"]], [#""99""#]), (["section": "stalls"], [#""stalls""#]),
      (["section": "Standing", "row": "A"], [#""Standing", row "A""#]),
    ] as [(JSON, [String])])
  func missing(_ selection: JSON, _ told: [String]) async throws {
    let service = try await Service.shared()
    let path = "/api/admin/events/\(try await service.makeEvent())"
    let priced = JSON.object((selection.members ?? []) + [(name: "price", value: .integer(2_000))])
    for (method, target, body) in [
      (.post, path + "/tickets/block", selection), (.post, path + "/tickets/release", selection),
      (.patch, path + "/tickets", priced),
    ] as [(HTTPMethod, String, JSON)] {
      let answer = await service.call(method, target, body, as: .organizer)
      #expect(answer.status == 404 && answer.code == "unknown_tickets", "\(target): \(answer.text)")
      for words in told { #expect(answer.json["detail"]?.string?.contains(words) == true, "\(answer.text)") }
    }
    let stats = await service.call(.get, path + "/stats", as: .organizer)
    #expect(stats.json["tickets"]?["withheld"]?.integer ?? 0 == 0, "\(stats.text)")
    // What there is is blocked, once, and released.
    for (call, counts) in [("block", [1, 0]), ("release", [1, 0])] {
      for count in counts {
        let answer = await service.call(
          .post, path + "/tickets/\(call)", ["section": "Stalls", "row": "A", "seats": ["3"]], as: .organizer)
        #expect(
          answer.status == 200 && answer.json["\(call)\(call == "block" ? "ed" : "d")"]?.integer == count)
      }
    }
  }

  @Test("A capacity is that of places: a section of seats has none, and one that there is not is told")
  func capacity() async throws {
    let service = try await Service.shared()
    let path = "/api/admin/events/\(try await service.makeEvent())/sections"
    for capacity in [0, 5, 22, 100] {
      let seats = await service.call(
        .put, path, ["section": "Stalls", "capacity": .integer(capacity)], as: .organizer)
      #expect(seats.status == 409 && seats.text.contains("has seats"), "\(seats.text)")
      let nothing = await service.call(
        .put, path, ["section": "Pit", "capacity": .integer(capacity)], as: .organizer)
      #expect(nothing.status == 404 && nothing.text.contains("Pit"), "\(nothing.text)")
    }
    for capacity in [20, 40] {
      let answer = await service.call(
        .put, path, ["section": "Standing", "capacity": .integer(capacity)], as: .organizer)
      #expect(answer.status == 200, "\(answer.text)")
    }
  }
}
