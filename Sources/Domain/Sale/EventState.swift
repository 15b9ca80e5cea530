/// Where the sale of an event stands, as its operator says.
package enum EventState: String, Sendable, CaseIterable {
  /// Not on sale yet; opens by hand, or by itself when it has a time for it.
  case draft
  case open
  /// Buyers still join the line, and nobody is served. The time of holds stands still, and they may be paid. Payments can
  /// be stopped besides: then none starts.
  case paused
  /// Final: everyone still in line is told so.
  case closed

  /// What a sale is called that is paused and whose payments are stopped.
  package static let stopped = "stopped"
  /// And one that is closed since its event does not take place.
  package static let cancelled = "cancelled"

  /// What a sale in a state is called, with what these say besides.
  package static func shown(_ state: String, isStopped: Bool, isCancelled: Bool) -> String {
    isCancelled ? cancelled : isStopped && state == paused.rawValue ? stopped : state
  }

  /// Whether an operator may take the sale from here to `next`.
  package func allows(_ next: EventState) -> Bool {
    switch (self, next) {
    case (.draft, .open), (.open, .paused), (.paused, .open): true
    case (.draft, .closed), (.open, .closed), (.paused, .closed): true
    default: self == next && self != .draft
    }
  }
}
