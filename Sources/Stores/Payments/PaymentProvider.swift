package import EventLoop

/// Reserves, takes and gives back money.
///
/// Every call may be repeated: an order's reference makes it happen at most once. All throw
/// `PaymentError`, or `CancellationError` with the outcome unknown.
@LoopActor
package protocol PaymentProvider: AnyObject {
  /// Reserves the order's amount without taking it. Repeated with the same reference it has the same outcome.
  func authorise(_ order: PaymentOrder) async throws -> PaymentOutcome
  /// Takes the whole reserved amount. A payment that has ended before is returned as it is: captured, or cancelled.
  func capture(_ id: String, reference: String) async throws -> Payment
  /// Lets go of the reserved amount. A payment that has ended before is returned as it is: cancelled, or captured.
  func cancel(_ id: String, reference: String) async throws -> Payment
  /// Gives back all of a captured payment. One that was given back is left as it is.
  func refund(_ id: String) async throws
  /// Gives back what was ordered, at most once under its reference, whatever becomes of the answer.
  /// - Throws: `PaymentError` `refused` where the provider never will; `failed` where it answers this key with a failure
  ///   for good and has no such refund: another key may be tried.
  func refund(_ order: RefundOrder) async throws -> Refund
  /// What was given back of a payment, by whomever, failures included; latest first.
  func refunds(of payment: String) async throws -> [Refund]
  /// Refunds from the newest to the oldest, those after the one named `after`.
  func refunds(after: String?, limit: Int) async throws -> (refunds: [Refund], hasMore: Bool)
  /// Disputes of a payment, or of all, latest first; those after the one named `after`.
  func disputes(of payment: String?, after: String?, limit: Int) async throws -> (
    disputes: [Dispute], hasMore: Bool
  )
  /// The payment made for a reference, as it is now, or `nil` if the provider knows none, or does not yet.
  func find(reference: String) async throws -> Payment?
  /// - Throws: `PaymentError` with code `invalid` if there is no such payment.
  func retrieve(_ id: String) async throws -> Payment
  /// The same two; what is urgent goes before what is only looked at, where calls wait for their turns.
  func find(reference: String, isUrgent: Bool) async throws -> Payment?
  func retrieve(_ id: String, isUrgent: Bool) async throws -> Payment
  /// How much of a captured payment was given back.
  func refunded(_ id: String) async throws -> Int
  /// Payments from the newest to the oldest, those after the payment named `after`.
  func list(after: String?, limit: Int) async throws -> (payments: [Payment], hasMore: Bool)
}

extension PaymentProvider {
  package func find(reference: String, isUrgent: Bool) async throws -> Payment? {
    try await find(reference: reference)
  }
  package func retrieve(_ id: String, isUrgent: Bool) async throws -> Payment { try await retrieve(id) }
}
