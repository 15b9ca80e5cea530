/// What systems outside are told of.
package enum WebhookType: String, CaseIterable, Sendable {
  case purchaseCompleted = "purchase.completed"
  case purchaseRefunded = "purchase.refunded"
  case holdGranted = "hold.granted"
  case holdExpired = "hold.expired"
  case eventState = "event.state"
  /// Where or when it takes place has changed, or is not known any more.
  case eventMoved = "event.moved"
  case eventSoldOut = "event.sold_out"
  case auditViolation = "audit.violation"

  /// Whether Redis alone knows of it.
  package var comesFromTheLine: Bool {
    switch self {
    case .holdGranted, .holdExpired, .eventSoldOut: true
    case .purchaseCompleted, .purchaseRefunded, .eventState, .eventMoved, .auditViolation: false
    }
  }
}
