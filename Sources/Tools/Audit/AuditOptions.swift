/// What to look at and how patiently.
package struct AuditOptions: Sendable, Equatable {
  /// Only this event; `nil` for all.
  package var event: Int?
  /// How long work under way may take to end before what remains counts, in seconds.
  package var settleSeconds = 10
  /// How long a payment, an authorisation or an entry may be under way, in seconds. An order that the provider keeps
  /// failing is, until its search would know of a payment.
  package var graceSeconds = 180
  /// Whether to look at everything, and not only at what may have changed since the last run without findings.
  package var isFull = false
  /// Whether to settle what can be settled.
  package var repairs = false
  /// How long to wait before looking again, in milliseconds.
  package var pauseMilliseconds: UInt64 = 1_000
  /// Rows and entries that are read at once.
  package var pageSize = 2_000

  package init() {}
}
