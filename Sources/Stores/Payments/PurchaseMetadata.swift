/// What a payment says of its purchase, so that the purchase can be written down again where PostgreSQL has lost it:
/// whose it is, of which tickets, for how much.
///
/// Kept as metadata of the payment. A provider takes names of up to 40 characters and values of up to 500: the tickets of
/// the largest request, and the longest name of a user, fit.
package struct PurchaseMetadata: Sendable, Equatable {
  package var event: Int
  /// Of the event's queue, and the place in it: with the event they name the purchase.
  package var generation: Int
  package var position: Int
  package var tickets: [Int]
  package var user: String
  /// In the currency's minor unit; the payment's own amount must be the same.
  package var amount: Int
  /// Which of the purchase's payments it is; `nil` in payments of versions before, whose reference says it.
  package var attempt: Int?
  /// The purchase's own name, a UUID; `nil` in payments of versions before.
  package var id: String?
  /// Whose purchase it is, where several use one account with the provider; `nil` in payments of versions before.
  package var installation: String?

  /// Of one value, in characters, and of one name.
  package static let longestValue = 500
  package static let longestName = 40

  private static let eventField = "onsale_event"
  private static let generationField = "onsale_generation"
  private static let positionField = "onsale_position"
  private static let ticketsField = "onsale_tickets"
  private static let userField = "onsale_user"
  private static let amountField = "onsale_amount"
  private static let attemptField = "onsale_attempt"
  private static let idField = "onsale_purchase"
  private static let installationField = "onsale_installation"

  package init(
    event: Int, generation: Int, position: Int, tickets: [Int], user: String, amount: Int,
    attempt: Int? = nil,
    id: String? = nil, installation: String? = nil
  ) {
    self.event = event
    self.generation = generation
    self.position = position
    // In one order: a repetition of the call must not differ from the first.
    self.tickets = tickets.sorted()
    self.user = user
    self.amount = amount
    self.attempt = attempt
    self.id = id
    self.installation = installation
  }

  package var fields: [String: String] {
    var fields = [
      Self.eventField: String(event), Self.generationField: String(generation),
      Self.positionField: String(position), Self.userField: user, Self.amountField: String(amount),
      Self.ticketsField: tickets.map(String.init).joined(separator: ","),
    ]
    fields[Self.attemptField] = attempt.map { String($0) }
    fields[Self.idField] = id
    fields[Self.installationField] = installation
    return fields
  }

  /// Whose payment it is, if it says no more than that.
  package static func key(
    _ value: (_ name: String) -> String?
  ) -> (event: Int, generation: Int, position: Int)? {
    func number(_ name: String) -> Int? { value(name).flatMap { Int($0) }.flatMap { $0 > 0 ? $0 : nil } }
    guard let event = number(eventField), let generation = number(generationField),
      let position = number(positionField)
    else { return nil }
    return (event, generation, position)
  }

  /// `nil` where something is missing or not readable, as in payments of versions before.
  package init?(_ fields: [String: String]) {
    self.init { fields[$0] }
  }

  init?(_ value: (_ name: String) -> String?) {
    func integer(_ name: String) -> Int? { value(name).flatMap { Int($0) } }
    guard let event = integer(Self.eventField), let generation = integer(Self.generationField),
      let position = integer(Self.positionField), let amount = integer(Self.amountField),
      let user = value(Self.userField), !user.isEmpty, let list = value(Self.ticketsField)
    else { return nil }
    let parts = list.split(separator: ",", omittingEmptySubsequences: false).map { Int($0) }
    let tickets = parts.compactMap { $0 }
    guard tickets.count == parts.count, Set(tickets).count == tickets.count, tickets.allSatisfy({ $0 > 0 })
    else { return nil }
    self.init(
      event: event, generation: generation, position: position, tickets: tickets, user: user, amount: amount,
      attempt: integer(Self.attemptField), id: value(Self.idField),
      installation: value(Self.installationField))
  }
}
