/// Where a request stands. The functions in Redis make these steps (`QueueLibrary`); this is their drawing.
///
///     lobby ──enter──► queued ──grant──► reserved ──pay──► confirming ──sell──► purchased
///                       │  │               │   ▲             │  │ │
///                       │ wait             │   │           lose │ decline
///                       │  ▼             expire│             │  │ ▼
///                       │ standby ──grant──┼───┘             │  │ declined ──pay──► confirming
///                       │  │               ▼                 │  │    │
///                       │  │            expired ◄────────────┘  │    └─expire─► declined, without a hold
///                       ▼  ▼
///             sold_out, rejected          cancelled: from everything before a payment, and from declined
///
/// A payment that was given up undecided, and is authorised after all, takes `declined` back to `confirming`, be it without
/// a hold, if its tickets can be had.
///
/// `action_required` is `confirming` while the payment waits for its buyer.
///
/// A request that was answered 202 reaches exactly one terminal state, and that changes by its buyer's own answer alone, or
/// their bank's.
package enum RequestState: String, Sendable, CaseIterable {
  /// Came before the sale opened; has no position yet, and gets one by the draw. Costs nothing but its place.
  case lobby

  /// In line, with a position that is never given to anyone else. Nothing is held.
  case queued

  /// At the head, but what it asks for is held by buyers who have not paid. It is served before everyone behind
  /// it when they let go, and sold out when they have all paid.
  case standby

  /// Its tickets are held until the deadline; nobody else can get them. Nothing is charged.
  case reserved

  /// A payment is under way: the hold has no deadline while it lasts, and nothing but the payment's end moves
  /// the request. It cannot be cancelled.
  case confirming

  /// Terminal. The tickets are sold in PostgreSQL and the payment is authorised; the capture follows by itself.
  case purchased

  /// Terminal. The hold ended without a payment, or PostgreSQL had given the tickets to somebody else. Nothing
  /// was charged; the seats are grantable again. The user may ask again, at the back.
  case expired

  /// A payment is under way, and waits for its buyer, whose bank wants to hear from them (3-D Secure). Its tickets are
  /// nobody else's meanwhile, and it ends by itself after a while, as `declined`, if they do not come.
  case actionRequired = "action_required"

  /// The provider refused the payment; nothing is charged. The hold lives on until its deadline, so that another
  /// card can be tried; when it has ended, this is terminal and the seats are grantable again.
  case declined

  /// Terminal. Nothing free or held could satisfy it any more. Nothing was held or charged.
  case soldOut = "sold_out"

  /// Terminal. The buyer left; what was held is grantable again.
  case cancelled

  /// Terminal. Refused with a reason: its exact seats were taken, it can never be satisfied, the sale closed, or, found
  /// when its payment was to begin, its user has as many tickets as one person may buy.
  case rejected

  /// Whether nothing can happen to the request any more.
  /// - Parameter hasHold: whether tickets are still held for it, which only `declined` depends on.
  package func isTerminal(hasHold: Bool) -> Bool {
    switch self {
    case .lobby, .queued, .standby, .reserved, .confirming, .actionRequired: false
    case .purchased, .expired, .soldOut, .cancelled, .rejected: true
    case .declined: !hasHold
    }
  }

  /// Whether the request has its place in line: neither decided nor ended.
  package var isInLine: Bool { self == .queued || self == .standby }
}
