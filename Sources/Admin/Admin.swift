package import API
import Auth
package import EventLoop
package import HTTPServer
import JSON
package import Logging
import Onsale
package import Store

/// The role of organizers: makes events and steers their sales.
///
/// Each change is committed in PostgreSQL with who made it, then told to the queue. When Redis does not
/// answer, the change stands all the same, `published` is false, and the workers tell the queue once it is
/// back.
@LoopActor
package final class Admin {
  /// Bytes of an event with its rows.
  private static let maximumEventBody = 1 << 20
  private static let pageSizes = 1...500

  private let events: EventStore
  private let queue: QueueStore
  private let authenticator: Authenticator
  private let logger: Logger

  package init(events: EventStore, queue: QueueStore, authenticator: Authenticator, logger: Logger) {
    self.events = events
    self.queue = queue
    self.authenticator = authenticator
    self.logger = logger
  }

  package func addRoutes(to router: inout Router) {
    let event = "/api/admin/events/{id}"
    router.on(.get, "/api/admin/events") { [self] request in checked { try list(request) } }
    let refuse = authenticator.refusesAllButOrganizers
    router.on(.post, "/api/admin/events", maximumBody: Self.maximumEventBody, refuse: refuse) {
      [self] request in checked { try create(request) }
    }
    router.on(.put, event) { [self] request in checked { try update(request) } }
    move(&router, event + "/open", to: .open, from: nil)
    move(&router, event + "/pause", to: .paused, from: nil)
    move(&router, event + "/resume", to: .open, from: [.paused, .open])
    move(&router, event + "/close", to: .closed, from: nil)
    router.on(.put, event + "/message") { [self] request in checked { try setMessage(request) } }
    router.on(.put, event + "/rate") { [self] request in checked { try setRate(request) } }
    router.on(.post, event + "/tickets", maximumBody: TicketUpload.maximumBody, refuse: refuse) {
      [self] request in checked { try addTickets(request) }
    }
    router.on(.get, event + "/stats") { [self] request in checked { try stats(request) } }
    router.on(.get, event + "/log") { [self] request in checked { try log(request) } }
  }

  // MARK: Making

  private func create(_ request: HTTPRequest) throws -> HTTPAnswer {
    let who = try authenticator.organizer(request).user
    let fields = try Fields(body: request)
    return answer { [events] in
      let draft = try await SideThread.shared.run { try EventInput.draft(fields) }
      let (id, isNew) = try await events.create(draft, by: who)
      return .json(isNew ? 201 : 200, ["id": .integer(id)], headers: [("Location", "/api/event/\(id)")])
    }
  }

  private func addTickets(_ request: HTTPRequest) throws -> HTTPAnswer {
    let who = try authenticator.organizer(request).user
    let id = try request.eventID()
    let read = try TicketUpload.reading(request)
    return answer { [self] in
      let sections = try await SideThread.shared.run(read)
      let added = try await events.addTickets(event: id, sections, by: who)
      // The queue learns of the event's new version, so that its owner looks for new tickets at once.
      var published = true
      if let settings = try await events.settings(event: id) { published = await publish(settings) }
      return .json(201, ["added": .integer(added), "published": .bool(published)])
    }
  }

  // MARK: Changing

  private func update(_ request: HTTPRequest) throws -> HTTPAnswer {
    let who = try authenticator.organizer(request).user
    let changes = try EventInput.changes(Fields(body: request))
    return try change(request) { events, id in try await events.update(event: id, changes, by: who) }
  }

  private func move(_ router: inout Router, _ pattern: String, to state: EventState, from: Set<EventState>?) {
    router.on(.post, pattern) { [self] request in
      checked {
        let who = try authenticator.organizer(request).user
        let despite = state == .open ? try EventInput.despite(request) : false
        return try change(request) { events, id in
          try await events.move(event: id, to: state, from: from, despite: despite, by: who)
        }
      }
    }
  }

  private func setMessage(_ request: HTTPRequest) throws -> HTTPAnswer {
    let who = try authenticator.organizer(request).user
    let message = try Fields(body: request).optionalString("message", max: Limits.messageBytes) ?? ""
    return try change(request) { events, id in
      try await events.setMessage(event: id, message, by: who)
    }
  }

  private func setRate(_ request: HTTPRequest) throws -> HTTPAnswer {
    let who = try authenticator.organizer(request).user
    let rate = try EventInput.rate(Fields(body: request))
    return try change(request) { events, id in try await events.setRate(event: id, rate, by: who) }
  }

  private func change(
    _ request: HTTPRequest,
    _ body: @escaping @LoopActor (EventStore, Int) async throws -> EventSettings
  ) throws -> HTTPAnswer {
    let id = try request.eventID()
    return answer { [self] in
      let settings = try await body(events, id)
      let published = await publish(settings)
      return .json(
        200,
        [
          "id": .integer(id), "state": .string(settings.state), "version": .integer(settings.version),
          "published": .bool(published),
        ])
    }
  }

  /// Tells the queue. A failure is not the change's: the workers repeat it until it succeeds.
  private func publish(_ settings: EventSettings) async -> Bool {
    do {
      try await events.publish(settings, to: queue)
      return true
    } catch {
      logger.retrying("settings wait for the queue", ["event": settings.id, "error": "\(error)"])
      return false
    }
  }

  // MARK: Looking

  private func list(_ request: HTTPRequest) throws -> HTTPAnswer {
    _ = try authenticator.organizer(request)
    let items = QueryItems(request)
    let after = try items.optionalInt("after", in: 0...Int.max) ?? 0
    let limit = try items.optionalInt("limit", in: Self.pageSizes) ?? 100
    return answer { [events] in
      let page = try await events.events(after: after, limit: limit)
      let list = page.map { event -> JSON in
        [
          "id": .integer(event.id), "name": .string(event.name), "location": .string(event.location),
          "date": .string(Time.text(event.date)), "time_zone": JSON(event.timeZone),
          "state": .string(event.state),
          "onsale_at": JSON(event.onsaleAt.map(Time.text)), "currency": .string(event.currency),
        ]
      }
      let next = page.count == limit ? page.last?.id : nil
      return .json(200, ["events": .array(list), "next_after": JSON(next)], headers: Self.uncached)
    }
  }

  private func stats(_ request: HTTPRequest) throws -> HTTPAnswer {
    _ = try authenticator.organizer(request)
    let id = try request.eventID()
    return answer { [events, queue] in
      guard let json = try await EventReport(events: events, queue: queue).json(event: id) else {
        throw Problem.unknownEvent
      }
      return .json(200, json, headers: Self.uncached)
    }
  }

  private func log(_ request: HTTPRequest) throws -> HTTPAnswer {
    _ = try authenticator.organizer(request)
    let id = try request.eventID()
    let items = QueryItems(request)
    let before = try items.optionalInt("before", in: 1...Int.max) ?? .max
    let limit = try items.optionalInt("limit", in: Self.pageSizes) ?? 100
    return answer { [events] in
      guard try await events.settings(event: id) != nil else { throw Problem.unknownEvent }
      let page = try await events.log(event: id, before: before, limit: limit)
      let entries = page.map { entry -> JSON in
        [
          "id": .integer(entry.id), "at": .string(Time.text(entry.at)), "who": .string(entry.who),
          "action": .string(entry.action), "detail": .string(entry.detail),
        ]
      }
      let next = page.count == limit ? page.last?.id : nil
      return .json(200, ["entries": .array(entries), "next_before": JSON(next)], headers: Self.uncached)
    }
  }

  private static let uncached: HTTPResponse.Headers = [("Cache-Control", "no-store")]
}
