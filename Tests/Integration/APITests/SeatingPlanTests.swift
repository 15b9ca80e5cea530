import EventLoop
import Foundation
import HTTPServer
import JSON
import Ledger
import Sale
import Testing

/// Plans in pretix's format, made for one property each.
enum Plans {
  /// - Parameter x: of each seat; `nil` for no positions at all.
  static func row(
    _ label: String, at left: Int, _ seats: [String], x: [Double]? = nil, category: String = "S", top: Int = 0
  ) -> JSON {
    let list = seats.enumerated().map { index, seat -> JSON in
      [
        "seat_number": .string(seat), "seat_guid": .string("\(label)-\(left)-\(index)"),
        "category": .string(category),
        "position": ["x": .number(x?[index] ?? Double(index) * 25), "y": 0],
      ]
    }
    return [
      "row_number": .string(label), "position": ["x": .integer(left), "y": .integer(top)],
      "seats": .array(list),
    ]
  }

  static func plan(
    _ rows: [JSON], areas: [JSON] = [], categories: [String] = ["S"], zone: String = "Hall"
  ) -> JSON {
    [
      "name": "A plan", "size": ["width": 1000, "height": 600],
      "categories": .array(categories.map { ["name": .string($0), "color": "#3355dd"] }),
      "zones": [
        [
          "name": .string(zone), "position": ["x": 10, "y": 20], "rows": .array(rows), "areas": .array(areas),
        ]
      ],
    ]
  }

  static func standing(_ text: String, uuid: String = "") -> JSON {
    [
      "shape": "rectangle", "position": ["x": 100, "y": 50], "rectangle": ["width": 300, "height": 200],
      "rotation": 30, "color": "#dddddd", "border_color": "url(x)", "uuid": .string(uuid),
      "text": ["text": .string(text), "size": 16, "color": "#333333", "position": ["x": 150, "y": 100]],
    ]
  }
}

@Suite("Seating plans")
@LoopActor
struct SeatingPlanTests {
  static func event(_ plan: JSON, _ prices: JSON = ["S": 2500], _ more: [(name: String, value: JSON)] = [])
    -> JSON
  {
    .object(
      [
        ("name", "From a plan"), ("location", "Hall"), ("date", "2032-05-01T19:30:00Z"), ("currency", "EUR"),
        ("plan", plan), ("prices", prices),
      ] + more)
  }

  /// The seats that pairs side by side are given, as long as there are any.
  static func pairs(_ service: Service, _ id: Int) async throws -> [Set<String>] {
    let inventory = try await SeatStore(service.postgres).inventory(event: id)
    var names: [Int: String] = [:]
    for ticket in inventory.tickets { names[ticket.id] = ticket.seat }
    var map = SeatMap(sections: inventory.sections, tickets: inventory.tickets)
    var pairs: [Set<String>] = []
    while case .granted(let tickets, _) = map.allocate(RequestedSeats(quantity: 2, adjacent: true)) {
      pairs.append(Set(tickets.compactMap { names[$0] }))
    }
    return pairs
  }

  nonisolated static let houses: [(name: String, rows: [JSON], pairs: [[String]])] = [
    (
      "odd left, even right",
      [Plans.row("E", at: 0, ["7", "5", "3", "1"]), Plans.row("E", at: 600, ["2", "4", "6", "8"])],
      [["7", "5"], ["3", "1"], ["2", "4"], ["6", "8"]]
    ),
    (
      "numbered from the centre", [Plans.row("A", at: 0, ["7", "5", "3", "1", "2", "4", "6", "8"])],
      [["7", "5"], ["3", "1"], ["2", "4"], ["6", "8"]]
    ),
    (
      "an aisle behind 3",
      [Plans.row("A", at: 0, ["1", "2", "3", "4", "5"], x: [0, 25, 50, 125, 150])],
      [["4", "5"], ["1", "2"]]
    ),
    (
      "labels that carry the row",
      [Plans.row("A", at: 0, ["A1", "A3"]), Plans.row("A", at: 400, ["A4", "A5"])],
      [["A1", "A3"], ["A4", "A5"]]
    ),
    (
      "listed in no order", [Plans.row("A", at: 0, ["1", "3", "2", "4"], x: [0, 50, 25, 75])],
      [["1", "2"], ["3", "4"]]
    ),
  ]

  @Test("Pairs are neighbours in the plan, whatever is printed on the seats", arguments: houses)
  func neighbours(_ name: String, _ rows: [JSON], _ pairs: [[String]]) async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent(Self.event(Plans.plan(rows)))
    #expect(try await Self.pairs(service, id) == pairs.map { Set($0) }, "\(name)")
  }

  @Test("No lone seat is left where the other half of the row is as good")
  func loneSeats() async throws {
    let service = try await Service.shared()
    let plan = Plans.plan([
      Plans.row("A", at: 0, ["1", "2", "3"]), Plans.row("A", at: 400, ["4", "5", "6", "7"]),
    ])
    let id = try await service.makeEvent(Self.event(plan))
    #expect(try await Self.pairs(service, id).first == ["4", "5"])
  }

  @Test("Seats of a category without a price are drawn, and are on nobody's list")
  func unpriced() async throws {
    let service = try await Service.shared()
    let plan = Plans.plan(
      [
        Plans.row("A", at: 0, ["1", "2"]),
        Plans.row("B", at: 0, ["1", "2"], category: "NOT AVAILABLE", top: 30),
        Plans.row("C", at: 0, ["1"], category: "S", top: 60),
      ], categories: ["S", "NOT AVAILABLE"])
    let id = try await service.makeEvent(Self.event(plan))
    let list = await service.call(.get, "/api/event/\(id)/tickets", as: .organizer)
    let seats = list.json["tickets"]?.array ?? []
    #expect(seats.map { $0["row"]?.string } == ["A", "A", "C"])
    #expect(seats.allSatisfy { $0["section"] == "Hall" })
    #expect(seats[1]["x"]?.double == 35 && seats[1]["y"]?.double == 20)
    let drawing = await service.call(.get, "/api/event/\(id)/plan", as: .organizer)
    #expect(drawing.json["blocked"]?.array?.compactMap { $0["y"]?.double } == [50, 50], "\(drawing.text)")
    // Priced later, they are sold from then on.
    let path = "/api/admin/events/\(id)/tickets"
    let more = await service.call(.post, path + "?price=NOT%20AVAILABLE:900", plan, as: .organizer)
    #expect(more.json["added"] == 2, "\(more.text)")
    let again = await service.call(.post, path + "?price=NOT%20AVAILABLE:900", plan, as: .organizer)
    #expect(again.status == 409, "\(again.text)")
    let none = await service.call(.post, "/api/admin/events", Self.event(plan, [:]), as: .organizer)
    #expect(none.status == 400 && none.text.contains("NOT AVAILABLE"), "\(none.text)")
  }

  @Test("Two rows of one label are told apart where their seats have the same labels")
  func sameLabels() async throws {
    let service = try await Service.shared()
    let plan = Plans.plan([
      Plans.row("A", at: 0, ["1", "2"]), Plans.row("A", at: 300, ["1", "2"]),
      Plans.row("B", at: 0, ["1"], top: 30),
    ])
    let id = try await service.makeEvent(Self.event(plan))
    let list = await service.call(.get, "/api/event/\(id)/tickets", as: .organizer)
    #expect(list.json["tickets"]?.array?.map { $0["block"]?.string } == ["1", "1", "2", "2", nil])
    let labels = try #require(try await SeatStore(service.postgres).labels(event: id, tickets: [3]))
    #expect(labels.tickets.first?.block == "2")
  }

  @Test("A standing area is sold by the capacity beside it, and is drawn as it is turned")
  func standing() async throws {
    let service = try await Service.shared()
    let plan = Plans.plan([], areas: [Plans.standing("Standing")], zone: "Floor")
    let made = await service.call(
      .post, "/api/admin/events", Self.event(plan, ["S": 2500], [("capacities", ["Standing": 300])]),
      as: .organizer)
    #expect(made.status == 201, "\(made.text)")
    let id = try #require(made.json["id"]?.integer)
    let event = try #require(try await service.events.event(id))
    #expect(
      event.sections.map(\.name) == ["Standing"] && event.total == 300 && event.sections[0].price == 2500)
    let area = await service.call(.get, "/api/event/\(id)/plan", as: .organizer).json["areas"]?[0]
    #expect(area?["rotation"]?.double == 30 && area?["x"]?.double == 110 && area?["y"]?.double == 70)
    // Nothing but a colour becomes one.
    #expect(area?["color"] == "#dddddd" && area?["border_color"] == .null)
    let unknown = await service.call(
      .post, "/api/admin/events", Self.event(plan, ["S": 1], [("capacities", ["Pit": 3])]), as: .organizer)
    #expect(unknown.status == 400 && unknown.text.contains("Pit") && unknown.text.contains("Standing"))
    let zone = await service.call(
      .post, "/api/admin/events", Self.event(plan, ["Floor": 900], [("capacities", ["Floor": 2])]),
      as: .organizer)
    #expect(zone.status == 201, "\(zone.text)")
    let without = await service.call(.post, "/api/admin/events", Self.event(plan), as: .organizer)
    #expect(without.status == 400 && without.text.contains("Standing"), "\(without.text)")
  }

  @Test("Names in any script may have 200 characters and labels 50; one more is refused by its field")
  func longNames() async throws {
    let service = try await Service.shared()
    let name = String(repeating: "ก้", count: 200)
    let label = String(repeating: "席", count: 50)
    let plan = Plans.plan([Plans.row(label, at: 0, [label])], zone: name)
    let made = await service.call(
      .post, "/api/admin/events", Service.event([("name", .string(name)), ("location", .string(name))]),
      as: .organizer)
    #expect(made.status == 201, "\(made.text)")
    let id = try await service.makeEvent(Self.event(plan))
    #expect(try await service.events.event(id)?.sections.map(\.name) == [name])
    let longer = await service.call(
      .post, "/api/admin/events", Service.event([("name", .string(name + "x"))]), as: .organizer)
    #expect(longer.status == 400 && longer.text.contains("`name`"), "\(longer.text)")
    let wide = Plans.plan([Plans.row(label + "x", at: 0, ["1"])])
    let refused = await service.call(.post, "/api/admin/events", Self.event(wide), as: .organizer)
    #expect(refused.status == 400 && refused.text.contains("row_number"), "\(refused.text)")
  }

  @Test(
    "A plan may have a mark in front, its members among the event's, categories without a name, or keys for names"
  )
  func asExported() async throws {
    let service = try await Service.shared()
    let plan = Plans.plan([Plans.row("A", at: 0, ["1", "2"], category: "")], categories: [""], zone: "Zelt")
    let merged =
      Service.event([("prices", ["": 500])]).members!.filter { $0.name != "sections" }
      + (plan.members ?? []).filter { $0.name != "name" }
    let bytes = [0xEF, 0xBB, 0xBF] + JSON.object(merged).serialized()
    let made = await service.call(.post, "/api/admin/events", bytes: bytes, as: .organizer)
    #expect(made.status == 201, "\(made.text)")
    let id = try #require(made.json["id"]?.integer)
    #expect(try await service.events.event(id)?.sections.map(\.name) == ["Zelt"])
    let keys = ["8b91a7bf-674b-48bc-a83b-6cffc6b99548", "d9390f24-f84a-43b2-8017-c8646a4fc750"]
    let keyed = Plans.plan(
      [
        Plans.row("A", at: 0, ["1"], category: keys[0]),
        Plans.row("B", at: 0, ["1"], category: keys[1], top: 30),
      ], categories: keys)
    let gold: JSON = ["price": 200, "name": "Gold"]
    let prices = JSON.object([(keys[0], .integer(100)), (keys[1], gold)])
    let named = try await service.makeEvent(Self.event(keyed, prices))
    #expect(
      try await service.events.event(named)?.sections.map(\.name) == ["Hall, Category 1", "Hall, Gold"])
  }

  /// The plans that real organizers brought, where they lie beside the sources.
  nonisolated static let shared: [String] = {
    let folder = "../shared/plans/"
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    return names.filter { $0.hasSuffix(".json") }.sorted().map { folder + $0 }
  }()

  @Test("Plans as they were exported become events, with every seat that has a price", arguments: shared)
  func exported(_ path: String) async throws {
    let service = try await Service.shared()
    let bytes = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
    let plan = try JSON(parsing: bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? Array(bytes.dropFirst(3)) : bytes)
    var prices: [(name: String, value: JSON)] = [], isStanding = true, seats = 0
    for category in plan["categories"]?.array ?? [] where category["name"] != "NOT AVAILABLE" {
      prices.append((category["name"]?.string ?? "", 2500))
    }
    for row in (plan["zones"]?.array ?? []).flatMap({ $0["rows"]?.array ?? [] }) {
      isStanding = false
      seats += row["seats"]?.array?.filter { $0["category"] != "NOT AVAILABLE" }.count ?? 0
    }
    let more: [(name: String, value: JSON)] = isStanding ? [("capacities", ["Standing": 40])] : []
    let made = await service.call(
      .post, "/api/admin/events", Self.event(plan, .object(prices), more), as: .organizer)
    #expect(made.status == 201, "\(path): \(made.text)")
    let id = try #require(made.json["id"]?.integer)
    #expect(try await service.events.event(id)?.total == (isStanding ? 40 : seats), "\(path)")
    #expect(await service.call(.get, "/api/event/\(id)/plan", as: .organizer).status == 200)
  }

  @Test("A field that nobody knows is refused by its name, wherever an organizer writes")
  func unknownFields() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent()
    let path = "/api/admin/events/\(id)"
    let update = await service.call(.put, path, ["currency": "USD", "hold_secconds": 30], as: .organizer)
    #expect(update.status == 400, "\(update.text)")
    #expect(update.text.contains("`currency`") && update.text.contains("`hold_secconds`"))
    let section: JSON = ["name": "A", "price": 1, "capacity": 1, "prise": 2]
    let row: JSON = ["name": "A", "price": 1, "rows": [["row": "A", "seats": 1, "seets": 2]]]
    let plan = Plans.plan([Plans.row("A", at: 0, ["1"])])
    for (method, target, body, name) in [
      (.post, "/api/admin/events", Service.event([("per_user_limits", 4)]), "`per_user_limits`"),
      (.post, "/api/admin/events", Service.event(sections: [section]), "`sections[0].prise`"),
      (.post, "/api/admin/events", Service.event(sections: [row]), "`sections[0].rows[0].seets`"),
      (.post, "/api/admin/events", Self.event(plan, ["S": ["price": 1, "nmae": "x"]]), "`prices.S.nmae`"),
      (.put, path + "/message", ["message": "a", "until": 7], "`until`"),
      (.put, path + "/rate", ["rat": 7], "`rat`"),
      (.post, path + "/resume", ["despites": true], "`despites`"),
      (.post, path + "/tickets", ["sections": [section]], "`sections[0].prise`"),
    ] as [(HTTPMethod, String, JSON, String)] {
      let answer = await service.call(method, target, body, as: .organizer)
      #expect(answer.status == 400 && answer.text.contains(name), "\(target): \(answer.text)")
    }
  }
}
