import EventLoop
import Foundation
import HTTPClient
import Identity
import JSON

/// The box office that a rush uses before it starts: makes an event if asked to, and reads what is for sale.
@LoopActor
struct EventSetup {
  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  /// Seats in a row of an event made here.
  private static let seatsPerRow = 100
  /// The cheapest section's price in minor units, and what each better one costs more.
  private static let price = (first: 2_500, step: 1_500)

  let base: String
  let client: HTTPClient
  let tokens: TokenIssuer

  /// Makes an event as `options` say, and opens it.
  func createEvent(seats: Int, _ options: LoadTestOptions) async throws -> Int {
    let sections = min(options.sections, seats)
    var remaining = seats
    let list = (0..<sections).map { index -> JSON in
      let count = remaining / (sections - index)
      remaining -= count
      return [
        "name": .string("Block \(index + 1)"),
        "price": .integer(Self.price.first + (sections - 1 - index) * Self.price.step), "rows": rows(count),
      ]
    }
    let body: JSON = [
      // A word of its own, by which search finds it among all rushes there were.
      "name": .string("Rush of \(options.buyers), \(String(UInt64.random(in: 0...UInt64.max), radix: 36))"),
      "location": "Loopback Arena",
      "date": "2030-06-01T19:00:00Z",
      "currency": "EUR", "hold_seconds": .integer(options.holdSeconds),
      "per_user_limit": .integer(options.quantity.upperBound),
      "queue_limit": .integer(max(1_000_000, options.buyers)),
      "sections": .array(list),
    ]
    let made = try await call("POST", "/api/admin/events", body, as: .organizer)
    guard let id = made["id"]?.integer else {
      throw Failure(description: "POST /api/admin/events answered no id")
    }
    _ = try await call("POST", "/api/admin/events/\(id)/open", nil, as: .organizer)
    return id
  }

  private func rows(_ seats: Int) -> JSON {
    .array(
      stride(from: 0, to: seats, by: Self.seatsPerRow).map { start in
        [
          "row": .string("\(start / Self.seatsPerRow + 1)"),
          "seats": .integer(min(Self.seatsPerRow, seats - start)),
        ]
      })
  }

  /// Reads sections, tickets and prices.
  func offer(_ event: Int) async throws -> TicketOffer {
    let page = try await call("GET", "/api/event/\(event)", nil, as: .customer)
    let names = (page["sections"]?.array ?? []).compactMap { $0["name"]?.string }
    guard let currency = page["currency"]?.string, !names.isEmpty else {
      throw Failure(description: "GET /api/event/\(event) answered no currency or sections")
    }
    var offer = TicketOffer(
      event: event, name: page["name"]?.string ?? "", currency: currency, sections: names)
    for (index, name) in names.enumerated() {
      let path = "/api/event/\(event)/tickets?section=\(Self.encoded(name))"
      for ticket in try await call("GET", path, nil, as: .customer)["tickets"]?.array ?? [] {
        guard let id = ticket["id"]?.integer, let price = ticket["price"]?.integer else { continue }
        offer.add(ticket: id, price: price, section: index)
      }
    }
    return offer
  }

  private func call(_ method: String, _ path: String, _ body: JSON?, as role: Role) async throws -> JSON {
    let token = tokens.issue(user: "rush-\(role.rawValue)", role: role, lifetimeSeconds: 3_600)
    var request = HTTPClientRequest(
      method: method, url: base + path, headers: [("Authorization", "Bearer \(token)")])
    if let body {
      request.headers.append(("Content-Type", "application/json"))
      request.body = body.serialized()
    }
    let response = try await client.send(request)
    guard (200..<300).contains(response.status) else {
      let text = String(decoding: response.body.prefix(500), as: UTF8.self)
      throw Failure(description: "\(method) \(path) answered \(response.status): \(text)")
    }
    return response.body.isEmpty ? .null : try JSON(parsing: response.body)
  }

  static func encoded(_ text: String) -> String {
    var out = ""
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"):
        out.unicodeScalars.append(Unicode.Scalar(byte))
      default:
        let hex = String(byte, radix: 16, uppercase: true)
        out += "%" + (hex.count < 2 ? "0" : "") + hex
      }
    }
    return out
  }
}
