import EventLoop

/// `onsale audit`: compares PostgreSQL, Redis and the payment provider's ledger, and says what does not fit.
package enum AuditCommand {
  /// - Returns: the exit code: 0 when everything fits, 1 when something does not, 2 when it could not look.
  @LoopActor
  package static func run(arguments: [String], environment: [String: String]) async -> Int32 {
    2
  }
}
