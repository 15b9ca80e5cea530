import EventLoop
import HTTPCommon
import HTTPServer
import Identity
import JSON
import Ledger
import Sale
import StoreCommon

/// What organizers give back, and the purchases of which they do.
extension Admin {
  func addRefundRoutes(to router: inout Router, _ event: String) {
    router.on(.get, event + "/purchases", refuse: refuse) { [self] request in
      checked { try purchases(request) }
    }
    router.on(.post, event + "/refunds", refuse: refuse) { [self] request in
      checked { try refund(request) }
    }
    router.on(.get, event + "/refunds", refuse: refuse) { [self] request in
      checked { try refunds(request) }
    }
    router.on(.get, event + "/refunds/{refund}", refuse: refuse) { [self] request in
      checked { try oneRefund(request) }
    }
  }

  private func refund(_ request: HTTPRequest) throws -> HTTPAnswer {
    let claims = try authenticator.organizer(request)
    let event = try request.eventID()
    let fields = try Fields(body: request, only: ["request_id", "ticket_ids", "seats"])
    let tickets = try fields.optionalInts(
      "ticket_ids", in: 1...Limits.ticketID, atMost: Limits.ticketsPerRequest)
    if let tickets, tickets.isEmpty { throw Problem.invalidField("ticket_ids", "must name tickets") }
    let seats = try fields.optionalString("seats", max: 20) ?? Self.release
    guard [Self.release, Self.block].contains(seats) else {
      throw Problem.invalidField("seats", "must be \"\(Self.release)\" or \"\(Self.block)\"")
    }
    let wish = RefundStore.Wish(
      try key(try fields.string("request_id", max: Self.requestIDBytes), of: event), tickets: tickets,
      releases: seats == Self.release, idempotencyKey: try Self.idempotencyKey(request))
    return answer { [self] in
      try await permit(claims, event)
      let (refund, isNew) = try await refunds.request(wish, by: claims.user)
      return .json(
        isNew ? 202 : 200, json(refund),
        headers: [
          ("Location", "/api/admin/events/\(event)/refunds/\(refund.id)"), ("Cache-Control", "no-store"),
        ])
    }
  }

  private func refunds(_ request: HTTPRequest) throws -> HTTPAnswer {
    let claims = try authenticator.organizer(request)
    let event = try request.eventID()
    let items = try QueryItems(request, only: ["before", "limit"])
    let before = try items.optionalString("before", max: 36)
    let limit = try items.optionalInt("limit", in: Self.pageSizes) ?? 100
    return answer { [self] in
      try await permit(claims, event)
      let page = try await refunds.refunds(event: event, before: before, limit: limit)
      let next = page.count == limit ? page.last?.id : nil
      return .json(
        200, ["refunds": .array(page.map { json($0) }), "next_before": JSON(next)], headers: Self.uncached)
    }
  }

  private func oneRefund(_ request: HTTPRequest) throws -> HTTPAnswer {
    let claims = try authenticator.organizer(request)
    let event = try request.eventID()
    let id = request.parameters["refund"] ?? ""
    return answer { [self] in
      try await permit(claims, event)
      guard let refund = try await refunds.find(event: event, id: id) else {
        throw Problem(404, "unknown_refund", "The event has no refund of this id.")
      }
      return .json(200, json(refund), headers: Self.uncached)
    }
  }

  private func purchases(_ request: HTTPRequest) throws -> HTTPAnswer {
    let claims = try authenticator.organizer(request)
    let event = try request.eventID()
    let items = try QueryItems(request, only: ["user", "ticket", "after", "limit"])
    let user = try items.optionalString("user", max: Limits.nameBytes)
    let ticket = try items.optionalInt("ticket", in: 1...Limits.ticketID)
    let after = try items.optionalString("after", max: Self.requestIDBytes).map { id throws(Problem) in
      try key(id, of: event)
    }
    let limit = try items.optionalInt("limit", in: Self.pageSizes) ?? 100
    return answer { [self] in
      try await permit(claims, event)
      let page = try await refunds.purchases(
        event: event, user: user, ticket: ticket, after: after, limit: limit)
      let disputes = try await refunds.disputes(of: page.map(\.key))
      let list = page.map { purchase -> JSON in
        [
          "request_id": .string(id(purchase.key, of: purchase.user, purchase.wish)),
          "user": .string(purchase.user), "ticket_ids": .array(purchase.tickets.map { .integer($0) }),
          "amount": .integer(purchase.amount), "charged": .integer(purchase.charged),
          "refunded": .integer(purchase.refunded), "currency": .string(purchase.currency),
          "payment_id": JSON(purchase.paymentID), "purchased_at": .string(Time.text(purchase.soldAt)),
          "disputes": .array((disputes[purchase.key] ?? []).map(Self.json)),
        ]
      }
      let next = page.count == limit ? list.last?["request_id"] : nil
      return .json(200, ["purchases": .array(list), "next_after": next ?? .null], headers: Self.uncached)
    }
  }

  // MARK: Words

  private static let release = "release"
  private static let block = "block"
  private static let requestIDBytes = 100

  /// - Throws: 404 for an id of another event, too.
  private func key(_ text: String, of event: Int) throws(Problem) -> PurchaseKey {
    guard let id = ids.decode(text), id.event == event else {
      throw Problem(404, "unknown_request", "The event has no request of this id.")
    }
    return PurchaseKey(event: event, generation: id.generation, position: id.position)
  }

  private func id(_ key: PurchaseKey, of user: String, _ wish: WishPlace?) -> String {
    ids.encode(
      RequestID(
        event: key.event, generation: key.generation, position: key.position, owner: UserKey(user).text,
        line: wish?.line ?? 0, ordinal: wish?.ordinal ?? 0))
  }

  private static func json(_ dispute: RefundStore.Dispute) -> JSON {
    [
      "id": .string(dispute.id), "amount": .integer(dispute.amount), "reason": .string(dispute.reason),
      "status": .string(dispute.status), "created_at": .string(Time.text(dispute.createdAt)),
    ]
  }

  private func json(_ refund: RefundStore.Refund) -> JSON {
    [
      "id": .string(refund.id), "request_id": .string(id(refund.key, of: refund.user, refund.wish)),
      "user": .string(refund.user), "ticket_ids": .array(refund.tickets.map { .integer($0) }),
      "amount": .integer(refund.amount), "currency": .string(refund.currency),
      "state": .string(refund.state.rawValue), "seats": .string(refund.releases ? Self.release : Self.block),
      "reason": JSON(refund.reason), "requested_by": .string(refund.who),
      "requested_at": .string(Time.text(refund.requestedAt)), "ended_at": JSON(refund.endedAt.map(Time.text)),
      "tries": .integer(refund.tries), "retried_by": JSON(refund.retriedBy),
    ]
  }
}
