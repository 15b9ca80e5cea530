import API
import EventLoop
import JSON
import Store

/// What an event's page shows, at most a second old while PostgreSQL and Redis answer, and older when they do
/// not.
@LoopActor
final class EventPages {
  /// Events whose pages are kept in memory.
  private static let capacity = 2_000

  struct Page: Sendable {
    let event: Event
    /// Bit i, most significant first, is set when ticket i is not free.
    let unavailable: [UInt8]
    let body: [UInt8]
    let tag: String
  }

  private let events: EventStore
  private let queue: QueueStore
  private var ranges: [Int: (total: Int, ranges: [Int: [ClosedRange<Int>]])] = [:]
  private(set) lazy var cache = FreshCache<Int, Page>(capacity: Self.capacity) { [unowned self] id, known in
    try await load(id, known)
  }

  init(events: EventStore, queue: QueueStore) {
    self.events = events
    self.queue = queue
  }

  private func load(_ id: Int, _ known: Page?) async throws -> Page? {
    guard let event = try await events.event(id) else { return nil }
    let (unavailable, document) = try await availability(event, known)
    let body = try await Self.json(event, unavailable, document, ranges: ranges(event)).serialized()
    return Page(event: event, unavailable: unavailable, body: body, tag: EntityTag.of(body))
  }

  /// Which tickets are not free: from Redis while the event has a queue, else from PostgreSQL. When Redis
  /// does not answer, what was known before is better than what PostgreSQL knows, which is nothing of holds.
  private func availability(_ event: Event, _ known: Page?) async throws -> ([UInt8], QueueDocument?) {
    if event.state != EventState.draft.rawValue {
      do {
        if let document = try await queue.document(event: event.id),
          let bitmap = try await queue.unavailableTickets(event: event.id)
        {
          return (bitmap, document)
        }
      } catch {
        if let known { return (known.unavailable, nil) }
      }
    }
    return (try await events.unavailableTickets(event: event.id), nil)
  }

  private func ranges(_ event: Event) async throws -> [Int: [ClosedRange<Int>]] {
    // Tickets are only ever added, so their number says whether the ranges are still right.
    if let known = ranges[event.id], known.total == event.total { return known.ranges }
    let found = try await events.ticketRanges(event: event.id)
    if ranges.count >= Self.capacity { ranges.removeAll() }
    ranges[event.id] = (event.total, found)
    return found
  }

  private static func json(
    _ event: Event, _ unavailable: [UInt8], _ document: QueueDocument?, ranges: [Int: [ClosedRange<Int>]]
  ) -> JSON {
    var sections: [JSON] = []
    var available = 0, held = 0
    for section in event.sections {
      // Both were read one after the other, so a ticket may be sold already and not be taken yet.
      let sold = section.sold
      let taken = max(sold, min(section.total, Bitmap.count(unavailable, in: ranges[section.id] ?? [])))
      available += section.total - taken
      held += taken - sold
      sections.append([
        "name": .string(section.name), "price": .integer(section.price), "total": .integer(section.total),
        "available": .integer(section.total - taken), "held": .integer(taken - sold), "sold": .integer(sold),
      ])
    }
    var state = event.state
    if state == EventState.open.rawValue, document?.isSoldOut == true || (available == 0 && held == 0) {
      state = "sold_out"
    }
    return [
      "id": .integer(event.id), "name": .string(event.name), "location": .string(event.location),
      "date": .string(Time.text(event.date)), "description": .string(event.description),
      "onsale_at": JSON(event.onsaleAt.map(Time.text)), "onsale_state": .string(state),
      "currency": .string(event.currency), "per_user_limit": .integer(event.settings.perUserLimit),
      "hold_seconds": .integer(event.settings.holdSeconds), "message": .string(event.settings.message),
      "total": .integer(event.total), "available": .integer(available), "held": .integer(held),
      "sold": .integer(event.sold), "sections": .array(sections),
    ]
  }
}
