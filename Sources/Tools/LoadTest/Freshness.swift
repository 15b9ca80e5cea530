/// How soon what happens to an event is seen by those who look around: from the moment the event's queue shows a
/// change (a hold, a purchase, an expiry, a cancellation) to the first answer that shows it, or a later one.
/// Pure: versions and times come in.
package struct Freshness: Sendable {
  package enum View: Int, Sendable, CaseIterable {
    case search, page

    package var name: String {
      switch self {
      case .search: "search"
      case .page: "event page"
      }
    }
  }

  /// What was seen of one view.
  package struct Sight: Sendable {
    /// From a change to seeing it.
    package fileprivate(set) var latencies = Latencies()
    /// Answers that were older than one before. Several servers, each with a memory of its own, may do that for
    /// a moment; one must not.
    package fileprivate(set) var wentBack = 0
    package fileprivate(set) var answers = 0
    /// Answers without the event from before it was there: it is new, and a view takes a moment to know of it.
    package fileprivate(set) var tooEarly = 0
    /// Looks that failed, by what came instead.
    package fileprivate(set) var failures: [String: Int] = [:]
    package var errors: Int { failures.values.reduce(0, +) }
    fileprivate var version = -1
    /// The first change that was not seen yet.
    fileprivate var next = 0
  }

  private var changes: [(version: Int, at: Int)] = []
  private var lastLook: Int?
  package private(set) var sights = [Sight](repeating: Sight(), count: View.allCases.count)

  package init() {}

  package subscript(_ view: View) -> Sight { sights[view.rawValue] }

  /// The queue was looked at. A change counts from the look before, when it was not there yet: what is measured is
  /// never too short.
  /// - Parameter now: in microseconds.
  package mutating func queue(version: Int, at now: Int) {
    if version > changes.last?.version ?? -1 { changes.append((version, lastLook ?? now)) }
    lastLook = now
  }

  /// An answer showed this version.
  /// - Parameter now: in microseconds.
  package mutating func saw(_ view: View, version: Int, at now: Int) {
    let changes = changes
    withSight(view) { sight in
      sight.answers += 1
      if version < sight.version { sight.wentBack += 1 }
      sight.version = max(sight.version, version)
      while sight.next < changes.count, changes[sight.next].version <= version {
        // What was there when the measuring began tells nothing.
        if sight.next > 0 { sight.latencies.record(microseconds: now - changes[sight.next].at) }
        sight.next += 1
      }
    }
  }

  /// An answer did not have the event. Once it was there, that is a failure.
  package mutating func missed(_ view: View) {
    withSight(view) { sight in
      if sight.answers == 0 {
        sight.tooEarly += 1
      } else {
        sight.failures["without the event", default: 0] += 1
      }
    }
  }

  /// - Parameter reason: one of few, such as the answer's status.
  package mutating func failed(_ view: View, _ reason: String) {
    withSight(view) { $0.failures[reason, default: 0] += 1 }
  }

  private mutating func withSight(_ view: View, _ change: (inout Sight) -> Void) {
    change(&sights[view.rawValue])
  }

  /// Changes that the view has not shown.
  package func unseen(_ view: View) -> Int { changes.count - sights[view.rawValue].next }
}
