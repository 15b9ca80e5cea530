import Archive
import Ledger
import Queue
import Sale

extension Audit {
  /// Buckets of records, and of users, that are asked for at once.
  private static let bucketsPerBatch = 64

  /// Reads what Redis has of an event, in an order in which a request that moves on is seen at least once: the
  /// tail first, then those in line, then records, because a request leaves the line only with a record.
  func readQueue(_ event: Int, _ streams: PartitionStreams) async throws -> QueueEvidence? {
    guard let facts = try await queues.inspection.facts(event: event) else { return nil }
    var queue = QueueEvidence(
      facts: facts, now: try await queues.reader.milliseconds(of: Partition(of: event)))
    queue.writtenNow = try await queues.reader.serverMilliseconds()
    queue.leaseHolder = streams.leases[Partition(of: event)]
    for entry in streams.confirmations[event] ?? [] where entry.generation == facts.document.generation {
      queue.confirmations[entry.position] = entry
    }
    for entry in streams.deadLetters[event] ?? [] where entry.generation == facts.document.generation {
      queue.deadLetters.insert(entry.position)
    }
    try await readLine(event, &queue)
    try await readRecords(event, &queue)
    try await readHolds(event, &queue)
    queue.bitmap = try await queues.reader.unavailableTickets(event: event)
    queue.apart = try await queues.reader.placesApart(event: event)
    queue.sold = try await queues.comparison.soldTickets(event: event)
    queue.late = try await queues.latePayments.attempts(event: event)
    try await readUsers(event, &queue)
    return queue
  }

  /// Reads the queue of a closed event that has left Redis.
  func readArchive(_ event: AuditedEvent) async throws -> QueueEvidence? {
    let settings = event.settings
    guard let document = try await sales.archivedQueue(event: settings.id) else { return nil }
    var queue = QueueEvidence(archived: document, settings: settings)
    var bucket = -1
    while let last = try await sales.archivedRecords(
      event: settings.id, generation: document.generation, after: bucket, limit: Self.bucketsPerBatch,
      { position, record in queue.add(record, at: position, event: settings.id) })
    {
      bucket = last
      report(
        "event \(settings.id): archived records up to \(last * QueueStore.recordsPerBucket) of \(queue.tail)")
    }
    queue.settleStrays(lastTail: queue.tail, event: settings.id)
    return queue
  }

  private func readLine(_ event: Int, _ queue: inout QueueEvidence) async throws {
    // Of a line that is restored; read first, because from there they go into the line.
    var rank = 0
    while true {
      let page = try await queues.waiting.restored(event: event, ranks: rank..<rank + options.pageSize)
      for (position, user) in page { queue.add(waiting: position, user: user) }
      if page.count < options.pageSize { break }
      rank += page.count
    }
    var last = 0
    while true {
      let (page, hasMore) = try await queues.waiting.page(event: event, after: last, limit: options.pageSize)
      for (position, user, line) in page { queue.add(waiting: position, user: user, line: line) }
      guard hasMore, let end = page.last?.position, end < queue.tail else { return }
      last = end
      report("event \(event): \(last) of \(queue.tail) in line")
    }
  }

  private func readRecords(_ event: Int, _ queue: inout QueueEvidence) async throws {
    // One bucket more than there should be shows records of positions that were never given out.
    let buckets = 0..<queue.tail / QueueStore.recordsPerBucket + 2
    for start in stride(from: 0, to: buckets.upperBound, by: Self.bucketsPerBatch) {
      let batch = start..<min(start + Self.bucketsPerBatch, buckets.upperBound)
      for (position, record) in try await queues.inspection.records(event: event, buckets: batch) {
        queue.add(record, at: position, event: event)
      }
      report(
        "event \(event): records up to \(batch.upperBound * QueueStore.recordsPerBucket) of \(queue.tail)")
    }
    let lastTail = try await queues.inspection.facts(event: event)?.document.tail ?? queue.tail
    queue.settleStrays(lastTail: lastTail, event: event)
  }

  private func readHolds(_ event: Int, _ queue: inout QueueEvidence) async throws {
    var rank = 0
    while true {
      let page = try await queues.inspection.holds(event: event, ranks: rank..<rank + options.pageSize)
      for (position, deadline) in page { queue.deadlines[position] = .some(deadline) }
      rank += page.count
      guard page.count == options.pageSize else { break }
    }
  }

  private func readUsers(_ event: Int, _ queue: inout QueueEvidence) async throws {
    guard queue.tail > 0 else { return }
    for start in stride(from: 0, to: QueueStore.userBuckets, by: Self.bucketsPerBatch) {
      let batch = start..<min(start + Self.bucketsPerBatch, QueueStore.userBuckets)
      for user in try await queues.inspection.users(event: event, buckets: batch) {
        queue.add(user, event: event)
      }
    }
  }

  /// Reads who locks the event's tickets.
  func readLocks(_ event: Int, _ tickets: [Int], _ queue: inout QueueEvidence) async throws {
    for start in stride(from: 0, to: tickets.count, by: options.pageSize) {
      let batch = Array(tickets[start..<min(start + options.pageSize, tickets.count)])
      for (ticket, holder) in zip(batch, try await queues.inspection.locks(event: event, tickets: batch)) {
        if let holder { queue.locks[ticket] = holder }
      }
    }
  }
}
