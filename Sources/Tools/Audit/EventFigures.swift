import JSON
import Ledger
import Payments
import Queue
import Sale

/// An event in numbers.
package struct EventFigures: Sendable, Equatable {
  package var event = 0
  package var state = ""
  /// Positions given out in this life of the queue: every one was answered 202.
  package var accepted = 0
  package var waiting = 0
  package var standby = 0
  package var reserved = 0
  package var confirming = 0
  package var declinedWithHold = 0
  /// Requests that ended, by the word a client sees.
  package var terminal: [String: Int] = [:]
  package var tickets = 0
  package var ticketsSold = 0
  package var salesSold = 0
  package var amountSold = 0
  package var salesCaptured = 0
  package var amountRefunded = 0
  /// Payments, confirmations and outbox entries that are still being worked on.
  package var underWay = 0

  package init() {}

  package var pending: Int { waiting + standby + reserved + confirming + declinedWithHold }
  package var ended: Int { terminal.values.reduce(0, +) }

  mutating func count(_ queue: QueueEvidence) {
    let (records, waiting, soldOut, closed, endedWithLine, empty) = queue.tally
    accepted = queue.tail - empty
    self.waiting = waiting
    for (state, count) in records {
      switch state {
      case .standby: standby = count
      case .reserved: reserved = count
      case .confirming: confirming = count
      case .declined: declinedWithHold = count
      case .declinedForGood: terminal["declined", default: 0] += count
      case .purchased: terminal["purchased", default: 0] += count
      case .expired: terminal["expired", default: 0] += count
      case .soldOut: terminal["sold_out", default: 0] += count
      case .cancelled: terminal["cancelled", default: 0] += count
      case .rejected: terminal["rejected", default: 0] += count
      }
    }
    if soldOut > 0 { terminal["sold_out", default: 0] += soldOut }
    if closed + endedWithLine > 0 { terminal["rejected", default: 0] += closed + endedWithLine }
    underWay += queue.confirmations.count
  }

  mutating func count(_ sales: Sales, _ ledger: Ledger) {
    tickets = sales.tickets.count
    ticketsSold = sales.sold
    for purchase in sales.purchases.values {
      switch purchase.state {
      case .sold:
        salesSold += 1
        amountSold += purchase.amount
        amountRefunded += purchase.refunded
        if ledger.entries(purchase.key).contains(where: {
          $0.id == purchase.paymentID && $0.status == .succeeded
        }) {
          salesCaptured += 1
        }
      case .paying: underWay += 1
      default: break
      }
    }
    underWay += sales.outbox.count
  }

  var json: JSON {
    [
      "event_id": .integer(event), "state": .string(state), "accepted": .integer(accepted),
      "pending": .integer(pending), "waiting": .integer(waiting), "standby": .integer(standby),
      "reserved": .integer(reserved), "confirming": .integer(confirming),
      "declined_with_hold": .integer(declinedWithHold),
      "terminal": .object(terminal.sorted { $0.key < $1.key }.map { ($0.key, .integer($0.value)) }),
      "tickets": .integer(tickets), "tickets_sold": .integer(ticketsSold), "sales": .integer(salesSold),
      "amount": .integer(amountSold), "refunded": .integer(amountRefunded),
      "captured": .integer(salesCaptured), "under_way": .integer(underWay),
    ]
  }
}
