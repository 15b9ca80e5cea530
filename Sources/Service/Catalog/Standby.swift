package import EventLoop
package import Ledger
package import Postgres

/// A replica that events are read from while the primary is away.
@LoopActor
package final class Standby {
  let events: EventStore
  let age: ReplicaAge

  package init(_ events: EventStore, age: ReplicaAge) {
    self.events = events
    self.age = age
  }
}

/// Events, from the primary or, while that does not answer, from the replica.
@LoopActor
final class ReadableEvents {
  private let primary: EventStore
  private let standby: Standby?

  init(_ primary: EventStore, standby: Standby?) {
    self.primary = primary
    self.standby = standby
  }

  /// - Parameter body: is run once more, on the replica, where it fails.
  /// - Returns: what it returned, and how old that may be, in milliseconds.
  func read<Value>(
    _ body: (EventStore) async throws -> Value
  ) async throws -> (value: Value, ageMilliseconds: Int) {
    do {
      return (try await body(primary), 0)
    } catch let error as PostgresError {
      guard let standby else { throw error }
      // Before it is read: what is read is not older than this says.
      guard let age = try? await standby.age.milliseconds() else { throw error }
      return (try await body(standby.events), age)
    }
  }
}
