package import Payments
package import Sale

/// The provider's payments by request.
package struct Ledger: Sendable {
  /// A payment under one of a request's references.
  package struct Entry: Sendable, Equatable {
    package var id: String
    package var status: Payment.Status
    package var amount: Int
    package var amountCaptured: Int
    package var currency: String
    package var attempt: Int
    package var created: Int
  }

  /// Most requests have one payment; the first is kept without an array of its own.
  private var first: [PurchaseKey: Entry] = [:]
  private var others: [PurchaseKey: [Entry]] = [:]
  private var keysByEvent: [Int: [PurchaseKey]] = [:]
  /// Payments that were made by somebody else.
  package var foreign: Int { foreignIDs.count }
  private var foreignIDs: Set<String> = []
  package private(set) var count = 0

  /// Whose payments count; `nil` for everybody's.
  let installation: String?
  /// Whether all of the provider's payments are read, and not only the last ones.
  package let isWhole: Bool
  /// When the newest payment was made, by the provider's clock, in unix seconds.
  package private(set) var newest = 0

  package init(installation: String? = nil, isWhole: Bool = true) {
    self.installation = installation
    self.isWhole = isWhole
  }

  /// Adds a payment, or replaces what was known of it.
  package mutating func add(_ payment: Payment) {
    newest = max(newest, payment.created)
    guard let (key, attempt) = place(of: payment) else {
      if foreignIDs.count < Self.openKept { foreignIDs.insert(payment.id) }
      return
    }
    let entry = Entry(
      id: payment.id, status: payment.status, amount: payment.amount, amountCaptured: payment.amountCaptured,
      currency: payment.currency, attempt: attempt, created: payment.created)
    if first[key] == nil {
      first[key] = entry
      keysByEvent[key.event, default: []].append(key)
      count += 1
    } else if first[key]?.id == payment.id {
      first[key] = entry
    } else if let index = others[key]?.firstIndex(where: { $0.id == payment.id }) {
      others[key]?[index] = entry
    } else {
      others[key, default: []].append(entry)
      count += 1
    }
  }

  /// What was given back of a payment, by the provider's ids of refunds.
  private struct GivenBack {
    var amounts: [String: Int] = [:]
    /// By the names that they have here.
    var references: [String: String] = [:]
  }
  private var givenBack: [String: GivenBack] = [:]

  package func refunds(_ payment: String) -> [String: Int] { givenBack[payment]?.amounts ?? [:] }
  package func refunded(_ payment: String) -> Int { refunds(payment).values.reduce(0, +) }
  /// Whether two refunds of a payment have one name here.
  package func wasRefundedTwice(_ payment: String) -> Bool {
    guard let references = givenBack[payment]?.references else { return false }
    return Set(references.values).count < references.count
  }

  /// Disputes of each payment, where there are any: how each stands, by its id.
  private var disputes: [String: [String: String]] = [:]

  package mutating func add(_ dispute: Dispute) {
    disputes[dispute.payment, default: [:]][dispute.id] = dispute.status
  }
  package func disputes(_ payment: String) -> [String: String] { disputes[payment] ?? [:] }

  /// Adds what was given back.
  package mutating func add(_ refund: Refund) {
    if refund.hasFailed { return }
    givenBack[refund.payment, default: GivenBack()].amounts[refund.id] = refund.amount
    if let reference = refund.reference {
      givenBack[refund.payment, default: GivenBack()].references[refund.id] = reference
    }
  }

  /// Says what was given back of a payment, all in all.
  package mutating func set(_ refunds: [Refund], of payment: String) {
    givenBack[payment] = nil
    for refund in refunds { add(refund) }
  }

  /// Whether it has this payment, whatever its state.
  package func knows(_ payment: Payment) -> Bool {
    guard let (key, _) = place(of: payment) else { return false }
    return entries(key).contains { $0.id == payment.id }
  }

  /// Payments that will still be captured or cancelled; at most `openKept` of them.
  package var openPayments: [String] {
    let all = first.values.lazy.filter { $0.status == .requiresCapture }.map(\.id)
    let more = others.values.joined().lazy.filter { $0.status == .requiresCapture }.map(\.id)
    return Array((Array(all.prefix(Self.openKept)) + more.prefix(Self.openKept)).prefix(Self.openKept))
  }

  private static let openKept = 10_000

  package func entries(_ key: PurchaseKey) -> [Entry] {
    guard let entry = first[key] else { return [] }
    return [entry] + (others[key] ?? [])
  }

  /// The requests of an event that have payments.
  package func keys(of event: Int) -> [PurchaseKey] { keysByEvent[event] ?? [] }

  /// Events that have payments.
  package var events: some Sequence<Int> { keysByEvent.keys }

  private func place(of payment: Payment) -> (key: PurchaseKey, attempt: Int)? {
    payment.place(in: installation).map { place in
      (
        PurchaseKey(event: place.event, generation: place.generation, position: place.position),
        place.attempt
      )
    }
  }

  /// How payments stand, by status.
  package var statuses: [Payment.Status: Int] {
    var counts: [Payment.Status: Int] = [:]
    for entry in first.values { counts[entry.status, default: 0] += 1 }
    for entry in others.values.joined() { counts[entry.status, default: 0] += 1 }
    return counts
  }
}
