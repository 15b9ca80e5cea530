import Ledger
import Payments
import Queue
import Sale

/// What to do next about a confirmation, decided from where its purchase stands in PostgreSQL. Pure.
enum ConfirmStep: Equatable {
  /// The tickets are claimed for this attempt: ask for the money.
  case pay
  /// The tickets belong to somebody else: nothing may be charged.
  case giveUp
  /// It ended already, before a crash: only the poller has to learn of it.
  case tell(ConfirmationStream.Ending.Outcome, reason: String)
  /// A later attempt of the same buyer is under way: this entry is history.
  case forget

  /// - Parameter progress: after the intent was written; `nil` if none could be, as the queue was lost since.
  init(attempt: Int, progress: PurchaseProgress?) {
    guard let progress else {
      self = .tell(.lost, reason: "queue_lost")
      return
    }
    switch progress.state {
    case .sold: self = .tell(.purchased, reason: progress.note)
    case .void: self = .tell(Self.end(of: progress), reason: progress.reason)
    case .declined: self = progress.attempt >= attempt ? .tell(.declined, reason: progress.reason) : .forget
    case .paying:
      if progress.attempt != attempt {
        self = .forget
      } else {
        self = progress.ownsItsTickets ? .pay : .giveUp
      }
    }
  }

  /// How the poller learns what the commit said; `nil` where a later attempt will tell. `isUndecided` when the commit
  /// changed nothing and the attempt must be looked at again.
  static func afterSettlement(
    progress: PurchaseProgress?, attempt: Int
  ) -> (ending: (ConfirmationStream.Ending.Outcome, reason: String)?, isUndecided: Bool) {
    // PostgreSQL came back without the intent: it is written again.
    guard let progress else { return (nil, true) }
    switch progress.state {
    case .sold: return ((.purchased, progress.note), false)
    case .declined: return (progress.attempt == attempt ? (.declined, progress.reason) : nil, false)
    case .void: return ((end(of: progress), progress.reason), false)
    case .paying: return (nil, progress.attempt == attempt)
    }
  }
}

extension ConfirmStep {
  /// How a void purchase ended: its user may not buy so many tickets, which are nobody else's, or somebody else has them.
  private static func end(of progress: PurchaseProgress) -> ConfirmationStream.Ending.Outcome {
    progress.reason == PurchaseStore.limitExceeded ? .refused : .lost
  }
}

extension PurchaseProgress {
  /// Whether an attempt before made the payment, which this one has taken up: that was given up, and it is authorised after
  /// all.
  func isTakenUp(_ payment: Payment, _ order: PaymentOrder) -> Bool {
    guard let id, payment.id == paymentID, let reference = payment.reference, reference.hasPrefix(id + "-"),
      let made = Int(reference.dropFirst(id.count + 1)), made < attempt
    else { return false }
    var own = order
    own.reference = reference
    return payment.isOf(own)
  }
}

extension Confirmation {
  /// Names this attempt to pay for people, and at the provider where a version before began it.
  var reference: String { "\(event)-\(generation)-\(position)-\(attempt)" }

  /// Names this attempt to pay at the provider: no other, of whichever database, has this name, and a retry after a crash
  /// has the same.
  /// - Parameter purchase: the purchase's UUID.
  func reference(_ purchase: String?) -> String { purchase.map { "\($0)-\(attempt)" } ?? reference }

  var partition: Partition { Partition(of: event) }

  /// What the provider keeps of the purchase.
  func metadata(amount: Int, purchase: String?, installation: String) -> PurchaseMetadata {
    // One that a version before began says no more than it said then: a repetition must not differ.
    guard let purchase else {
      return PurchaseMetadata(
        event: event, generation: generation, position: position, tickets: tickets, user: user, amount: amount
      )
    }
    return PurchaseMetadata(
      event: event, generation: generation, position: position, tickets: tickets, user: user, amount: amount,
      attempt: attempt, id: purchase, installation: installation)
  }
}
