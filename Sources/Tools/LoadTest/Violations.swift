/// Promises that were seen broken: how often each, with the first few examples.
package struct Violations: Sendable {
  private static let examplesKept = 5

  /// What buyers can see broken.
  package enum Promise: String, Sendable, CaseIterable {
    case ticketOfTwo = "P1 a ticket is one buyer's"
    case wrongCharge = "P2 charged is exactly the price of the tickets"
    case lost = "P3 what was accepted is never lost"
    case changed = "P3 a terminal state never changes"
    case overtaken = "P4 nobody is told an end while a later one of the same wish gets seats"
    case twoPlaces = "P5 one place in line a user"
    case movedPlace = "P5 whoever was in a line that was lost keeps the place"
    case placeOfTwo = "P5 a place is one user's"
    case wrongSeats = "what was granted is what was asked for"
    case heldTooLong = "P6 a hold ends"
    case withoutRetryAfter = "P7 a refusal for now says when to come back"
    case unexpected = "an answer that the contract does not have"
    case figures = "I8 accepted = terminal + pending, and the stores count the same"
  }

  /// Promises that something was seen of that could have broken them.
  package private(set) var tried: Set<Promise> = []
  package private(set) var counts: [Promise: Int] = [:]
  package private(set) var examples: [Promise: [String]] = [:]

  package init() {}

  /// Notes a look at whether the promise is kept.
  package mutating func look(_ promise: Promise) { tried.insert(promise) }

  package mutating func add(_ promise: Promise, _ example: String) {
    counts[promise, default: 0] += 1
    if counts[promise, default: 0] <= Self.examplesKept { examples[promise, default: []].append(example) }
  }

  package var isEmpty: Bool { counts.isEmpty }
}
