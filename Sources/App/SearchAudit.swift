import Audit
import EventLoop
import Indexer
import Lifecycle
import Queue
import Search

/// The search index, as `onsale audit` looks at it.
@LoopActor
final class SearchAudit: AuditedIndex {
  private let index: any SearchIndex
  /// The index's clients, with the one that it shares with the rest of the process.
  private let services: [any Service]

  init(_ index: any SearchIndex, services: [any Service]) {
    self.index = index
    self.services = services
  }

  func open() async throws {
    for service in services { try await service.start() }
  }

  func close() async {
    for service in services.reversed() { await service.stop() }
  }

  func indexedEvents(after id: Int, limit: Int) async throws -> [IndexedEvent] {
    try await index.indexedVersions(after: id, limit: limit).map {
      IndexedEvent(id: $0.id, version: $0.version)
    }
  }

  func versions(eventVersion: Int, document: QueueDocument?, purchased: Int) -> [Int] {
    IndexExpectation.versions(eventVersion: eventVersion, document: document, purchased: purchased)
  }
}
