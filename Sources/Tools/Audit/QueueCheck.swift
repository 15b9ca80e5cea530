package import Ledger
import Queue
import Sale

extension QueueEvidence {
  /// Each request is in line or decided, exactly once, and its record says what PostgreSQL says: I4, I5, I9, P5.
  package func checkRequests(_ event: AuditedEvent, _ sales: Sales, graceSeconds: Int) -> Findings {
    var found = findings
    let id = event.settings.id
    if !isArchived { checkSettings(event, &found) }
    for position in 1..<max(2, tail + 1) where position <= tail {
      checkPlace(position, id, &found)
    }
    if !isArchived, let ended = facts.ended, facts.rejoinedUpTo == 0 {
      let unknown = withoutTrace
      if unknown != ended.withLine + ended.inMass {
        found.add(
          Finding(
            .requestLost, event: id, generation: generation,
            "\(unknown) have neither a record nor a place in line; \(ended.withLine) ended with their lines, and"
              + " \(ended.inMass) with everyone's"))
      }
    }
    for position in passedOver {
      found.add(
        Finding(
          .passedOver, event: id, generation: generation, position: position,
          "still in line, which is not marked as one that waits; the head is \(facts.document.head)"))
    }
    for (owned, bought, example) in isArchived ? [] : miscounted(sales) {
      found.add(
        Finding(
          .ownedMiscounted, event: id, generation: generation, position: example,
          "a user counts as owner of \(owned) tickets and bought \(bought)"))
    }
    checkTold(id, sales, &found)
    checkStream(id, sales, graceSeconds, &found)
    return found
  }

  private func checkSettings(_ event: AuditedEvent, _ found: inout Findings) {
    let settings = event.settings, document = facts.document
    var differences: [String] = []
    func compare(
      _ name: String, _ queue: some CustomStringConvertible, _ database: some CustomStringConvertible
    ) {
      if queue.description != database.description { differences.append("\(name) \(queue), not \(database)") }
    }
    // PostgreSQL may have given out one more, when two processes came to create the queue at once.
    if document.generation > settings.generation {
      differences.append("generation \(document.generation), after \(settings.generation)")
    }
    compare("state", document.state, settings.state)
    compare("payments stopped", document.isStopped, settings.isStopped)
    compare("queue limit", facts.queueLimit, settings.queueLimit)
    compare("per-user limit", facts.perUserLimit, settings.perUserLimit)
    compare("hold", facts.holdMilliseconds, settings.holdSeconds * 1000)
    compare("rate", facts.rate ?? -1, settings.rate ?? -1)
    if document.message != settings.message { differences.append("another message") }
    if !differences.isEmpty {
      found.add(
        Finding(.settingsDiffer, event: settings.id, "in Redis: " + differences.joined(separator: ", ")))
    }
  }

  private func checkPlace(_ position: Int, _ event: Int, _ found: inout Findings) {
    let state = state(position), document = facts.document
    func add(_ kind: FindingKind, _ detail: String) {
      found.add(Finding(kind, event: event, generation: generation, position: position, detail))
    }
    switch state {
    case nil where !isInStream(position):
      if position <= facts.rejoinedUpTo { return }
      if !mayHaveEnded(position) {
        add(.requestLost, "neither in line nor decided; the head is \(document.head)")
      } else if !isArchived, facts.ended == nil, position <= document.decidedUpTo,
        position > facts.reopenedUpTo
      {
        add(.requestLost, "decided before the line ended at \(document.decidedUpTo), and its record is gone")
      }
    // In line, behind the head or not: it passes over those who must wait.
    case nil: break
    case .standby:
      if !isInStream(position), !endedInMass(position) {
        add(.requestLost, "waits alone, and its entry is gone")
      }
      if position > document.head { add(.decidedBeyondHead, "stands by; the head is \(document.head)") }
    case .cancelled:
      if isInStream(position) { add(.requestTwice, "cancelled, and still in line") }
    case .some(let decided):
      if isInStream(position) { add(.requestTwice, "\(decided.name), and still in line") }
      if isApart(position) { break }
      if position > document.head { add(.decidedBeyondHead, "\(decided.name); the head is \(document.head)") }
      if endedInMass(position), position > document.decidedUpTo {
        add(.requestTwice, "\(decided.name), and told that it ended together with the line")
      }
    }
    if isLive(position), !isLinked(position) {
      add(.placeNotLinked, "\(state?.name ?? "in line"), and its user may ask for another place")
    }
  }

  /// What buyers are told against what is sold.
  private func checkTold(_ event: Int, _ sales: Sales, _ found: inout Findings) {
    for (position, hold) in told {
      let key = PurchaseKey(event: event, generation: generation, position: position)
      guard let purchase = sales.purchases[key], purchase.state == .sold else {
        found.add(
          Finding(
            .toldWithoutSale, key,
            "told purchased; the purchase is \(sales.purchases[key]?.state.rawValue ?? "missing")"))
        continue
      }
      if isOfAnother(than: purchase.user, position) {
        found.add(Finding(.toldWithoutSale, key, "told purchased; the purchase is another user's"))
        continue
      }
      // What was given back after the line had left Redis: PostgreSQL is asked first then.
      if isArchived, purchase.charged != nil, Set(purchase.tickets).isSubset(of: hold.tickets) { continue }
      if purchase.tickets.sorted() != hold.tickets.sorted() || purchase.amount != hold.amount {
        found.add(
          Finding(
            .toldOtherwise, key,
            "told tickets \(hold.tickets) for \(hold.amount), sold \(purchase.tickets) for \(purchase.amount)"
          ))
      }
    }
    for purchase in sales.purchases.values
    where purchase.state == .sold && purchase.key.generation == generation {
      let position = purchase.key.position
      // One with an entry in the stream is being told.
      guard told[position] == nil, confirmations[position] == nil else { continue }
      found.add(
        Finding(
          isOfAnother(than: purchase.user, position) ? .placeGivenTwice : .saleNotTold, purchase.key,
          position > tail
            ? "sold beyond the tail \(tail)" : "sold, and the record is \(state(position)?.name ?? "missing")"
        ))
    }
  }

  private func checkStream(_ event: Int, _ sales: Sales, _ graceSeconds: Int, _ found: inout Findings) {
    for (position, hold) in holds where hold.state == .confirming {
      let key = PurchaseKey(event: event, generation: generation, position: position)
      let purchase = sales.purchases[key].flatMap { isOfAnother(than: $0.user, position) ? nil : $0 }
      // A sold one is told below; a stalled one in PostgreSQL is picked up from there.
      if confirmations[position] == nil, !deadLetters.contains(position), purchase?.state != .sold,
        purchase?.state != .paying
      {
        found.add(
          Finding(
            .confirmationLost, key,
            "confirming without an entry in the stream; the purchase is \(purchase?.state.rawValue ?? "missing")"
          ))
      }
    }
    for (position, attempt) in late {
      let key = PurchaseKey(event: event, generation: generation, position: position)
      // One that PostgreSQL has lost is told elsewhere.
      guard let purchase = sales.purchases[key] else { continue }
      let waits =
        state(position) == .declinedForGood && purchase.state == .declined && purchase.attempt == attempt
        && purchase.reason != PurchaseStore.tooLate
      if !waits {
        found.add(
          Finding(
            .latePaymentStale, key,
            "attempt \(attempt) waits for the owner of its seats; the record is \(state(position)?.name ?? "missing"), "
              + "the purchase \(purchase.state.rawValue) by attempt \(purchase.attempt)"))
      }
    }
    for (position, entry) in confirmations {
      let age = (writtenNow - entry.addedAt) / 1000
      if age > graceSeconds {
        found.add(
          Finding(
            .confirmationStuck, event: event, generation: entry.generation, position: position,
            "in the stream since \(age) s; the record is \(state(position)?.name ?? "missing")"))
      }
    }
    for position in deadLetters {
      found.add(
        Finding(
          .deadLetter, event: event, generation: generation, position: position,
          "failed too often; the record is \(state(position)?.name ?? "missing")"))
    }
  }
}
