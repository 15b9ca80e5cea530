/// What a caller may do: each as much as those before it.
package enum Role: String, Sendable, CaseIterable, Comparable {
  /// Searches and looks, and nothing else; anybody gets a token for it.
  case guest
  /// Asks for tickets, and buys.
  case customer
  /// Makes events, and sees and changes those of their own.
  case organizer
  /// Sees and changes the events of all.
  case manager

  package static func < (a: Role, b: Role) -> Bool { a.level < b.level }

  private var level: Int {
    switch self {
    case .guest: 0
    case .customer: 1
    case .organizer: 2
    case .manager: 3
    }
  }
}

/// Who a verified token speaks for.
package struct Claims: Sendable, Equatable {
  /// The token's `sub`. Its user need not have a row anywhere.
  package let user: String
  package let role: Role
  /// Whose events an organizer shares.
  package let organizations: [String]
  /// Seconds since 1970.
  package let expiresAt: Int
  /// What the token belongs to, of tokens that were issued here to somebody who signed in.
  package let session: Session?

  package init(
    user: String, role: Role, organizations: [String] = [], expiresAt: Int, session: Session? = nil
  ) {
    self.user = user
    self.role = role
    self.organizations = organizations
    self.expiresAt = expiresAt
    self.session = session
  }
}
