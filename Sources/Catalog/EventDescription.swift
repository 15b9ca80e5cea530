import API
import EventLoop
import JSON
import Onsale
import Store

/// An event for machines that read pages: schema.org's `Event` as JSON-LD.
package struct EventDescription: Sendable {
  package let name: String
  package let json: [UInt8]

  /// - Parameter url: of the event's page.
  init(_ page: EventPages.Page, url: String) {
    let event = page.event
    name = event.name
    var members: [(name: String, value: JSON)] = [
      ("@context", "https://schema.org"), ("@type", "Event"), ("name", .string(event.name)),
      ("startDate", .string(Time.text(event.date))),
      ("eventStatus", "https://schema.org/EventScheduled"),
      ("eventAttendanceMode", "https://schema.org/OfflineEventAttendanceMode"),
      ("location", ["@type": "Place", "name": .string(event.location), "address": .string(event.location)]),
      ("url", .string(url)),
    ]
    if !event.description.isEmpty { members.append(("description", .string(event.description))) }
    if let low = event.sections.map(\.price).min(), let high = event.sections.map(\.maxPrice).max() {
      var offer: [(name: String, value: JSON)] = [
        ("@type", "AggregateOffer"), ("url", .string(url)), ("priceCurrency", .string(event.currency)),
        ("lowPrice", .string(Self.price(low, event.currency))),
        ("highPrice", .string(Self.price(high, event.currency))),
        ("availability", .string("https://schema.org/" + Self.availability(page))),
      ]
      if let opens = event.onsaleAt { offer.append(("validFrom", .string(Time.text(opens)))) }
      members.append(("offers", .object(offer)))
    }
    json = JSON.object(members).serialized()
  }

  private static func availability(_ page: EventPages.Page) -> String {
    switch page.state {
    case EventState.draft.rawValue: "PreSale"
    case EventState.closed.rawValue: "OutOfStock"
    default: page.available > 0 ? "InStock" : page.held > 0 ? "LimitedAvailability" : "SoldOut"
    }
  }

  /// Minor units as a plain number of the currency's main unit.
  static func price(_ amount: Int, _ currency: String) -> String {
    // An event of a version before may have another one.
    Currency(code: currency)?.text(amount) ?? String(amount)
  }
}
