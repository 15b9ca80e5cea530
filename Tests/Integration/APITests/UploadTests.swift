import Catalog
import EventLoop
import HTTPServer
import Identity
import JSON
import Ledger
import Postgres
import Sale
import Testing

@Suite("What organizers upload, and take back")
@LoopActor
struct UploadTests {
  static let standing = "section,capacity,price\nStanding,100,2500\n"

  static func upload(
    _ service: Service, _ id: Int, bytes: [UInt8], type: String = "text/csv", key: String? = nil
  ) async -> Service.Answer {
    await service.call(
      .post, "/api/admin/events/\(id)/tickets", bytes: bytes, as: .organizer,
      headers: [("Content-Type", type)] + (key.map { [("Idempotency-Key", $0)] } ?? []))
  }

  static func total(_ service: Service, _ id: Int) async throws -> Int {
    try #require(try await service.events.event(id)).total
  }

  // MARK: Tables

  nonisolated static let tables: [(name: String, type: String, bytes: [UInt8])] = [
    ("semicolons", "text/csv", Array("section;row;seat;price\r\nLoge;A;1;2500\r\nLoge;A;2;2500\r\n".utf8)),
    (
      "tabs", "text/tab-separated-values",
      Array("section\trow\tseat\tprice\nLoge\tA\t1\t2500\nLoge\tA\t2\t2500".utf8)
    ),
    (
      "Excel's own type", "application/vnd.ms-excel",
      Array("sep=;\r\nsection;row;seat;price\r\nLoge;A;1;2500\r\nLoge;A;2;2500".utf8)
    ),
    (
      "a mark, old line ends", "text/csv",
      [0xEF, 0xBB, 0xBF] + Array("section;row;seat;price\rLoge;A;1;2500\rLoge;A;2;2500\r".utf8)
    ),
    (
      "empty last rows", "text/csv",
      Array("section,row,seat,price\nLoge,A,1,2500\nLoge,A,2,2500\n,,,\n,,,,,\n\n".utf8)
    ),
    (
      "decimal commas", "text/csv",
      Array("section;row;seat;price_major\nLoge;A;1;25,00\nLoge;A;2;\"25,0\"\n".utf8)
    ),
    (
      "decimal points", "text/csv",
      Array("section,row,seat,Price (major)\nLoge,A,1,25.00\nLoge,A,2,25\n".utf8)
    ),
    (
      "UTF-16", "text/csv",
      [0xFF, 0xFE]
        + "section;row;seat;price\nLoge;A;1;2500\nLoge;A;2;2500\n".utf16.flatMap {
          [UInt8($0 & 0xFF), UInt8($0 >> 8)]
        }
    ),
    (
      "quotes", "text/csv; charset=utf-8",
      Array("\"section\",\"row\",\"seat\",\"price\"\n\"Loge\",\"A\",\"1\",\"2500\"\nLoge,A,\"2\",2500\n".utf8)
    ),
  ]

  @Test("A table is read as spreadsheets save it", arguments: tables)
  func tables(_ name: String, _ type: String, _ bytes: [UInt8]) async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent()
    let answer = await Self.upload(service, id, bytes: bytes, type: type)
    #expect(answer.status == 201 && answer.json["added"] == 2, "\(name): \(answer.text)")
    let section = try #require(try await service.events.event(id)).sections.last
    #expect(section?.name == "Loge" && section?.price == 2500, "\(name)")
  }

  @Test("Another encoding is converted where it is named, and else refused with its lines and the remedy")
  func encodings() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent()
    let bytes =
      Array("section;row;seat;price\nParkett;A;1;2500\nBalkon f".utf8) + [0xFC] + Array("r;A;1;2500\n".utf8)
    let refused = await Self.upload(service, id, bytes: bytes)
    #expect(refused.status == 400, "\(refused.text)")
    for word in ["line 3", "column 1", "CSV UTF-8", "charset=windows-1252"] {
      #expect(refused.text.contains(word), "\(word): \(refused.text)")
    }
    let named = await Self.upload(service, id, bytes: bytes, type: "text/csv; charset=windows-1252")
    #expect(named.json["added"] == 2, "\(named.text)")
    #expect(try await service.events.event(id)?.sections.map(\.name).contains("Balkon für") == true)
    #expect(await Self.upload(service, id, bytes: bytes, type: "text/csv; charset=klingon").status == 415)
    for type in [
      "text/csv", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "application/zip",
      "application/vnd.oasis.opendocument.spreadsheet", "application/vnd.apple.numbers",
      "application/octet-stream",
      "application/json", "",
    ] {
      let workbook = await Self.upload(service, id, bytes: [0x50, 0x4B, 3, 4, 0, 0], type: type)
      #expect(workbook.status == 400 && workbook.text.contains("CSV UTF-8"), "\(type): \(workbook.text)")
    }
    // As Windows writes text, without a mark at its beginning.
    let table = "section;row;seat;price\nPult;A;1;2500\nRang \u{6A13};A;1;2500\n"
    for isLittle in [true, false] {
      let again = try await service.makeEvent()
      let pairs = table.utf16.flatMap { unit -> [UInt8] in
        let bytes = [UInt8(unit & 0xFF), UInt8(unit >> 8)]
        return isLittle ? bytes : bytes.reversed()
      }
      let read = await Self.upload(service, again, bytes: pairs)
      #expect(read.status == 201 && read.json["added"] == 2, "\(read.text)")
      #expect(try await service.events.event(again)?.sections.map(\.name).contains("Rang \u{6A13}") == true)
    }
  }

  @Test("Everything that is wrong in a table is told at once, by line and column, and nothing is taken")
  func problems() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent()
    let text = """
      section;row;seat;price
      Loge;A;1;2500
      ;A;2;2500
      Loge;A;3;25,00
      Loge;A;;2500
      Loge;A;4
      Loge;A;5;cheap
      """
    let answer = await Self.upload(service, id, bytes: Array(text.utf8))
    #expect(answer.status == 400 && answer.code == "invalid_csv")
    let detail = try #require(answer.json["detail"]?.string)
    for words in [
      "Line 3, column 1 (`section`) is empty", "Line 4, column 4 (`price`) \"25,00\"", "`price_major`",
      "Line 5, column 3 (`seat`) is empty", "Line 6 has 3 values for 4 columns",
      "Line 7, column 4 (`price`) \"cheap\"",
    ] {
      #expect(detail.contains(words), "\(words): \(detail)")
    }
    #expect(try await Self.total(service, id) == 52)
    let header = await Self.upload(service, id, bytes: Array("Bereich;Reihe;Platz;Preis\nLoge;A;1;1\n".utf8))
    #expect(
      header.text.contains("Line 1") && header.text.contains("`section`") && header.text.contains("`Bereich`")
    )
  }

  @Test("Prices in main units are those of the event's currency")
  func mainUnits() async throws {
    let service = try await Service.shared()
    let sections: JSON = [["name": "A", "price": 9000, "capacity": 1]]
    let yen = try await service.makeEvent(Service.event(sections: sections, [("currency", "JPY")]))
    #expect(
      await Self.upload(service, yen, bytes: Array("section,capacity,price_major\nB,2,8800\n".utf8)).status
        == 201)
    #expect(try await service.events.event(yen)?.sections.last?.price == 8_800)
    let broken = await Self.upload(
      service, yen, bytes: Array("section,capacity,price_major\nC,2,88.50\n".utf8))
    #expect(broken.status == 400 && broken.text.contains("JPY"), "\(broken.text)")
    // One, or a thousand: in another country the mark means the other.
    let euro = try await service.makeEvent()
    for (event, price) in [(yen, "1,000"), (euro, "1,000"), (euro, "1.000"), (euro, "2,500")] {
      let text = "section,capacity,price_major\nD,2,\"\(price)\"\n"
      let unclear = await Self.upload(service, event, bytes: Array(text.utf8))
      #expect(unclear.status == 400 && unclear.text.contains("two ways"), "\(unclear.text)")
    }
    let dinar = try await service.makeEvent(Service.event(sections: sections, [("currency", "KWD")]))
    let whole = Array("section,capacity,price_major\nD,2,1.500\n".utf8)
    #expect(await Self.upload(service, dinar, bytes: whole).status == 201)
    #expect(try await service.events.event(dinar)?.sections.last?.price == 1_500)
  }

  @Test("Seats of a table sit side by side as its lines follow each other, with no number left out")
  func tableNeighbours() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent(
      Service.event(sections: [["name": "Z", "price": 9000, "capacity": 1]]))
    let seats = ["7", "5", "3", "1", "2", "4", "8", "10"]
    let lines = seats.map { "Loge,E,\($0),2500" }.joined(separator: "\n")
    _ = await Self.upload(service, id, bytes: Array("section,row,seat,price\n\(lines)\n".utf8))
    let inventory = try await SeatStore(service.postgres).inventory(event: id)
    let runs = Dictionary(grouping: inventory.tickets.filter { $0.row == "E" }, by: { $0.run })
      .values.map { $0.sorted { ($0.place ?? 0) < ($1.place ?? 0) }.compactMap(\.seat) }.sorted {
        $0.count > $1.count
      }
    #expect(runs == [["7", "5", "3", "1", "2", "4"], ["8", "10"]])
  }

  // MARK: Again, and back

  @Test("The same upload under the same key is there once; another one under it is refused")
  func idempotent() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent()
    let first = await Self.upload(service, id, bytes: Array(Self.standing.utf8), key: "up-1")
    let again = await Self.upload(service, id, bytes: Array(Self.standing.utf8), key: "up-1")
    #expect(first.status == 201 && again.status == 200, "\(first.text) \(again.text)")
    #expect(first.json["added"] == again.json["added"] && first.json["upload"] == again.json["upload"])
    #expect(try await Self.total(service, id) == 152)
    let other = await Self.upload(
      service, id, bytes: Array("section,capacity,price\nX,1,1000\n".utf8), key: "up-1")
    #expect(other.status == 422, "\(other.text)")
    #expect(
      await Self.upload(service, id, bytes: Array(Self.standing.utf8), key: "up-2").json["added"] == 100)
    func create() async -> Service.Answer {
      await service.call(
        .post, "/api/admin/events", Service.event(), as: .organizer, headers: [("Idempotency-Key", "make-1")])
    }
    let made = await create(), same = await create()
    #expect(made.status == 201 && same.status == 200 && made.json["id"] == same.json["id"])
  }

  @Test("An upload is undone while nothing of it is held or sold, before the sale and during it")
  func undo() async throws {
    let service = try await Service.shared()
    for opens in [false, true] {
      let id = try await service.makeEvent(opens: opens)
      let path = "/api/admin/events/\(id)/uploads"
      let number = try #require(
        await Self.upload(service, id, bytes: Array(Self.standing.utf8)).json["upload"]?.integer)
      #expect(try await Self.total(service, id) == 152)
      let undone = await service.call(.delete, "\(path)/\(number)", as: .organizer)
      #expect(undone.status == 200 && undone.json["removed"] == 100, "\(undone.text)")
      #expect(try await Self.total(service, id) == 52)
      #expect(await service.call(.delete, "\(path)/\(number)", as: .organizer).status == 409)
      let list = await service.call(.get, path, as: .organizer)
      #expect(list.json["uploads"]?[0]?["undone"] == true)
      // The same seats may come again, and what is sold stays.
      let seats = Array("section,row,seat,price\nLoge,A,1,2500\nLoge,A,2,2500\n".utf8)
      let loge = try #require(await Self.upload(service, id, bytes: seats).json["upload"]?.integer)
      #expect(await service.call(.delete, "\(path)/\(loge)", as: .organizer).status == 200)
      let more = try #require(await Self.upload(service, id, bytes: seats).json["upload"]?.integer)
      _ = try await service.postgres.query(
        "UPDATE ticket SET purchased = true, payment_id = 'p' WHERE event_id = \(id) AND upload = \(more) AND seat = '2'"
      )
      let refused = await service.call(.delete, "\(path)/\(more)", as: .organizer)
      #expect(refused.status == 409 && refused.text.contains("row A seat 2"), "\(refused.text)")
      // What was blocked of an upload goes with it, and its key brings nothing back unseen.
      let pit = Array("section,row,seat,price\nPit,A,1,2500\nPit,A,2,2500\n".utf8)
      let key = try #require(await Self.upload(service, id, bytes: pit, key: "pit").json["upload"]?.integer)
      let one: JSON = ["section": "Pit", "row": "A", "seats": ["1"]]
      let block = "/api/admin/events/\(id)/tickets/block"
      #expect(await service.call(.post, block, one, as: .organizer).json["blocked"] == 1)
      #expect(await service.call(.delete, "\(path)/\(key)", as: .organizer).json["removed"] == 2)
      #expect(await Self.upload(service, id, bytes: pit, key: "pit").status == 409)
      #expect(await Self.upload(service, id, bytes: pit, key: "pit again").json["added"] == 2)
    }
  }

  @Test("Blocked seats leave every list and come back when they are released; a capacity can be lowered")
  func block() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent(opens: true)
    let path = "/api/admin/events/\(id)"
    let row: JSON = ["section": "Stalls", "row": "A", "seats": ["2", "3"]]
    #expect(await service.call(.post, path + "/tickets/block", row, as: .organizer).json["blocked"] == 2)
    #expect(try await Self.total(service, id) == 50)
    let inventory = try await SeatStore(service.postgres).inventory(event: id)
    #expect(inventory.withheld == [2, 3])
    let seats = try await service.events.seats(event: id, after: 0, limit: 4)
    #expect(seats.map(\.id) == [1, 4, 5, 6])
    #expect(await service.call(.post, path + "/tickets/release", row, as: .organizer).json["released"] == 2)
    #expect(try await Self.total(service, id) == 52)
    let lower: JSON = ["section": "Standing", "capacity": 12]
    #expect(await service.call(.put, path + "/sections", lower, as: .organizer).json["removed"] == 18)
    #expect(try await Self.total(service, id) == 34)
    let higher: JSON = ["section": "Standing", "capacity": 20]
    #expect(await service.call(.put, path + "/sections", higher, as: .organizer).status == 200)
    #expect(try await Self.total(service, id) == 42)
    // Asked for twice at once, they are there once; blocked ones count; seats are what they are.
    let twice = ["section": "Standing", "capacity": 25] as JSON
    async let one = service.call(.put, path + "/sections", twice, as: .organizer)
    async let other = service.call(.put, path + "/sections", twice, as: .organizer)
    #expect(await [one.status, other.status] == [200, 200])
    #expect(try await Self.total(service, id) == 47)
    let seated: JSON = ["section": "Stalls", "capacity": 100]
    #expect(await service.call(.put, path + "/sections", seated, as: .organizer).status == 409)
    for body: JSON in [[:], ["section": "Nowhere", "capacity": 1], ["section": "Stalls", "prise": 1]] {
      #expect((400..<410).contains(await service.call(.put, path + "/sections", body, as: .organizer).status))
    }
  }

  @Test(
    "Price and name of a section change before the sale or while it is paused, while nobody has any of it")
  func sectionChanges() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent()
    let path = "/api/admin/events/\(id)"
    let change: JSON = ["section": "Standing", "name": "Floor", "price": 1700]
    #expect(await service.call(.put, path + "/sections", change, as: .organizer).status == 200)
    let event = try #require(try await service.events.event(id))
    #expect(event.sections.last?.name == "Floor" && event.sections.last?.price == 1_700)
    _ = await service.call(.post, path + "/open", as: .organizer)
    let dearer: JSON = ["section": "Floor", "price": 1900]
    #expect(await service.call(.put, path + "/sections", dearer, as: .organizer).status == 409)
    _ = await service.call(.post, path + "/pause", as: .organizer)
    #expect(await service.call(.put, path + "/sections", dearer, as: .organizer).status == 200)
    _ = try await service.postgres.query(
      "UPDATE ticket SET purchased = true, payment_id = 'p' WHERE event_id = \(id) AND id = 52")
    #expect(await service.call(.put, path + "/sections", dearer, as: .organizer).status == 409)
  }

  // MARK: Whose, and when

  @Test("Organizers see and change their own events, those of their organization, and managers all")
  func owners() async throws {
    let service = try await Service.shared()
    let mine = try await service.makeEvent()
    let other = Service.Caller.token(service.token("somebody else", .organizer))
    let manager = Service.Caller.token(service.token("the house", .manager))
    let path = "/api/admin/events/\(mine)"
    for (method, target) in [
      (.put, path), (.post, path + "/open"), (.put, path + "/message"), (.get, path + "/stats"),
      (.get, path + "/log"),
      (.post, path + "/tickets"), (.get, path + "/uploads"), (.delete, path), (.get, "/api/event/\(mine)"),
    ] as [(HTTPMethod, String)] {
      let body: JSON? =
        method == .get ? nil : target.hasSuffix("tickets") ? ["sections": Service.twoSections] : [:]
      #expect(await service.call(method, target, body, as: other).status == 404, "\(method) \(target)")
    }
    let list = await service.call(.get, "/api/admin/events?after=\(mine - 1)&limit=1", as: other)
    #expect(list.json["events"]?[0]?["id"]?.integer != mine)
    #expect(await service.call(.get, path + "/stats", as: manager).status == 200)
    #expect(await service.call(.put, path, ["name": "By the house"], as: manager).status == 200)
    let owner = EventOwner(user: "a", organizations: ["x", "y"])
    #expect(owner.isOne("a", of: []) && owner.isOne("b", of: ["y"]) && !owner.isOne("b", of: ["z"]))
    #expect(!EventOwner(user: nil).isOne("b", of: []))
    // Of one of which nobody noted who made it.
    _ = try await service.postgres.query("UPDATE event SET owner = NULL WHERE id = \(mine)")
    #expect(await service.call(.get, path + "/stats", as: .organizer).status == 404)
    #expect(await service.call(.put, path, ["name": "Mine"], as: .organizer).status == 404)
    #expect(await service.call(.get, path + "/stats", as: manager).status == 200)
    let seen = await service.call(.get, "/api/admin/events?after=\(mine - 1)&limit=1", as: .organizer)
    #expect(seen.json["events"]?[0]?["id"]?.integer != mine)
    try await service.events.setOwner(event: mine, "boss", by: "cli:test")
    #expect(await service.call(.get, path + "/stats", as: .organizer).status == 200)
    #expect(await service.call(.get, path + "/stats", as: other).status == 404)
    // Colleagues of who leaves go on, until it is said otherwise.
    let changes: [([String]?, [String])] = [(["x", "y"], ["x", "y"]), (nil, ["x", "y"]), ([], [])]
    for (organizations, left) in changes {
      try await service.events.setOwner(event: mine, "boss", organizations: organizations, by: "cli:test")
      let owner = try await service.events.owner(event: mine)?.owner
      #expect(owner == EventOwner(user: "boss", organizations: left))
    }
  }

  @Test(
    "A draft is deleted with all it has; one that was announced or opened is not; a closed draft stays hidden"
  )
  func drafts() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent()
    #expect(await service.call(.delete, "/api/admin/events/\(id)", as: .organizer).status == 200)
    #expect(await service.call(.get, "/api/admin/events/\(id)/stats", as: .organizer).status == 404)
    let open = try await service.makeEvent(opens: true)
    #expect(await service.call(.delete, "/api/admin/events/\(open)", as: .organizer).status == 409)
    let announced = try await service.makeEvent(Service.event([("onsale_at", "2031-01-01T00:00:00Z")]))
    #expect(await service.call(.delete, "/api/admin/events/\(announced)", as: .organizer).status == 409)
    let closed = try await service.makeEvent()
    #expect(await service.call(.post, "/api/admin/events/\(closed)/close", as: .organizer).status == 200)
    #expect(await service.call(.get, "/api/event/\(closed)", as: .user("u")).status == 404)
    #expect(try await service.events.event(closed)?.settings.isUnannounced == true)
  }

  @Test("An event of the past is not sold, unless its sale ends later; a sale whose time is over closes")
  func past() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent(Service.event([("date", "2020-01-01T19:30:00Z")]))
    let path = "/api/admin/events/\(id)"
    let refused = await service.call(.post, path + "/open", as: .organizer)
    #expect(refused.status == 409 && refused.text.contains("sales_end_at"), "\(refused.text)")
    #expect(
      await service.call(.put, path, ["sales_end_at": "2034-01-01T00:00:00Z"], as: .organizer).status == 200)
    #expect(await service.call(.post, path + "/open", as: .organizer).status == 200)
    let now = WallClock.milliseconds
    #expect(try await !service.events.openDue(clocks: (now, now)).map(\.id).contains(id))
    // A date that was mistyped must not end a sale for good.
    for change: JSON in [
      ["sales_end_at": .null], ["sales_end_at": "2020-02-01T19:30:00Z"],
      ["sales_end_at": .null, "date": "2020-03-01T19:30:00Z"],
    ] {
      let refused = await service.call(.put, path, change, as: .organizer)
      #expect(refused.status == 409 && refused.text.contains("for good"), "\(refused.text)")
    }
    #expect(try await service.events.event(id)?.settings.state == "open")
    _ = try await service.postgres.query("UPDATE event SET sales_end_at = NULL WHERE id = \(id)")
    let ended = try await service.events.openDue(clocks: (now, now)).first { $0.id == id }
    #expect(ended?.state == "closed")
  }

  @Test("Who has tickets of an event that moved is told where and when it was to be")
  func moved() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent(opens: true)
    let changes: JSON = ["date": "2031-06-20T19:30:00Z", "location": "Other Hall"]
    #expect(await service.call(.put, "/api/admin/events/\(id)", changes, as: .organizer).status == 200)
    _ = try await service.postgres.transaction([
      """
      INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method, sold_at)
      VALUES (\(id), 1, 1, 'mover', 'sold', 1, '{1}', 9000, 'EUR', 'pm', now())
      """
    ])
    let shown = await service.call(.get, "/api/event/\(id)", as: .user("mover"))
    #expect(
      shown.json["date_was"] == "2031-05-20T19:30:00Z" && shown.json["location_was"] == "Hall",
      "\(shown.text)")
    let description = try #require(try await service.catalog.description(of: id))
    let machines = try JSON(parsing: description.json)
    #expect(machines["eventStatus"] == "https://schema.org/EventRescheduled")
    #expect(machines["previousStartDate"]?.string?.hasPrefix("2031-05-20T19:30:00") == true)
    #expect(description.facts.contains("Moved from Hall"), "\(description.facts)")
    let mine = await service.call(.get, "/api/me/tickets", as: .user("mover"))
    let purchase = mine.json["purchases"]?[0]
    #expect(purchase?["event_date"] == "2031-06-20T19:30:00Z", "\(mine.text)")
    #expect(
      purchase?["event_date_was"] == "2031-05-20T19:30:00Z" && purchase?["event_location_was"] == "Hall")
  }

  @Test(
    "A postponed event keeps what was bought, sells nothing unless it is kept open, and has its date again with a new one"
  )
  func postponed() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent(opens: true)
    let path = "/api/admin/events/\(id)"
    _ = try await service.postgres.transaction([
      """
      INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method, sold_at)
      VALUES (\(id), 1, 1, 'patient', 'sold', 1, '{1}', 9000, 'EUR', 'pm', now())
      """
    ])
    let done = await service.call(.post, path + "/postpone", as: .organizer)
    #expect(done.status == 200 && done.json["state"] == "stopped", "\(done.text)")
    #expect(await service.call(.post, path + "/postpone", ["keep": true], as: .organizer).status == 400)
    let shown = await service.call(.get, "/api/event/\(id)", as: .user("patient"))
    #expect(shown.json["postponed"] == true && shown.json["sales_end_at"] == .null, "\(shown.text)")
    #expect(shown.json["date"] == "2031-05-20T19:30:00Z")
    let told = try #require(try await service.catalog.description(of: id))
    #expect(
      told.facts.first == "Postponed, new date to follow. It was to be on Tuesday, 20 May 2031, 19:30 (UTC)")
    let machines = try JSON(parsing: told.json)
    #expect(machines["eventStatus"] == "https://schema.org/EventPostponed", "\(machines.text)")
    #expect(machines["previousStartDate"]?.string?.hasPrefix("2031-05-20T19:30:00") == true)
    let calendar = String(decoding: told.calendar, as: UTF8.self)
    #expect(
      calendar.contains("\r\nSTATUS:TENTATIVE\r\n") && calendar.contains("\r\nSUMMARY:Postponed: "),
      "\(calendar)")
    let mine = await service.call(.get, "/api/me/tickets", as: .user("patient"))
    #expect(mine.json["purchases"]?[0]?["event_postponed"] == true, "\(mine.text)")

    // The old date ends nothing any more, and closes nothing for good.
    _ = try await service.postgres.query("UPDATE event SET date = '2020-01-01' WHERE id = \(id)")
    let now = WallClock.milliseconds
    #expect(try await !service.events.openDue(clocks: (now, now)).map(\.id).contains(id))
    #expect(await service.call(.post, path + "/resume", as: .organizer).json["state"] == "open")
    #expect(try await !service.events.openDue(clocks: (now, now)).map(\.id).contains(id))
    let kept = await service.call(.post, path + "/postpone", ["keep_open": true], as: .organizer)
    #expect(kept.json["state"] == "open", "\(kept.text)")
    #expect(await service.call(.post, path + "/postpone", as: .organizer).json["state"] == "stopped")

    for change: JSON in [
      ["date": "2020-03-01T19:30:00Z"],
      ["date": "2031-06-20T19:30:00Z", "sales_end_at": "2020-03-01T19:30:00Z"],
    ] {
      let refused = await service.call(.put, path, change, as: .organizer)
      #expect(refused.status == 409 && refused.text.contains("for good"), "\(refused.text)")
    }
    let moved = await service.call(.put, path, ["date": "2031-06-20T19:30:00Z"], as: .organizer)
    #expect(moved.json["state"] == "stopped", "who stopped it goes on: \(moved.text)")
    let again = try #require(try await service.events.event(id))
    #expect(!again.isPostponed && again.dateWas != nil)
    #expect(try await !service.events.openDue(clocks: (now, now)).map(\.id).contains(id))
    #expect(await service.call(.post, path + "/resume", as: .organizer).json["state"] == "open")
  }

  @Test("A postponed draft does not open by itself, and one that is cancelled is not postponed")
  func postponedDraft() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent(opens: false)
    let path = "/api/admin/events/\(id)", now = WallClock.milliseconds
    #expect(await service.call(.post, path + "/postpone", as: .organizer).json["state"] == "draft")
    _ = try await service.postgres.query("UPDATE event SET onsale_at = now() WHERE id = \(id)")
    #expect(try await !service.events.openDue(clocks: (now + 60_000, now + 60_000)).map(\.id).contains(id))
    #expect(await service.call(.put, path, ["date": "2031-06-20T19:30:00Z"], as: .organizer).status == 200)
    #expect(try await service.events.event(id)?.dateWas != nil)
    // Nor at once with its new date: nobody was told of a time.
    #expect(try await !service.events.openDue(clocks: (now + 60_000, now + 60_000)).map(\.id).contains(id))
    _ = try await service.postgres.query("UPDATE event SET onsale_at = now() WHERE id = \(id)")
    #expect(try await service.events.openDue(clocks: (now + 60_000, now + 60_000)).map(\.id).contains(id))
    #expect(await service.call(.post, path + "/cancel", ["reason": "Fire"], as: .organizer).status == 202)
    #expect(await service.call(.post, path + "/postpone", as: .organizer).status == 409)
    let told = try #require(try await service.catalog.description(of: id))
    #expect(String(decoding: told.calendar, as: UTF8.self).contains("\r\nSTATUS:CANCELLED\r\n"))
  }

  @Test(
    "A name of nothing that is seen is none",
    arguments: ["  ", "\u{3000}", "\u{200B}\u{2060}", "\u{3164}", "\u{2800} "])
  func invisible(name: String) async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent(opens: false)
    let refused = await service.call(.put, "/api/admin/events/\(id)", ["name": .string(name)], as: .organizer)
    #expect(refused.status == 400 && refused.json["errors"]?[0]?["pointer"] == "#/name", "\(refused.text)")
  }
}
