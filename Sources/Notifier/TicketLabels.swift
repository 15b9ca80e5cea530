package import EventLoop
import JSON
import Onsale
package import Store

/// What tickets are called: section, row and seat, for answers to buyers who have got some. They do not change, so
/// they are read once per event.
@LoopActor
package final class TicketLabels {
  /// Events kept; all are forgotten beyond it, and read again when asked for.
  private static let eventLimit = 64
  /// How long a failed or incomplete read is not repeated, in milliseconds.
  private static let pauseMilliseconds: UInt64 = 1_000

  private struct Labels {
    var currency: String
    var tickets: [Int: String]
  }

  private let seats: SeatStore
  private var known: [Int: Labels] = [:]
  private var reading: [Int: Task<Void, Never>] = [:]
  private var failedAt: [Int: UInt64] = [:]

  package init(seats: SeatStore) { self.seats = seats }

  func knows(_ event: Int) -> Bool { known[event] != nil }
  func currency(of event: Int) -> String? { known[event]?.currency }

  /// The JSON of one ticket; only its id where nothing is known of it.
  func json(event: Int, ticket: Int) -> String { known[event]?.tickets[ticket] ?? "{\"id\":\(ticket)}" }

  /// Reads an event's labels if they are not known. Never fails: an answer without labels is better than none.
  func load(_ event: Int) async {
    if knows(event) { return }
    if let failed = failedAt[event], EventLoop.shared.now < failed + Self.pauseMilliseconds { return }
    if let task = reading[event] { return await task.value }
    let task = Task { @LoopActor in
      defer { reading[event] = nil }
      guard let currency = try? await seats.currency(event: event),
        let inventory = try? await seats.inventory(event: event)
      else {
        if failedAt.count >= Self.eventLimit { failedAt = [:] }
        failedAt[event] = EventLoop.shared.now
        return
      }
      let sections = Dictionary(
        inventory.sections.map { ($0.id, JSON.string($0.name).text) }, uniquingKeysWith: { first, _ in first }
      )
      var tickets: [Int: String] = [:]
      tickets.reserveCapacity(inventory.tickets.count)
      for ticket in inventory.tickets {
        let row = JSON(ticket.row).text, seat = JSON(ticket.seat).text
        tickets[ticket.id] =
          "{\"id\":\(ticket.id),\"section\":\(sections[ticket.section] ?? "null"),\"row\":\(row),"
          + "\"seat\":\(seat),\"price\":\(ticket.price)}"
      }
      if known.count >= Self.eventLimit { known = [:] }
      known[event] = Labels(currency: currency, tickets: tickets)
    }
    reading[event] = task
    await task.value
  }

  /// Tickets were added, so that some may be unknown.
  func forget(_ event: Int) { known[event] = nil }
}
