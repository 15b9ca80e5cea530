import EventLoop
import Faults
import Payments
import Postgres
import Redis

extension ConfirmLane {
  /// Whether waiting may cure it: somebody is away or overloaded. Anything else is counted against the entry.
  static func isTransient(_ error: any Error) -> Bool {
    switch error {
    case let error as PostgresError:
      // Out of resources, shutting down, or a replica that takes no writes.
      error.code != .server || error.isTransient
        || ["53", "57", "58", "25"].contains(error.sqlState?.prefix(2))
    // These mean that our own call was wrong; all others are a state that Redis is in.
    case let error as RedisError:
      ![.server("ERR"), .server("WRONGTYPE"), .server("NOSCRIPT")].contains(error.code)
    case let error as PaymentError: error.code != .invalid
    case is InjectedFault, is CancellationError, is GroupCommitFull: true
    default: false
    }
  }

  /// Whether the provider refuses the payment method itself, so that another one may work. A refusal of our key
  /// or of the request's form is our mistake and declines nobody.
  static func isAboutTheCard(_ error: PaymentError) -> Bool {
    guard error.code == .invalid, let code = error.providerCode else { return false }
    return code == "resource_missing" || code.hasPrefix("payment_method")
  }
}
