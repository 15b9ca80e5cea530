/// Why a statement or a transaction has no result.
package struct PostgresError: Error, Sendable, CustomStringConvertible {
  package enum Code: Sendable, Hashable {
    /// Nothing was done: no connection, too many callers waiting, or the server does not take work now.
    case unavailable
    /// The connection ended before anything could be committed. Nothing was done.
    case connectionLost
    /// The connection ended, or the deadline passed, after the commit was sent: it may be done or not, and must
    /// be looked up. A single statement outside a transaction is its own commit.
    case outcomeUnknown
    /// The deadline passed before anything could be committed. Nothing was done.
    case timeout
    /// PostgreSQL refused; `sqlState` says why. Nothing was done.
    case server
    /// What is in front of PostgreSQL keeps no sessions, so that no work can be done through it. Nothing was done, and
    /// nothing will be until somebody changes that.
    case unsuited
  }

  package let code: Code
  /// PostgreSQL's five-character code, where it answered.
  package let sqlState: String?
  package let message: String
  /// The statement's text, without parameters.
  package let query: String?

  package init(_ code: Code, _ message: String, sqlState: String? = nil, query: String? = nil) {
    self.code = code
    self.sqlState = sqlState
    self.message = message
    self.query = query
  }

  package var description: String {
    var text = "PostgreSQL: \(message)"
    if let sqlState { text += " (SQLSTATE \(sqlState))" }
    if let query { text += " in: \(query)" }
    return text
  }

  /// Another run of the same transaction may well succeed: serialization failure, deadlock, lock not available.
  package var isTransient: Bool {
    code == .server && ["40001", "40P01", "55P03"].contains(sqlState)
  }

  /// A prepared statement is there that another session made, or is not where this one made it: sessions do not last.
  var saysSessionsMix: Bool { sqlState == "26000" || sqlState == "42P05" }

  package var isUniqueViolation: Bool { sqlState == "23505" }
}
