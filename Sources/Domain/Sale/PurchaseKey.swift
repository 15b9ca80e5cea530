/// Names one request in PostgreSQL.
package struct PurchaseKey: Hashable, Comparable, Sendable {
  package let event: Int
  package let generation: Int
  package let position: Int

  package init(event: Int, generation: Int, position: Int) {
    self.event = event
    self.generation = generation
    self.position = position
  }

  package static func < (a: PurchaseKey, b: PurchaseKey) -> Bool {
    (a.event, a.generation, a.position) < (b.event, b.generation, b.position)
  }

  /// What people and the provider know it by: `event-generation-position`; an attempt's number may stand behind it.
  package var name: String { "\(event)-\(generation)-\(position)" }

  package init(_ confirmation: Confirmation) {
    self.init(
      event: confirmation.event, generation: confirmation.generation, position: confirmation.position)
  }
}
