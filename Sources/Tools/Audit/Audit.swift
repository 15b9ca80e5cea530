package import EventLoop
import Foundation
package import Ledger
package import Logging
package import Payments
package import Queue
import Sale

/// Compares PostgreSQL, Redis, the provider's ledger and the search index, both ways.
///
/// A running system is never quite at rest, so what does not fit is looked at again after a moment: only what
/// two passes in a row find is reported. Reads in pages; memory grows with positions by a few bytes each, and
/// with tickets, purchases and payments.
@LoopActor
package final class Audit {
  /// After this many passes with the same findings, and nothing under way, waiting longer is useless.
  private static let passesAtRest = 3

  let sales: AuditStore
  let purchases: PurchaseStore
  let queues: QueueStore
  let provider: any PaymentProvider
  private let index: (any AuditedIndex)?
  let options: AuditOptions
  let logger: Logger
  private let progress: @LoopActor (String) -> Void
  var ledger = Ledger()
  /// Versions in the search index as the last pass saw them.
  private var indexVersions: [Int: Int] = [:]
  /// Since when this run looks; `nil` for all time.
  var baseline: AuditBaseline?
  /// The events that it looks at; `nil` for all.
  var scope: Set<Int>?
  /// Of each event how many rows PostgreSQL has, at the beginning.
  var counts: [Int: AuditStore.RowCounts] = [:]
  var looked = AuditReport.Looked()

  /// - Parameter progress: told what is being read, a few times a second at most.
  package init(
    sales: AuditStore, purchases: PurchaseStore, queues: QueueStore, provider: any PaymentProvider,
    index: (any AuditedIndex)? = nil, options: AuditOptions = AuditOptions(), logger: Logger,
    progress: @escaping @LoopActor (String) -> Void = { _ in }
  ) {
    self.sales = sales
    self.purchases = purchases
    self.queues = queues
    self.provider = provider
    self.index = index
    self.options = options
    self.logger = logger
    self.progress = progress
  }

  /// - Throws: when a store or the provider cannot be read; nothing is known then.
  package func run() async throws -> AuditReport {
    var report = AuditReport()
    looked = AuditReport.Looked()
    let began = Self.now
    let mark = try await begin()
    (report.findings, report.events) = try await settled()
    if options.repairs, !report.findings.isEmpty {
      report.repairs = await repair(report.findings)
      (report.findings, report.events) = try await settled()
    }
    report.payments = ledger.statuses
    report.foreignPayments = ledger.foreign
    looked.events = report.events.count
    looked.payments = ledger.count
    report.looked = looked
    if options.event == nil, let mark {
      do {
        try await sales.note(
          AuditStore.Run(
            began: began, isWhole: looked.isWhole, isClean: report.isClean, events: looked.events,
            purchases: looked.purchases, payments: looked.payments,
            newestPayment: max(ledger.newest, baseline?.newestPayment ?? 0)),
          mark, counts: counts, scope: scope)
      } catch {
        logger.warning("that the audit has run could not be noted", ["error": "\(error)"])
      }
    }
    return report
  }

  /// Passes until nothing is found and nothing is under way, or the time to settle is over.
  private func settled() async throws -> (Findings, [Int: EventFigures]) {
    ledger = Ledger(installation: try await purchases.installation(), isWhole: baseline == nil)
    try await readLedger()
    let deadline = EventLoop.shared.now + UInt64(options.settleSeconds) * 1000
    if var scope {
      scope.formUnion(ledger.events)
      for partition in Partition.all { scope.formUnion(try await queues.reader.liveEvents(partition)) }
      self.scope = scope
    }
    let everything = options.event.map { Set([$0]) } ?? scope
    var (found, figures) = try await pass(only: everything)
    var passesAtRest = 1
    while true {
      let isUnderWay = figures.values.contains { $0.underWay > 0 }
      if found.isEmpty, !isUnderWay || EventLoop.shared.now >= deadline { return (found, figures) }
      progress(isUnderWay ? "waiting for work under way" : "looking again at what does not fit")
      try await sleep(milliseconds: options.pauseMilliseconds)
      var again = Set(found.kept.map(\.event))
      again.formUnion(figures.values.filter { $0.underWay > 0 }.map(\.event))
      try await refreshLedger(found)
      // What is about no event, such as an epoch, needs a look at everything.
      let (foundAgain, figuresAgain) = try await pass(only: again.contains(0) ? everything : again)
      figures.merge(figuresAgain) { $1 }
      let both = foundAgain.alsoIn(found)
      let isAtRest =
        both.counts == found.counts && both.counts == foundAgain.counts
        && !figures.values.contains { $0.underWay > 0 }
      passesAtRest = isAtRest ? passesAtRest + 1 : 1
      if passesAtRest >= Self.passesAtRest || EventLoop.shared.now >= deadline { return (both, figures) }
      found = foundAgain
    }
  }

  static var now: Int { Int(Date().timeIntervalSince1970) }

  func report(_ what: String) { progress(what) }

  /// One look at everything, or at some events.
  private func pass(only: Set<Int>?) async throws -> (Findings, [Int: EventFigures]) {
    var found = Findings()
    var figures: [Int: EventFigures] = [:]
    var streams = PartitionStreams()
    for partition in Partition.all { try await read(partition, into: &streams, only, &found) }
    var existing: Set<Int> = [], known: Set<Int> = []
    var expected: [Int: [Int]] = [:]
    var last = 0
    while true {
      let page = try await sales.events(after: last, limit: options.pageSize)
      for event in page {
        let id = event.settings.id
        existing.insert(id)
        if event.isPublic { known.insert(id) }
        if let only, !only.contains(id) { continue }
        let (findings, counted, document) = try await check(event, streams)
        found.add(findings)
        figures[id] = counted
        expected[id] = index?.versions(
          eventVersion: event.settings.version, document: document, purchased: counted.ticketsSold)
      }
      guard page.count == options.pageSize, let end = page.last?.settings.id else { break }
      last = end
    }
    for event in streams.events where !known.contains(event) && only?.contains(event) != false {
      found.add(
        Finding(.queueUnknown, event: event, "Redis has a queue, and PostgreSQL has no such event on sale"))
    }
    // Without a purchase, since there is no event that could have one.
    for event in ledger.events where !existing.contains(event) && only?.contains(event) != false {
      found.add(ledger.check(Sales(), event: event, graceSeconds: options.graceSeconds, now: Self.now))
    }
    try await checkIndex(known, expected, &found)
    return (found, figures)
  }

  // MARK: Ledger

  func readPayments(since oldest: Int) async throws {
    var last: String?
    while true {
      let (page, hasMore) = try await provider.list(after: last, limit: 100)
      for payment in page where payment.created >= oldest { ledger.add(payment) }
      progress("\(ledger.count) payments")
      guard hasMore, let end = page.last, end.created >= oldest else { return }
      last = end.id
    }
  }

  private func readLedger() async throws {
    try await readPayments(since: oldestPayment)
    var last: String?
    // All of these, however old: they are few, and change long after they were made.
    while true {
      let (page, hasMore) = try await provider.refunds(after: last, limit: 100)
      for refund in page { ledger.add(refund) }
      try await readPayments(of: page)
      guard hasMore, let end = page.last?.id else { break }
      last = end
    }
    last = nil
    while true {
      let (page, hasMore) = try await provider.disputes(of: nil, after: last, limit: 100)
      for dispute in page { ledger.add(dispute) }
      try await readPayments(of: page)
      guard hasMore, let end = page.last?.id else { return }
      last = end
    }
  }

  /// Asks again for the payments that findings name, and for those that came or were open.
  private func refreshLedger(_ found: Findings) async throws {
    var last: String?
    var isKnown = false
    while !isKnown {
      let (page, hasMore) = try await provider.list(after: last, limit: 100)
      for payment in page {
        isKnown = isKnown || ledger.knows(payment)
        ledger.add(payment)
      }
      guard hasMore, let end = page.last?.id else { break }
      last = end
    }
    for id in Set(found.kept.compactMap(\.paymentID)).union(ledger.openPayments) {
      do {
        ledger.add(try await provider.retrieve(id))
        ledger.set(try await provider.refunds(of: id), of: id)
        for dispute in try await provider.disputes(of: id, after: nil, limit: 100).disputes {
          ledger.add(dispute)
        }
      } catch let error as PaymentError where error.code == .invalid {
        continue  // PostgreSQL names a payment that the provider does not have: that is the finding
      }
    }
  }

  // MARK: Queues

  /// What the partitions' shared streams say, by event.
  struct PartitionStreams {
    var confirmations: [Int: [QueueInspection.StreamEntry]] = [:]
    var deadLetters: [Int: [QueueInspection.StreamEntry]] = [:]
    var events: Set<Int> = []
    var leases: [Partition: String] = [:]
    var epochs: [Int: Int] = [:]
  }

  private func read(
    _ partition: Partition, into streams: inout PartitionStreams, _ only: Set<Int>?, _ found: inout Findings
  ) async throws {
    if let only, !only.contains(where: { Partition(of: $0) == partition }) { return }
    streams.events.formUnion(try await queues.reader.liveEvents(partition))
    streams.leases[partition] = try await queues.leases.holder(partition)
    let accepted = try await queues.leases.epoch(partition)
    // Read after Redis, so that an epoch given out in between is not taken for a forged one.
    if accepted > 0 {
      let given = try await sales.epochs()[partition.number] ?? 0
      if accepted > given {
        found.add(
          Finding(
            .epochAhead, event: 0,
            "partition \(partition.number): Redis accepts epoch \(accepted), "
              + "PostgreSQL gave out \(given)"))
      }
    }
    for deadLetters in [false, true] {
      var last: String?
      while true {
        let page = try await queues.inspection.streamEntries(
          partition, deadLetters: deadLetters, after: last, limit: options.pageSize)
        for entry in page {
          if deadLetters {
            streams.deadLetters[entry.event, default: []].append(entry)
          } else {
            streams.confirmations[entry.event, default: []].append(entry)
          }
        }
        guard page.count == options.pageSize, let end = page.last?.id else { break }
        last = end
      }
    }
  }

  private func check(_ event: AuditedEvent, _ streams: PartitionStreams) async throws -> (
    Findings, EventFigures, QueueDocument?
  ) {
    let id = event.settings.id
    var found = Findings()
    var figures = EventFigures()
    figures.event = id
    figures.state = event.settings.state
    let sold: Sales
    let queue: QueueEvidence?
    if var evidence = try await readQueue(id, streams) {
      sold = try await readSales(id)
      try await readOlderPayments(sold)
      try await readLocks(id, sold.tickets.map(\.id), &evidence)
      queue = evidence
    } else {
      sold = try await readSales(id)
      try await readOlderPayments(sold)
      queue = nil
    }
    found.add(sold.check(event, graceSeconds: options.graceSeconds))
    for buyer in try await sales.miscountedBuyers(event: id, limit: Findings.keptPerKind) {
      found.add(
        Finding(
          .buyerMiscounted, event: id,
          "a user is counted \(buyer.counted) tickets, and \(buyer.bought) are sold or under payment"))
    }
    found.add(
      ledger.check(sold, event: id, graceSeconds: options.graceSeconds, now: Self.now))
    if let queue {
      found.add(queue.checkRequests(event, sold, graceSeconds: options.graceSeconds))
      found.add(queue.checkSeats(event, sold))
      found.add(queue.checkForgotten(event, sold))
      figures.count(queue)
    } else if event.settings.state == "closed", let archived = try await readArchive(event) {
      found.add(archived.checkRequests(event, sold, graceSeconds: options.graceSeconds))
      figures.count(archived)
    } else if event.settings.state == "open" || event.settings.state == "paused" {
      found.add(
        Finding(.queueMissing, event: id, "\(event.settings.state) in PostgreSQL, and Redis has no queue"))
    }
    figures.count(sold, ledger)
    return (found, figures, queue?.facts.document)
  }

  func readSales(_ event: Int) async throws -> Sales {
    var sold = Sales()
    sold.outbox = try await sales.sales(
      event: event, pageSize: options.pageSize, since: baseline,
      tickets: { [progress] page in
        sold.add(tickets: page)
        progress("event \(event): \(sold.tickets.count) tickets")
      },
      purchases: { [progress] page in
        sold.add(purchases: page)
        looked.purchases += page.count
        progress("event \(event): \(sold.purchases.count) purchases")
      })
    return sold
  }

  // MARK: Search

  /// - Parameters:
  ///   - known: all events that searches may find.
  ///   - expected: the versions that those looked at in this pass may have.
  private func checkIndex(_ known: Set<Int>, _ expected: [Int: [Int]], _ found: inout Findings) async throws {
    guard let index else { return }
    var missing = options.event.map { known.intersection([$0]) } ?? known
    var last = options.event.map { $0 - 1 } ?? 0
    while true {
      let page = try await index.indexedEvents(
        after: last, limit: options.event == nil ? options.pageSize : 1)
      for event in page where options.event == nil || options.event == event.id {
        missing.remove(event.id)
        if !known.contains(event.id) {
          found.add(
            Finding(.indexUnknown, event: event.id, "in the search index, and not public in PostgreSQL"))
        } else if let versions = expected[event.id], !versions.contains(event.version) {
          found.add(
            Finding(
              .indexBehind, event: event.id,
              "the index has version \(event.version), not \(versions.map(String.init).joined(separator: " or "))"
            ))
        }
        if let before = indexVersions[event.id], event.version < before {
          found.add(
            Finding(
              .indexWentBack, event: event.id, "the index had version \(before), now \(event.version)"))
        }
        indexVersions[event.id] = max(event.version, indexVersions[event.id] ?? 0)
      }
      guard options.event == nil, page.count == options.pageSize, let end = page.last?.id else { break }
      last = end
    }
    if options.event == nil, !known.isEmpty, missing == known {
      found.add(Finding(.indexEmpty, event: 0, "nothing is indexed: no indexer has run"))
      return
    }
    for id in missing { found.add(Finding(.indexBehind, event: id, "not in the search index")) }
  }
}
