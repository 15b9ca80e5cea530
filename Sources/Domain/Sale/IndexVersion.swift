/// The version of an indexed document, as one number that only grows: the event's version in PostgreSQL, then
/// the life of its queue, then the changes within that life.
package struct IndexVersion: Comparable, Sendable {
  /// The sale is over and its queue has left Redis: nothing comes after this but a change of the event.
  package static let afterQueue = (1 << generationBits) - 1

  private static let generationBits = 12
  private static let queueBits = 31

  package let event: Int
  /// Of the queue; 0 where there is none yet.
  package let generation: Int
  package let queue: Int

  package init(event: Int, generation: Int, queue: Int) {
    self.event = min(event, 1 << (63 - Self.generationBits - Self.queueBits) - 1)
    self.generation = min(generation, Self.afterQueue)
    self.queue = min(queue, 1 << Self.queueBits - 1)
  }

  package init(number: Int) {
    queue = number & (1 << Self.queueBits - 1)
    generation = number >> Self.queueBits & (1 << Self.generationBits - 1)
    event = number >> (Self.queueBits + Self.generationBits)
  }

  /// Without the event's part: grows with every change of the sale, and fits the numbers of JavaScript.
  package var saleNumber: Int { number & (1 << (Self.generationBits + Self.queueBits) - 1) }

  package var number: Int { (event << Self.generationBits | generation) << Self.queueBits | queue }

  package static func < (a: IndexVersion, b: IndexVersion) -> Bool { a.number < b.number }
}
