import EventLoop
import FaultInjection
import Payments
import Postgres
import Redis

/// Both stores may have lost what was sold: no payment begins before that is known.
struct BooksNotCompared: Error {}

extension ConfirmationConsumer {
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
    // Also a wrong key: an operator cures that, and until then everyone's payment waits.
    case is PaymentError: true
    case is InjectedFault, is CancellationError, is GroupCommitFull, is BooksNotCompared: true
    default: false
    }
  }
}
