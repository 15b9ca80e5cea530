import Archive
import EventLoop
import HTTPCommon
import HTTPServer
import Identity
import JSON
import Ledger
import Sale
import Text

/// Events that do not take place.
extension Admin {
  func addCancelRoutes(to router: inout Router, _ event: String) {
    router.on(.post, event + "/cancel", refuse: refuse) { [self] request in
      checked { try cancel(request) }
    }
    router.on(.get, event + "/cancel", refuse: refuse) { [self] request in
      checked { try cancellation(request) }
    }
  }

  private func cancel(_ request: HTTPRequest) throws -> HTTPAnswer {
    let claims = try authenticator.organizer(request)
    let event = try request.eventID()
    let fields = try Fields(body: request, only: ["reason"])
    let reason = try fields.string("reason", max: Limits.messageBytes)
    return answer { [self] in
      try await permit(claims, event)
      _ = await publish(try await events.cancel(event: event, reason: reason, by: claims.user))
      return .json(202, try await cancellation(of: event), headers: Self.uncached)
    }
  }

  private func cancellation(_ request: HTTPRequest) throws -> HTTPAnswer {
    let claims = try authenticator.organizer(request)
    let event = try request.eventID()
    return answer { [self] in
      try await permit(claims, event)
      return .json(200, try await cancellation(of: event), headers: Self.uncached)
    }
  }

  private func cancellation(of event: Int) async throws -> JSON {
    guard let found = try await refunds.cancellation(event: event) else {
      throw Problem(404, "not_cancelled", "The event is not cancelled.")
    }
    return [
      "state": found.endedAt == nil ? "under_way" : "done", "reason": .string(found.reason),
      "requested_at": .string(Time.text(found.askedAt)), "ended_at": JSON(found.endedAt.map(Time.text)),
      "purchases": [
        "all": .integer(found.all), "refunded": .integer(found.refunded), "failed": .integer(found.failed),
        "left": .integer(found.left), "retried": .integer(found.retried),
      ],
      "refunded_amount": .integer(found.amount), "currency": .string(found.currency),
    ]
  }
}

extension AdminCommand {
  private static let pauseMilliseconds: UInt64 = 300

  /// Cancels an event, and waits until everybody has their money back. Ended meanwhile, it goes on all the same, and the
  /// same command shows it again.
  func cancelEvent(_ arguments: inout Arguments) async throws {
    let reason = try arguments.option("reason")
    let isQuick = arguments.flag("no-wait")
    let event = try arguments.event()
    try arguments.finish()
    try await withServers { servers in
      if let reason {
        guard (1...Limits.messageBytes).contains(reason.utf8.count),
          !reason.unicodeScalars.contains(where: \.steersText)
        else {
          throw Failure.usage("the reason has 1 to \(Limits.messageBytes) bytes, and no control characters")
        }
        let settings = try await servers.events.cancel(event: event, reason: reason, by: who)
        try await servers.events.publish(settings, to: servers.queue)
      }
      guard var found = try await servers.refunds.cancellation(event: event) else {
        throw Failure.usage("say why: --reason TEXT, which everybody is shown")
      }
      let progress = ProgressBar("purchases given back")
      // Those that have failed and are tried again take up to a day, and go on without anybody who waits.
      while !isQuick, found.endedAt == nil, found.left == 0 || found.left > found.retried {
        progress.show(found.refunded + found.failed, of: found.all)
        try await sleep(milliseconds: Self.pauseMilliseconds)
        found = try await servers.refunds.cancellation(event: event) ?? found
      }
      progress.clear()
      print(Self.report(event, found))
      if found.failed > 0 {
        throw Failure.refused(
          "\(found.failed) purchases were not given back: `onsale admin refunds \(event)` says why; `cancel` again tries again"
        )
      }
    }
  }

  private static func report(_ event: Int, _ found: RefundStore.Cancellation) -> String {
    let state = found.endedAt == nil ? "is being cancelled" : "is cancelled"
    return "event \(event) \(state): \(found.refunded) of \(found.all) purchases given back, "
      + "\(money(found.amount, found.currency)); \(found.failed) failed, \(found.left) left"
      + (found.retried > 0 ? ", of which \(found.retried) have failed and are tried again" : "")
  }
}
