package import Ledger
import Queue
import Sale

extension QueueEvidence {
  /// What was sold is known to PostgreSQL, whatever became of it there: I1. Whoever is told so is checked by name.
  package func checkForgotten(_ event: AuditedEvent, _ sales: Sales) -> Findings {
    var found = Findings()
    let told = Bitmap.of(self.told.values.flatMap(\.tickets))
    for ticket in sales.tickets
    where !ticket.isPurchased && ticket.claim == nil && Bitmap.contains(sold, ticket.id)
      && !Bitmap.contains(told, ticket.id)
    {
      found.add(
        Finding(
          .saleForgotten, event: event.settings.id, ticket: ticket.id,
          "sold by Redis' account, and PostgreSQL knows nothing of it: held back"))
    }
    return found
  }

  /// How long past its deadline a hold may last, in milliseconds: it is expired by a tick every 250.
  static let holdGraceMilliseconds = 1_000

  /// Holds, locks, the bitmap and the counts tell one story, and it is PostgreSQL's: I1, I10, P6.
  package func checkSeats(_ event: AuditedEvent, _ sales: Sales) -> Findings {
    var found = Findings()
    let id = event.settings.id
    var holders: [Int: Int] = [:]
    for (position, hold) in holds.sorted(by: { $0.key < $1.key }) {
      checkHold(position, hold, id, &found)
      for ticket in hold.tickets {
        if let other = holders.updateValue(position, forKey: ticket) {
          found.add(
            Finding(
              .ticketHeldTwice, event: id, generation: generation, position: position, ticket: ticket,
              "also held for \(other)"))
        }
        let key = PurchaseKey(event: id, generation: generation, position: position)
        if let buyer = sales.buyers[ticket], buyer != key {
          found.add(Finding(.ticketHeldAndSold, key, ticket: ticket, "sold to \(buyer.name)"))
        }
      }
    }
    for (position, _) in deadlines where holds[position] == nil {
      found.add(
        Finding(
          .holdIndexStale, event: id, generation: generation, position: position,
          "in the index of holds, and the record is \(state(position)?.name ?? "missing")"))
    }
    for (ticket, position) in locks where holds[position]?.tickets.contains(ticket) != true {
      found.add(
        Finding(
          .lockWithoutHold, event: id, generation: generation, position: position, ticket: ticket,
          "locked for a request that is \(state(position)?.name ?? "not known")"))
    }
    if leaseHolder == nil, event.settings.state != "closed" {
      found.add(
        Finding(
          .partitionUnowned, event: id,
          "partition \(Partition(of: id).number) has no owner: no worker is alive"))
    }
    checkMap(id, sales, holders, &found)
    return found
  }

  private func checkHold(_ position: Int, _ hold: Hold, _ event: Int, _ found: inout Findings) {
    func add(_ kind: FindingKind, ticket: Int? = nil, _ detail: String) {
      found.add(
        Finding(kind, event: event, generation: generation, position: position, ticket: ticket, detail))
    }
    let isPaying = hold.state == .confirming
    let overdue = facts.document.eventTime(at: now) - hold.deadline
    switch deadlines[position] {
    case nil: add(.holdNotIndexed, "\(hold.state.name), and not in the index of holds")
    case .some(let deadline) where deadline != (isPaying ? nil : hold.deadline):
      add(.holdNotIndexed, "\(hold.state.name), and has another deadline in the index of holds")
    default: break
    }
    // Without an owner the locks end by themselves, and the next owner ends the hold when it comes.
    if !isPaying, overdue > Self.holdGraceMilliseconds,
      leaseHolder != nil || hold.tickets.contains(where: { locks[$0] == position })
    {
      add(.holdOverdue, "\(hold.state.name), \(overdue) ms past its deadline")
    }
    if isPaying || overdue < 0 {
      for ticket in hold.tickets where locks[ticket] != position {
        add(
          .lockMissing, ticket: ticket,
          "\(hold.state.name), and locked for \(locks[ticket].map(String.init) ?? "nobody")")
      }
    }
  }

  private func checkMap(_ event: Int, _ sales: Sales, _ holders: [Int: Int], _ found: inout Findings) {
    // Without an owner nobody publishes; the next one publishes what it loads.
    guard leaseHolder != nil, let bitmap else { return }
    var wronglyFree = 0, wronglyTaken = 0, held = 0, example: Int?
    for ticket in sales.tickets {
      let isHeld = holders[ticket.id] != nil && !ticket.isPurchased
      if isHeld { held += 1 }
      let byte = ticket.id / 8
      let isTaken = byte < bitmap.count && bitmap[byte] & (0x80 >> UInt8(ticket.id % 8)) != 0
      // A claim of a payment under way may outlive the hold for a moment, and such a ticket may be shown either way.
      guard isTaken != (isHeld || ticket.isPurchased), ticket.claim == nil || ticket.isPurchased else {
        continue
      }
      if isTaken { wronglyTaken += 1 } else { wronglyFree += 1 }
      example = example ?? ticket.id
    }
    if wronglyFree + wronglyTaken > 0 {
      found.add(
        Finding(
          .bitmapWrong, event: event,
          "\(wronglyFree) tickets shown as available that are not, \(wronglyTaken) the reverse; one is "
            + "\(example ?? 0)"))
    }
    let document = facts.document, sold = sales.sold
    let withheld = sales.tickets.count { $0.isWithheld && !$0.isPurchased && holders[$0.id] == nil }
    let free = sales.tickets.count - sold - held - withheld
    if (document.free, document.held, document.sold) != (free, held, sold) {
      found.add(
        Finding(
          .countsWrong, event: event,
          "published \(document.free) free, \(document.held) held, \(document.sold) sold; true are \(free), \(held), "
            + "\(sold)"))
    }
  }
}
