/// Where the stub listens and what it keeps.
package struct PaymentStubConfiguration: Sendable {
  package var host: String
  /// 0 takes any free port.
  package var port: UInt16
  /// The ledger's file; created if it is not there. One process at a time uses it.
  package var ledger: String
  /// The secret key that clients must send.
  package var key: String
  /// Where browsers find it; empty for its own host and port.
  package var publicURL = ""
  /// Where it tells of what happens to payments without a request of ours, and what that is signed with.
  package var webhook: (url: String, secret: String)?
  /// Payments kept; past it new ones are answered 503.
  package var paymentLimit = 10_000_000

  package init(host: String = "127.0.0.1", port: UInt16, ledger: String, key: String) {
    self.host = host
    self.port = port
    self.ledger = ledger
    self.key = key
  }
}
