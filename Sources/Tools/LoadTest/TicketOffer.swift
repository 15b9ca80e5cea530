/// What is for sale, as the catalog tells it.
package struct TicketOffer: Sendable {
  package var event: Int
  package var name: String
  package var currency: String
  package var sections: [String]
  /// By ticket id: its price and the index of its section; `nil` for ids that do not exist.
  package private(set) var tickets: [Int: (price: Int, section: Int)] = [:]
  package private(set) var largestTicket = 0

  package init(event: Int, name: String = "", currency: String, sections: [String]) {
    self.event = event
    self.name = name
    self.currency = currency
    self.sections = sections
  }

  package mutating func add(ticket: Int, price: Int, section: Int) {
    tickets[ticket] = (price, section)
    largestTicket = max(largestTicket, ticket)
  }
}
