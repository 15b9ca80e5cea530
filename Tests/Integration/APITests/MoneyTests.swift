import Catalog
import EventLoop
import HTTPCommon
import HTTPServer
import JSON
import Postgres
import Sale
import Testing

@testable import Ledger

@Suite("Prices")
@LoopActor
struct MoneyTests {
  private static func event(_ currency: String, _ price: Int, _ more: [(String, JSON)] = []) -> JSON {
    Service.event(
      sections: [["name": "Stalls", "price": .integer(price), "capacity": 2]],
      [("currency", .string(currency))] + more.map { (name: $0.0, value: $0.1) })
  }

  @Test(
    "A price that the provider cannot charge is refused when the event is made, with the reason",
    arguments: [
      ("USD", 49, "below the least"), ("EUR", 1, "below the least"), ("JPY", 49, "below the least"),
      ("HUF", 17_499, "below the least"), ("KWD", 12_345, "multiple"), ("MGA", 200_050, "multiple"),
      ("EUR", 30_000_000, "tickets a person"), ("XXX", 1_000, "not one"), ("ZZZ", 1_000, "not one"),
    ])
  func refused(_ currency: String, _ price: Int, _ reason: String) async throws {
    let service = try await Service.shared()
    let answer = await service.call(
      .post, "/api/admin/events", Self.event(currency, price), as: .organizer)
    #expect(answer.status == 400 && answer.code == "invalid_field", "\(answer.text)")
    #expect(answer.json["detail"]?.string?.contains(reason) == true, "\(answer.text)")
  }

  @Test(
    "What it can charge is taken, and described in the currency's own units",
    arguments: [
      ("HUF", 1_590_000, "15900.00"), ("IDR", 50_000_000, "500000.00"), ("COP", 15_000_000, "150000.00"),
      ("PKR", 500_000, "5000.00"), ("ISK", 15_900, "15900"), ("UGX", 120_000, "120000"),
      ("KWD", 12_340, "12.340"), ("JPY", 8_800, "8800"), ("EUR", 0, "0.00"), ("EUR", 50, "0.50"),
    ])
  func taken(_ currency: String, _ price: Int, _ text: String) async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent(Self.event(currency, price), opens: true)
    let page = await service.call(.get, "/api/event/\(id)", as: .user("a"))
    #expect(page.json["currency"]?.string == currency)
    #expect(page.json["sections"]?.array?.first?["price"]?.integer == price)
    let described = try #require(await service.catalog.description(of: id))
    #expect(String(decoding: described.json, as: UTF8.self).contains(#""lowPrice":"\#(text)""#))
  }

  @Test("Tickets that are added are checked in their event's currency, and so is a higher limit per user")
  func later() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent(Self.event("KWD", 5_000, [("per_user_limit", 2)]))
    let path = "/api/admin/events/\(id)"
    func add(_ price: Int) async -> Service.Answer {
      await service.call(
        .post, path + "/tickets",
        ["sections": [["name": "Balcony", "price": .integer(price), "capacity": 1]]], as: .organizer)
    }
    let between = await add(12_345)
    #expect(between.status == 422 && between.text.contains("multiple"), "\(between.text)")
    #expect(await add(40_000_000).status == 201)
    let higher = await service.call(.put, path, ["per_user_limit": 4], as: .organizer)
    #expect(higher.status == 422 && higher.text.contains("4 tickets a person"), "\(higher.text)")
    #expect(await service.call(.put, path, ["per_user_limit": 1], as: .organizer).status == 200)
  }

  @Test("A section with tickets of several prices shows from where to where they go")
  func range() async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent(Self.event("EUR", 2_500), opens: true)
    let added = await service.call(
      .post, "/api/admin/events/\(id)/tickets",
      ["sections": [["name": "Stalls", "price": 9_900, "capacity": 5]]], as: .organizer)
    #expect(added.status == 201)
    func prices() async throws -> [Int?] {
      let event = try #require(try await service.events.event(id))
      return event.sections.flatMap { [$0.price, $0.maxPrice] }
    }
    #expect(try await prices() == [2_500, 9_900])
    // The cheap ones are sold: nobody is promised one.
    _ = try await service.postgres.query(
      "UPDATE ticket SET purchased = true, payment_id = 'p' WHERE event_id = \(id) AND price = 2500")
    #expect(try await prices() == [9_900, 9_900])
    _ = try await service.postgres.query(
      "UPDATE ticket SET purchased = true, payment_id = 'p' WHERE event_id = \(id)")
    #expect(try await prices() == [2_500, 9_900])
    let page = await service.call(.get, "/api/event/\(id)", as: .user("a"))
    let section = try #require(page.json["sections"]?.array?.first)
    #expect(section["price"]?.integer != nil && section["max_price"]?.integer == 9_900, "\(page.text)")
  }

  @Test(
    "A card's number as a payment method is refused, and not repeated",
    arguments: ["4242424242424242", "4242-4242-4242-4242", "pm_4242424242424242"])
  func cardNumbers(_ number: String) async throws {
    let service = try await Service.shared()
    let id = try await service.makeEvent(opens: true)
    for (path, body) in [
      (
        "/api/ticket/reserve",
        ["event_id": .integer(id), "quantity": 1, "payment_method": .string(number)] as JSON
      ),
      ("/api/ticket/confirm", ["request_id": "x", "payment_method": .string(number)]),
    ] {
      let answer = await service.call(.post, path, body, as: .user("card"))
      #expect(answer.status == 400 && answer.code == "invalid_field", "\(answer.text)")
      #expect(!answer.text.contains("4242"), "\(answer.text)")
    }
  }

  @Test("A search's price is in the currency that it names, which must be one")
  func search() async throws {
    let service = try await Service.shared()
    let unknown = await service.call(.get, "/api/search?max_price=100&currency=XXX", as: .user("a"))
    #expect(unknown.status == 400 && unknown.text.contains("currency"), "\(unknown.text)")
    let known = await service.call(.get, "/api/search?max_price=10000&currency=eur", as: .user("a"))
    #expect(known.status == 200, "\(known.text)")
    for event in known.json["events"]?.array ?? [] { #expect(event["currency"] == "EUR") }
  }
}
