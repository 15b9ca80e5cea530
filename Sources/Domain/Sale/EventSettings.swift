/// What the queue needs to know of an event; the row in PostgreSQL is the original.
package struct EventSettings: Sendable, Equatable {
  package var id: Int
  package var generation: Int
  package var state: String
  package var queueLimit: Int
  package var perUserLimit: Int
  package var holdSeconds: Int
  /// Grants per second; `nil` means as fast as possible.
  package var rate: Int?
  package var message: String
  /// Grows with every change; Redis keeps the settings of the highest one.
  package var version: Int
  /// A draft without a time for its sale, be it closed before it was opened: nobody but organizers knows of it.
  package var isUnannounced: Bool
  /// For how many milliseconds the sale has stood still before, and stands still now; `nil` if it does not. By PostgreSQL's
  /// clock, for a queue that Redis has lost.
  package var stoodMilliseconds = 0
  package var standingMilliseconds: Int?
  /// Whether no payment starts while it is paused.
  package var isStopped = false
  /// Whether its event does not take place.
  package var isCancelled = false

  /// As organizers see it.
  package var shownState: String {
    EventState.shown(state, isStopped: isStopped, isCancelled: isCancelled)
  }

  package init(
    id: Int, generation: Int, state: String, queueLimit: Int, perUserLimit: Int, holdSeconds: Int, rate: Int?,
    message: String, version: Int = 0, isUnannounced: Bool = false
  ) {
    self.id = id
    self.generation = generation
    self.state = state
    self.queueLimit = queueLimit
    self.perUserLimit = perUserLimit
    self.holdSeconds = holdSeconds
    self.rate = rate
    self.message = message
    self.version = version
    self.isUnannounced = isUnannounced
  }
}
