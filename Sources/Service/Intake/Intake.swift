package import Archive
package import EventLoop
import FaultInjection
package import HTTPCommon
package import HTTPServer
package import Identity
import JSON
package import Ledger
import Metrics
package import Queue
import Sale
import StoreCommon

/// The role that takes buyers in: one round trip to Redis, and nothing else on the way, which those share who want a place
/// at the same event in the same turn of the loop (`JoinBatch`).
///
/// A request is answered 202 only after Redis has it. Asking again, for whatever reason, returns the same place.
@LoopActor
package final class Intake {
  private let queue: QueueStore
  private let events: EventStore
  private let sections: SectionNames
  private let authenticator: Authenticator
  private let ids: RequestIDCoder
  private let past: PastRequests
  private let declines: DeclineWatch
  private let policy = PollPolicy()
  /// Events that were asked for without a queue, `nil` where there is no such event: when a line is lost, by a crowd.
  private lazy var settingsKnown = FreshCache<Int, EventSettings?>(capacity: Self.settingsKept) {
    [events] event, _ in
    .some(try await Faults.point(.intakeSettings) { try await events.settings(event: event) })
  }
  private static let settingsKept = 10_000
  private lazy var joins = JoinBatch { [unowned self] in take($0, event: $1) }
  private let accepted = MetricsRegistry.shared.counter(
    "onsale_joins_total", "Requests that got a place in line")

  package init(
    queue: QueueStore, events: EventStore, sections: SectionNames, past: PastRequests,
    declines: DeclineWatch, authenticator: Authenticator, ids: RequestIDCoder
  ) {
    self.queue = queue
    self.events = events
    self.sections = sections
    self.past = past
    self.declines = declines
    self.authenticator = authenticator
    self.ids = ids
  }

  package func addRoutes(to router: inout Router) {
    let refuse = authenticator.refusesStrangers
    router.on(.post, "/api/ticket/reserve", refuse: refuse) { [self] request in reserve(request) }
    router.on(.post, "/api/ticket/confirm", refuse: refuse) { [self] request in confirm(request) }
    router.on(.delete, "/api/request/{request_id}", refuse: refuse) { [self] request in cancel(request) }
  }

  // MARK: Reserve

  struct Wish: Sendable {
    let event: Int
    let user: String
    let role: Role
    let quantity: Int
    let section: String?
    let tickets: [Int]
    let adjacent: Bool
    let method: String?
    /// Where they come from, with a method.
    let client: String
    let maxAmount: Int?
    let idempotencyKey: String?
    /// An earlier place of the caller's; whether it was lost with Redis, `rejoin` looks.
    let rejoin: RequestID?
  }

  private func reserve(_ request: HTTPRequest) -> HTTPAnswer {
    let wish: Wish
    do throws(Problem) {
      wish = try read(request)
    } catch {
      return .now(error.response)
    }
    if wish.rejoin == nil, let seats = seats(wish) { return .held(Join(wish, seats, joins)) }
    return answer { [self] in try await join(wish) }
  }

  /// What is asked for, as far as it can be said at once: `nil` where nobody knows the section.
  private func seats(_ wish: Wish) -> RequestedSeats? {
    var section: Int?
    if wish.tickets.isEmpty, let name = wish.section {
      section = sections.known(name, event: wish.event)
      if section == nil { return nil }
    }
    return RequestedSeats(
      quantity: wish.quantity, section: section, tickets: wish.tickets, adjacent: wish.adjacent)
  }

  /// Takes in those who came in one turn, in their order, and answers each as they would have been answered alone.
  private func take(_ joins: [Join], event: Int) {
    let joinings = joins.map(\.joining)
    guard Faults.isExpected(at: .intakeEnqueue) else {
      return queue.buyers.enqueue(event: event, joinings) { [self] in tell(joins, $0) }
    }
    // Ends by itself: one call with its deadline.
    Task { @LoopActor in
      do {
        tell(
          joins,
          try await Faults.point(.intakeEnqueue) { await queue.buyers.enqueue(event: event, joinings) })
      } catch {
        tell(joins, joins.map { _ in .failure(error) })
      }
    }
  }

  private func tell(_ joins: [Join], _ answers: [BuyersLine.JoinAnswer]) {
    for (join, answer) in zip(joins, answers) {
      if let response = response(join.wish, join.joining.userKey, answer) {
        join.reply?.send(response)
      } else {
        join.reply?.send { [self] in
          do { return try await conclude(join.wish, join.joining.userKey, answer) } catch {
            return problem(for: error).response
          }
        }
      }
    }
  }

  private static let wishFields: Set = [
    "event_id", "ticket_ids", "section", "adjacent", "payment_method", "max_amount", "quantity", "rejoin",
  ]
  private static let confirmFields: Set = ["request_id", "payment_method", "hold", "other_seats"]

  private func read(_ request: HTTPRequest) throws(Problem) -> Wish {
    let claims = try authenticator.user(request)
    let fields = try Fields(body: request, only: Self.wishFields)
    let event = try fields.int("event_id", in: 1...Int.max)
    let tickets =
      try fields.optionalInts(
        "ticket_ids", in: 1...Int(Int32.max), atMost: Limits.ticketsPerRequest) ?? []
    let section = try fields.optionalString("section", max: Limits.sectionNameBytes)
    let adjacent = try fields.optionalBool("adjacent") ?? false
    let method = try fields.optionalString("payment_method", max: Limits.paymentMethodBytes)
    let maxAmount = try fields.optionalInt("max_amount", in: 0...Limits.requestAmount)
    let quantity: Int
    if tickets.isEmpty {
      quantity = try fields.int("quantity", in: 1...Limits.ticketsPerRequest)
    } else {
      quantity = Set(tickets).count
      if let asked = try fields.optionalInt("quantity", in: 1...Limits.ticketsPerRequest), asked != quantity {
        throw Problem.invalidField("quantity", "differs from the number of `ticket_ids`")
      }
    }
    var client = ""
    if let method {
      try Self.check(method)
      client = declines.name(of: request)
      try declines.check(user: claims.user, client: client, event: event)
    }
    var rejoin: RequestID?
    if let text = try fields.optionalString("rejoin", max: Limits.idempotencyKeyBytes) {
      rejoin = try own(text, claims)
      if rejoin?.event != event { throw Problem.invalidField("rejoin", "names a request for another event") }
    }
    return Wish(
      event: event, user: claims.user, role: claims.role, quantity: quantity, section: section,
      tickets: tickets,
      adjacent: adjacent,
      method: method, client: client, maxAmount: maxAmount, idempotencyKey: try Self.idempotencyKey(request),
      rejoin: rejoin)
  }

  private func join(_ wish: Wish) async throws -> HTTPResponse {
    var section: Int?
    if wish.tickets.isEmpty, let name = wish.section {
      section = try await sections.id(of: name, event: wish.event)
      if section == nil {
        guard let settings = try await settings(wish.event), Self.shows(settings, to: wish) else {
          throw Self.unknownEvent
        }
        throw Problem(422, "unknown_section", "The event has no section \"\(name)\".")
      }
    }
    let seats = RequestedSeats(
      quantity: wish.quantity, section: section, tickets: wish.tickets, adjacent: wish.adjacent)
    let answer: BuyersLine.JoinAnswer = .success(try await rejoin(wish, seats))
    return try await conclude(wish, UserKey(wish.user).text, answer)
  }

  /// What somebody is told who asked for a place; `nil` where something has to be looked up first, for `conclude`.
  private func response(_ wish: Wish, _ userKey: String, _ answer: BuyersLine.JoinAnswer) -> HTTPResponse? {
    switch answer {
    case .success(.inLine(let place, let head, isNew: true)):
      accepted.increment()
      return respond(id(wish, userKey, place), head: head, state: .queued, status: 202)
    case .success(.inLine(_, _, isNew: false)): return nil
    case .success(.notOpen): return Self.notOpen
    case .success(.closed): return Self.closed
    case .success(.soldOut): return Self.soldOut
    case .success(.tooOften): return Self.leftTooOften
    case .success(.refusedTooOften): return Self.refusedTooOften
    case .success(.queueFull): return Self.queueFull
    case .success(.limitExceeded(let owned, let limit)):
      return Problem(
        422, "limit_exceeded", "At most \(limit) tickets a person; this account has \(owned) already."
      ).response
    case .success(.idempotencyMismatch):
      return Problem(
        422, "idempotency_mismatch", "This Idempotency-Key came with a different request before."
      ).response
    case .success(.restoring(let milliseconds)):
      return Problem(
        503, "queue_restoring", "The line is restored after a failure: those who were in it come first.",
        retryAfter: milliseconds / 1_000 + 1
      ).response
    case .failure(let error as StoreError) where error.code == .noQueue: return nil
    case .failure(let error): return problem(for: error).response
    }
  }

  // What a crowd is told, made once.
  private static let notOpen = Problem(409, "not_open", "The sale has not begun.").response
  private static let closed = Problem(409, "closed", "The sale is over.").response
  private static let soldOut = Problem(410, "sold_out", "Every ticket is sold.").response
  private static let leftTooOften = Problem(409, "too_often", "You have left this line too often.").response
  private static let refusedTooOften =
    Problem(409, "too_often", "Too many of your wishes for this event came to nothing.").response
  private static let queueFull =
    Problem(503, "queue_full", "The line is full at the moment.", retryAfter: 10).response

  private func conclude(
    _ wish: Wish, _ userKey: String, _ answer: BuyersLine.JoinAnswer
  ) async throws -> HTTPResponse {
    if let response = response(wish, userKey, answer) { return response }
    guard case .success(.inLine(let place, let head, _)) = answer else {
      throw await refusalWithoutQueue(wish)
    }
    let state = try await currentState(wish.event, place)
    return respond(id(wish, userKey, place), head: head, state: state, status: 200)
  }

  private func id(_ wish: Wish, _ userKey: String, _ place: BuyersLine.Place) -> RequestID {
    RequestID(
      event: wish.event, generation: place.generation, position: place.position, owner: userKey,
      line: place.wish?.line ?? 0, ordinal: place.wish?.ordinal ?? 0)
  }

  private func enqueue(
    _ wish: Wish, _ seats: RequestedSeats
  ) async throws -> BuyersLine.EnqueueAnswer {
    do {
      return try await Faults.point(.intakeEnqueue) {
        try await queue.buyers.enqueue(
          event: wish.event, user: wish.user, seats: seats, method: wish.method,
          client: wish.client, maxAmount: wish.maxAmount, idempotencyKey: wish.idempotencyKey)
      }
    } catch let error as StoreError where error.code == .noQueue {
      throw await refusalWithoutQueue(wish)
    }
  }

  /// Lets those who were in a line that Redis lost take their places up again, and everybody else join.
  private func rejoin(_ wish: Wish, _ seats: RequestedSeats) async throws -> BuyersLine.EnqueueAnswer {
    guard let place = wish.rejoin else { return try await enqueue(wish, seats) }
    let inPast = try await Faults.point(.intakePast) {
      try await past.lifeToReturn(Self.key(place), owner: place.owner, line: place.line)
    }
    if case .counts(let generation) = inPast {
      do {
        let answer = try await Faults.point(.intakeEnqueue) {
          try await queue.buyers.rejoin(
            event: wish.event, generation: generation, place: place.position, user: wish.user, seats: seats,
            method: wish.method, client: wish.client, maxAmount: wish.maxAmount)
        }
        if case .restoring = answer { past.lostLines.doubt(wish.event) }
        if let answer { return answer }
      } catch let error as StoreError where error.code == .noQueue {
        throw await refusalWithoutQueue(wish)
      }
    }
    let answer = try await enqueue(wish, seats)
    // It may have been lost just now, and its owner not have begun the new life: to come when the time for those who
    // were in it is over would be too late.
    if case .restoring(let milliseconds) = answer, inPast == .notLost {
      return .restoring(milliseconds: min(milliseconds, BuyersLine.soonMilliseconds))
    }
    return answer
  }

  /// Whether the caller may know that there is this event.
  private static func shows(_ settings: EventSettings, to wish: Wish) -> Bool {
    !settings.isUnannounced || wish.role >= .organizer
  }

  /// Why an event has no queue, as PostgreSQL knows it.
  private func refusalWithoutQueue(_ wish: Wish) async -> any Error {
    do {
      guard let settings = try await settings(wish.event), Self.shows(settings, to: wish) else {
        return Self.unknownEvent
      }
      switch settings.state {
      case "draft": return Problem(409, "not_open", "The sale has not begun.")
      case "closed": return Problem(409, "closed", "The sale is over.")
      default:
        // Lost with Redis; the workers make it anew within seconds.
        return Problem(503, "unavailable", "The line is being set up.", retryAfter: 2)
      }
    } catch {
      return error
    }
  }

  private func settings(_ event: Int) async throws -> EventSettings? {
    try await settingsKnown.answer(event)?.value
  }

  private func currentState(_ event: Int, _ place: BuyersLine.Place) async throws -> RequestState {
    let (document, record) = try await Faults.point(.intakePlace) {
      (
        try await queue.reader.document(event: event),
        try await queue.reader.record(event: event, position: place.position)
      )
    }
    guard let document else { return .queued }
    if let record {
      return RequestStatus(position: place.position, document: document, record: record).state
    }
    if place.wish != nil, place.position <= document.head { return .standby }
    return RequestStatus(position: place.position, wish: place.wish, document: document, mark: nil)?.state
      ?? .queued
  }

  private func respond(_ id: RequestID, head: Int, state: RequestState, status: Int) -> HTTPResponse {
    let text = ids.encode(id)
    let ahead = state == .queued ? max(0, id.position - head - 1) : 0
    let pause = policy.pollAfterMilliseconds(state, position: id.position, ahead: ahead, grantsPerSecond: 0)
    // Written by hand: the hottest answer that has a write behind it, and nothing in it needs escaping.
    var json = JSONText(capacity: 192)
    json.append(#"{"request_id":""#)
    json.append(verbatim: text)
    json.append(#"","position":"#)
    json.append(id.position)
    json.append(#","ahead":"#)
    json.append(ahead)
    json.append(#","state":""#)
    json.append(verbatim: state.rawValue)
    json.append(#"","poll_after_ms":"#)
    json.append(pause)
    json.append("}")
    return .uncached(status, serialized: json.bytes, headers: [("Location", "/api/request/" + text)])
  }

  // MARK: Confirm and cancel

  private func confirm(_ request: HTTPRequest) -> HTTPAnswer {
    let claims: Claims, id: RequestID, method: String?, key: String?, client: String
    var hold: HoldReceipt?
    let takesOthers: Bool
    do throws(Problem) {
      claims = try authenticator.user(request)
      let fields = try Fields(body: request, only: Self.confirmFields)
      let text = try fields.string("request_id", max: Limits.idempotencyKeyBytes)
      method = try fields.optionalString("payment_method", max: Limits.paymentMethodBytes)
      if let method { try Self.check(method) }
      key = try Self.idempotencyKey(request)
      id = try own(text, claims)
      if let shown = try fields.optionalString("hold", max: HoldReceiptCoder.textLimit) {
        hold = ids.holds.decode(shown, of: id)
        if hold == nil { throw Problem.invalidField("hold", "is not what an answer said of this request") }
      }
      takesOthers = try fields.optionalBool("other_seats") ?? false
      client = declines.name(of: request)
      if method != nil { try declines.check(user: claims.user, client: client, event: id.event) }
    } catch {
      return .now(error.response)
    }
    return answer { [self, hold] in
      // The id says that the place was this buyer's: if it is another's now, Redis has lost writes.
      var answer = BuyersLine.ConfirmAnswer.forbidden
      do {
        answer = try await Faults.point(.intakeConfirm) {
          try await queue.buyers.confirm(
            event: id.event, generation: id.generation, position: id.position, user: claims.user,
            method: method,
            idempotencyKey: key, tickets: hold?.tickets ?? [], client: client, takesOthers: takesOthers)
        }
        if answer == .notReserved, let hold,
          try await Faults.point(
            .intakeConfirm, { try await queue.buyers.show(event: id.event, [ShownHold(hold, of: id)]) })
            == [.awaited]
        {
          throw Problem(
            503, "unavailable", "What was held is being given back after a failure. Try again.", retryAfter: 1
          )
        }
      } catch let error as StoreError where error.code == .noQueue {}
      if answer == .forbidden {
        answer = try await Faults.point(.intakePast) {
          try await past.confirmAnswer(Self.key(id), user: claims.user)
        }
      }
      switch answer {
      case .ok: return Self.confirming(nil)
      case .okAgreed: return Self.confirming(.agreed)
      case .okByName: return Self.confirming(.notApplicable)
      case .expired: throw Problem(410, "expired", "The hold has ended; ask again for seats.")
      case .tooOften:
        throw Problem(409, "too_often", "Too many payments were tried for these tickets.")
      case .methodRequired:
        throw Problem(422, "payment_method_required", "These tickets are not free: say how they are paid.")
      case .closed: throw Problem(410, "closed", "The sale is over: no payment starts any more.")
      case .stopped:
        throw Problem(
          409, "sale_stopped",
          "The organizer lets no payment start for now. The tickets stay held, and their time stands still.")
      case .holdLost:
        throw Problem(
          409, "hold_lost", "Other tickets are held for this request than these; nothing was charged.")
      case .forbidden, .notReserved:
        throw Problem(409, "not_reserved", "No tickets are held for this request.")
      case .otherAgreement:
        throw Problem(
          409, "other_agreement",
          "The payment is under way, and with it you said otherwise whether other seats will do.")
      case .idempotencyMismatch:
        throw Problem(
          422, "idempotency_mismatch", "This Idempotency-Key came with a different request before.")
      }
    }
  }

  /// - Parameter others: what is noted of other seats, where it was said that these will do.
  private nonisolated static func confirming(_ others: OtherSeats?) -> HTTPResponse {
    let said: [(name: String, value: JSON)] = others.map { [("other_seats", .string($0.rawValue))] } ?? []
    return .json(202, .object([("state", "confirming")] + said), headers: [("Cache-Control", "no-store")])
  }

  private func cancel(_ request: HTTPRequest) -> HTTPAnswer {
    let claims: Claims, id: RequestID
    do throws(Problem) {
      claims = try authenticator.user(request)
      id = try own(request.parameters["request_id"] ?? "", claims)
    } catch {
      return .now(error.response)
    }
    return answer { [self] in
      // As when confirming.
      var answer = BuyersLine.CancelAnswer.forbidden
      do {
        answer = try await Faults.point(.intakeCancel) {
          try await queue.buyers.cancel(
            event: id.event, generation: id.generation, position: id.position, user: claims.user)
        }
      } catch let error as StoreError where error.code == .noQueue {}
      if answer == .forbidden {
        answer = try await Faults.point(.intakePast) {
          try await past.cancelAnswer(Self.key(id), user: claims.user)
        }
      }
      switch answer {
      case .ok: return .json(200, ["state": "cancelled"], headers: [("Cache-Control", "no-store")])
      case .purchased:
        throw Problem(409, "purchased", "The tickets are bought; they cannot be given back here.")
      case .confirming: throw Problem(409, "confirming", "The payment is under way.", retryAfter: 1)
      case .forbidden, .ended: throw Problem(409, "ended", "This request has ended.")
      case .unknown: throw Self.unknownRequest
      }
    }
  }

  /// The request that an id names, which must be the caller's.
  private func own(_ text: String, _ claims: Claims) throws(Problem) -> RequestID {
    guard let id = ids.decode(text) else { throw Self.unknownRequest }
    guard id.owner == UserKey(claims.user).text else {
      throw Problem(403, "forbidden", "This request belongs to somebody else.")
    }
    return id
  }

  private static func key(_ id: RequestID) -> PurchaseKey {
    PurchaseKey(event: id.event, generation: id.generation, position: id.position)
  }

  private static let unknownEvent = Problem(404, "unknown_event", "There is no event with this id.")
  private static let unknownRequest = Problem(
    404, "unknown_request", "No request has this id. Ids come from a reserve call.")

  // MARK: Checks

  /// A provider's name of a payment method: visible ASCII, so that nothing in it can mean something else on the way.
  private static func check(_ method: String) throws(Problem) {
    guard !method.isEmpty, method.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
      throw Problem.invalidField("payment_method", "is not the name of a payment method")
    }
    // Neither kept nor logged: it must not get here at all.
    if CardNumber.isIn(method) {
      throw Problem.invalidField(
        "payment_method",
        "must be the provider's name of a payment method. "
          + "Never send card numbers here: the provider's own form takes them")
    }
  }

  private static func idempotencyKey(_ request: HTTPRequest) throws(Problem) -> String? {
    guard let key = request.header("Idempotency-Key") else { return nil }
    guard (1...Limits.idempotencyKeyBytes).contains(key.utf8.count) else {
      throw Problem(400, "invalid_header", "Idempotency-Key has 1 to \(Limits.idempotencyKeyBytes) bytes.")
    }
    return key
  }
}
