import EventLoop
import HTTPCommon
import HTTPServer
import Identity
import JSON
import Ledger
import Postgres
import Testing

@testable import Queue
@testable import Sale

@Suite("Organizers' calls")
@LoopActor
struct AdminTests {
  @Test("An event is made as a draft, with its sections and seats")
  func create() async throws {
    let service = try await Service.shared()
    let answer = await service.call(
      .post, "/api/admin/events",
      Service.event([("description", "Line 1\nLine 2"), ("per_user_limit", 6), ("hold_seconds", 60)]),
      as: .organizer)
    #expect(answer.status == 201, "\(answer.text)")
    let id = try #require(answer.json["id"]?.integer)
    #expect(answer.response.header("Location") == "/api/event/\(id)")
    let event = try #require(try await service.events.event(id))
    #expect(event.state == "draft" && event.currency == "EUR" && event.description == "Line 1\nLine 2")
    #expect(event.settings.perUserLimit == 6 && event.settings.holdSeconds == 60)
    #expect(event.sections.map(\.name) == ["Stalls", "Standing"])
    #expect(event.sections.map(\.total) == [22, 30])
    let seats = try await service.events.seats(event: id, after: 0, limit: 100)
    #expect(seats.map(\.id) == Array(1...52))
    #expect(
      seats[12].section == 1 && seats[12].row == "B" && seats[12].seat == "1" && seats[12].price == 9000)
    #expect(
      seats[51].section == 2 && seats[51].row == nil && seats[51].seat == nil && seats[51].price == 1500)
    #expect(try await service.queue.reader.document(event: id) == nil)
  }

  @Test("Making an event of the same key again returns the first one")
  func key() async throws {
    let service = try await Service.shared()
    let body = Service.event([("key", "source-1")])
    let first = await service.call(.post, "/api/admin/events", body, as: .organizer)
    let second = await service.call(.post, "/api/admin/events", body, as: .organizer)
    #expect(first.status == 201 && second.status == 200)
    #expect(first.json["id"] == second.json["id"])
  }

  nonisolated static let broken: [(field: String, value: JSON)] = {
    let texts: [JSON] = [
      .null, "", 7, true, [], [:], .string(String(repeating: "x", count: 20_001)), "a\u{1}b",
    ]
    let numbers: [JSON] = ["7", .number(1.5), true, -1, 0, .integer(.max), .integer(.min), [:]]
    let times: [JSON] = [7, "", "tomorrow", "2031-02-30T00:00:00Z", [:], true]
    let sections: [JSON] = [
      .null, [], [:], "x", [7], [[:]], [["name": "A"]], [["name": "A", "price": 1]],
      [["name": "A", "price": 1, "capacity": 1, "rows": []]], [["name": "A", "price": 1, "rows": []]],
      [["name": "A", "price": -1, "capacity": 1]], [["name": "A", "price": 1, "capacity": 0]],
      [["name": "A", "price": 1, "capacity": 1_000_000_000]],
      [["name": "A", "price": .number(1.5), "capacity": 1]],
      [["name": "", "price": 1, "capacity": 1]], [["name": 7, "price": 1, "capacity": 1]],
      [["name": "A", "price": 1, "capacity": 1], ["name": "A", "price": 1, "capacity": 1]],
      [["name": "A", "price": 1, "capacity": 150_000], ["name": "B", "price": 1, "capacity": 150_000]],
      [["name": "A", "price": 1, "rows": [["row": "", "seats": 1]]]],
      [["name": "A", "price": 1, "rows": [["row": "A", "seats": 0]]]],
      [["name": "A", "price": 1, "rows": [["row": "A", "seats": "1"]]]],
      [["name": "A", "price": 1, "rows": [["row": "A", "seats": 1], ["row": "A", "seats": 1]]]],
      [["name": "A", "price": 1, "rows": [7]]], [["name": "A", "price": 1, "rows": 7]],
    ]
    var broken: [(String, JSON)] = []
    for name in ["name", "location"] { broken += texts.map { (name, $0) } }
    broken += (texts + ["EURO", "E1R", "€€€"]).map { ("currency", $0) }
    broken += texts.dropFirst(2).map { ("description", $0) }
    broken += (times + [.null]).map { ("date", $0) } + times.map { ("onsale_at", $0) }
    for name in ["hold_seconds", "per_user_limit", "queue_limit"] { broken += numbers.map { (name, $0) } }
    broken += sections.map { ("sections", $0) }
    broken += [("key", 7), ("key", .string(String(repeating: "x", count: 301)))]
    return broken
  }()

  @Test("Every field that is wrong, missing or huge is refused by its name", arguments: broken)
  func brokenFields(_ field: String, _ value: JSON) async throws {
    let service = try await Service.shared()
    let answer = await service.call(
      .post, "/api/admin/events", Service.event([(field, value)]), as: .organizer)
    #expect(answer.status == 400, "\(answer.text)")
    #expect(answer.code == "invalid_field")
    #expect(answer.json["detail"]?.string?.contains(field) == true, "\(answer.text)")
  }

  @Test("An event has the clocks of its venue, and may be told by them")
  func zones() async throws {
    let service = try await Service.shared()
    func told(_ members: [(name: String, value: JSON)]) async throws -> JSON {
      let id = try await service.makeEvent(Service.event(members), opens: true)
      return await service.call(.get, "/api/event/\(id)", as: .user("zones")).json
    }
    let newYork: (name: String, value: JSON) = ("time_zone", "America/New_York")
    let evening = try await told([
      newYork, ("date", "2032-12-08T20:15:00"), ("onsale_at", "2031-07-01T10:00:00"),
    ])
    #expect(evening["date"] == "2032-12-09T01:15:00Z")
    #expect(evening["date_local"] == "2032-12-08T20:15:00-05:00")
    #expect(evening["time_zone"] == "America/New_York")
    #expect(evening["onsale_at"] == "2031-07-01T14:00:00Z")
    #expect(evening["onsale_at_local"] == "2031-07-01T10:00:00-04:00")
    let offset = try await told([newYork, ("date", "2032-12-09T02:15:00+01:00")])
    #expect(offset["date_local"] == "2032-12-08T20:15:00-05:00", "an offset says more than a zone")
    let unsaid = try await told([])
    #expect(unsaid["time_zone"] == "UTC", "that of the installation")
    #expect(unsaid["date_local"] == "2031-05-20T19:30:00+00:00")
    #expect(unsaid["onsale_at_local"] == .null)

    let berlin: (name: String, value: JSON) = ("time_zone", "Europe/Berlin")
    for (members, field) in [
      ([("time_zone", "Europe/Atlantis")], "time_zone"), ([("time_zone", "EST")], "time_zone"),
      ([("time_zone", "")], "time_zone"), ([("time_zone", 7)], "time_zone"),
      ([("time_zone", .string(String(repeating: "a/", count: 99)))], "time_zone"),
      ([("date", "2032-12-08T20:15:00")], "date"), ([("onsale_at", "2031-07-01T10:00:00")], "onsale_at"),
      ([berlin, ("date", "2032-03-28T02:30:00")], "date"),
      ([berlin, ("date", "2032-10-31T02:30:00")], "date"),
    ] as [([(name: String, value: JSON)], String)] {
      let answer = await service.call(.post, "/api/admin/events", Service.event(members), as: .organizer)
      #expect(answer.status == 400 && answer.code == "invalid_field", "\(members): \(answer.text)")
      #expect(answer.json["detail"]?.string?.contains(field) == true, "\(answer.text)")
    }

    let id = try await service.makeEvent(Service.event([newYork]))
    let path = "/api/admin/events/\(id)"
    func zone() async throws -> String? { try await service.events.event(id)?.timeZone }
    #expect(await service.call(.put, path, ["name": "Renamed"], as: .organizer).status == 200)
    #expect(try await zone() == "America/New_York")
    #expect(await service.call(.put, path, ["time_zone": "Nowhere/Atall"], as: .organizer).status == 400)
    let moved: JSON = ["time_zone": "Asia/Tokyo", "date": "2032-05-01T19:30:00"]
    #expect(await service.call(.put, path, moved, as: .organizer).status == 200)
    #expect(try await zone() == "Asia/Tokyo")
    #expect(try await service.events.event(id)?.date == Time.parse("2032-05-01T10:30:00Z"))
    #expect(await service.call(.put, path, ["time_zone": .null], as: .organizer).status == 200)
    #expect(try await zone() == nil)
  }

  @Test("A sale opens, pauses, resumes and closes, in Redis too, and each step is logged with who did it")
  func states() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent()
    func step(_ name: String) async -> Service.Answer {
      await service.call(.post, "/api/admin/events/\(id)/\(name)", as: .organizer)
    }
    for name in ["pause", "resume"] { #expect(await step(name).status == 409) }
    for (name, state) in [
      ("open", "open"), ("open", "open"), ("pause", "paused"), ("pause", "paused"), ("resume", "open"),
      ("pause", "paused"), ("open", "open"), ("close", "closed"), ("close", "closed"),
    ] {
      let answer = await step(name)
      #expect(answer.status == 200, "\(answer.text)")
      #expect(answer.json["state"]?.string == state)
      #expect(answer.json["published"] == true)
      #expect(try await service.queue.reader.document(event: id)?.state == state)
    }
    for name in ["open", "pause", "resume"] {
      let answer = await step(name)
      #expect(answer.status == 409 && answer.code == "conflict")
    }
    let log = await service.call(.get, "/api/admin/events/\(id)/log", as: .organizer)
    let entries = log.json["entries"]?.array ?? []
    #expect(
      entries.reversed().map { $0["action"]?.string } == [
        "create", "open", "paused", "open", "paused", "open", "closed",
      ])
    #expect(
      entries.allSatisfy { $0["who"] == "boss" && $0["at"]?.string.map { Time.parse($0) != nil } == true })
    let page = await service.call(.get, "/api/admin/events/\(id)/log?limit=2", as: .organizer)
    #expect(page.json["entries"]?.array?.count == 2)
    let next = try #require(page.json["next_before"]?.integer)
    let rest = await service.call(.get, "/api/admin/events/\(id)/log?before=\(next)", as: .organizer)
    #expect(rest.json["entries"]?.array?.count == 5)
  }

  @Test("Message, rate and settings reach the queue")
  func settings() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent(opens: true)
    let path = "/api/admin/events/\(id)"
    let hostile = "Doors | open\u{A0} at 7 \"sharp\" '; DROP TABLE event; -- redis.call('FLUSHALL')"
    #expect(
      await service.call(.put, path + "/message", ["message": .string(hostile)], as: .organizer).status == 200
    )
    #expect(try await service.queue.reader.document(event: id)?.message == hostile)
    for steering in ["\u{2028}", "\u{202E}", "\u{1B}[2J", "\u{9B}", "\u{200F}", "\u{FEFF}"] {
      let answer = await service.call(
        .put, path + "/message", ["message": .string("Doors\(steering)")], as: .organizer)
      #expect(answer.status == 400, "\(answer.text)")
    }
    #expect(await service.call(.put, path + "/message", ["message": .null], as: .organizer).status == 200)
    #expect(try await service.queue.reader.document(event: id)?.message == "")
    #expect(await service.call(.put, path + "/rate", ["rate": 250], as: .organizer).status == 200)
    #expect(try await service.events.settings(event: id)?.rate == 250)
    #expect(await service.call(.put, path + "/rate", ["rate": .null], as: .organizer).status == 200)
    #expect(try await service.events.settings(event: id)?.rate == nil)
    let changes: JSON = ["name": "Renamed", "onsale_at": .null, "hold_seconds": 90]
    #expect(await service.call(.put, path, changes, as: .organizer).status == 200)
    let event = try #require(try await service.events.event(id))
    #expect(event.name == "Renamed" && event.location == "Hall" && event.settings.holdSeconds == 90)
    for (target, body) in [
      ("/message", ["message": 7] as JSON),
      ("/message", ["message": .string(String(repeating: "é", count: 251))]),
      ("/message", ["message": "a\nb"]), ("/message", []), ("/rate", [:]), ("/rate", ["rate": -1]),
      ("/rate", ["rate": "fast"]), ("/rate", ["rate": .number(1.5)]), ("", ["name": ""]),
      ("", ["hold_seconds": 1]),
      ("", ["date": "soon"]), ("", "x"),
    ] {
      let answer = await service.call(.put, path + target, body, as: .organizer)
      #expect(answer.status == 400, "\(target) \(body.text): \(answer.text)")
    }
  }

  @Test("Tickets come as CSV, as a seating plan, and as sections")
  func tickets() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent()
    let path = "/api/admin/events/\(id)/tickets"
    func csv(_ text: String) async -> Service.Answer {
      await service.call(
        .post, path, bytes: Array(text.utf8), as: .organizer, headers: [("Content-Type", "text/csv")])
    }
    let seats = await csv(
      "\u{feff}Section, Row,Seat,Price\r\n\"Box, \"\"left\"\"\",1,1,5000\r\n"
        + "\"Box, \"\"left\"\"\",1,2,4000\r\nStalls,C,1,9000\r\n\r\n"
    )
    #expect(seats.status == 201, "\(seats.text)")
    #expect(seats.json["added"] == 3)
    #expect(await csv("section,capacity,price\nStanding,5,1500\nLawn,7,100").json["added"] == 12)
    let again = await csv("section,row,seat,price\nStalls,C,1,9000\n")
    #expect(again.status == 409, "\(again.text)")
    let plan: JSON = [
      "name": "Hall",
      "categories": [["name": "Gold", "color": "#fc0"], ["name": "Silver", "color": "#ccc"]],
      "zones": [
        [
          "name": "Balcony", "position": ["x": 1, "y": 1],
          "rows": [
            [
              "row_number": "1", "position": ["x": 0, "y": 0],
              "seats": [
                ["seat_guid": "b1", "seat_number": "1", "position": ["x": 0, "y": 0], "category": "Gold"],
                ["seat_guid": "b2", "seat_number": "2", "position": ["x": 1, "y": 0], "category": "Silver"],
              ],
            ]
          ],
        ],
        ["name": "", "rows": [["row_number": "", "seats": [["seat_number": "9", "category": "Silver"]]]]],
      ], "size": ["width": 100, "height": 100],
    ]
    #expect(await service.call(.post, path, plan, as: .organizer).status == 400)
    let planned = await service.call(.post, path + "?price=Gold:7000&price=Silver:6000", plan, as: .organizer)
    #expect(planned.status == 201, "\(planned.text)")
    let more: JSON = ["sections": [["name": "Boxes", "price": 20_000, "rows": [["row": "1", "seats": 4]]]]]
    #expect(await service.call(.post, path, more, as: .organizer).json["added"] == 4)
    let event = try #require(try await service.events.event(id))
    let totals = Dictionary(uniqueKeysWithValues: event.sections.map { ($0.name, $0.total) })
    #expect(
      totals == [
        "Stalls": 23, "Standing": 35, "Box, \"left\"": 2, "Lawn": 7, "Balcony, Gold": 1, "Balcony, Silver": 1,
        "Silver": 1, "Boxes": 4,
      ])
    let all = try await service.events.seats(event: id, after: 0, limit: 1_000)
    #expect(all.map(\.id) == Array(1...74))
    #expect(all.filter { $0.section == 3 }.map(\.price) == [5000, 4000])
    for text in [
      "", "x", "section,price\nA,1\n", "section,row,seat,price\n", "section,row,seat,price\nA,1,1\n",
      "section,row,seat,price\nA,1,1,cheap\n", "section,row,seat,price\nA,1,1,-1\n",
      "section,row,seat,price\nA,1,,1\n",
      "section,row,seat,price\n,1,1,1\n", "section,row,seat,price\nA,1,1,1\nA,1,1,1\n",
      "section,capacity,price\nA,0,1\n",
      "section,capacity,price\nA,1000000000,1\n", "section,row,seat,price\n\"A,1,1,1\n",
      "seat,row,price\n1,1,1\n",
      "section,seat,capacity,price\nA,1,1,1\n",
      "section,row,seat,price\nA,1,\(String(repeating: "9", count: 51)),1\n",
    ] {
      let answer = await csv(text)
      #expect(answer.status == 400 && answer.code == "invalid_csv", "\(text): \(answer.text)")
    }
    let badText = await service.call(
      .post, path, bytes: [0xff, 0xfe], as: .organizer, headers: [("Content-Type", "text/csv")])
    #expect(badText.status == 400)
    for body: JSON in [
      [:], ["zones": []], ["zones": 7], ["zones": [7]], ["zones": [["rows": 7]]],
      ["zones": [["rows": [["seats": [7]]]]]],
      ["zones": [["rows": [["seats": [["seat_number": "1", "category": "Nowhere"]]]]]]],
      [
        "zones": [["rows": [["seats": [["seat_number": 1, "category": "Gold"]]]]]],
        "categories": [["name": "Gold"]],
      ],
      ["zones": [], "prices": ["Gold": "x"]], ["sections": []], ["sections": [["name": "A", "price": 1]]],
    ] {
      let answer = await service.call(.post, path, body, as: .organizer)
      #expect(answer.status == 400, "\(body.text): \(answer.text)")
    }
    #expect(await service.call(.post, path + "?price=Gold", plan, as: .organizer).status == 400)
    #expect(try await service.events.event(id)?.total == 74)
  }

  @Test("Statistics tell tickets, queue and sales; an event without a queue has none")
  func stats() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent()
    let path = "/api/admin/events/\(id)/stats"
    let draft = await service.call(.get, path, as: .organizer)
    #expect(draft.status == 200 && draft.json["queue"] == .null)
    #expect(draft.json["tickets"] == ["total": 52, "available": 52, "held": 0, "sold": 0])
    _ = await service.call(.post, "/api/admin/events/\(id)/open", as: .organizer)
    let open = await service.call(.get, path, as: .organizer)
    #expect(open.json["queue"]?["state"] == "open")
    #expect(open.json["sales"]?["amount"] == 0)
    let list = await service.call(.get, "/api/admin/events?after=\(id - 1)&limit=1", as: .organizer)
    #expect(list.json["events"]?[0]?["id"]?.integer == id)
  }

  @Test("An event without tickets cannot be opened")
  func empty() async throws {
    let service = try await Service.shared()
    let rows = try await service.postgres.query(
      """
      INSERT INTO event (name, location, date, currency, owner)
      VALUES ('x', 'y', now() + interval '1 year', 'EUR', 'boss') RETURNING id
      """)
    let id = try #require(try rows.first?.int("id"))
    #expect(await service.call(.post, "/api/admin/events/\(id)/open", as: .organizer).status == 409)
  }

  nonisolated static let calls: [(HTTPMethod, String)] = [
    (.get, "/api/admin/events"), (.post, "/api/admin/events"), (.put, "/api/admin/events/1"),
    (.post, "/api/admin/events/1/open"), (.post, "/api/admin/events/1/pause"),
    (.post, "/api/admin/events/1/resume"), (.post, "/api/admin/events/1/close"),
    (.put, "/api/admin/events/1/message"), (.put, "/api/admin/events/1/rate"),
    (.post, "/api/admin/events/1/tickets"), (.get, "/api/admin/events/1/stats"),
    (.get, "/api/admin/events/1/log"),
  ]

  @Test("Customers are told 403, strangers 401, before anything else is looked at", arguments: calls)
  func rights(_ method: HTTPMethod, _ target: String) async throws {
    let service = try await Service.shared()
    for bytes: [UInt8] in [[], Array("{}".utf8), Array("nonsense".utf8)] {
      #expect(await service.call(method, target, bytes: bytes, as: .user("u")).status == 403)
      #expect(await service.call(method, target, bytes: bytes).status == 401)
      #expect(await service.call(method, target, bytes: bytes, as: .token("a.b.c")).status == 401)
      let expired = service.token("boss", .organizer, lifetimeSeconds: -60)
      #expect(await service.call(method, target, bytes: bytes, as: .token(expired)).code == "token_expired")
    }
  }

  @Test(
    "Events that are not there are 404",
    arguments: ["0", "-1", "999999999", "99999999999999999999999", "x", "1;--", "1.0", "%00"])
  func unknown(_ id: String) async throws {
    let service = try await Service.shared()
    for (method, target) in Self.calls where target.contains("/1") {
      let target = target.replacing("/1", with: "/" + id)
      let body: JSON =
        target.hasSuffix("rate")
        ? ["rate": 1] : target.hasSuffix("tickets") ? ["sections": Service.twoSections] : [:]
      let answer = await service.call(method, target, body, as: .organizer)
      #expect(
        answer.status == 404 || (id == "%00" && answer.status == 400), "\(method) \(target): \(answer.text)")
    }
  }
}
