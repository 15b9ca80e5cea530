import Ledger
import Payments
import Queue
import Sale
import StoreCommon

extension Audit {
  /// Settles what can be settled without guessing: PostgreSQL is the truth about sales, the provider about money.
  ///
  /// Each step is safe to repeat, and looks once more before it acts, because a worker may have been faster.
  func repair(_ findings: Findings) async -> [RepairNote] {
    var notes: [RepairNote] = []
    var reload: Set<Partition> = []
    // What PostgreSQL has lost comes back before anything is judged by it. Then sales, money, what buyers are told, and
    // the owner's view: each relies on the one before.
    let (tried, unresolved) = await restore(findings, &reload)
    notes += tried
    let order: [FindingKind] = [
      .ticketNotDelivered, .claimWithoutPurchase, .buyerMiscounted, .saleNotCaptured, .captureNotNoted,
      .authorisationOpen, .refundedOtherwise, .disputeUnknown,
      .saleNotTold, .toldOtherwise, .toldWithoutSale, .confirmationLost, .latePaymentStale, .holdNotIndexed,
      .lockWithoutHold,
      .settingsDiffer, .epochAhead, .saleForgotten, .bitmapWrong, .countsWrong,
    ]
    for kind in order {
      for finding in findings.kept where finding.kind == kind {
        // Somebody may have bought it who is not known: it stays held back.
        if kind == .saleForgotten, unresolved.contains(finding.event) { continue }
        do {
          if let note = try await repair(finding, &reload) { notes.append(note) }
        } catch {
          notes.append(RepairNote("\(finding.text): \(error)", isDone: false))
        }
      }
    }
    for partition in reload.sorted(by: { $0.number < $1.number }) {
      do {
        let epoch = try await sales.fence(partition, above: try await queues.leases.epoch(partition))
        _ = try await queues.leases.own(partition, epoch: epoch)
        notes.append(
          RepairNote(
            "the owner of partition \(partition.number) must read the tickets anew (epoch \(epoch))",
            isDone: true))
      } catch {
        notes.append(
          RepairNote("partition \(partition.number) was not taken from its owner: \(error)", isDone: false))
      }
    }
    let settled = Set(order + (unresolved.isEmpty ? Self.restorable : []))
    for (kind, count) in findings.counts where kind.isViolation && !settled.contains(kind) {
      notes.append(RepairNote("\(kind.rawValue) (\(count)): \(Self.advice(kind))", isDone: false))
    }
    return notes
  }

  private func repair(_ finding: Finding, _ reload: inout Set<Partition>) async throws -> RepairNote? {
    let partition = Partition(of: finding.event)
    switch (finding.kind, finding.key, finding.ticket) {
    case (.ticketNotDelivered, let key?, _):
      let delivered = try await sales.deliver(key)
      reload.insert(partition)
      return RepairNote("\(key.name): \(delivered) tickets marked as its own", isDone: delivered > 0)
    case (.claimWithoutPurchase, _, let ticket?):
      let released = try await sales.releaseClaims(event: finding.event, tickets: [ticket])
      reload.insert(partition)
      return RepairNote("event \(finding.event): claim of ticket \(ticket) released", isDone: released > 0)
    case (.buyerMiscounted, _, _):
      // All of the event's at once; their findings name nobody.
      let buyers = try await sales.miscountedBuyers(event: finding.event, limit: Findings.keptPerKind)
      for buyer in buyers { try await sales.recount(event: finding.event, user: buyer.user) }
      if buyers.isEmpty { return nil }
      return RepairNote(
        "event \(finding.event): tickets of \(buyers.count) users counted anew", isDone: true)
    case (.saleNotCaptured, let key?, _), (.captureNotNoted, let key?, _), (.authorisationOpen, let key?, _):
      return try await settlePayment(finding, key)
    case (.saleNotTold, let key?, _), (.toldOtherwise, let key?, _), (.toldWithoutSale, let key?, _),
      (.confirmationLost, let key?, _):
      return try await tell(key)
    case (.latePaymentStale, let key?, _):
      guard let attempt = try await queues.latePayments.attempts(event: key.event)[key.position],
        let purchase = try await sales.purchase(key)
      else { return nil }
      let isTooLate = purchase.state == .declined && purchase.reason == PurchaseStore.tooLate
      if purchase.state == .declined, purchase.attempt == attempt, !isTooLate { return nil }
      try await queues.latePayments.drop(key, attempt: attempt, tells: isTooLate)
      return RepairNote("\(key.name): its late payment is not asked about any more", isDone: true)
    case (.refundedOtherwise, let key?, _), (.disputeUnknown, let key?, _):
      guard let payment = finding.paymentID else { return nil }
      try await sales.noteNews(of: payment)
      return RepairNote("\(key.name): a worker learns what became of \(payment)", isDone: true)
    case (.holdNotIndexed, let key?, _):
      let state = try await queues.reader.record(event: key.event, position: key.position)?.state
      let isDone = try await queues.repairs.repair(
        event: key.event, position: key.position, expected: state, to: .indexed, attempt: 0, amount: 0,
        tickets: [],
        free: [], reason: "", user: "")
      return RepairNote("\(key.name): its hold will end", isDone: isDone)
    case (.lockWithoutHold, _, let ticket?):
      guard let position = finding.position else { return nil }
      let isFree = try await sales.free(event: finding.event, of: [ticket]).contains(ticket)
      let isDone = try await queues.repairs.dropLock(
        event: finding.event, ticket: ticket, position: position, isFree: isFree)
      return RepairNote("event \(finding.event): ticket \(ticket) unlocked", isDone: isDone)
    case (.settingsDiffer, _, _):
      guard let event = try await sales.events(after: finding.event - 1, limit: 1).first,
        event.settings.id == finding.event
      else { return nil }
      try await queues.settings.configure(event.settings, create: false)
      return RepairNote("event \(finding.event): settings sent to Redis again", isDone: true)
    case (.saleForgotten, _, let ticket?): return try await giveUp(finding, ticket, &reload)
    case (.epochAhead, _, _): return try await raiseEpochs()
    case (.bitmapWrong, _, _), (.countsWrong, _, _):
      reload.insert(partition)
      return nil
    default: return nil
    }
  }

  private func settlePayment(_ finding: Finding, _ key: PurchaseKey) async throws -> RepairNote? {
    guard let id = finding.paymentID, let entry = ledger.entries(key).first(where: { $0.id == id }) else {
      return nil
    }
    let reference = "\(key.name)-\(entry.attempt)"
    let purchase = try await sales.purchase(key)
    let isSoldByIt = purchase?.state == .sold && purchase?.paymentID == id
    if finding.kind == .authorisationOpen {
      let isItsOwn = purchase?.attempt == entry.attempt || purchase?.paymentID == id
      if isSoldByIt || purchase?.state == .paying && isItsOwn { return nil }
      // Its buyer is told that the tickets are bought, and what became of the sale is not known.
      if purchase?.state != .sold, try await isToldPurchased(key) {
        return RepairNote("\(reference): told purchased, its authorisation \(id) is left open", isDone: false)
      }
      let payment = try await provider.cancel(id, reference: reference)
      return RepairNote("\(reference): authorisation \(id) voided", isDone: payment.status == .canceled)
    }
    guard isSoldByIt else { return nil }
    let payment = try await provider.capture(id, reference: reference)
    ledger.add(payment)
    guard payment.status == .succeeded else {
      return RepairNote(
        "\(reference): payment \(id) is \(payment.status) and cannot be captured", isDone: false)
    }
    try await purchases.done([OutboxEntry(key: key, kind: .capture, paymentID: id)])
    return RepairNote("\(reference): \(payment.amountCaptured) captured (\(id))", isDone: true)
  }

  /// Makes a request's record say what PostgreSQL says.
  private func tell(_ key: PurchaseKey) async throws -> RepairNote? {
    guard let facts = try await queues.inspection.facts(event: key.event),
      facts.document.generation == key.generation
    else { return nil }
    let record = try await queues.reader.record(event: key.event, position: key.position)
    var purchase = try await sales.purchase(key)
    if let other = purchase, let owner = try await owner(key, record), owner != UserKey(other.user).text {
      // Nobody is told of another user's purchase.
      if other.state == .sold || other.state == .paying {
        return RepairNote("\(key.name): bought by one user, and another's place by now", isDone: false)
      }
      purchase = nil
    }
    if record?.state == .purchased, purchase?.state != .sold, let money = try await paid(key) {
      return RepairNote(
        "\(key.name): told purchased and \(money), so it is not told anything else; its purchase is "
          + "\(purchase?.state.rawValue ?? "missing")", isDone: false)
    }
    let outcome: QueueRepairs.Repair
    switch purchase?.state {
    case .sold: outcome = .purchased
    case .paying: return nil
    case .declined where record?.state == .confirming: outcome = .declined
    // Nothing was charged, and the hold may go on: the buyer can pay again.
    case nil where record?.state == .confirming: outcome = .declined
    default: outcome = .expired
    }
    let tickets = outcome == .purchased ? purchase?.tickets ?? [] : record?.tickets ?? purchase?.tickets ?? []
    let free = outcome == .purchased ? [] : try await sales.free(event: key.event, of: tickets)
    let isDone = try await queues.repairs.repair(
      event: key.event, position: key.position, expected: record?.state, to: outcome,
      attempt: purchase?.attempt ?? record?.attempt ?? 0, amount: purchase?.amount ?? record?.amount ?? 0,
      tickets: tickets, free: free,
      reason: outcome == .declined
        ? purchase?.reason ?? "payment_lost" : outcome == .purchased ? purchase?.reason ?? "" : "",
      user: purchase?.user ?? "")
    return RepairNote("\(key.name): now told \(outcome)", isDone: isDone)
  }

  private func isToldPurchased(_ key: PurchaseKey) async throws -> Bool {
    guard let facts = try await queues.inspection.facts(event: key.event),
      facts.document.generation == key.generation
    else { return false }
    return try await queues.reader.record(event: key.event, position: key.position)?.state == .purchased
  }

  /// PostgreSQL has lost fencing numbers that it gave out: with the next ones two owners would be believed.
  private func raiseEpochs() async throws -> RepairNote? {
    let given = try await sales.epochs()
    var raised = 0
    for partition in Partition.all {
      let accepted = try await queues.leases.epoch(partition)
      guard accepted > given[partition.number] ?? 0 else { continue }
      try await sales.raise(partition, to: accepted)
      raised += 1
    }
    if raised == 0 { return nil }
    return RepairNote(
      "fencing numbers of \(raised) partitions brought up to what Redis accepts", isDone: true)
  }

  /// The key of the user whose place it is now, decided or in line.
  private func owner(_ key: PurchaseKey, _ record: RequestRecord?) async throws -> String? {
    if let record { return record.userKey }
    let waiting = try await queues.waiting.page(event: key.event, after: key.position - 1, limit: 1).page
    return waiting.first.flatMap { $0.position == key.position ? UserKey($0.user).text : nil }
  }

  /// What a person can do where the audit must not guess.
  static func advice(_ kind: FindingKind) -> String {
    switch kind {
    case .paymentStalled, .confirmationStuck:
      "workers finish these; see that one runs and the provider answers"
    case .captureWithoutPurchase, .capturedTwice, .capturedWrongAmount: "refund at the provider"
    case .refundedTooMuch, .refundedTwice: "nobody takes it back by itself: settle it with the buyer"
    case .moneyKept: "give it back: `onsale admin refund REQUEST`"
    case .refundDead: "see `onsale admin refunds dead`"
    case .saleWithoutPayment: "ask the buyer to pay again, or take the tickets back"
    case .ticketSoldTwice, .ticketWithoutSale, .wrongPrice, .otherSeatsUnasked, .overUserLimit:
      "decide by hand; see the requests"
    case .queueMissing: "Redis has lost the queue: open the event again"
    case .queueUnknown: "delete the event's keys when nobody needs them"
    case .holdOverdue, .partitionUnowned: "workers end these; see that one runs"
    case .indexBehind, .indexWentBack, .indexUnknown: "rebuild the search index"
    default: "look at the request, and at the logs of its time"
    }
  }
}
