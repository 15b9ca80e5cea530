package import EventLoop
import Identity
import Ledger
import Lifecycle
package import Logging

/// Learns within a second or two which sessions were ended by any server, so that tokens are checked from memory.
///
/// While PostgreSQL is away what is known stays.
@LoopActor
package final class SessionWatch {
  private static let milliseconds: UInt64 = 1_000
  private static let pageSize = 10_000
  /// Numbers are given out before they are committed: so many of the last are read once more.
  private static let overlap = 1_000
  private static let tidyMilliseconds: UInt64 = 3_600_000

  private let store: SessionStore
  private let ended: EndedSessions
  private let logger: Logger
  private var last = 0
  private var tidiedAt: UInt64 = 0
  private var task: Task<Void, Never>?

  package init(_ sessions: Sessions, logger: Logger) {
    store = sessions.store
    ended = sessions.ended
    self.logger = logger
  }

  /// The first look comes before the first request, unless PostgreSQL is away.
  package func start() async {
    try? await look()
    task = Task {
      await repeatRounds(
        "ended sessions cannot be read", pauseMilliseconds: Self.milliseconds, pausesFirst: true, logger
      ) {
        try await look()
        return false
      }
    }
  }

  package func stop() async {
    task?.cancel()
    await task?.value
  }

  /// Reads what is new.
  package func look() async throws {
    var from = max(0, last - Self.overlap)
    while true {
      let page = try await store.ends(after: from, limit: Self.pageSize)
      for end in page {
        if let session = end.session {
          ended.end(session: session)
        } else {
          ended.end(user: end.user, upTo: end.at)
        }
      }
      if let number = page.last?.number { (from, last) = (number, max(last, number)) }
      if page.count < Self.pageSize { break }
    }
    if EventLoop.shared.now >= tidiedAt + Self.tidyMilliseconds {
      tidiedAt = EventLoop.shared.now
      try await store.forget(olderThanSeconds: Sessions.seconds, limit: Self.pageSize)
    }
  }
}
