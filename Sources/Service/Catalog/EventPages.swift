import Compression
import EventLoop
import HTTPCommon
import HTTPServer
import JSON
import Ledger
import Queue
import Sale

/// What an event's page shows, at most a second old while PostgreSQL and Redis answer, and older when they do
/// not.
@LoopActor
final class EventPages {
  /// Events whose pages are kept in memory.
  private static let capacity = 2_000

  struct Page: Sendable {
    let event: Event
    /// Of the venue.
    let zone: VenueZone
    /// Bit i, most significant first, is set when ticket i is not free.
    let unavailable: [UInt8]
    let body: SharedBody
    let tag: String
    /// Of the sale, as `IndexVersion.saleNumber`.
    let version: Int
    /// When this was true, in milliseconds on the loop's clock; may lie before the process began.
    let asOf: Int
    let state: String
    let available: Int
    let held: Int
    /// Whether held tickets are told from free ones.
    let holdsAreKnown: Bool

    @LoopActor var ageMilliseconds: UInt64 { UInt64(max(0, Int(EventLoop.shared.now) - asOf)) }
  }

  private struct Availability {
    let unavailable: [UInt8]
    let version: Int
    let asOf: Int
    var isSoldOut = false
    var holdsAreKnown = true
  }

  private let events: ReadableEvents
  private let queue: QueueReader
  private let zone: VenueZone
  private var ranges: [Int: (version: Int, total: Int, ranges: [Int: [ClosedRange<Int>]])] = [:]
  private(set) lazy var cache = FreshCache<Int, Page>(capacity: Self.capacity) { [unowned self] id, known in
    try await load(id, known)
  }

  /// - Parameter zone: of venues whose events name none.
  init(events: ReadableEvents, queue: QueueReader, zone: VenueZone) {
    self.zone = zone
    self.events = events
    self.queue = queue
  }

  private func load(_ id: Int, _ known: Page?) async throws -> Page? {
    let now = Int(EventLoop.shared.now)
    let (event, age) = try await events.read { try await $0.event(id, known: known?.event) }
    guard let event else { return nil }
    let availability = try await availability(event, known, now: now)
    let ranges = try await ranges(event)
    return page(event, availability, ranges: ranges, asOf: min(availability.asOf, now - age))
  }

  /// Which tickets are not free: from Redis while the event has a queue, else from PostgreSQL. When Redis
  /// does not answer, what was known before is better than what PostgreSQL knows, which is nothing of holds; where
  /// nothing was, that is said.
  private func availability(_ event: Event, _ known: Page?, now: Int) async throws -> Availability {
    var holdsAreKnown = true
    if event.state == EventState.draft.rawValue {
      return Availability(
        unavailable: [], version: IndexVersion(event: 0, generation: 0, queue: 0).saleNumber, asOf: now)
    } else {
      do {
        if let document = try await queue.document(event: event.id),
          let bitmap = try await queue.unavailableTickets(event: event.id)
        {
          let version = IndexVersion(
            event: 0, generation: document.generation, queue: document.version)
          return Availability(
            unavailable: bitmap, version: version.saleNumber, asOf: now, isSoldOut: document.isSoldOut)
        }
      } catch {
        if let known {
          return Availability(
            unavailable: known.unavailable, version: known.version, asOf: known.asOf,
            holdsAreKnown: known.holdsAreKnown)
        }
        holdsAreKnown = false
      }
    }
    let (bitmap, age) = try await events.read { try await $0.unavailableTickets(event: event.id) }
    let isOver = event.state == EventState.closed.rawValue
    let version = IndexVersion(
      event: 0, generation: isOver ? IndexVersion.afterQueue : 0, queue: event.sold)
    return Availability(
      unavailable: bitmap, version: version.saleNumber, asOf: now - age, holdsAreKnown: holdsAreKnown)
  }

  private func ranges(_ event: Event) async throws -> [Int: [ClosedRange<Int>]] {
    if let known = ranges[event.id], known.total == event.total, known.version == event.ticketsVersion {
      return known.ranges
    }
    let found = try await events.read { try await $0.ticketRanges(event: event.id) }.value
    if ranges.count >= Self.capacity { ranges.removeAll() }
    ranges[event.id] = (event.ticketsVersion, event.total, found)
    return found
  }

  private func page(
    _ event: Event, _ availability: Availability, ranges: [Int: [ClosedRange<Int>]], asOf: Int
  ) -> Page {
    let unavailable = availability.unavailable
    var sections: [JSON] = []
    var available = 0, held = 0
    for section in event.sections {
      // Both were read one after the other, so a ticket may be sold already and not be taken yet.
      let sold = section.sold
      let taken = max(sold, min(section.total, Bitmap.count(unavailable, in: ranges[section.id] ?? [])))
      available += section.total - taken
      held += taken - sold
      sections.append([
        "name": .string(section.name), "price": .integer(section.price),
        "max_price": .integer(section.maxPrice), "total": .integer(section.total),
        "available": .integer(section.total - taken), "held": .integer(taken - sold), "sold": .integer(sold),
        "has_seats": .bool(section.hasSeats),
      ])
    }
    var state = event.state
    if state == EventState.open.rawValue, availability.isSoldOut || (available == 0 && held == 0) {
      state = "sold_out"
    }
    let zone = event.timeZone.flatMap { VenueZone($0) } ?? zone
    let json: JSON = [
      "id": .integer(event.id), "name": .string(event.name), "location": .string(event.location),
      "date": .string(Time.text(event.date)), "date_local": .string(Time.text(event.date, in: zone)),
      "time_zone": .string(zone.name), "description": .string(event.description),
      "onsale_at": JSON(event.announcedOnsaleAt.map(Time.text)),
      "onsale_at_local": JSON(event.announcedOnsaleAt.map { Time.text($0, in: zone) }),
      "onsale_state": .string(state),
      "currency": .string(event.currency), "per_user_limit": .integer(event.settings.perUserLimit),
      "hold_seconds": .integer(event.settings.holdSeconds), "message": .string(event.settings.message),
      "cancelled": .bool(event.settings.isCancelled), "postponed": .bool(event.isPostponed),
      "total": .integer(event.total),
      "available": .integer(available), "held": .integer(held),
      "sold": .integer(event.sold), "sections": .array(sections),
      "date_was": JSON(event.dateWas.map(Time.text)),
      "date_was_local": JSON(event.dateWas.map { Time.text($0, in: zone) }),
      "location_was": JSON(event.locationWas),
      "sales_end_at": JSON(
        (event.salesEndAt ?? (event.isPostponed ? nil : event.date)).map(Time.text)),
      "has_plan": .bool(event.hasPlan), "holds_known": .bool(availability.holdsAreKnown),
      "version": .integer(availability.version),
    ]
    let body = json.serialized()
    return Page(
      event: event, zone: zone, unavailable: unavailable, body: SharedBody(body), tag: EntityTag.of(body),
      version: availability.version, asOf: asOf, state: state, available: available, held: held,
      holdsAreKnown: availability.holdsAreKnown)
  }
}
