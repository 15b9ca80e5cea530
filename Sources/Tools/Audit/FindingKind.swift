/// Everything the audit knows to find.
package enum FindingKind: String, Sendable, CaseIterable {
  // MARK: Sales in PostgreSQL

  /// Two sold purchases have the same ticket.
  case ticketSoldTwice = "ticket_sold_twice"
  /// A sold purchase has a ticket that it does not claim, or that is not marked as purchased with its payment.
  case ticketNotDelivered = "ticket_not_delivered"
  /// A ticket is marked as purchased, and no sold purchase has it.
  case ticketWithoutSale = "ticket_without_sale"
  /// A ticket was sold by Redis' account, and PostgreSQL, which came back with an older state, knows nothing of it.
  case saleForgotten = "sale_forgotten"
  /// A ticket is claimed for a request that has no live purchase of it.
  case claimWithoutPurchase = "claim_without_purchase"
  /// A purchase's amount is not the sum of its tickets' prices, or it has none.
  case wrongPrice = "wrong_price"
  /// A user has bought more tickets than the event allows.
  case overUserLimit = "over_user_limit"
  /// What PostgreSQL counts of a user's tickets, which a claim is refused by, is not what they have.
  case buyerMiscounted = "buyer_miscounted"
  /// A payment was begun and has not ended within the grace.
  case paymentStalled = "payment_stalled"
  /// A capture or cancellation is due for longer than the grace.
  case choreOverdue = "chore_overdue"

  // MARK: The provider's ledger

  /// Paid but not delivered: money was taken and there is no sold purchase for it.
  case captureWithoutPurchase = "capture_without_purchase"
  /// More than one payment was captured for one request.
  case capturedTwice = "captured_twice"
  /// The captured amount or currency is not the purchase's.
  case capturedWrongAmount = "captured_wrong_amount"
  /// Delivered but not paid: the provider has no such payment, or has cancelled it.
  case saleWithoutPayment = "sale_without_payment"
  /// Delivered but not paid yet: authorised, and not captured within the grace.
  case saleNotCaptured = "sale_not_captured"
  /// What the provider gave back of a purchase's money is not what PostgreSQL knows of.
  case refundedOtherwise = "refunded_otherwise"
  /// The provider has given back more than was taken.
  case refundedTooMuch = "refunded_too_much"
  /// One refund of ours was made more than once at the provider.
  case refundedTwice = "refunded_twice"
  /// More money was kept than the tickets cost that the buyer has, and no refund says so.
  case moneyKept = "money_kept"
  /// A refund failed and is not tried again: it waits for a person.
  case refundDead = "refund_dead"
  /// A dispute at the provider is not known here, or not as it is.
  case disputeUnknown = "dispute_unknown"
  /// Captured, and PostgreSQL does not know it after the grace.
  case captureNotNoted = "capture_not_noted"
  /// Money is reserved for a request that has no purchase for it.
  case authorisationOpen = "authorisation_open"

  // MARK: Requests in Redis

  /// An event on sale has no queue in Redis.
  case queueMissing = "queue_missing"
  /// Redis has a queue for an event that PostgreSQL does not know.
  case queueUnknown = "queue_unknown"
  /// State, limits or generation differ between Redis and PostgreSQL.
  case settingsDiffer = "settings_differ"
  /// A position was given out, and is neither in line nor decided.
  case requestLost = "request_lost"
  /// A request is decided and still in line.
  case requestTwice = "request_twice"
  /// A position is used that was never given out.
  case requestUnknown = "request_unknown"
  /// A request was granted, or stands by, beyond the head: it was decided out of order.
  case decidedBeyondHead = "decided_beyond_head"
  /// The head has passed a request that is still in line and does not stand by.
  case passedOver = "passed_over"
  /// A request is live and its user's place is another one, so that the user could have two.
  case placeNotLinked = "place_not_linked"
  /// A user's place is a request that has ended or is not theirs, so that they cannot ask again.
  case placeStale = "place_stale"
  /// The number of tickets a user owns, which the limit is checked against, is not what they bought.
  case ownedMiscounted = "owned_miscounted"
  /// A record that this version cannot read.
  case recordUnreadable = "record_unreadable"

  // MARK: Requests against purchases

  /// The ticket is sold and the buyer is not told so.
  case saleNotTold = "sale_not_told"
  /// The ticket is sold, and its place is somebody else's by now: Redis lost its last writes and gave it out
  /// again. The buyer is told by PostgreSQL.
  case placeGivenTwice = "place_given_twice"
  /// The buyer is told `purchased` and there is no sold purchase of theirs.
  case toldWithoutSale = "told_without_sale"
  /// The buyer is told other tickets or another amount than were sold.
  case toldOtherwise = "told_otherwise"
  /// A payment is under way for the buyer, and no entry of the confirmation stream will end it.
  case confirmationLost = "confirmation_lost"
  /// An entry of the confirmation stream is older than the grace.
  case confirmationStuck = "confirmation_stuck"
  /// An entry failed too often and waits for an operator.
  case deadLetter = "dead_letter"

  /// Sold with other seats than were held, and its buyer has not agreed to that.
  case otherSeatsUnasked = "other_seats_unasked"
  /// A payment that came late waits for the owner of its seats, and buys nothing any more: it was let go of, or has another
  /// end.
  case latePaymentStale = "late_payment_stale"

  // MARK: Holds and seats

  /// A hold is past its deadline by more than a second, and its partition has an owner.
  case holdOverdue = "hold_overdue"
  /// A hold has no entry in the index of deadlines, or another deadline there: it would not end.
  case holdNotIndexed = "hold_not_indexed"
  /// The index of deadlines names a request that holds nothing.
  case holdIndexStale = "hold_index_stale"
  /// Two live requests hold the same ticket.
  case ticketHeldTwice = "ticket_held_twice"
  /// A ticket is held for one request and sold to another.
  case ticketHeldAndSold = "ticket_held_and_sold"
  /// A held ticket is not locked for its request.
  case lockMissing = "lock_missing"
  /// A ticket is locked for a request that does not hold it: nobody can get it.
  case lockWithoutHold = "lock_without_hold"
  /// The bitmap shows tickets as available that are not, or the reverse.
  case bitmapWrong = "bitmap_wrong"
  /// The published numbers of free, held and sold tickets are not the true ones.
  case countsWrong = "counts_wrong"

  // MARK: Owners and search

  /// Redis accepts an epoch that PostgreSQL never gave out.
  case epochAhead = "epoch_ahead"
  /// A partition has live events and no owner.
  case partitionUnowned = "partition_unowned"
  /// An event is not in the search index, or there with another version or availability.
  case indexBehind = "index_behind"
  /// Nothing is in the search index: no indexer has ever run.
  case indexEmpty = "index_empty"
  /// The search index has an older version of an event than it had before.
  case indexWentBack = "index_went_back"
  /// The search index has an event that does not exist or is a draft.
  case indexUnknown = "index_unknown"

  /// Whether it breaks a promise; the others are notes for an operator.
  package var isViolation: Bool {
    switch self {
    case .choreOverdue, .deadLetter, .refundDead, .placeGivenTwice, .partitionUnowned, .holdIndexStale,
      .latePaymentStale, .indexEmpty:
      false
    default: true
    }
  }

  /// The invariant, or the promise, that it breaks.
  package var breaks: String {
    switch self {
    case .ticketSoldTwice, .ticketNotDelivered, .ticketWithoutSale, .claimWithoutPurchase, .ticketHeldTwice,
      .ticketHeldAndSold, .saleForgotten:
      "I1"
    case .wrongPrice, .capturedTwice, .capturedWrongAmount, .saleWithoutPayment, .saleNotCaptured,
      .captureNotNoted, .refundedOtherwise, .otherSeatsUnasked, .refundedTooMuch, .refundedTwice, .moneyKept,
      .refundDead,
      .disputeUnknown:
      "I2"
    case .captureWithoutPurchase, .authorisationOpen, .choreOverdue: "I3"
    case .paymentStalled, .requestLost, .requestTwice, .requestUnknown, .recordUnreadable, .saleNotTold,
      .placeGivenTwice, .toldWithoutSale, .toldOtherwise, .queueMissing, .deadLetter:
      "I4"
    case .decidedBeyondHead, .passedOver: "I5"
    case .epochAhead: "I6"
    case .indexEmpty, .indexBehind, .indexWentBack, .indexUnknown: "I7"
    case .confirmationLost, .confirmationStuck, .latePaymentStale: "I9"
    case .holdOverdue, .holdNotIndexed, .holdIndexStale, .lockMissing, .lockWithoutHold, .partitionUnowned:
      "I10"
    case .overUserLimit, .buyerMiscounted, .placeNotLinked, .placeStale, .ownedMiscounted: "P5"
    case .bitmapWrong, .countsWrong: "P6"
    case .queueUnknown, .settingsDiffer: "P7"
    }
  }

  package var isPaidNotDelivered: Bool {
    self == .captureWithoutPurchase || self == .capturedTwice || self == .ticketNotDelivered
  }

  package var isDeliveredNotPaid: Bool { self == .saleWithoutPayment || self == .saleNotCaptured }
}
