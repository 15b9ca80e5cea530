import EventLoop
import HTTPCommon
import JSON
import Ledger
import Sale

/// An event for those who read its page without running it: schema.org's `Event` as JSON-LD, sentences, a calendar's entry.
package struct EventDescription: Sendable {
  package let name: String
  package let json: [UInt8]
  /// What people want to know first: when, where, for how much.
  package let facts: [String]
  package let calendar: [UInt8]
  package let calendarPath: String

  /// - Parameter url: of the event's page.
  init(_ page: EventPages.Page, url: String) {
    let event = page.event
    name = event.name
    var members: [(name: String, value: JSON)] = [
      ("@context", "https://schema.org"), ("@type", "Event"), ("name", .string(event.name)),
      ("startDate", .string(Time.text(event.date, in: page.zone))),
      ("eventStatus", .string("https://schema.org/Event" + Self.status(event))),
      ("eventAttendanceMode", "https://schema.org/OfflineEventAttendanceMode"),
      ("location", ["@type": "Place", "name": .string(event.location), "address": .string(event.location)]),
      ("url", .string(url)),
    ]
    // Of an event that is postponed both say what it was to be: schema.org has no start that is unknown.
    if let before = event.isPostponed ? event.dateWas ?? event.date : event.dateWas {
      members.append(("previousStartDate", .string(Time.text(before, in: page.zone))))
    }
    if !event.description.isEmpty { members.append(("description", .string(event.description))) }
    calendarPath = "/event/\(event.id)/event.ics"
    calendar = EventCalendar.text(event, zone: page.zone, url: url, now: event.createdAt)
    facts = Self.facts(page)
    if let low = event.sections.map(\.price).min(), let high = event.sections.map(\.maxPrice).max() {
      var offer: [(name: String, value: JSON)] = [
        ("@type", "AggregateOffer"), ("url", .string(url)), ("priceCurrency", .string(event.currency)),
        ("lowPrice", .string(Self.price(low, event.currency))),
        ("highPrice", .string(Self.price(high, event.currency))),
        ("availability", .string("https://schema.org/" + Self.availability(page))),
      ]
      if let opens = event.announcedOnsaleAt {
        offer.append(("validFrom", .string(Time.text(opens, in: page.zone))))
      }
      members.append(("offers", .object(offer)))
    }
    json = JSON.object(members).serialized()
  }

  private static func status(_ event: Event) -> String {
    if event.settings.isCancelled { return "Cancelled" }
    if event.isPostponed { return "Postponed" }
    return event.dateWas == nil ? "Scheduled" : "Rescheduled"
  }

  private static func facts(_ page: EventPages.Page) -> [String] {
    let event = page.event
    var facts = whenAndWhere(
      event.date, event.location, was: event.dateWas, event.locationWas, isPostponed: event.isPostponed,
      in: page.zone)
    if event.isPostponed { facts.insert("Tickets that were bought stay valid.", at: 2) }
    if let low = event.sections.map(\.price).min(), let high = event.sections.map(\.maxPrice).max() {
      facts.append(prices(low, high, event.currency))
    }
    switch page.state {
    case EventState.draft.rawValue:
      if let opens = event.announcedOnsaleAt {
        facts.append("On sale from \(Time.sentence(opens, in: page.zone))")
      }
    case EventState.closed.rawValue:
      facts.append(event.settings.isCancelled ? "Cancelled" : "Sales have ended")
    case EventState.paused.rawValue: facts.append("Sales are paused")
    default:
      facts.append(stock(page.available, held: page.held))
    }
    if !event.settings.message.isEmpty { facts.append(event.settings.message) }
    return facts
  }

  /// The date, the place, and what each was before.
  static func whenAndWhere(
    _ date: Int, _ location: String, was dateWas: Int?, _ locationWas: String?, isPostponed: Bool,
    in zone: VenueZone
  ) -> [String] {
    let sentence = Time.sentence(date, in: zone)
    var facts = [
      isPostponed ? "Postponed, new date to follow. It was to be on \(sentence)" : sentence, location,
    ]
    if !isPostponed, let dateWas { facts.append("Moved from \(Time.sentence(dateWas, in: zone))") }
    if let locationWas { facts.append("Moved from \(locationWas)") }
    return facts
  }

  /// What is left of an open sale.
  static func stock(_ available: Int, held: Int) -> String {
    available > 0 ? "On sale" : held > 0 ? "All held, some may come back" : "Sold out"
  }

  private static func availability(_ page: EventPages.Page) -> String {
    switch page.state {
    case EventState.draft.rawValue: "PreSale"
    // Also where it stands still, until it goes on.
    case EventState.closed.rawValue, EventState.paused.rawValue: "OutOfStock"
    default: page.available > 0 ? "InStock" : page.held > 0 ? "LimitedAvailability" : "SoldOut"
    }
  }

  /// `55.00 to 80.00 EUR`.
  static func prices(_ low: Int, _ high: Int, _ currency: String) -> String {
    let amounts = low == high ? [low] : [low, high]
    return high == 0 ? "Free" : amounts.map { price($0, currency) }.joined(separator: " to ") + " " + currency
  }

  /// Minor units as a plain number of the currency's main unit.
  static func price(_ amount: Int, _ currency: String) -> String {
    // An event of a version before may have another one.
    Currency(code: currency)?.text(amount) ?? String(amount)
  }
}
