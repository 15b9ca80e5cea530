import Ledger
import Payments

/// What to do next about a refund, decided from where its purchase stands. Pure.
enum RefundStep: Equatable {
  /// The money is on its way: only others have to learn of it.
  case tell
  /// It costs nothing, or nothing is left of what was taken: there is nothing to ask the provider for.
  case settle
  /// All of a purchase whose money was not taken, as far as is known: it is let go of.
  case void
  /// A part of one: the money is taken first.
  case capture
  case give

  init(_ due: RefundStore.Due) {
    if due.refund.state != .requested {
      self = .tell
    } else if due.refund.amount == 0 || PurchaseStore.isFree(due.payment) {
      self = .settle
    } else if due.isCaptured {
      self = .give
    } else {
      self = due.isWhole ? .void : .capture
    }
  }

  /// What comes after letting go of the money, or taking it, by what the payment is since.
  enum Next: Equatable {
    /// Nothing was taken, and nothing will be.
    case voided
    case give
    /// Its authorisation was gone before its money was taken: the sale itself is taken back.
    case lapsed
    case later
  }

  func next(_ status: Payment.Status) -> Next {
    switch status {
    case .succeeded: .give
    case .canceled: self == .void ? .voided : .lapsed
    default: .later
    }
  }

  /// Whether what a refund failed for may pass by itself, so that it is worth another try: a bank that did not take the
  /// money, or a balance that is too low. What somebody has decided, or can never be, is for people.
  static func mayPass(_ reason: String) -> Bool {
    ["refund_failed", "balance_insufficient", "insufficient_funds"].contains(reason)
  }
}
