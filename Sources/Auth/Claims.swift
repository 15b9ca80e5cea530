/// What a caller may do.
package enum Role: String, Sendable {
  case customer, organizer
}

/// Who a verified token speaks for.
package struct Claims: Sendable, Equatable {
  /// The token's `sub`. Its user need not have a row anywhere.
  package let user: String
  package let role: Role
  /// Seconds since 1970.
  package let expiresAt: Int
  /// What the token belongs to, of tokens that were issued here to somebody who signed in.
  package let session: Session?

  package init(user: String, role: Role, expiresAt: Int, session: Session? = nil) {
    self.user = user
    self.role = role
    self.expiresAt = expiresAt
    self.session = session
  }
}
