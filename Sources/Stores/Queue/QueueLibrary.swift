import Foundation
import Sale

/// The Redis function library: every change of an event's queue is one of its calls, atomic and replicated. Keys,
/// records, channels and versions: README.md in this folder.
package enum QueueLibrary {
  /// Raised with every change: a server with an older version gets this one, a newer one is left alone, so that
  /// two versions of the program can run side by side. Functions must therefore stay callable by the one before.
  package static let version = 30

  package static let lock = "{workers}:library"

  /// News to the owner that one call of `tick` hands over at most.
  static let newsAtOnce = 2_000

  /// News for systems outside that wait in one partition: some 10 MB.
  static let toldAtOnce = 50_000

  /// Holds that were shown and wait for the owner, of one event: as many as it can have, of some 150 B each.
  static let shownHolds = Limits.ticketsPerEvent

  /// Payments that came late and wait for the owner, of one event.
  package static let latePayments = 1_000

  /// Limits that the functions keep, as constants in front of them.
  private static let constants: [(name: String, value: Int)] = [
    ("VERSION", version),
    // How often one user may give up a place of one event, and how often one may come to nothing: each leaves a record
    // until the event ends.
    ("MAX_LEFT", Limits.placesLeft),
    ("MAX_REFUSED", Limits.placesRefused),
    // Cards that may be tried for one hold: whoever tests stolen ones finds a slower place.
    ("MAX_TRIES", Limits.paymentAttempts),
    ("NEWS_AT_ONCE", newsAtOnce),
    // News for systems outside in one partition.
    ("MAX_TOLD", toldAtOnce),
    ("MAX_LINES", Limits.wishesPerEvent),
    ("PACKED_LINES", RememberedUser.packedLines),
    // For so long at most nobody is granted seats while prices change: whoever changes them may die.
    ("BAR_MS", Limits.priceBarMilliseconds),
    ("MAX_SHOWN", shownHolds),
    ("MAX_LATE", latePayments),
    // How many of an event may wait alone at once: their owner looks at each of them.
    ("MAX_ALONE", Limits.waitingAlone),
    // For how long the end of a line may be answered with a smaller or looser wish.
    ("ANSWER_MS", Limits.endAnswerSeconds * 1000),
    // A clock that is off by more than this has stepped; by less, it is followed.
    ("STEP_MS", QueueClock.stepMilliseconds),
    // No lease and no claim lasts longer. One that does is of a clock that has gone back since, and may be nobody's.
    ("LONGEST_LEASE_MS", QueueLeases.longestMilliseconds),
  ]

  /// In this order: what is used stands before what uses it.
  private static let parts: [[UInt8]] = [
    PackageResources.records_lua,
    PackageResources.calls_lua,
    PackageResources.lines_lua,
    PackageResources.returning_lua,
    PackageResources.joining_lua,
    PackageResources.granting_lua,
    PackageResources.holds_lua,
    PackageResources.owning_lua,
    PackageResources.paying_lua,
    PackageResources.steering_lua,
    PackageResources.shown_lua,
    PackageResources.late_lua,
    PackageResources.ending_lua,
    PackageResources.workers_lua,
    PackageResources.clock_lua,
    PackageResources.register_lua,
  ]

  package static let source: String =
    "#!lua name=onsale\n" + constants.map { "local \($0.name) = \($0.value)\n" }.joined()
    + parts.map { String(decoding: $0, as: UTF8.self) }.joined()
}
