/// Why a request can never be satisfied: nothing that is free or held, and not sold, does.
package struct Refusal: Hashable, Sendable {
  /// For the buyer's page and the API; lower-case letters and `_`.
  package let reason: String
  /// With `only_n_left`: how many.
  package let left: Int?

  package init(reason: String, left: Int? = nil) {
    self.reason = reason
    self.left = left
  }

  /// Of exact seats: not all of them are free. They are not waited for.
  package static let seatsTaken = Refusal(reason: "seats_taken")
  package static let unknownSeats = Refusal(reason: "unknown_seats")
  package static let unknownSection = Refusal(reason: "unknown_section")
  package static let invalidQuantity = Refusal(reason: "invalid_quantity")
  /// What it would be granted costs more than its buyer is ready to pay.
  package static let maxAmountExceeded = Refusal(reason: "max_amount_exceeded")
  /// There are enough, and nowhere so many side by side.
  package static let notTogether = Refusal(reason: "not_together")
  package static let sectionSoldOut = Refusal(reason: "section_sold_out")
  /// Fewer than were asked for, where they were asked for.
  package static func onlyLeft(_ count: Int) -> Refusal { Refusal(reason: "only_n_left", left: count) }

  /// Whether a smaller or looser wish may be satisfied, so that the place is kept for one.
  package var mayBeAnswered: Bool {
    [Self.notTogether.reason, Self.sectionSoldOut.reason, Self.onlyLeft(0).reason].contains(reason)
  }
}
