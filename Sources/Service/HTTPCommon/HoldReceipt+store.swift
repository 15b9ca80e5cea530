package import Identity
package import Queue

extension ShownHold {
  /// What was held for the request with this id.
  package init(_ receipt: HoldReceipt, of id: RequestID) {
    self.init(
      position: id.position, userKey: id.owner, generation: receipt.generation, deadline: receipt.deadline,
      amount: receipt.amount, tickets: receipt.tickets)
  }
}
