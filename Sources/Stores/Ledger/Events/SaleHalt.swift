import Postgres

/// Why a sale was stopped by itself. Its buyers see it paused; payments under way go on.
package struct SaleHalt: Sendable, Equatable {
  package struct Reason: Hashable, Sendable, RawRepresentable {
    package let rawValue: String
    package init(rawValue: String) { self.rawValue = rawValue }
    /// Redis, or the provider, knows of sales that PostgreSQL has no purchase of: it came back with an older state.
    package static let purchasesLost = Reason(rawValue: "purchases_lost")
    /// The provider has taken money for purchases that PostgreSQL does not have, and does not say for which tickets.
    package static let paymentsUnknown = Reason(rawValue: "payments_unknown")

    /// For an operator.
    package var text: String {
      switch self {
      case .purchasesLost:
        "PostgreSQL has lost purchases that Redis or the payment provider know of. Their tickets are held back. "
          + "`onsale audit --repair` writes them back; then the sale goes on by itself."
      case .paymentsUnknown:
        "The payment provider has taken money for purchases that PostgreSQL does not have, and does not say for "
          + "which tickets. `onsale audit` names them."
      default: rawValue
      }
    }
  }

  package let reason: Reason
  /// Tickets that are held back, as far as they are known.
  package let tickets: [Int]

  package init(reason: Reason, tickets: [Int]) {
    self.reason = reason
    self.tickets = tickets
  }

  /// From the columns `halt` and `halt_tickets`; `nil` for a sale that was not stopped.
  init?(_ row: PostgresRow) {
    guard let reason = row["halt"].string else { return nil }
    self.init(reason: Reason(rawValue: reason), tickets: row["halt_tickets"].ints ?? [])
  }
}
