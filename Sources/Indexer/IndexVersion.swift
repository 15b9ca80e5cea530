import Onsale
import Search
import Store

/// The version of an indexed document, as one number that only grows: the event's version in PostgreSQL, then
/// the life of its queue, then the changes within that life.
struct IndexVersion: Comparable, Sendable {
  /// The sale is over and its queue has left Redis: nothing comes after this but a change of the event.
  static let afterQueue = (1 << generationBits) - 1

  private static let generationBits = 12
  private static let queueBits = 31

  let event: Int
  /// Of the queue; 0 where there is none yet.
  let generation: Int
  let queue: Int

  init(event: Int, generation: Int, queue: Int) {
    self.event = min(event, 1 << (63 - Self.generationBits - Self.queueBits) - 1)
    self.generation = min(generation, Self.afterQueue)
    self.queue = min(queue, 1 << Self.queueBits - 1)
  }

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

  init(number: Int) {
    queue = number & (1 << Self.queueBits - 1)
    generation = number >> Self.queueBits & (1 << Self.generationBits - 1)
    event = number >> (Self.queueBits + Self.generationBits)
  }

  var number: Int { (event << Self.generationBits | generation) << Self.queueBits | queue }

  static func < (a: IndexVersion, b: IndexVersion) -> Bool { a.number < b.number }
}

extension SearchDocument {
  /// - Returns: `nil` for what the public does not know of yet: a draft without a time for its sale.
  init?(_ facts: IndexSource.Facts, _ document: QueueDocument?, queueIsOver: Bool) {
    if facts.state == EventState.draft.rawValue && facts.onsaleAt == nil { return nil }
    var available = facts.tickets - facts.taken
    var held = 0
    // Before its first owner has loaded the seats, a queue knows of none.
    if let document, document.free + document.held + document.sold > 0 {
      available = document.free
      held = document.held
    }
    self.init(
      id: facts.id, name: facts.name, location: facts.location, date: facts.date,
      description: facts.description, currency: facts.currency, minPrice: facts.minPrice,
      maxPrice: facts.maxPrice, available: max(0, available), held: held, onsaleState: facts.state,
      version: IndexVersion(facts, document, queueIsOver: queueIsOver).number)
  }
}
