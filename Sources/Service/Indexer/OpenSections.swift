import EventLoop
import FaultInjection
import Ledger
import Queue
import Sale
import Search

/// Which sections of events with a queue have tickets left: from the queue's bitmap, and PostgreSQL's list of
/// which tickets are whose.
@LoopActor
final class OpenSections {
  private let source: IndexSource
  private let queue: QueueReader
  /// Bitmaps that are read at a time.
  private let concurrency: Int
  /// Of events with a queue. Tickets are only ever added, so their number says whether the ranges are still right.
  private var ranges: [Int: (tickets: Int, ranges: [Int: [ClosedRange<Int>]])] = [:]
  /// What was found last, for when it cannot be read.
  private var known: [Int: [SearchDocument.Section]] = [:]

  init(source: IndexSource, queue: QueueReader, concurrency: Int) {
    self.source = source
    self.queue = queue
    self.concurrency = concurrency
  }

  /// Forgets events that have no queue any more.
  func keep(where hasQueue: (Int) -> Bool) {
    ranges = ranges.filter { hasQueue($0.key) }
    known = known.filter { hasQueue($0.key) }
  }

  /// What can be read of these events, and for the others what was known before.
  func read(_ events: [IndexSource.Facts]) async -> [Int: [SearchDocument.Section]] {
    var found: [Int: [SearchDocument.Section]] = [:]
    for start in stride(from: 0, to: events.count, by: concurrency) {
      // Owned here, and awaited below: the client sends them in one go.
      let reads = events[start..<min(start + concurrency, events.count)].map { facts in
        (facts.id, Task { @LoopActor in try? await open(facts) })
      }
      for (id, read) in reads {
        if let sections = await read.value { known[id] = sections }
        found[id] = known[id]
      }
    }
    return found
  }

  private func open(_ facts: IndexSource.Facts) async throws -> [SearchDocument.Section]? {
    guard
      let bitmap = try await Faults.point(
        .indexDocument,
        {
          try await queue.unavailableTickets(event: facts.id)
        })
    else { return nil }
    let ranges = try await ranges(facts)
    return facts.sections.filter { section in
      let own = ranges[section.id] ?? []
      return Bitmap.count(bitmap, in: own) < own.reduce(0) { $0 + $1.count }
    }.map { SearchDocument.Section(name: $0.name, price: $0.price) }
  }

  private func ranges(_ facts: IndexSource.Facts) async throws -> [Int: [ClosedRange<Int>]] {
    if let known = ranges[facts.id], known.tickets == facts.tickets { return known.ranges }
    let found = try await Faults.point(.indexRead) { try await source.ticketRanges(event: facts.id) }
    ranges[facts.id] = (facts.tickets, found)
    return found
  }
}
