import EventLoop
import HTTPCommon
import HTTPServer
import Identity
import JSON
import Ledger
import Queue
import Sale

/// Tickets that organizers take back, change or put on sale again.
extension Admin {
  func addTicketRoutes(to router: inout Router, _ event: String) {
    router.on(.get, event + "/uploads", refuse: refuse) { [self] request in checked { try uploads(request) } }
    router.on(.delete, event + "/uploads/{upload}", refuse: refuse) { [self] request in
      checked { try undo(request) }
    }
    router.on(.post, event + "/tickets/block", refuse: refuse) { [self] request in
      checked { try block(request) }
    }
    router.on(.post, event + "/tickets/release", refuse: refuse) { [self] request in
      checked { try release(request) }
    }
    router.on(.patch, event + "/tickets", refuse: refuse) { [self] request in
      checked { try setPrice(request) }
    }
    router.on(.put, event + "/sections", refuse: refuse) { [self] request in
      checked { try updateSection(request) }
    }
    router.on(.delete, event, refuse: refuse) { [self] request in checked { try delete(request) } }
  }

  private func uploads(_ request: HTTPRequest) throws -> HTTPAnswer {
    let (id, claims) = try target(request)
    return answer { [self] in
      try await permit(claims, id)
      let list = try await events.uploads(event: id).map { upload -> JSON in
        [
          "upload": .integer(upload.id), "who": .string(upload.who), "at": .string(Time.text(upload.at)),
          "tickets": .integer(upload.tickets), "undone": .bool(upload.isUndone),
        ]
      }
      return .json(200, ["uploads": .array(list)], headers: [("Cache-Control", "no-store")])
    }
  }

  private func undo(_ request: HTTPRequest) throws -> HTTPAnswer {
    let (id, claims) = try target(request)
    guard let text = request.parameters["upload"], let number = Int(text),
      (1...Int(Int32.max)).contains(number)
    else {
      throw Problem(404, "unknown_upload", "There is no upload of this number.")
    }
    return change(id, claims, "removed") { events, isTaken in
      try await events.remove(event: id, .upload(number), isTaken: isTaken, by: claims.user)
    }
  }

  private func block(_ request: HTTPRequest) throws -> HTTPAnswer {
    let (id, claims) = try target(request)
    let selection = try Self.selection(request)
    return change(id, claims, "blocked") { events, isTaken in
      try await events.block(event: id, selection, isTaken: isTaken, by: claims.user)
    }
  }

  private func release(_ request: HTTPRequest) throws -> HTTPAnswer {
    let (id, claims) = try target(request)
    let selection = try Self.selection(request)
    return change(id, claims, "released") { events, _ in
      try await events.release(event: id, selection, by: claims.user)
    }
  }

  private static let selectionFields: Set = ["ticket_ids", "section", "row", "seats"]

  private static func selection(_ request: HTTPRequest) throws(Problem) -> EventStore.Selection {
    var findings = Findings()
    let fields = try Fields(body: request, only: selectionFields, &findings)
    let selection = selection(fields, &findings)
    try findings.finish()
    return selection
  }

  private static func selection(_ fields: Fields, _ findings: inout Findings) -> EventStore.Selection {
    if fields.has("ticket_ids") {
      let ids = findings.take(
        try fields.optionalInts("ticket_ids", in: 1...Limits.ticketID, atMost: Limits.ticketsPerEvent))
      if ids?.isEmpty == true || fields.has("section") {
        findings.note(fields.refused("ticket_ids", "must name tickets, and stand alone"))
      }
      return .tickets(ids ?? [])
    }
    let section = findings.take(try fields.string("section", characters: Limits.nameCharacters))
    let row = findings.take(try fields.optionalString("row", characters: Limits.seatLabelCharacters))
    let seats = findings.take(
      try fields.optionalStrings(
        "seats", characters: Limits.seatLabelCharacters, atMost: Limits.ticketsPerEvent))
    return .row(section: section ?? "", row: row, seats: seats ?? [])
  }

  private func updateSection(_ request: HTTPRequest) throws -> HTTPAnswer {
    let (id, claims) = try target(request)
    var findings = Findings()
    let fields = try Fields(body: request, only: ["section", "name", "price", "capacity"], &findings)
    let named = findings.take(try fields.string("section", characters: Limits.nameCharacters))
    let name =
      fields.has("name")
      ? findings.take(try fields.string("name", characters: Limits.nameCharacters)) : nil
    let price = findings.take(try fields.optionalInt("price", in: 0...Limits.ticketPrice))
    let capacity = findings.take(try fields.optionalInt("capacity", in: 0...Limits.ticketsPerEvent))
    if !["name", "price", "capacity"].contains(where: fields.has) {
      findings.note(Problem(400, "invalid_field", "Say a new `name`, `price` or `capacity`."))
    }
    if fields.has("capacity"), fields.has("name") || fields.has("price") {
      findings.note(fields.refused("capacity", "is changed by itself"))
    }
    try findings.finish()
    let section = named ?? ""
    return change(id, claims, "removed") { events, isTaken in
      if let capacity {
        try await events.requirePlaces(event: id, section: section)
        let known = try await events.event(id)?.sections.first { $0.name == section }
        guard let known else {
          throw Problem(404, "unknown_section", "The event has no section of this name.")
        }
        guard capacity <= known.total else {
          // How many there are is counted once more where they are added: nobody adds to them meanwhile.
          let more = SectionDraft(name: section, price: known.price, capacity: capacity - known.total)
          _ = try await events.addTickets(event: id, [more], upTo: capacity, by: claims.user)
          return 0
        }
        return try await events.remove(
          event: id, .capacity(section: section, left: capacity), isTaken: isTaken, by: claims.user)
      }
      let isKnown = try await events.updateSection(
        event: id, named: section, newName: name, price: price, isTaken: isTaken, by: claims.user)
      guard isKnown else { throw Problem(404, "unknown_section", "The event has no section of this name.") }
      return 0
    }
  }

  /// What the tickets cost that nobody has yet.
  private func setPrice(_ request: HTTPRequest) throws -> HTTPAnswer {
    let (id, claims) = try target(request)
    var findings = Findings()
    let fields = try Fields(body: request, only: Self.selectionFields.union(["price"]), &findings)
    let told = findings.take(try fields.int("price", in: 0...Limits.ticketPrice))
    let selection = Self.selection(fields, &findings)
    try findings.finish()
    let price = told ?? 0
    return answer { [self] in
      try await permit(claims, id)
      let (changed, kept) = try await events.setPrice(event: id, selection, price, by: claims.user) {
        try await queue.settings.barGrants(event: id, ticketsVersion: $0)
      }
      let published = try await publish(event: id)
      return .json(
        200,
        [
          "id": .integer(id), "changed": .integer(changed), "kept": .integer(kept),
          "published": .bool(published),
        ])
    }
  }

  private func delete(_ request: HTTPRequest) throws -> HTTPAnswer {
    let (id, claims) = try target(request)
    return answer { [self] in
      try await permit(claims, id)
      try await events.delete(event: id, by: claims.user)
      return .json(200, ["id": .integer(id), "deleted": true])
    }
  }

  // MARK: Steps

  private func target(_ request: HTTPRequest) throws(Problem) -> (event: Int, claims: Claims) {
    let claims = try authenticator.organizer(request)
    return (try request.eventID(), claims)
  }

  /// - Parameters:
  ///   - name: what is counted, in the answer.
  ///   - body: is told which tickets Redis knows as held or sold.
  private func change(
    _ id: Int, _ claims: Claims, _ name: String,
    _ body: @escaping @LoopActor (EventStore, @escaping @Sendable (Int) -> Bool) async throws -> Int
  ) -> HTTPAnswer {
    answer { [self] in
      try await permit(claims, id)
      // Read first, so that whoever was granted some by now is seen; nothing is known of holds while Redis is away.
      let taken = try await queue.reader.unavailableTickets(event: id) ?? []
      let count = try await body(events) { Bitmap.contains(taken, $0) }
      let published = try await publish(event: id)
      return .json(200, ["id": .integer(id), (name): .integer(count), "published": .bool(published)])
    }
  }
}
