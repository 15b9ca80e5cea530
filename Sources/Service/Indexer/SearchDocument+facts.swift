import Ledger
import Queue
import Sale
import Search

extension IndexVersion {
  /// - Parameter document: the head of the event's queue, where it has one.
  /// - Parameter queueIsOver: whether it is certain that there is none any more.
  init(_ facts: IndexSource.Facts, _ document: QueueDocument?, queueIsOver: Bool) {
    if let document {
      self.init(event: facts.version, generation: document.generation, queue: document.version)
    } else {
      // What is sold only grows, so it counts the changes where there is no queue that does.
      self.init(event: facts.version, generation: queueIsOver ? Self.afterQueue : 0, queue: facts.purchased)
    }
  }
}

extension SearchDocument {
  /// - Parameters:
  ///   - open: sections with tickets left, where the queue's bitmap was read.
  ///   - zone: of venues whose events name none.
  /// - Returns: `nil` for what the public does not know of yet: a draft without a time for its sale.
  init?(
    _ facts: IndexSource.Facts, _ document: QueueDocument?, queueIsOver: Bool, open: [Section]? = nil,
    zone: VenueZone = .utc
  ) {
    if facts.isUnannounced { return nil }
    var available = facts.tickets - facts.taken
    var held = 0
    // Before its first owner has loaded the seats, a queue knows of none.
    if let document, document.free + document.held + document.sold > 0 {
      available = document.free
      held = document.held
    }
    let known = facts.sections.filter { $0.taken < $0.tickets }.map {
      Section(name: $0.name, price: $0.price)
    }
    self.init(
      id: facts.id, name: facts.name, location: facts.location, date: facts.date,
      description: facts.description, currency: facts.currency, minPrice: facts.minPrice,
      maxPrice: facts.maxPrice, available: max(0, available), held: held,
      zone: facts.timeZone.flatMap { VenueZone($0) } ?? zone,
      // One that is postponed does not open by itself.
      onsaleAt: facts.isPostponed && facts.state == EventState.draft.rawValue ? nil : facts.onsaleAt,
      openSections: available > 0 ? open ?? known : [], onsaleState: facts.state,
      version: IndexVersion(facts, document, queueIsOver: queueIsOver).number,
      dateWas: facts.dateWas, locationWas: facts.locationWas, isPostponed: facts.isPostponed)
  }
}
