import Compression
package import EventLoop
package import HTTPCommon
package import HTTPServer
package import Identity
import JSON
package import Ledger
package import Queue
package import Sale
package import Search
import StoreCommon

/// The role for everyone who looks around: accounts, search, events and their seats, what one has bought.
///
/// Reads only, from memory where it can. It goes on with what it knows while PostgreSQL, Redis or the search
/// backend are away.
@LoopActor
package final class Catalog {
  /// Purchases told in one answer.
  private static let purchasesShown = 500
  /// Lists of seats kept ready to be sent; each may have several megabytes.
  private static let bodiesKept = 16
  /// Bytes of lists in memory, those included that are outdated and still being sent to slow readers; past it
  /// lists are told as they last were. Those kept ready alone may come to half of it.
  package nonisolated static let listBytes = 512 << 20

  /// What a list of seats was asked for.
  struct SeatQuery: Hashable, Sendable {
    let event: Int
    let section: String?
  }

  /// A list ready to be sent, in memory once however many are reading it.
  final class SeatAnswer: Sendable {
    let body: SharedBody
    let tag: String
    /// As of the event's page that it was made from.
    let asOf: Int
    let isUnannounced: Bool
    init(body: [UInt8], tag: String, page: EventPages.Page) {
      self.body = SharedBody(body)
      self.tag = tag
      asOf = page.asOf
      isUnannounced = page.event.settings.isUnannounced
    }
  }

  private struct WeakSeatAnswer {
    weak var answer: SeatAnswer?
  }

  private let users: UserStore
  private let search: CachedSearch
  private let authenticator: Authenticator
  private let ids: RequestIDCoder
  private let publicURL: String
  let accounts: Accounts
  private let pages: EventPages
  private let lists: SeatLists
  private let events: ReadableEvents
  private let listBytes: Int
  /// Every list that may still be in memory.
  private var made: [WeakSeatAnswer] = []
  private(set) lazy var seats = FreshCache<SeatQuery, SeatAnswer>(capacity: Self.bodiesKept) {
    [unowned self] query, _ in try await loadSeats(query)
  }

  /// - Parameters:
  ///   - standby: where events are read while the primary does not answer.
  ///   - mails: where mails are asked for; `nil` where none is sent.
  ///   - use: counts what clients do with accounts.
  ///   - search: renders pages by `Catalog.body`.
  ///   - publicURL: where people find the event pages, without a slash at its end.
  ///   - zone: of venues whose events name none.
  package init(
    events: EventStore, standby: Standby? = nil, users: UserStore, mails: MailStore? = nil,
    use: AccountUse? = nil, queue: QueueReader,
    search: CachedSearch,
    authenticator: Authenticator, sessions: Sessions, hasher: PasswordHasher, ids: RequestIDCoder,
    publicURL: String = "", zone: VenueZone = .utc, listBytes: Int = Catalog.listBytes
  ) {
    self.publicURL = publicURL
    self.users = users
    self.search = search
    self.authenticator = authenticator
    self.ids = ids
    self.listBytes = listBytes
    accounts = Accounts(
      users: users, mails: mails, use: use, hasher: hasher, sessions: sessions, authenticator: authenticator)
    let readable = ReadableEvents(events, standby: standby)
    pages = EventPages(events: readable, queue: queue, zone: zone)
    lists = SeatLists(events: readable)
    self.events = readable
  }

  package func addRoutes(to router: inout Router) {
    router.on(.post, "/api/users", maximumBody: 4_096) { [self] request in
      checked { try accounts.signUp(request) }
    }
    router.on(.post, "/api/users/confirm", maximumBody: 4_096) { [self] request in
      checked { try accounts.confirm(request) }
    }
    router.on(.post, "/api/password/reset", maximumBody: 4_096) { [self] request in
      checked { try accounts.askForReset(request) }
    }
    router.on(.post, "/api/password", maximumBody: 4_096) { [self] request in
      checked { try accounts.reset(request) }
    }
    router.on(.post, "/api/sessions", maximumBody: 4_096) { [self] request in
      checked { try accounts.signIn(request) }
    }
    router.on(.post, "/api/sessions/guest", maximumBody: 4_096) { [self] request in
      checked { try accounts.lookAround(request) }
    }
    let refuse = authenticator.refusesStrangers
    router.on(.delete, "/api/sessions", refuse: refuse) { [self] request in
      checked { try accounts.signOut(request) }
    }
    router.on(.post, "/api/sessions/refresh", maximumBody: 4_096) { [self] request in
      checked { try accounts.renew(request) }
    }
    router.on(.post, "/api/me/password", maximumBody: 4_096, refuse: refuse) { [self] request in
      checked { try accounts.changePassword(request) }
    }
    let look = authenticator.refusesAllWithoutToken
    router.on(.get, "/api/search", refuse: look) { [self] request in checked { try find(request) } }
    router.on(.get, "/api/event/{id}", refuse: look) { [self] request in checked { try event(request) } }
    router.on(.get, "/api/event/{id}/tickets", refuse: look) { [self] request in
      checked { try tickets(request) }
    }
    router.on(.get, "/api/event/{id}/plan", refuse: look) { [self] request in checked { try plan(request) } }
    router.on(.get, "/api/me/tickets", refuse: refuse) { [self] request in checked { try purchases(request) }
    }
  }

  // MARK: Search

  private func find(_ request: HTTPRequest) throws -> HTTPAnswer {
    _ = try authenticator.visitor(request)
    let query = try SearchQuery(asked: request)
    let accepted = request.header("Accept-Encoding")
    if let answer = search.cached(query), let response = Self.immediate(answer, accepted) {
      return .now(response)
    }
    return answer { [search] in
      do {
        return await Self.respond(try await search.search(query), accepted)
      } catch let error as SearchError where error.code != .unexpectedAnswer {
        throw error.code == .overloaded ? Problem.overloaded : Problem.unavailable
      }
    }
  }

  /// A page of hits as the API has it.
  package static func body(_ page: SearchPage) -> [UInt8] {
    let json: JSON = [
      "total": .integer(page.total), "total_is_exact": .bool(page.isTotalExact),
      "events": .array(
        page.hits.map { hit in
          let zone = VenueZone(hit.timeZone) ?? .utc
          return [
            "id": .integer(hit.id), "name": .string(hit.name), "location": .string(hit.location),
            "date": .string(Time.text(hit.date)), "date_local": .string(Time.text(hit.date, in: zone)),
            "time_zone": .string(zone.name), "onsale_at": JSON(hit.onsaleAt.map(Time.text)),
            "available": .integer(hit.available),
            "held": .integer(hit.held), "postponed": .bool(hit.isPostponed),
            "date_was": JSON(hit.dateWas.map(Time.text)),
            "date_was_local": JSON(hit.dateWas.map { Time.text($0, in: zone) }),
            "location_was": JSON(hit.locationWas), "min_price": .integer(hit.minPrice),
            "max_price": .integer(hit.maxPrice), "currency": .string(hit.currency),
            "onsale_state": .string(hit.onsaleState),
            "version": .integer(IndexVersion(number: hit.version).saleNumber),
            "highlights": .object(
              hit.highlights.map { ($0.field.rawValue, .array($0.pieces.map { .string($0) })) }),
          ]
        }),
      "suggestions": .array(page.suggestions.map { .string($0) }),
      "next_cursor": JSON(page.nextCursor),
    ]
    return json.serialized()
  }

  /// What an event's page tells those who do not run it; `nil` for what there is not, or is not for the public.
  /// - Throws: where it cannot be read now.
  package func description(of event: Int) async throws -> EventDescription? {
    guard let page = try await pages.cache.answer(event)?.value, !page.event.settings.isUnannounced else {
      return nil
    }
    return EventDescription(page, url: "\(publicURL)/event/\(event)")
  }

  /// Events on a page of the list that is read without running it.
  private static let listed = 20
  /// Nobody's first page waits longer for a list that most do not need: they run the page.
  private static let listMilliseconds: UInt64 = 300

  /// What the first page shows those who do not run it. Never fails: where nothing can be shown it says so.
  package func listing(_ request: HTTPRequest) async -> EventListing {
    let asked = EventListing.asked(request)
    do {
      var query = try SearchQuery(form: asked)
      query.limit = Self.listed
      if let found = try await search.search(query, withinMilliseconds: Self.listMilliseconds) {
        return EventListing(found.page, asked: asked)
      }
    } catch let error as Problem {
      return EventListing(error.detail, asked: asked)
    } catch {}
    return EventListing(
      "The list cannot be shown right now. Load this page again in a moment.", asked: asked)
  }

  // MARK: Events

  private func event(_ request: HTTPRequest) throws -> HTTPAnswer {
    let claims = try authenticator.visitor(request)
    let id = try request.eventID()
    let wanted = Wanted(request)
    if let page = pages.cache.immediate(id)?.value {
      guard Self.shows(page, to: claims) else { throw Problem.unknownEvent }
      if let response = Self.immediate(page.body, page.tag, wanted, age: page.ageMilliseconds) {
        return .now(response)
      }
    }
    return answer { [pages] in
      guard let page = try await pages.cache.answer(id)?.value, Self.shows(page, to: claims) else {
        throw Problem.unknownEvent
      }
      return await Self.respond(page.body, page.tag, wanted, age: page.ageMilliseconds)
    }
  }

  /// Whether somebody may know that there is this event.
  private static func shows(_ page: EventPages.Page, to claims: Claims) -> Bool {
    !page.event.settings.isUnannounced || claims.manages(page.event.owner)
  }

  private func tickets(_ request: HTTPRequest) throws -> HTTPAnswer {
    let claims = try authenticator.visitor(request)
    let section = try QueryItems(request, only: ["section"]).optionalString(
      "section", max: Limits.sectionNameBytes)
    let query = SeatQuery(event: try request.eventID(), section: section)
    let wanted = Wanted(request)
    if let answer = seats.immediate(query), !answer.value.isUnannounced,
      let response = Self.immediate(answer, wanted)
    {
      return .now(response)
    }
    return answer { [self] in
      guard let page = try await pages.cache.answer(query.event)?.value, Self.shows(page, to: claims) else {
        throw Problem.unknownEvent
      }
      // A section that does not exist is not asked for: names made up would push lists out of memory.
      if let section, !page.event.sections.contains(where: { $0.name == section }) {
        throw Problem(404, "unknown_section", "The event has no section of this name.")
      }
      guard let answer = try await seats.answer(query) else { throw Problem.unknownEvent }
      return await Self.respond(answer, wanted)
    }
  }

  /// What the seating plan shows beside the seats, which have their own positions in the list of tickets.
  private func plan(_ request: HTTPRequest) throws -> HTTPAnswer {
    let claims = try authenticator.visitor(request)
    let id = try request.eventID()
    let wanted = Wanted(request)
    return answer { [pages, plans] in
      guard let page = try await pages.cache.answer(id)?.value, Self.shows(page, to: claims) else {
        throw Problem.unknownEvent
      }
      guard page.event.hasPlan, let plan = try await plans.answer(id) else {
        throw Problem(404, "no_plan", "The event has no seating plan.")
      }
      return await Self.respond(plan.value.body, plan.value.tag, wanted, age: plan.ageMilliseconds)
    }
  }

  /// What a plan shows, made ready once for all who look at it.
  private struct Drawing: Sendable {
    let body: SharedBody
    let tag: String
  }
  private static let plansKept = 16

  /// Read again within seconds of a change, and made anew only if it is one.
  private lazy var plans = FreshCache<Int, Drawing>(freshMilliseconds: 2_000, capacity: Self.plansKept) {
    [events] id, known in
    guard let text = try await events.read({ try await $0.drawing(event: id) }).value else { return nil }
    if let known, known.body.bytes.elementsEqual(text.utf8) { return known }
    let bytes = Array(text.utf8)
    return Drawing(body: SharedBody(bytes), tag: EntityTag.of(bytes))
  }

  private func loadSeats(_ query: SeatQuery) async throws -> SeatAnswer? {
    guard let page = try await pages.cache.answer(query.event)?.value else { return nil }
    var sections = page.event.sections
    if let name = query.section { sections.removeAll { $0.name != name } }
    made.removeAll { $0.answer == nil }
    guard made.reduce(0, { $0 + ($1.answer?.body.size ?? 0) }) < listBytes else {
      throw Problem.overloaded
    }
    let list = try await lists.list(of: page.event)
    let body = await SeatLists.render(
      list, sections: sections.map(\.id), unavailable: page.unavailable, holdsAreKnown: page.holdsAreKnown)
    let version = "\(query.section ?? "")/\(list.total)/\(list.version)/\(page.holdsAreKnown)"
    let tag = EntityTag.of(page.unavailable + Array(version.utf8))
    let answer = SeatAnswer(body: body, tag: tag, page: page)
    made.append(WeakSeatAnswer(answer: answer))
    return answer
  }

  // MARK: Purchases

  private func purchases(_ request: HTTPRequest) throws -> HTTPAnswer {
    let user = try authenticator.user(request).user
    return answer { [users, ids] in
      let purchases = try await users.purchases(of: user, limit: Self.purchasesShown)
      let unpaid = try await users.unpaid(of: user, limit: Self.unpaidShown)
      let owner = UserKey(user).text
      let isLarge = purchases.reduce(0) { $0 + $1.tickets.count } > Self.ticketsAtOnce
      // What takes longer than a turn of the loop may is written beside it.
      let list =
        isLarge
        ? try await SideThread.shared.run { Self.list(purchases, unpaid, owner, ids) }
        : Self.list(purchases, unpaid, owner, ids)
      return .json(200, serialized: list, headers: [("Cache-Control", "no-store")])
    }
  }

  /// Next to nobody has one, and who has, has few.
  private static let unpaidShown = 20

  /// Tickets that are written in one turn of the loop: some milliseconds.
  private nonisolated static let ticketsAtOnce = 1_000

  private nonisolated static func list(
    _ purchases: [UserStore.Purchase], _ unpaid: [UserStore.Unpaid], _ owner: String, _ ids: RequestIDCoder
  ) -> [UInt8] {
    func id(_ key: PurchaseKey, _ wish: WishPlace?) -> JSON {
      .string(
        ids.encode(
          RequestID(
            event: key.event, generation: key.generation, position: key.position, owner: owner,
            line: wish?.line ?? 0, ordinal: wish?.ordinal ?? 0)))
    }
    let open = unpaid.map { purchase -> JSON in
      [
        "request_id": id(purchase.key, purchase.wish), "event_id": .integer(purchase.key.event),
        "event_name": .string(purchase.eventName), "tickets": .array(purchase.tickets.map(json)),
        "amount": .integer(purchase.amount), "currency": .string(purchase.currency),
        "lapsed_at": .string(Time.text(purchase.lapsedAt)),
      ]
    }
    let list = purchases.map { purchase -> JSON in
      [
        "request_id": id(purchase.key, purchase.wish), "event_id": .integer(purchase.key.event),
        "event_name": .string(purchase.eventName), "event_location": .string(purchase.location),
        "event_date": .string(Time.text(purchase.date)), "event_location_was": JSON(purchase.locationWas),
        "event_date_was": JSON(purchase.dateWas.map(Time.text)),
        "event_postponed": .bool(purchase.isPostponed), "event_cancelled": JSON(purchase.cancelReason),
        "tickets": .array(purchase.tickets.map(json)), "other_seats": .bool(purchase.hasOtherSeats),
        "amount": .integer(purchase.amount), "currency": .string(purchase.currency),
        "payment_id": JSON(purchase.paymentID), "purchased_at": .string(Time.text(purchase.soldAt)),
        "refunds": .array(
          purchase.refunds.map { refund -> JSON in
            [
              "state": .string(refund.state.rawValue), "amount": .integer(refund.amount),
              "tickets": .array(refund.tickets.map(json)),
              "requested_at": .string(Time.text(refund.requestedAt)),
            ]
          }),
        "disputes": .array(
          purchase.disputes.map { dispute -> JSON in
            ["amount": .integer(dispute.amount), "status": .string(dispute.status)]
          }),
      ]
    }
    return JSON.object([("purchases", .array(list)), ("unpaid", .array(open))]).serialized()
  }

  private nonisolated static func json(_ ticket: UserStore.Purchase.Ticket) -> JSON {
    var members: [(name: String, value: JSON)] = [
      ("id", .integer(ticket.id)), ("section", .string(ticket.section)), ("row", JSON(ticket.row)),
      ("seat", JSON(ticket.seat)), ("price", .integer(ticket.price)),
    ]
    if let block = ticket.block { members.append(("block", .string(block))) }
    return .object(members)
  }
}
