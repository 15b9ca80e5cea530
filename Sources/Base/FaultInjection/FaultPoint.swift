package import EventLoop
import Foundation
import Logging

/// A place where a role waits for Redis, PostgreSQL, the search index or the payment provider.
///
/// Tests make the process die, stop, fail or hesitate right before or right after each of them, by the
/// environment: `ONSALE_FAULT=<name>:<before|after>:<kill|stop|error|delay>[:<passage>[:<milliseconds>]]`, where
/// `passage` counts from 1 and says which passage is hit. Without it a fault point costs one comparison.
package enum FaultPoint: String, CaseIterable, Sendable {
  case leaseAnnounce = "lease.announce"
  case leaseRenew = "lease.renew"
  case leaseHolders = "lease.holders"
  case leaseAcquire = "lease.acquire"
  case leaseRelease = "lease.release"
  case leaseEpoch = "lease.epoch"
  case leaseOwn = "lease.own"
  case leaseEvents = "lease.events"
  case leaseWithdraw = "lease.withdraw"

  case holdsEnd = "holds.end"
  case holdsClock = "holds.clock"

  case reserveLoad = "reserve.load"
  case reserveCompare = "reserve.compare"
  case reserveSeats = "reserve.seats"
  case reservePublish = "reserve.publish"
  case reserveRead = "reserve.read"
  case reserveCommit = "reserve.commit"
  case reserveTick = "reserve.tick"
  case reserveLocks = "reserve.locks"
  case reserveEnds = "reserve.ends"
  case reserveLate = "reserve.late"
  case reserveMarkLost = "reserve.markLost"
  case reserveArchive = "reserve.archive"

  case forgottenLook = "forgotten.look"
  case forgottenHalt = "forgotten.halt"
  case databaseLook = "database.look"
  case databaseCompare = "database.compare"

  case confirmNext = "confirm.next"
  case confirmTake = "confirm.take"
  case confirmTakeOver = "confirm.take_over"
  case confirmDeliveries = "confirm.deliveries"
  case confirmKeep = "confirm.keep"
  case confirmIntent = "confirm.intent"
  case confirmLate = "confirm.late"
  case confirmAuthorise = "confirm.authorise"
  case confirmSettle = "confirm.settle"
  case confirmFinish = "confirm.finish"
  case confirmCapture = "confirm.capture"
  case confirmCaptured = "confirm.captured"
  case confirmVoid = "confirm.void"
  case confirmBury = "confirm.bury"
  case confirmRetire = "confirm.retire"
  case confirmForget = "confirm.forget"
  case confirmDeclined = "confirm.declined"

  case outboxDue = "outbox.due"
  case outboxLate = "outbox.late"
  case outboxStalled = "outbox.stalled"
  case refundDue = "refund.due"
  case refundCancel = "refund.cancel"
  case newsDue = "news.due"
  case newsAsk = "news.ask"
  case newsWrite = "news.write"
  case refundMake = "refund.make"
  case refundSettle = "refund.settle"
  case refundTell = "refund.tell"
  case booksTake = "books.take"
  case booksLook = "books.look"
  case booksAsk = "books.ask"
  case booksMend = "books.mend"
  case booksNote = "books.note"
  case openDue = "events.open_due"
  case openPublish = "events.publish"
  case reconcile = "events.reconcile"

  case webhookEndpoints = "webhooks.endpoints"
  case webhookNews = "webhooks.news"
  case webhookDue = "webhooks.due"
  case webhookSend = "webhooks.send"
  case webhookSent = "webhooks.sent"
  case webhookTidy = "webhooks.tidy"

  case intakeSections = "intake.sections"
  case intakeSettings = "intake.settings"
  case intakeEnqueue = "intake.enqueue"
  case intakePlace = "intake.place"
  case intakeConfirm = "intake.confirm"
  case intakeCancel = "intake.cancel"
  case intakePast = "intake.past"
  case intakeHint = "intake.hint"
  case intakeNews = "intake.news"
  case intakeDeclines = "intake.declines"

  case indexChanged = "index.changed"
  case indexEvents = "index.events"
  case indexQueues = "index.queues"
  case indexDocument = "index.document"
  case indexPrepare = "index.prepare"
  case indexVersions = "index.versions"
  case indexRead = "index.read"
  case indexClaim = "index.claim"
  case indexWrite = "index.write"
  case indexRemove = "index.remove"
  case indexWritten = "index.written"
}

/// An error that a fault point was told to throw.
package struct InjectedFault: Error, CustomStringConvertible {
  package let point: FaultPoint
  package var description: String { "injected at \(point.rawValue)" }
}

/// The fault that this process's environment asks for, if any.
@LoopActor
package enum Faults {
  private enum Action: String { case kill, stop, error, delay }

  private struct Plan {
    let point: FaultPoint
    let isBefore: Bool
    let action: Action
    let passage: Int
    let milliseconds: UInt64
    var seen = 0
  }

  private static var plan: Plan? = parse(ProcessInfo.processInfo.environment["ONSALE_FAULT"])
  /// What is wrong with the environment's wish; checked at start, so that a mistyped name is no silent pass.
  package private(set) static var problem: String?

  private static func parse(_ text: String?) -> Plan? {
    guard let text, !text.isEmpty else { return nil }
    let parts = text.split(separator: ":").map(String.init)
    guard parts.count >= 3, let point = FaultPoint(rawValue: parts[0]),
      ["before", "after"].contains(parts[1]),
      let action = Action(rawValue: parts[2])
    else {
      problem = "ONSALE_FAULT is not <name>:<before|after>:<kill|stop|error|delay>[:<passage>[:<ms>]]"
      return nil
    }
    return Plan(
      point: point, isBefore: parts[1] == "before", action: action,
      passage: parts.count > 3 ? Int(parts[3]) ?? 1 : 1,
      milliseconds: parts.count > 4 ? UInt64(parts[4]) ?? 500 : 500)
  }

  /// Reads the environment now. - Returns: a sentence about what is wrong with it, or `nil`.
  package static func check() -> String? {
    _ = plan
    return problem
  }

  /// Whether something is to happen at `point`: where it is crossed without a task, it is with one then.
  package static func isExpected(at point: FaultPoint) -> Bool { plan?.point == point }

  /// Runs `body`, the wait that `point` names.
  package static func point<Result>(
    _ point: FaultPoint, _ body: @LoopActor () async throws -> Result
  ) async throws -> Result {
    guard plan?.point == point else { return try await body() }
    try await strike(point, isBefore: true)
    let result = try await body()
    try await strike(point, isBefore: false)
    return result
  }

  private static func strike(_ point: FaultPoint, isBefore: Bool) async throws {
    guard let wanted = plan, wanted.isBefore == isBefore else { return }
    plan?.seen += 1
    guard wanted.seen + 1 == wanted.passage else { return }
    Logger(label: "faults").notice(
      "fault struck", ["fault.point": point.rawValue, "fault.action": wanted.action.rawValue])
    switch wanted.action {
    case .kill: kill(getpid(), SIGKILL)
    case .stop: kill(getpid(), SIGSTOP)
    case .error: throw InjectedFault(point: point)
    case .delay: try await sleep(milliseconds: wanted.milliseconds)
    }
  }
}
