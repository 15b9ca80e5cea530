import Ledger
import Queue
import Sale
import Search

/// What the indexer knows: where events and their queues stand, what of that is in the index, and what is still
/// to be written. Pure: it is told what was read and heard, and says what to do.
struct IndexLedger {
  /// Of venues whose events name none.
  var zone = VenueZone.utc
  /// By event: when, on the caller's clock in milliseconds, its first change that is not in the index was seen.
  private(set) var pending: [Int: UInt64] = [:]
  private(set) var events: [Int: IndexSource.EventVersion] = [:]
  /// Heads of the queues that live in Redis.
  private var queues: [Int: QueueDocument] = [:]
  /// Whether `queues` has all there are.
  private(set) var knowsQueues = false
  /// Versions in the index.
  private var indexed: [Int: Int] = [:]
  /// Versions of events that are not for the public.
  private var hidden: [Int: Int] = [:]
  /// Of events with a queue, whose counts move without the rest.
  private var facts: [Int: IndexSource.Facts] = [:]
  /// Events that another process writes, until what it did not write was written.
  private var deferred: Set<Int> = []
  /// Events that wait, until when.
  private var notBefore: [Int: UInt64] = [:]

  var documents: Int { indexed.count }

  /// Milliseconds since the oldest change that is not in the index.
  func lag(now: UInt64) -> UInt64 {
    pending.values.min().map { now > $0 ? now - $0 : 0 } ?? 0
  }

  // MARK: What was read and heard

  /// All events there are.
  mutating func learn(events all: [Int: IndexSource.EventVersion], now: UInt64) {
    let gone = events.keys.filter { all[$0] == nil }
    for (id, event) in all where events[id]?.version != event.version { facts[id] = nil }
    events = all
    for id in gone {
      facts[id] = nil
      mark(id, now)
    }
    for id in all.keys where isBehind(id) { mark(id, now) }
  }

  /// All queues there are.
  mutating func learn(queues all: [Int: QueueDocument], now: UInt64) {
    knowsQueues = true
    for id in queues.keys.filter({ all[$0] == nil }) {
      queues[id] = nil
      // What was sold is in PostgreSQL now.
      facts[id] = nil
      mark(id, now)
    }
    for (id, document) in all { learn(queue: id, document, now: now) }
  }

  /// One queue's head; an older one than known changes nothing.
  mutating func learn(queue id: Int, _ document: QueueDocument, now: UInt64) {
    if let known = queues[id],
      (document.generation, document.version) < (known.generation, known.version)
    {
      return
    }
    queues[id] = document
    if isBehind(id) { mark(id, now) }
  }

  /// Redis cannot be read: what is known stays, and what is not known may exist.
  mutating func loseQueues() { knowsQueues = false }

  /// Everything that is in the index, read from it.
  mutating func learn(indexed all: [Int: Int], now: UInt64) {
    indexed = all
    for id in all.keys where events[id] == nil { mark(id, now) }
    for id in events.keys where isBehind(id) { mark(id, now) }
  }

  private mutating func mark(_ id: Int, _ now: UInt64) {
    if pending[id] == nil { pending[id] = now }
  }

  private func isBehind(_ id: Int) -> Bool {
    guard let event = events[id] else { return indexed[id] != nil }
    guard let number = indexed[id] else { return hidden[id] != event.version }
    let version = IndexVersion(number: number)
    if version.event != event.version { return true }
    if let queue = queues[id] {
      return version < IndexVersion(event: event.version, generation: queue.generation, queue: queue.version)
    }
    return event.isClosed && knowsQueues && version.generation != IndexVersion.afterQueue
  }

  // MARK: What to do

  /// Takes up to `limit` changed events that need not wait out of the pending ones, and with them when they changed.
  mutating func take(limit: Int, now: UInt64) -> [Int: UInt64] {
    notBefore = notBefore.filter { now < $0.value }
    var taken: [Int: UInt64] = [:]
    for (id, since) in pending where notBefore[id] == nil {
      taken[id] = since
      if taken.count == limit { break }
    }
    for id in taken.keys { pending[id] = nil }
    return taken
  }

  /// Another process writes this event, or did a moment ago: it waits, unless what that one wrote is all there is.
  /// - Returns: whether it begins to wait now.
  mutating func putBack(_ id: Int, since: UInt64, written version: Int?, until: UInt64) -> Bool {
    if let version, version > indexed[id] ?? .min { indexed[id] = version }
    guard isBehind(id) else {
      deferred.remove(id)
      return false
    }
    putBack([id: since])
    notBefore[id] = until
    return deferred.insert(id).inserted
  }

  /// They were not written after all.
  mutating func putBack(_ taken: [Int: UInt64]) {
    pending.merge(taken) { min($0, $1) }
  }

  /// Which of these events' facts must be read.
  func withoutFacts(_ ids: some Sequence<Int>) -> [Int] { ids.filter { facts[$0] == nil } }

  /// Those whose seats are given out by a queue, with what is known of them: which sections still have tickets is
  /// in the queue's bitmap.
  func withSeatsInQueue(_ ids: some Sequence<Int>, _ read: [Int: IndexSource.Facts]) -> [IndexSource.Facts] {
    ids.compactMap { id in
      guard let queue = queues[id], queue.free > 0 else { return nil }
      return read[id] ?? facts[id]
    }
  }

  /// Whether the event has a queue.
  func hasQueue(_ id: Int) -> Bool { queues[id] != nil }

  struct Batch {
    var documents: [SearchDocument] = []
    var removed: [Int] = []
    /// Events that are not for the public, by version.
    var hidden: [Int: Int] = [:]
  }

  /// What to write for these events.
  /// - Parameter read: facts that were just read; an event that has none, and none were known of, is gone.
  /// - Parameter open: sections with tickets left, of events with a queue.
  func batch(
    _ ids: some Sequence<Int>, _ read: [Int: IndexSource.Facts], open: [Int: [SearchDocument.Section]]
  ) -> Batch {
    var batch = Batch()
    for id in ids {
      guard let facts = read[id] ?? facts[id] else {
        batch.removed.append(id)
        continue
      }
      guard let document = document(facts, open: open[id]) else {
        batch.hidden[id] = facts.version
        if indexed[id] != nil { batch.removed.append(id) }
        continue
      }
      batch.documents.append(document)
    }
    return batch
  }

  /// The document of an event, with the counts of its queue where it has one.
  func document(_ facts: IndexSource.Facts, open: [SearchDocument.Section]?) -> SearchDocument? {
    let queue = queues[facts.id]
    let isClosed = facts.state == EventState.closed.rawValue
    return SearchDocument(
      facts, queue, queueIsOver: isClosed && knowsQueues && queue == nil, open: queue == nil ? nil : open,
      zone: zone)
  }

  /// The batch is in the index.
  /// - Parameter nextAt: when its events may be written again.
  mutating func settle(_ batch: Batch, _ read: [Int: IndexSource.Facts], nextAt: UInt64, now: UInt64) {
    for document in batch.documents {
      indexed[document.id] = document.version
      hidden[document.id] = nil
      deferred.remove(document.id)
      notBefore[document.id] = nextAt
    }
    for id in batch.removed {
      indexed[id] = nil
      deferred.remove(id)
    }
    for (id, version) in batch.hidden { hidden[id] = version }
    for (id, facts) in read {
      // Only where the counts will move without the rest; others would only fill the memory.
      self.facts[id] = queues[id] != nil && events[id]?.version == facts.version ? facts : nil
    }
    // What was heard while the batch was on its way was marked then; what was read before it was not.
    for document in batch.documents where isBehind(document.id) { mark(document.id, now) }
  }
}
