import Foundation
import JSON

/// What a buyer reads in an answer; every member may be missing.
package struct Answer: Sendable, Equatable {
  package var status = 0
  package var requestID: [UInt8] = []
  package var position: Int?
  package var state: String?
  package var pollAfterMilliseconds: Int?
  package var tickets: [Int] = []
  package var amount: Int?
  package var currency: String?
  /// Unix milliseconds.
  package var expiresAt: Int?
  /// Why a request was rejected.
  package var reason: String?
  /// The stable code of an error.
  package var code: String?
  package var retryAfterSeconds: Int?
  /// What is held, signed.
  package var hold: String?
  /// How many are left, where fewer are than were asked for.
  package var left: Int?
  /// For how long the place may be kept by asking for less.
  package var answerWithinSeconds: Int?

  package init(status: Int) { self.status = status }

  package init(status: Int, retryAfterSeconds: Int?, body: [UInt8]) {
    self.status = status
    self.retryAfterSeconds = retryAfterSeconds
    guard let json = try? JSON(parsing: body), let members = json.members else { return }
    for (name, value) in members {
      switch name {
      case "request_id": requestID = value.string.map { Array($0.utf8) } ?? []
      case "position": position = value.integer
      case "state": state = value.string
      case "poll_after_ms": pollAfterMilliseconds = value.integer
      case "tickets": tickets = (value.array ?? []).compactMap { $0.integer ?? $0["id"]?.integer }
      case "amount": amount = value.integer
      case "currency": currency = value.string
      case "expires_at": expiresAt = value.string.flatMap(Self.milliseconds)
      case "reason": reason = value.string
      case "code": code = value.string
      case "hold": hold = value.string
      case "left": left = value.integer
      case "answer_within_seconds": answerWithinSeconds = value.integer
      default: break
      }
    }
  }

  /// Whether it says that what was asked for cannot be had any more, by anybody who asks for it.
  var isEndOfWish: Bool {
    state == "sold_out"
      || state == "rejected" && ["not_together", "section_sold_out", "only_n_left"].contains(reason)
  }

  /// Reads an RFC 3339 time in UTC, such as `2030-01-02T03:04:05Z`, with or without a fraction.
  static func milliseconds(_ text: String) -> Int? {
    let parts = text.split { !$0.isNumber }.map { Int($0) }
    guard parts.count >= 6, let year = parts[0], let month = parts[1], let day = parts[2],
      let hour = parts[3],
      let minute = parts[4], let second = parts[5]
    else { return nil }
    // Days since 1970 by the civil calendar: years begin in March, so that the leap day is the last.
    let shifted = month <= 2 ? year - 1 : year
    let era = shifted / 400
    let ofEra = shifted - era * 400
    let ofYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
    let days = era * 146_097 + ofEra * 365 + ofEra / 4 - ofEra / 100 + ofYear - 719_468
    return ((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000
  }
}
