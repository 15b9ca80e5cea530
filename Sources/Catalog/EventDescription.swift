import API
import EventLoop
import JSON
import Store

/// An event for machines that read pages: schema.org's `Event` as JSON-LD.
package struct EventDescription: Sendable {
  package let name: String
  package let json: [UInt8]

  /// Digits behind the point, where a currency has not two (ISO 4217).
  private static let digits: [String: Int] = {
    var digits: [String: Int] = [:]
    for code in [
      "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF",
      "XOF", "XPF",
    ] { digits[code] = 0 }
    for code in ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"] { digits[code] = 3 }
    return digits
  }()

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
    let prices = event.sections.map(\.price)
    if let low = prices.min(), let high = prices.max() {
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
    let digits = digits[currency] ?? 2
    if digits == 0 { return String(amount) }
    let text = String(amount)
    let padded = String(repeating: "0", count: max(0, digits + 1 - text.count)) + text
    return padded.dropLast(digits) + "." + padded.suffix(digits)
  }
}
