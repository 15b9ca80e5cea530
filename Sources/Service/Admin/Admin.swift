import Archive
package import EventLoop
package import HTTPCommon
package import HTTPServer
package import Identity
import JSON
package import Ledger
package import Logging
package import Queue
import Sale
import StoreCommon

/// The role of organizers: makes events and steers their sales.
///
/// Each change is committed in PostgreSQL with who made it, then told to the queue. When Redis does not
/// answer, the change stands all the same, `published` is false, and the workers tell the queue once it is
/// back.
@LoopActor
package final class Admin {
  /// Bytes of an event with its rows, or its seating plan.
  private static let maximumEventBody = TicketUpload.maximumBody
  static let pageSizes = 1...500

  let events: EventStore
  let refunds: RefundStore
  let queue: QueueStore
  let ids: RequestIDCoder
  let authenticator: Authenticator
  private let logger: Logger

  package init(
    events: EventStore, refunds: RefundStore, queue: QueueStore, ids: RequestIDCoder,
    authenticator: Authenticator, logger: Logger
  ) {
    self.events = events
    self.refunds = refunds
    self.queue = queue
    self.ids = ids
    self.authenticator = authenticator
    self.logger = logger
  }

  /// Nobody but organizers gets to send a body.
  var refuse: @LoopActor (HTTPRequest) -> HTTPResponse? { authenticator.refusesAllButOrganizers }

  package func addRoutes(to router: inout Router) {
    let event = "/api/admin/events/{id}"
    router.on(.get, "/api/admin/events", refuse: refuse) { [self] request in checked { try list(request) } }
    router.on(.post, "/api/admin/events", maximumBody: Self.maximumEventBody, refuse: refuse) {
      [self] request in checked { try create(request) }
    }
    router.on(.put, event, refuse: refuse) { [self] request in checked { try update(request) } }
    move(&router, event + "/open", to: .open, from: nil)
    move(&router, event + "/pause", to: .paused, from: nil)
    move(&router, event + "/stop", to: .paused, from: nil, stops: true)
    move(&router, event + "/resume", to: .open, from: [.paused, .open])
    move(&router, event + "/close", to: .closed, from: nil)
    router.on(.post, event + "/postpone", refuse: refuse) { [self] request in
      checked { try postpone(request) }
    }
    router.on(.put, event + "/message", refuse: refuse) { [self] request in
      checked { try setMessage(request) }
    }
    router.on(.put, event + "/rate", refuse: refuse) { [self] request in checked { try setRate(request) } }
    router.on(.post, event + "/tickets", maximumBody: TicketUpload.maximumBody, refuse: refuse) {
      [self] request in checked { try addTickets(request) }
    }
    addTicketRoutes(to: &router, event)
    addRefundRoutes(to: &router, event)
    addCancelRoutes(to: &router, event)
    router.on(.get, event + "/stats", refuse: refuse) { [self] request in checked { try stats(request) } }
    router.on(.get, event + "/log", refuse: refuse) { [self] request in checked { try log(request) } }
  }

  // MARK: Making

  private func create(_ request: HTTPRequest) throws -> HTTPAnswer {
    let claims = try authenticator.organizer(request)
    try Fields.checkType(request)
    let body = request.body
    let key = try Self.idempotencyKey(request)
    return answer { [self] in
      var draft = try await SideThread.shared.run { try EventInput.draft(Fields(file: body)) }
      draft.owner = EventOwner(user: claims.user, organizations: claims.organizations)
      // A person's own, and never what somebody wrote into `key`, which has no line breaks.
      if draft.key == nil, let key { draft.key = "\(claims.user)\n\(key)" }
      let (id, isNew) = try await events.create(draft, by: claims.user)
      if !isNew { try await permit(claims, id) }
      return .json(isNew ? 201 : 200, ["id": .integer(id)], headers: [("Location", "/api/event/\(id)")])
    }
  }

  private func addTickets(_ request: HTTPRequest) throws -> HTTPAnswer {
    let claims = try authenticator.organizer(request)
    let id = try request.eventID()
    let read = try TicketUpload.reading(request)
    let key = try Self.idempotencyKey(request)
    let parts = key == nil ? [] : [Self.question(request), request.body]
    return answer { [self] in
      let currency = try await permit(claims, id)
      let tickets = try await SideThread.shared.run { try read(currency) }
      let digest = parts.isEmpty ? "" : try await SideThread.shared.run { ContentDigest.text(of: parts) }
      let added: EventStore.AddedTickets
      do {
        added = try await events.addTickets(
          event: id, tickets.sections, drawing: tickets.drawing, key: key, digest: digest, by: claims.user)
      } catch let error as StoreError {
        throw tickets.problem(for: error) ?? problem(for: error)
      }
      // The queue learns of the event's new version, so that its owner looks for new tickets at once.
      let published = try await publish(event: id)
      return .json(
        added.isNew ? 201 : 200,
        ["added": .integer(added.count), "upload": .integer(added.upload), "published": .bool(published)])
    }
  }

  /// What was asked for besides the body.
  private static func question(_ request: HTTPRequest) -> [UInt8] {
    let items = request.queryItems.map { "\($0.name)=\($0.value)" }.joined(separator: "\n")
    return Array("\(request.header("Content-Type") ?? "")\n\(items)".utf8)
  }

  static func idempotencyKey(_ request: HTTPRequest) throws(Problem) -> String? {
    guard let key = request.header("Idempotency-Key") else { return nil }
    guard (1...Limits.idempotencyKeyBytes).contains(key.utf8.count) else {
      throw Problem(400, "invalid_header", "Idempotency-Key has 1 to \(Limits.idempotencyKeyBytes) bytes.")
    }
    return key
  }

  /// - Returns: the currency of the event.
  /// - Throws: 404 where there is no such event, or it is somebody else's: nobody learns which.
  @discardableResult
  func permit(_ claims: Claims, _ id: Int) async throws -> Currency? {
    guard let found = try await events.owner(event: id), claims.manages(found.owner) else {
      throw Problem.unknownEvent
    }
    return Currency(code: found.currency)
  }

  // MARK: Changing

  private func update(_ request: HTTPRequest) throws -> HTTPAnswer {
    let claims = try authenticator.organizer(request)
    let changes = try EventInput.changes(request)
    return try change(request, claims) { events, id in
      try await events.update(event: id, changes, by: claims.user)
    }
  }

  private func move(
    _ router: inout Router, _ pattern: String, to state: EventState, from: Set<EventState>?,
    stops: Bool = false
  ) {
    router.on(.post, pattern, refuse: refuse) { [self] request in
      checked {
        let claims = try authenticator.organizer(request)
        let despite = try EventInput.despite(request, isPossible: state == .open)
        return try change(request, claims) { events, id in
          try await events.move(
            event: id, to: state, from: from, stops: stops, despite: despite, by: claims.user)
        }
      }
    }
  }

  private func postpone(_ request: HTTPRequest) throws -> HTTPAnswer {
    let claims = try authenticator.organizer(request)
    let keepsOpen = try EventInput.keepsOpen(request)
    return try change(request, claims) { events, id in
      try await events.postpone(event: id, keepsOpen: keepsOpen, by: claims.user)
    }
  }

  private func setMessage(_ request: HTTPRequest) throws -> HTTPAnswer {
    let claims = try authenticator.organizer(request)
    let fields = try Fields(body: request, only: ["message"])
    let message = try fields.optionalString("message", max: Limits.messageBytes) ?? ""
    return try change(request, claims) { events, id in
      try await events.setMessage(event: id, message, by: claims.user)
    }
  }

  private func setRate(_ request: HTTPRequest) throws -> HTTPAnswer {
    let claims = try authenticator.organizer(request)
    let rate = try EventInput.rate(Fields(body: request, only: ["rate"]))
    return try change(request, claims) { events, id in
      try await events.setRate(event: id, rate, by: claims.user)
    }
  }

  private func change(
    _ request: HTTPRequest, _ claims: Claims,
    _ body: @escaping @LoopActor (EventStore, Int) async throws -> EventSettings
  ) throws -> HTTPAnswer {
    let id = try request.eventID()
    return answer { [self] in
      try await permit(claims, id)
      let settings = try await body(events, id)
      let published = await publish(settings)
      return .json(
        200,
        [
          "id": .integer(id), "state": .string(settings.shownState), "version": .integer(settings.version),
          "published": .bool(published),
        ])
    }
  }

  /// Tells the queue. A failure is not the change's: the workers repeat it until it succeeds.
  func publish(_ settings: EventSettings) async -> Bool {
    do {
      try await events.publish(settings, to: queue)
      return true
    } catch {
      logger.retrying("settings wait for the queue", ["event": settings.id, "error": "\(error)"])
      return false
    }
  }

  /// The same with the event's settings as they are by now.
  func publish(event id: Int) async throws -> Bool {
    guard let settings = try await events.settings(event: id) else { return true }
    return await publish(settings)
  }

  // MARK: Looking

  private func list(_ request: HTTPRequest) throws -> HTTPAnswer {
    let claims = try authenticator.organizer(request)
    let organizer = claims.role >= .manager ? nil : (user: claims.user, organizations: claims.organizations)
    let items = try QueryItems(request, only: ["after", "limit"])
    let after = try items.optionalInt("after", in: 0...Int.max) ?? 0
    let limit = try items.optionalInt("limit", in: Self.pageSizes) ?? 100
    return answer { [events] in
      let page = try await events.events(after: after, limit: limit, of: organizer)
      let list = page.map { event -> JSON in
        [
          "id": .integer(event.id), "name": .string(event.name), "location": .string(event.location),
          "date": .string(Time.text(event.date)), "time_zone": JSON(event.timeZone),
          "state": .string(event.settings.shownState), "postponed": .bool(event.isPostponed),
          "onsale_at": JSON(event.onsaleAt.map(Time.text)), "currency": .string(event.currency),
        ]
      }
      let next = page.count == limit ? page.last?.id : nil
      return .json(200, ["events": .array(list), "next_after": JSON(next)], headers: Self.uncached)
    }
  }

  private func stats(_ request: HTTPRequest) throws -> HTTPAnswer {
    let claims = try authenticator.organizer(request)
    let id = try request.eventID()
    return answer { [self] in
      try await permit(claims, id)
      guard let json = try await EventReport(events: events, queue: queue.reader).json(event: id) else {
        throw Problem.unknownEvent
      }
      return .json(200, json, headers: Self.uncached)
    }
  }

  private func log(_ request: HTTPRequest) throws -> HTTPAnswer {
    let claims = try authenticator.organizer(request)
    let id = try request.eventID()
    let items = try QueryItems(request, only: ["before", "limit"])
    let before = try items.optionalInt("before", in: 1...Int.max) ?? .max
    let limit = try items.optionalInt("limit", in: Self.pageSizes) ?? 100
    return answer { [self] in
      try await permit(claims, id)
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

  static let uncached: HTTPResponse.Headers = [("Cache-Control", "no-store")]
}
