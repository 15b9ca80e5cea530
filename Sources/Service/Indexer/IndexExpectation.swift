package import Queue
import Sale

/// What the indexer will have written once it has caught up, for those who check it.
package enum IndexExpectation {
  /// The versions that an event may have then: without a queue the indexer may or may not know that it is over.
  package static func versions(eventVersion: Int, document: QueueDocument?, purchased: Int) -> [Int] {
    guard let document else {
      return [0, IndexVersion.afterQueue].map {
        IndexVersion(event: eventVersion, generation: $0, queue: purchased).number
      }
    }
    return [
      IndexVersion(event: eventVersion, generation: document.generation, queue: document.version).number
    ]
  }
}
