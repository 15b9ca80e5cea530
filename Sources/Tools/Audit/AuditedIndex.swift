package import EventLoop
package import Queue

/// What the audit asks of a search index; the audit does not know which one it is.
@LoopActor
package protocol AuditedIndex: AnyObject {
  /// Makes ready to be asked.
  func open() async throws
  func close() async

  /// Events in the index, by ascending id, from the first above `id`.
  func indexedEvents(after id: Int, limit: Int) async throws -> [IndexedEvent]

  /// The versions that an event may have in the index once everything has reached it.
  /// - Parameters:
  ///   - document: the head of the event's queue, `nil` where Redis has none.
  ///   - purchased: how many of its tickets are.
  func versions(eventVersion: Int, document: QueueDocument?, purchased: Int) -> [Int]
}

package struct IndexedEvent: Sendable, Equatable {
  package var id: Int
  /// Grows with every change that the index is told of, of the event and of its availability.
  package var version: Int

  package init(id: Int, version: Int) {
    self.id = id
    self.version = version
  }
}
