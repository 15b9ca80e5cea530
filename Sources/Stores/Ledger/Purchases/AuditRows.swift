package import Sale

/// An event as the audit sees it.
package struct AuditedEvent: Sendable, Equatable {
  package var settings: EventSettings
  package var currency: String
  /// What one user may have bought: the limit as it is, or as it was when they bought.
  package var highestPerUserLimit: Int
  /// Whether searches may find it: every event but a draft without a time for its sale.
  package var isPublic: Bool

  package init(settings: EventSettings, currency: String, highestPerUserLimit: Int, isPublic: Bool) {
    self.settings = settings
    self.currency = currency
    self.highestPerUserLimit = highestPerUserLimit
    self.isPublic = isPublic
  }
}

/// A ticket and who claims it.
package struct AuditedTicket: Sendable, Equatable {
  package var id: Int
  package var price: Int
  package var isPurchased: Bool
  /// Off sale; who holds it keeps it.
  package var isWithheld: Bool
  package var paymentID: String?
  package var claim: PurchaseKey?

  package init(
    id: Int, price: Int, isPurchased: Bool, isWithheld: Bool, paymentID: String?, claim: PurchaseKey?
  ) {
    self.isWithheld = isWithheld
    self.id = id
    self.price = price
    self.isPurchased = isPurchased
    self.paymentID = paymentID
    self.claim = claim
  }
}

/// A request that reached payment.
package struct AuditedPurchase: Sendable, Equatable {
  package var key: PurchaseKey
  package var user: String
  package var state: PurchaseProgress.State
  package var attempt: Int
  package var tickets: [Int]
  package var amount: Int
  package var currency: String
  package var paymentID: String?
  /// What was to be taken for it, where some of it was given back since; and what that was.
  package var charged: Int?
  package var refunded: Int
  /// How its disputes stand, by their ids.
  package var disputes: [String: String] = [:]
  /// What of its money the buyer's bank has taken back for good.
  package var lost = 0
  /// What was given back by refunds that the provider has, by its ids of them.
  package var givenBack: [String: Int] = [:]
  /// Whether a refund is under way; and whether one failed that nobody tries again.
  package var isBeingGivenBack = false
  package var hasDeadRefund = false
  /// Whether one failed of which a person has decided that nothing more comes.
  package var hasClosedRefund = false
  /// Whether its money is taken, and nothing has changed in its row since the last audit without findings.
  package var isSettled = false
  /// Why it was declined or void; of a sale what its buyer is told besides.
  package var reason: String?
  /// Whether it was sold with other seats than were held, to which its buyer has not agreed.
  package var hasOthersUnasked = false
  package var isCaptureNoted: Bool
  /// Seconds since it changed.
  package var ageSeconds: Int

  package init(
    key: PurchaseKey, user: String, state: PurchaseProgress.State, attempt: Int, tickets: [Int],
    amount: Int, charged: Int? = nil, refunded: Int = 0, currency: String, paymentID: String?,
    reason: String?, isCaptureNoted: Bool, ageSeconds: Int
  ) {
    self.charged = charged
    self.refunded = refunded
    self.key = key
    self.user = user
    self.state = state
    self.attempt = attempt
    self.tickets = tickets
    self.amount = amount
    self.currency = currency
    self.paymentID = paymentID
    self.reason = reason
    self.isCaptureNoted = isCaptureNoted
    self.ageSeconds = ageSeconds
  }
}

/// Something that is still to be done at the provider.
package struct AuditedOutboxEntry: Sendable, Equatable {
  package var key: PurchaseKey
  /// What it does, in a word.
  package var kind: String
  package var paymentID: String
  package var attempts: Int
  /// Seconds since it was due; negative while it is leased or not due.
  package var overdueSeconds: Int

  package init(key: PurchaseKey, kind: String, paymentID: String, attempts: Int, overdueSeconds: Int) {
    self.key = key
    self.kind = kind
    self.paymentID = paymentID
    self.attempts = attempts
    self.overdueSeconds = overdueSeconds
  }
}
