/// A refusal or failure of the store, in the domain's words.
package struct StoreError: Error, Sendable, CustomStringConvertible {
  package struct Code: Hashable, Sendable {
    let name: String
    /// The call came from an owner that was replaced; its worker must let the partition go.
    package static let staleEpoch = Code(name: "stale_epoch")
    /// Redis has no queue for this event: never opened, already archived, or lost with Redis.
    package static let noQueue = Code(name: "no_queue")
    /// The answer was not what this version of the program understands.
    package static let unexpectedAnswer = Code(name: "unexpected_answer")
    package static let notFound = Code(name: "not_found")
    /// The event has not all of the tickets that were named.
    package static let missing = Code(name: "missing")
    /// The event's state does not allow this.
    package static let conflict = Code(name: "conflict")
    package static let invalid = Code(name: "invalid")
  }

  package let code: Code
  package let message: String
  /// What it is about, as far as it is told.
  package let seats: [NamedSeat]

  package init(_ code: Code, _ message: String, seats: [NamedSeat] = []) {
    self.code = code
    self.message = message
    self.seats = seats
  }

  package var description: String { "\(code.name): \(message)" }
}
