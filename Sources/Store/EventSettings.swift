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

  package init(
    id: Int, generation: Int, state: String, queueLimit: Int, perUserLimit: Int, holdSeconds: Int, rate: Int?,
    message: String
  ) {
    self.id = id
    self.generation = generation
    self.state = state
    self.queueLimit = queueLimit
    self.perUserLimit = perUserLimit
    self.holdSeconds = holdSeconds
    self.rate = rate
    self.message = message
  }
}
