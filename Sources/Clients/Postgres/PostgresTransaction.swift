package import EventLoop

/// A transaction under way on one connection. Used by one task, one statement at a time, within the body that it
/// was given to.
@LoopActor
package final class PostgresTransaction {
  private let connection: PostgresConnection
  private var isBegun = false
  private var isOver = false
  private var failure: PostgresError?

  init(_ connection: PostgresConnection) { self.connection = connection }

  /// Runs one statement. After an error every further statement, and the commit, fails with the same error.
  package func query(_ sql: SQL) async throws(PostgresError) -> [PostgresRow] {
    precondition(!isOver, "a transaction is over when its body has returned")
    if let failure { throw failure }
    if sql.hasZeroByte { throw .zeroByte(sql) }
    // The beginning travels with the first statement.
    let outcome = await connection.run(isBegun ? [sql] : ["BEGIN", sql])
    isBegun = true
    switch outcome {
    case .done(let results): return results[results.count - 1].rows
    case .refused(_, let error): throw fail(error.classified(mayBeCommitted: false, sql))
    case .lost(let refusal, let error):
      throw fail((refusal?.error ?? error).classified(mayBeCommitted: false, sql))
    case .unsent: throw fail(PostgresError(.unavailable, "the connection ended", query: sql.text))
    }
  }

  func commit() async throws(PostgresError) {
    isOver = true
    if let failure { throw failure }
    guard isBegun else { return }
    switch await connection.run(["COMMIT"]) {
    case .done(let results):
      // A transaction that had failed unnoticed is rolled back by its commit.
      guard results[0].tag == "COMMIT" else { throw PostgresError(.server, "rolled back", sqlState: "25P02") }
    case .refused(_, let error): throw error.classified(mayBeCommitted: true, "COMMIT")
    case .lost(let refusal, let error):
      throw (refusal?.error ?? error).classified(mayBeCommitted: true, "COMMIT")
    case .unsent: throw PostgresError(.connectionLost, "the connection ended before the commit")
    }
  }

  func abandon() { isOver = true }

  private func fail(_ error: PostgresError) -> PostgresError {
    failure = error
    return error
  }
}

extension PostgresError {
  static func zeroByte(_ sql: SQL) -> PostgresError {
    PostgresError(.server, "a parameter contains a zero byte", sqlState: "22021", query: sql.text)
  }

  /// What an error of a connection or of the server means for whoever ran `sql`.
  /// - Parameter mayBeCommitted: whether the commit had been sent.
  func classified(mayBeCommitted: Bool, _ sql: SQL) -> PostgresError {
    var code = self.code
    switch code {
    case .server:
      switch sqlState ?? "" {
      // The server's own deadline.
      case "57014": code = .timeout
      // Not a primary, still starting, no room for another connection.
      case "25006", "57P03", "53300": code = .unavailable
      // The server, or somebody on it, ended the session, which is also how waiting for a commit can end.
      case let state where state.hasPrefix("57P") || state.hasPrefix("08"):
        code = mayBeCommitted ? .outcomeUnknown : .connectionLost
      default: break
      }
    case .connectionLost, .timeout: if mayBeCommitted { code = .outcomeUnknown }
    case .unavailable, .outcomeUnknown, .unsuited: break
    }
    return PostgresError(code, message, sqlState: sqlState, query: sql.text)
  }

  /// The session is of no further use: it has ended, or its server is not a primary any more.
  var endsSession: Bool {
    guard let sqlState else { return false }
    return sqlState == "25006" || sqlState.hasPrefix("57P") || sqlState.hasPrefix("08")
  }

  /// A prepared statement no longer fits the schema, or is gone.
  var isStalePlan: Bool {
    sqlState == "26000" || sqlState == "0A000" && message.contains("cached plan")
  }
}
