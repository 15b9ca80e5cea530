import Ledger
import Payments
import Sale

// What the provider has of payments, as the books know it. Of somebody else's payments nothing is looked up, and nothing
// asked: an account may have many of them.

extension BookStore.Seen {
  /// `nil` for a refund of somebody else's payment.
  init?(_ refund: Refund, in installation: String) {
    guard let key = refund.owner(in: installation).key else { return nil }
    self.init(
      id: refund.id, payment: refund.payment, key: key, reference: refund.reference, amount: refund.amount,
      hasFailed: refund.hasFailed)
  }
}

extension BookStore.SeenDispute {
  /// `nil` for a dispute about somebody else's payment.
  init?(_ dispute: Dispute, in installation: String) {
    guard let key = dispute.owner(in: installation).key else { return nil }
    self.init(id: dispute.id, payment: dispute.payment, key: key, status: dispute.status)
  }
}

extension PaymentOwner {
  /// Whose purchase it is, as far as the provider says so; `nil` for somebody else's.
  fileprivate var key: PurchaseKey?? {
    switch self {
    case .ours(let place):
      .some(PurchaseKey(event: place.event, generation: place.generation, position: place.position))
    case .unknown: .some(nil)
    case .others: nil
    }
  }
}
