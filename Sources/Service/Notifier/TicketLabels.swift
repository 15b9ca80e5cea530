package import EventLoop
import JSON
package import Ledger
import Queue
import Sale

/// What tickets are called: section, row and seat, for answers to buyers who have got some.
///
/// What is told of a ticket hardly ever changes, so it is kept once it was read, until its price is not that of a buyer's
/// tickets any more. Only tickets that were asked for are read, those
/// of many buyers at once: an event may have 200,000, and more may be added while it is on sale.
@LoopActor
package final class TicketLabels {
  /// Tickets and events that are kept, the last ones that were asked for: some 25 MB.
  private static let ticketLimit = 100_000
  private static let eventLimit = 10_000
  /// Buyers whose tickets one statement reads, and buyers who wait for one at most.
  private static let batchLimit = 64
  private static let waitingLimit = 20_000
  /// How long what could not be read, or was not there, is not asked for again, in milliseconds.
  private static let pauseMilliseconds: UInt64 = 1_000

  private struct Ticket: Hashable {
    let event: Int
    let id: Int
  }

  private struct Wish: Sendable {
    let event: Int
    let tickets: [Int]
  }

  private let seats: SeatStore
  private struct Label: Sendable {
    let json: String
    let price: Int
    let readAt: UInt64
  }

  private var known = RecentValues<Ticket, Label>(capacity: TicketLabels.ticketLimit)
  private var currencies = RecentValues<Int, String>(capacity: TicketLabels.eventLimit)
  /// When a ticket, or anything of an event, was last asked for in vain.
  private var missedAt = RecentValues<Ticket, UInt64>(capacity: TicketLabels.eventLimit)
  private var failedAt = RecentValues<Int, UInt64>(capacity: TicketLabels.eventLimit)
  private lazy var reads = GroupCommit<Wish, Void>(
    maximumBatch: Self.batchLimit, capacity: Self.waitingLimit
  ) { [unowned self] wishes in
    await read(wishes)
    return wishes.map { _ in .success(()) }
  }

  package init(seats: SeatStore) { self.seats = seats }

  /// Whether all that can be said of these tickets now is in memory.
  func knows(_ event: Int, _ tickets: [Int]) -> Bool {
    if let failed = failedAt.value(of: event), isRecent(failed) { return true }
    return currencies.value(of: event) != nil && tickets.allSatisfy { has(Ticket(event: event, id: $0)) }
  }

  /// Whether what a buyer is told can be told without reading anything.
  func suffice(_ status: RequestStatus, of event: Int) -> Bool {
    if status.tickets.isEmpty { return true }
    forgetOldPrices(status, of: event)
    return knows(event, status.tickets)
  }

  /// Reads what is not known of the tickets of a buyer.
  func load(for status: RequestStatus, of event: Int) async {
    if status.tickets.isEmpty { return }
    forgetOldPrices(status, of: event)
    await load(event, status.tickets)
  }

  /// A price may have changed between two buyers of a ticket.
  private func forgetOldPrices(_ status: RequestStatus, of event: Int) {
    let labels = status.tickets.compactMap { known.value(of: Ticket(event: event, id: $0)) }
    guard labels.count == status.tickets.count, let amount = status.amount,
      labels.reduce(0, { $0 + $1.price }) != amount
    else { return }
    for (id, label) in zip(status.tickets, labels) where !isRecent(label.readAt) {
      known.remove(Ticket(event: event, id: id))
    }
  }

  private func has(_ ticket: Ticket) -> Bool {
    known.value(of: ticket) != nil || missedAt.value(of: ticket).map(isRecent) == true
  }

  private func isRecent(_ moment: UInt64) -> Bool {
    EventLoop.shared.now < moment + Self.pauseMilliseconds
  }

  func currency(of event: Int) -> String? { currencies.value(of: event) }

  /// The JSON of one ticket; only its id where nothing is known of it.
  func json(event: Int, ticket: Int) -> String {
    known.value(of: Ticket(event: event, id: ticket))?.json ?? "{\"id\":\(ticket)}"
  }

  /// Reads what is not known of these tickets. Never fails: an answer without labels is better than none.
  func load(_ event: Int, _ tickets: [Int]) async {
    if knows(event, tickets) { return }
    let unknown = tickets.filter { !has(Ticket(event: event, id: $0)) }
    // All of them where only the currency has been forgotten.
    try? await reads.submit(Wish(event: event, tickets: unknown.isEmpty ? tickets : unknown))
  }

  /// One statement an event: nearly always there is one event.
  private func read(_ wishes: [Wish]) async {
    let tickets = Dictionary(grouping: wishes, by: \.event).mapValues { Set($0.flatMap(\.tickets)) }
    for (event, ids) in tickets {
      do {
        note(event, ids, try await seats.labels(event: event, tickets: ids.sorted()))
      } catch {
        failedAt.set(EventLoop.shared.now, for: event)
      }
    }
  }

  private func note(_ event: Int, _ asked: Set<Int>, _ labels: SeatStore.Labels?) {
    var missing = asked
    let now = EventLoop.shared.now
    for label in labels?.tickets ?? [] {
      missing.remove(label.ticket)
      let json =
        "{\"id\":\(label.ticket),\"section\":\(JSON.string(label.section).text),\"row\":\(JSON(label.row).text),"
        + (label.block.map { "\"block\":\(JSON.string($0).text)," } ?? "")
        + "\"seat\":\(JSON(label.seat).text),\"price\":\(label.price)}"
      known.set(
        Label(json: json, price: label.price, readAt: now), for: Ticket(event: event, id: label.ticket))
    }
    for id in missing { missedAt.set(now, for: Ticket(event: event, id: id)) }
    if let labels { currencies.set(labels.currency, for: event) } else { failedAt.set(now, for: event) }
  }
}
