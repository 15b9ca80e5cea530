import EventLoop
import Foundation
import HTTPCommon
import HTTPServer
import JSON
import Postgres
import Testing

@testable import Ledger

/// One mistake that somebody may make in a plan: where it goes, what stands there instead, and what is told about it.
struct Planted {
  enum Step {
    case member(String)
    case element(Int)
  }

  let path: [Step]
  let value: JSON
  let pointer: String
  /// What its sentence says, besides the pointer.
  let words: [String]

  /// Such as `["zones", "0", "rows"]`; numbers are places in lists.
  init(_ path: String, _ value: JSON, pointer: String? = nil, words: [String] = []) {
    self.path = path.split(separator: "/").map { part in
      Int(part).map(Step.element) ?? .member(String(part))
    }
    self.value = value
    self.pointer = "#/" + (pointer ?? path)
    self.words = words
  }

  func applied(to json: JSON) -> JSON { Self.set(json, path[...], value) }

  private static func set(_ json: JSON, _ path: ArraySlice<Step>, _ value: JSON) -> JSON {
    guard let step = path.first else { return value }
    switch step {
    case .member(let name):
      var members = json.members ?? []
      let new = set(json[name] ?? .null, path.dropFirst(), value)
      if let index = members.firstIndex(where: { $0.name == name }) {
        members[index].value = new
      } else {
        members.append((name, new))
      }
      return .object(members)
    case .element(let index):
      var elements = json.array ?? []
      elements[index] = set(elements[index], path.dropFirst(), value)
      return .array(elements)
    }
  }
}

@Suite("What is wrong is told at once")
@LoopActor
struct FindingsTests {
  private struct Random: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var mixed = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
      mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
      return mixed ^ (mixed >> 31)
    }
  }

  /// Three zones of four rows of twelve seats, each with a name of its own, and two areas in each.
  private static func event() -> JSON {
    let zones = ["Parkett", "Rang", "Loge"].map { zone -> JSON in
      let rows = (0..<4).map { row -> JSON in
        let seats = (0..<12).map { seat -> JSON in
          [
            "seat_number": .string("\(seat + 1)"), "seat_guid": .string("\(zone)-\(row)-\(seat)"),
            "category": "S", "position": ["x": .integer(seat * 25), "y": 0],
          ]
        }
        return [
          "row_number": .string("\(row)"), "position": ["x": 0, "y": .integer(row * 30)], "rotation": 0,
          "seats": .array(seats),
        ]
      }
      let areas = (0..<2).map { Plans.standing("\(zone) area \($0)", uuid: "\(zone)-area-\($0)") }
      return [
        "name": .string(zone), "position": ["x": 0, "y": 0], "rows": .array(rows), "areas": .array(areas),
      ]
    }
    return SeatingPlanTests.event(
      [
        "name": "House", "size": ["width": 1000, "height": 600],
        "categories": [["name": "S"], ["name": "T"], ["name": "U"]], "zones": .array(zones),
      ], ["S": 2500, "T": ["price": 1000, "name": "Cheap"]])
  }

  private static let long = JSON.string(String(repeating: "x", count: 3_000))

  /// Of each kind one, at a place that no other one is at.
  private static func kinds(zone: Int, row: Int) -> [Planted] {
    let zoneName = ["Parkett", "Rang", "Loge"][zone]
    let zonePath = "plan/zones/\(zone)", rowPath = "\(zonePath)/rows/\(row)"
    // What is wrong with a name is elsewhere than what is named by it.
    let otherZone = "plan/zones/\((zone + 1) % 3)", otherRow = "\(zonePath)/rows/\((row + 1) % 3)"
    func seat(_ number: Int, _ member: String, _ value: JSON) -> Planted {
      // Its own number is in doubt where that is what is wrong.
      let own = member == "seat_number" ? [] : ["seat \"\(number + 1)\""]
      return Planted(
        "\(rowPath)/seats/\(number)/\(member)", value,
        words: ["one \"\(zoneName)\"", "row \"\(row)\""] + own)
    }
    return [
      seat(0, "seat_number", ["a": 1]), seat(1, "seat_number", long), seat(2, "seat_guid", "a\u{7}b"),
      seat(3, "category", 7), seat(4, "category", "Nope"), seat(5, "category", "VIP"),
      seat(6, "position/x", "12"), seat(7, "position/y", .number(1e9)), seat(8, "position", "here"),
      Planted("\(rowPath)/seats/9", 9, words: ["seat no. 10", "row \"\(row)\""]),
      Planted("\(otherRow)/row_number", []), Planted("\(rowPath)/rotation", "left"),
      Planted("\(rowPath)/position/x", true, words: ["row \"\(row)\""]),
      Planted("\(zonePath)/rows/3", "row", words: ["row no. 4"]),
      Planted("\(zonePath)/rotation", .number(1e6), words: [zoneName]), Planted("\(otherZone)/name", long),
      Planted("\(zonePath)/areas/0/rectangle/width", "wide", words: ["area \"\(zoneName) area 0\""]),
      Planted("\(zonePath)/areas/0/rotation", [7]), Planted("\(zonePath)/areas/1/text/size", "big"),
      Planted("\(zonePath)/areas/1/position/y", "low"),
      Planted("plan/categories/1/name", 7), Planted("plan/categories/2", "U"),
      Planted("plan/size/width", "1000"), Planted("plan/name", [1]),
      Planted("prices/U", "cheap"), Planted("prices/T/prise", 7), Planted("prices/T/price", -1),
      Planted("prices/Gould", 7, pointer: "prices", words: ["Gould"]),
      Planted("capacities/Pit", 9, pointer: "capacities", words: ["Pit"]),
      Planted("capacities/a~b%2F", 0, pointer: "capacities/a~0b%252F"),
      Planted("hold_secconds", 30, words: ["cannot be set here"]), Planted("hold_seconds", "30"),
      Planted("date", "tomorrow"), Planted("onsale_at", 7), Planted("currency", "EURO"),
      Planted("time_zone", "Europe/Berlyn"), Planted("location", ""), Planted("description", 7),
    ]
  }

  @Test(
    "A plan with mistakes of any kinds names each of them, by its place, and nothing else", arguments: 0..<80)
  func planted(_ seed: Int) async throws {
    let service = try await Service.shared()
    var random = Random(state: UInt64(seed) &* 0x9E37_79B9_7F4A_7C15)
    var kinds = Self.kinds(
      zone: Int.random(in: 0..<3, using: &random), row: Int.random(in: 0..<3, using: &random))
    kinds.shuffle(using: &random)
    let count = seed == 0 ? kinds.count : Int.random(in: 1...kinds.count, using: &random)
    var chosen = Array(kinds.prefix(count))
    // What a category costs whose name is broken is the price of none.
    if chosen.contains(where: { $0.pointer == "#/plan/categories/1/name" }) {
      chosen.removeAll { $0.pointer == "#/prices/T/price" }
      chosen.append(Planted("", .null, pointer: "prices", words: ["\"T\""]))
    }
    let before = try await service.postgres.query("SELECT count(*) AS n FROM event")[0].int("n")
    let body = chosen.filter { !$0.path.isEmpty }.reduce(Self.event()) { $1.applied(to: $0) }
    let answer = await service.call(.post, "/api/admin/events", body, as: .organizer)
    #expect(answer.status == 400 && answer.code == "invalid_field", "seed \(seed): \(answer.text)")
    let told = answer.json["errors"]?.array ?? []
    #expect(
      told.compactMap { $0["pointer"]?.string }.sorted() == chosen.map(\.pointer).sorted(), "seed \(seed)")
    for mistake in chosen {
      let sentences = told.filter { $0["pointer"]?.string == mistake.pointer }.compactMap {
        $0["detail"]?.string
      }
      #expect(
        sentences.contains { sentence in mistake.words.allSatisfy { sentence.contains($0) } },
        "seed \(seed), \(mistake.pointer): \(sentences)")
      // The same for who reads nothing but the text.
      #expect(sentences.allSatisfy { answer.json["detail"]?.string?.contains($0) == true }, "seed \(seed)")
    }
    let after = try await service.postgres.query("SELECT count(*) AS n FROM event")[0].int("n")
    #expect(after == before, "nothing is made of it")
  }

  @Test("More mistakes than anybody reads are counted")
  func many() async throws {
    let service = try await Service.shared()
    let sections = JSON.array((0..<130).map { ["name": .string("S\($0)"), "price": "x", "capacity": 1] })
    let answer = await service.call(
      .post, "/api/admin/events", Service.event(sections: sections), as: .organizer)
    #expect(answer.status == 400 && answer.json["errors"]?.array?.count == 100, "\(answer.text)")
    #expect(answer.json["detail"]?.string?.hasSuffix("And 30 more.\nNothing was taken.") == true)
  }

  @Test("Sections name their mistakes by section and row")
  func sections() async throws {
    let service = try await Service.shared()
    let sections: JSON = [
      ["name": "Stalls", "price": 100, "rows": [["row": "A", "seats": 0], ["row": "A", "seats": 2], 7]],
      ["name": "Stalls", "price": "1", "capacity": 1], ["name": "Box", "price": 100],
      ["price": 100, "capacity": 0, "rows": []], "Pit",
    ]
    let id = try await service.makeEvent()
    for (method, path, body) in [
      (.post, "/api/admin/events", Service.event(sections: sections)),
      (.post, "/api/admin/events/\(id)/tickets", ["sections": sections]),
    ] as [(HTTPMethod, String, JSON)] {
      let answer = await service.call(method, path, body, as: .organizer)
      let told = answer.json["errors"]?.array ?? []
      #expect(
        told.compactMap { $0["pointer"]?.string } == [
          "#/sections/4", "#/sections/0/rows/2", "#/sections/0/rows/0/seats", "#/sections/0/rows/1/row",
          "#/sections/1/name", "#/sections/1/price", "#/sections/2/capacity", "#/sections/3/name",
          "#/sections/3/capacity", "#/sections/3/capacity", "#/sections/3/rows",
        ], "\(answer.text)")
      #expect(
        told.contains {
          $0["detail"]?.string
            == "Section \"Stalls\", row \"A\": the field `sections[0].rows[0].seats` must be from 1 to 200000."
        }, "\(answer.text)")
    }
    #expect(try await service.events.event(id)?.total == 52)
  }

  @Test(
    "A table tells line and column also to programs, seats that come twice, and rows below a broken first line"
  )
  func tables() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent()
    let twice = "section;row;seat;price\nLoge;A;1;2500\nLoge;A;2;25\u{20ac}\nLoge;A;1;2500\nLoge;A;1;2500\n"
    let answer = await UploadTests.upload(service, id, bytes: Array(twice.utf8))
    let errors = answer.json["errors"]?.array ?? []
    #expect(errors.compactMap { $0["line"]?.integer } == [3, 4, 5], "\(answer.text)")
    #expect(errors.map { $0["column"]?.string } == ["price", "seat", "seat"])
    #expect(errors.last?["detail"]?.string?.contains("as line 2 is") == true)
    let header =
      "section;row;seat;price;price_major\nLoge;A;1;1;1\n;A;2;1;1\nLoge;A;\(String(repeating: "9", count: 90));1;1\n"
    let below = await UploadTests.upload(service, id, bytes: Array(header.utf8))
    #expect(
      below.json["errors"]?.array?.compactMap { $0["line"]?.integer } == [1, 3, 4], "\(below.text)")
    #expect(try await service.events.event(id)?.total == 52)
  }

  @Test("Items of the query are told with what is wrong in the plan behind them; so are all of a change")
  func others() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent()
    let plan = Planted("zones/0/rows/0/rotation", "left").applied(
      to: Plans.plan([Plans.row("A", at: 0, ["1", "2"])]))
    let upload = await service.call(
      .post, "/api/admin/events/\(id)/tickets?price=S&price=S:x&capacity=Floor:0", plan, as: .organizer)
    let errors = upload.json["errors"]?.array ?? []
    #expect(
      errors.compactMap { $0["parameter"]?.string } == ["price", "price", "capacity"], "\(upload.text)")
    #expect(errors.compactMap { $0["pointer"]?.string } == ["#/zones/0/rows/0/rotation"])
    let path = "/api/admin/events/\(id)"
    for (method, target, body, pointers) in [
      (
        .put, path, ["name": "", "date": "x", "hold_seconds": 0, "nmae": "x"],
        ["#/nmae", "#/name", "#/date", "#/hold_seconds"]
      ),
      (
        .put, path + "/sections", ["section": 7, "price": -1, "capacity": "x"],
        ["#/section", "#/price", "#/capacity", "#/capacity"]
      ),
      (.patch, path + "/tickets", ["price": "x", "row": 7], ["#/price", "#/section", "#/row"]),
      (
        .post, path + "/tickets/block", ["section": "Stalls", "row": [], "seats": "1", "seat": 1],
        ["#/seat", "#/row", "#/seats"]
      ),
    ] as [(HTTPMethod, String, JSON, [String])] {
      let answer = await service.call(method, target, body, as: .organizer)
      #expect(
        answer.json["errors"]?.array?.compactMap { $0["pointer"]?.string } == pointers, "\(answer.text)")
    }
  }

  @Test("Seats that are there already are all named")
  func already() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent()
    let table = Array("section,row,seat,price\nBox,A,1,2500\nBox,A,2,2500\n".utf8)
    #expect(await UploadTests.upload(service, id, bytes: table).status == 201)
    let again = await UploadTests.upload(service, id, bytes: table)
    #expect(again.status == 409, "\(again.text)")
    for words in ["row A seat 1", "row A seat 2", "Box"] {
      #expect(again.text.contains(words), "\(again.text)")
    }
    #expect(again.json["errors"]?.array?.compactMap { $0["line"]?.integer } == [2, 3], "\(again.text)")
    // Of several sections, between others that are new.
    let mixed =
      "section,row,seat,price\nNew,A,1,900\nStalls,B,10,900\nStalls,Z,1,900\nBox,A,2,900\nNew,A,2,900\n"
    let some = await UploadTests.upload(service, id, bytes: Array(mixed.utf8))
    #expect(
      some.status == 409 && some.json["errors"]?.array?.compactMap { $0["line"]?.integer } == [3, 5],
      "\(some.text)")
  }

  @Test(
    "A quotation mark that is not closed is told by the line that it is in, and hides nothing behind it",
    arguments: [
      ("Box,A,\"1,2500\nBox,A,2,cheap\nBox,A,,2500\n", [2, 3, 4]),
      ("\"Box,A,1,2500\n\"Box\",A,2,2500\nBox,A,3,cheap\n", [2, 4]),
      ("Box,A,1,2500\r\nBox,\"A,2,2500\r\nBox,\"A\",3,2500\r\nBox,\"A,4,2500\r\nBox,A,5,cheap", [3, 5, 6]),
      ("Box,A,1,2500\nBox,A,2,\"2500", [3]), ("Box,A,1,\"", [2]),
    ] as [(String, [Int])])
  func openMarks(_ lines: String, _ told: [Int]) async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent()
    let answer = await UploadTests.upload(
      service, id, bytes: Array(("section,row,seat,price\n" + lines).utf8))
    #expect(answer.status == 400, "\(answer.text)")
    #expect(answer.json["errors"]?.array?.compactMap { $0["line"]?.integer } == told, "\(answer.text)")
    #expect(try await service.events.event(id)?.total == 52)
  }

  @Test("A line break between marks is part of a value, in a column that nobody reads")
  func brokenLines() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent()
    let text = "section,note,row,seat,price\nBox,\"over two\nlines\",A,1,2500\nBox,\"\",A,2,2500\n"
    let answer = await UploadTests.upload(service, id, bytes: Array(text.utf8))
    #expect(answer.status == 201 && answer.json["added"] == 2, "\(answer.text)")
  }
}
