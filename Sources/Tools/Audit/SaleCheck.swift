package import Ledger
package import Sale

/// An event's sales in PostgreSQL, and what does not fit among them.
package struct Sales: Sendable {
  package private(set) var tickets: [AuditedTicket] = []
  package private(set) var purchases: [PurchaseKey: AuditedPurchase] = [:]
  package var outbox: [AuditedOutboxEntry] = []
  /// The sold purchase of each ticket.
  package private(set) var buyers: [Int: PurchaseKey] = [:]
  private var soldTwice: [(ticket: Int, key: PurchaseKey)] = []

  package init() {}

  /// - Parameter page: by ascending id, after those added before.
  package mutating func add(tickets page: [AuditedTicket]) { tickets += page }

  package mutating func add(purchases page: [AuditedPurchase]) {
    for purchase in page {
      purchases[purchase.key] = purchase
      guard purchase.state == .sold else { continue }
      for ticket in purchase.tickets where buyers.updateValue(purchase.key, forKey: ticket) != nil {
        soldTwice.append((ticket, purchase.key))
      }
    }
  }

  package var sold: Int { tickets.reduce(0) { $0 + ($1.isPurchased ? 1 : 0) } }

  package func ticket(_ id: Int) -> AuditedTicket? {
    var low = 0, high = tickets.count
    while low < high {
      let middle = (low + high) / 2
      if tickets[middle].id < id { low = middle + 1 } else { high = middle }
    }
    return low < tickets.count && tickets[low].id == id ? tickets[low] : nil
  }

  /// I1, the amounts of I2, and the per-user limit.
  package func check(_ event: AuditedEvent, graceSeconds: Int) -> Findings {
    var findings = Findings()
    for (ticket, key) in soldTwice {
      findings.add(
        Finding(.ticketSoldTwice, key, ticket: ticket, "also sold to \(buyers[ticket].map(\.name) ?? "?")")
      )
    }
    for ticket in tickets { check(ticket, event, &findings) }
    var owned: [String: Int] = [:]
    for purchase in purchases.values {
      check(purchase, graceSeconds, &findings)
      if purchase.state == .sold { owned[purchase.user, default: 0] += purchase.tickets.count }
    }
    for (user, count) in owned where count > event.highestPerUserLimit {
      // The same one each time: a finding counts when it is found twice.
      let example = purchases.values.filter { $0.user == user && $0.state == .sold }.min { $0.key < $1.key }
      findings.add(
        Finding(
          .overUserLimit, event: event.settings.id, generation: example?.key.generation,
          position: example?.key.position,
          "this request's user has \(count) tickets, the limit is \(event.highestPerUserLimit)"))
    }
    for entry in outbox where entry.overdueSeconds > graceSeconds {
      findings.add(
        Finding(
          .choreOverdue, entry.key, paymentID: entry.paymentID,
          "\(entry.kind) due since \(entry.overdueSeconds) s, tried \(entry.attempts) times"
        ))
    }
    return findings
  }

  private func check(_ ticket: AuditedTicket, _ event: AuditedEvent, _ findings: inout Findings) {
    if ticket.isPurchased, buyers[ticket.id] == nil {
      findings.add(
        Finding(
          .ticketWithoutSale, event: event.settings.id, ticket: ticket.id, paymentID: ticket.paymentID,
          "marked as purchased, and no sold purchase has it"))
    }
    guard let claim = ticket.claim else { return }
    let purchase = purchases[claim]
    let isLive = purchase?.state == .sold || purchase?.state == .paying
    if !isLive || purchase?.tickets.contains(ticket.id) != true {
      findings.add(
        Finding(
          .claimWithoutPurchase, claim, ticket: ticket.id,
          "claimed; the purchase is \(purchase?.state.rawValue ?? "missing")"
            + (isLive ? " and has other tickets" : "")))
    }
  }

  private func check(_ purchase: AuditedPurchase, _ graceSeconds: Int, _ findings: inout Findings) {
    switch purchase.state {
    case .paying where purchase.ageSeconds > graceSeconds:
      findings.add(Finding(.paymentStalled, purchase.key, "paying since \(purchase.ageSeconds) s"))
    case .sold:
      var price = 0
      for id in purchase.tickets {
        guard let ticket = ticket(id) else {
          findings.add(Finding(.ticketNotDelivered, purchase.key, ticket: id, "the ticket does not exist"))
          continue
        }
        price += ticket.price
        if buyers[id] != purchase.key {
          continue  // sold twice, which is said above
        } else if ticket.claim != purchase.key {
          findings.add(
            Finding(
              .ticketNotDelivered, purchase.key, ticket: id,
              "sold, and claimed by \(ticket.claim.map(\.name) ?? "nobody")"))
        } else if !ticket.isPurchased || ticket.paymentID != purchase.paymentID {
          findings.add(
            Finding(
              .ticketNotDelivered, purchase.key, ticket: id,
              ticket.isPurchased
                ? "sold with another payment than the ticket's" : "sold, and not marked as purchased"))
        }
      }
      if purchase.hasOthersUnasked {
        findings.add(
          Finding(
            .otherSeatsUnasked, purchase.key, "sold with other seats than were held, and nobody agreed to it")
        )
      }
      // What was given back may be all.
      if price != purchase.amount || purchase.tickets.isEmpty && purchase.charged == nil {
        findings.add(
          Finding(.wrongPrice, purchase.key, "charged \(purchase.amount), the tickets cost \(price)"))
      }
      if purchase.hasDeadRefund {
        findings.add(
          Finding(.refundDead, purchase.key, paymentID: purchase.paymentID, "a refund of it has failed"))
      } else if let charged = purchase.charged, !purchase.isBeingGivenBack, !purchase.hasClosedRefund,
        charged - purchase.refunded - purchase.lost > price
      {
        findings.add(
          Finding(
            .moneyKept, purchase.key, paymentID: purchase.paymentID,
            "\(charged - purchase.refunded) \(purchase.currency) kept for tickets that cost \(price)"))
      }
    default: break
    }
  }
}
