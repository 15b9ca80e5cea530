package import EventLoop

/// What the audit asks of a search index; the audit does not know which one it is.
@LoopActor
package protocol AuditedIndex: AnyObject {
  /// Events in the index, by ascending id, from the first above `id`.
  func indexedEvents(after id: Int, limit: Int) async throws -> [IndexedEvent]
}

package struct IndexedEvent: Sendable, Equatable {
  package var id: Int
  package var version: Int
  /// Free tickets as searches show them; `nil` where the index cannot tell.
  package var available: Int?

  package init(id: Int, version: Int, available: Int? = nil) {
    self.id = id
    self.version = version
    self.available = available
  }
}
