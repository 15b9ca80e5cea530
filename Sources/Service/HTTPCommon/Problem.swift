import EventLoop
package import HTTPServer
import Identity
import Logging
import Postgres
import Redis
import StoreCommon

/// An answer that says no, in the form of RFC 9457: thrown anywhere, mapped to HTTP in one place.
package struct Problem: Error, Sendable, Equatable, CustomStringConvertible {
  package let status: Int
  /// Stable, for programs.
  package let code: String
  /// For a person: what to change or when to try again.
  package let detail: String
  /// Seconds; 429 and 503 always have one.
  package let retryAfter: Int?
  /// What is wrong in what was sent, each with its place; empty where it is something else.
  package let errors: [Finding]
  /// How many more there are than `errors` tells.
  package let untold: Int

  package init(
    _ status: Int, _ code: String, _ detail: String, retryAfter: Int? = nil, errors: [Finding] = [],
    untold: Int = 0
  ) {
    self.status = status
    self.code = code
    self.detail = detail
    self.errors = errors
    self.untold = untold
    self.retryAfter = retryAfter ?? (status == 429 || status == 503 ? 1 : nil)
  }

  package var response: HTTPResponse {
    var headers: HTTPResponse.Headers = [("Cache-Control", "no-store")]
    if let retryAfter { headers.append(("Retry-After", String(retryAfter))) }
    if status == 401 { headers.append(("WWW-Authenticate", "Bearer")) }
    return .problem(
      status, code: code, detail: detail, errors: errors.map(\.json), headers: headers)
  }

  package var description: String { "\(status) \(code): \(detail)" }

  /// The field `name` at the top of a body is not as it must be.
  package static func invalidField(_ name: String, _ reason: String) -> Problem {
    let field = FieldPlace(nil, name)
    let detail = "The field `\(name)` \(reason)."
    return Problem(
      400, "invalid_field", detail, errors: [Finding(.body(pointer: field.pointer), detail)])
  }

  /// The same of an item of the query.
  package static func invalidItem(_ name: String, _ reason: String) -> Problem {
    let detail = "The field `\(name)` \(reason)."
    return Problem(400, "invalid_field", detail, errors: [Finding(.query(name), detail)])
  }

  package static let unavailable = Problem(
    503, "unavailable", "A part of the service is not available right now. Nothing is lost; try again.",
    retryAfter: 2)
  package static let overloaded = Problem(
    503, "overloaded", "More requests arrive than can be answered. Try again.", retryAfter: 2)
  package static let unknownEvent = Problem(404, "unknown_event", "There is no event with this id.")
}

/// What a client is told about `error`: the one mapping for all roles. What nobody expected is logged and
/// 500.
package func problem(for error: any Error) -> Problem {
  switch error {
  case let error as Problem: return error
  case let error as RedisError: return problem(for: error)
  case let error as PostgresError: return problem(for: error)
  case let error as StoreError: return problem(for: error)
  case let error as AuthError: return problem(for: error)
  case is GroupCommitFull, is SideThreadFull: return .overloaded
  case is CancellationError: return .unavailable
  default: return unexpected(error)
  }
}

private let logger = Logger(label: "api")
// Any request may meet one of these, and during an outage each does.
private let unexpectedErrors = LogLimit(perSecond: 20)

private func unexpected(_ error: any Error) -> Problem {
  if let count = unexpectedErrors.next() {
    logger.error("unexpected error", ["error": "\(error)", "log.count": count])
  }
  return Problem(500, "internal", "Something went wrong on our side. It has been noted.")
}

private func problem(for error: RedisError) -> Problem {
  switch error.code {
  case .unavailable, .connectionLost, .timeout: return .unavailable
  // These mean that our own call was wrong; all others are a state that Redis is in.
  case .server("ERR"), .server("WRONGTYPE"), .server("NOSCRIPT"): return unexpected(error)
  case .server(let word):
    logger.retrying("Redis refuses work", ["redis.error": word])
    return .unavailable
  }
}

private func problem(for error: PostgresError) -> Problem {
  guard error.code == .server else { return .unavailable }
  if error.isTransient { return .unavailable }
  switch error.sqlState?.prefix(2) {
  // A value that PostgreSQL cannot hold, such as text with a zero character or a number out of range.
  case "22": return Problem(400, "invalid_value", "A value cannot be stored.")
  // Out of resources, told to shut down, starting up, or a replica that takes no writes.
  case "53", "57", "58", "08", "25":
    logger.retrying("PostgreSQL refuses work", ["postgres.sqlstate": error.sqlState ?? ""])
    return .unavailable
  default: return unexpected(error)
  }
}

private func problem(for error: StoreError) -> Problem {
  switch error.code {
  case .notFound: .unknownEvent
  case .missing: Problem(404, "unknown_tickets", error.message)
  case .conflict: Problem(409, "conflict", error.message)
  case .invalid: Problem(422, "invalid", error.message)
  case .noQueue: Problem(409, "not_open", "The sale of this event is not open.")
  case .staleEpoch: .unavailable
  default: unexpected(error)
  }
}

private func problem(for error: AuthError) -> Problem {
  switch error.code {
  case .busy: .overloaded
  case .configuration: unexpected(error)
  case .ended: Problem(401, "session_ended", "You have signed out, or changed your password. Sign in again.")
  case .expired: Problem(401, "token_expired", "The bearer token has expired. Get a new one.")
  default: Problem(401, "invalid_token", "The bearer token is not accepted: \(error.message).")
  }
}
