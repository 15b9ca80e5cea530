import Archive
import Ledger
import Payments
import Queue
import Sale
import StoreCommon

/// Purchases that PostgreSQL has lost are written back from what Redis and the provider know of them.
extension Audit {
  /// Findings that a purchase written back may settle.
  static let restorable: [FindingKind] = [.captureWithoutPurchase, .toldWithoutSale]

  /// Writes back what was lost, as far as it is known.
  /// - Returns: what came of it, and the events of which something could not be written back.
  func restore(
    _ findings: Findings, _ reload: inout Set<Partition>
  ) async -> (notes: [RepairNote], unresolved: Set<Int>) {
    var notes: [RepairNote] = []
    var tried: Set<PurchaseKey> = []
    var unresolved: Set<Int> = []
    for finding in Self.restorable.flatMap({ kind in findings.kept.filter { $0.kind == kind } }) {
      guard let key = finding.key, tried.insert(key).inserted else { continue }
      do {
        let note = try await restore(key, &reload)
        // Captured, and neither written back nor to be explained: somebody may have bought what nobody knows of.
        if note?.isDone != true, finding.kind == .captureWithoutPurchase { unresolved.insert(key.event) }
        if let note { notes.append(note) }
      } catch {
        notes.append(RepairNote("\(finding.text): \(error)", isDone: false))
        unresolved.insert(key.event)
      }
    }
    return (notes, unresolved)
  }

  /// What was paid for a request, and is not given back.
  private struct Money {
    let payment: Payment
    let attempt: Int
    /// Whether it came late, and bought other seats than it was for: the attempt before the last one has none of its own.
    var isOfOtherSeats = false
    var isCaptured: Bool { payment.status == .succeeded }
  }

  /// Writes back the purchase of a request that was told it is purchased, or whose money was taken.
  /// - Returns: what came of it; `nil` where nothing says that there was a purchase.
  func restore(_ key: PurchaseKey, _ reload: inout Set<Partition>) async throws -> RepairNote? {
    let row = try await sales.purchase(key)
    // A payment under way is finished by a worker, under the same name at the provider.
    if row?.state == .sold || row?.state == .paying { return nil }
    let told = try await toldPurchased(key)
    guard let (purchase, problem) = try await evidence(key, told, row) else {
      return nil
    }
    guard let purchase else {
      if problem == Self.givenBack { return RepairNote("\(key.name): \(problem)", isDone: true) }
      return RepairNote("\(key.name): cannot be written back: \(problem)", isDone: false)
    }
    do {
      try await sales.restore(purchase)
    } catch let error as StoreError where error.code == .conflict {
      return RepairNote(
        "\(key.name): cannot be written back: \(error.message); \(Self.advice(.captureWithoutPurchase))",
        isDone: false)
    }
    reload.insert(Partition(of: key.event))
    if !purchase.isCaptured {
      // What fails here is left to the outbox worker: it was noted together with the purchase.
      let reference = "\(key.name)-\(purchase.attempt)"
      if let payment = try? await provider.capture(purchase.paymentID, reference: reference) {
        ledger.add(payment)
        try await purchases.done([
          OutboxEntry(key: key, kind: .capture, paymentID: purchase.paymentID)
        ])
      }
    }
    return RepairNote(
      "\(key.name): purchase of tickets \(purchase.tickets) for \(purchase.amount) "
        + "\(purchase.currency) written back (\(purchase.paymentID))", isDone: true)
  }

  /// The record of a request that is told so, in Redis or where it left Redis.
  private func toldPurchased(_ key: PurchaseKey) async throws -> RequestRecord? {
    let record: RequestRecord?
    if let facts = try await queues.inspection.facts(event: key.event),
      facts.document.generation == key.generation
    {
      record = try await queues.reader.record(event: key.event, position: key.position)
    } else {
      record = try await sales.archivedRecord(key)
    }
    return record?.state == .purchased ? record : nil
  }

  /// - Returns: the purchase, or why it is not known what it was; `nil` where there is no sign of one.
  private func evidence(
    _ key: PurchaseKey, _ told: RequestRecord?, _ row: AuditedPurchase?
  ) async throws -> (purchase: LostPurchase?, problem: String)? {
    let attempt = row?.attempt ?? 0
    guard let money = try await money(key, after: row, told) else {
      // What costs nothing has no payment: its record is all there is.
      guard let told, told.amount == 0, told.attempt > attempt else {
        return isGivenBack(key) ? (nil, Self.givenBack) : nil
      }
      guard let user = try await sales.user(withKey: told.userKey) else {
        return (nil, "it was free, and only the key of its user is known")
      }
      guard let currency = try await currency(key.event) else { return (nil, "there is no such event") }
      let id = PurchaseStore.freePaymentID("\(key.name)-\(told.attempt)")
      return (
        LostPurchase(
          key: key, attempt: told.attempt, user: user, tickets: told.tickets, amount: 0, currency: currency,
          paymentID: id, isCaptured: true, soldAt: Self.now), ""
      )
    }
    // Money that is only reserved is a purchase where its buyer was told so; otherwise it is let go of.
    if !money.isCaptured, told?.attempt != money.attempt { return nil }
    let payment = money.payment
    guard let purchase = payment.purchase else {
      return (nil, "payment \(payment.id) does not say whose it is and of which tickets")
    }
    guard purchase.event == key.event, purchase.generation == key.generation,
      purchase.position == key.position, purchase.amount == payment.amount, !purchase.tickets.isEmpty
    else { return (nil, "payment \(payment.id) says that it is of another request, or for another amount") }
    var lost = LostPurchase(
      key: key, attempt: money.attempt, user: purchase.user, tickets: purchase.tickets,
      amount: payment.amount,
      currency: payment.currency, paymentID: payment.id, isCaptured: money.isCaptured,
      soldAt: payment.created)
    if money.isOfOtherSeats, let told {
      // Only its buyer knows which: the payment names those that were held when it was made.
      guard told.tickets.count == purchase.tickets.count, told.amount == payment.amount else {
        return (
          nil, "payment \(payment.id) is for \(purchase.tickets), and its buyer was told \(told.tickets)"
        )
      }
      (lost.tickets, lost.insteadOf) = (told.tickets, purchase.tickets)
    }
    return (lost, "")
  }

  /// The last payment of the request that holds money; none that was given back in full.
  ///
  /// A payment that was given up and came late sells as a later attempt than the one that made it: where the buyer was told
  /// so, PostgreSQL may be of before that, and have the attempt as given up.
  private func money(
    _ key: PurchaseKey, after row: AuditedPurchase?, _ told: RequestRecord?
  ) async throws -> Money? {
    let attempt = row?.attempt ?? 0
    let cameLate =
      row?.state == .declined && row?.reason != PurchaseStore.tooLate && (told?.attempt ?? 0) > attempt
    let entries = ledger.entries(key).filter { $0.attempt > attempt || cameLate && $0.attempt == attempt }
    let last = ledger.entries(key).map(\.attempt).max() ?? 0
    for entry in entries.sorted(by: { $0.attempt > $1.attempt })
    where entry.status == .succeeded || entry.status == .requiresCapture {
      let payment = try await provider.retrieve(entry.id)
      ledger.add(payment)
      // As the next attempt, of which there is no payment of its own: an older one was given up for good.
      // With other seats than it was for, as the one after that.
      let later = entry.attempt == last ? (told?.attempt ?? 0) - last : 0
      let money = Money(
        payment: payment, attempt: later == 1 || later == 2 ? last + later : entry.attempt,
        isOfOtherSeats: later == 2)
      if payment.status == .requiresCapture { return money }
      guard payment.status == .succeeded else { continue }
      if try await provider.refunded(entry.id) < payment.amountCaptured { return money }
    }
    return nil
  }

  private static let givenBack = "its money was given back, there is nothing to write back"

  /// Whether money was taken for it that, as was just found, is not held any more.
  private func isGivenBack(_ key: PurchaseKey) -> Bool {
    ledger.entries(key).contains { $0.status == .succeeded }
  }

  private func currency(_ event: Int) async throws -> String? {
    let found = try await sales.events(after: event - 1, limit: 1).first
    return found?.settings.id == event ? found?.currency : nil
  }

  /// Why a request that is told that it is purchased must not be told anything else; `nil` if nothing was paid.
  func paid(_ key: PurchaseKey) async throws -> String? {
    guard let money = try await money(key, after: nil, nil) else { return nil }
    return "\(money.payment.amount) \(money.payment.currency) "
      + (money.isCaptured ? "captured" : "reserved") + " (\(money.payment.id))"
  }

  /// Tickets that Redis knows as sold, when nothing is left that says who bought them.
  func giveUp(_ finding: Finding, _ ticket: Int, _ reload: inout Set<Partition>) async throws -> RepairNote? {
    guard try await !sales.free(event: finding.event, of: [ticket]).isEmpty else { return nil }
    try await queues.comparison.dropSold(event: finding.event, [ticket])
    reload.insert(Partition(of: finding.event))
    return RepairNote(
      "event \(finding.event): ticket \(ticket) was sold, nobody paid for it and nobody is told so: for sale again",
      isDone: true)
  }
}
