package import EventLoop
import FaultInjection
package import Ledger
import Sale

/// Sections of events by name, as buyers ask for them; read once and kept for a while.
@LoopActor
package final class SectionNames {
  private static let eventLimit = 10_000
  private static let freshMilliseconds: UInt64 = 30_000

  private let seats: SeatStore
  private var known: [Int: (sections: [String: Int], readAt: UInt64)] = [:]

  package init(seats: SeatStore) { self.seats = seats }

  /// The section's id, if it is known already.
  func known(_ name: String, event: Int) -> Int? { known[event]?.sections[name] }

  /// The section's id, `nil` if the event has none of that name.
  func id(of name: String, event: Int) async throws -> Int? {
    if let entry = known[event] {
      if let id = entry.sections[name] { return id }
      // A name that is not there may have been added since; looked up again at most once in a while.
      if EventLoop.shared.now < entry.readAt + Self.freshMilliseconds { return nil }
    }
    let sections = try await Faults.point(.intakeSections) { try await seats.sections(event: event) }
    let names = Dictionary(sections.map { ($0.name, $0.id) }, uniquingKeysWith: { first, _ in first })
    if known.count >= Self.eventLimit { known = [:] }
    known[event] = (names, EventLoop.shared.now)
    return names[name]
  }
}
