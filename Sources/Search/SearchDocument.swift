/// What the index knows of an event.
package struct SearchDocument: Equatable, Sendable {
  package var id: Int
  package var name: String
  package var location: String
  /// Unix seconds.
  package var date: Int
  /// Everything else worth finding: works, composers, performers.
  package var description: String
  package var currency: String
  /// Cheapest and dearest section, in minor units.
  package var minPrice: Int
  package var maxPrice: Int
  package var available: Int
  package var held: Int
  package var onsaleState: String
  /// Grows with every change of the event; a write with a lower one, or the same, changes nothing.
  package var version: Int

  package init(
    id: Int, name: String, location: String, date: Int, description: String, currency: String, minPrice: Int,
    maxPrice: Int, available: Int, held: Int, onsaleState: String, version: Int
  ) {
    self.id = id
    self.name = name
    self.location = location
    self.date = date
    self.description = description
    self.currency = currency
    self.minPrice = minPrice
    self.maxPrice = maxPrice
    self.available = available
    self.held = held
    self.onsaleState = onsaleState
    self.version = version
  }
}
