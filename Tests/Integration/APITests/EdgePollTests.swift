import EventLoop
import HTTPCommon
import HTTPServer
import Identity
import JSON
import Postgres
import Redis
import Sale
import Testing

@testable import Archive
@testable import Ledger
@testable import Notifier
@testable import Queue
@testable import StoreCommon

/// Polls where a sale is large, or over.
@Suite("Polls at the edges of a sale")
@LoopActor
struct EdgePollTests {
  private static let reserved = "R|0|\((Time.now + 60) * 1000)|2500|"

  @Test("Seats that were added during the sale have their names for who gets them")
  func addedSeats() async throws {
    let poller = try await Poller()
    let sections: JSON = [["name": "Stalls", "price": 2500, "rows": [["row": "A", "seats": 1]]]]
    let event = try await poller.service.makeEvent(Service.event(sections: sections), opens: true)
    let first = try await poller.join(event, "early")
    try await poller.setFirst(event, Self.reserved + "1|", of: "early")
    let one = await poller.get("/api/request/\(first)").json["tickets"]?[0]
    #expect(one == ["id": 1, "section": "Stalls", "row": "A", "seat": "1", "price": 2500])

    // Who looks at the event has its page and its seats in memory, too.
    let page = "/api/event/\(event)", service = poller.service
    #expect(await service.call(.get, page, as: .user("early")).json["total"] == 1)
    #expect(await service.call(.get, page + "/tickets", as: .user("early")).json["tickets"]?[1] == nil)

    let more: JSON = ["sections": [["name": "Balcony", "price": 4000, "rows": [["row": "Q", "seats": 2]]]]]
    let upload = "/api/admin/events/\(event)/tickets"
    #expect(await poller.service.call(.post, upload, more, as: .organizer).status == 201)
    let second = try await poller.join(event, "late")
    try await poller.set(2, event, Self.reserved + "2|", of: "late")
    let answer = try await poller.until(second, "reserved")
    let two: JSON = ["id": 2, "section": "Balcony", "row": "Q", "seat": "1", "price": 4000]
    #expect(answer.json["tickets"]?[0] == two && answer.json["currency"] == "EUR", "\(answer.text)")
    var seats = await service.call(.get, page + "/tickets", as: .user("early"))
    for _ in 0..<2_000 where seats.json["tickets"]?[1] == nil {
      try await sleep(milliseconds: 5)
      seats = await service.call(.get, page + "/tickets", as: .user("early"))
    }
    let listed = seats.json["tickets"]?[1]
    #expect(
      listed?["section"] == "Balcony" && listed?["row"] == "Q" && listed?["price"] == 4000, "\(seats.text)")
    let shown = await service.call(.get, page, as: .user("early"))
    #expect(shown.json["total"] == 3 && shown.json["sections"]?[1]?["price"] == 4000, "\(shown.text)")
    // A ticket that nobody knows is named by its id, and asked for once.
    let third = try await poller.join(event, "lost")
    try await poller.set(3, event, Self.reserved + "9|", of: "lost")
    #expect(try await poller.until(third, "reserved").json["tickets"]?[0] == ["id": 9])
  }

  @Test("A buyer's poll reads the names of the buyer's tickets, and no others")
  func fewLabels() async throws {
    let poller = try await Poller()
    let service = poller.service
    let event = try await service.makeEvent(opens: true)
    let labels = TicketLabels(seats: SeatStore(service.postgres))
    await labels.load(event, [3, 4])
    #expect(labels.knows(event, [3, 4]) && !labels.knows(event, [5]))
    #expect(labels.json(event: event, ticket: 5) == #"{"id":5}"#)
    // Together, whoever asks for them.
    async let one: Void = labels.load(event, [5, 6])
    async let two: Void = labels.load(event, [6, 7])
    _ = await (one, two)
    #expect(labels.knows(event, [3, 4, 5, 6, 7]))
    #expect(labels.json(event: event, ticket: 7).contains(#""seat":"7""#))
  }

  @Test("When a sale has left Redis, who ended with the line is told so without asking anybody")
  func archived() async throws {
    let poller = try await Poller()
    let service = poller.service
    let event = try await service.makeEvent(opens: true)
    var requests: [String] = []
    for number in 1...150 { requests.append(try await poller.join(event, "crowd \(number)")) }
    #expect(
      await service.call(.delete, "/api/request/\(requests[1])", as: .user("crowd 2")).status == 200)
    #expect(await service.call(.post, "/api/admin/events/\(event)/close", as: .organizer).status == 200)
    let closed = try await poller.until(requests[149], "rejected")
    #expect(closed.json["reason"] == "closed", "\(closed.text)")
    #expect(try await service.queue.leases.own(Partition(of: event), epoch: 1))
    #expect(try await QueueArchive(service.queue, service.postgres).run(event: event, epoch: 1))

    // A server that never heard of it. The first who asks has it read, and so has one with a record of their own.
    let later = try await Poller()
    for number in [0, 1, 149] { _ = await later.get("/api/request/\(requests[number])") }
    try await service.postgres.withTransaction { transaction in
      _ = try await transaction.query(
        "LOCK TABLE queue_outcome, request_archive, purchase, queue_life, lost_place IN ACCESS EXCLUSIVE MODE"
      )
      for number in 99..<150 {
        let answer = await later.get("/api/request/\(requests[number])")
        #expect(answer.json["state"] == "rejected" && answer.json["reason"] == "closed", "\(answer.text)")
      }
      let cancelled = await later.get("/api/request/\(requests[1])")
      #expect(cancelled.json["state"] == "cancelled", "\(cancelled.text)")
    }
    // Somebody else's place is not theirs, in memory neither.
    let id = try #require(service.ids.decode(requests[1]))
    let key = PurchaseKey(event: event, generation: id.generation, position: id.position)
    let past = PastRequests(service.postgres)
    #expect(try await past.status(key, owner: id.owner)?.state == .cancelled)
    #expect(past.known(key, owner: id.owner, wish: nil)?.state == .cancelled)
    #expect(past.known(key, owner: UserKey("crowd 3").text, wish: nil) == nil)
    #expect(try await past.status(key, owner: UserKey("crowd 3").text) == .lostPlace)
  }

  @Test("A purchase of a line that has left Redis is told whether its record is there or not")
  func purchaseWithoutRecord() async throws {
    let poller = try await Poller()
    let service = poller.service
    let event = try await service.makeEvent(opens: true)
    let request = try await poller.join(event, "buyer")
    let generation = try #require(service.ids.decode(request)).generation
    #expect(await service.call(.post, "/api/admin/events/\(event)/close", as: .organizer).status == 200)
    #expect(try await service.queue.leases.own(Partition(of: event), epoch: 1))
    #expect(try await QueueArchive(service.queue, service.postgres).run(event: event, epoch: 1))
    _ = try await service.postgres.query(
      """
      INSERT INTO purchase (event_id, generation, position, user_id, state, try, tickets, amount, currency, method)
      VALUES (\(event), \(generation), 1, 'buyer', 'sold', 1, '{7}', 9000, 'EUR', 'pm_card_visa')
      """)
    let answer = await poller.get("/api/request/\(request)")
    #expect(
      answer.json["state"] == "purchased" && answer.json["tickets"]?[0]?["seat"] == "7", "\(answer.text)")
  }

  @Test("The tickets of a draft are counted once, until some are added")
  func countedDraft() async throws {
    let service = try await Service.shared()
    let draft = try await service.makeEvent()
    let past = PastRequests(service.postgres)
    #expect(try await past.summary(event: draft)?.free == 52)
    try await service.postgres.withTransaction { transaction in
      _ = try await transaction.query("LOCK TABLE ticket IN ACCESS EXCLUSIVE MODE")
      for _ in 0..<3 { #expect(try await past.summary(event: draft)?.free == 52) }
    }
    let more: JSON = ["sections": [["name": "Box", "price": 100, "capacity": 3]]]
    let upload = "/api/admin/events/\(draft)/tickets"
    #expect(await service.call(.post, upload, more, as: .organizer).status == 201)
    #expect(try await past.summary(event: draft)?.free == 55)
    // Neither are they for its page.
    let known = try #require(try await service.events.event(draft))
    try await service.postgres.withTransaction { transaction in
      _ = try await transaction.query("LOCK TABLE ticket IN ACCESS EXCLUSIVE MODE")
      #expect(try await service.events.event(draft, known: known) == known)
    }
    _ = await service.call(.post, upload, more, as: .organizer)
    #expect(try await service.events.event(draft, known: known)?.total == 58)
  }
}
